"""Rtnetlink messages as bytes: links, addresses and routes.  Pure: no socket, no file, no clock.

A datagram holds messages one after the other, each padded to four bytes; a message is a header, a fixed
structure of its family and attributes; an attribute may hold attributes.  All numbers are in native order.

    message    | length u32 | kind u16 | flags u16 | sequence u32 | port u32 | body … |
    body       | ifinfomsg, ifaddrmsg or rtmsg | attribute | attribute | …            |
    attribute  | length u16 | kind u16 | payload … | padding to 4 |

Source: netlink(7), rtnetlink(7), linux/netlink.h, linux/if_link.h, linux/rtnetlink.h.
"""

import errno
from _socket import AF_INET, AF_INET6, AF_UNSPEC, inet_ntop, inet_pton
from struct import Struct

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP_INTR = 0x1, 0x4, 0x10
NLM_F_DUMP = 0x300
NLM_F_EXCL, NLM_F_CREATE = 0x200, 0x400
NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x100, 0x200

IFF_UP = 0x1
IFA_F_NODAD, IFA_F_PERMANENT = 0x02, 0x80
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 0, 253
RT_TABLE_MAIN, RTPROT_BOOT, RTN_UNICAST = 254, 3, 1

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK = 1, 3, 4, 5
_IFLA_MASTER, _IFLA_PROTINFO, _IFLA_TXQLEN, _IFLA_LINKINFO = 10, 12, 13, 18
_IFLA_NET_NS_PID, _IFLA_STATS64, _IFLA_NET_NS_FD = 19, 23, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER, _IFLA_BRPORT_MODE = 1, 2, 1, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PREFSRC, _RTA_TABLE = 1, 4, 5, 7, 15
_NLMSGERR_ATTR_MSG = 1

_AF_BRIDGE = 7
_NLA_F_NESTED, _NLA_TYPE_MASK = 0x8000, 0x3FFF
_NAME_BYTES_MAX = 15  # IFNAMSIZ counts the final NUL

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_IFINFOMSG = Struct("=BxHiII")  # family, device type, index, flags, change
_IFADDRMSG = Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_U32 = Struct("=I")
_S32 = Struct("=i")
_STATS64 = Struct("=8Q")  # the first eight of rtnl_link_stats64


class LinkStatistics(Value):
    """What a link has received and sent since it was made, as the link's own namespace sees it."""

    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Link(Value):
    """A network link as the kernel describes it; ``index`` is its identity within one namespace."""

    index: int
    name: str
    kind: str = ""  # "veth", "bridge", …; empty for hardware and the loopback
    up: bool = False
    mac_address: str = ""
    mtu: int = 0
    tx_queue_len: int = 0
    master_index: int = 0
    peer_index: int = 0  # the other end of a veth pair, counted in its own namespace
    statistics: LinkStatistics = LinkStatistics()


class LinkOptions(Value):
    """What to set of a link; a field that is empty or None is left as it is."""

    name: str = ""
    up: bool | None = None
    mac_address: str = ""
    mtu: int = 0
    tx_queue_len: int | None = None
    master_index: int | None = None  # 0 takes the link out of its bridge
    namespace_fd: int | None = None
    namespace_pid: int = 0

    def __str__(self) -> str:
        given = [name for name in self.fields if getattr(self, name) != self.defaults[name]]
        return ", ".join(
            "namespace" if name.startswith("namespace") else f"{name.replace('_', ' ')} {getattr(self, name)}"
            for name in given
        )


class Address(Value):
    """An address of a link, written with its prefix length; ``scope`` 0 is global, 253 link, 254 host."""

    link_index: int
    address: str
    scope: int = RT_SCOPE_UNIVERSE
    permanent: bool = True


class RouteEntry(Value):
    """A route of the main table; a default route has the destination ``0.0.0.0/0`` or ``::/0``."""

    destination: str
    gateway: str = ""
    source: str = ""
    link_index: int = 0
    scope: int = RT_SCOPE_UNIVERSE


class Message(Value):
    """One message of a datagram, without its header."""

    kind: int
    flags: int
    sequence: int
    body: bytes


class Verdict(Value):
    """How the kernel answered a request: ``errno`` 0 means done; ``reason`` is its own sentence, or empty."""

    errno: int
    reason: str = ""


# Messages and attributes


def encode_message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    """One message, ready to send (every body built here is already padded)."""
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def decode_messages(datagram: bytes) -> "Iterator[Message]":
    """The messages of one datagram, in order."""
    offset = 0
    while len(datagram) - offset >= _HEADER.size:
        length, kind, flags, sequence, _port = _HEADER.unpack_from(datagram, offset)
        if length < _HEADER.size or offset + length > len(datagram):
            raise _cut_short()
        yield Message(
            kind=kind, flags=flags, sequence=sequence, body=datagram[offset + _HEADER.size : offset + length]
        )
        offset += _aligned(length)


