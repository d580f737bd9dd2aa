"""Trees of files that go, which may be anybody's: no link is followed, and no depth is too deep.

No path is put together from names that are found: each directory is opened beneath the one before it.
"""

from __future__ import annotations

import os
import stat
from errno import EEXIST, ENOTEMPTY

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_EMPTY = (ENOTEMPTY, EEXIST)
_DEPTH_MAX = 100
"""Directories in each other that are removed where they are.  A move costs more."""


def remove_tree(path: str | bytes, directory_fd: int | None = None) -> None:
    """Nothing of the directory is left; others may be removing it at the same time.

    What lies very deep is moved to the top and removed there: no depth is too deep.

    Args:
        path: of a directory.
        directory_fd: what a path that is not absolute begins at; None is the working directory.
    """
    try:
        top = os.open(path, _DIRECTORY, dir_fd=directory_fd)
    except FileNotFoundError:
        return
    try:
        while _empty(top, top, 0) or not _rmdir(directory_fd, path):
            pass
    finally:
        os.close(top)


def remove_or_say(path: str) -> None:
    """Nothing of a directory that nobody knows any more is left, or the log says why something is.

    A file may be immutable (chattr(1)), a disk broken: that holds up nobody who has other things to do.
    """
    try:
        remove_tree(path)
    except OSError as error:
        import logging

        logging.getLogger(__name__).warning("what is left in %s cannot be removed: %s", path, error)


def remove_whatever(directory_fd: int, name: bytes) -> None:
    """Nothing of this name is in the directory, whatever it was."""
    try:
        about = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISDIR(about.st_mode):
        remove_tree(name, directory_fd)
    else:
        os.unlink(name, dir_fd=directory_fd)


def _empty(directory: int, top: int, depth: int) -> bool:
    """The directory holds nothing; whether something came to the top that has to be removed yet."""
    came = False
    for name in os.listdir(directory):
        if _unlink(directory, name) or _rmdir(directory, name):
            continue
        if depth == _DEPTH_MAX:
            came |= _move(directory, name, top)
            continue
        entered = enter(directory, name)
        if entered >= 0:
            try:
                came |= _empty(entered, top, depth + 1)
            finally:
                os.close(entered)
            _rmdir(directory, name)
    return came


def _move(directory: int, name: str, top: int) -> bool:
    try:
        os.rename(name, f"moved-{os.urandom(8).hex()}", src_dir_fd=directory, dst_dir_fd=top)
    except FileNotFoundError:
        return False
    return True


def _unlink(directory: int, name: str) -> bool:
    """Whether the name is gone now; False for a directory."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError) as error:
        if isinstance(error, PermissionError) and not _is_directory(directory, name):
            raise
        return False
    return True


def _is_directory(directory: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _rmdir(directory: int | None, name: str | bytes) -> bool:
    """Whether the name is gone now; False for a directory that is not empty."""
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in _NOT_EMPTY:
            return False
        raise
    return True


def enter(directory_fd: int, name: str) -> int:
    """The directory's descriptor; -1 if it is gone, or no directory any more."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory_fd)
    except (FileNotFoundError, NotADirectoryError):
        return -1
