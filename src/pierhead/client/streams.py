"""Streams of a process over a connection: of a terminal as they are, else in frames.

    frame = stream (0, 1 or 2)  3 zeros  length (4 bytes, the greatest first)  that many bytes

Source: ``POST /containers/{id}/attach`` of the Docker API, "Stream format".
"""

from __future__ import annotations

from _socket import MSG_DONTWAIT, SHUT_WR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterable, Iterator
    from typing import Self

    from pierhead.client.tls import TlsSocket
    from pierhead.client.wire import Answer

_HEADER_BYTES = 8
STREAMS = ("stdin", "stdout", "stderr")


class Streams:
    """Streams of a process over a connection that was HTTP.

    Attributes:
        raw: whether it is one stream of a terminal, and not framed.
    """

    def __init__(self, connected: socket | TlsSocket, answer: Answer, *, raw: bool) -> None:
        """Takes the socket over, whose answer has been read up to where the streams begin.

        Args:
            connected: becomes ours.
            answer: on it.
            raw: whether it is a terminal's; before 1.42 of the API, no header tells.
        """
        self._socket = connected
        self.raw = raw
        self._buffer = answer.take_buffer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to poll."""
        return self._socket.fileno()

    def write(self, data: bytes) -> None:
        """The process will read it."""
        self._socket.sendall(data)

    def write_some(self, data: bytes) -> int:
        """How many bytes of it the process will read; waits for nobody.

        Over TLS it waits: there is no other way to send a record.
        """
        try:
            return self._socket.send(data, MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def close_input(self) -> None:
        """The process reads end-of-file."""
        try:
            self._socket.shutdown(SHUT_WR)
        except OSError:  # the engine has closed it already
            return

    def pending(self) -> bool:
        """Whether ``read`` gives something without receiving more."""
        return bool(self._frame_size()) or (self.raw and bool(self._buffer))

    def read(self) -> list[tuple[str, bytes]] | None:
        """Whole pieces with their streams, after receiving once; None at the end."""
        pieces = self._split()
        if pieces:
            return pieces
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        self._buffer += data
        return self._split()

    def _frame_size(self) -> int:
        """Bytes of the next frame, if all of it is here."""
        if self.raw or len(self._buffer) < _HEADER_BYTES:
            return 0
        size = _HEADER_BYTES + int.from_bytes(self._buffer[4:_HEADER_BYTES], "big")
        return size if len(self._buffer) >= size else 0

    def _split(self) -> list[tuple[str, bytes]]:
        if self.raw:
            data, self._buffer = self._buffer, b""
            return [("stdout", data)] if data else []
        found = []
        while size := self._frame_size():
            number = min(self._buffer[0], len(STREAMS) - 1)
            found.append((STREAMS[number], self._buffer[_HEADER_BYTES:size]))
            self._buffer = self._buffer[size:]
        return found


def split_frames(pieces: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """Frames of a body, each with its stream."""
    buffer = b""
    for piece in pieces:
        buffer += piece
        at = 0
        while len(buffer) - at >= _HEADER_BYTES:
            end = at + _HEADER_BYTES + int.from_bytes(buffer[at + 4 : at + _HEADER_BYTES], "big")
            if len(buffer) < end:
                break
            yield STREAMS[min(buffer[at], len(STREAMS) - 1)], buffer[at + _HEADER_BYTES : end]
            at = end
        buffer = buffer[at:]
