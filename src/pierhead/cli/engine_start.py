"""Starts ``pierd`` where nobody answers: two callers at once start one, and each waits until it serves.

    lock ─▶ does somebody answer by now? ─▶ pierd in a session of its own ─▶ READY=1, or its end ─▶ unlock

Readiness comes as for systemd, by a datagram (sd_notify(3)); the end by a pidfd; nothing polls.
"""

from __future__ import annotations

import os
import select
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

from pierhead.errors import OperationFailed, PierheadError, TimedOut
from pierhead.linux.process import spawn_apart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.engine_place import EnginePlace

IDLE, BRIDGE = "PIER_IDLE_TIMEOUT", "PIER_BRIDGE"
_IDLE_S = "300"
_PATIENCE_S = 30.0
_LOG_BYTES_MAX = 1 << 20
_TOLD_BYTES = 2000


def start_engine(place: EnginePlace) -> int:
    """An engine serves there; returns its pid, or 0 if somebody else has started it meanwhile.

    Raises:
        OperationFailed: it ended instead.
        TimedOut: it did not come to serve.
    """
    import fcntl

    for directory in (place.data_root, place.exec_root):
        os.makedirs(directory, mode=0o711, exist_ok=True)
    lock_fd = os.open(f"{place.exec_root}/start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        return 0 if _answers(place.address.path) else _start(place)
    finally:
        os.close(lock_fd)


def _answers(path: str) -> bool:
    from _socket import SOCK_STREAM

    found = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        found.connect(path)
    except OSError:
        return False
    finally:
        found.close()
    return True


def _start(place: EnginePlace) -> int:
    path = f"{place.exec_root}/start.sock"  # no abstract name: pierd may be in another network namespace
    log_path = log_of(place)
    log_fd = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        if os.fstat(log_fd).st_size > _LOG_BYTES_MAX:
            os.ftruncate(log_fd, 0)
        begin = os.fstat(log_fd).st_size
        if os.path.lexists(path):
            os.unlink(path)
        listener.bind(path)
        pid, pidfd = spawn_apart(
            "pierhead.cli.daemon_apart",
            _words(place),
            environment={**os.environ, "NOTIFY_SOCKET": path},
            output_fd=log_fd,
        )
        try:
            _await(listener, pidfd, log_path, begin)
        finally:
            os.close(pidfd)
    finally:
        listener.close()
        os.close(log_fd)
        if os.path.lexists(path):
            os.unlink(path)
    return pid


def log_of(place: EnginePlace) -> str:
    """The file in which an engine that we start says what it does."""
    return f"{place.exec_root}/pierd.log"


def _words(place: EnginePlace) -> tuple[str, ...]:
    """Flags: the machine's engine is as its configuration file says; one in a directory of its own has names
    that its root decides, so that it does not meddle with others.
    """
    words = ("--idle-timeout", os.environ.get(IDLE) or _IDLE_S)
    if not place.apart:
        return words
    from hashlib import sha256

    digest = sha256(place.data_root.encode()).hexdigest()[:8]
    roots = ("--data-root", place.data_root, "--exec-root", place.exec_root)
    bridge = os.environ.get(BRIDGE) or f"pier-{digest}"
    names = ("--bridge", bridge, "--cgroup-parent", f"/pierhead-{digest}")
    return (*words, "--config-file", os.devnull, *roots, *names)


def _await(listener: socket, pidfd: int, log_path: str, begin: int) -> None:
    """It serves.

    Args:
        listener: where it says so.
        pidfd: of the process.
        log_path: what it says else.
        begin: where in the log that begins.
    """
    import time

    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    poll.register(pidfd, select.POLLIN)
    deadline_s = time.monotonic() + _PATIENCE_S
    while (left_s := deadline_s - time.monotonic()) > 0:
        ready = [fd for fd, _ in poll.poll(left_s * 1000)]
        if listener.fileno() in ready and b"READY=1" in listener.recv(4096).splitlines():
            return
        if pidfd in ready:
            raise _as_failure(log_path, begin)
    raise TimedOut(
        f"pierd does not serve after {_PATIENCE_S:.0f} s", code="engine-slow", hint=f"see {log_path}"
    )


def _as_failure(log_path: str, begin: int) -> PierheadError:
    with open(log_path, "rb") as file:
        file.seek(begin)
        lines = file.read(_TOLD_BYTES).decode(errors="replace").strip().splitlines()
    told, hint = read_failure(lines)
    return OperationFailed(f"cannot start pierd: {told}", code="engine-start", hint=hint or f"see {log_path}")


def read_failure(lines: Sequence[str]) -> tuple[str, str]:
    """Why a daemon says that it ended, and its hint, if it has one; its last word if it does not say."""
    for number, line in enumerate(lines):
        if line.startswith("pierd: ") and not line.startswith("pierd: warning: "):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            hint = following.removeprefix("hint: ") if following.startswith("hint: ") else ""
            return line.removeprefix("pierd: "), hint
    return (lines[-1] if lines else "no word"), ""
