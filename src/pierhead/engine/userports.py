"""Ports of the machine for an ordinary user's engine, published at whoever leads them into its namespace.

    slirp4netns   leads those of its own network
    portforwarder ours, beside pasta: it is asked in the same words, and says why it refuses

Source: slirp4netns(1), "API socket".
"""

from __future__ import annotations

from contextlib import suppress
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from os import strerror
from socket import AF_UNIX, SHUT_WR, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from struct import calcsize, unpack

from pierhead.errors import OperationFailed, PierheadError, Unavailable, Unsupported
from pierhead.jsontext import format_compact, parse
from pierhead.linux.files import read_file
from pierhead.net.ports import PortReservations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any

    from pierhead.engine.rootlesswords import UserNetwork
    from pierhead.net import PublishedPort
    from pierhead.net.ports import Forwarding

_SLIRP_ADDRESS = "10.0.2.100"
_REPLY_BYTES = 1 << 20
_REPLY_S = 10.0
_CREDENTIALS = "3i"
"""Process, user and group: unix(7), SO_PEERCRED."""


def port_keeper(network: UserNetwork | None) -> Callable[[], PortReservations]:
    """What holds ports of the machine for an engine with this network; None for one in the machine's."""
    if network is None:
        return PortReservations
    forwarding: Forwarding
    if network.kind == "slirp4netns":
        forwarding = SlirpPorts(network.api_path, first_port=network.first_port)
    elif network.kind == "pasta":
        forwarding = ForwardedPorts(network.api_path, network.opener_path)
    else:
        forwarding = NoPorts(network.kind)
    return lambda: PortReservations(forwarding=forwarding)


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
            hint="start pierd with --rootless-network auto",
        )

    def withdraw(self, number: int) -> None:
        """There is nothing to withdraw."""

    def keep(self, numbers: Container[int]) -> None:
        """The same."""


class SlirpPorts:
    """Ports of the machine that slirp4netns leads into the namespace (``net.ports.Forwarding``)."""

    _who = "slirp4netns"

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
        """The machine's port leads to the same port inside; returns the number of that.

        One that an engine before us has published is the same.

        Raises:
            OSError: it is taken, or the user may not have it.
            Unavailable: who leads ports does not answer, or nobody opens them for it.
            Unsupported: it cannot be led.
        """
        if port.protocol not in ("tcp", "udp") or port.is_ipv6:
            what = f"{port}/{port.protocol}"
            raise Unsupported(
                f"cannot publish {what}: {self._who} has TCP and UDP over IPv4", code="user-network"
            )
        for known in self._published():
            if _place(known) == (port.protocol, port.host_ip, port.host_port):
                return int(known["id"])
        wanted = {
            "proto": port.protocol,
            "host_addr": port.host_ip,
            "host_port": port.host_port,
            **self._more(port),
        }
        try:
            return int(self._ask("add_hostfwd", wanted)["id"])
        except OperationFailed as error:
            raise self._refusal(port, error) from error

    def _more(self, port: PublishedPort) -> dict[str, Any]:
        return {"guest_addr": _SLIRP_ADDRESS, "guest_port": port.host_port}

    def withdraw(self, number: int) -> None:
        """It leads nowhere; nothing happens if it did not, or who led it has ended with all its ports."""
        try:
            self._ask("remove_hostfwd", {"id": number})
        except (OperationFailed, Unavailable):
            return

    def keep(self, numbers: Container[int]) -> None:
        """Of those that engines before us have published, no others lead anywhere.

        Raises:
            Unavailable: who leads them does not answer.
        """
        for number in [int(known["id"]) for known in self._published()]:
            if number not in numbers:
                with suppress(OperationFailed):  # it has ended meanwhile
                    self._ask("remove_hostfwd", {"id": number})

    def _refusal(self, port: PublishedPort, _: OperationFailed) -> OSError | PierheadError:
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
                    f"{self._who} does not answer at {self._api_path}: {reason}",
                    code="user-network",
                    hint="start pierd anew: its containers go on",
                ) from error
        reply = parse(raw.decode(errors="replace"), name=f"the answer of {self._who}")
        if not isinstance(reply, dict) or "error" in reply:
            refusal = reply.get("error") if isinstance(reply, dict) else None
            told = refusal if isinstance(refusal, dict) else {}
            raise OperationFailed(
                f"{self._who} refuses {verb}: {told.get('desc') or raw.decode(errors='replace')}",
                errno=int(told.get("errno", 0)),
                code="user-network",
            )
        found = reply.get("return", reply)  # a list comes without that word
        return found if isinstance(found, dict) else {}


class ForwardedPorts(SlirpPorts):
    """The same, led by our forwarder."""

    _who = "the forwarder of ports"

    def __init__(self, api_path: str, opener_path: str, *, timeout_s: float = _REPLY_S) -> None:
        """Asks nothing yet.

        Args:
            api_path: the forwarder's socket.
            opener_path: where the forwarder gets sockets of the machine.
            timeout_s: how long it may be silent.
        """
        super().__init__(api_path, timeout_s=timeout_s)
        self._opener_path = opener_path

    def _more(self, _: PublishedPort) -> dict[str, Any]:
        return {"opener": self._opener_path}

    def _refusal(self, port: PublishedPort, error: OperationFailed) -> OSError | PierheadError:
        """What the kernel has told; or it was not asked."""
        if error.errno:
            return OSError(error.errno, strerror(error.errno))
        return Unavailable(
            f"cannot publish {port}: {error}",
            code="user-network",
            hint="start pierd anew: its containers go on",
        )


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
