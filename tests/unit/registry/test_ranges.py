"""Ranges of bytes in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.registry.faults import Fault
from pierhead.registry.ranges import format_received, parse_chunk, parse_range

SIZES = st.integers(0, 100)


@given(first=SIZES, last=SIZES, size=SIZES)
def test_ranges_are_slices(first: int, last: int, size: int) -> None:
    """A range is what Python's slice gives, or it is refused because that is empty."""
    part = bytes(size)[first : last + 1]
    if part:
        assert parse_range(f"bytes={first}-{last}", size) == (first, first + len(part))
        return
    with pytest.raises(Fault) as caught:
        parse_range(f"bytes={first}-{last}", size)
    assert (caught.value.status, caught.value.headers) == (416, {"Content-Range": f"bytes */{size}"})


@given(last=SIZES, size=st.integers(1, 100))
def test_ends(last: int, size: int) -> None:
    """The last bytes, as many as there are."""
    if last == 0:
        with pytest.raises(Fault):
            parse_range("bytes=-0", size)
    else:
        assert parse_range(f"bytes=-{last}", size) == (max(0, size - last), size)


@given(st.text("0123456789-, =", max_size=8) | st.text(max_size=20))
def test_anything(text: str) -> None:
    """Whatever a client sends is a range within the content, the whole, or refused."""
    try:
        found = parse_range(f"bytes={text}", 50)
    except Fault:
        return
    assert found is None or 0 <= found[0] < found[1] <= 50


def test_what_is_ignored() -> None:
    """Nothing, another unit, several ranges."""
    for header in ("", "lines=1-2", "bytes=0-1,4-5"):
        assert parse_range(header, 10) is None


def test_chunks() -> None:
    """A chunk's range, with a unit or, as the protocol has it, without."""
    assert parse_chunk("0-9") == (0, 10)
    assert parse_chunk("bytes 5-9/*") == (5, 10)
    assert parse_chunk("bytes=5-5") == (5, 6)
    for header in ("", "x", "-5", "5-", "9-0", "1-99999999999999999999", "1-2-3"):
        with pytest.raises(Fault, match="is not a range"):
            parse_chunk(header)


def test_what_is_there() -> None:
    """The last byte's number; also of nothing."""
    assert [format_received(size) for size in (0, 1, 2, 1000)] == ["0-0", "0-0", "0-1", "0-999"]
