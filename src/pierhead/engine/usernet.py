"""The network of an ordinary user's engine: a program that speaks for its namespace in the user's own name.

    slirp4netns   a whole TCP/IP as a program, and a socket at which ports are published and withdrawn:
                  clients keep their addresses, and ports stay published while no engine runs
    pasta         passes packets on nearly as they are, and is quick; it takes ports at its start only, so
                  none are published
    none          the loopback only

Either runs as long as the namespaces' keeper, whatever becomes of engines.

Sources: slirp4netns(1), passt(1).
"""

from __future__ import annotations

import os
import select
import shutil
import time
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from socket import AF_UNIX, SHUT_WR, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from struct import calcsize, unpack

from pierhead.engine.rootlesswords import PASTA_DNS, PROGRAMS, UserNetwork
from pierhead.errors import InvalidInput, OperationFailed, Unavailable, Unsupported
from pierhead.jsontext import format_compact, parse
from pierhead.linux.files import read_file
from pierhead.linux.process import kill_pidfd, open_pidfd, reap_if_ended, spawn_beside, wait_pidfd
from pierhead.net.ports import PortReservations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    from pierhead.net import PublishedPort

_PACKAGES = {"slirp4netns": "slirp4netns", "pasta": "passt"}
_TUN = "/dev/net/tun"
_LINK = "tap0"
_LOG = "slirp4netns.log"
_SLIRP_ADDRESS = "10.0.2.100"
_MTU_BYTES = 65520
_PASTA_PID = "pasta.pid"
_READY_S = 20.0
_REPLY_BYTES = 1 << 20
_REPLY_S = 10.0
_FIRST_PORT_FILE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_CREDENTIALS = "3i"
"""Process, user and group: unix(7), SO_PEERCRED."""
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
            api_path = f"{directory}/slirp.sock" if name == PROGRAMS[0] else ""
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
        _start_pasta(keeper_pid, directory)
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


def _pasta_pid(directory: str) -> int:
    """Of the pasta that runs; 0 for none.

    The number can have come to mean another process, also another's pasta: ours was told this very file.
    """
    pid_path = f"{directory}/{_PASTA_PID}"
    try:
        pid = int(read_file(pid_path))
        words = read_file(f"/proc/{pid}/cmdline")
    except (OSError, ValueError):  # there is none, or it ends at this moment
        return 0
    return pid if b"\0--pid\0" + os.fsencode(pid_path) + b"\0" in words else 0


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
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


def _last_line(log_path: str) -> str:
    with open(log_path, encoding="utf-8", errors="replace") as file:
        lines = file.read().strip().splitlines()
    return lines[-1] if lines else "it does not say why"


def serves(network: UserNetwork, directory: str) -> bool:
    """Whether the program still does."""
    if network.kind == "none":
        return True
    if network.kind == "pasta":
        return _pasta_pid(directory) > 0
    with socket(AF_UNIX, SOCK_STREAM) as asking:
        try:
            asking.connect(network.api_path)
        except OSError:
            return False
        os.truncate(f"{directory}/{_LOG}", 0)  # it notes every port
        return True


def end_network(network: UserNetwork, directory: str) -> None:
    """The program of a keeper that has ended does not run; slirp4netns ends by itself."""
    if network.kind == "pasta":
        pid = _pasta_pid(directory)
        pidfd = open_pidfd(pid) if pid else None
        if pidfd is not None:
            kill_pidfd(pidfd)
            os.close(pidfd)


# Ports at slirp4netns


def port_keeper(network: UserNetwork | None) -> Callable[[], PortReservations]:
    """What holds ports of the machine for an engine with this network; None for one in the machine's."""
    if network is None:
        return PortReservations
    if network.kind == "slirp4netns":
        forwarding = SlirpPorts(network.api_path, first_port=network.first_port)
        return lambda: PortReservations(forwarding=forwarding)
    return lambda: PortReservations(forwarding=NoPorts(network.kind))


