"""Rtnetlink messages: their exact bytes, what is read from bytes, and what no bytes can do."""

from __future__ import annotations

import contextlib
import errno
import struct
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.linux import netlink_codec as codec
from pierhead.linux.netlink_codec import Address, Link, LinkOptions, LinkStatistics, RouteEntry, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the bytes are written in little-endian")


def spaced(data: bytes) -> str:
    """Bytes in hexadecimal, a word of four bytes at a time."""
    return data.hex(" ", 4)


# Exact bytes


@little_endian
def test_message_header() -> None:
    """A message starts with its length, kind, flags, sequence number and port 0."""
    message = codec.encode_message(codec.RTM_GETLINK, 0x5, 7, b"body")
    assert spaced(message) == "14000000 12000500 07000000 00000000 626f6479"


@little_endian
def test_link_query() -> None:
    """A link is asked for by its name (a terminated, padded IFLA_IFNAME) or by its index alone."""
    assert (
        spaced(codec.encode_link_query(name="lo")) == "00000000 00000000 00000000 00000000 07000300 6c6f0000"
    )
    assert spaced(codec.encode_link_query(index=3)) == "00000000 03000000 00000000 00000000"


@little_endian
def test_veth_pair() -> None:
    """Both ends of a pair travel in one message, the peer nested in the link's info with its own header."""
    body = codec.encode_new_veth(
        LinkOptions(name="v0", up=True, mtu=1400, master_index=2),
        LinkOptions(name="eth0", up=True, mac_address="02:42:ac:11:00:02", namespace_fd=9),
    )
    expected = (
        "00000000 00000000 01000000 01000000",  # ifinfomsg: IFF_UP set, of the flags IFF_UP
        "07000300 76300000",  # IFLA_IFNAME v0
        "08000400 78050000",  # IFLA_MTU 1400
        "08000a00 02000000",  # IFLA_MASTER 2
        "44001280",  # IFLA_LINKINFO, nested, 68 bytes
        "08000100 76657468",  # IFLA_INFO_KIND veth
        "38000280",  # IFLA_INFO_DATA, nested
        "34000100",  # VETH_INFO_PEER
        "00000000 00000000 00000000 00000000",  # its ifinfomsg: not up
        "09000300 65746830 00000000",  # IFLA_IFNAME eth0
        "0a000100 0242ac11 00020000",  # IFLA_ADDRESS
        "08001c00 09000000",  # IFLA_NET_NS_FD
    )
    assert spaced(body).split() == " ".join(expected).split()


@little_endian
def test_hairpin() -> None:
    """Hairpin mode is a bridge port's attribute, so its message has the family AF_BRIDGE."""
    assert spaced(codec.encode_hairpin(5, on=True)) == (
        "07000000 05000000 00000000 00000000 0c000c80 05000400 01000000"
    )


@little_endian
def test_address_of_ipv4() -> None:
    """An IPv4 address is its own local and prefix address, and brings its broadcast address."""
    assert spaced(codec.encode_address(2, "10.0.0.2/24")) == (
        "02180000 02000000 08000200 0a000002 08000100 0a000002 08000400 0a0000ff"
    )


@little_endian
def test_address_of_ipv6() -> None:
    """An IPv6 address is added without duplicate address detection (IFA_F_NODAD)."""
    assert spaced(codec.encode_address(2, "fd00::2/64")) == (
        "0a400200 02000000 14000100 fd000000 00000000 00000000 00000002"
    )


@little_endian
def test_default_route() -> None:
    """A default route has no destination attribute; a gateway makes its scope universal."""
    assert spaced(codec.encode_route(2, "0.0.0.0/0", "10.0.0.1", "10.0.0.2")) == (
        "02000000 fe030001 00000000 08000500 0a000001 08000700 0a000002 08000400 02000000"
    )


@little_endian
def test_route_on_link() -> None:
    """A route without a gateway has the scope of the link, and host bits of its destination are dropped."""
    assert spaced(codec.encode_route(2, "10.9.1.2/16")) == (
        "02100000 fe03fd01 00000000 08000100 0a090000 08000400 02000000"
    )


