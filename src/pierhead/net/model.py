"""What a network, an endpoint and a published port are.  Pure.

A network is a bridge with its subnets; an endpoint is a container's place in one; a published port is a port
of this machine that leads to one of an endpoint's.
"""

# Annotations are read at run time: no postponed evaluation here.
from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput
from pierhead.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - as docker does
"""All addresses of the machine, for each version of IP."""
_PORT_MAX = 65535


class NetworkSettings(Value):
    """The default network, as it is wished for.

    Fields:
        bridge: name of the link.
        subnet: IPv4, ``172.17.0.0/16``; empty takes the first of Docker's that nothing on this machine uses.
        gateway: the bridge's own address; empty is the subnet's first.
        ipv6_subnet: empty for none.
        ipv6_gateway: empty is the subnet's first.
        mtu: bytes.
        masquerade: whether containers reach the world under the machine's address.
        inter_container: whether they reach each other (published ports they reach anyway).
        host_ip: where ports are published that name no address.
        table: of nftables; empty is made of the bridge's name, so that two engines have two.
    """

    bridge: str = "pier0"
    subnet: str = ""
    gateway: str = ""
    ipv6_subnet: str = ""
    ipv6_gateway: str = ""
    mtu: int = 1500
    masquerade: bool = True
    inter_container: bool = True
    host_ip: str = "0.0.0.0"  # noqa: S104 - as docker does
    table: str = ""

    @property
    def table_name(self) -> str:
        """``pierhead`` for the bridge that engines have if nobody says otherwise."""
        return self.table or ("pierhead" if self.bridge == "pier0" else f"pierhead-{self.bridge}")


class Network(Value):
    """A network as it is.

    Fields:
        name: as containers name it, ``bridge`` for the default one.
        id: 64 hexadecimal digits.
        bridge: name of the link.
        subnet, gateway: ``172.17.0.0/16`` and ``172.17.0.1``.
        ipv6_subnet, ipv6_gateway: empty for none.
        mtu, masquerade, inter_container: see ``NetworkSettings``.
        internal: whether nothing leads out of it or into it.
        created_ns: Unix time.
        edges4, edges6: links of the machine between which it forwarded no packets of IPv4 or IPv6 before this
            network, and does not because of it.
    """

    json_case = "snake"

    name: str = "bridge"
    id: str
    bridge: str
    subnet: str
    gateway: str
    ipv6_subnet: str = ""
    ipv6_gateway: str = ""
    mtu: int = 1500
    masquerade: bool = True
    inter_container: bool = True
    internal: bool = False
    created_ns: int = 0
    edges4: tuple[str, ...] = ()
    edges6: tuple[str, ...] = ()


class PortWish(Value):
    """A port of the container that somebody wants published.

    Fields:
        container_port: 1 to 65535.
        protocol: ``tcp``, ``udp`` or ``sctp``.
        host_ip: address of this machine; empty for the network's default.
        first_port, last_port: the first that is free of these ports is taken; 0 is any.
    """

    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""
    first_port: int = 0
    last_port: int = 0


class PublishedPort(Value):
    """A port of this machine that leads to a container's."""

    json_case = "snake"

    container_port: int
    protocol: str
    host_ip: str
    host_port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether the machine's address is one of IPv6."""
        return ":" in self.host_ip

    @property
    def everywhere(self) -> bool:
        """Whether all addresses of the machine are meant."""
        return self.host_ip in EVERYWHERE

    def __str__(self) -> str:
        return f"{format_host(self.host_ip)}:{self.host_port}"


class EndpointRequest(Value):
    """What a container wants of its network.

    Fields:
        address, ipv6_address: without prefix length; empty for any.
        mac_address: empty for the one that is made of the IPv4 address.
        ports: to publish.
        hostname: for people.
    """

    address: str = ""
    ipv6_address: str = ""
    mac_address: str = ""
    ports: tuple[PortWish, ...] = ()
    hostname: str = ""


class Endpoint(Value):
    """A container's place in a network.

    Fields:
        container_id: whose.
        endpoint_id: 64 hexadecimal digits, new with each start.
        network: name.
        network_id: of that network.
        bridge: link that the outer end of its veth pair joins.
        host_interface_name: of the outer end.
        address, ipv6_address: with prefix length; empty for none.
        gateway, ipv6_gateway: without.
        mac_address: of the inner end.
        mtu: bytes.
        hairpin_mode: whether the bridge must send frames back where they came from: so a container reaches
            its own published ports.
        ports: what is published, with the ports of the machine that were chosen.
        hostname: as it was asked for.
    """

    json_case = "snake"

    container_id: str
    endpoint_id: str
    network: str
    network_id: str
    bridge: str
    host_interface_name: str
    address: str
    gateway: str
    ipv6_address: str = ""
    ipv6_gateway: str = ""
    mac_address: str
    mtu: int
    hairpin_mode: bool = False
    ports: tuple[PublishedPort, ...] = ()
    hostname: str = ""


def parse_port_wishes(bindings: "Mapping[str, Iterable[tuple[str, str]]]") -> tuple[PortWish, ...]:
    """What Docker's ``PortBindings`` ask for.

    Args:
        bindings: container ports (``80/tcp``, ``53/udp``, ``80``) to pairs of an address of the host and a
            port or a range of ports; either may be empty.

    Raises:
        InvalidInput: something of it is no port, protocol or address.
    """
    return tuple(
        _parse_wish(container_port, host_ip, host_port)
        for container_port, hosts in bindings.items()
        for host_ip, host_port in hosts
    )


def _parse_wish(container_port: str, host_ip: str, host_port: str) -> PortWish:
    number, _, protocol = container_port.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid port {container_port!r}: protocol {protocol} is none of tcp, udp, sctp")
    port = _parse_port(number, container_port)
    if not port:
        raise InvalidInput(f"invalid port {container_port!r}: a port of a container is 1 to {_PORT_MAX}")
    first, dash, last = host_port.partition("-")
    first_port = _parse_port(first, host_port) if first else 0
    last_port = _parse_port(last, host_port) if dash else first_port
    if last_port < first_port or (dash and not first_port):
        raise InvalidInput(f"invalid range of ports {host_port!r}", hint="write it like 8000-8010")
    return PortWish(
        container_port=port,
        protocol=protocol,
        host_ip=parse_host_ip(host_ip),
        first_port=first_port,
        last_port=last_port,
    )


def parse_host_ip(text: str) -> str:
    """An address without the brackets that IPv6 may have, in its short form; empty stays empty."""
    from ipaddress import ip_address

    if not text:
        return ""
    try:
        return str(ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        raise InvalidInput(f"invalid IP address {text!r} to publish a port at") from None


def format_host(address: str) -> str:
    """An address as it stands before a port: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _parse_port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and int(text) <= _PORT_MAX):
        raise InvalidInput(f"invalid port {whole!r}: {text!r} is no number up to {_PORT_MAX}")
    return int(text)
