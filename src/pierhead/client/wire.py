"""HTTP/1.1 as far as the Docker API needs it: one request on a connection, its answer piece by piece.

Pure over a function that receives bytes.  http.client alone, with the email package that it needs, takes as
long to import as a container takes to start.

Source: RFC 9112.
"""

from __future__ import annotations

from pierhead.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_HEAD_BYTES_MAX = 65536
_LINE_BYTES_MAX = 4096
_READ_BYTES = 65536


def encode_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request without its body."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def encode_chunk(data: bytes) -> bytes:
    """A piece of a body; b"" is its end."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Answer:
    """An answer on its way.

    Attributes:
        status: three digits.
        headers: by their names in small letters.
    """

    def __init__(self, receive: Callable[[int], bytes], *, method: str) -> None:
        """The head is read.

        Args:
            receive: gives at most so many bytes, and b"" at the end.
            method: of the request: an answer to HEAD has no body.

        Raises:
            Unavailable: what comes is no answer.
        """
        self._receive = receive
        self._buffer = b""
        self.status, self.headers = self._read_head()
        self._has_body = method != "HEAD" and self.status not in (101, 204, 304)

    def _read_head(self) -> tuple[int, dict[str, str]]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise _strange("its head has no end")
            self._fill()
        head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not code.isdecimal():
            raise _strange(f"it begins with {first[:60]!r}")
        pairs = (line.partition(":") for line in lines)
        return int(code), {name.strip().lower(): value.strip() for name, _, value in pairs}

    def _fill(self) -> None:
        data = self._receive(_READ_BYTES)
        if not data:
            raise Unavailable(
                "the engine hung up in the middle of its answer",
                code="engine-hung-up",
                hint="containers go on without it; try again, and its log tells more",
            )
        self._buffer += data

    def body(self) -> Iterator[bytes]:
        """Pieces of the body as they come.

        Raises:
            Unavailable: it ends before its end.
        """
        if not self._has_body:
            return
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self._counted(int(self.headers["content-length"]))
        else:
            yield from self._to_the_end()

    def take_buffer(self) -> bytes:
        """What came behind the head already, of a connection that is no HTTP any more."""
        data, self._buffer = self._buffer, b""
        return data

    def _counted(self, left: int) -> Iterator[bytes]:
        while left:
            if not self._buffer:
                self._fill()
            piece, self._buffer = self._buffer[:left], self._buffer[left:]
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            size = self._line().partition(b";")[0].strip()
            try:
                left = int(size, 16)
            except ValueError:
                raise _strange(f"{size[:20]!r} is no length of a chunk") from None
            if not left:
                while self._line():
                    continue
                return
            yield from self._counted(left)
            self._line()

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _LINE_BYTES_MAX:
                raise _strange("a line of it has no end")
            self._fill()
        line, self._buffer = self._buffer[:end], self._buffer[end + 2 :]
        return line

    def _to_the_end(self) -> Iterator[bytes]:
        if self._buffer:
            yield self.take_buffer()
        while data := self._receive(_READ_BYTES):
            yield data


def _strange(why: str) -> Unavailable:
    hint = "is it an engine that listens there, and does it want TLS?"
    return Unavailable(f"the answer is not HTTP: {why}", code="not-http", hint=hint)
