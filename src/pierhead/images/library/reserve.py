"""A file that is there to be removed: on a full disk it makes room for what frees the disk.

SQLite needs some space before it can even read (its shared memory is a file), and more to note that an image
was removed.  Without a reserve nobody could remove images from a disk that something else has filled.
The store's own writers stop before (``content.FREE_BYTES_MIN``), so that they do not use up what was lent.
"""

from __future__ import annotations

import os

from pierhead.linux.files import remove_if_there

RESERVE_BYTES = 1 << 20
_ROOMY_BYTES = 2 * RESERVE_BYTES


class Reserve:
    """The file beside a library's database."""

    def __init__(self, path: str) -> None:
        """Nothing happens yet."""
        self._path = path

    def lend(self) -> None:
        """If the disk is full, there is a little room."""
        if free_bytes(os.path.dirname(self._path)) < RESERVE_BYTES:
            remove_if_there(self._path)

    def restore(self) -> None:
        """If the disk has room, the file is there."""
        if os.path.exists(self._path) or free_bytes(os.path.dirname(self._path)) < _ROOMY_BYTES:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:  # somebody else was quicker; or a file system that cannot do this
            remove_if_there(self._path)
        finally:
            os.close(fd)


def free_bytes(directory: str) -> int:
    """What can still be written on the directory's file system; very much where that is not known."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize if found.f_blocks else 1 << 62
