"""Errors as libpod's clients read them.  Pure.

    {"cause": "no such container", "message": "…: no such container", "response": 404}

Clients look for the cause in the message: ``podman rm --force`` takes "no such container" for done.
Source: the API's ``ErrorModel``, and podman's exit statuses.
"""

from __future__ import annotations

from pierhead.api.replies import Reply, reply_json, reply_nothing
from pierhead.errors import Conflict, InvalidInput, NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.errors import PierheadError

_STATE = "container state improper"
_CAUSES = {
    "container-not-found": "no such container",
    "no-such-container": "no such container",
    "container-ended": _STATE,
    "not-running": _STATE,
    "not-paused": _STATE,
    "paused": _STATE,
    "running": _STATE,
    "restarting": _STATE,
    "wrong-status": _STATE,
    "removal-in-progress": _STATE,
    "name-taken": "that name is already in use",
    "exec-not-found": "no such exec session",
    "image-not-found": "image not known",
    "no-image": "image not known",
    "tag-not-found": "tag not known",
    "image-in-use": "image is in use by a container",
    "no-such-volume": "no such volume",
    "volume-in-use": "volume is being used",
    "network-not-found": "network not found",
    "no-such-pod": "no such pod",
    "no-such-secret": "no such secret",
}
_HINTS_FOR_DOCKER = ("no-such-source",)
"""Their hints name flags of docker's, which mean something else to Podman."""
_OF_KINDS: dict[type[PierheadError], str] = {
    InvalidInput: "invalid argument",
    Unsupported: "operation not supported",
}


def cause_of(error: PierheadError) -> str:
    """Libpod's words for what is wrong; the sentence itself where it has none."""
    return _CAUSES.get(error.code) or _OF_KINDS.get(type(error), error.message)


def sentence(error: PierheadError) -> str:
    """What the client shows: the message, libpod's words at its end, and what can be done about it.

    The hint names commands of ours, which somebody who uses podman has not.
    """
    if error.code == "no-such-route":
        return "this engine does not serve this part of libpod's API"
    known = _CAUSES.get(error.code)
    if known:
        docker = f"{known}: "
        rest = error.message[len(docker) :] if error.message.lower().startswith(docker) else error.message
        return rest if rest.endswith(known) else f"{rest}: {known}"
    if error.hint and error.code not in _HINTS_FOR_DOCKER and "pier" not in error.hint.split():
        return f"{error.message}\nhint: {error.hint}"
    return error.message


def reply_error(error: PierheadError) -> Reply:
    """The error."""
    if error.status == 304:
        return reply_nothing(304)
    document = {"cause": cause_of(error), "message": sentence(error), "response": error.status}
    return reply_json(document, error.status)


def is_missing(error: PierheadError) -> bool:
    """Whether what was named is not there."""
    return isinstance(error, NotFound)


def is_in_use(error: PierheadError) -> bool:
    """Whether something else needs it."""
    return isinstance(error, Conflict)
