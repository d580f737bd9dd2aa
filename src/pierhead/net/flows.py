"""Flows of UDP that the kernel led elsewhere before, or still leads to a container that is gone.

The kernel decides where a connection goes at its first packet.  For UDP a client that sends on and on has
one connection for ever: begun before its port was published it would never reach the container, and begun
with an earlier container never the next.
"""

from __future__ import annotations

from errno import EINVAL, EOPNOTSUPP
from typing import TYPE_CHECKING

from pierhead.errors import OperationFailed
from pierhead.net.model import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.linux.conntrack import Connection, ConntrackSocket
    from pierhead.linux.netlink import NetlinkSocket
    from pierhead.net.model import Endpoint

_UDP = PROTOCOLS["udp"]
_NO_CONNTRACK_NETLINK = (EINVAL, EOPNOTSUPP)  # nfnetlink_rcv_msg's for a part that the kernel lacks


def redirect_flows(conntrack: ConntrackSocket, netlink: NetlinkSocket, endpoint: Endpoint) -> None:
    """Flows to ports that are published from now on go to the endpoint from their next packet on."""
    if not _has_udp(endpoint):
        return
    local = {address.address.partition("/")[0] for address in netlink.addresses()}
    ports = {(port.host_port, port.is_ipv6) for port in endpoint.ports if port.protocol == "udp"}

    def stays_here(connection: Connection) -> bool:
        wanted = (connection.destination_port, ":" in connection.destination) in ports
        here = connection.destination in local or connection.destination.startswith("127.")
        return wanted and here and connection.answering == connection.destination

    _forget(conntrack, endpoint, stays_here)


def end_flows(conntrack: ConntrackSocket, endpoint: Endpoint) -> None:
    """No flow goes to the endpoint any more: its ports are no longer published."""
    if not _has_udp(endpoint):
        return
    addresses = {address.partition("/")[0] for address in (endpoint.address, endpoint.ipv6_address)}

    def came_here(connection: Connection) -> bool:
        return connection.answering in addresses and connection.destination not in addresses

    _forget(conntrack, endpoint, came_here)


def _has_udp(endpoint: Endpoint) -> bool:
    return any(port.protocol == "udp" for port in endpoint.ports)


def _forget(conntrack: ConntrackSocket, endpoint: Endpoint, unwanted: Callable[[Connection], bool]) -> None:
    for ipv6 in {port.is_ipv6 for port in endpoint.ports if port.protocol == "udp"}:
        try:
            conntrack.forget(_UDP, unwanted, ipv6=ipv6)
        except OperationFailed as error:
            if error.errno not in _NO_CONNTRACK_NETLINK:
                raise
