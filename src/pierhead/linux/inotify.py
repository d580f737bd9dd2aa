"""inotify(7): being told that files of a directory change.

Python has no binding; two functions of the C library are called through ctypes, which is imported here only.
"""

import ctypes
import errno
import os

from pierhead.errors import NotFound, OperationFailed, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100
_EVENTS_BYTES = 65536


class DirectoryWatch:
    """Readable (see ``fileno``) once files of a directory were written, made or renamed, until ``drain``."""

    def __init__(self, path: str, events: int = IN_MODIFY | IN_MOVED_TO | IN_CREATE) -> None:
        """Watches ``path`` for the events (IN_*).

        Raises:
            NotFound: there is no such directory.
            Unavailable: the user has as many watches as the kernel allows (/proc/sys/fs/inotify).
        """
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0 or libc.inotify_add_watch(self._fd, os.fsencode(path), events) < 0:
            self._refuse(path, ctypes.get_errno())

    def _refuse(self, path: str, number: int) -> None:
        self.close()
        if number in (errno.ENOENT, errno.ENOTDIR):
            raise NotFound(f"directory {path} does not exist")
        if number in (errno.EMFILE, errno.ENOSPC):
            raise Unavailable(
                f"no more files can be watched: {path}",
                code="too-many-watches",
                hint="raise fs.inotify.max_user_*",
            )
        raise OperationFailed(f"cannot watch {path}: {os.strerror(number).lower()}", errno=number)

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The watch is given back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._fd

    def drain(self) -> None:
        """What has happened so far is forgotten."""
        try:
            while os.read(self._fd, _EVENTS_BYTES):
                pass
        except BlockingIOError:
            return