def encode_attribute(kind: int, payload: bytes) -> bytes:
    """One attribute with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(payload), kind) + payload + bytes(-len(payload) % 4)


def decode_attributes(body: bytes, offset: int = 0) -> dict[int, bytes]:
    """The payloads by kind, from ``offset`` on; of a kind that stands twice, the last one."""
    found = {}
    while len(body) - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if length < _ATTRIBUTE.size or offset + length > len(body):
            raise _cut_short()
        found[kind & _NLA_TYPE_MASK] = body[offset + _ATTRIBUTE.size : offset + length]
        offset += _aligned(length)
    return found


def decode_verdict(message: Message) -> Verdict:
    """What an NLMSG_ERROR or NLMSG_DONE message says.

    | errno s32 (negative) | the request's header, and its body unless capped | extended attributes |
    """
    body = message.body
    if len(body) < _S32.size:
        return Verdict(errno=0)  # a DONE of old kernels carries nothing
    (number,) = _S32.unpack_from(body)
    if not message.flags & NLM_F_ACK_TLVS:
        return Verdict(errno=max(-number, 0))
    offset = _S32.size
    if message.kind == NLMSG_ERROR:
        request_bytes = _HEADER.size
        if not message.flags & NLM_F_CAPPED and len(body) >= offset + _HEADER.size:
            request_bytes = max(_U32.unpack_from(body, offset)[0], _HEADER.size)
        offset += _aligned(request_bytes)
    reason = _text(decode_attributes(body, offset).get(_NLMSGERR_ATTR_MSG, b""))
    return Verdict(errno=max(-number, 0), reason=reason)


# Links


def encode_link_query(index: int = 0, name: str = "") -> bytes:
    """The body that asks for one link by its index or its name, or (with neither) for all."""
    return _ifinfomsg(index) + (_encode_name(name) if name else b"")


def encode_link(index: int, options: LinkOptions) -> bytes:
    """The body that sets ``options`` of the link ``index``; 0 for a link that is being made."""
    change = 0 if options.up is None else IFF_UP
    parts = [_ifinfomsg(index, IFF_UP if options.up else 0, change)]
    if options.name:
        parts.append(_encode_name(options.name))
    if options.mac_address:
        parts.append(encode_attribute(_IFLA_ADDRESS, parse_mac(options.mac_address)))
    numbers = (
        (_IFLA_MTU, options.mtu or None),
        (_IFLA_TXQLEN, options.tx_queue_len),
        (_IFLA_MASTER, options.master_index),
        (_IFLA_NET_NS_FD, options.namespace_fd),
        (_IFLA_NET_NS_PID, options.namespace_pid or None),
    )
    parts.extend(_encode_u32(kind, number) for kind, number in numbers if number is not None)
    return b"".join(parts)


def encode_new_link(kind: str, options: LinkOptions, data: bytes = b"") -> bytes:
    """The body that makes a link of a kind (``bridge``, …); ``data`` holds the kind's own attributes."""
    info = encode_attribute(_IFLA_INFO_KIND, kind.encode())
    if data:
        info += encode_attribute(_IFLA_INFO_DATA | _NLA_F_NESTED, data)
    return encode_link(0, options) + encode_attribute(_IFLA_LINKINFO | _NLA_F_NESTED, info)


def encode_new_veth(options: LinkOptions, peer: LinkOptions) -> bytes:
    """The body that makes both ends of a veth pair at once, the peer where ``peer.namespace_fd`` says.

    The peer is left down: veth_open refuses an end whose other end is not yet known (ENOTCONN).
    """
    peer_body = encode_link(0, peer.replace(up=None))
    return encode_new_link("veth", options, encode_attribute(_VETH_INFO_PEER, peer_body))


def encode_hairpin(index: int, *, on: bool) -> bytes:
    """The body that lets the bridge send a frame back through the port it came from, or not."""
    mode = encode_attribute(_IFLA_BRPORT_MODE, bytes((on,)))
    return _ifinfomsg(index, family=_AF_BRIDGE) + encode_attribute(_IFLA_PROTINFO | _NLA_F_NESTED, mode)


