"""The bridge is there with its addresses, and the kernel forwards: what is missing is made, the rest stays.

What is set of the kernel (ip-sysctl.rst), each only where it is not so already:

    net.ipv4.ip_forward                    1
    net.ipv4.conf.BRIDGE.route_localnet    1   the machine's 127.0.0.1 can be led to a container
    net.ipv6.conf.BRIDGE.accept_ra         0   no container tells the machine its routes (CVE-2020-13401)
    net.ipv6.conf.all.forwarding           1   with an IPv6 subnet only
    net.ipv6.conf.LINK.accept_ra           2   where it was 1: a router with 1 listens to no router itself
    net.bridge.bridge-nf-call-ip*tables    1   only where containers of one bridge may not reach each other
"""

from __future__ import annotations

import os
from errno import EEXIST
from typing import TYPE_CHECKING

from pierhead.errors import Conflict, OperationFailed, Unsupported
from pierhead.linux.files import read_file, write_text
from pierhead.linux.netlink_codec import RT_SCOPE_UNIVERSE, Link, LinkOptions
from pierhead.linux.refusals import refused
from pierhead.net.ipam import mac_of

if TYPE_CHECKING:
    from pierhead.linux.netlink import NetlinkSocket
    from pierhead.net.model import Network

_SYSCTLS = "/proc/sys/net"
_LINK_LOCAL = "fe80::1/64"
"""Of a bridge with IPv6: neighbours are asked for from a link-local address (ndisc_send_ns), and the
kernel's own is there some seconds after the first container: too late for its first packets.
"""


def in_use(netlink: NetlinkSocket) -> tuple[str, ...]:
    """Addresses and routes of this machine, with prefix lengths."""
    return (
        *(address.address for address in netlink.addresses()),
        *(route.destination for route in netlink.routes()),
    )


def find_bridge(netlink: NetlinkSocket, name: str) -> Link | None:
    """The bridge of this name, or None.

    Raises:
        Conflict: the name is another kind of link's.
    """
    link = netlink.find_link(name)
    if link is not None and link.kind != "bridge":
        raise Conflict(
            f"network link {name} is {link.kind or 'hardware'} and not a bridge",
            code="not-a-bridge",
            hint="choose another name for the bridge in the settings",
        )
    return link


def addresses_of(netlink: NetlinkSocket, link: Link) -> tuple[str, ...]:
    """The addresses of a link that others can reach, with prefix lengths."""
    return tuple(each.address for each in netlink.addresses(link) if each.scope == RT_SCOPE_UNIVERSE)


def ensure_bridge(netlink: NetlinkSocket, network: Network) -> None:
    """The network's bridge is up and has the gateways' addresses.

    Raises:
        Conflict: the bridge has an address of another subnet.
    """
    bridge = find_bridge(netlink, network.bridge)
    if bridge is None:
        # With an address of its own a bridge does not take that of its first port, and lose it again.
        netlink.create_bridge(LinkOptions(name=network.bridge, mac_address=mac_of(network.gateway)))
        bridge = netlink.get_link(network.bridge)
    has = addresses_of(netlink, bridge)
    for gateway, subnet in ((network.gateway, network.subnet), (network.ipv6_gateway, network.ipv6_subnet)):
        if not gateway:
            continue
        wanted = f"{gateway}/{subnet.partition('/')[2]}"
        strangers = [each for each in has if (":" in each) == (":" in wanted) and each != wanted]
        if strangers:
            raise Conflict(
                f"bridge {network.bridge} has the address {strangers[0]}, and its network needs {wanted}",
                code="bridge-address",
                hint="choose the bridge's subnet in the settings, or remove the bridge: "
                f"ip link delete {network.bridge}",
            )
        if wanted not in has:
            _add_address(netlink, bridge, wanted)
    if network.ipv6_gateway and _LINK_LOCAL not in {each.address for each in netlink.addresses(bridge)}:
        _add_address(netlink, bridge, _LINK_LOCAL)
    set_sysctl(f"ipv6/conf/{network.bridge}/accept_ra", "0", where_there=True)
    set_sysctl(f"ipv4/conf/{network.bridge}/route_localnet", "1")
    if not bridge.up:
        netlink.change_link(bridge, LinkOptions(up=True))


def _add_address(netlink: NetlinkSocket, bridge: Link, address: str) -> None:
    try:
        netlink.add_address(bridge, address)
    except OperationFailed as error:
        if error.errno != EEXIST:  # somebody else was as quick
            raise


def forwards(*, ipv6: bool) -> bool:
    """Whether packets go through this machine."""
    return read_sysctl("ipv6/conf/all/forwarding" if ipv6 else "ipv4/ip_forward") == "1"


def edges(netlink: NetlinkSocket) -> tuple[str, ...]:
    """The links of this machine that lead out of it or into it: all but its loopback."""
    return tuple(link.name for link in netlink.links() if link.name != "lo")


def ensure_forwarding(*, ipv6: bool) -> None:
    """Packets go through this machine."""
    set_sysctl("ipv4/ip_forward", "1")
    if ipv6 and not forwards(ipv6=True):
        for link in os.listdir(f"{_SYSCTLS}/ipv6/conf"):
            if link != "all" and read_sysctl(f"ipv6/conf/{link}/accept_ra") == "1":
                set_sysctl(f"ipv6/conf/{link}/accept_ra", "2")
        set_sysctl("ipv6/conf/all/forwarding", "1")


def ensure_bridged_packets_are_filtered() -> None:
    """What goes from one port of a bridge to another meets the firewall.

    Raises:
        Unsupported: this kernel cannot, or its module is not loaded.
    """
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
        if not read_sysctl(f"bridge/{name}"):
            raise Unsupported(
                "containers of one bridge cannot be kept from each other: this kernel does not show bridged "
                "packets to the firewall",
                code="no-bridge-filter",
                hint="load the module: modprobe br_netfilter",
            )
        set_sysctl(f"bridge/{name}", "1")


def read_sysctl(name: str) -> str:
    """The value of a setting of the network namespace; "" where there is none of this name."""
    try:
        return read_file(f"{_SYSCTLS}/{name}").decode().strip()
    except FileNotFoundError:
        return ""


def set_sysctl(name: str, value: str, *, where_there: bool = False) -> None:
    """The setting has the value.

    Args:
        name: path below /proc/sys/net.
        value: to write.
        where_there: whether it is well if there is no such setting (a kernel without IPv6).
    """
    try:
        if read_file(f"{_SYSCTLS}/{name}").decode().strip() == value:
            return
        write_text(f"{_SYSCTLS}/{name}", value)
    except FileNotFoundError as error:
        if where_there:
            return
        raise refused(f"set net.{name.replace('/', '.')}", error) from error
    except OSError as error:
        raise refused(f"set net.{name.replace('/', '.')} to {value}", error) from error
