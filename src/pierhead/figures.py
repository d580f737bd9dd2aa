"""Sizes, times and tables as people read them; the same words as docker's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_UNITS = {"": 0, "b": 0} | {
    unit + suffix: 10 * power for power, unit in enumerate("kmgtp", 1) for suffix in ("", "b", "ib")
}
"""Powers of two."""
_DIGITS_MOST = 40
_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_GAP = 3


def format_size(count_bytes: int) -> str:
    """``0B``, ``999B``, ``1.04MB``: powers of 1000 and three figures."""
    size, unit = float(count_bytes), 0
    while size >= 999.5 and unit < len(_SIZES) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g}{_SIZES[unit]}" if size < 1000 else f"{size:.0f}{_SIZES[unit]}"


def parse_size(text: str) -> int | None:
    """Bytes of ``64m``, ``64MiB``, ``1.5 g``, ``100``: powers of 1024, as docker's flags; None if it is not a
    size, or one of more than 64 bits.
    """
    number = text.rstrip("bBiIkKmMgGtTpP")
    unit = text[len(number) :].lower()
    whole, point, fraction = number.strip().partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdecimal() and whole and unit in _UNITS) or (point and not fraction):
        return None
    size = (int(digits) << _UNITS[unit]) // 10 ** len(fraction) if len(digits) < _DIGITS_MOST else 1 << 64
    return size if size < 1 << 63 else None


def parse_span_ns(text: str) -> int | None:
    """Nanoseconds of ``1h30m``, ``1.5s``, as Go writes them; None if it is no time."""
    if text == "0":
        return 0
    total, at = 0.0, 0
    while at < len(text):
        begin = at
        while at < len(text) and (text[at].isdecimal() or text[at] == "."):
            at += 1
        number, unit_at = text[begin:at], at
        while at < len(text) and not (text[at].isdecimal() or text[at] == "."):
            at += 1
        factor = _UNITS_NS.get(text[unit_at:at])
        if factor is None or not number.strip(".") or number.count(".") > 1 or not number.isascii():
            return None
        total += float(number) * factor
    return round(total) if text else None


def describe_span(seconds: float) -> str:
    """How long something takes, as docker says it: ``About an hour``, ``3 days``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    if hours < 24 * 7 * 2:
        return f"{hours // 24} days"
    if hours < 24 * 30 * 2:
        return f"{hours // 24 // 7} weeks"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{hours // 24 // 365} years"


def format_age(age_s: float) -> str:
    """``Less than a second ago``, ``3 hours ago``."""
    return f"{describe_span(age_s)} ago"


def format_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as they need, three apart."""
    widths = [max(len(cell) for cell in column) + _GAP for column in zip(*rows, strict=True)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )
