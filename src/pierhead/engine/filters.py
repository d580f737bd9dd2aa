"""What filters of all lists have in common.  Pure.

Source: the API's description of ``filters``.
"""

from __future__ import annotations

import time

from pierhead.engine.moments import parse_moment
from pierhead.errors import InvalidInput
from pierhead.figures import parse_span_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def check_names(filters: Iterable[str], known: Collection[str]) -> None:
    """There are no filters but these.

    Raises:
        InvalidInput: there is one, in Docker's words.
    """
    for name in filters:
        if name not in known:
            hint = f"there are {', '.join(sorted(known))}"
            raise InvalidInput(f"invalid filter '{name}'", code="invalid-filter", hint=hint)


def parse_until(text: str, now_ns: int) -> int:
    """Unix time in ns: of a moment, of seconds since 1970, or of a span before now (``1h30m``).

    Raises:
        InvalidInput: it is none of them.
    """
    span_ns = parse_span_ns(text)
    if span_ns is not None and text != "0":
        return now_ns - span_ns
    try:
        seconds, _, fraction = text.partition(".")
        if seconds.isdecimal():
            return int(seconds) * 1_000_000_000 + int((fraction + "000000000")[:9])
        return parse_moment(text if "T" in text else f"{text}T00:00:00Z")
    except ValueError:
        message = f"invalid time '{text}'"
        hint = f"as 10m, 1h30m, {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now_ns / 1e9))}"
        raise InvalidInput(message, code="invalid-filter", hint=hint) from None
