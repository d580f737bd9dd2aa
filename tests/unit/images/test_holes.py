"""What of a file is left out of archives: the same on every file system, and nothing but zeros."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pierhead.images.holes import find_regions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.images.tarlayer.sparse import Regions

UNIT = 1 << 16
MIB = 1 << 20


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """A file that is empty, on two file systems."""
    directory = tmp_path if request.param == "disk" else "/dev/shm"
    fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    yield fd
    os.close(fd)


def regions(fd: int, size: int, *pieces: tuple[int, bytes]) -> Regions | None:
    """Of a file with these pieces."""
    os.ftruncate(fd, size)
    for at, data in pieces:
        os.pwrite(fd, data, at)
    found = find_regions(fd, os.fstat(fd))
    assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    return found


def test_pieces(place: int) -> None:
    """Whole units around what is there; what touches is one region; a hole at the end is said."""
    found = regions(place, 8 * MIB, (5, b"a"), (UNIT + 9, b"b"), (MIB + 1, b"c"), (4 * MIB - 1, b"d"))
    assert found == ((0, 2 * UNIT), (MIB, UNIT), (4 * MIB - UNIT, UNIT), (8 * MIB, 0))


def test_data_at_the_end(place: int) -> None:
    """The last unit is as long as the file lets it be."""
    assert regions(place, 2 * MIB + 100, (2 * MIB + 99, b"x")) == ((2 * MIB, 100),)


def test_nothing_at_all(place: int) -> None:
    """A file of one hole has its size and nothing else."""
    assert regions(place, 5 * MIB + 7) == ((5 * MIB + 7, 0),)


def test_zeros_that_were_written_count_as_holes(place: int) -> None:
    """Where one file system has zeros, another one may have a hole."""
    assert regions(place, 4 * MIB, (0, b"x" + bytes(MIB - 1))) == ((0, UNIT), (4 * MIB, 0))


def test_what_saves_little_is_whole(place: int) -> None:
    """Small holes, and files without any."""
    assert regions(place, MIB + 100, (0, b"x" * UNIT)) is None
    assert regions(place, MIB + 100, (0, b"x" * (MIB + 100))) is None


def test_a_map_has_an_end(tmp_path: Path) -> None:
    """More regions than readers take become fewer, and hold everything still."""
    count = 20_000
    with (tmp_path / "file").open("wb+") as file:
        for number in range(count):
            os.pwrite(file.fileno(), b"x", number * 2 * UNIT)
        os.ftruncate(file.fileno(), count * 2 * UNIT + 64 * MIB)
        found = find_regions(file.fileno(), os.fstat(file.fileno()))
    assert found is not None
    assert len(found) == count // 2 + 1
    assert found[:2] == ((0, 3 * UNIT), (4 * UNIT, 3 * UNIT))
