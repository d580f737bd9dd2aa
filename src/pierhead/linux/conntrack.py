"""Connections that the kernel tracks: which there are, and that it forgets some.

The kernel decides once for a connection where it goes, and remembers.  For UDP, where anything that goes on
within the timeout is the same connection, it remembers what has changed meanwhile.

    message    | netlink header | nfgenmsg | tuple as the first packet had it | tuple of the answers | … |
    tuple      | address: source, destination | protocol: number, source port, destination port |

Source: linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_netlink.c; filters in lists since Linux 5.8.
"""

from __future__ import annotations

from errno import ENOENT
from ipaddress import ip_address
from struct import Struct

from pierhead.errors import OperationFailed
from pierhead.linux.netlink_codec import decode_attributes, encode_attribute
from pierhead.linux.nfnetlink import NetfilterSocket, Request
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_CT_GET, _CT_DELETE = _SUBSYSTEM | 1, _SUBSYSTEM | 2
_TUPLE_ORIGINAL, _TUPLE_REPLY, _ZONE, _ID, _FILTER = 1, 2, 18, 12, 25
_TUPLE_ADDRESSES, _TUPLE_PROTOCOL = 1, 2
_IPV4_SOURCE, _IPV4_DESTINATION, _IPV6_SOURCE, _IPV6_DESTINATION = 1, 2, 3, 4
_PROTOCOL_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_PROTOCOL = 1 << 3  # CTA_FILTER_F_CTA_PROTO_NUM of nf_internals.h
_NLA_F_NESTED = 0x8000
_AF_INET, _AF_INET6 = 2, 10

_NFGENMSG = Struct(">BBH")
_U16 = Struct(">H")
_U32_HOST = Struct("=I")


class Connection(Value):
    """A tracked connection.

    Fields:
        source, destination, destination_port: as the first packet had them.
        answering: the source of the answers: another than ``destination`` if it was exchanged.
        key: what names the connection to the kernel.
    """

    source: str
    destination: str
    destination_port: int
    answering: str
    key: bytes


class ConntrackSocket(NetfilterSocket):
    """Talks to the connection tracking of the network namespace in which the socket was opened."""

    def connections(self, protocol: int, *, ipv6: bool) -> tuple[Connection, ...]:
        """Those of one protocol (17 is UDP); none where the kernel does not track."""
        family = _AF_INET6 if ipv6 else _AF_INET
        number = encode_attribute(_PROTOCOL_NUMBER, bytes((protocol,)))
        flags = encode_attribute(_FILTER_ORIGINAL_FLAGS, _U32_HOST.pack(_BY_PROTOCOL))
        flags += encode_attribute(_FILTER_REPLY_FLAGS, _U32_HOST.pack(0))
        query = _NFGENMSG.pack(family, 0, 0)
        query += _nested(_TUPLE_ORIGINAL, _nested(_TUPLE_PROTOCOL, number)) + _nested(_FILTER, flags)
        return tuple(map(_decode, self.list_bodies("list the tracked connections", _CT_GET, query)))

    def forget(self, protocol: int, unwanted: Callable[[Connection], bool], *, ipv6: bool) -> int:
        """The kernel decides anew about unwanted connections at their next packet; how many there were."""
        count = 0
        for connection in self.connections(protocol, ipv6=ipv6):
            if unwanted(connection):
                try:
                    what = "delete a tracked connection"
                    self.perform(Request(kind=_CT_DELETE, flags=0, body=connection.key, what=what))
                except OperationFailed as error:
                    if error.errno != ENOENT:  # it has just ended
                        raise
                count += 1
        return count


def _decode(body: bytes) -> Connection:
    attributes = decode_attributes(body, _NFGENMSG.size)
    source, destination, port = _decode_tuple(attributes.get(_TUPLE_ORIGINAL, b""))
    answering, _, _ = _decode_tuple(attributes.get(_TUPLE_REPLY, b""))
    named = ((_TUPLE_ORIGINAL, _NLA_F_NESTED), (_ZONE, 0), (_ID, 0))
    key = b"".join(encode_attribute(k | flag, attributes[k]) for k, flag in named if k in attributes)
    return Connection(
        source=source,
        destination=destination,
        destination_port=port,
        answering=answering,
        key=body[: _NFGENMSG.size] + key,
    )


def _decode_tuple(raw: bytes) -> tuple[str, str, int]:
    parts = decode_attributes(raw)
    addresses = decode_attributes(parts.get(_TUPLE_ADDRESSES, b""))
    source = addresses.get(_IPV4_SOURCE) or addresses.get(_IPV6_SOURCE, bytes(4))
    destination = addresses.get(_IPV4_DESTINATION) or addresses.get(_IPV6_DESTINATION, bytes(4))
    port = decode_attributes(parts.get(_TUPLE_PROTOCOL, b"")).get(_DESTINATION_PORT, bytes(2))
    return str(ip_address(source)), str(ip_address(destination)), _U16.unpack(port)[0]


def _nested(kind: int, payload: bytes) -> bytes:
    return encode_attribute(kind | _NLA_F_NESTED, payload)
