"""What Docker has and this engine has not: every endpoint says so in its own words."""

from __future__ import annotations

from pierhead.api.replies import Reply, reply_json
from pierhead.errors import NotFound, Unavailable, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call


async def swarm(_: Call) -> Reply:
    """Of a node that is in no swarm, in Docker's words: clients know them."""
    message = (
        'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
        "to connect this node to swarm and try again."
    )
    raise Unavailable(message, code="no-swarm")


async def leave_swarm(_: Call) -> Reply:
    """``POST /swarm/leave``, ``/swarm/unlock``."""
    raise Unavailable("This node is not part of a swarm", code="no-swarm")


async def enter_swarm(_: Call) -> Reply:
    """``POST /swarm/init``, ``/swarm/join``."""
    raise Unsupported("swarm mode is not supported by this engine", code="no-swarm-mode")


async def list_plugins(_: Call) -> Reply:
    """``GET /plugins``."""
    return reply_json([])


async def find_plugin(call: Call) -> Reply:
    """``/plugins/{name}/…`` of one that would have to be there."""
    raise NotFound(f'plugin "{call.reference}" not found', code="plugin-not-found")


async def install_plugin(_: Call) -> Reply:
    """``POST /plugins/pull``, ``/plugins/create``, ``GET /plugins/privileges``."""
    raise Unsupported("plugins are not supported by this engine", code="no-plugins")


async def build(_: Call) -> Reply:
    """``POST /build``, ``/build/cancel``, ``/session``, ``/grpc``."""
    message = "building images is not supported by this engine"
    hint = "build with another program, and load or pull what it made"
    raise Unsupported(message, code="no-build", hint=hint)


async def prune_builds(_: Call) -> Reply:
    """``POST /build/prune``: what never is cannot be in the way of ``docker system prune``."""
    return reply_json({"CachesDeleted": [], "SpaceReclaimed": 0})
