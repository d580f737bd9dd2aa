"""Several things at once."""

from __future__ import annotations

import threading
import time

import pytest

from pierhead.images.sidebyside import side_by_side


def test_two_at_once_and_in_their_order() -> None:
    """Each waits for the other: one after the other they would never end."""
    both = threading.Barrier(2, timeout=60)

    def meet(number: int) -> int:
        both.wait()
        return -number

    assert side_by_side(meet, [1, 2, 3, 4], at_once=2) == [-1, -2, -3, -4]


def test_one_alone_and_none() -> None:
    """No thread is made for them."""
    assert side_by_side(lambda _: threading.current_thread(), [1], at_once=2) == [threading.main_thread()]
    assert side_by_side(abs, []) == []


def test_the_first_error_ends_it() -> None:
    """What was begun has ended, and nothing else is begun."""
    begun, failed, before = [], threading.Event(), set(threading.enumerate())

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            failed.set()
            raise ValueError(number)
        failed.wait()
        time.sleep(0.01)  # who is to notice gets a turn long before the last of them

    with pytest.raises(ValueError, match="0"):
        side_by_side(work, list(range(1000)), at_once=2)
    count = len(begun)
    assert count < 1000
    assert set(threading.enumerate()) <= before
