"""What a container has changed of its image's files: ``docker diff``.

The upper directory has every change: what is there and below as well was changed, what is there alone was
added, and marks of overlayfs stand for what was removed.  Places that the engine made to mount something on
are no changes of the container's.
"""

from __future__ import annotations

import contextlib
import os
import stat

from pierhead.errors import Unsupported
from pierhead.images.snapshots import Mount, open_mounts
from pierhead.images.treewalk import TreeWalk
from pierhead.images.whiteouts import OPAQUE, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pierhead.images.tarlayer.entry import Entry

    Document = dict[str, Any]

MODIFIED, ADDED, DELETED = 0, 1, 2
MARK = ".dockerenv"
_PLACES = (
    MARK,
    "proc",
    "sys",
    "dev",
    "run/.containerenv",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "etc",
)
"""What is made so that something can be mounted there, or as a mark; a directory after what is in it."""


def upper_of(mount: Mount) -> str:
    """The directory that has what was changed.

    Raises:
        Unsupported: the snapshotter keeps whole copies, in which nobody sees it.
    """
    if not mount.upper or not mount.lower:
        raise Unsupported(
            "what a container changed is only known with the overlay snapshotter",
            code="no-upper",
            hint="run the engine with --storage overlay",
        )
    return mount.upper


@contextlib.contextmanager
def _open_below(mount: Mount) -> Iterator[int]:
    """The files that the container found when it was made."""
    if len(mount.lower) == 1:
        below = Mount(source=mount.lower[0], readonly=True)
    else:
        below = Mount(lower=mount.lower, readonly=True)
    below_fd = open_mounts((below,))
    try:
        yield below_fd
    finally:
        os.close(below_fd)


def list_changes(mount: Mount) -> list[Document]:
    """Paths with what became of them, in the order of the paths."""
    upper = upper_of(mount)
    with _open_below(mount) as below_fd:
        changes = _Changes(below_fd, _find_places(upper, below_fd))
        directory_fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            TreeWalk(changes.add, upper=True, latest_s=None, precise=False).run(directory_fd)
        finally:
            os.close(directory_fd)
    return [{"Path": f"/{os.fsdecode(path)}", "Kind": kind} for path, kind in sorted(changes.found)]


class _Changes:
    """What was met of an upper directory, whose directories come before what is in them."""

    def __init__(self, below_fd: int, left_out: frozenset[bytes]) -> None:
        self._below_fd = below_fd
        self._left_out = left_out
        self._directories = {b""}
        """Those that are directories below as well: no link of a layer is followed to look further."""
        self.found: list[tuple[bytes, int]] = []

    def add(self, entry: Entry, _: Iterable[bytes]) -> None:
        """For ``TreeWalk``."""
        path = _plain_name(entry.name)
        if path is None or path in self._left_out:
            return
        if path != entry.name:
            self.found.append((path, DELETED))
            return
        kind = ADDED
        if path.rpartition(b"/")[0] in self._directories:
            mode = _find_mode(self._below_fd, path)
            if mode is not None:
                kind = MODIFIED
                if stat.S_ISDIR(mode):
                    self._directories.add(path)
        self.found.append((path, kind))


def _plain_name(name: bytes) -> bytes | None:
    """The path that an entry is about; None for the mark that a directory hides all below."""
    parent, slash, last = name.rpartition(b"/")
    if last == OPAQUE:
        return None
    if last.startswith(PREFIX):
        return parent + slash + last[len(PREFIX) :]
    return name


def _find_mode(root_fd: int, path: bytes) -> int | None:
    try:
        return os.stat(path, dir_fd=root_fd, follow_symlinks=False).st_mode
    except OSError:
        return None


def list_places(mount: Mount) -> frozenset[bytes]:
    """Paths in the upper directory that are there only because something was mounted on them."""
    with _open_below(mount) as below_fd:
        return _find_places(upper_of(mount), below_fd)


def _find_places(upper: str, below_fd: int) -> frozenset[bytes]:
    found: set[bytes] = set()
    for place in map(os.fsencode, _PLACES):
        path = os.fsencode(upper) + b"/" + place
        if _is_untouched(below_fd, path, place) and _is_bare(path, place, found):
            found.add(place)
    return frozenset(found)


def _is_untouched(below_fd: int, path: bytes, place: bytes) -> bool:
    """Whether the place was not there, or is a directory that is as it was but for what is in it."""
    try:
        below = os.stat(place, dir_fd=below_fd, follow_symlinks=False)
    except OSError:
        return True
    try:
        above = os.lstat(path)
    except OSError:
        return False
    same = (above.st_mode, above.st_uid, above.st_gid) == (below.st_mode, below.st_uid, below.st_gid)
    return same and stat.S_ISDIR(above.st_mode)


def _is_bare(path: bytes, place: bytes, found: set[bytes]) -> bool:
    try:
        about = os.lstat(path)
        if stat.S_ISDIR(about.st_mode):
            return all(place + b"/" + name in found for name in os.listdir(path))
    except OSError:
        return False
    return stat.S_ISREG(about.st_mode) and not about.st_size
