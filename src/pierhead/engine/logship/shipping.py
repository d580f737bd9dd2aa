"""Who sends on what containers write: a companion of each one's start and end; see the package."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from itertools import islice
from typing import TYPE_CHECKING

from pierhead.engine.lifecycle import is_alive
from pierhead.engine.lognews import LogNews
from pierhead.engine.logship.journald import JOURNAL_SOCKET, JournalSink
from pierhead.engine.logship.syslog import SyslogSink
from pierhead.engine.specgen.logwords import is_shipped, kept_files
from pierhead.errors import PierheadError
from pierhead.runtime.logs import LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol, Self

    from pierhead.engine.jobs import Jobs
    from pierhead.engine.record import Record
    from pierhead.engine.settings import Paths
    from pierhead.runtime import Container
    from pierhead.runtime.logs import LogEntry

    class Sink(Protocol):
        """A log of others."""

        async def open(self) -> None:
            """It can be sent to.  Raises PierheadError."""

        async def send(self, entry: LogEntry) -> None:
            """It has the line.  Raises OSError."""

        def close(self) -> None:
            """The connection is given up."""


_log = logging.getLogger(__name__)
_BATCH = 128
"""How many lines are sent before others have their turn."""
_END_S = 10.0
"""How long a container's end waits for its last lines, as with docker; later they are sent too."""
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 30.0
_NOTE_BYTES = 42


class Shippers:
    """One task for each container whose driver sends lines on; see ``supervise.Companion``."""

    def __init__(self, jobs: Jobs, paths: Paths, *, journal_socket: str = JOURNAL_SOCKET) -> None:
        """Nothing is sent yet."""
        self._jobs = jobs
        self._paths = paths
        self._journal_socket = journal_socket
        self._shipments: dict[str, _Shipment] = {}

    def _sink(self, record: Record) -> Sink:
        if record.host.log_config.type == "journald":
            return JournalSink(record, self._journal_socket)
        return SyslogSink(record)

    async def check(self, record: Record) -> None:
        """The container's lines can be sent, as far as is known before there are any.

        Raises:
            PierheadError: nobody is there who would take them.
        """
        if not is_shipped(record.host.log_config):
            return
        sink = self._sink(record)
        try:
            await sink.open()
        except PierheadError as error:
            message = f"failed to initialize logging driver: {error.message}"
            raise type(error)(message, code=error.code, hint=error.hint) from None
        finally:
            sink.close()

    async def begin(self, record: Record, container: Container) -> None:  # noqa: ARG002 - a companion's
        """The container runs: what it writes is sent from now on."""
        if is_shipped(record.host.log_config):
            self._begin(record).news.go_on()

    def _begin(self, record: Record) -> _Shipment:
        shipment = self._shipments.get(record.id)
        if shipment is None or shipment.is_done.is_set():
            note = f"{self._paths.container(record.id)}/shipped"
            shipment = _Shipment(record, self._paths.log(record.id), note, lambda: self._sink(record))
            self._shipments[record.id] = shipment
            shipment.task = self._jobs.begin_passing(shipment.ship())
        return shipment

    async def end(self, record: Record) -> None:
        """The container has ended, and its last lines are sent, unless nobody takes them for long."""
        if not is_shipped(record.host.log_config):
            return
        shipment = self._begin(record)
        shipment.news.end()
        try:
            async with asyncio.timeout(_END_S):
                await shipment.is_done.wait()
        except TimeoutError:
            _log.warning("container %s: its last lines wait for the server of its log", record.name)

    def restore(self, records: Iterable[Record]) -> None:
        """What containers that do not run have written, and nobody has sent, is sent."""
        for record in records:
            if is_shipped(record.host.log_config) and not is_alive(record) and record.state.started_ns:
                self._begin(record).news.end()

    def forget(self, container_id: str) -> None:
        """The container is gone, and its log with it."""
        shipment = self._shipments.pop(container_id, None)
        if shipment is not None and shipment.task is not None:
            shipment.task.cancel()


class _Shipment:
    """Of one container's lines, until all that can come are sent."""

    def __init__(self, record: Record, log: str, note: str, make_sink: Callable[[], Sink]) -> None:
        """Args: note is the file in which stands how far lines were sent."""
        self._record = record
        self._log = log
        self._note = note
        self._make_sink = make_sink
        self._sink: Sink | None = None
        self._delay_s = 0.0
        os.makedirs(os.path.dirname(log), mode=0o710, exist_ok=True)
        self.news = LogNews(os.path.dirname(log))
        self.is_done = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def ship(self) -> None:
        """All is sent; a server that goes away is looked for again and again."""
        try:
            with contextlib.closing(LogReader(self._log)) as reader, _Note(self._note) as note:
                self._find_place(reader, note)
                with self.news.watched():
                    await self._ship(reader, note)
        except FileNotFoundError:  # the container is being removed
            _log.debug("the log of container %s is gone", self._record.name)
        finally:
            self.is_done.set()

    def _find_place(self, reader: LogReader, note: _Note) -> None:
        found = note.read()
        if found is None:
            reader.close()  # and begins anew
        elif not reader.go_to(*found):
            _log.warning("container %s: lines were dropped before they were sent", self._record.name)
            reader.close()

    async def _ship(self, reader: LogReader, note: _Note) -> None:
        while True:
            try:
                await self._send_all(reader, note)
            except (PierheadError, OSError) as error:
                if not self._delay_s:
                    _log.warning("container %s: its output cannot be sent on: %s", self._record.name, error)
            else:
                return
            finally:
                if self._sink is not None:
                    self._sink.close()
                    self._sink = None
            self._delay_s = min(max(_FIRST_DELAY_S, 2 * self._delay_s), _LONGEST_DELAY_S)
            await asyncio.sleep(self._delay_s)

    async def _send_all(self, reader: LogReader, note: _Note) -> None:
        """Nobody is asked for before there is something to send.

        Raises:
            OSError, PierheadError: the server is gone: the reader is before the line that it has not got.
        """
        kept = kept_files(self._record.host.log_config)
        while True:
            ended = self.news.take()
            while entries := await asyncio.to_thread(lambda: list(_next(reader, _BATCH))):
                for place, entry in entries:
                    try:
                        await self._send(entry)
                    except (OSError, PierheadError):
                        self._find_place(reader, note)
                        raise
                    note.write(place)
                    self._delay_s = 0.0
                reader.drop_read(kept)
            if not ended:
                await self.news.wait()
            elif self.news.take():  # else it has been started again meanwhile
                return

    async def _send(self, entry: LogEntry) -> None:
        if self._sink is None:
            self._sink = self._make_sink()
            await self._sink.open()
        await self._sink.send(entry)


def _next(reader: LogReader, count: int) -> Iterable[tuple[tuple[int, int], LogEntry]]:
    for entry in islice(reader.take(), count):
        yield reader.place, entry


class _Note:
    """How far a log was sent: a file that is written in place, one small write each time, which is whole."""

    def __init__(self, path: str) -> None:
        """The file is there."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self) -> tuple[int, int] | None:
        """Inode and offset; None where nothing was sent yet."""
        numbers = os.pread(self._fd, _NOTE_BYTES, 0).split()
        return (int(numbers[0]), int(numbers[1])) if len(numbers) == 2 else None

    def write(self, place: tuple[int, int]) -> None:
        """So far."""
        os.pwrite(self._fd, b"%-20d %-20d\n" % place, 0)
