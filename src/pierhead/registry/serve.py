"""A registry that runs: its listener, and its end."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import socket
import ssl
import threading
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial

from aiohttp import web

from pierhead.errors import Conflict, OperationFailed, PierheadError
from pierhead.linux.files import lock_at_once
from pierhead.registry.access import default_access, parse_access
from pierhead.registry.accesslog import AccessLog
from pierhead.registry.gate import Gate
from pierhead.registry.metrics import Metrics
from pierhead.registry.passwords import Passwords
from pierhead.registry.replies import reply_fault
from pierhead.registry.server import Server
from pierhead.registry.settings import check_settings
from pierhead.registry.storage import Storage
from pierhead.registry.tokens import Tokens, load_key
from pierhead.registry.upkeep import Upkeep
from pierhead.registry.watching import watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from pierhead.registry.cache import Cache
    from pierhead.registry.settings import Settings

    Answerer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)

_READ_BYTES = 1 << 18
"""What aiohttp reads ahead of each client: half of it while a block is hashed."""
_HEADER_BYTES_MOST = 1 << 15
"""A token grows with what it grants, a request for tags with their number."""
_BACKLOG = 1024
_CANCEL_S = 1.0
"""aiohttp takes nothing more from clients when it winds down, so what is left then is given up soon."""
_LISTEN_HINTS = {
    errno.EADDRINUSE: "stop what listens there, or take another port",
    errno.EADDRNOTAVAIL: "take an address that this machine has",
    errno.EACCES: "ports below 1024 are root's: take another one",
}
_STOPPING = (signal.SIGTERM, signal.SIGINT)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[int]:
    """A registry listens inside; gives the port.  On leaving, requests get a moment to end.

    Raises:
        InvalidInput: the settings do not go together, or a file that they name holds something else.
        Conflict: another registry serves this directory.
        OperationFailed: it cannot listen there, or a file cannot be read.
    """
    check_settings(settings)
    async with AsyncExitStack() as stack:
        storage = await asyncio.to_thread(stack.enter_context, _opened(settings.root))
        metrics = Metrics()
        access_log = (
            AccessLog(settings.access_log, settings.access_log_format) if settings.access_log else None
        )
        if access_log is not None:
            stack.enter_context(access_log)
            _reopen_on_hangup(stack, access_log)
        gate = await asyncio.to_thread(_make_gate, settings)
        tls = await asyncio.to_thread(_make_tls, settings)
        cache = await _open_cache(stack, storage, settings, metrics) if settings.upstreams else None
        server = Server(storage, settings, metrics=metrics, gate=gate, access_log=access_log, cache=cache)
        if settings.metrics_port >= 0:
            where = (settings.metrics_host, settings.metrics_port)
            await _listen(stack, partial(_watch, storage, metrics), where, idle_s=settings.idle_s)
        port = await _listen(
            stack,
            server.answer,
            (settings.host, settings.port),
            idle_s=settings.idle_s,
            tls=tls,
            drain=partial(server.drain, settings.stop_s),
        )
        upkeep = Upkeep(storage, metrics, settings, more_came=cache.grown if cache else asyncio.Event())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(upkeep.run())
            try:
                yield port
            finally:
                upkeep.stop()


@contextmanager
def _opened(root: str) -> Iterator[Storage]:
    """The storage, which no other server has: uploads and their hashes are kept in one process."""
    with Storage(root) as storage:
        fd = os.open(f"{storage.root}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(fd, storage.root)
            yield storage
        finally:
            os.close(fd)


def _lock(fd: int, root: str) -> None:
    if not lock_at_once(fd):
        message = f"another registry serves {root}"
        raise Conflict(message, code="registry-is-served", hint="give each its own directory")


async def _open_cache(stack: AsyncExitStack, storage: Storage, settings: Settings, metrics: Metrics) -> Cache:
    """Upstreams need the client's part of aiohttp: it is loaded only for them."""
    from pierhead.images.remote.connection import Connection, Patience
    from pierhead.images.remote.credentials import CredentialFile
    from pierhead.registry.cache import Cache

    if settings.upstream_ca:
        try:
            await asyncio.to_thread(ssl.create_default_context, cafile=settings.upstream_ca)
        except OSError as error:
            raise _cannot_read(settings.upstream_ca, error) from error
    path = settings.upstream_credentials
    find = CredentialFile(path, environment=os.environ).find if path else None
    # Short: a client waits, and what is here already is better than an answer that comes late.
    patience = Patience(attempts=2, first_delay_s=0.2, connect_timeout_s=5.0)
    connection = await stack.enter_async_context(Connection(find_credentials=find, patience=patience))
    return await stack.enter_async_context(Cache(storage, settings, connection, metrics))


