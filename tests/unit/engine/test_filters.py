"""What filters of all lists have in common."""

from __future__ import annotations

import pytest

from pierhead.engine.filters import parse_until
from pierhead.errors import InvalidInput


def test_times() -> None:
    """Spans before now, seconds since 1970, dates."""
    now_ns = 10**18
    assert parse_until("1h30m", now_ns) == now_ns - 5400 * 10**9
    assert parse_until("0s", now_ns) == now_ns
    assert parse_until("0", now_ns) == 0
    assert parse_until("12.5", now_ns) == 12_500_000_000
    assert parse_until("1970-01-02", now_ns) == 86400 * 10**9
    assert parse_until("1970-01-01T00:00:01.5Z", now_ns) == 1_500_000_000
    with pytest.raises(InvalidInput, match="invalid time 'soon'"):
        parse_until("soon", now_ns)
