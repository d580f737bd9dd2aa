"""Moments as Docker writes them.  Pure."""

from __future__ import annotations

import calendar
import time

_NS = 1_000_000_000
NEVER = "0001-01-01T00:00:00Z"


def format_moment(ns: int) -> str:
    """Unix time as RFC 3339 in UTC, without zeros at the end, as Go writes it; 0 is Go's zero time."""
    if ns == 0:
        return NEVER
    seconds, rest = divmod(ns, _NS)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{text}{fraction}Z"


def parse_moment(text: str) -> int:
    """Unix time in ns of RFC 3339 text in UTC, as monitors write it."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S"))
    return seconds * _NS + int((fraction + "000000000")[:9])
