"""What a route answers: values that the server sends.  Pure.

Reply       a status and a body that is there
Stream      a body that comes in pieces, after its headers
Hijack      the connection itself, for what is no HTTP
Socket      the same in the frames of RFC 6455
"""

from __future__ import annotations

import json

from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pierhead.api.duplex import Duplex
    from pierhead.api.ports import Attachment
    from pierhead.errors import PierheadError

    Answer = "Reply | Stream | Hijack | Socket"
    Talk = Callable[[Duplex], Awaitable[None]]

JSON = "application/json"
RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"


class Reply(Value):
    """An answer that is whole.

    Fields:
        headers: without those that every answer has.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Stream(Value):
    """An answer whose headers are sent at once.

    Fields:
        pieces: each is sent when it comes; the server closes the iterator if the client goes.
        lasting: whether it may go on for ever, so that a server that stops does not wait for its end.
    """

    pieces: AsyncIterator[bytes]
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed
    lasting: bool = False


class Hijack(Value):
    """The connection is the talk's from now on, and is closed when that ends.

    Fields:
        content_type: of what follows.
        talk: reads and writes.
        attachment: what it is already had with; closed at the end, also where the talk never began.
    """

    content_type: str
    talk: Talk
    attachment: Attachment | None = None


class Socket(Value):
    """As ``Hijack``, over a web socket."""

    talk: Talk
    attachment: Attachment | None = None


def encode_json(document: object) -> bytes:
    """A document as Docker's server writes it: in one line, with its end."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"


def reply_json(document: object, status: int = 200) -> Reply:
    """The document."""
    return Reply(status=status, body=encode_json(document), headers={"Content-Type": JSON})


def reply_nothing(status: int = 204) -> Reply:
    """That it is done."""
    return Reply(status=status)


def reply_error(error: PierheadError) -> Reply:
    """The error as every client of Docker's reads it; ``code`` is ours.

    The hint has a line of its own: who looks for Docker's sentence finds it, and people see what to do.
    """
    if error.status == 304:
        return reply_nothing(304)
    message = f"{error.message}\nhint: {error.hint}" if error.hint else error.message
    return reply_json({"message": message, "code": error.code}, error.status)
