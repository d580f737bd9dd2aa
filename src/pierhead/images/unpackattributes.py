"""Owners, modes, times and extended attributes of what is unpacked, with as few calls as are needed.

A file that is made in a directory of our own, by us, has our owner and its mode already: then only times are
set.  That is not so where the directory was there before us (it may hand down its group, or an ACL), or where
our umask takes bits away.
"""

from __future__ import annotations

import errno
import os
import stat

from pierhead.errors import OperationFailed
from pierhead.images.tarlayer.entry import shown
from pierhead.images.whiteouts import OVERLAY_XATTRS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.tarlayer.entry import Entry

_SPECIAL_BITS = 0o7000
_UNPRIVILEGED_BITS = 0o1777
_ID_MAX = (1 << 32) - 2
_KNOWN_XATTRS = (b"user.", b"security.", b"trusted.", b"system.posix_acl_")
_USER = b"user."
_OURS_TO_LEAVE = b"security.selinux"
"""A label of the machine where the layer was made."""
_ACL_DEFAULT = "system.posix_acl_default"


class Attributes:
    """Sets what an entry says of a file that was just made."""

    def __init__(self, root_fd: int, *, owners: bool | tuple[int, int]) -> None:
        """Looks at the directory into which is unpacked; ``owners`` is as for ``unpack_layer``."""
        self.owners = owners is not False
        self._owner = None if isinstance(owners, bool) else owners
        self.left_out = 0
        """Extended attributes that were not set."""
        self._ours = (os.geteuid(), os.getegid())
        self._umask = _observe_umask()
        self._exact = not _is_plain(root_fd)
        self._mode_bits = 0o7777 if owners else _UNPRIVILEGED_BITS

    def set_file(self, fd: int, entry: Entry) -> None:
        """A regular file is as its entry says; nothing is written to it any more."""
        self._own(fd, entry)
        mode = entry.mode & self._mode_bits
        if self._exact or mode & (self._umask | _SPECIAL_BITS):
            os.fchmod(fd, mode)  # after the owner, whose change takes setuid away
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def set_directory(self, fd: int, entry: Entry) -> None:
        """A directory is as its entry says; nothing is put into it any more."""
        self._own(fd, entry)
        os.fchmod(fd, entry.mode & self._mode_bits)
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def set_node(self, directory_fd: int, name: bytes, entry: Entry) -> None:
        """A symbolic link, device or FIFO is as its entry says."""
        self._own(name, entry, directory_fd=directory_fd)
        mode = entry.mode & self._mode_bits
        if entry.kind != "symlink" and (self._exact or mode & (self._umask | _SPECIAL_BITS)):
            os.chmod(_path(directory_fd, name), mode)  # made by us and no link
        if entry.xattrs:
            self._set_xattrs(_path(directory_fd, name), entry)
        times = (entry.mtime_ns, entry.mtime_ns)
        os.utime(name, ns=times, dir_fd=directory_fd, follow_symlinks=False)

    def _own(self, file: int | bytes, entry: Entry, *, directory_fd: int | None = None) -> None:
        """``file`` is a descriptor, or a name in the directory that is not followed."""
        uid, gid = self._owner or (entry.uid, entry.gid)
        if self.owners and (self._exact or (uid, gid) != self._ours):
            _check_ids(entry)
            try:
                os.chown(file, uid, gid, dir_fd=directory_fd, follow_symlinks=directory_fd is None)
            except OSError as error:
                _refuse_stranger(entry, uid, gid, error)
                raise

    def _set_xattrs(self, file: int | str, entry: Entry) -> None:
        """``file`` is a descriptor, or a path whose last component is not followed."""
        follow = isinstance(file, int)
        for name, value in entry.xattrs.items():
            if not self._wants(name):
                self.left_out += 1
                continue
            try:
                os.setxattr(file, name, value, follow_symlinks=follow)
            except OSError as error:
                if not _is_excused(name, entry, error):
                    raise
                self.left_out += 1

    def _wants(self, name: bytes) -> bool:
        if name.startswith(OVERLAY_XATTRS) or not name.startswith(_KNOWN_XATTRS):
            return False
        return self.owners or name.startswith(_USER)


def _is_excused(name: bytes, entry: Entry, error: OSError) -> bool:
    """Whether a file may do without an attribute that cannot be set.

    A file system without user attributes is no reason to do without the image; a capability that a program
    lacks afterwards is.  The kernel has user attributes for files and directories only (xattr(7)).
    """
    if name == _OURS_TO_LEAVE:
        return error.errno in (errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL)
    if name.startswith(_USER):
        return error.errno == errno.EOPNOTSUPP or (error.errno == errno.EPERM and entry.kind != "file")
    return False


def _check_ids(entry: Entry) -> None:
    if entry.uid > _ID_MAX or entry.gid > _ID_MAX:  # the next number means "leave it" to the kernel
        raise OverflowError("an owner is too large")


def _refuse_stranger(entry: Entry, uid: int, gid: int, error: OSError) -> None:
    """Nothing, unless the owner is nobody of our user namespace, which the kernel calls an invalid argument.

    Source: user_namespaces(7), "User and group ID mappings".
    """
    if error.errno == errno.EINVAL:
        raise OperationFailed(
            f"cannot unpack {shown(entry.name)}: it belongs to {uid}:{gid}, whom this user namespace lacks",
            errno=errno.EINVAL,
            code="no-such-owner",
            hint="give the user a larger range in /etc/subuid and /etc/subgid, and start pierd anew",
        ) from error


def _path(directory_fd: int, name: bytes) -> str:
    """For calls that take no directory's descriptor."""
    return f"/proc/self/fd/{directory_fd}/{os.fsdecode(name)}"


def _observe_umask() -> int:
    """Our umask, without changing it for a moment as umask(2) would (proc_pid_status(5)); all bits if we
    cannot know.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except FileNotFoundError:
        pass
    return 0o777


def _is_plain(root_fd: int) -> bool:
    """Whether what is made in the directory is ours and as we say: it is empty and hands nothing down."""
    about = os.fstat(root_fd)
    if about.st_mode & stat.S_ISGID or os.listdir(root_fd):
        return False
    try:
        return _ACL_DEFAULT not in os.listxattr(root_fd)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return True