def decode_link(body: bytes) -> Link:
    """The link that an RTM_NEWLINK message describes."""
    if len(body) < _IFINFOMSG.size:
        raise _cut_short()
    _family, _device, index, flags, _change = _IFINFOMSG.unpack_from(body)
    attributes = decode_attributes(body, _IFINFOMSG.size)
    info = decode_attributes(attributes.get(_IFLA_LINKINFO, b""))
    return Link(
        index=index,
        name=_text(attributes.get(_IFLA_IFNAME, b"")),
        kind=_text(info.get(_IFLA_INFO_KIND, b"")),
        up=bool(flags & IFF_UP),
        mac_address=attributes.get(_IFLA_ADDRESS, b"").hex(":"),
        mtu=_u32(attributes, _IFLA_MTU),
        tx_queue_len=_u32(attributes, _IFLA_TXQLEN),
        master_index=_u32(attributes, _IFLA_MASTER),
        peer_index=_u32(attributes, _IFLA_LINK),
        statistics=_decode_statistics(attributes.get(_IFLA_STATS64)),
    )


def _decode_statistics(payload: bytes | None) -> LinkStatistics:
    """rtnl_link_stats64: packets, bytes, errors and dropped, each rx then tx."""
    if payload is None:
        return LinkStatistics()
    if len(payload) < _STATS64.size:
        raise _cut_short()
    rx, tx, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped = _STATS64.unpack_from(payload)
    return LinkStatistics(
        rx_bytes=rx_bytes,
        rx_packets=rx,
        rx_errors=rx_errors,
        rx_dropped=rx_dropped,
        tx_bytes=tx_bytes,
        tx_packets=tx,
        tx_errors=tx_errors,
        tx_dropped=tx_dropped,
    )


# Addresses and routes


def encode_address_query(link_index: int) -> bytes:
    """The body that asks for the addresses of one link, or (0) of all."""
    return _IFADDRMSG.pack(AF_UNSPEC, 0, 0, 0, link_index)


def encode_address(link_index: int, address: str) -> bytes:
    """The body that adds ``address`` (``10.0.0.2/24``, ``fd00::2/64``) to a link.

    An IPv4 address gets its subnet's broadcast address (but not with 31 or 32 bits, RFC 3021).  An IPv6
    address is usable at once: duplicate address detection would hold it back for a second or more.
    """
    family, local, prefix = parse_network(address)
    if family == AF_INET6:
        header = _IFADDRMSG.pack(family, prefix, IFA_F_NODAD, RT_SCOPE_UNIVERSE, link_index)
        return header + encode_attribute(_IFA_ADDRESS, local)
    attributes = encode_attribute(_IFA_LOCAL, local) + encode_attribute(_IFA_ADDRESS, local)
    if prefix < 31:
        host_bits = (1 << (32 - prefix)) - 1
        broadcast = (int.from_bytes(local, "big") | host_bits).to_bytes(4, "big")
        attributes += encode_attribute(_IFA_BROADCAST, broadcast)
    return _IFADDRMSG.pack(family, prefix, 0, RT_SCOPE_UNIVERSE, link_index) + attributes


def decode_address(body: bytes) -> Address:
    """The address that an RTM_NEWADDR message describes (for a point-to-point link, its own end)."""
    if len(body) < _IFADDRMSG.size:
        raise _cut_short()
    family, prefix, flags, scope, index = _IFADDRMSG.unpack_from(body)
    attributes = decode_attributes(body, _IFADDRMSG.size)
    raw = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b"")
    flags = _u32(attributes, _IFA_FLAGS, flags)
    return Address(
        link_index=index,
        address=_format_network(family, raw, prefix),
        scope=scope,
        permanent=bool(flags & IFA_F_PERMANENT),
    )


def encode_route_query() -> bytes:
    """The body that asks for every route."""
    return bytes(_RTMSG.size)


def encode_route(link_index: int, destination: str, gateway: str = "", source: str = "") -> bytes:
    """The body that adds a route to the main table.

    Args:
        link_index: the link that packets leave by; 0 lets the kernel find it from the gateway.
        destination: ``10.1.0.0/16``, ``::/0``; bits beyond the prefix are dropped.
        gateway: the next hop, or empty when the destination is on the link itself.
        source: the preferred source address, or empty.
    """
    family, raw, prefix = parse_network(destination)
    bits = len(raw) * 8
    network = int.from_bytes(raw, "big") >> (bits - prefix) << (bits - prefix)
    scope = RT_SCOPE_UNIVERSE if gateway or family == AF_INET6 else RT_SCOPE_LINK
    parts = [_RTMSG.pack(family, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, scope, RTN_UNICAST, 0)]
    if prefix:
        parts.append(encode_attribute(_RTA_DST, network.to_bytes(len(raw), "big")))
    for kind, address in ((_RTA_GATEWAY, gateway), (_RTA_PREFSRC, source)):
        if address:
            parts.append(encode_attribute(kind, _parse_same_family(address, family, destination)))
    if link_index:
        parts.append(_encode_u32(_RTA_OIF, link_index))
    return b"".join(parts)


