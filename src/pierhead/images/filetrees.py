"""Trees of files on the host, which may be anybody's: counted and copied.

No symbolic link is followed, and no path is put together from names that are found: each directory is opened
beneath the one before it and left by ``..``, so a tree may be deeper than paths are long.  Whoever moves
directories meanwhile ends the walk, and leads it nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from pierhead.images.removal import enter
from pierhead.images.snapshots import Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pierhead.images.snapshots import Owners

Found = tuple[int, str, os.stat_result]
"""A directory's descriptor, a path in the tree, and what is there."""

BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own are
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_COPY_BYTES = 1 << 30
_READ_BYTES = 1 << 20
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM)
"""What copying inside the file system gives where it cannot do that."""
_CAPABILITY_V2, _CAPABILITY_V3 = struct.Struct("<5I"), struct.Struct("<6I")
_REVISION_MASK, _REVISION_3 = 0xFF000000, 0x03000000
_ACL_ENTRY, _ACL_HEADER_BYTES = struct.Struct("<HHI"), 4
_ACL_USER, _ACL_GROUP = 2, 8


def count_tree(directory_fd: int) -> Usage:
    """What a directory and everything below it takes; a file with several names counts once."""
    about = os.fstat(directory_fd)
    blocks, inodes = about.st_blocks, 1
    seen: set[tuple[int, int]] = set()
    for _, _, about in walk_tree(directory_fd):
        if about.st_nlink > 1 and not stat.S_ISDIR(about.st_mode):
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
        blocks += about.st_blocks
        inodes += 1
    return Usage(size_bytes=blocks * BLOCK_BYTES, inodes=inodes)


def walk_tree(directory_fd: int) -> Iterator[Found]:
    """What is below a directory, without what vanishes meanwhile.

    Yields:
        The descriptor of the directory that has it, until the next one; its path from the top, which is for
        words and never opened; and what stat(2) says.
    """
    current = os.open(".", _DIRECTORY, dir_fd=directory_fd)
    above: list[tuple[os.stat_result, list[str]]] = []  # directories, each with what is left to enter
    path: list[str] = []
    try:
        left = yield from _look_into(current, "")
        while left or above:
            if left:
                name = left.pop()
                entered = enter(current, name)
                if entered < 0:
                    continue
                above.append((os.fstat(current), left))
                path.append(name)
                os.close(current)
                current = entered
                left = yield from _look_into(current, "/".join(path) + "/")
            else:
                expected, left = above.pop()
                path.pop()
                parent = os.open("..", _DIRECTORY, dir_fd=current)
                os.close(current)
                current = parent
                if not os.path.samestat(os.fstat(current), expected):
                    return
    finally:
        os.close(current)


def _look_into(directory_fd: int, prefix: str) -> Generator[Found, None, list[str]]:
    """What the directory holds; returns the names of directories among it."""
    directories = []
    with os.scandir(directory_fd) as entries:
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(about.st_mode):
                directories.append(entry.name)
            yield directory_fd, prefix + entry.name, about
    return directories


# Copying


def copy_directory(source: str, target: str, owners: Owners | None = None) -> None:
    """As ``copy_tree``, by paths."""
    source_fd = os.open(source, _DIRECTORY)
    try:
        target_fd = os.open(target, _DIRECTORY)
        try:
            copy_tree(source_fd, target_fd, owners)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def copy_tree(source_fd: int, target_fd: int, owners: Owners | None = None) -> None:
    """The target, an empty directory, is what the source is.

    With holes, links, devices, owners, modes, times and extended attributes.

    Data is shared with the source where the file system can (reflinks); else the kernel copies it.

    Args:
        source_fd: a directory in which nobody changes anything.
        target_fd: a directory.
        owners: gives the copy others.
    """
    _Copying(target_fd, owners).run(source_fd)


