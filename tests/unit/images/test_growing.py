"""A file is read as it is written: in order, whole, and never further than it was told of."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import OperationFailed
from pierhead.images.growing import GrowingFile, Growth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def growth() -> Iterator[Growth]:
    """Of a file that becomes as large as the content."""
    made = Growth(len(CONTENT))
    yield made
    made.close()


@pytest.fixture
def file_fd(tmp_path: Path) -> Iterator[int]:
    """A file that has all of the content already, whatever is told."""
    (tmp_path / "file").write_bytes(CONTENT)
    fd = os.open(tmp_path / "file", os.O_RDWR)
    yield fd
    os.close(fd)


def test_only_what_was_told_is_read(growth: Growth, file_fd: int) -> None:
    """However much is asked for, and however much stands in the file."""
    file = GrowingFile(file_fd, growth.fd, len(CONTENT))
    assert growth.tell(100)
    assert file.read(1000) == CONTENT[:100]
    assert growth.tell(100)
    assert growth.tell(150)
    assert growth.tell(300)
    assert file.read(1000) == CONTENT[100:300]
    assert growth.tell(len(CONTENT))
    assert b"".join(iter(lambda: file.read(1000), b"")) == CONTENT[300:]
    assert file.read(1000) == b""


def test_a_reader_waits(growth: Growth, file_fd: int) -> None:
    """Told byte by byte, it reads all of it."""
    file = GrowingFile(file_fd, growth.fd, len(CONTENT))
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.extend(iter(lambda: file.read(1 << 20), b"")))
    reading.start()
    for size in range(1, len(CONTENT) + 1):
        growth.tell(size)
    reading.join()
    assert b"".join(found) == CONTENT


def test_stopping_a_reader_that_waits(growth: Growth, file_fd: int) -> None:
    """It has come to the end, and stays there."""
    file = GrowingFile(file_fd, growth.fd, len(CONTENT))
    found: list[bytes] = []
    reading = threading.Thread(target=lambda: found.append(file.read(10)))
    reading.start()
    file.stop()
    reading.join()
    assert found == [b""]
    assert file.read(10) == b""


def test_less_than_before(growth: Growth, file_fd: int) -> None:
    """Whoever tells of it knows that what was read means nothing; a file that was cut is an error."""
    file = GrowingFile(file_fd, growth.fd, len(CONTENT))
    assert growth.tell(100)
    assert not growth.tell(50)
    os.ftruncate(file_fd, 0)
    with pytest.raises(OperationFailed, match="was cut"):
        file.read(10)


def test_nothing_at_all(file_fd: int) -> None:
    """A content without bytes is at its end at once."""
    growth = Growth(0)
    assert GrowingFile(file_fd, growth.fd, 0).read(10) == b""
    growth.close()
    growth.close()
