"""The kernel's calls for mounts, under their manual pages' names; what the kernel refuses is an OSError.

    fd = fsopen("overlay")                                  a file system that is being configured
    fsconfig(fd, FSCONFIG_SET_STRING, "source", "overlay")
    fsconfig(fd, FSCONFIG_CMD_CREATE)
    tree = fsmount(fd)                                      a mount that stands nowhere, by its descriptor

A mount that is only a descriptor is in nobody's mount namespace: it needs no directory, nobody else sees it,
and it is gone when the descriptor is closed, by whatever end of the process.

Python has no binding; system calls go through ctypes, which is imported here and in ``inotify`` only.
Source: fsopen(2), fsconfig(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2), umount2(2),
syncfs(2), unshare(2); Linux 5.12.
"""

import ctypes
import os

FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 0x1, 0x2, 0x4, 0x8
MOUNT_ATTR_IDMAP = 0x100000
AT_RECURSIVE = 0x8000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNS = 0x20000
MS_PRIVATE = 0x40000
CLONE_FS = 0x200
"""Working directory, root directory and umask (unshare(2))."""

FSCONFIG_STRING_MAX = 255
"""Bytes of one value in fsconfig(2)."""

# The numbers of these calls are the same on every machine (they came after 2019).
_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 429, 430, 431, 432, 442
_AT_EMPTY_PATH = 0x1000
_MOVE_MOUNT_F_EMPTY_PATH, _MOVE_MOUNT_T_EMPTY_PATH = 0x4, 0x40
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_CLOEXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_OPEN_TREE_CLONE = 1
_MESSAGE_BYTES = 4096


class _MountAttr(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def fsopen(name: str) -> int:
    """A descriptor by which a file system of this type is configured."""
    return _call(_FSOPEN, name.encode(), _CLOEXEC, about=name)


def fsconfig(fd: int, command: int, key: str = "", value: str = "") -> None:
    """The parameter is set, or the file system is created.

    Raises:
        OSError: the kernel refuses; ``strerror`` is the file system's own sentence where it has one.
    """
    key_bytes = key.encode() if key else None
    value_bytes = os.fsencode(value) if command == FSCONFIG_SET_STRING else None
    try:
        _call(_FSCONFIG, fd, command, key_bytes, value_bytes, 0, about=key)
    except OSError as error:
        said = _message(fd)
        if said:
            raise OSError(error.errno, said) from None
        raise


def fsmount(fd: int, attributes: int = 0) -> int:
    """A descriptor of the mount of a file system that was created; it stands nowhere."""
    return _call(_FSMOUNT, fd, _CLOEXEC, attributes)


def open_tree(path: str, flags: int = 0) -> int:
    """A descriptor of a copy of the mount that holds the path, with the path as its root; it stands nowhere.

    Args:
        path: of the host.
        flags: AT_RECURSIVE takes the mounts below it along.
    """
    at_cwd = -100
    return _call(_OPEN_TREE, at_cwd, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC | flags, about=path)


def mount_setattr(
    fd: int, *, attr_set: int = 0, propagation: int = 0, flags: int = 0, userns_fd: int = -1
) -> None:
    """The mount has these attributes.

    Args:
        fd: of the mount, from ``open_tree`` or ``fsmount``.
        attr_set: MOUNT_ATTR_*.
        propagation: MS_PRIVATE, or 0 for what it is.
        flags: AT_RECURSIVE changes the mounts below it too.
        userns_fd: for MOUNT_ATTR_IDMAP, the user namespace that maps the owners.
    """
    attributes = _MountAttr(attr_set, 0, propagation, max(userns_fd, 0))
    size = ctypes.sizeof(attributes)
    _call(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH | flags, ctypes.byref(attributes), size)


def move_mount(fd: int, path: str = "", *, to_fd: int = -100) -> None:
    """The mount, which stood nowhere, stands on the path; it stays when the descriptor is closed.

    Args:
        fd: of the mount, from ``open_tree`` or ``fsmount``.
        path: of the host; no link is followed at its end.
        to_fd: of the place itself, where there is no path.
    """
    flags = _MOVE_MOUNT_F_EMPTY_PATH | (0 if path else _MOVE_MOUNT_T_EMPTY_PATH)
    _call(_MOVE_MOUNT, fd, b"", to_fd, os.fsencode(path), flags, about=path)


def detach_mount(path: str) -> None:
    """The topmost mount on the path stands nowhere, and is gone with its last user (MNT_DETACH)."""
    if _libc.umount2(os.fsencode(path), _MNT_DETACH | _UMOUNT_NOFOLLOW) < 0:
        raise _failure(ctypes.get_errno(), path)


def unshare(flags: int) -> None:
    """The calling thread has a copy of its own of what the flags (CLONE_*) name."""
    if _libc.unshare(flags) < 0:
        raise _failure(ctypes.get_errno())


def join_user_namespace(fd: int) -> None:
    """The process, which has one thread, is root in the user namespace: it makes files with owners of that.

    Raises:
        OSError: the kernel refuses.
    """
    if _libc.setns(fd, CLONE_NEWUSER) < 0:
        raise _failure(ctypes.get_errno())
    os.setgroups(())
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def syncfs(fd: int) -> None:
    """Everything that was written to the file system is on its disk."""
    if _libc.syncfs(fd) < 0:
        raise _failure(ctypes.get_errno())


def _call(number: int, *arguments: object, about: str = "") -> int:
    """The result of a system call.  Integers are widened: the C library's ``syscall`` takes longs."""
    wide = [ctypes.c_long(item) if isinstance(item, int) else item for item in arguments]
    result = int(_libc.syscall(ctypes.c_long(number), *wide))
    if result < 0:
        raise _failure(ctypes.get_errno(), about)
    return result


def _failure(number: int, about: str = "") -> OSError:
    return OSError(number, os.strerror(number), about) if about else OSError(number, os.strerror(number))


def _message(fd: int) -> str:
    """The file system's last words, without the letter of their level and its blank; empty for none."""
    try:
        return os.read(fd, _MESSAGE_BYTES).decode(errors="replace")[2:].strip()
    except OSError:  # there is none (ENODATA)
        return ""
