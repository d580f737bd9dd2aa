"""``/volumes`` and ``/networks``."""

from __future__ import annotations

from pierhead.api.replies import Reply, reply_json, reply_nothing
from pierhead.engine.documents import VolumeCreate
from pierhead.errors import Forbidden, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call


async def list_volumes(call: Call) -> Reply:
    """``GET /volumes``."""
    return reply_json(await call.backend.list_volumes(call.filters()))


async def create_volume(call: Call) -> Reply:
    """``POST /volumes/create``."""
    wanted = await call.decoded(VolumeCreate, optional=True)
    return reply_json(await call.backend.create_volume(wanted), 201)


async def inspect_volume(call: Call) -> Reply:
    """``GET /volumes/{name}``."""
    return reply_json(await call.backend.inspect_volume(call.reference))


async def remove_volume(call: Call) -> Reply:
    """``DELETE /volumes/{name}``."""
    await call.backend.remove_volume(call.reference, force=call.boolean("force"))
    return reply_nothing()


async def prune_volumes(call: Call) -> Reply:
    """``POST /volumes/prune``.

    Until 1.42 it was about all volumes, and then only about those without a name.
    """
    filters = call.filters()
    if call.version < (1, 42):
        filters = {**filters, "all": ["true"]}
    return reply_json(await call.backend.prune_volumes(filters))


async def list_networks(call: Call) -> Reply:
    """``GET /networks``."""
    return reply_json(await call.backend.list_networks(call.filters()))


async def inspect_network(call: Call) -> Reply:
    """``GET /networks/{id}``."""
    return reply_json(await call.backend.inspect_network(call.reference))


async def prune_networks(call: Call) -> Reply:
    """``POST /networks/prune``."""
    return reply_json(await call.backend.prune_networks(call.filters()))


async def remove_network(call: Call) -> Reply:
    """``DELETE /networks/{id}``: every network there is belongs to the engine."""
    name = (await call.backend.inspect_network(call.reference)).get("Name", call.reference)
    message = f"{name} is a pre-defined network and cannot be removed"
    raise Forbidden(message, code="predefined-network")


async def change_networks(_: Call) -> Reply:
    """``POST /networks/create``, ``/networks/{id}/connect``, ``/networks/{id}/disconnect``."""
    message = "networks of one's own are not supported by this engine"
    hint = "there are bridge, host, none and container:NAME; in a compose file, network_mode: bridge"
    raise Unsupported(message, code="no-networks", hint=hint)
