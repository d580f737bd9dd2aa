"""Processes: starting the helper and other programs, waiting by pidfd, and reaping.

Python never forks here: the helper is spawned (posix_spawn(3), which is vfork and exec), from a sealed copy
in memory, so that nothing that gets hold of ``/proc/PID/exe`` can write to the program (CVE-2019-5736).
"""

from __future__ import annotations

import errno
import fcntl
import os

from pierhead.errors import OperationFailed, Unsupported
from pierhead.linux.refusals import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from signal import pidfd_send_signal as _send
else:
    from _signal import pidfd_send_signal as _send  # what signal.py wraps, without its enums' 6 ms

_MFD_EXEC = 0x10
_F_ADD_SEALS = 1033
_SEALS = 0xE  # F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE
_SEAL_EXEC = 0x20
_SPOILT = (errno.EACCES, errno.ETXTBSY)
"""What starting our copy gives when somebody in a container has got hold of it: no right to execute it
(before Linux 6.3), or open for writing, which the seals make useless but the kernel takes for a reason not to
execute it.
"""
_SEAL_SEAL = 0x1
_FIRST_FREE_FD = 5
_CONTROL_FD, _CHANNEL_FD = 3, 4
_STDERR = 2
_SIGKILL, _SIGPIPE, _SIGIO = 9, 13, 29
_PAUSE_S = 0.001
_NOW_S = 1.0
_SAID_MAX, _PIPE_BYTES = 4096, 65536
_CORE_DUMPED = 0x80
_HELPER = "_libexec/pier-init"
_PYTHON_MAIN = """
import sys
sys.path[:] = sys.argv[1].split("\\n")
from importlib import import_module
import_module(sys.argv[2]).main(tuple(sys.argv[3:]))
"""


class _Helper:
    """The sealed copy, made once per process."""

    fd = -1


def helper_path() -> str:
    """Where the helper program is installed."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.path.join(package, _HELPER)


def _sealed_helper() -> int:
    if _Helper.fd < 0:
        _Helper.fd = _copy_sealed(helper_path())
    return _Helper.fd


def _copy_sealed(path: str) -> int:
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise OperationFailed(
            f"the helper program {path} is missing",
            code="helper-missing",
            hint="install the package anew, or run make",
        ) from None
    try:
        fd = _memory_file()
        size = os.fstat(source).st_size
        copied = 0
        while copied < size:
            copied += os.sendfile(fd, source, copied, size - copied)
        _seal(fd)
    finally:
        os.close(source)
    return fd


def _seal(fd: int) -> None:
    """Nobody can change the file, nor take the right to execute it away, and nobody but us may open it: root
    of a container that gets hold of it could else keep us from starting anything.
    """
    os.fchmod(fd, 0o500)
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEALS)
    try:
        fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a kernel before 6.3: see _SPOILT
            raise
    fcntl.fcntl(fd, _F_ADD_SEALS, _SEAL_SEAL)


def _memory_file() -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("pier-init", flags | _MFD_EXEC)
    except OSError as error:
        if (
            error.errno != errno.EINVAL
        ):  # a kernel before 6.3 knows no MFD_EXEC and makes every copy executable
            raise
        fd = os.memfd_create("pier-init", flags)
    return above_standard(fd)


def above_standard(fd: int) -> int:
    """The descriptor, moved if need be, so that the helper's fixed numbers do not overwrite it."""
    if fd >= _FIRST_FREE_FD:
        return fd
    moved: int = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_FD)
    os.close(fd)
    return moved


