"""Descriptors that a call was given for the container, and unix sockets to answer on."""

from __future__ import annotations

import _socket
import os

from pierhead.errors import InvalidInput, OperationFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime import ProcessSpec

_FIRST = 3
_PATH_MAX = 107  # sun_path without its NUL, unix(7)


def passed_descriptors(preserve: int) -> tuple[int, int]:
    """How many descriptors from 3 on go to the process: those that systemd passed, and further ones.

    Args:
        preserve: what --preserve-fds says.

    Returns:
        The number of sockets that LISTEN_FDS tells of (sd_listen_fds(3)), and of all descriptors together.

    Raises:
        InvalidInput: one of them is not open.
    """
    if preserve < 0:
        raise InvalidInput(f"--preserve-fds cannot be {preserve}", code="bad-usage")
    sockets = _listen_fds()
    for fd in range(_FIRST, _FIRST + sockets + preserve):
        if not _is_given(fd):
            raise InvalidInput(
                f"descriptor {fd} is to be passed to the container, but it is not open",
                code="bad-descriptor",
                hint=f"--preserve-fds {preserve} passes {preserve} descriptors, after any of LISTEN_FDS",
            )
    return sockets, sockets + preserve


def _is_given(fd: int) -> bool:
    """Whether we were started with the descriptor: what we have opened ourselves is closed by execve."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def _listen_fds() -> int:
    """The variables of systemd are meant for the process that LISTEN_PID names."""
    count = os.environ.get("LISTEN_FDS", "")
    meant = os.environ.get("LISTEN_PID", "") == str(os.getpid())
    return int(count) if meant and count.isascii() and count.isdecimal() else 0


def with_listen_variables(process: ProcessSpec, sockets: int) -> ProcessSpec:
    """The process is told of its sockets; as the container's first process it is number 1."""
    if not sockets:
        return process
    env = [entry for entry in process.env if not entry.startswith(("LISTEN_FDS=", "LISTEN_PID="))]
    return process.replace(env=(*env, f"LISTEN_FDS={sockets}", "LISTEN_PID=1"))


def connect(path: str, what: str) -> _socket.socket:
    """A connection to somebody's unix socket.

    Args:
        path: of the socket; may be longer than the 107 bytes that an address takes.
        what: its name, for the error.

    Raises:
        OperationFailed: nobody listens there.
    """
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        if len(os.fsencode(path)) <= _PATH_MAX:
            socket.connect(path)
        else:
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                socket.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            finally:
                os.close(directory)
    except OSError as error:
        socket.close()
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(
            f"cannot connect to the {what} {path}: {reason}", errno=error.errno or 0, code="no-listener"
        ) from None
    return socket


def send_pidfd(socket: _socket.socket, pidfd: int) -> None:
    """The other end has the process's descriptor."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, pidfd.to_bytes(4, "little"))]
    socket.sendmsg([b"pidfd"], rights)


def write_pid_file(path: str, pid: int) -> None:
    """The file holds the number, all of it from the first moment that it has its name."""
    from pierhead.linux.files import replace_file

    directory, name = os.path.split(os.path.abspath(path))
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            replace_file(fd, name, str(pid).encode(), mode=0o666)
        finally:
            os.close(fd)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(f"cannot write the pid file {path}: {reason}", errno=error.errno or 0) from None
