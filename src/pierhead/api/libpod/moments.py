"""Moments as libpod's clients write them: RFC 3339, seconds since 1970, or a span before now.  Pure."""

from __future__ import annotations

from pierhead.engine.filters import parse_until
from pierhead.images.times import parse_time


def moment_ns(text: str, now_ns: int) -> int:
    """Unix time; 0 for none, which Go's clients write as the first day of the first year.

    Raises:
        InvalidInput: it is none of them.
    """
    if not text:
        return 0
    if "T" in text:
        return int(parse_time(text) * 1e9)
    return max(0, parse_until(text, now_ns))