def spawn_helper(control_fd: int, channel_fd: int) -> int:
    """The helper runs, with its two sockets; returns its pid.

    Args:
        control_fd: the stage's conversation, 5 or higher; stays the caller's.
        channel_fd: the launched process's conversation, 5 or higher; stays the caller's.
    """
    actions = [(os.POSIX_SPAWN_DUP2, control_fd, _CONTROL_FD), (os.POSIX_SPAWN_DUP2, channel_fd, _CHANNEL_FD)]
    helper_fd = _sealed_helper()
    path = f"/proc/self/fd/{helper_fd}"
    try:
        try:
            return os.posix_spawn(path, ("pier-init",), {}, file_actions=actions)
        except OSError as error:
            if error.errno not in _SPOILT:
                raise
            fresh = _copy_sealed(helper_path())
            os.dup2(fresh, helper_fd, inheritable=False)
            os.close(fresh)
            return os.posix_spawn(path, ("pier-init",), {}, file_actions=actions)
    except OSError as error:
        raise refused("start pier-init", error) from error


def run_program(
    arguments: tuple[str, ...],
    *,
    path: str = "",
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout_s: float | None = None,
    said_bytes_max: int = _SAID_MAX,
    stderr_apart: bool = False,
) -> tuple[int, str]:
    """Runs a program to its end; returns its exit code (minus the signal's number, if one ended it) and what
    it said.

    Args:
        arguments: the program's own name first; looked up in PATH if ``path`` is empty.
        path: the program's file.
        environment: the whole environment; None is ours.
        stdin: what it reads.
        timeout_s: after which it is killed and TimeoutError raised; None waits for ever.
        said_bytes_max: of what it says, what is kept.
        stderr_apart: what it says on stderr goes to ours, and is no part of the result.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it took too long.
    """
    environment = dict(os.environ) if environment is None else environment
    input_fd = _open_text(stdin)
    output_fd, writing = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(output_fd, False)
        actions = [
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            (os.POSIX_SPAWN_DUP2, input_fd, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            *(() if stderr_apart else ((os.POSIX_SPAWN_DUP2, writing, 2),)),
        ]
        start = os.posix_spawn if path else os.posix_spawnp
        pid = start(path or arguments[0], arguments, environment, file_actions=actions)
    except BaseException:
        os.close(output_fd)
        raise
    finally:
        os.close(input_fd)
        os.close(writing)
    try:
        pidfd = os.pidfd_open(pid)
        try:
            said = _listen(output_fd, pidfd, timeout_s, said_bytes_max)
        finally:
            os.close(pidfd)
    except BaseException:
        os.kill(pid, _SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(output_fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def run_visibly(arguments: tuple[str, ...]) -> int:
    """Runs a program to its end; what it says on either stream is on our standard error.  Returns its exit
    code, minus the signal's number if one ended it.

    Raises:
        OSError: it cannot be started.
    """
    null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        actions = [
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            (os.POSIX_SPAWN_DUP2, null_fd, 0),
            (os.POSIX_SPAWN_DUP2, _STDERR, 1),
        ]
        pid = os.posix_spawnp(arguments[0], arguments, os.environ, file_actions=actions)
    finally:
        os.close(null_fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def python_words(module: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """The program and the words by which another Python runs the module's ``main(arguments)``.

    It finds modules where we do, loads no site packages' start-up code, and reads nothing from the
    environment that is Python's.

    Raises:
        Unsupported: we do not know which program we are.
    """
    import sys

    if not sys.executable:
        raise Unsupported("the program of this Python is not known", hint="run it as python3 does")
    path = "\n".join(os.path.abspath(entry) for entry in sys.path)
    return (sys.executable, "-ISXutf8", "-c", _PYTHON_MAIN, path, module, *arguments)


def spawn_python(
    module: str, arguments: tuple[str, ...], *, fds: tuple[int, ...], output_fd: int
) -> tuple[int, int]:
    """Another Python runs the module's ``main(arguments)``; returns its pid and a pidfd, the caller's to reap
    and to close.

    It finds modules where we do, but loads no site packages' start-up code, and reads nothing from the
    environment: it starts in a third of the time.

    Args:
        module: its full name.
        arguments: what ``main`` is called with.
        fds: its descriptors 3, 4, … in this order; ours stay open.
        output_fd: where what it says goes, be it on stdout or stderr.

    Raises:
        OperationFailed: it cannot be started.
        Unsupported: we do not know which program we are.
    """
    command = python_words(module, arguments)
    first_free = _STDERR + 1 + len(fds)
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    sources = [null_fd]
    try:
        for fd in (output_fd, *fds):  # moved out of the way of the numbers that they get
            sources.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first_free))  # noqa: PERF401 - see finally
        targets = (0, 1, *range(_STDERR + 1, first_free))
        actions = [
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            *((os.POSIX_SPAWN_DUP2, source, target) for source, target in zip(sources, targets, strict=True)),
            (os.POSIX_SPAWN_DUP2, 1, _STDERR),
        ]
        pid = os.posix_spawn(
            command[0],
            command,
            dict(os.environ),
            file_actions=actions,
            setsigmask=(),
            setsigdef=(_SIGIO,),
        )
    except OSError as error:
        message = f"cannot start {command[0]}: {error.strerror}"
        raise OperationFailed(message, errno=error.errno or 0) from error
    finally:
        for fd in sources:
            os.close(fd)
    return pid, os.pidfd_open(pid)


def spawn_apart(
    module: str, arguments: tuple[str, ...], *, environment: Mapping[str, str], output_fd: int
) -> tuple[int, int]:
    """Another Python runs the module's ``main(arguments)`` in a session of its own, and goes on without us;
    returns its pid and a pidfd, the caller's to close.

    It finds modules where we do, and reads nothing from the environment that is Python's.

    Args:
        module: its full name.
        arguments: what ``main`` is called with.
        environment: the whole of it.
        output_fd: where what it says goes, be it on stdout or stderr.

    Raises:
        OperationFailed: it cannot be started.
        Unsupported: we do not know which program we are.
    """
    command = python_words(module, arguments)
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            (os.POSIX_SPAWN_DUP2, null_fd, 0),
            (os.POSIX_SPAWN_DUP2, output_fd, 1),
            (os.POSIX_SPAWN_DUP2, output_fd, _STDERR),
        ]
        pid = os.posix_spawn(
            command[0], command, environment, file_actions=actions, setsid=True, setsigmask=()
        )
    except OSError as error:
        message = f"cannot start {command[0]}: {error.strerror}"
        raise OperationFailed(message, errno=error.errno or 0) from error
    finally:
        os.close(null_fd)
    return pid, os.pidfd_open(pid)


def spawn_beside(arguments: tuple[str, ...], *, fds: tuple[int, ...], output_fd: int) -> tuple[int, int]:
    """Another program runs in a session of its own, and goes on without us; returns its pid and a pidfd, the
    caller's to close.

    Args:
        arguments: the program's path first.
        fds: its descriptors 3, 4, … in this order; ours stay open.
        output_fd: where what it says goes, be it on stdout or stderr.

    Raises:
        OperationFailed: it cannot be started.
    """
    first_free = _STDERR + 1 + len(fds)
    sources: list[int] = []
    null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for fd in (null_fd, output_fd, output_fd, *fds):  # moved out of the way of the numbers that they get
            sources.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first_free))  # noqa: PERF401 - see finally
        actions = [
            *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            *((os.POSIX_SPAWN_DUP2, source, target) for target, source in enumerate(sources)),
        ]
        pid = os.posix_spawn(
            arguments[0],
            arguments,
            dict(os.environ),
            file_actions=actions,
            setsid=True,
            setsigmask=(),
            setsigdef=(_SIGPIPE,),  # which Python ignores
        )
    except OSError as error:
        message = f"cannot start {arguments[0]}: {error.strerror}"
        raise OperationFailed(message, errno=error.errno or 0) from error
    finally:
        os.close(null_fd)
        for fd in sources:
            os.close(fd)
    return pid, os.pidfd_open(pid)


