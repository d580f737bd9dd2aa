"""Where a file has something in it, for archives that leave the rest out.

What is a hole is decided by content in units of 64 KiB: those that are all zeros.  Where file systems have
holes differs with the size of their blocks, and the same files are to give the same archive on any of them.
So that no file is read twice for nothing, only those are looked at that take less on the disk than they are
long, and it has to save a mebibyte.

Layers have no such files, only exported trees on request.  Docker and Podman unpack such a layer rightly, but
cannot put it together again: they note how to from Go's idea of the archive (tar-split), in which holes are
data.  `docker save` says then that files were modified, `podman save` "write too long" (seen with docker
20.10 and Podman 4.3).  Nor does busybox's tar know sparse files.

Source: lseek(2), SEEK_DATA and SEEK_HOLE.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.tarlayer.sparse import Regions

_BLOCK_BYTES = 512  # of st_blocks
_UNIT_BYTES = 1 << 16
_SAVED_BYTES_MIN = 1 << 20
_REGIONS_MAX = 16_384
"""The map stays below a mebibyte: Go reads no larger one (archive/tar, since CVE-2025-58183)."""
_ZEROS = bytes(_UNIT_BYTES)


def find_regions(fd: int, about: os.stat_result) -> Regions | None:
    """What of a file is not zeros: (offset, length), ascending, with an empty one at the end of a file that
    ends in a hole, as GNU tar has it; None for one that is better written whole.

    Args:
        fd: open for reading; where it stands afterwards is where it stood.
        about: what fstat(2) says of it.
    """
    size = about.st_size
    if size - about.st_blocks * _BLOCK_BYTES < _SAVED_BYTES_MIN:
        return None
    stood = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        regions = _scan(fd, size)
    finally:
        os.lseek(fd, stood, os.SEEK_SET)
    while len(regions) > _REGIONS_MAX:
        regions = _join_pairs(regions)
    if size - sum(length for _, length in regions) < _SAVED_BYTES_MIN:
        return None
    if not regions or sum(regions[-1]) < size:
        regions.append((size, 0))
    return tuple(regions)


def _scan(fd: int, size: int) -> list[tuple[int, int]]:
    regions: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole to the end
                break
            raise
        hole = min(os.lseek(fd, data, os.SEEK_HOLE), size)
        at = max(at, data - data % _UNIT_BYTES)
        while at < hole:
            unit = os.pread(fd, min(_UNIT_BYTES, size - at), at)
            if not unit:  # it has become shorter
                return regions
            if unit != _ZEROS[: len(unit)]:
                _add(regions, at, len(unit))
            at += len(unit)
    return regions


def _add(regions: list[tuple[int, int]], at: int, length: int) -> None:
    """The bytes are a region, or at the end of the one before."""
    if regions and sum(regions[-1]) == at:
        regions[-1] = (regions[-1][0], regions[-1][1] + length)
    else:
        regions.append((at, length))


def _join_pairs(regions: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half as many: what is between two of them is data too."""
    pairs = [(regions[at], regions[min(at + 1, len(regions) - 1)]) for at in range(0, len(regions), 2)]
    return [(first[0], sum(last) - first[0]) for first, last in pairs]
