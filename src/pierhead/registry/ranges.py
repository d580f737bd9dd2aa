"""Ranges of bytes in the headers of requests.  Pure.

Source: RFC 9110 section 14; distribution-spec "Pushing a blob in chunks" (there Content-Range has no unit).
"""

from __future__ import annotations

import re

from pierhead.registry.faults import Fault

_RANGE = re.compile(r"bytes=\s*(\d*)-(\d*)\s*")
_CHUNK = re.compile(r"(?:bytes[ =])?(\d+)-(\d+)(?:/(?:\d+|\*))?")
_DIGITS_MOST = 18
"""More of them make no size that exists."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last that a Range header asks for; None means the whole.

    Of several ranges, or another unit than bytes, nothing is made: a server may answer with the whole.

    Raises:
        Fault: RANGE_INVALID with what the content has: it cannot be satisfied, or is malformed.
    """
    if not header.startswith("bytes=") or "," in header:
        return None
    match = _RANGE.fullmatch(header)
    first, last = match.groups() if match else ("", "")
    if not (first or last):
        raise _not_satisfiable(header, size)
    if first:
        start, end = _position(first), min(_position(last) + 1, size) if last else size
        # A last byte before the first is no range at all, whatever the content's size.
        backwards = bool(last) and _position(last) < start
    else:
        start, end, backwards = max(size - _position(last), 0), size, False
    if backwards or start >= end:
        raise _not_satisfiable(header, size)
    return start, end


def _position(digits: str) -> int:
    """The number; one that is larger than any content is as good as any other such."""
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS_MOST else 10**_DIGITS_MOST


def _not_satisfiable(header: str, size: int) -> Fault:
    message = f"the range {header[:80]!r} is not in a content of {size} bytes"
    return Fault("RANGE_INVALID", message, headers={"Content-Range": f"bytes */{size}"})


def parse_chunk(header: str) -> tuple[int, int]:
    """The first byte and the one after the last that a chunk's Content-Range says it is.

    Raises:
        Fault: BLOB_UPLOAD_INVALID: malformed.
    """
    match = _CHUNK.fullmatch(header.strip())
    if match is None or max(map(len, match.groups())) > _DIGITS_MOST or int(match[2]) < int(match[1]):
        hint = "a chunk says Content-Range: FIRST-LAST"
        raise Fault("BLOB_UPLOAD_INVALID", f"{header[:80]!r} is not a range of a chunk", hint=hint)
    return int(match[1]), int(match[2]) + 1


def format_received(size: int) -> str:
    """The Range header that says how much of an upload is there.

    Of nothing it is ``0-0`` as well: clients expect a range, and take its length from elsewhere.
    """
    return f"0-{max(size - 1, 0)}"