class NoPorts:
    """Of a network that leads no port of the machine into the namespace (``net.ports.Forwarding``)."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def publish(self, port: PublishedPort) -> int:
        """Never.

        Raises:
            Unsupported: always.
        """
        raise Unsupported(
            f"cannot publish {port}: this engine's network is {self._kind}, which takes no ports",
            code="no-ports",
            hint="start pierd with --rootless-network slirp4netns",
        )

    def withdraw(self, number: int) -> None:
        """There is nothing to withdraw."""

    def keep(self, numbers: Container[int]) -> None:
        """The same."""


class SlirpPorts:
    """Ports of the machine that slirp4netns leads into the namespace (``net.ports.Forwarding``)."""

    def __init__(self, api_path: str, *, first_port: int = 1024, timeout_s: float = _REPLY_S) -> None:
        """Asks nothing yet.

        Args:
            api_path: slirp4netns's socket.
            first_port: the first that the user may have.
            timeout_s: how long it may be silent.
        """
        self._api_path = api_path
        self._first_port = first_port
        self._timeout_s = timeout_s
        self._pid = 0

    def publish(self, port: PublishedPort) -> int:
        """The machine's port leads to the same port inside; returns slirp4netns's number of that.

        One that an engine before us has published is the same.

        Raises:
            OSError: it is taken, or the user may not have it.
            InvalidInput, Unsupported: slirp4netns cannot.
        """
        if port.protocol not in ("tcp", "udp") or port.is_ipv6:
            what = f"{port}/{port.protocol}"
            raise Unsupported(
                f"cannot publish {what}: slirp4netns has TCP and UDP over IPv4", code="user-network"
            )
        for known in self._published():
            if _place(known) == (port.protocol, port.host_ip, port.host_port):
                return int(known["id"])
        wanted = {
            "proto": port.protocol,
            "host_addr": port.host_ip,
            "host_port": port.host_port,
            "guest_addr": _SLIRP_ADDRESS,
            "guest_port": port.host_port,
        }
        try:
            return int(self._ask("add_hostfwd", wanted)["id"])
        except InvalidInput as error:  # it does not say why
            raise self._refusal(port) from error

    def withdraw(self, number: int) -> None:
        """It leads nowhere; nothing happens if it did not, or slirp4netns has ended with all its ports."""
        try:
            self._ask("remove_hostfwd", {"id": number})
        except (InvalidInput, Unavailable):
            return

    def keep(self, numbers: Container[int]) -> None:
        """Of those that engines before us have published, no others lead anywhere.

        Raises:
            Unavailable: slirp4netns does not answer.
        """
        for number in [int(known["id"]) for known in self._published()]:
            if number not in numbers:
                self._ask("remove_hostfwd", {"id": number})

    def _refusal(self, port: PublishedPort) -> OSError:
        """What the kernel has told slirp4netns, which does not say it on."""
        try:
            routes = read_file(f"/proc/{self._pid}/net/fib_trie").decode()  # of its namespace: the machine's
        except OSError:
            routes = ""
        if routes and not is_local(port.host_ip, routes):
            return OSError(EADDRNOTAVAIL, "cannot assign requested address")
        if port.host_port < self._first_port:
            return PermissionError(EACCES, "permission denied")
        return OSError(EADDRINUSE, "address already in use")

    def _published(self) -> list[dict[str, Any]]:
        return list(self._ask("list_hostfwd", {}).get("entries", ()))

    def _ask(self, verb: str, arguments: dict[str, Any]) -> dict[str, Any]:
        request = format_compact(
            {"execute": verb, "arguments": arguments} if arguments else {"execute": verb}
        )
        with socket(AF_UNIX, SOCK_STREAM) as asking:
            asking.settimeout(self._timeout_s)
            try:
                asking.connect(self._api_path)
                credentials = asking.getsockopt(SOL_SOCKET, SO_PEERCRED, calcsize(_CREDENTIALS))
                self._pid = unpack(_CREDENTIALS, credentials)[0]
                asking.sendall(request.encode())
                asking.shutdown(SHUT_WR)
                raw = b""
                while len(raw) < _REPLY_BYTES and (part := asking.recv(_REPLY_BYTES)):
                    raw += part
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise Unavailable(
                    f"slirp4netns does not answer at {self._api_path}: {reason}",
                    code="user-network",
                    hint="start pierd anew: its containers go on",
                ) from error
        reply = parse(raw.decode(errors="replace"), name="slirp4netns's answer")
        if not isinstance(reply, dict) or "error" in reply:
            raise InvalidInput(
                f"slirp4netns refuses {verb}: {raw.decode(errors='replace')}", code="user-network"
            )
        found = reply.get("return", reply)  # a list comes without that word
        return found if isinstance(found, dict) else {}


def _place(known: dict[str, Any]) -> tuple[str, str, int]:
    return str(known.get("proto")), str(known.get("host_addr")), int(known.get("host_port", 0))


def is_local(address: str, routes: str) -> bool:
    """Whether the IPv4 address is the machine's own, or all of them.  Pure.

    Args:
        address: as people write it.
        routes: what /proc/net/fib_trie has: each address, and below it the lengths and kinds of its routes.
    """
    from ipaddress import IPv4Address, IPv4Network

    wanted = IPv4Address(address)
    if wanted.is_unspecified:
        return True
    begins = ""
    for line in routes.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            begins = words[1]
        elif words[1:] == ["host", "LOCAL"] and wanted in IPv4Network(f"{begins}{words[0]}"):
            return True
    return False
