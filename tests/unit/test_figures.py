"""Sizes, times and tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.figures import describe_span, format_age, format_columns, format_size, parse_size

HOUR_S, DAY_S = 3600, 86400


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1_040_000, "1.04MB"),
        (134_499_999, "134MB"),
        (999_600_000, "1GB"),
        (7 * 10**18, "7000PB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    """Three figures, and never a thousand of a unit that has a next one."""
    assert format_size(count) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("100", 100),
        ("64m", 64 << 20),
        ("1.5G", 3 << 29),
        ("2kb", 2048),
        ("1GiB", 1 << 30),
        ("", None),
        ("m", None),
        ("-1", None),
        ("1.2.3", None),
        ("1x", None),
        ("٣", None),
    ],
)
def test_reading_sizes(text: str, count: int | None) -> None:
    """As docker's --memory takes them; nothing else is one."""
    assert parse_size(text) == count


@given(st.text(max_size=6))
def test_any_size(text: str) -> None:
    """Nothing raises."""
    parse_size(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "Less than a second"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    """As people say them, in Docker's steps."""
    assert describe_span(seconds) == text


@pytest.mark.parametrize(
    ("age_s", "text"),
    [
        (0.5, "Less than a second ago"),
        (1, "1 second ago"),
        (119, "About a minute ago"),
        (120, "2 minutes ago"),
        (3 * HOUR_S, "3 hours ago"),
        (2 * DAY_S, "2 days ago"),
        (13 * DAY_S, "13 days ago"),
        (14 * DAY_S, "2 weeks ago"),
        (100 * DAY_S, "3 months ago"),
        (800 * DAY_S, "2 years ago"),
    ],
)
def test_ages(age_s: float, text: str) -> None:
    """The same, as of something past."""
    assert format_age(age_s) == text


def test_columns() -> None:
    """As wide as they need; nothing stands behind the last one."""
    assert format_columns([("A", "BB"), ("long", "")]) == "A      BB\nlong\n"
