"""Changes to what an image runs, in the words of a Dockerfile: ``CMD ["/bin/sh"]``, ``ENV A=b``.

Pure.  Source: docker import's and docker commit's ``--change``.
"""

from __future__ import annotations

import shlex

from pierhead import jsontext
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.oci.image import Execution

_SHELL = ("/bin/sh", "-c")


def apply_changes(execution: Execution, changes: Iterable[str]) -> Execution:
    """The execution with each of the instructions applied.

    Raises:
        InvalidInput: one is none, or has no such form.
    """
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        execution = _apply(execution, word.upper(), rest.strip(), change)
    return execution


def _apply(execution: Execution, word: str, rest: str, change: str) -> Execution:
    if not rest:
        raise InvalidInput(f"the change {change!r} says nothing", code="bad-change", hint=_HINT)
    if word == "CMD":
        return execution.replace(cmd=_command(rest))
    if word == "ENTRYPOINT":
        return execution.replace(entrypoint=_command(rest))
    if word == "ENV":
        names = dict(_pairs(rest, change))
        kept = (entry for entry in execution.env if entry.partition("=")[0] not in names)
        return execution.replace(env=(*kept, *(f"{name}={value}" for name, value in names.items())))
    if word == "LABEL":
        return execution.replace(labels={**execution.labels, **dict(_pairs(rest, change))})
    if word == "EXPOSE":
        ports: dict[str, dict[str, str]] = {
            port if "/" in port else f"{port}/tcp": {} for port in rest.split()
        }
        return execution.replace(exposed_ports={**execution.exposed_ports, **ports})
    if word == "VOLUME":
        paths = _array(rest) or tuple(rest.split())
        return execution.replace(volumes={**execution.volumes, **{path: {} for path in paths}})
    field = {"USER": "user", "WORKDIR": "working_dir", "STOPSIGNAL": "stop_signal"}.get(word)
    if field is None:
        raise InvalidInput(f"{word or change!r} is no change of an image", code="bad-change", hint=_HINT)
    return execution.replace(**{field: rest})


_HINT = "there are CMD, ENTRYPOINT, ENV, LABEL, EXPOSE, VOLUME, USER, WORKDIR and STOPSIGNAL"


def _command(rest: str) -> tuple[str, ...]:
    """A JSON list as it is; everything else for a shell."""
    return _array(rest) or (*_SHELL, rest)


def _array(rest: str) -> tuple[str, ...]:
    if not rest.startswith("["):
        return ()
    try:
        found = jsontext.parse(rest)
    except InvalidInput:
        return ()
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return ()
    return tuple(found)


def _pairs(rest: str, change: str) -> list[tuple[str, str]]:
    """``NAME=VALUE …``, or ``NAME VALUE`` to the end."""
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise InvalidInput(f"the change {change!r}: {str(error).lower()}", code="bad-change") from None
    if "=" not in words[0]:
        name, _, value = rest.partition(" ")
        if not value:
            raise InvalidInput(f"the change {change!r} has no value", code="bad-change")
        return [(name, value.strip())]
    pairs = [word.partition("=")[::2] for word in words]
    if any(not name for name, _ in pairs) or any("=" not in word for word in words):
        raise InvalidInput(f"the change {change!r} is not of the form NAME=VALUE", code="bad-change")
    return [(name, value) for name, value in pairs]
