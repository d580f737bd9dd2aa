"""For those who watch a registry: figures, and whether it lives and works.

/metrics    Prometheus' text
/healthz    200: the process answers
/readyz     200: its index and its disk answer as well; else 503
"""

from __future__ import annotations

import asyncio
import os
import sqlite3

from aiohttp import web

from pierhead.registry.faults import Fault
from pierhead.registry.metrics import CONTENT_TYPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.registry.metrics import Metrics
    from pierhead.registry.storage import Storage

WATCHING = ("/metrics", "/healthz", "/readyz")


async def watch(request: web.BaseRequest, storage: Storage, metrics: Metrics) -> web.Response:
    """The page of ``WATCHING`` that was asked for.

    Raises:
        Fault: UNSUPPORTED: there is no such page.
    """
    if request.path not in WATCHING or request.method not in ("GET", "HEAD"):
        raise Fault("UNSUPPORTED", f"there is nothing at {request.path[:160]}", status=404)
    if request.path == "/metrics":
        text = metrics.format(await asyncio.to_thread(_gauges, storage))
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
    if request.path == "/readyz":
        reason = await asyncio.to_thread(_find_trouble, storage)
        if reason:
            return web.Response(status=503, text=f"{reason}\n")
    return web.Response(text="ok\n")


def _gauges(storage: Storage) -> dict[str, float]:
    room = os.statvfs(storage.root)
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    copies, copies_bytes = storage.index.count_copies()
    return {
        **storage.index.totals(),
        "copies": copies,
        "copies_bytes": copies_bytes,
        "disk_free_bytes": room.f_bavail * room.f_frsize,
        "disk_bytes": room.f_blocks * room.f_frsize,
        "memory_bytes": pages * os.sysconf("SC_PAGE_SIZE"),
    }


def _find_trouble(storage: Storage) -> str:
    """Why the registry cannot work; "" if it can."""
    try:
        storage.index.totals()
        if not os.access(storage.content.root, os.W_OK):
            return f"{storage.content.root} cannot be written to"
    except (OSError, sqlite3.Error) as error:
        return str(error)
    return ""