def end_with_writers(fd: int) -> None:
    """We end when nobody can write to this pipe any more, as when the process that started us has ended.

    The kernel sends SIGIO, whose default is to end us: no thread has to wait for it.
    Source: fcntl(2), F_SETOWN and O_ASYNC.
    """
    import select

    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(fd, 0)
    if poll.poll(0):  # they had gone before
        os._exit(1)


def _open_text(data: bytes) -> int:
    """A file of this content, at its beginning: of any length, and nobody has to read it."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _inherited() -> list[int]:
    """Descriptors beyond the standard streams that a program started by us would get."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > _STDERR and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:  # closed meanwhile, as the listing's own is
            continue
    return found


def _listen(fd: int, pidfd: int, timeout_s: float | None, limit_bytes: int) -> str:
    """What a program says until it ends; one that it leaves behind may go on talking."""
    import select
    import time

    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    said = b""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left = None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000))
        ready = dict(poll.poll(left))
        if not ready:
            raise TimeoutError
        if fd in ready:
            try:
                part = os.read(fd, _PIPE_BYTES)
            except BlockingIOError:
                part = b""
            said = (said + part)[:limit_bytes]
            if not part:
                poll.unregister(fd)
        if pidfd in ready:
            return said.decode(errors="replace").strip()


def open_pidfd(pid: int) -> int | None:
    """A descriptor for the process; None when there is none of that number."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise Unsupported(
                "this kernel has no pidfd_open(2)", hint="Linux 5.12 or newer is needed"
            ) from None
        raise


def wait_pidfd(pidfd: int, timeout_s: float | None = None) -> bool:
    """Whether the process has ended within the time; None waits for ever.  Does not reap it."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000))))


