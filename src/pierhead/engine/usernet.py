"""The network of an ordinary user's engine: a program that speaks for its namespace in the user's own name.

    slirp4netns   a whole TCP/IP as a program, and a socket at which ports are published and withdrawn:
                  clients keep their addresses, and ports stay published while no engine runs
    pasta         passes packets on nearly as they are, and is quick; it takes ports at its start only, so
                  a process of ours leads them (``portforwarder``)
    none          the loopback only

They run as long as the namespaces' keeper, whatever becomes of engines.

Sources: slirp4netns(1), passt(1).
"""

from __future__ import annotations

import os
import select
import shutil
import time
from socket import AF_UNIX, SOCK_STREAM, socket

from pierhead.engine.rootlesswords import PASTA_DNS, PROGRAMS, UserNetwork
from pierhead.errors import OperationFailed, Unavailable
from pierhead.linux.files import lock_at_once, read_file
from pierhead.linux.process import (
    kill_pidfd,
    open_pidfd,
    python_words,
    reap_if_ended,
    reap_later,
    spawn_beside,
    wait_pidfd,
)
from pierhead.runtime.keeper import accompany

_PACKAGES = {"slirp4netns": "slirp4netns", "pasta": "passt"}
_TUN = "/dev/net/tun"
_LINK = "tap0"
_LOG = "slirp4netns.log"
_MTU_BYTES = 65520
_PASTA_PID, _PORTS_PID = "pasta.pid", "ports.pid"
_FORWARDER = "pierhead.engine.portforwarder"
_BACKLOG = 16
_LOG_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_READY_S, _LOOK_S = 20.0, 0.02
_FIRST_PORT_FILE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_HELD_FD = 3
"""In the keeper, a pipe's end: its other end tells slirp4netns when the keeper is gone."""


def choose_network(wanted: str, directory: str) -> UserNetwork:
    """The network that is wanted and can be.

    Args:
        wanted: one of ``rootlesswords.CHOICES``; ``auto`` is the first program that is installed.
        directory: for the program's socket.

    Raises:
        Unavailable: the program is not installed.
    """
    if wanted == "none":
        return UserNetwork(kind="none")
    for name in PROGRAMS if wanted == "auto" else (wanted,):
        if _find(name):
            api_path = f"{directory}/{'slirp' if name == PROGRAMS[0] else 'ports'}.sock"
            return UserNetwork(kind=name, api_path=api_path, first_port=_first_port())
    message = (
        "neither slirp4netns nor pasta is installed" if wanted == "auto" else f"{wanted} is not installed"
    )
    package = _PACKAGES.get(wanted, PROGRAMS[0])
    hint = f"apt install {package}, or do without a network: --rootless-network none"
    raise Unavailable(message, code="no-user-network", hint=hint)


def _find(name: str) -> str:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin") or ""


def _first_port() -> int:
    """To be asked in the machine's network namespace: another has a number of its own."""
    return int(read_file(_FIRST_PORT_FILE))


# The programs


def slirp_words(program: str, keeper_pid: int, api_path: str) -> tuple[str, ...]:
    """slirp4netns for a keeper; it says at descriptor 3 that it is ready, and ends when 4 does.  Pure."""
    return (
        *(program, "--configure", f"--mtu={_MTU_BYTES}", "--disable-host-loopback", "--enable-seccomp"),
        *("--ready-fd=3", "--exit-fd=4", f"--api-socket={api_path}", str(keeper_pid), _LINK),
    )


def pasta_words(program: str, keeper_pid: int, pid_path: str) -> tuple[str, ...]:
    """Words of pasta for a keeper; it goes to the background when it is ready.  Pure.

    No port of the machine leads inside, and none of the namespace's outside.
    """
    return (
        *(program, "--config-net", "--quiet", "--no-map-gw", "--dns-forward", PASTA_DNS, "--pid", pid_path),
        *("-t", "none", "-u", "none", "-T", "none", "-U", "none", str(keeper_pid)),
    )


def start_network(network: UserNetwork, keeper_pid: int, directory: str) -> None:
    """The keeper's network namespace has the network.

    Args:
        network: which.
        keeper_pid: of the keeper, which holds a pipe at descriptor 3.
        directory: for what the program says.

    Raises:
        Unavailable: the user may not have what it needs.
        OperationFailed: it has ended instead.
    """
    if network.kind == "none":
        return
    if not os.access(_TUN, os.R_OK | os.W_OK):
        there = os.path.exists(_TUN)
        message = f"the user may not open {_TUN}" if there else f"there is no {_TUN}"
        hint = f"as root: chmod 666 {_TUN}" if there else "as root: modprobe tun"
        raise Unavailable(message, code="no-tun", hint=hint)
    if network.kind == "pasta":
        if not noted_pid(f"{directory}/{_PASTA_PID}", keeper_pid):
            _start_pasta(keeper_pid, directory)
        if not noted_pid(f"{directory}/{_PORTS_PID}", keeper_pid):
            _start_forwarder(network.api_path, keeper_pid, directory)
    else:
        _start_slirp(network, keeper_pid, f"{directory}/{_LOG}")