class _Copying:
    def __init__(self, top: int, owners: Owners | None) -> None:
        self._top = top
        self._owners = owners
        self._path: list[str] = []
        self._first: dict[tuple[int, int], str] = {}
        self._can_clone = self._can_copy = True

    def run(self, source_fd: int) -> None:
        """Each directory is filled after its parent, and gets its times after all that it holds."""
        source = os.open(".", _DIRECTORY, dir_fd=source_fd)
        target = os.open(".", _DIRECTORY, dir_fd=self._top)
        above: list[list[str]] = []
        try:
            left = self._fill(source, target)
            while True:
                if left:
                    name = left.pop()
                    above.append(left)
                    self._path.append(name)
                    source, target = _step(source, name), _step(target, name)
                    left = self._fill(source, target)
                    continue
                self._finish(source, target, os.fstat(source))
                if not above:
                    return
                left = above.pop()
                self._path.pop()
                source, target = _step(source, ".."), _step(target, "..")
        finally:
            os.close(source)
            os.close(target)

    def _fill(self, source: int, target: int) -> list[str]:
        """What the directory holds is there, directories empty; returns their names."""
        directories = []
        with os.scandir(source) as entries:
            for entry in entries:
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(about.st_mode):
                    os.mkdir(entry.name, 0o700, dir_fd=target)
                    directories.append(entry.name)
                elif about.st_nlink == 1 or not self._link(target, entry.name, about):
                    self._copy(source, target, entry.name, about)
        return directories

    def _link(self, target: int, name: str, about: os.stat_result) -> bool:
        """Whether it is one more name of what has been copied."""
        identity = (about.st_dev, about.st_ino)
        first = self._first.get(identity)
        if first is None:
            self._first[identity] = "/".join((*self._path, name))
            return False
        os.link(first, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
        return True

    def _copy(self, source: int, target: int, name: str, about: os.stat_result) -> None:
        if stat.S_ISREG(about.st_mode):
            self._copy_file(source, target, name, about)
        elif stat.S_ISLNK(about.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            self._finish(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}", about)
        else:
            os.mknod(name, about.st_mode, about.st_rdev, dir_fd=target)
            self._finish(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{name}", about)

    def _copy_file(self, source: int, target: int, name: str, about: os.stat_result) -> None:
        old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            new = os.open(name, flags, 0o600, dir_fd=target)
            try:
                if not self._clone(old, new):
                    self._copy_data(old, new, about.st_size)
                self._finish(old, new, about)
            finally:
                os.close(new)
        finally:
            os.close(old)

    def _clone(self, old: int, new: int) -> bool:
        if not self._can_clone:
            return False
        try:
            fcntl.ioctl(new, _FICLONE, old)
        except OSError as error:
            if error.errno not in _CANNOT_SHARE:
                raise
            self._can_clone = False
        return self._can_clone

    def _copy_data(self, old: int, new: int, size: int) -> None:
        """The same bytes, and holes where the original has some."""
        at = 0
        while at < size:
            try:
                at = os.lseek(old, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole to the end
                    break
                raise
            end = os.lseek(old, at, os.SEEK_HOLE)
            while at < end:
                copied = self._copy_some(old, new, at, end - at)
                if copied == 0:  # it has become shorter
                    return
                at += copied
        os.ftruncate(new, size)

    def _copy_some(self, old: int, new: int, at: int, count: int) -> int:
        if self._can_copy:
            try:
                return os.copy_file_range(old, new, min(count, _COPY_BYTES), at, at)
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                self._can_copy = False
        return os.pwrite(new, os.pread(old, min(count, _READ_BYTES), at), at)

    def _finish(self, old: int | str, new: int | str, about: os.stat_result) -> None:
        """Owner, mode, attributes, times, so that none undoes another: a new owner takes capabilities."""
        uid, gid = about.st_uid, about.st_gid
        if self._owners:
            uid, gid = self._owners(uid, gid)
        follow = isinstance(new, int)
        os.chown(new, uid, gid, follow_symlinks=follow)
        if not stat.S_ISLNK(about.st_mode):
            os.chmod(new, stat.S_IMODE(about.st_mode))
        for attribute in os.listxattr(old, follow_symlinks=follow):
            value = os.getxattr(old, attribute, follow_symlinks=follow)
            if self._owners:
                value = _with_owners(attribute, value, self._owners)
            os.setxattr(new, attribute, value, follow_symlinks=follow)
        os.utime(new, ns=(about.st_atime_ns, about.st_mtime_ns), follow_symlinks=follow)


def _with_owners(attribute: str, value: bytes, owners: Owners) -> bytes:
    """An extended attribute whose ids are those that ``owners`` gives for them.

    Capabilities of a file count in the user namespace of which its third version names the root.
    Source: capabilities(7), "File capability extended attribute versioning"; linux/capability.h,
    posix_acl_xattr.h.
    """
    if attribute == "security.capability" and len(value) == _CAPABILITY_V2.size:
        magic, *sets = _CAPABILITY_V2.unpack(value)
        flags = magic & ~_REVISION_MASK
        return _CAPABILITY_V3.pack(_REVISION_3 | flags, *sets, owners(0, 0)[0])
    if attribute in ("system.posix_acl_access", "system.posix_acl_default"):
        entries = list(_ACL_ENTRY.iter_unpack(value[_ACL_HEADER_BYTES:]))
        shifted = [(tag, rights, _acl_id(tag, number, owners)) for tag, rights, number in entries]
        return value[:_ACL_HEADER_BYTES] + b"".join(_ACL_ENTRY.pack(*entry) for entry in shifted)
    return value


def _acl_id(tag: int, number: int, owners: Owners) -> int:
    if tag == _ACL_USER:
        return owners(number, 0)[0]
    return owners(0, number)[1] if tag == _ACL_GROUP else number


def _step(directory: int, name: str) -> int:
    """The directory of this name is open instead of the one that holds it (or the other way round)."""
    entered = os.open(name, _DIRECTORY, dir_fd=directory)
    os.close(directory)
    return entered