def _make_gate(settings: Settings) -> Gate | None:
    if not settings.htpasswd:
        return None
    access = default_access(anonymous_pull=settings.anonymous_pull)
    if settings.access_rules:
        try:
            with open(settings.access_rules, encoding="utf-8") as file:
                access = parse_access(file.read(), name=settings.access_rules)
        except OSError as error:
            raise _cannot_read(settings.access_rules, error) from error
    tokens = None
    if settings.auth == "token":
        key = load_key(settings.token_key or f"{settings.root}/token-key.pem")
        tokens = Tokens(key, settings.token_service or f"{settings.host}:{settings.port}")
    return Gate(Passwords(settings.htpasswd), access, tokens, realm=settings.token_realm)


def _make_tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # also what is no certificate: SSLError
        names = f"{settings.tls_cert}, {settings.tls_key}"
        raise _cannot_read(f"{names}, {settings.tls_client_ca}".rstrip(", "), error) from error
    return context


def _cannot_read(path: str, error: OSError) -> OperationFailed:
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot use {path}: {reason}", errno=error.errno or 0)


async def _watch(storage: Storage, metrics: Metrics, request: web.BaseRequest) -> web.StreamResponse:
    try:
        return await watch(request, storage, metrics)
    except PierheadError as error:
        return reply_fault(error)


def _reopen_on_hangup(stack: AsyncExitStack, access_log: AccessLog) -> None:
    """SIGHUP begins a new file, as those who rotate logs expect; only a main thread has signals."""
    if threading.current_thread() is threading.main_thread():
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, access_log.reopen)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)


async def _listen(
    stack: AsyncExitStack,
    answer: Answerer,
    where: tuple[str, int],
    *,
    idle_s: float,
    tls: ssl.SSLContext | None = None,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """The function answers what comes there, until the stack is left; returns the port.

    Then nobody new comes in, ``drain`` waits for the requests that are there, and what is left is cut off.
    Whoever sends no whole request within ``idle_s`` is hung up on: connections are not without number.
    """
    listener = web.Server(
        answer,
        read_bufsize=_READ_BYTES,
        max_line_size=_HEADER_BYTES_MOST,
        max_field_size=_HEADER_BYTES_MOST,
        auto_decompress=False,
        keepalive_timeout=idle_s,
        access_log=None,
    )
    runner = web.ServerRunner(listener, shutdown_timeout=_CANCEL_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = where
    site = web.TCPSite(runner, host, port, backlog=_BACKLOG, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise _cannot_listen(host, port, error) from error
    if drain is not None:
        stack.push_async_callback(drain)
    stack.push_async_callback(site.stop)
    found: int = runner.addresses[0][1]
    return found


def _cannot_listen(host: str, port: int, error: OSError) -> OperationFailed:
    """The kernel's words: asyncio puts its own into ``strerror``, which have the address once more."""
    number = error.errno or 0
    if isinstance(error, socket.gaierror):
        return OperationFailed(f"cannot listen at {host}:{port}: there is no such host", code="cannot-listen")
    reason = os.strerror(number).lower() if number else str(error)
    return OperationFailed(
        f"cannot listen at {host}:{port}: {reason}",
        errno=number,
        code="cannot-listen",
        hint=_LISTEN_HINTS.get(number, ""),
    )


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
