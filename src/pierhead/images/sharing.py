"""Equal files of different layers, with their data on the disk once.

    ROOT/shared/reflink/CONTENT      a further name of a layer's file, by its content
    ROOT/shared/hardlink/FILE        the same, by its path, content and all that stat(2) and xattrs say

``reflink``: files stay files of their own, whose blocks are the same until one is written to.  Btrfs and XFS
can.  ``hardlink``: one file in several layers; every file system can.  Programs
see that it has several names, which is why it is shared between equal paths only: of those a container sees
one, never two that would look like one file.  Layers are never written to (overlayfs copies first; a plain
snapshot is a copy), so what is shared stays what it is.

The index is made of names alone.  None has data of its own: a file whose only name is here is one that no
layer has any more, and goes.  Whoever is killed leaves nothing but such a name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from contextlib import ExitStack

from pierhead.digests import hasher
from pierhead.errors import Unsupported
from pierhead.images.filetrees import BLOCK_BYTES, walk_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal, Self

    Sharing = Literal["none", "reflink", "hardlink"]

SHARINGS: tuple[Sharing, ...] = ("none", "reflink", "hardlink")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16
_ON_THE_WAY = "new-"

# linux/fs.h: FIDEDUPERANGE, struct file_dedupe_range with one struct file_dedupe_range_info
_DEDUPE, _DEDUPE_RANGE = 0xC0189436, struct.Struct("=QQHHIqQQiI")
_DEDUPE_BYTES = 16 << 20
"""Btrfs compares no more in one call (ioctl_fideduperange(2))."""
_CANNOT = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EXDEV)

# linux/fiemap.h: FS_IOC_FIEMAP, struct fiemap, struct fiemap_extent
_FIEMAP, _MAP, _EXTENT = 0xC020660B, struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_EXTENTS_AT_ONCE = 64
_SYNC = 1
_LAST, _NOWHERE, _SHARED = 0x1, 0x2 | 0x4 | 0x200, 0x2000
"""Flags of an extent: the last, one that is at no known place (yet, or inline), one that others have too."""


class FilePool:
    """Files of the layers below one directory, for those that come.  A context manager."""

    def __init__(self, root: str, sharing: Sharing) -> None:
        """Makes what is missing.

        Args:
            root: the snapshotter's directory, on one mount with all its layers.
            sharing: not ``none``.

        Raises:
            Unsupported: the file system cannot have it.
        """
        self._reflinks = sharing == "reflink"
        path = f"{root}/shared/{sharing}"
        if not os.path.isdir(path):
            if self._reflinks:
                _check_reflinks(root)
            os.makedirs(path, mode=0o700, exist_ok=True)
        self._fd = os.open(path, _DIRECTORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def share(self, layer: str) -> None:
        """The layer's files have their data in common with equal ones of other layers.

        Args:
            layer: path of the directory with its files, in which nobody changes anything.
        """
        top = os.open(layer, _DIRECTORY)
        try:
            for directory, path, about in walk_tree(top):
                # A file to which the layer itself gives several names keeps them all.
                if stat.S_ISREG(about.st_mode) and about.st_nlink == 1 and about.st_size:
                    self._share(directory, path, about)
        finally:
            os.close(top)

    def _share(self, directory: int, path: str, about: os.stat_result) -> None:
        name = path.rpartition("/")[2]
        fd = os.open(name, _FILE, dir_fd=directory)
        try:
            key = _content_key(fd) if self._reflinks else _file_key(fd, path, about)
            try:
                os.link(name, key, src_dir_fd=directory, dst_dir_fd=self._fd, follow_symlinks=False)
            except FileExistsError:
                pass
            else:
                return  # the first of its kind
            if self._reflinks:
                self._reflink(key, fd, about.st_size)
            else:
                self._hardlink(key, directory, name, about)
        finally:
            os.close(fd)

    def _reflink(self, key: str, fd: int, size: int) -> None:
        try:
            known = os.open(key, _FILE, dir_fd=self._fd)
        except FileNotFoundError:  # a collection has just taken it
            return
        try:
            dedupe(known, fd, size)
        except OSError as error:
            if error.errno != errno.EINVAL:  # too small for blocks of its own (Btrfs)
                raise
        finally:
            os.close(known)

    def _hardlink(self, key: str, directory: int, name: str, about: os.stat_result) -> None:
        new = f"{_ON_THE_WAY}{os.urandom(8).hex()}"
        try:
            os.link(key, new, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            # a collection has just taken it, or it has as many names as a file can have
            if error.errno not in (errno.ENOENT, errno.EMLINK):
                raise
            return
        known = os.stat(new, dir_fd=self._fd, follow_symlinks=False)
        if _attributes(known) != _attributes(about):  # somebody has changed it since
            os.unlink(new, dir_fd=self._fd)
            return
        times = os.fstat(directory)
        os.rename(new, name, src_dir_fd=self._fd, dst_dir_fd=directory)
        os.utime(directory, ns=(times.st_atime_ns, times.st_mtime_ns))


def _attributes(about: os.stat_result) -> tuple[int, ...]:
    return (about.st_mode, about.st_uid, about.st_gid, about.st_size, about.st_mtime_ns)


def _content_key(fd: int) -> str:
    hashed = hasher()
    while data := os.read(fd, _READ_BYTES):
        hashed.update(data)
    return hashed.hexdigest()


def _file_key(fd: int, path: str, about: os.stat_result) -> str:
    """The same for files of which none can tell which one it is looking at."""
    xattrs = [(name, os.getxattr(fd, name).hex()) for name in sorted(os.listxattr(fd))]
    hashed = hasher()
    told = repr((path, _attributes(about), xattrs, _content_key(fd)))
    hashed.update(told.encode(errors="surrogateescape"))
    return hashed.hexdigest()


def dedupe(known_fd: int, fd: int, size: int) -> bool:
    """Whether both files have the same blocks now: the kernel compares them first, and changes nothing else.

    So a mistake in what they are called costs nothing but space.

    Raises:
        OSError: the file system cannot, or cannot for files as small.
    """
    at = 0
    while at < size:
        order = bytearray(_DEDUPE_RANGE.pack(at, min(size - at, _DEDUPE_BYTES), 1, 0, 0, fd, at, 0, 0, 0))
        fcntl.ioctl(known_fd, _DEDUPE, order, True)
        *_, done, status, _ = _DEDUPE_RANGE.unpack(order)
        if status < 0:
            raise OSError(-status, os.strerror(-status))
        if status or not done:
            return False
        at += done
    return True


def _check_reflinks(root: str) -> None:
    """Two files below the directory can share their data."""
    with ExitStack() as stack:
        files = []
        try:
            for _ in range(2):
                files.append(os.open(root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
                stack.callback(os.close, files[-1])
                os.write(files[-1], bytes(range(256)) * (_PROBE_BYTES // 256))
            dedupe(files[0], files[1], _PROBE_BYTES)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            raise Unsupported(
                f"files in {root} cannot share their data: its file system has no reflinks",
                code="no-reflinks",
                hint="Btrfs and XFS have them; hard links need no such file system",
            ) from None


# What is shared, and what is left of it


def has_pool(root: str) -> bool:
    """Whether layers below the directory may share anything."""
    return os.path.isdir(f"{root}/shared")


def remove_unshared(root: str) -> None:
    """No file is kept that no layer has any more.

    Whoever is sharing one of these at this moment has it alone, and nothing worse.
    """
    for sharing in SHARINGS:
        try:
            pool = os.open(f"{root}/shared/{sharing}", _DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            with os.scandir(pool) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    if about.st_nlink == 1 or entry.name.startswith(_ON_THE_WAY):
                        os.unlink(entry.name, dir_fd=pool)
        finally:
            os.close(pool)


def count_shared(root: str, layers: Iterable[str]) -> int:
    """Bytes that several of the layers have, and that their sizes count more than once.

    Observed, not remembered: hard links by their inodes, reflinks by where their blocks are.

    Args:
        root: the snapshotter's directory.
        layers: paths of directories.
    """
    reflinks = os.path.isdir(f"{root}/shared/reflink")
    owners: dict[tuple[int, int], str] = {}
    places: list[tuple[int, int]] = []
    twice = 0
    for layer in layers:
        try:
            top = os.open(layer, _DIRECTORY)
        except FileNotFoundError:
            continue
        try:
            for directory, path, about in walk_tree(top):
                if not stat.S_ISREG(about.st_mode):
                    continue
                if about.st_nlink > 1:
                    owner = owners.setdefault((about.st_dev, about.st_ino), layer)
                    twice += about.st_blocks * BLOCK_BYTES if owner != layer else 0
                if reflinks:
                    places += _shared_places(directory, path.rpartition("/")[2])
        finally:
            os.close(top)
    return twice + _overlap(places)


def _shared_places(directory: int, name: str) -> Iterator[tuple[int, int]]:
    """Where on the disk the file has blocks that others have too: first byte, and the first one behind."""
    fd = os.open(name, _FILE, dir_fd=directory)
    try:
        at = 0
        while True:
            order = bytearray(_MAP.size + _EXTENTS_AT_ONCE * _EXTENT.size)
            _MAP.pack_into(order, 0, at, (1 << 64) - 1 - at, _SYNC, 0, _EXTENTS_AT_ONCE, 0)
            fcntl.ioctl(fd, _FIEMAP, order, True)
            count = _MAP.unpack_from(order)[3]
            for number in range(count):
                extent = _EXTENT.unpack_from(order, _MAP.size + number * _EXTENT.size)
                logical, physical, length, flags = *extent[:3], extent[5]
                if flags & _SHARED and not flags & _NOWHERE:
                    yield physical, physical + length
                if flags & _LAST:
                    return
                at = logical + length
            if not count:
                return
    finally:
        os.close(fd)


def _overlap(places: list[tuple[int, int]]) -> int:
    """How many bytes the ranges have together, less those of the ranges in one."""
    twice = reached = 0
    for start, end in sorted(places):
        twice += max(0, min(reached, end) - start)
        reached = max(reached, end)
    return twice