# What is read


def ifinfomsg(index: int, flags: int) -> bytes:
    """The fixed part of a link message."""
    return struct.pack("=BxHiII", 0, 1, index, flags, 0)


def test_decoded_link() -> None:
    """A link's message gives its names, numbers and statistics; unknown attributes are passed over."""
    body = ifinfomsg(4, 0x11043) + b"".join(
        (
            codec.encode_attribute(3, b"eth0\0"),
            codec.encode_attribute(1, bytes.fromhex("0242ac110002")),
            codec.encode_attribute(4, struct.pack("=I", 1500)),
            codec.encode_attribute(5, struct.pack("=I", 7)),
            codec.encode_attribute(10, struct.pack("=I", 2)),
            codec.encode_attribute(13, struct.pack("=I", 1000)),
            codec.encode_attribute(18 | 0x8000, codec.encode_attribute(1, b"veth\0")),
            codec.encode_attribute(23, struct.pack("=25Q", *range(10, 35))),
            codec.encode_attribute(99, b"from the future"),
        )
    )
    assert codec.decode_link(body) == Link(
        index=4,
        name="eth0",
        kind="veth",
        up=True,
        mac_address="02:42:ac:11:00:02",
        mtu=1500,
        tx_queue_len=1000,
        master_index=2,
        peer_index=7,
        statistics=LinkStatistics(
            rx_packets=10,
            tx_packets=11,
            rx_bytes=12,
            tx_bytes=13,
            rx_errors=14,
            tx_errors=15,
            rx_dropped=16,
            tx_dropped=17,
        ),
    )


def test_decoded_address() -> None:
    """An address is read with its own end (IFA_LOCAL), and the wide IFA_FLAGS go before the header's."""
    header = struct.pack("=BBBBI", 2, 24, 0x80, 0, 3)
    local = codec.encode_attribute(2, bytes((10, 0, 0, 2)))
    peer = codec.encode_attribute(1, bytes((10, 0, 0, 1)))
    assert codec.decode_address(header + peer + local) == Address(link_index=3, address="10.0.0.2/24")
    temporary = codec.encode_attribute(8, struct.pack("=I", 0x200))
    assert not codec.decode_address(header + local + temporary).permanent


def test_decoded_routes() -> None:
    """What is written of a route is what is read of it; other tables and kinds are none of ours."""
    body = codec.encode_route(2, "fd01::/16", "fd00::1")
    assert codec.decode_route(body) == RouteEntry(destination="fd01::/16", gateway="fd00::1", link_index=2)
    default = codec.encode_route(0, "0.0.0.0/0", "10.0.0.1")
    assert codec.decode_route(default) == RouteEntry(destination="0.0.0.0/0", gateway="10.0.0.1")
    local_table = codec.encode_attribute(15, struct.pack("=I", 255))
    assert codec.decode_route(body + local_table) is None


def test_verdict_without_reason() -> None:
    """An acknowledgement is an error message of number 0; a refusal carries the negative errno."""
    header = bytes(16)
    done = codec.Message(kind=2, flags=codec.NLM_F_CAPPED, sequence=1, body=struct.pack("=i", 0) + header)
    assert codec.decode_verdict(done) == Verdict(errno=0)
    refused = done.replace(body=struct.pack("=i", -errno.EEXIST) + header)
    assert codec.decode_verdict(refused) == Verdict(errno=errno.EEXIST)