def decode_route(body: bytes) -> RouteEntry | None:
    """The route of an RTM_NEWROUTE message; None when it is not a unicast route of the main table."""
    if len(body) < _RTMSG.size:
        raise _cut_short()
    family, prefix, _, _, table, _, scope, kind, _ = _RTMSG.unpack_from(body)
    attributes = decode_attributes(body, _RTMSG.size)
    in_main = _u32(attributes, _RTA_TABLE, table) == RT_TABLE_MAIN
    if not in_main or kind != RTN_UNICAST or family not in (AF_INET, AF_INET6):
        return None
    destination = attributes.get(_RTA_DST) or bytes(4 if family == AF_INET else 16)
    return RouteEntry(
        destination=_format_network(family, destination, prefix),
        gateway=_format_ip(family, attributes.get(_RTA_GATEWAY)),
        source=_format_ip(family, attributes.get(_RTA_PREFSRC)),
        link_index=_u32(attributes, _RTA_OIF),
        scope=scope,
    )


# Texts


def parse_ip(text: str) -> tuple[int, bytes]:
    """The family (AF_INET, AF_INET6) and the bytes of an address."""
    family = AF_INET6 if ":" in text else AF_INET
    try:
        return family, inet_pton(family, text)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{text!r} is not an IP address") from error


def parse_network(text: str) -> tuple[int, bytes, int]:
    """The family, bytes and prefix length of an address like ``10.0.0.2/24``."""
    address, slash, prefix = text.partition("/")
    if not slash or not prefix.isdecimal() or not prefix.isascii():
        raise InvalidInput(
            f"{text!r} is not an address with a prefix length", hint="write it like 10.0.0.2/24"
        )
    family, raw = parse_ip(address)
    if len(prefix) > 3 or int(prefix) > len(raw) * 8:
        raise InvalidInput(f"the prefix length of {text!r} is greater than {len(raw) * 8}")
    return family, raw, int(prefix)


def parse_mac(text: str) -> bytes:
    """The bytes of a hardware address like ``02:42:ac:11:00:02``."""
    parts = text.split(":")
    try:
        if len(parts) == 6 and all(len(part) == 2 for part in parts):
            return bytes.fromhex("".join(parts))
    except ValueError:
        pass
    raise InvalidInput(f"{text!r} is not a MAC address", hint="write it like 02:42:ac:11:00:02")


def check_link_name(name: str) -> str:
    """``name``; raises InvalidInput when the kernel would not take it (dev_valid_name)."""
    too_long = len(name.encode()) > _NAME_BYTES_MAX
    if not name or too_long or name in {".", ".."} or any(c in "/:\0" or c.isspace() for c in name):
        raise InvalidInput(
            f"{name!r} cannot be the name of a network link",
            hint="a name has 1 to 15 bytes, without spaces, colons and slashes",
        )
    return name


def _parse_same_family(address: str, family: int, destination: str) -> bytes:
    given, raw = parse_ip(address)
    if given != family:
        raise InvalidInput(f"{address} and the destination {destination} are of different IP versions")
    return raw


def _format_ip(family: int, raw: bytes | None) -> str:
    if raw is None:
        return ""
    if len(raw) != (4 if family == AF_INET else 16) or family not in (AF_INET, AF_INET6):
        raise _cut_short()
    return inet_ntop(family, raw)


def _format_network(family: int, raw: bytes, prefix: int) -> str:
    return f"{_format_ip(family, raw)}/{prefix}"


# Small parts


def _ifinfomsg(index: int, flags: int = 0, change: int = 0, family: int = AF_UNSPEC) -> bytes:
    return _IFINFOMSG.pack(family, 0, index, flags, change)


def _encode_name(name: str) -> bytes:
    return encode_attribute(_IFLA_IFNAME, check_link_name(name).encode() + b"\0")


def _encode_u32(kind: int, number: int) -> bytes:
    if not 0 <= number < 1 << 32:
        raise InvalidInput(f"{number} does not fit the 32 bits of a link's option")
    return encode_attribute(kind, _U32.pack(number))


def _u32(attributes: dict[int, bytes], kind: int, missing: int = 0) -> int:
    payload = attributes.get(kind)
    if payload is None:
        return missing
    if len(payload) < _U32.size:
        raise _cut_short()
    number: int = _U32.unpack_from(payload)[0]
    return number


def _text(payload: bytes) -> str:
    return payload.partition(b"\0")[0].decode(errors="replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _cut_short() -> OperationFailed:
    return OperationFailed("the kernel's netlink message is cut short", errno=errno.EBADMSG)
