"""Times as image documents write them: RFC 3339."""

from __future__ import annotations

import datetime as dt
import re

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


def parse_time(text: str) -> float:
    """Seconds since 1970; 0 for a text that is no such time: what an image says of itself may be anything."""
    try:
        parsed = dt.datetime.fromisoformat(_FRACTION.sub(r".\1", text, count=1))
    except ValueError:
        return 0.0
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=dt.UTC)
    return max(0.0, parsed.timestamp())


def format_time(seconds: float) -> str:
    """As RFC 3339 in UTC, to the second."""
    moment = dt.datetime.fromtimestamp(int(seconds), dt.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
