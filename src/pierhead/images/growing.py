"""A file that one process writes at its end while another reads it.

    the writer                        the reader
    a file, written at its end        the same file, opened by itself
    Growth.tell(size) ─ an eventfd ─▶ GrowingFile.read waits until there is more

What the eventfd counts is bytes that are there and were not read yet: it is never full, and keeps no message
that nobody has taken.  What stands in the file beyond them means nothing yet.  Source: eventfd(2).
"""

from __future__ import annotations

import os

from pierhead.errors import OperationFailed


class Growth:
    """The writer's side.  Told in one thread."""

    def __init__(self, size_bytes: int) -> None:
        """``size_bytes`` is what the file will have in the end."""
        self.size_bytes = size_bytes
        self.fd = os.eventfd(0, os.EFD_CLOEXEC)
        """For the reader."""
        self._told_bytes = 0

    def tell(self, size_bytes: int) -> bool:
        """So many bytes are there; False if they are fewer than before: then what was read means nothing."""
        if size_bytes < self._told_bytes:
            return False
        if size_bytes > self._told_bytes:
            os.eventfd_write(self.fd, size_bytes - self._told_bytes)
            self._told_bytes = size_bytes
        return True

    def close(self) -> None:
        """No descriptor is left open; nothing more can be told."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class GrowingFile:
    """The reader's side.  ``read`` may be called by another thread than ``stop``."""

    def __init__(self, fd: int, growth_fd: int, size_bytes: int) -> None:
        """The descriptors stay the caller's; ``size_bytes`` is what the file will have in the end."""
        self._fd = fd
        self._growth_fd = growth_fd
        self._left = size_bytes
        self._there = 0
        self._at = 0
        self._stopped = False

    def read(self, size: int) -> bytes:
        """At most so many bytes, as soon as there are some; none at the end, or when it was stopped.

        Raises:
            OperationFailed: they are not there though they were told of.
            OSError: as ``read`` of the operating system.
        """
        if not self._left:
            return b""
        if not self._there:
            self._there = min(os.eventfd_read(self._growth_fd), self._left)
            if self._stopped:
                self._left = 0
                return b""
        block = os.pread(self._fd, min(size, self._there), self._at)
        if not block:
            raise OperationFailed("the content was cut while it was read", code="cannot-read")
        self._at += len(block)
        self._there -= len(block)
        self._left -= len(block)
        return block

    def stop(self) -> None:
        """Nobody waits any more."""
        self._stopped = True
        os.eventfd_write(self._growth_fd, 1)
