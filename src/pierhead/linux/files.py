"""Files on the host, and paths inside a directory that is not trusted."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LINKS_MAX = 40
_TEXT_MAX = 1 << 20
_LOOK_S = 0.02
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
"""What a path gives that leads to no file, or is exchanged while it is walked."""


def temporary_name(name: str) -> str:
    """Where ``replace_file`` of this process prepares a file of this name."""
    return f".{name}.{os.getpid()}"


def replace_file(
    directory_fd: int,
    name: str,
    data: bytes,
    *,
    mode: int = 0o600,
    durable: bool = False,
    like: os.stat_result | None = None,
    at_once: bool = True,
) -> None:
    """The file holds ``data``; a reader sees the old or the new content, never a part.

    Args:
        directory_fd: directory that holds the file.
        name: of the file.
        data: whole content.
        mode: permission bits of a new file.
        durable: also after a power cut; costs a disk flush.
        like: whose owner and permission bits it has, whatever the umask is, in place of ``mode``.
        at_once: else it is only prepared: what needs room on the disk is done, and no reader sees it before
            ``put_in_place``.
    """
    temporary = temporary_name(name)
    first = mode if like is None else 0o600  # until it has its owner, nobody else reads it
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, first, dir_fd=directory_fd)
    try:
        try:
            write_all(fd, data)
            if like is not None:
                os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, like.st_mode & 0o777)
            if durable:
                os.fsync(fd)
        finally:
            os.close(fd)
        if at_once:
            put_in_place(directory_fd, name)
    except BaseException:
        remove_if_there(temporary, directory_fd)
        raise


def put_in_place(directory_fd: int, name: str) -> None:
    """The file that ``replace_file`` has prepared has its name."""
    os.rename(temporary_name(name), name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """All of ``data`` is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def ensure_private_file(path: str) -> None:
    """A file is there, which nobody but its owner reads if it is new.

    One that was there is not opened: to close it would give up this process's record locks on it, those of
    SQLite's connections among them (fcntl_locking(2)).

    Raises:
        OSError: it cannot be made.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    os.close(fd)


def remove_if_there(name: str, directory_fd: int | None = None) -> None:
    """No file of this name is there."""
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        return


def read_file(path: str, *, directory_fd: int | None = None) -> bytes:
    """The whole content of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        return read_all(fd)
    finally:
        os.close(fd)


def read_text_if_there(path: str) -> str:
    """A file's text; empty where there is none, or none that can be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def read_all(fd: int, limit: int = -1) -> bytes:
    """What is left to read, at most ``limit`` bytes if that is not negative."""
    parts = []
    while limit != 0:
        part = os.read(fd, 65536 if limit < 0 else min(limit, 65536))
        if not part:
            break
        parts.append(part)
        limit -= len(part) if limit > 0 else 0
    return b"".join(parts)


def write_text(path: str, text: str) -> None:
    """The text is written to an existing file, in one write (a kernel's file)."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def mount_id(fd: int) -> int:
    """Which mount the descriptor's file is in, among all of the kernel's (proc_pid_fdinfo(5))."""
    for line in read_file(f"/proc/self/fdinfo/{fd}").splitlines():
        if line.startswith(b"mnt_id:"):
            return int(line[7:])
    raise OSError(errno.ENOENT, "no mount id", f"/proc/self/fdinfo/{fd}")


def open_in_root(root_fd: int, path: str) -> int:
    """An O_PATH descriptor of the path as a process with this root would find it; links lead nowhere else.

    Every component is opened by itself without following links; a link's target is walked from the root when
    it is absolute, and ``..`` goes no higher than the root.  Nothing is opened for reading: to open a device,
    or a FIFO, is to act on it.
    """
    todo = _components(path)
    opened = [os.dup(root_fd)]
    links = 0
    try:
        while todo:
            name = todo.pop(0)
            if name == "..":
                if len(opened) > 1:
                    os.close(opened.pop())
                continue
            target = _read_link(opened[-1], name)
            if target is not None:
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    _close_to(opened, 1)
                todo = _components(target) + todo
                continue
            step = os.O_PATH | (os.O_DIRECTORY if todo else 0)
            opened.append(os.open(name, step | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened[-1]))
        return os.dup(opened[-1])
    finally:
        _close_to(opened, 0)


def _components(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _read_link(directory_fd: int, name: str) -> str | None:
    about = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    return os.readlink(name, dir_fd=directory_fd) if stat.S_ISLNK(about.st_mode) else None


def _close_to(opened: list[int], keep: int) -> None:
    while len(opened) > keep:
        os.close(opened.pop())


def read_text_in_root(root_fd: int, path: str) -> str | None:
    """A regular file's text inside the root, at most 1 MiB of it; None where there is no such file.

    Raises:
        OSError: the file system it lies on fails.
    """
    try:
        found = open_in_root(root_fd, path)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        fd = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(found)
    try:
        return read_all(fd, _TEXT_MAX).decode(errors="replace")
    finally:
        os.close(fd)


def lock_at_once(fd: int) -> bool:
    """Whether the file is locked for this descriptor alone now; False while another one has it (flock(2))."""
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_soon(fd: int, patience_s: float = 2.0) -> bool:
    """Whether the file is locked for this descriptor alone before long.

    Of a process that was killed while it started another one that other one still has the locks, until it
    executes its program.
    """
    import time

    deadline = time.monotonic() + patience_s
    while not lock_at_once(fd):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def close_all(fds: Sequence[int]) -> None:
    """All these descriptors are closed."""
    for fd in fds:
        os.close(fd)
