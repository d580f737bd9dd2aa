"""Streams of processes as the API is given them: from a monitor, or from pipes or a terminal of ours.

A container's streams are its monitor's, which outlives the engine; those of a further process (exec) are the
engine's own, since nobody could be connected with it any more once the engine is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import termios
from collections import deque

from pierhead.errors import Conflict, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Protocol

    from pierhead.engine.queries import AttachQuery
    from pierhead.runtime.attach import AttachClient
else:
    Protocol = object

_BLOCK_BYTES = 65536
_PATIENCE_S = 4.0
_AFTER_END_S = 2.0
"""How long others may still hold the streams of a process that has ended, as with Docker."""


class Descriptor:
    """A descriptor that does not block, waited for on the event loop; closed once."""

    def __init__(self, fd: int) -> None:
        """Takes the descriptor over."""
        self.fd = fd
        self.wakers: set[Callable[[], None]] = set()

    async def writable(self) -> None:
        """Something can be written, or the descriptor has been closed."""
        loop = asyncio.get_running_loop()
        await _wait((self,), loop.add_writer, loop.remove_writer)

    def wake(self) -> None:
        """Those who wait go on."""
        for waker in tuple(self.wakers):
            waker()

    def close(self, close: Callable[[int], object] = os.close) -> None:
        """The descriptor is given back; those who wait for it go on."""
        if self.fd < 0:
            return
        self.wake()
        fd, self.fd = self.fd, -1
        close(fd)


async def any_readable(*descriptors: Descriptor) -> None:
    """One of them has something to read, or has been closed or woken."""
    loop = asyncio.get_running_loop()
    await _wait(descriptors, loop.add_reader, loop.remove_reader)


async def _wait(
    descriptors: tuple[Descriptor, ...], add: Callable[..., None], remove: Callable[[int], object]
) -> None:
    if any(each.fd < 0 for each in descriptors):
        return
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watched = [each.fd for each in descriptors]

    def wake() -> None:
        """Nobody looks at the descriptors any more: one of them may be closed next."""
        while watched:
            remove(watched.pop())
        if not ready.done():
            ready.set_result(None)

    for each in descriptors:
        add(each.fd, wake)
        each.wakers.add(wake)
    try:
        await ready
    finally:
        for each in descriptors:
            each.wakers.discard(wake)
        wake()


class Attachment(Protocol):
    """As ``api.ports`` has it."""

    @property
    def terminal(self) -> bool:
        """Whether it is one stream, of a terminal."""

    def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """Pieces, each with its stream, until the process has ended."""

    async def write(self, data: bytes) -> None:
        """The process will read it; waits while it does not."""

    async def close_input(self) -> None:
        """The process reads end-of-file after what was written."""

    def detached(self) -> None:
        """The client has typed the keys by which it leaves."""

    async def close(self) -> None:
        """The connection is given up."""


class MonitorAttachment:
    """A connection with a container's monitor, made when the container starts."""

    def __init__(
        self, query: AttachQuery, *, terminal: bool, closes_input: bool, patience_s: float = _PATIENCE_S
    ) -> None:
        """Args:
        query: which streams.
        terminal: whether it is one stream.
        closes_input: whether the process reads end-of-file when this client's input ends, or the client goes
            away; with Docker it is so where ``StdinOnce`` says it, and never at a terminal.
        patience_s: how often a piece is taken for a client that takes none.
        """
        self._patience_s = patience_s
        self._ahead: deque[tuple[str, bytes] | None] = deque()
        self._keeping: asyncio.TimerHandle | None = None
        self._query = query
        self._terminal = terminal
        self._closes_input = closes_input and query.stdin and not terminal
        self._client: AttachClient | None = None
        self._descriptor = Descriptor(-1)
        self._settled = asyncio.Event()
        self.on_detach: Callable[[], None] | None = None
        self._before: AsyncIterator[tuple[str, bytes]] | None = None

    @property
    def terminal(self) -> bool:
        """See ``api.ports.Attachment``."""
        return self._terminal

    @property
    def is_closed(self) -> bool:
        """Whether nobody waits for anything here any more."""
        return self._settled.is_set() and self._client is None

    def connect(self, client: AttachClient) -> None:
        """The process's monitor is there; the client becomes the attachment's."""
        if self.is_closed:
            client.close()
            return
        client.set_blocking(False)
        self._client = client
        self._descriptor = Descriptor(client.fileno())
        self._settled.set()

    def begin_with(self, pieces: AsyncIterator[tuple[str, bytes]]) -> None:
        """What was written before comes first."""
        self._before = pieces

    def give_up(self) -> None:
        """There will be no process."""
        self._settled.set()

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ``api.ports.Attachment``."""
        wanted = (*("stdout",) * self._query.stdout, *("stderr",) * self._query.stderr)
        if self._before is not None:
            self._keep_up()
            try:
                async for past in self._before:
                    yield past
            finally:
                self._stop_keeping_up()
        await self._settled.wait()
        while (found := self._ahead.popleft() if self._ahead else await self._next()) is not None:
            if found[0] in wanted:
                self._keep_up()
                yield found
                self._stop_keeping_up()

    async def _next(self) -> tuple[str, bytes] | None:
        while (client := self._client) is not None:
            try:
                return client.read()
            except BlockingIOError:
                await any_readable(self._descriptor)
            except (PierheadError, OSError):  # its monitor was killed
                return None
        return None

    def _keep_up(self) -> None:
        """A client may read as slowly as it likes, and the process waits for it, as with Docker: the monitor,
        which hangs up on whoever takes nothing for ten seconds, sees a piece taken now and then.
        """
        self._keeping = asyncio.get_running_loop().call_later(self._patience_s, self._take_ahead)

    def _take_ahead(self) -> None:
        if self._client is None:
            if not self._settled.is_set():
                self._keep_up()
            return
        try:
            self._ahead.append(self._client.read())
        except BlockingIOError:
            pass
        except (PierheadError, OSError):
            self._ahead.append(None)
        if not self._ahead or self._ahead[-1] is not None:
            self._keep_up()

    def _stop_keeping_up(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None

    async def write(self, data: bytes) -> None:
        """See ``api.ports.Attachment``."""
        await self._settled.wait()
        rest = memoryview(data)
        while rest and (client := self._client) is not None:
            try:
                rest = rest[client.write(bytes(rest)) :]
            except BlockingIOError:
                await self._descriptor.writable()
            except Conflict:  # it has ended, and reads nothing more
                return

    async def close_input(self) -> None:
        """See ``api.ports.Attachment``."""
        await self._settled.wait()
        if not self._closes_input:
            return
        self._closes_input = False
        while (client := self._client) is not None:
            try:
                client.close_input()
            except BlockingIOError:
                await self._descriptor.writable()
            except Conflict:
                return
            else:
                return

    def detached(self) -> None:
        """See ``api.ports.Attachment``."""
        if self.on_detach is not None:
            self.on_detach()

    async def close(self) -> None:
        """See ``api.ports.Attachment``."""
        client, self._client = self._client, None
        self._stop_keeping_up()
        self._settled.set()
        if client is None:
            return
        if self._closes_input:
            with contextlib.suppress(Conflict, OSError):
                client.close_input()
        self._descriptor.close(lambda _: client.close())


class OwnAttachment:
    """The streams of a further process, which are ours: pipes, or a terminal."""

    def __init__(self, outputs: dict[str, int], input_fd: int, *, terminal: bool) -> None:
        """Takes the descriptors over.

        Args:
            outputs: what the process writes to, by stream; a terminal's is ``stdout``.
            input_fd: what it reads from; -1 for nothing, the terminal's again where there is one.
            terminal: whether it is one stream.
        """
        self._terminal = terminal
        self._outputs = {stream: Descriptor(fd) for stream, fd in outputs.items()}
        if terminal:
            self._input = self._outputs["stdout"]
        else:
            self._input = Descriptor(input_fd)
        for descriptor in (*self._outputs.values(), self._input):
            if descriptor.fd >= 0:
                os.set_blocking(descriptor.fd, False)
        self.on_detach: Callable[[], None] | None = None
        self._deadline: float | None = None
        self._ended = asyncio.Event()

    @property
    def terminal(self) -> bool:
        """See ``api.ports.Attachment``."""
        return self._terminal

    def ended(self) -> None:
        """The process has ended: what it wrote is still read, but others that hold its streams are not
        waited for long.
        """
        self._ended.set()
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + _AFTER_END_S
        loop.call_at(self._deadline, self._wake)

    def _wake(self) -> None:
        for descriptor in self._outputs.values():
            descriptor.wake()

    def _is_over(self) -> bool:
        return self._deadline is not None and asyncio.get_running_loop().time() >= self._deadline

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ``api.ports.Attachment``.

        It ends after the process, whose streams end a moment earlier: clients ask for its exit code then.
        """
        open_streams = {stream: each for stream, each in self._outputs.items() if each.fd >= 0}
        while open_streams:
            found = False
            for stream, descriptor in tuple(open_streams.items()):
                piece = _read(descriptor)
                if piece:
                    found = True
                    yield stream, piece
                elif piece is not None or self._is_over():
                    del open_streams[stream]
            if open_streams and not found:
                await any_readable(*open_streams.values())
        await self._ended.wait()

    async def write(self, data: bytes) -> None:
        """See ``api.ports.Attachment``."""
        rest = memoryview(data)
        while rest and self._input.fd >= 0:
            try:
                rest = rest[os.write(self._input.fd, rest) :]
            except BlockingIOError:
                await self._input.writable()
            except OSError:  # it reads nothing more
                return

    async def close_input(self) -> None:
        """See ``api.ports.Attachment``."""
        if self._terminal:
            await self.write(b"\x04")
        else:
            self._input.close()

    def detached(self) -> None:
        """See ``api.ports.Attachment``."""
        if self.on_detach is not None:
            self.on_detach()

    async def close(self) -> None:
        """See ``api.ports.Attachment``."""
        self._input.close()
        for descriptor in self._outputs.values():
            descriptor.close()

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has this size in characters; nothing happens where there is none."""
        if self._terminal and self._input.fd >= 0:
            termios.tcsetwinsize(self._input.fd, (rows, columns))


class FailedAttachment:
    """The streams of a process that could not be started: they say why."""

    def __init__(self, reason: str, *, terminal: bool) -> None:
        """Args: reason is a sentence."""
        self._reason = reason
        self._terminal = terminal

    @property
    def terminal(self) -> bool:
        """See ``api.ports.Attachment``."""
        return self._terminal

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """The reason, and nothing more."""
        yield "stdout" if self._terminal else "stderr", f"{self._reason}\r\n".encode()

    async def write(self, data: bytes) -> None:
        """Nobody reads it."""

    async def close_input(self) -> None:
        """Nobody reads it."""

    def detached(self) -> None:
        """There is nothing to leave."""

    async def close(self) -> None:
        """There is nothing to close."""


def _read(descriptor: Descriptor) -> bytes | None:
    """What is there; empty at the end, None for nothing yet."""
    if descriptor.fd < 0:
        return b""
    try:
        return os.read(descriptor.fd, _BLOCK_BYTES)
    except BlockingIOError:
        return None
    except OSError:  # EIO: nobody has the terminal open any more (pty(7))
        return b""
