"""``/libpod/_ping``, ``/version``, ``/info``, ``/events``, ``/system/df``, ``/system/prune``."""

from __future__ import annotations

import time

from pierhead.api import routes_system
from pierhead.api.libpod import routes_containers, routes_images, routes_places
from pierhead.api.libpod.container_filters import adapt_filters
from pierhead.api.libpod.moments import moment_ns
from pierhead.api.libpod.system_documents import disk_usage, event, event_filters, info, version
from pierhead.api.libpod.versions import RELEASE
from pierhead.api.replies import Reply, Stream, encode_json, reply_json
from pierhead.api.streams import closing
from pierhead.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from pierhead.api.call import Call
    from pierhead.api.versions import Version
    from pierhead.engine.record import Event


async def ping(call: Call) -> Reply:
    """``GET`` and ``HEAD /libpod/_ping``: Docker's answer, and the version by which clients go on."""
    answer = await routes_system.ping(call)
    return answer.replace(headers={**answer.headers, "Libpod-API-Version": RELEASE})


async def tell_version(call: Call) -> Reply:
    """``GET /libpod/version``."""
    return reply_json(version(await call.backend.version()))


async def tell_info(call: Call) -> Reply:
    """``GET /libpod/info``."""
    found = await call.backend.info()
    return reply_json(info(found, await call.backend.version(), f"{found['DockerRootDir']}/volumes"))


async def tell_disk_usage(call: Call) -> Reply:
    """``GET /libpod/system/df``."""
    return reply_json(disk_usage(await call.backend.disk_usage([])))


async def events(call: Call) -> Stream:
    """``GET /libpod/events``; without ``stream`` it ends with what has happened so far."""
    now_ns = time.time_ns()
    stream = call.boolean("stream", default=True)
    since_ns = moment_ns(call.text("since"), now_ns)
    until_ns = moment_ns(call.text("until"), now_ns)
    if not stream:
        since_ns, until_ns = since_ns or 1, until_ns or now_ns
    found = call.backend.events(since_ns=since_ns, until_ns=until_ns, filters=event_filters(call.filters()))
    return Stream(
        pieces=_lines(found, call.version), headers={"Content-Type": "application/json"}, lasting=True
    )


async def _lines(found: AsyncIterator[Event], spoken: Version) -> AsyncGenerator[bytes, None]:
    async with closing(found):
        async for happened in found:
            document = event(happened, spoken)
            if document is not None:
                yield encode_json(document)


async def prune(call: Call) -> Reply:
    """``POST /libpod/system/prune``: containers that do not run, images without a name; volumes if asked."""
    if call.boolean("external"):
        message = "containers of other programs are not known to this engine"
        raise Unsupported(message, code="no-external", hint="leave --external out")
    filters = call.filters()
    containers = await routes_containers.prune_reports(call, adapt_filters(filters))
    images = await routes_images.prune_reports(call, filters, everything=call.boolean("all"))
    volumes = await routes_places.prune_reports(call, filters) if call.boolean("volumes") else []
    reports = (*containers, *images, *volumes)
    return reply_json(
        {
            "PodPruneReport": None,
            "ContainerPruneReports": containers or None,
            "ImagePruneReports": images or None,
            "NetworkPruneReports": None,
            "VolumePruneReports": volumes or None,
            "ReclaimedSpace": sum(each["Size"] for each in reports),
        }
    )
