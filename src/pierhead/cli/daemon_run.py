"""A daemon that runs: its engine, its listeners, and its end.

lock ─▶ engine ─▶ listeners ─▶ READY=1 ─▶ … ─▶ STOPPING=1 ─▶ requests end ─▶ engine closes
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import signal
import time
from contextlib import AsyncExitStack, contextmanager

import pierhead
from pierhead.api.listeners import inherited_sockets, listening
from pierhead.api.metrics import CONTENT_TYPE, Metrics
from pierhead.api.replies import Reply
from pierhead.api.routes import TABLE
from pierhead.api.routing import Route, Table
from pierhead.api.server import Server
from pierhead.api.tls import make_context
from pierhead.cli.daemon_lock import DataLock
from pierhead.cli.daemon_log import begin_log, set_level
from pierhead.cli.daemon_notify import VARIABLE, Notifier
from pierhead.engine.engine import Engine
from pierhead.errors import InvalidInput, PierheadError
from pierhead.images.remote.tasks import parallel
from pierhead.linux.refusals import Refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from pierhead.api.call import Call
    from pierhead.api.ports import Backend
    from pierhead.cli.daemon_settings import DaemonSettings
    from pierhead.values import Value

_log = logging.getLogger(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT)
_GROUP = "docker"
_LOOK_S = 1.0
_HELD_S = 10.0
"""How long what goes on after requests have ended, or were cut, may take."""
_GAVE_UP = 1


class Daemon:
    """One daemon; ``serve`` is its life."""

    def __init__(self, settings: DaemonSettings, reread: Callable[[], DaemonSettings]) -> None:
        """Nothing is opened yet.

        Args:
            settings: what it was told.
            reread: what it would be told now.
        """
        self._settings = settings
        self._reread = reread
        self._notifier = Notifier(os.environ.get(VARIABLE, ""))
        self._metrics = Metrics()
        self._tls: ssl.SSLContext | None = None
        self._stop = asyncio.Event()

    async def serve(self) -> None:
        """It served until it was told to stop.

        Raises:
            Conflict: another daemon has one of its directories or addresses.
            OperationFailed: it cannot listen, or its engine cannot work.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            lock = stack.enter_context(DataLock(settings.engine.data_root))
            await lock.take()
            if settings.tls is not None:
                self._tls = await asyncio.to_thread(make_context, settings.tls)
            self._watch_signals(stack)
            engine = await stack.enter_async_context(Engine(settings.engine))
            backend: Backend = engine
            version = str((await engine.version()).get("Version", pierhead.__version__))
            async with parallel() as tasks:
                server = Server(backend, TABLE, tasks, metrics=self._metrics, version=version)
                async with AsyncExitStack() as listeners:
                    listeners.push_async_callback(server.stop, settings.patience_s)
                    listeners.callback(self._notifier.stopping)
                    names = await self._listen(listeners, server)
                    await self._serve_metrics(listeners, backend, tasks)
                    listeners.enter_context(_pidfile(settings.pidfile))
                    _log.info("pierd %s is ready at %s", pierhead.__version__, ", ".join(names))
                    self._notifier.ready(f"listening at {', '.join(names)}")
                    await self._until_stopped(server, backend)
                    lock.tell_end()
                    _log.info("stopping; containers go on")
                    asyncio.get_running_loop().call_later(settings.patience_s + _HELD_S, _give_up)
        _log.info("pierd has stopped")

    def _watch_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._stop.set)
            stack.callback(loop.remove_signal_handler, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)

    async def _listen(self, stack: AsyncExitStack, server: Server) -> list[str]:
        settings = self._settings
        inherited = inherited_sockets(os.environ, os.getpid())
        ours = settings.engine.rootless is None  # else all groups but the user's are somebody else's
        group_id = _group_id(settings.group) if ours or settings.group else -1
        names = []
        for address in settings.addresses:
            if address.kind == "tcp" and self._tls is None:
                _log.warning("%s has no TLS: whoever reaches it is root on this machine", address.text)
            found = await stack.enter_async_context(
                listening(address, server.accept, tls=self._tls, group_id=group_id, inherited=inherited)
            )
            names += [each.text for each in found]
        return names

    async def _serve_metrics(self, stack: AsyncExitStack, backend: Backend, tasks: asyncio.TaskGroup) -> None:
        address = self._settings.metrics
        if address is None:
            return

        async def show(call: Call) -> Reply:
            gauges = _gauges(await call.backend.info())
            return Reply(body=self._metrics.format(gauges).encode(), headers={"Content-Type": CONTENT_TYPE})

        table = Table([Route(method="GET", pattern="/metrics", perform=show, writes=False)])
        server = Server(backend, table, tasks, metrics=Metrics(), version=pierhead.__version__)
        stack.push_async_callback(server.stop, 1.0)
        found = await stack.enter_async_context(listening(address, server.accept))
        _log.info("metrics are at http://%s/metrics", found[0].text.removeprefix("tcp://"))

    async def _until_stopped(self, server: Server, backend: Backend) -> None:
        """Somebody said so, or nobody has wanted anything for long enough and nothing runs."""
        while True:
            try:
                await asyncio.wait_for(self._stop.wait(), _LOOK_S if self._settings.idle_s else None)
            except TimeoutError:
                idle_s = time.monotonic() - server.active_s
                if server.busy or idle_s < self._settings.idle_s:
                    continue
                if await backend.list_containers(stopped=False, limit=0, size=False, filters={}):
                    continue
                _log.info("nobody has wanted anything for %d s, and nothing runs", idle_s)
            return

    def _reload(self) -> None:
        """What can change without a new start has changed; the rest is said."""
        self._notifier.reloading()
        try:
            wanted = self._reread()
            if self._tls is not None and wanted.tls is not None:
                self._tls.load_cert_chain(wanted.tls.certificate, wanted.tls.key)
        except (PierheadError, OSError) as error:
            _log.error("the configuration was not read anew: %s", error)
            self._notifier.ready("the configuration was not read anew")
            return
        now = self._settings.replace(
            log_level=wanted.log_level, idle_s=wanted.idle_s, patience_s=wanted.patience_s, tls=wanted.tls
        )
        set_level(now.log_level)
        if now != wanted:
            changed = [*_changed(now, wanted), *_changed(now.engine, wanted.engine)]
            told = ", ".join(name.replace("_", "-") for name in changed if name != "engine")
            _log.warning("changes of %s need a new start of pierd", told)
        self._settings = now
        _log.info("the configuration was read anew")
        self._notifier.ready("the configuration was read anew")


