"""Why a packet to a published port would not pass, in words.

The way of a packet is walked from the machine's port to the container's, and at each place it is asked what
the kernel has: so the answer says what is, and not what was meant.  ``explain`` is pure; ``observe`` asks.
"""

from __future__ import annotations

from errno import ENOENT
from typing import TYPE_CHECKING

from pierhead.errors import OperationFailed
from pierhead.net.links import read_sysctl
from pierhead.net.model import PublishedPort, format_host
from pierhead.net.otherfirewalls import dropping_chains, in_words, lets_pass
from pierhead.values import Value

if TYPE_CHECKING:
    from pierhead.linux.netlink import NetlinkSocket
    from pierhead.linux.nftables import NftablesSocket
    from pierhead.net.firewall import Firewall
    from pierhead.net.model import Endpoint, Network


class PathFacts(Value):
    """What the kernel has on the way to an endpoint.

    Fields:
        port: that the packet is sent to.
        held: whether we hold it.
        redirected: whether our table leads it to the endpoint; None where there is no table.
        forwarding: whether this machine forwards packets of the port's IP version.
        bridge_up: None where there is no bridge.
        link_up: of the host's end of the container's pair; None where there is none.
        link_in_bridge: whether it is a port of the bridge.
        dropping: chains of other firewalls that drop what they do not know.
    """

    port: PublishedPort
    held: bool = True
    redirected: bool | None = True
    forwarding: bool = True
    bridge_up: bool | None = True
    link_up: bool | None = True
    link_in_bridge: bool = True
    dropping: tuple[str, ...] = ()


class Explanation(Value):
    """Sentences: the way of a packet, and what stands in it."""

    way: tuple[str, ...]
    obstacles: tuple[str, ...]


def explain(endpoint: Endpoint, facts: PathFacts) -> Explanation:
    """The way of a packet to one published port, and what stands in it."""
    port = facts.port
    address = (endpoint.ipv6_address if port.is_ipv6 else endpoint.address).partition("/")[0]
    at = "any address of this machine" if port.everywhere else port.host_ip
    target = f"{format_host(address)}:{port.container_port}"
    way: tuple[str, ...] = (
        f"a packet to {at}, {port.protocol} port {port.host_port}, is led to {target}",
        f"it is forwarded to bridge {endpoint.bridge}",
        f"it leaves by {endpoint.host_interface_name}, whose other end is in the container",
    )
    obstacles = [*_at_the_machine(facts), *_on_the_way(endpoint, facts)]
    if not obstacles:
        listening = f"at port {port.container_port} of {address} or of all addresses, not of 127.0.0.1 only"
        way += (f"nothing of this machine stops it; the container's program has to listen {listening}",)
    return Explanation(way=way, obstacles=tuple(obstacles))


def _at_the_machine(facts: PathFacts) -> list[str]:
    found = []
    if not facts.held:
        found.append(
            f"port {facts.port} is not held: another program may have taken it, "
            "and believes that packets come to it"
        )
    if facts.redirected is None:
        found.append("the firewall's table is gone: somebody has removed all rules (nft flush ruleset)")
    elif not facts.redirected:
        found.append(f"the firewall does not know port {facts.port}: somebody has changed our table")
    if not facts.forwarding:
        name = "net.ipv6.conf.all.forwarding" if facts.port.is_ipv6 else "net.ipv4.ip_forward"
        found.append(f"this machine forwards no packets: sysctl -w {name}=1")
    found += [
        f"chain {chain} of another firewall drops what it does not know, and has no rule of ours"
        for chain in facts.dropping
    ]
    return found


def _on_the_way(endpoint: Endpoint, facts: PathFacts) -> list[str]:
    found = []
    if facts.bridge_up is None:
        found.append(f"bridge {endpoint.bridge} does not exist")
    elif not facts.bridge_up:
        found.append(f"bridge {endpoint.bridge} is down: ip link set {endpoint.bridge} up")
    link = endpoint.host_interface_name
    if facts.link_up is None:
        found.append(f"link {link} does not exist: the container has ended, or never started")
    elif not facts.link_up:
        found.append(f"link {link} is down: ip link set {link} up")
    elif not facts.link_in_bridge:
        found.append(f"link {link} is no port of the bridge: ip link set {link} master {endpoint.bridge}")
    return found


def observe(
    endpoint: Endpoint, port: PublishedPort, network: Network, *, kernel: Kernel, held: bool
) -> PathFacts:
    """What the kernel has on the way to the endpoint now."""
    bridge = kernel.netlink.find_link(endpoint.bridge)
    link = kernel.netlink.find_link(endpoint.host_interface_name)
    setting = "ipv6/conf/all/forwarding" if port.is_ipv6 else "ipv4/ip_forward"
    return PathFacts(
        port=port,
        held=held,
        redirected=_is_redirected(kernel.firewall, endpoint, port),
        forwarding=read_sysctl(setting) == "1",
        bridge_up=bridge.up if bridge else None,
        link_up=link.up if link else None,
        link_in_bridge=bool(link and bridge and link.master_index == bridge.index),
        dropping=tuple(
            in_words(chain)
            for chain in dropping_chains(kernel.nftables, network)
            if not lets_pass(kernel.nftables, chain, network.bridge)
        ),
    )


class Kernel(Value):
    """Whom to ask."""

    netlink: NetlinkSocket
    nftables: NftablesSocket
    firewall: Firewall


def _is_redirected(firewall: Firewall, endpoint: Endpoint, port: PublishedPort) -> bool | None:
    try:
        return firewall.publishes(endpoint.replace(ports=(port,)))
    except OperationFailed as error:
        if error.errno != ENOENT:
            raise
        return None
