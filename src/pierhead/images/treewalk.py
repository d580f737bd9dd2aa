"""A directory's tree to entries of an archive, in an order that depends on names alone.

Each directory comes before what is in it, and names ascend as bytes.  A file that has several names comes
once with its data; its other names are hard links to the first.  Sockets do not come: they mean nothing
without the process behind them.

The tree may be a running container's.  Nothing is opened through a symbolic link, and a file is described
by what was opened, so that no exchange of names makes anything appear that is not in the tree.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from pierhead.errors import Conflict, InvalidInput, OperationFailed, Unsupported
from pierhead.images.beneath import Beneath
from pierhead.images.holes import find_regions
from pierhead.images.tarlayer.entry import Entry, shown
from pierhead.images.whiteouts import DEVICE, OPAQUE, OVERLAY_XATTRS, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pierhead.errors import PierheadError
    from pierhead.images.tarlayer.entry import Kind

    Add = Callable[[Entry, Iterable[bytes]], None]

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NS = 1_000_000_000
_READ_BYTES = 1 << 18
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
"""How the kernel says that there is something else, or nothing, where there was a name."""
_NODES: dict[int, Kind] = {
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
_OF_THE_MACHINE = frozenset(("security.selinux", "security.ima", "security.evm"))
"""Labels and signatures that mean something on this machine only."""
_OVERLAY = tuple(os.fsdecode(prefix) for prefix in OVERLAY_XATTRS)
_OPAQUE = tuple(f"{prefix}opaque" for prefix in _OVERLAY)
_WHITEOUT = frozenset(f"{prefix}whiteout" for prefix in _OVERLAY)
_ELSEWHERE = frozenset(prefix + what for prefix in _OVERLAY for what in ("redirect", "metacopy"))
"""With these a directory's or file's content is somewhere else in the layers."""


class TreeWalk(NamedTuple):
    """How a tree becomes entries.

    Fields:
        add: called with each entry and its data.
        upper: whether the tree is an overlay's upper directory, whose marks become whiteouts.
        latest_s: no time is later than this second; None leaves times as they are.
        precise: whether times have nanoseconds, which costs 1 KiB for each entry.
        sparse: whether holes of files are left out where that saves something; see ``holes``.
        lenient: whether what vanishes meanwhile is passed over, and what became shorter ends in zeros.
        closed: paths of directories that come without what is in them.
    """

    add: Add
    upper: bool
    latest_s: int | None
    precise: bool
    sparse: bool = False
    lenient: bool = False
    closed: frozenset[bytes] = frozenset()

    def run(self, directory_fd: int, *, only: bytes = b"") -> None:
        """Every entry below the directory has been added.

        Args:
            directory_fd: stays the caller's.
            only: a name in the directory: it and what is below it is all that comes; b"" for everything.

        Raises:
            Conflict: something changed while it was read.
            InvalidInput: a name that a layer cannot have.
            Unsupported: overlayfs was told to keep something elsewhere.
        """
        _Walk(self, directory_fd).run(only)


class _Walk:
    """One walk: what has been seen, and where we are."""

    def __init__(self, how: TreeWalk, directory_fd: int) -> None:
        self._how = how
        self._root_fd = directory_fd
        self._beneath = Beneath(directory_fd, make=_never)
        self._first_names: dict[tuple[int, int], bytes] = {}

    def run(self, only: bytes) -> None:
        """Everything has been added."""
        try:
            if self._how.upper and _is_opaque(self._root_fd) and not only:
                self._how.add(Entry(name=OPAQUE), ())
            first = [_name_in(self._root_fd, only)] if only else _names(self._root_fd)
            way = [(b"", iter(first))]
            while way:
                path, names = way[-1]
                below = self._add_up_to_directory(path, names)
                if below is None:
                    way.pop()
                elif inside := self._enter_if_there(below):
                    way.append((below, iter(inside)))
        finally:
            self._beneath.close()

    def _add_up_to_directory(self, path: bytes, names: Iterator[_Name]) -> bytes | None:
        """What comes before the next directory is added; the path of that one, or None at the end."""
        directory_fd = self._directory(path)
        prefix = path + b"/" if path else b""
        add = self._how.add
        for name, is_directory, is_file in names:
            if is_directory:
                return prefix + name
            fd = -1
            try:
                try:
                    entry: Entry | None
                    if is_file:
                        fd = os.open(name, _OPEN, dir_fd=directory_fd)
                        entry = self._describe_file(fd, name, prefix)
                    else:
                        entry = self._describe_node(directory_fd, name, prefix)
                except OSError as error:
                    if self._passes_over(error):
                        continue
                    raise _changed(prefix + name, error) from error
                if entry is not None:
                    add(entry, _read(fd, entry, padded=self._how.lenient) if entry.size else ())
            finally:
                if fd >= 0:
                    os.close(fd)
        return None

    def _directory(self, path: bytes) -> int:
        try:
            fd, real = self._beneath.directory(path, make=False)
        except OSError as error:
            raise _changed(path, error) from error
        if real != path:
            raise _changed(path, None)
        return fd

    def _passes_over(self, error: OSError) -> bool:
        return self._how.lenient and error.errno in _GONE

    def _enter_if_there(self, path: bytes) -> list[_Name]:
        try:
            names = self._enter(path)
        except Conflict:
            if self._how.lenient:
                return []
            raise
        return [] if path in self._how.closed else names

    def _enter(self, path: bytes) -> list[_Name]:
        """The directory itself has been added; what is in it."""
        fd = self._directory(path)
        self._check_name(path)
        try:
            entry = self._entry(path, "directory", os.fstat(fd), xattrs=self._xattrs(fd, path))
            opaque = self._how.upper and _is_opaque(fd)
            names = _names(fd)
        except OSError as error:
            raise _changed(path, error) from error
        self._how.add(entry, ())
        if opaque:
            self._how.add(Entry(name=path + b"/" + OPAQUE), ())
        return names

    def _describe_file(self, fd: int, name: bytes, prefix: bytes) -> Entry:
        path = prefix + name
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if name.startswith(PREFIX):
            self._check_name(path)
        if about.st_nlink > 1 and (first := self._first_name(path, about)) is not None:
            return self._entry(path, "hardlink", about, linkname=first)
        attributes = _listxattr(fd)
        if not attributes:
            return self._without_holes(self._entry(path, "file", about), fd, about)
        if self._how.upper and not about.st_size and not _WHITEOUT.isdisjoint(attributes):
            return Entry(name=prefix + PREFIX + name)
        return self._without_holes(self._entry(path, "file", about, xattrs=self._xattrs(fd, path)), fd, about)

    def _without_holes(self, entry: Entry, fd: int, about: os.stat_result) -> Entry:
        regions = find_regions(fd, about) if self._how.sparse else None
        return entry if regions is None else entry.replace(sparse=regions)

    def _describe_node(self, directory_fd: int, name: bytes, prefix: bytes) -> Entry | None:
        """A symbolic link, device or FIFO; None is a socket."""
        path = prefix + name
        about = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        kind = _NODES.get(stat.S_IFMT(about.st_mode))
        if kind is None:
            if stat.S_ISSOCK(about.st_mode):
                return None
            raise _changed(path, None)
        if kind == "character" and about.st_rdev == os.makedev(*DEVICE) and self._how.upper:
            return Entry(name=prefix + PREFIX + name)
        self._check_name(path)
        if about.st_nlink > 1 and (first := self._first_name(path, about)) is not None:
            return self._entry(path, "hardlink", about, linkname=first)
        linkname = os.readlink(name, dir_fd=directory_fd) if kind == "symlink" else b""
        return self._entry(path, kind, about, linkname=linkname)

    def _first_name(self, path: bytes, about: os.stat_result) -> bytes | None:
        """Under which name the file has come already; None if it comes now."""
        first = self._first_names.setdefault((about.st_dev, about.st_ino), path)
        return None if first is path else first

    def _entry(
        self,
        path: bytes,
        kind: Kind,
        about: os.stat_result,
        *,
        linkname: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> Entry:
        how = self._how
        mtime_ns = about.st_mtime_ns
        if not how.precise:
            mtime_ns -= mtime_ns % _NS
        if how.latest_s is not None:
            mtime_ns = min(mtime_ns, how.latest_s * _NS)
        if kind in ("character", "block"):
            device = (os.major(about.st_rdev), os.minor(about.st_rdev))
        else:
            device = (0, 0)
        return Entry(
            name=path,
            kind=kind,
            mode=about.st_mode & 0o7777,
            uid=about.st_uid,
            gid=about.st_gid,
            mtime_ns=mtime_ns,
            size=about.st_size if kind == "file" else 0,
            linkname=linkname,
            device_major=device[0],
            device_minor=device[1],
            xattrs=xattrs or {},
        )

    def _xattrs(self, fd: int, path: bytes) -> dict[bytes, bytes]:
        """What belongs to the file, and not to overlayfs or to this machine."""
        found = {}
        for name in _listxattr(fd):
            if self._how.upper and name in _ELSEWHERE:
                raise Unsupported(
                    f"overlayfs keeps the content of {shown(path)} elsewhere ({name})",
                    hint="mount it with redirect_dir=off,metacopy=off",
                )
            if not name.startswith(_OVERLAY) and name not in _OF_THE_MACHINE:
                found[os.fsencode(name)] = os.getxattr(fd, name)
        return found

    def _check_name(self, path: bytes) -> None:
        """A layer can have this name."""
        if self._how.upper and path.rpartition(b"/")[2].startswith(PREFIX):
            hint = "such names say in a layer what is deleted; rename or remove it"
            raise InvalidInput(f"{shown(path)} can be in no layer", code="invalid-name", hint=hint)


_Name = tuple[bytes, bool, bool]
"""A name, whether it is a directory's, and whether it is a regular file's."""


def _names(fd: int) -> list[_Name]:
    """What is in a directory, sorted."""
    with os.scandir(fd) as entries:
        return sorted((os.fsencode(each.name), _is_directory(each), _is_file(each)) for each in entries)


def _name_in(fd: int, name: bytes) -> _Name:
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except OSError as error:
        raise _changed(name, error) from error
    return name, stat.S_ISDIR(mode), stat.S_ISREG(mode)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _read(fd: int, entry: Entry, *, padded: bool) -> Iterator[bytes]:
    """At most as many bytes as the entry has: the file may grow meanwhile, and gets no longer by that.

    If it became shorter, the end is missing, or ``padded`` with zeros.
    """
    for at, length in ((0, entry.size),) if entry.sparse is None else entry.sparse:
        left = length
        while left:
            try:
                data = os.pread(fd, min(left, _READ_BYTES), at + length - left)
            except OSError as error:
                raise _changed(entry.name, error) from error
            if not data and not padded:
                return
            data = data or bytes(min(left, _READ_BYTES))
            left -= len(data)
            yield data


def _listxattr(fd: int) -> list[str]:
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a file system without attributes
            raise
        return []


def _is_opaque(fd: int) -> bool:
    """Whether the directory hides what the layers below have in it.

    The value x says something else: that it may have whiteouts that are attributes (overlayfs.rst).
    """
    names = _listxattr(fd)
    return any(name in names and os.getxattr(fd, name) == b"y" for name in _OPAQUE)


def _never(_: int, name: bytes, path: bytes) -> None:
    raise AssertionError(name, path)


def _changed(path: bytes, error: OSError | None) -> PierheadError:
    """The sentence for what could not be read."""
    if error is None or error.errno in _GONE:
        message = f"{shown(path)} changed while it was read"
        return Conflict(message, code="file-changed", hint="pause the container while it is read")
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot read {shown(path)}: {reason}", errno=error.errno or 0, code="cannot-read")
