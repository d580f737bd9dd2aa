"""What Podman has and this engine has not: pods, manifests, secrets, Kubernetes files, checkpoints.

What is asked for is not there (404), there is none of it (an empty list), or it is not supported (501).
"""

from __future__ import annotations

from pierhead.api.replies import Reply, reply_json
from pierhead.errors import NotFound, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call
    from pierhead.api.routing import Perform


async def list_none(_: Call) -> Reply:
    """``GET /libpod/pods/json``, ``/libpod/secrets/json``."""
    return reply_json([])


async def no_reports(_: Call) -> Reply:
    """``POST /libpod/pods/prune``."""
    return reply_json([])


async def no_mounts(_: Call) -> Reply:
    """``GET /libpod/containers/showmounted``."""
    return reply_json({})


async def find_pod(call: Call) -> Reply:
    """``/libpod/pods/{name}/…`` of one that would have to be there."""
    raise NotFound(f"no pod with name or ID {call.reference} found: no such pod", code="no-such-pod")


async def find_secret(call: Call) -> Reply:
    """``/libpod/secrets/{name}/…``."""
    raise NotFound(f"no secret with name or id {call.reference}: no such secret", code="no-such-secret")


async def find_manifest(call: Call) -> Reply:
    """``/libpod/manifests/{name}/…``."""
    raise NotFound(f"{call.reference} is no manifest list here: image not known", code="image-not-found")


def refuse(what: str, hint: str = "") -> Perform:
    """A route that answers that this is not supported."""

    async def refusal(_: Call) -> Reply:
        raise Unsupported(f"{what} not supported by this engine", code="not-of-podman", hint=hint)

    return refusal
