"""The head of an HTTP request: its first line and its headers, as a value.  Pure.

    POST /v1.51/containers/create?name=web HTTP/1.1 CRLF
    Host: docker CRLF
    Content-Length: 2 CRLF
    CRLF

Strict where two readers could disagree about where a request ends (RFC 9112 sections 3, 5 and 6, and 11.2 of
what comes of it): no folded headers, no space before a colon, one length only.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

from pierhead.errors import InvalidInput
from pierhead.values import Value

CHUNKED = -1
"""The length of a body that comes in chunks."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_BAD_TARGET = re.compile(r"[\x00-\x20\x7f]").search
_LENGTH_DIGITS_MOST = 18
_FIELDS_MOST = 1000


class Head(Value):
    """A request without its body.

    Fields:
        method: in capitals, as it came.
        path: decoded, without the query.
        query: names to their values, decoded.
        minor: of HTTP/1: 0 or 1.
        headers: by names in small letters; those that came twice are joined by commas.
        length: bytes of the body; ``CHUNKED`` if it says so itself.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    minor: int
    headers: dict[str, str]
    length: int

    @property
    def stays(self) -> bool:
        """Whether the client wants to send more requests over the connection (RFC 9112 section 9.3)."""
        words = self.headers.get("connection", "").lower()
        return "keep-alive" in words if self.minor == 0 else "close" not in words

    @property
    def upgrade(self) -> str:
        """The protocol that the client wants to change to, in small letters; "" for none."""
        if "upgrade" not in self.headers.get("connection", "").lower():
            return ""
        return self.headers.get("upgrade", "").strip().lower()


def parse_head(raw: bytes) -> Head:
    """The head that these bytes are, up to and with the empty line.

    Raises:
        InvalidInput: they are none.
    """
    first, *lines = _as_sent(raw.decode("latin-1").lstrip("\r\n")).removesuffix("\r\n\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not _TOKEN(words[0]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _bad("the first line is none of HTTP/1.1")
    headers = _parse_headers(lines)
    path, query = _split_target(words[1])
    minor = int(words[2][-1])
    return Head(
        method=words[0],
        path=path,
        query=query,
        minor=minor,
        headers=headers,
        length=_body_length(headers, minor),
    )


def _as_sent(text: str) -> str:
    r"""With both characters at the end of each line, as programs send them.

    People leave one out: ``echo -e "GET /info HTTP/1.0\r\n"`` of so many instructions ends with a line feed
    of its own, and what is typed has nothing else (RFC 9112 section 2.2 lets servers take them).  One within
    a line stays what it is, and is refused.
    """
    if text.endswith("\r\n\n"):
        return text[:-1] + "\r\n"
    return text if "\r" in text else text.replace("\n", "\r\n")


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN(name) or _BAD_VALUE(value):
            raise _bad("a header is not of the form name: value")
        name, value = name.lower(), value.strip(" \t")
        if name in headers:
            if name in ("content-length", "transfer-encoding", "host"):
                raise _bad(f"there is more than one {name}")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _split_target(target: str) -> tuple[str, dict[str, list[str]]]:
    if _BAD_TARGET(target):
        raise _bad("the target has control characters")
    if not target.isascii():  # as clients send it who do not escape: UTF-8
        target = target.encode("latin-1").decode(errors="replace")
    if target.startswith("http://"):  # as to a proxy, which every server has to take (RFC 9112 section 3.2.2)
        target = f"/{target[7:].partition('/')[2]}"
    path, _, text = target.partition("?")
    if not path.startswith("/"):
        raise _bad("the target is no path")
    path = unquote(path) if "%" in path else path
    try:
        query = parse_qs(text, keep_blank_values=True, max_num_fields=_FIELDS_MOST) if text else {}
    except ValueError:
        raise _bad("the query has too many fields") from None
    return path, query


def _body_length(headers: dict[str, str], minor: int) -> int:
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None or minor == 0:
            raise _bad("the body's length is not clear")
        return CHUNKED
    if length is None:
        return 0
    if not (length.isascii() and length.isdecimal() and len(length) <= _LENGTH_DIGITS_MOST):
        raise _bad("Content-Length is no number")
    return int(length)


def parse_chunk_size(line: bytes) -> int:
    """The size that the line before a chunk says (RFC 9112 section 7.1); extensions are passed over.

    Raises:
        InvalidInput: it says none, or another reader could take it for two lines.
    """
    text = line.removesuffix(b"\r\n")
    digits = text.partition(b";")[0].strip(b" \t")
    if (
        b"\n" in text
        or b"\r" in text
        or not digits
        or len(digits) > _LENGTH_DIGITS_MOST
        or digits.strip(b"0123456789abcdefABCDEF")
    ):
        raise _bad("a chunk has no size")
    return int(digits, 16)


def _bad(what: str) -> InvalidInput:
    return InvalidInput(f"malformed HTTP request: {what}", code="bad-request")