@pytest.mark.parametrize("capped", [True, False])
def test_verdict_with_reason(capped: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The kernel's sentence stands after the request's header, and after its body unless that is capped."""
    request = struct.pack("=IHHII", 23, 16, 0, 1, 0) + (b"" if capped else b"a body.\0")
    reason = codec.encode_attribute(1, b"mtu greater than device maximum\0")
    flags = codec.NLM_F_ACK_TLVS | (codec.NLM_F_CAPPED if capped else 0)
    body = struct.pack("=i", -errno.EINVAL) + request + reason
    verdict = codec.decode_verdict(codec.Message(kind=2, flags=flags, sequence=1, body=body))
    assert verdict == Verdict(errno=errno.EINVAL, reason="mtu greater than device maximum")


def test_messages_of_a_datagram() -> None:
    """A datagram's messages come in order, each without the padding that follows it."""
    first = codec.encode_message(16, 2, 5, b"odd")
    second = codec.encode_message(3, 2, 5, bytes(4))
    messages = list(codec.decode_messages(first + b"\0" + second))
    assert [(message.kind, message.sequence, message.body) for message in messages] == [
        (16, 5, b"odd"),
        (3, 5, bytes(4)),
    ]


# What no bytes can do


DECODERS: tuple[Callable[[bytes], object], ...] = (
    codec.decode_link,
    codec.decode_address,
    codec.decode_route,
    codec.decode_attributes,
    lambda data: list(codec.decode_messages(data)),
    lambda data: codec.decode_verdict(codec.Message(kind=2, flags=0x200, sequence=1, body=data)),
    lambda data: codec.decode_verdict(codec.Message(kind=3, flags=0x300, sequence=1, body=data)),
)

attributes = st.builds(codec.encode_attribute, st.integers(0, 0xFFFF), st.binary(max_size=40))
bodies = st.builds(
    lambda head, parts, tail: head + b"".join(parts) + tail,
    st.binary(max_size=20),
    st.lists(attributes, max_size=6),
    st.binary(max_size=6),
)


@given(st.one_of(st.binary(max_size=200), bodies), st.sampled_from(DECODERS))
def test_any_bytes_are_read_or_refused(data: bytes, decode: Callable[[bytes], object]) -> None:
    """Whatever arrives is decoded or refused as cut short; no other error, no endless loop."""
    with contextlib.suppress(OperationFailed):
        decode(data)


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=50), max_size=8))
def test_attributes_come_back(given_attributes: dict[int, bytes]) -> None:
    """Attributes of any length are read as they were written."""
    body = b"".join(codec.encode_attribute(kind, payload) for kind, payload in given_attributes.items())
    assert codec.decode_attributes(body) == given_attributes


@given(st.ip_addresses(), st.integers(0, 128))
def test_addresses_come_back(address: object, prefix: int) -> None:
    """Every address with a prefix length that fits is read as it was written."""
    text = f"{address}/{prefix if ':' in str(address) else prefix % 33}"
    decoded = codec.decode_address(codec.encode_address(3, text))
    assert codec.parse_network(decoded.address) == codec.parse_network(text)


# Texts


BAD_NETWORKS = (
    *("", "10.0.0.2", "10.0.0.2/", "10.0.0/24", "a\0b/8", "fe80::1%eth0/64"),
    *("10.0.0.2/33", "10.0.0.2/+8", "10.0.0.2/²", "10.0.0.2/008888", "fd00::/129"),
)


@pytest.mark.parametrize("text", BAD_NETWORKS)
def test_bad_networks(text: str) -> None:
    """What is no address with a prefix length is refused, with the text named."""
    with pytest.raises(InvalidInput) as caught:
        codec.parse_network(text)
    assert repr(text.partition("/")[0])[:-1] in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "02:42:ac:11:00", "02:42:ac:11:00:0g", "2:42:ac:11:00:02:", "0242ac110002"]
)
def test_bad_mac_addresses(text: str) -> None:
    """What is no hardware address is refused."""
    with pytest.raises(InvalidInput, match="is not a MAC address"):
        codec.parse_mac(text)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "a:b", "x" * 16, "é" * 8, "a\0b"])
def test_bad_link_names(name: str) -> None:
    """Names that the kernel would not take, or would cut, are refused before they are sent."""
    with pytest.raises(InvalidInput, match="cannot be the name of a network link"):
        codec.check_link_name(name)


def test_mixed_ip_versions() -> None:
    """A route's destination, gateway and source are of one IP version."""
    with pytest.raises(InvalidInput, match="different IP versions"):
        codec.encode_route(1, "10.0.0.0/8", "fd00::1")


def test_options_in_words() -> None:
    """Options print as what they change, for error messages."""
    assert str(LinkOptions(name="eth0", mtu=9000)) == "name eth0, mtu 9000"
