"""Ports of this machine, held for containers: whoever else wants one is told that it is taken.

A port is held by a socket that is bound to it and never listens.  No packet reaches it, because the firewall
leads them to the container before; but the kernel gives the port to no other program, and we learn at once
when another program has it.  The sockets close with the daemon, whatever ends it; the firewall's rules do
not, and the next daemon takes the ports again.

Where the engine's network namespace is not the machine's, somebody outside holds them and leads them in
(``Forwarding``); what leads them stays when a daemon ends, and the next one finds it there.
"""

from __future__ import annotations

import os
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from itertools import chain
from socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from typing import TYPE_CHECKING

from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.net.model import EVERYWHERE, PROTOCOLS, PortWish, PublishedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Sequence
    from typing import Protocol

    class Holder(Protocol):
        """What holds a port until it is closed."""

        def close(self) -> None:
            """The port is free."""

    class Forwarding(Protocol):
        """Who leads ports of the machine into our network namespace."""

        def publish(self, port: PublishedPort) -> int:
            """The machine's port leads to the same one here, as it may have before; returns what to withdraw.

            Raises:
                OSError: it is taken, or we may not have it.
            """

        def withdraw(self, number: int) -> None:
            """It leads nowhere."""

        def keep(self, numbers: Container[int]) -> None:
            """Others than these lead nowhere.

            Raises:
                Unavailable: whoever leads them does not answer.
            """


FIRST_FREE_PORT, LAST_FREE_PORT = 49153, 65535
"""Where ports come from that nobody has chosen, as Docker's do."""

_Place = tuple[str, bool, int]
"""Protocol, IP version and port: what addresses share."""
_NO_SUCH_PROTOCOL = (EPROTONOSUPPORT, ESOCKTNOSUPPORT)


