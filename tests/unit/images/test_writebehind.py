"""Blocks put by a thread arrive in their order; its errors come back to whoever makes them."""

from __future__ import annotations

import threading

import pytest

from pierhead.images.writebehind import WriteBehind


def test_everything_arrives() -> None:
    """In its order, also what was a part of a buffer that is used anew."""
    arrived: list[bytes] = []
    buffer = bytearray(3)
    with WriteBehind(arrived.append) as behind:
        for number in range(200):
            buffer[:] = b"%03d" % number
            behind.append(memoryview(buffer))
        behind.finish()
    assert arrived == [b"%03d" % number for number in range(200)]


def append_many(behind: WriteBehind) -> None:
    """More than there is room for."""
    for _ in range(1000):
        behind.append(b"x")


def test_errors_come_back() -> None:
    """At one of the next blocks, and at the end; nothing is put after it."""
    put: list[bytes] = []

    def fail(block: bytes) -> None:
        put.append(block)
        raise ValueError("broken")

    before = set(threading.enumerate())
    with WriteBehind(fail) as behind:
        behind.append(b"x")
        with pytest.raises(ValueError, match="broken"):
            append_many(behind)
        with pytest.raises(ValueError, match="broken"):
            behind.finish()
    assert put == [b"x"]
    assert set(threading.enumerate()) <= before


def test_leaving_without_an_end() -> None:
    """Ends the thread, when it is done with what it has."""
    arrived: list[bytes] = []
    before = set(threading.enumerate())
    with WriteBehind(arrived.append) as behind:
        behind.append(b"x")
    assert arrived == [b"x"]
    assert set(threading.enumerate()) <= before
