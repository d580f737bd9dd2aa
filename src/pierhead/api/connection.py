"""One client's connection: bytes in and out, where a request's body ends, and when the client has gone.

asyncio's streams do the work.  A client that has sent everything may close its half of the connection and
still read (shutdown(2), SHUT_WR): to a hijacked stream that is the end of standard input.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

from pierhead.api.head import CHUNKED, parse_chunk_size, parse_head
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import Any

    from pierhead.api.head import Head

READ_BYTES = 1 << 16
HEAD_BYTES_MOST = 1 << 16
"""Also what is read ahead of whoever takes a body."""
DOCUMENT_BYTES_MOST = 16 << 20


class ClientGone(ConnectionError):
    """Nobody is there any more to read the answer."""


class Connection(asyncio.StreamReaderProtocol):
    """A connection that ``accept`` was told of; its reader and writer are there from then on.

    Attributes:
        role: ``full`` or ``read-only``, what the client may do.
    """

    def __init__(self, accept: Callable[[Connection], None], *, loop: asyncio.AbstractEventLoop) -> None:
        """Made by a listener for each client."""
        self.reader = asyncio.StreamReader(limit=HEAD_BYTES_MOST, loop=loop)
        self.writer: asyncio.StreamWriter
        self.role = "full"
        self.hijacked = False
        self._accept = accept
        self._gone: Callable[[], None] | None = None
        self._is_gone = False
        super().__init__(self.reader, self._connected, loop)

    def _connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._accept(self)

    # What the event loop calls

    def connection_lost(self, error: Exception | None) -> None:
        """Whoever waits for the client's end learns it."""
        super().connection_lost(error)
        self._tell()

    def eof_received(self) -> bool:
        """The output stays open; a client of an ordinary request that sends its end has gone."""
        super().eof_received()
        if not self.hijacked:
            self._tell()
        return True

    def _tell(self) -> None:
        self._is_gone = True
        if self._gone is not None:
            self._gone()

    @contextmanager
    def while_there(self) -> Iterator[None]:
        """What is awaited inside ends with the client.

        Raises:
            ClientGone: the client went.
        """
        task = asyncio.current_task()
        assert task is not None
        gone = False

        def give_up() -> None:
            nonlocal gone
            gone = True
            task.cancel()

        if self._is_gone and not self.hijacked:
            raise ClientGone("the client has gone")
        self._gone = give_up
        try:
            yield
        except asyncio.CancelledError:
            if gone and not task.uncancel():
                raise ClientGone("the client has gone") from None
            raise
        finally:
            self._gone = None

    # What those call who answer

    def certificate(self) -> dict[str, Any]:
        """The client's, as ssl.SSLSocket.getpeercert has it; empty if it showed none."""
        ssl_object = self.writer.get_extra_info("ssl_object")
        return (ssl_object.getpeercert() or {}) if ssl_object is not None else {}

    async def read_head(self) -> Head | None:
        """The next request; None when the client has no more.

        Raises:
            InvalidInput: what came is no request.
        """
        raw = bytearray()
        try:
            while not raw.endswith((b"\n\n", b"\n\r\n")):
                line = await self.reader.readuntil(b"\n")
                if raw or line.strip():
                    raw += line
                if len(raw) > HEAD_BYTES_MOST:
                    raise _too_long()
        except asyncio.IncompleteReadError as error:
            if raw or error.partial.strip():
                raise InvalidInput("malformed HTTP request: it has no end", code="bad-request") from None
            return None
        except asyncio.LimitOverrunError:
            raise _too_long() from None
        return parse_head(bytes(raw))

    async def send(self, data: bytes) -> None:
        """The client will get it; waits while it does not read.

        Raises:
            ClientGone: it went.
        """
        if self.writer.is_closing():
            raise ClientGone("the client has gone")
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError:
            raise ClientGone("the client has gone") from None


def _too_long() -> InvalidInput:
    return InvalidInput(
        f"malformed HTTP request: its head is longer than {HEAD_BYTES_MOST} bytes", code="bad-request"
    )


class Body:
    """What a request carries, piece by piece.

    Args:
        connection: where it comes from.
        length: bytes, or ``CHUNKED``.
        waits: whether the client wants to be told to go on (``Expect: 100-continue``).
    """

    def __init__(self, connection: Connection, length: int, *, waits: bool) -> None:
        self._connection = connection
        self._left = length
        self._chunked = length == CHUNKED
        self._in_chunk = 0
        self._waits = waits
        self.ended = length == 0

    @property
    def awaited(self) -> bool:
        """Whether the client still waits to be told to go on."""
        return self._waits and not self.ended

    async def read(self) -> bytes:
        """The next piece; b"" at the end.

        Raises:
            ClientGone: the client went before the end.
            InvalidInput: the chunks are none.
        """
        if self.ended:
            return b""
        if self._waits:  # RFC 9110 section 10.1.1
            self._waits = False
            await self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await (self._read_chunked() if self._chunked else self._read_counted())

    async def _read_counted(self) -> bytes:
        piece = await self._some(self._left)
        self._left -= len(piece)
        self.ended = not self._left
        return piece

    async def _read_chunked(self) -> bytes:
        if not self._in_chunk:
            self._in_chunk = parse_chunk_size(await self._line())
            if not self._in_chunk:
                while await self._line() != b"\r\n":  # trailers: nobody wants them
                    pass
                self.ended = True
                return b""
        piece = await self._some(self._in_chunk)
        self._in_chunk -= len(piece)
        if not self._in_chunk and await self._line() != b"\r\n":
            raise InvalidInput("malformed HTTP request: a chunk has no end", code="bad-request")
        return piece

    async def _some(self, most: int) -> bytes:
        try:
            piece = await self._connection.reader.read(min(most, READ_BYTES))
        except ConnectionError:
            piece = b""
        if not piece:
            raise ClientGone("the client went before the end of its request")
        return piece

    async def _line(self) -> bytes:
        try:
            return await self._connection.reader.readuntil(b"\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ClientGone("the client went before the end of its request") from None
        except asyncio.LimitOverrunError:
            raise InvalidInput("malformed HTTP request: a chunk has no size", code="bad-request") from None

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it."""
        while piece := await self.read():
            yield piece

    async def whole(self) -> bytes:
        """All of it at once.

        Raises:
            InvalidInput: there is more than a document may have.
        """
        found = bytearray()
        while piece := await self.read():
            found += piece
            if len(found) > DOCUMENT_BYTES_MOST:
                raise InvalidInput(f"request body is larger than {DOCUMENT_BYTES_MOST} bytes")
        return bytes(found)