def _changed(now: Value, wanted: Value) -> list[str]:
    """Names of fields in which they differ."""
    return [name for name in now.fields if getattr(now, name) != getattr(wanted, name)]


def _give_up() -> None:
    """The process ends here and now, as by SIGKILL: the kernel holds a thread, which nobody can cancel, most
    often for a disk or a network file system.  What was left half-way is settled by the next daemon.
    """
    _log.error("something does not end; pierd ends without it")
    os._exit(_GAVE_UP)


@contextmanager
def _pidfile(path: str) -> Iterator[None]:
    """The process's number stands there as long as it serves."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    beside = f"{path}.new"
    with open(beside, "w", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    os.replace(beside, path)
    try:
        yield
    finally:
        os.unlink(path)


def _group_id(name: str) -> int:
    """Of a group's name or number; of docker's where nobody names one; -1 for none.

    Raises:
        InvalidInput: there is no such group.
    """
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name or _GROUP).gr_gid if name or os.geteuid() == 0 else -1
    except KeyError:
        if not name:
            return -1
        raise InvalidInput(f"there is no group {name}", code="no-group", hint="groupadd makes one") from None


def _gauges(info: dict[str, object]) -> dict[str, float]:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    figures: dict[str, float] = {"memory_bytes": pages * os.sysconf("SC_PAGE_SIZE")}
    for name, key in (
        ("containers_running", "ContainersRunning"),
        ("containers_paused", "ContainersPaused"),
        ("containers_stopped", "ContainersStopped"),
        ("images", "Images"),
    ):
        number = info.get(key, 0)
        figures[name] = number if isinstance(number, int) else 0
    return figures


def run(
    settings: DaemonSettings, *, reread: Callable[[], DaemonSettings], passed_over: tuple[str, ...]
) -> None:
    """A daemon ran until it was told to stop.

    Args:
        settings: what it was told.
        reread: what it would be told now.
        passed_over: keys of its configuration that change nothing.

    Raises:
        PierheadError: it could not, or not any more.
    """
    begin_log(settings.log_level, settings.log_format)
    for key in passed_over:
        _log.warning("%s in the configuration changes nothing", key)
    with Refusals("serve"):
        asyncio.run(_serve(settings, reread))


async def _serve(settings: DaemonSettings, reread: Callable[[], DaemonSettings]) -> None:
    await Daemon(settings, reread).serve()