def kill_pidfd(pidfd: int, signal: int = 9) -> bool:
    """The process has been sent the signal; False when it had ended already."""
    try:
        _send(pidfd, signal)
    except ProcessLookupError:
        return False
    return True


def reap(pid: int) -> int | None:
    """The wait status of a child of ours that has ended or will; None when it is not our child (any more)."""
    try:
        return os.waitpid(pid, 0)[1]
    except ChildProcessError:
        return None


def reap_group(group: int, timeout_s: float) -> None:
    """No child of ours is in the process group; those that end within the time are reaped."""
    _reap_within(os.P_PGID, group, timeout_s)


def _reap_within(kind: int, number: int, timeout_s: float) -> None:
    import time

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            if os.waitid(kind, number, os.WEXITED | os.WNOHANG) is None:
                time.sleep(_PAUSE_S)
        except ChildProcessError:
            return


def reap_if_ended(pidfd: int) -> int | None:
    """The wait status of a child of ours that has ended; None when it runs on or is not our child."""
    try:
        ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    if ended is None:
        return None
    dumped = _CORE_DUMPED if ended.si_code == os.CLD_DUMPED else 0
    return ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status | dumped


_unreaped: list[int] = []


def reap_later(pid: int) -> None:
    """The child is reaped when it has ended, at one of the next calls here: nobody waits for it any more."""
    try:
        pidfd = open_pidfd(pid)  # by its number it could be taken for a later child
    except OSError:  # the table of descriptors is full: now or never
        _reap_within(os.P_PID, pid, _NOW_S)
        return
    if pidfd is not None:
        reap_behind(pidfd)


def reap_behind(pidfd: int) -> None:
    """As ``reap_later``, for the child behind a descriptor, which becomes ours."""
    _unreaped.append(pidfd)
    reap_ended()


def reap_ended() -> None:
    """Of the children that ``reap_later`` was told of, those that have ended are reaped."""
    for _ in range(len(_unreaped)):
        try:
            pidfd = _unreaped.pop(0)
        except IndexError:  # another thread was quicker
            return
        if _is_reaped(pidfd):
            os.close(pidfd)
        else:
            _unreaped.append(pidfd)


def _is_reaped(pidfd: int) -> bool:
    """Whether the process behind the descriptor is no longer a running child of ours."""
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return True
