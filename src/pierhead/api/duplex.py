"""A connection that carries bytes both ways and no HTTP: raw, or in the frames of a web socket."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Protocol

from pierhead.api.connection import READ_BYTES
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.connection import Connection

_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FRAME_BYTES_MOST = 1 << 20
_LONG, _LONGER = 126, 127


class Duplex(Protocol):
    """Bytes both ways."""

    async def read(self) -> bytes:
        """What came; b"" when the client has closed its half."""

    async def write(self, data: bytes) -> None:
        """The client will get it; waits while it does not read."""

    async def end(self) -> None:
        """The client reads the end after what was written."""


class RawDuplex:
    """The connection as it is."""

    def __init__(self, connection: Connection) -> None:
        """The connection stays the caller's."""
        self._connection = connection

    async def read(self) -> bytes:
        """What came."""
        return await self._connection.reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        """The client will get it."""
        await self._connection.send(data)

    async def end(self) -> None:
        """The client reads the end."""
        writer = self._connection.writer
        if not writer.is_closing() and writer.can_write_eof():
            writer.write_eof()


def accept_key(key: str) -> str:
    """What proves to the client that its wish was understood (RFC 6455 section 4.2.2)."""
    proof = hashlib.sha1(key.encode() + _KEY_SUFFIX, usedforsecurity=False).digest()
    return base64.b64encode(proof).decode()


def encode_frame(data: bytes, opcode: int = _BINARY) -> bytes:
    """A whole message of the server's, which is not masked (RFC 6455 section 5.2)."""
    size = len(data)
    if size < _LONG:
        return bytes((0x80 | opcode, size)) + data
    if size < 1 << 16:
        return struct.pack(">BBH", 0x80 | opcode, _LONG, size) + data
    return struct.pack(">BBQ", 0x80 | opcode, _LONGER, size) + data


def unmask(data: bytes, mask: bytes) -> bytes:
    """What the client meant (RFC 6455 section 5.3)."""
    size = len(data)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


class SocketDuplex:
    """The frames of a web socket; bounds of messages mean nothing."""

    def __init__(self, connection: Connection) -> None:
        """The connection stays the caller's."""
        self._connection = connection
        self._closing = False

    async def read(self) -> bytes:
        """What the next frame with something in it has.

        Raises:
            InvalidInput: the client does not keep to RFC 6455.
        """
        while True:
            opcode, data = await self._read_frame()
            if opcode == _CLOSE:
                return b""
            if opcode == _PING:
                await self._connection.send(encode_frame(data, _PONG))
            elif opcode in (_CONTINUATION, _TEXT, _BINARY) and data:
                return data

    async def _read_frame(self) -> tuple[int, bytes]:
        reader = self._connection.reader
        try:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size == _LONG:
                size = int.from_bytes(await reader.readexactly(2), "big")
            elif size == _LONGER:
                size = int.from_bytes(await reader.readexactly(8), "big")
            if not second & 0x80 or size > _FRAME_BYTES_MOST:
                raise InvalidInput("malformed web socket frame", code="bad-request")
            mask = await reader.readexactly(4)
            data = await reader.readexactly(size)
        except EOFError:  # IncompleteReadError: it went without a word
            return _CLOSE, b""
        return first & 0x0F, unmask(data, mask)

    async def write(self, data: bytes) -> None:
        """The client gets a binary message."""
        await self._connection.send(encode_frame(data))

    async def end(self) -> None:
        """The client is told that nothing more comes (RFC 6455 section 7.4.1: 1000, normal)."""
        if not self._closing and not self._connection.writer.is_closing():
            self._closing = True
            await self._connection.send(encode_frame(struct.pack(">H", 1000), _CLOSE))