def _start_pasta(keeper_pid: int, directory: str) -> None:
    words = pasta_words(_find("pasta"), keeper_pid, f"{directory}/{_PASTA_PID}")
    log_path = f"{directory}/pasta.log"
    log_fd = _open_log(log_path)
    try:
        _, pidfd = spawn_beside(words, fds=(), output_fd=log_fd)
    finally:
        os.close(log_fd)
    try:
        wait_pidfd(pidfd, _READY_S)
        if reap_if_ended(pidfd) != 0:
            kill_pidfd(pidfd)
            raise OperationFailed(f"pasta cannot serve: {_last_line(log_path)}", code="user-network")
    finally:
        os.close(pidfd)


def _start_forwarder(api_path: str, keeper_pid: int, directory: str) -> None:
    """It can be asked at once: what it is asked meanwhile waits in its socket.

    It notes itself, so it is known whoever is killed.  Its log stays locked from before it runs to its end:
    so there is one only, also while it is not yet noted, or another keeper's is about to end.
    """
    pid_path = f"{directory}/{_PORTS_PID}"
    words = python_words(_FORWARDER, (str(keeper_pid), pid_path))
    log_fd = os.open(f"{directory}/ports.log", _LOG_FLAGS, 0o600)
    try:
        deadline_s = time.monotonic() + _READY_S
        while not lock_at_once(log_fd):
            if noted_pid(pid_path, keeper_pid):
                return
            if time.monotonic() > deadline_s:
                raise OperationFailed("another keeper's forwarder of ports does not end", code="user-network")
            time.sleep(_LOOK_S)
        os.truncate(log_fd, 0)
        if os.path.exists(api_path):
            os.unlink(api_path)
        keeper_fd = os.pidfd_open(keeper_pid)
        try:
            with socket(AF_UNIX, SOCK_STREAM) as listener:
                listener.bind(api_path)
                listener.listen(_BACKLOG)
                held_fd = listener.fileno()
                pid, pidfd = accompany(
                    keeper_fd, words, environment=os.environ, held_fd=held_fd, log_fd=log_fd
                )
        finally:
            os.close(keeper_fd)
        os.close(pidfd)
        reap_later(pid)
    finally:
        os.close(log_fd)


def noted_pid(pid_path: str, keeper_pid: int = 0) -> int:
    """Of the program that runs, was told this very file, and is noted in it; 0 for none.

    The number can have come to mean another process, also another's pasta.

    Args:
        pid_path: the file.
        keeper_pid: it was told this one as well; 0 for any.
    """
    try:
        pid = int(read_file(pid_path))
        words = read_file(f"/proc/{pid}/cmdline")
    except (OSError, ValueError):  # there is none, or it ends at this moment
        return 0
    told = (pid_path, str(keeper_pid)) if keeper_pid else (pid_path,)
    return pid if all(b"\0" + os.fsencode(each) + b"\0" in words for each in told) else 0


def _start_slirp(network: UserNetwork, keeper_pid: int, log_path: str) -> None:
    if os.path.exists(network.api_path):
        os.unlink(network.api_path)
    words = slirp_words(_find(network.kind), keeper_pid, network.api_path)
    log_fd = _open_log(log_path)
    ready_fd, telling_fd = os.pipe2(os.O_CLOEXEC)
    held_fd = os.open(f"/proc/{keeper_pid}/fd/{_HELD_FD}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _, pidfd = spawn_beside(words, fds=(telling_fd, held_fd), output_fd=log_fd)
    finally:
        os.close(held_fd)
        os.close(telling_fd)
        os.close(log_fd)
    try:
        if not _is_told(ready_fd):
            kill_pidfd(pidfd)
            raise OperationFailed(f"slirp4netns cannot serve: {_last_line(log_path)}", code="user-network")
    finally:
        os.close(ready_fd)
        os.close(pidfd)


def _is_told(ready_fd: int) -> bool:
    """Whether something came; the end of the pipe is the program's."""
    deadline_s = time.monotonic() + _READY_S
    poll = select.poll()
    poll.register(ready_fd, select.POLLIN)
    while (left_s := deadline_s - time.monotonic()) > 0:
        if poll.poll(left_s * 1000):
            return bool(os.read(ready_fd, 1))
    return False


def _open_log(path: str) -> int:
    return os.open(path, _LOG_FLAGS | os.O_TRUNC, 0o600)


def _last_line(log_path: str) -> str:
    with open(log_path, encoding="utf-8", errors="replace") as file:
        lines = file.read().strip().splitlines()
    return lines[-1] if lines else "it does not say why"


def serves(network: UserNetwork, directory: str) -> bool:
    """Whether the program still does."""
    if network.kind == "none":
        return True
    if network.kind == "pasta":
        return all(noted_pid(f"{directory}/{name}") for name in (_PASTA_PID, _PORTS_PID))
    with socket(AF_UNIX, SOCK_STREAM) as asking:
        try:
            asking.connect(network.api_path)
        except OSError:
            return False
        os.truncate(f"{directory}/{_LOG}", 0)  # it notes every port
        return True


def companions(directory: str) -> tuple[int, ...]:
    """Processes in the namespaces that are there for others only, as the keeper is."""
    pid = noted_pid(f"{directory}/{_PORTS_PID}")
    return (pid,) if pid else ()


def end_network(network: UserNetwork, directory: str) -> None:
    """The programs of a keeper that has ended do not run; slirp4netns ends by itself."""
    if network.kind == "pasta":
        for name in (_PASTA_PID, _PORTS_PID):
            pid = noted_pid(f"{directory}/{name}")
            pidfd = open_pidfd(pid) if pid else None
            if pidfd is not None:
                kill_pidfd(pidfd)
                os.close(pidfd)
