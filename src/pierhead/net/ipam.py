"""Which subnets and addresses are free.  Pure: told what is in use, remembers what it gave.

Addresses are given in their order, and again only when the subnet's end was reached: whoever still knows the
address of a container that has ended does not meet the next one there at once.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from pierhead.errors import Conflict, InvalidInput, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

_SPARE_LOW = 1  # the subnet's own address (the subnet-router anycast address of IPv6, RFC 4291 2.6.1)
_SPARE_HIGH = 1  # IPv4's broadcast address


def default_subnets() -> tuple[IPv4Network, ...]:
    """Docker's pools in Docker's order: fifteen of /16 and sixteen of /20."""
    wide = [IPv4Network(f"172.{number}.0.0/16") for number in range(17, 32)]
    return (*wide, *IPv4Network("192.168.0.0/16").subnets(new_prefix=20))


def choose_subnet(in_use: Iterable[str]) -> str:
    """The first of Docker's pools that overlaps with nothing in use.

    Args:
        in_use: addresses and routes of the machine, with prefix lengths; default routes do not count.

    Raises:
        Unavailable: every pool does.
    """
    taken = [
        network
        for network in (ip_network(text, strict=False) for text in in_use)
        if isinstance(network, IPv4Network) and network.prefixlen
    ]
    for subnet in default_subnets():
        if not any(subnet.overlaps(network) for network in taken):
            return str(subnet)
    raise Unavailable(
        "all subnets that Docker's networks take are in use on this machine",
        code="no-subnet",
        hint="choose one for the bridge in the settings, such as 10.200.0.0/16",
    )


def parse_subnet(text: str) -> IPv4Network | IPv6Network:
    """The subnet; raises InvalidInput when it is none, or has no room for a gateway and a container."""
    try:
        subnet = ip_network(text, strict=False)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a subnet", hint="write it like 172.17.0.0/16") from None
    if subnet.num_addresses < 4:
        raise InvalidInput(f"subnet {text} has no room for containers", hint="use /30 (IPv6: /126) or larger")
    return subnet


def first_address(subnet: str) -> str:
    """The gateway that a subnet has if nobody says otherwise."""
    return str(parse_subnet(subnet)[1])


class Pool:
    """The addresses of one subnet.

    Args:
        subnet: ``172.17.0.0/16``, ``fd00::/64``.
        reserved: addresses that are never given, such as the gateway's.
    """

    def __init__(self, subnet: str, reserved: Iterable[str] = ()) -> None:
        self._subnet = parse_subnet(subnet)
        self._first = int(self._subnet.network_address)
        self._address = type(self._subnet.network_address)
        self._last_offset = self._subnet.num_addresses - 1
        if isinstance(self._subnet, IPv4Network):
            self._last_offset -= _SPARE_HIGH
        self._reserved = {self._offset(address) for address in reserved}
        self._taken = set(self._reserved)
        self._next = _SPARE_LOW

    @property
    def prefix_length(self) -> int:
        """Of the subnet."""
        return self._subnet.prefixlen

    def __len__(self) -> int:
        """How many addresses are given."""
        return len(self._taken) - len(self._reserved)

    def take(self, address: str = "") -> str:
        """An address that is nobody else's from now on.

        Args:
            address: the one that is wanted; empty for any.

        Raises:
            InvalidInput: it lies outside of the subnet.
            Conflict: it is taken.
            Unavailable: none is left.
        """
        offset = self._offset(address) if address else self._find_free()
        if offset in self._taken:
            raise Conflict(f"Address already in use: {address}", code="address-in-use")
        self._taken.add(offset)
        if not address:
            self._next = offset + 1
        return str(self._address(self._first + offset))

    def give_back(self, address: str) -> None:
        """The address is free."""
        offset = self._offset(address)
        if offset not in self._reserved:
            self._taken.discard(offset)

    def _find_free(self) -> int:
        if len(self._taken) > self._last_offset - _SPARE_LOW:
            raise Unavailable(
                f"no address is left in subnet {self._subnet}",
                code="no-address",
                hint="remove containers, or give the network a larger subnet",
            )
        offset = self._next
        while True:
            if offset > self._last_offset:
                offset = _SPARE_LOW
            if offset not in self._taken:
                return offset
            offset += 1

    def _offset(self, address: str) -> int:
        try:
            parsed = ip_address(address)
        except ValueError:
            raise InvalidInput(f"invalid IP address {address!r}") from None
        offset = int(parsed) - self._first
        if parsed.version != self._subnet.version or not _SPARE_LOW <= offset <= self._last_offset:
            raise InvalidInput(
                f"no configured subnet contains IP address {address}",
                hint=f"the network's subnet is {self._subnet}",
            )
        return offset


def mac_of(address: str) -> str:
    """The hardware address that a container with this IPv4 address gets: it moves with the address, so no
    neighbour remembers a wrong one.
    """
    return (b"\x02\x42" + ip_address(address).packed).hex(":")
