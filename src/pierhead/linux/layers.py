"""Files in a stack of directories, found as overlayfs would show them, without mounting it.

In a stack the topmost directory that has a name decides what it is; directories of one name are merged, as
long as nothing says that what is below does not count (a whiteout, an opaque directory).
Source: Linux's Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories".
"""

from __future__ import annotations

import errno
import os
import stat

from pierhead.linux.files import close_all, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LINKS_MAX = 40
_TEXT_MAX = 1 << 20
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def read_text_in_layers(layers: Sequence[int], path: str) -> str | None:
    """A regular file's text, at most 1 MiB of it; None where there is no such file.

    Symbolic links are followed within the stack and lead nowhere else.

    Args:
        layers: descriptors of directories, the topmost first.
        path: from the stack's root.

    Raises:
        OSError: the file system they lie on fails.
    """
    walk = _Walk(layers)
    try:
        found = walk.find(path)
        if found < 0 or not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    finally:
        walk.close()
    try:
        return read_all(fd, _TEXT_MAX).decode(errors="replace")
    finally:
        os.close(fd)


class _Walk:
    """One path being resolved: the merged directories on the way, each as descriptors from the top down."""

    def __init__(self, layers: Sequence[int]) -> None:
        self._way: list[list[int]] = [list(layers)]
        self._opened: list[int] = []

    def close(self) -> None:
        close_all(self._opened)

    def find(self, path: str) -> int:
        """A descriptor (O_PATH) of what is no directory; -1 where there is none."""
        todo = _components(path)
        links = 0
        while todo:
            name = todo.pop(0)
            if name == "..":
                if len(self._way) > 1:  # no higher than the root
                    self._way.pop()
                continue
            found = self._look_up(self._way[-1], name)
            if isinstance(found, str):
                links += 1
                if links > _LINKS_MAX:
                    return -1
                if found.startswith("/"):
                    del self._way[1:]
                todo = _components(found) + todo
            elif isinstance(found, int):
                return -1 if todo else found
            else:
                self._way.append(found)
        return -1

    def _look_up(self, directories: list[int], name: str) -> int | str | list[int]:
        """Another file's descriptor (-1: there is nothing), a link's target, or directories to merge."""
        merged: list[int] = []
        for directory in directories:
            try:
                about = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISDIR(about.st_mode):
                if merged:
                    break
                if stat.S_ISLNK(about.st_mode):
                    return os.readlink(name, dir_fd=directory)
                return -1 if _is_whiteout(about) else self._open(name, directory)
            merged.append(self._open(name, directory))
            if _is_opaque(merged[-1]):
                break
        return merged or -1

    def _open(self, name: str, directory: int) -> int:
        self._opened.append(os.open(name, _STEP, dir_fd=directory))
        return self._opened[-1]


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_whiteout(about: os.stat_result) -> bool:
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == 0


def _is_opaque(directory: int) -> bool:
    """By whichever attribute the overlay is mounted to heed: a directory never has the other one."""
    for name in _OPAQUE:
        try:
            if os.getxattr(f"/proc/self/fd/{directory}", name) == b"y":
                return True
        except OSError:  # it has no such attribute, or nobody may see it
            continue
    return False