class PortReservations:
    """The ports that are held.

    Args:
        bind: holds one port and returns what to close in the end; raises OSError.
        forwarding: who holds them instead; all addresses of the machine are one here.
    """

    def __init__(
        self,
        bind: Callable[[str, str, int], Holder | None] | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        self._bind = bind or bind_port
        self._forwarding = forwarding
        self._held: dict[_Place, dict[str, tuple[Holder | None, str]]] = {}
        self._next = FIRST_FREE_PORT

    @property
    def forwards(self) -> bool:
        """Whether somebody else leads them here from the machine."""
        return self._forwarding is not None

    def take(self, wish: PortWish, hosts: Sequence[str], owner: str) -> tuple[PublishedPort, ...]:
        """The first port that the wish allows and that is free at all these addresses is held.

        Args:
            wish: what is wanted.
            hosts: addresses of this machine.
            owner: for whom: an id of a container.

        Raises:
            Conflict: none is free.
            InvalidInput: this machine has no such address.
        """
        failure: Conflict | None = None
        for port in self._candidates(wish):
            wanted = [
                PublishedPort(
                    container_port=wish.container_port, protocol=wish.protocol, host_ip=host, host_port=port
                )
                for host in hosts
            ]
            try:
                self.hold(wanted, owner)
            except Conflict as error:
                failure = failure or error
                continue
            if not wish.first_port:
                self._next = port + 1
            return tuple(wanted)
        if failure is None or wish.first_port == wish.last_port != 0:
            raise failure or Conflict("no port is free", code="port-allocated")
        first, last = (
            (wish.first_port, wish.last_port) if wish.first_port else (FIRST_FREE_PORT, LAST_FREE_PORT)
        )
        raise Conflict(
            f"Bind for {hosts[0]} failed: all ports of {first}-{last}/{wish.protocol} are allocated",
            code="port-allocated",
            hint="publish at other ports, or remove a container",
        )

    def hold(self, ports: Iterable[PublishedPort], owner: str) -> None:
        """Exactly these ports are held, or none of them."""
        held: list[PublishedPort] = []
        try:
            for port in ports:
                self._hold(port, owner)
                held.append(port)
        except BaseException:
            self.give_back(held)
            raise

    def give_back(self, ports: Iterable[PublishedPort]) -> None:
        """The ports are free for whoever wants them."""
        for port in ports:
            at_addresses = self._held.get(_place(port), {})
            holder, _ = at_addresses.pop(port.host_ip, (None, ""))
            if holder is not None:
                holder.close()
            if not at_addresses:
                self._held.pop(_place(port), None)

    def is_held(self, port: PublishedPort) -> bool:
        """Whether the port is held by us."""
        return port.host_ip in self._held.get(_place(port), ())

    def withdraw_others(self) -> None:
        """What a daemon before us has published, and is not held now, is free.

        Raises:
            Unavailable: whoever leads ports here does not answer.
        """
        if self._forwarding is not None:
            holders = [holder for places in self._held.values() for holder, _ in places.values()]
            self._forwarding.keep({each.number for each in holders if isinstance(each, _Forwarded)})

    def close(self) -> None:
        """All are free, but for those that somebody else holds."""
        for at_addresses in self._held.values():
            for holder, _ in at_addresses.values():
                if holder is not None and self._forwarding is None:
                    holder.close()
        self._held.clear()

    def _candidates(self, wish: PortWish) -> Iterable[int]:
        if wish.first_port:
            return range(wish.first_port, (wish.last_port or wish.first_port) + 1)
        start = self._next if self._next <= LAST_FREE_PORT else FIRST_FREE_PORT
        return chain(range(start, LAST_FREE_PORT + 1), range(FIRST_FREE_PORT, start))

    def _hold(self, port: PublishedPort, owner: str) -> None:
        other = self._owner(port)
        if other:
            raise _taken(port, f"container {other[:12]} has published it")
        try:
            if self._forwarding is not None:
                holder: Holder | None = _Forwarded(self._forwarding, self._forwarding.publish(port))
            else:
                holder = self._bind(port.protocol, port.host_ip, port.host_port)
        except OSError as error:
            raise _refused(port, error) from error
        self._held.setdefault(_place(port), {})[port.host_ip] = (holder, owner)

    def _owner(self, port: PublishedPort) -> str:
        """Who holds it: asked before the kernel is, which does not know every protocol."""
        for host, (_, owner) in self._held.get(_place(port), {}).items():
            alike = port.everywhere or host == port.host_ip or host in EVERYWHERE
            if alike or self._forwarding is not None:
                return owner
        return ""


class _Forwarded:
    """A port that somebody else holds."""

    def __init__(self, forwarding: Forwarding, number: int) -> None:
        self._forwarding = forwarding
        self.number = number

    def close(self) -> None:
        self._forwarding.withdraw(self.number)


def bind_port(protocol: str, host: str, port: int) -> socket | None:
    """A socket that holds the port; None for a protocol that this kernel does not have sockets of.

    Without SO_REUSEADDR nobody else gets the port, not even with it.  But connections of the last minute
    (TIME_WAIT, tcp(7)) would keep it from us as well; then we bind with SO_REUSEADDR and listen, which the
    kernel allows to one only.
    """
    family = AF_INET6 if ":" in host else AF_INET
    kind = SOCK_DGRAM if protocol == "udp" else SOCK_STREAM
    try:
        holder = socket(family, kind, PROTOCOLS[protocol])
    except OSError as error:
        if error.errno in _NO_SUCH_PROTOCOL:
            return None
        raise
    try:
        if family == AF_INET6:
            holder.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        try:
            holder.bind((host, port))
        except OSError as error:
            if error.errno != EADDRINUSE or protocol != "tcp":
                raise
            holder.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            holder.bind((host, port))
            holder.listen(0)
    except BaseException:
        holder.close()
        raise
    return holder


def _place(port: PublishedPort) -> _Place:
    return port.protocol, port.is_ipv6, port.host_port


def _taken(port: PublishedPort, hint: str) -> Conflict:
    return Conflict(f"Bind for {port} failed: port is already allocated", code="port-allocated", hint=hint)


def _refused(port: PublishedPort, error: OSError) -> Conflict | InvalidInput | OperationFailed:
    if error.errno == EADDRINUSE:
        option = {"tcp": "t", "udp": "u"}.get(port.protocol, "S")
        return _taken(
            port, f"another program of this machine has it: ss -{option}lnp 'sport = :{port.host_port}'"
        )
    if error.errno in (EADDRNOTAVAIL, EAFNOSUPPORT):
        return InvalidInput(
            f"cannot publish port {port.container_port}/{port.protocol} at {port}: "
            f"this machine has no address {port.host_ip}",
            code="no-such-address",
        )
    number = error.errno or 0
    hint = (
        "this user may not have ports below net.ipv4.ip_unprivileged_port_start" if number == EACCES else ""
    )
    return OperationFailed(f"cannot hold port {port}: {os.strerror(number).lower()}", errno=number, hint=hint)
