"""Answers on the wire: status lines, headers, chunks."""

from __future__ import annotations

import time
from http import HTTPStatus

from pierhead.api.duplex import RawDuplex, SocketDuplex, accept_key
from pierhead.api.replies import Socket
from pierhead.api.streams import closing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pierhead.api.connection import Connection
    from pierhead.api.duplex import Duplex
    from pierhead.api.head import Head
    from pierhead.api.replies import Hijack, Reply, Stream

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WITHOUT_BODY = (204, 304)
_FIRST_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n" for each in HTTPStatus}


def format_date(time_s: float) -> str:
    """``Thu, 26 Nov 2026 08:00:00 GMT`` (RFC 9110 section 5.6.7); words that no locale changes."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(time_s)
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year} {hour:02}:{minute:02}:{second:02} GMT"


class Sender:
    """Sends answers, each with the headers that all have."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """These are the headers."""
        self._common = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._dated = (0, "")

    def _head(self, status: int, headers: Mapping[str, str], *, close: bool) -> bytes:
        now_s = int(time.time())
        if self._dated[0] != now_s:
            self._dated = (now_s, f"Date: {format_date(now_s)}\r\n")
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        end = "Connection: close\r\n\r\n" if close else "\r\n"
        return f"{_FIRST_LINES[status]}{self._common}{self._dated[1]}{own}{end}".encode("latin-1", "replace")

    async def reply(self, connection: Connection, head: Head | None, reply: Reply, *, close: bool) -> None:
        """The whole answer is sent."""
        headers, body = reply.headers, reply.body
        if reply.status not in _WITHOUT_BODY:
            headers = {**headers, "Content-Length": str(len(body))}
        if head is not None and head.method == "HEAD":
            body = b""
        await connection.send(self._head(reply.status, headers, close=close) + body)

    async def stream(self, connection: Connection, head: Head, stream: Stream, *, close: bool) -> None:
        """The headers are sent, then each piece when it comes.

        Raises:
            ClientGone: the client went; nothing is left open.
        """
        chunked = head.minor == 1
        headers = {**stream.headers, "Transfer-Encoding": "chunked"} if chunked else stream.headers
        with connection.while_there():
            async with closing(stream.pieces):
                await connection.send(self._head(stream.status, headers, close=close or not chunked))
                async for piece in stream.pieces:
                    if not piece:
                        continue
                    await connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            if chunked:
                await connection.send(b"0\r\n\r\n")

    async def take_over(self, connection: Connection, head: Head, answer: Hijack | Socket) -> None:
        """The talk has been had, and what it was had with is closed.

        Clients that name a protocol are told that it changes, in words of Docker's own; older ones are sent
        an answer without an end.  Web sockets: RFC 6455 section 4.2.2.

        Raises:
            ClientGone: the client went.
        """
        connection.hijacked = True
        duplex: Duplex = RawDuplex(connection)
        if isinstance(answer, Socket):
            proof = accept_key(head.headers["sec-websocket-key"])
            first, lines = "101 Switching Protocols", f"Sec-WebSocket-Accept: {proof}\r\n"
            duplex = SocketDuplex(connection)
        elif head.upgrade == "tcp":
            first, lines = "101 UPGRADED", f"Content-Type: {answer.content_type}\r\n"
        else:
            first, lines = "200 OK", f"Content-Type: {answer.content_type}\r\n"
        if first != "200 OK":
            lines += f"Connection: Upgrade\r\nUpgrade: {head.upgrade}\r\n"
        try:
            await connection.send(f"HTTP/1.1 {first}\r\n{lines}{self._common}\r\n".encode("latin-1"))
            with connection.while_there():
                await answer.talk(duplex)
        finally:
            if answer.attachment is not None:
                await answer.attachment.close()
