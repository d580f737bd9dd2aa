"""Blocks read ahead by a thread come in their order, and so do the end and errors."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.images.readahead import ReadAhead

if TYPE_CHECKING:
    from collections.abc import Callable


def giving(
    blocks: list[bytes], after: BaseException | None = None
) -> tuple[Callable[[], bytes], list[bytes]]:
    """A function that gives these blocks, then the end or an error; and what it has given so far."""
    given: list[bytes] = []

    def take() -> bytes:
        if len(given) == len(blocks):
            if after is not None:
                raise after
            return b""
        given.append(blocks[len(given)])
        return given[-1]

    return take, given


def test_order_and_end() -> None:
    """Everything comes once, and the end stays the end."""
    blocks = [b"%d" % number for number in range(1000)]
    take, _ = giving(blocks)
    with ReadAhead(take) as stream:
        assert list(iter(lambda: stream.read(1), b"")) == blocks
        assert stream.read(1) == b""
        assert stream.read(1) == b""


def test_errors_come_after_the_blocks_before_them() -> None:
    """And come again, whoever asks."""
    take, _ = giving([b"a", b"b"], after=ValueError("broken"))
    with ReadAhead(take) as stream:
        assert [stream.read(1), stream.read(1)] == [b"a", b"b"]
        for _ in range(2):
            with pytest.raises(ValueError, match="broken"):
                stream.read(1)


def test_it_does_not_run_far_ahead() -> None:
    """Memory does not grow with a stream that nobody reads, and leaving it ends the thread."""
    take, given = giving([b"x"] * 1000)
    before = set(threading.enumerate())
    with ReadAhead(take) as stream:
        for _ in range(10):
            stream.read(1)
        assert len(set(threading.enumerate()) - before) == 1
    assert set(threading.enumerate()) <= before
    assert len(given) <= 10 + 8 + 1
