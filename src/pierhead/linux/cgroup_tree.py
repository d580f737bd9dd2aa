"""Walks through a cgroup and all below it, however deep.

A container that may divide its cgroup can nest more groups in each other than any path is long (PATH_MAX),
or than Python calls functions in each other.  So the way goes by descriptors, two of them, and not by
paths.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def walk(directory: str) -> Iterator[tuple[int, str]]:
    """The groups below a cgroup, innermost first: a descriptor of the parent, for the moment, and the name.

    The caller may remove each.  Nothing is given when the cgroup does not exist.

    Raises:
        OSError: one cannot be opened or listed.
    """
    try:
        here = os.open(directory, _FLAGS)
    except FileNotFoundError:
        return
    try:
        names: list[str] = []
        waiting = [_names_in(here)]
        while True:
            if waiting[-1]:
                name = waiting[-1].pop()
                try:
                    inner = os.open(name, _FLAGS, dir_fd=here)
                except FileNotFoundError:
                    continue
                os.close(here)
                here = inner
                names.append(name)
                waiting.append(_names_in(here))
                continue
            waiting.pop()
            if not names:
                return
            parent = os.open("..", _FLAGS, dir_fd=here)
            os.close(here)
            here = parent
            yield here, names.pop()
    finally:
        os.close(here)


def _names_in(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
