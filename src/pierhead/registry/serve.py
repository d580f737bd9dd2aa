"""A registry that runs: its listener, and its end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from pierhead.errors import OperationFailed
from pierhead.registry.server import Server
from pierhead.registry.storage import Storage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pierhead.registry.settings import Settings

_READ_BYTES = 1 << 18
"""What aiohttp reads ahead of each client: half of it while a block is hashed."""
_GRACE_S = 10.0
_STOPPING = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[int]:
    """A registry listens inside; gives the port.  On leaving, requests get a moment to end."""
    async with AsyncExitStack() as stack:
        storage = stack.enter_context(await asyncio.to_thread(Storage, settings.root))
        server = Server(storage, settings)
        listener = web.Server(server.answer, read_bufsize=_READ_BYTES, auto_decompress=False, access_log=None)
        runner = web.ServerRunner(listener, shutdown_timeout=_GRACE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        yield await _listen(runner, settings)


async def _listen(runner: web.ServerRunner, settings: Settings) -> int:
    site = web.TCPSite(runner, settings.host, settings.port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(f"cannot listen at {where}: {reason}", errno=error.errno or 0) from error
    port: int = runner.addresses[0][1]
    return port


async def serve(settings: Settings, *, ready: Callable[[int], None] = lambda _: None) -> None:
    """A registry ran until the process was told to stop (SIGTERM, SIGINT).

    Args:
        settings: its own.
        ready: called with the port when it listens.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _STOPPING:
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(settings) as port:
            ready(port)
            await stop.wait()
    finally:
        for number in _STOPPING:
            loop.remove_signal_handler(number)


def run(settings: Settings, *, ready: Callable[[int], None] = lambda _: None) -> None:
    """As ``serve``, for a program that has no event loop."""
    asyncio.run(serve(settings, ready=ready))
