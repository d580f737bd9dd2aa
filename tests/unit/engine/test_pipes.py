"""Bytes between the loop and threads."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.pipes import feed, read_written
from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BLOCK = b"x" * 100_000


async def blocks(count: int) -> AsyncIterator[bytes]:
    """More than a pipe holds."""
    for _ in range(count):
        yield BLOCK


def read_whole(fd: int) -> int:
    """How many bytes come."""
    total = 0
    while data := os.read(fd, 65536):
        total += len(data)
    return total


def test_what_a_thread_writes_comes() -> None:
    """All of it, in its order."""

    def write(fd: int) -> None:
        for number in range(50):
            data = bytes([number]) * 100_000
            while data:
                data = data[os.write(fd, data) :]

    async def run() -> bytes:
        return b"".join([block async for block in read_written(write)])

    assert asyncio.run(run()) == b"".join(bytes([number]) * 100_000 for number in range(50))


def test_an_error_of_the_writer_comes_after_what_it_wrote() -> None:
    """Nothing that was written is lost, and the failure is not either."""

    def write(fd: int) -> None:
        os.write(fd, b"before")
        raise InvalidInput("no more")

    got: list[bytes] = []

    async def run() -> None:
        async for block in read_written(write):
            got.append(block)  # noqa: PERF401 - what came before the failure is what is asked

    with pytest.raises(InvalidInput, match="no more"):
        asyncio.run(run())
    assert got == [b"before"]


def test_a_thread_is_fed() -> None:
    """It reads everything that comes, to the end."""
    assert asyncio.run(feed(blocks(50), read_whole)) == 50 * len(BLOCK)


def test_a_reader_that_fails_early() -> None:
    """The rest is passed over, and the failure raised: whoever sends is not left waiting."""

    def read(fd: int) -> None:
        os.read(fd, 10)
        raise InvalidInput("that is nothing")

    with pytest.raises(InvalidInput, match="that is nothing"):
        asyncio.run(feed(blocks(50), read))


def test_a_sender_that_fails() -> None:
    """The thread sees the end of what came, and the sender's failure is raised."""

    async def breaks() -> AsyncIterator[bytes]:
        yield BLOCK
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(feed(breaks(), read_whole))
