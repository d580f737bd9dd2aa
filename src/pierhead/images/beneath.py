"""A directory whose inside is not trusted: every path in it ends in it.

A path is walked component by component, each opened by itself in the directory before it without following a
link.  A symbolic link on the way is walked by us as a process with this root would: its target begins at the
root when it is absolute, and ``..`` goes no higher.  The last component is never followed: whoever wants a
file's directory asks for that, and does with the name in it what replaces no link by its target.

Directories stay open, so that most files cost no walk.  Nobody else may change the tree meanwhile.
Sources: openat(2); openat2(2), RESOLVE_IN_ROOT, whose meaning this has, with directories made on the way.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from pierhead.errors import InvalidInput
from pierhead.images.tarlayer.entry import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATH_BYTES_MAX = 4096
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_MAX = 128
_LINKS_MAX = 40
_STEPS_MAX = 8192
_PRIVATE = 0o700
_ODD = re.compile(rb"(?:^|/)\.{0,2}(?:/|$)")
"""An empty component, ``.`` or ``..``."""

Found = tuple[int, bytes]
"""A directory's descriptor, and its path from the root without links; b"" is the root."""


def clean_path(name: bytes) -> bytes:
    """A name from an archive as a path from the root: without ``.``, doubled slashes and a slash before it.

    Raises:
        InvalidInput: it has ``..``, which no program writes, or is longer than any path.
    """
    if len(name) > PATH_BYTES_MAX:
        raise InvalidInput(
            f"the name {shown(name)} is longer than {PATH_BYTES_MAX} bytes", code="invalid-name"
        )
    if not _ODD.search(name):
        return name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        hint = "the archive was made to write elsewhere; do not trust where it comes from"
        raise InvalidInput(
            f"the name {shown(name)} leads out of the directory", code="invalid-name", hint=hint
        )
    return b"/".join(parts)


class Beneath:
    """The directories below one."""

    def __init__(self, root_fd: int, *, make: Callable[[int, bytes, bytes], None]) -> None:
        """Nothing is opened yet.

        Args:
            root_fd: stays the caller's.
            make: called with a directory's descriptor, a name in it and the path from the root, where a
                directory is missing on the way or something else is in its place: makes it, or raises.
        """
        self._root_fd = root_fd
        self._make = make
        self._open: dict[bytes, Found] = {b"": (root_fd, b"")}

    def directory(self, path: bytes, *, make: bool = True) -> Found:
        """The directory at the path (which ``clean_path`` gave); missing ones are made.

        The descriptor is valid until the next call of any method here.

        Raises:
            InvalidInput: it goes through too many links, or ends in none.
            NotADirectoryError: something else is on the way, and ``make`` is false.
            FileNotFoundError: it is not there, and ``make`` is false.
        """
        return self._open.get(path) or self._walk(path, make=make)

    def forget(self) -> None:
        """Paths are walked anew: a directory or a link has gone."""
        for path, (fd, _) in self._open.items():
            if path:
                os.close(fd)
        self._open = {b"": (self._root_fd, b"")}

    close = forget

    def _walk(self, path: bytes, *, make: bool) -> Found:
        start, todo = self._nearest(path)
        fd, real = start
        links = steps = 0
        while todo:
            name = todo.pop()
            steps += 1
            if name in (b"", b"."):
                continue
            if name == b"..":  # of a link's target
                todo += _components(real.rpartition(b"/")[0])
                fd, real = self._root_fd, b""
                continue
            key = real + b"/" + name if real else name
            if (found := self._open.get(key)) is not None:
                fd, real = found
                continue
            opened = self._step(fd, name, key, make=make)
            if isinstance(opened, bytes):
                links += 1
                todo += _components(opened)
                if opened.startswith(b"/"):
                    fd, real = self._root_fd, b""
                if links > _LINKS_MAX:
                    raise _no_way(path, "through too many links")
                continue
            fd, real = opened, key
            self._put(key, (fd, key))
            if steps > _STEPS_MAX or len(real) > PATH_BYTES_MAX:
                raise _no_way(path, "too deep")
        return self._open.get(path) or self._remember(path, (fd, real))

    def _nearest(self, path: bytes) -> tuple[Found, list[bytes]]:
        """The last directory on the way that is open, and what comes after it."""
        known = path
        while (found := self._open.get(known)) is None:
            known = known.rpartition(b"/")[0]
        return found, _components(path[len(known) :])

    def _step(self, fd: int, name: bytes, key: bytes, *, make: bool) -> int | bytes:
        """The directory of this name, opened; or the target of a link that is there."""
        for attempt in range(2):
            try:
                return os.open(name, _OPEN, dir_fd=fd)
            except FileNotFoundError:
                if not make or attempt:
                    raise
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                if stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                    return os.readlink(name, dir_fd=fd)
                if not make or attempt:
                    raise
            self._make(fd, name, key)
        raise AssertionError(name)

    def _remember(self, path: bytes, found: Found) -> Found:
        """The path that came here through links leads here at once next time."""
        again = (os.dup(found[0]), found[1])
        self._put(path, again)
        return again

    def _put(self, key: bytes, found: Found) -> None:
        while len(self._open) >= _OPEN_MAX:
            oldest = next(path for path in self._open if path)
            os.close(self._open.pop(oldest)[0])
        self._open[key] = found


def _components(path: bytes) -> list[bytes]:
    """For a list of what is to do, whose end comes first."""
    return path.split(b"/")[::-1] if path else []


def _no_way(path: bytes, how: str) -> InvalidInput:
    return InvalidInput(f"the path {shown(path)} leads {how}", code="invalid-name")


def make_private(directory_fd: int, name: bytes) -> None:
    """A directory of this name is there, which only we can enter."""
    os.mkdir(name, _PRIVATE, dir_fd=directory_fd)
