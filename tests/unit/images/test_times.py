"""Times in image documents."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.images.times import format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10),
        ("2015-10-31T22:22:56.015925234Z", 1446330176.015925),
        ("1970-01-01T01:00:00+01:00", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:10", 10),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_reading(text: str, seconds: float) -> None:
    """Go's nanoseconds, its time of nothing, other zones; anything else is no time."""
    assert parse_time(text) == pytest.approx(seconds)


ZONES = st.one_of(st.none(), st.timezones())
NEAR = st.text("0123456789-:TZ.+W ", max_size=30)


@given(st.one_of(st.datetimes(timezones=ZONES).map(dt.datetime.isoformat), NEAR, st.text(max_size=30)))
def test_any_text(text: str) -> None:
    """Nothing raises, nothing is before 1970."""
    assert parse_time(text) >= 0


@given(st.integers(0, 2**35))
def test_there_and_back(seconds: int) -> None:
    """What is written is read."""
    assert parse_time(format_time(seconds)) == seconds
