"""``/libpod/volumes`` and ``/libpod/networks``."""

from __future__ import annotations

from pierhead.api.libpod.place_documents import DRIVERS_LISTED, network, network_name, volume
from pierhead.api.libpod.routes_containers import size_once
from pierhead.api.libpod.spec import VolumeWanted
from pierhead.api.replies import Reply, reply_json, reply_nothing
from pierhead.engine.documents import VolumeCreate
from pierhead.errors import Conflict, Forbidden, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call


# Volumes


async def list_volumes(call: Call) -> Reply:
    """``GET /libpod/volumes/json``."""
    found = await call.backend.list_volumes(call.filters())
    return reply_json([volume(document) for document in found["Volumes"] or ()])


async def create_volume(call: Call) -> Reply:
    """``POST /libpod/volumes/create``.

    Raises:
        Conflict: there is one so called; Docker's clients are told of that one instead.
    """
    asked = await call.decoded(VolumeWanted)
    wanted = VolumeCreate(
        name=asked.name,
        driver=asked.driver,
        driver_opts=asked.options,
        labels={**asked.labels, **asked.label},
    )
    if wanted.name and not asked.ignore_if_exists:
        found = await call.backend.list_volumes({"name": [wanted.name]})
        if any(each["Name"] == wanted.name for each in found["Volumes"] or ()):
            message = f"volume with name {wanted.name} already exists: volume already exists"
            raise Conflict(message, code="volume-exists")
    return reply_json(volume(await call.backend.create_volume(wanted)), 201)


async def inspect_volume(call: Call) -> Reply:
    """``GET /libpod/volumes/{name}/json``."""
    return reply_json(volume(await call.backend.inspect_volume(call.reference)))


async def volume_exists(call: Call) -> Reply:
    """``GET /libpod/volumes/{name}/exists``."""
    await call.backend.inspect_volume(call.reference)
    return reply_nothing()


async def remove_volume(call: Call) -> Reply:
    """``DELETE /libpod/volumes/{name}``; with force, containers that use it go first."""
    name, force = call.reference, call.boolean("force")
    await call.backend.inspect_volume(name)
    if force:
        users = await call.backend.list_containers(
            stopped=True, limit=0, size=False, filters={"volume": [name]}
        )
        for user in users:
            await call.backend.remove_container(user["Id"], force=True, volumes=False)
    await call.backend.remove_volume(name, force=force)
    return reply_nothing()


async def prune_volumes(call: Call) -> Reply:
    """``POST /libpod/volumes/prune``."""
    return reply_json(await prune_reports(call, call.filters()))


async def prune_reports(call: Call, filters: dict[str, list[str]]) -> list[dict[str, object]]:
    """The volumes that were removed, with names or without; the space stands with the first."""
    done = await call.backend.prune_volumes({**filters, "all": ["true"]})
    return list(size_once(done["VolumesDeleted"] or [], done["SpaceReclaimed"]))


# Networks


async def list_networks(call: Call) -> Reply:
    """``GET /libpod/networks/json``."""
    filters = call.filters()
    if "name" in filters:
        filters["name"] = [network_name(name) for name in filters["name"]]
    found = await call.backend.list_networks(filters)
    return reply_json([network(each) for each in found if each["Driver"] in DRIVERS_LISTED])


async def inspect_network(call: Call) -> Reply:
    """``GET /libpod/networks/{name}/json``."""
    return reply_json(network(await call.backend.inspect_network(network_name(call.reference))))


async def network_exists(call: Call) -> Reply:
    """``GET /libpod/networks/{name}/exists``."""
    await call.backend.inspect_network(network_name(call.reference))
    return reply_nothing()


async def remove_network(call: Call) -> Reply:
    """``DELETE /libpod/networks/{name}``: every network there is belongs to the engine."""
    name = (await call.backend.inspect_network(network_name(call.reference)))["Name"]
    message = f"{name} is the engine's own network and cannot be removed"
    raise Forbidden(message, code="predefined-network")


async def prune_networks(call: Call) -> Reply:
    """``POST /libpod/networks/prune``."""
    done = await call.backend.prune_networks(call.filters())
    return reply_json([{"Name": name, "Error": None} for name in done["NetworksDeleted"] or ()])


async def change_networks(_: Call) -> Reply:
    """``POST /libpod/networks/create``, ``…/{name}/connect``, ``…/disconnect``, ``…/update``."""
    message = "networks of one's own are not supported by this engine"
    raise Unsupported(message, code="no-networks", hint="there are bridge, host, none and container:NAME")
