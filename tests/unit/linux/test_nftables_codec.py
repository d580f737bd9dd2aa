"""Messages of nftables as bytes: what nft(8) 1.0.6 sends for the same, but for defaults that it names."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.linux.nftables_codec import (
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    NFPROTO_INET,
    Chain,
    Element,
    NamedSet,
    Rule,
    add_chain,
    add_elements,
    add_rule,
    add_set,
    add_table,
    compare,
    decode_chain,
    decode_elements,
    delete_elements,
    encode_comment,
    interface_name,
    joined,
    masked,
)

PORTS = NamedSet(name="ports4", key=(INET_PROTO, INET_SERVICE), data=(IPV4_ADDR, INET_SERVICE))
PORT = Element(
    set_name="ports4",
    key=joined(b"\x06", b"\x1f\x90"),
    data=joined(bytes((172, 17, 0, 2)), b"\x00\x50"),
)
TABLE = "0d000100 70696572 68656164 00000000"  # NFTA_TABLE_NAME "pierhead", or what stands for it elsewhere


def words(body: bytes) -> str:
    """Bytes as hexadecimal words of four."""
    return body.hex(" ", -4)


def test_table() -> None:
    """The comment stands in the userdata: its kind, its length, its text."""
    body = add_table(NFPROTO_INET, "pierhead", "hello").body
    assert words(body) == f"01000000 {TABLE} 0c000600 00066865 6c6c6f00"


def test_map() -> None:
    """Types of concatenations are packed into one number; a map has data beside its keys."""
    body = add_set(NFPROTO_INET, "pierhead", PORTS, 1).body
    assert words(body) == (
        f"01000000 {TABLE} 0b000200 706f7274 73340000 08000300 00000008 08000400 0000030d 08000500 00000008 "
        "08000600 000001cd 08000700 00000008 08000a00 00000001 10000d00 00040000 00000104 00000000"
    )


def test_map_of_verdicts() -> None:
    """Its data type is a number beyond all types, and has no length."""
    neighbours = NamedSet(name="nb", key=(IFNAME, IFNAME), verdicts=True)
    body = add_set(NFPROTO_INET, "pierhead", neighbours, 2).body
    assert "08000400 00000a69 08000500 00000020 08000600 ffffff00 08000700 00000000" in words(body)


def test_elements() -> None:
    """An element is a key and what it leads to; the same bytes name what is to be removed."""
    (request,) = add_elements(NFPROTO_INET, "pierhead", (PORT,))
    assert words(request.body) == (
        f"01000000 {TABLE} 0b000200 706f7274 73340000 28000380 24000180 10000180 0c000100 06000000 1f900000 "
        "10000280 0c000100 ac110002 00500000"
    )
    (removal,) = delete_elements(NFPROTO_INET, "pierhead", (PORT,))
    assert (removal.body, removal.kind) == (request.body, request.kind + 2)
    assert decode_elements("ports4", request.body) == (PORT,)


def test_cut_short() -> None:
    """A list of elements that ends too soon is an error, and no endless loop."""
    (request,) = add_elements(NFPROTO_INET, "pierhead", (PORT,))
    broken = request.body.replace(bytes.fromhex("24000180"), bytes.fromhex("00000180"))
    with pytest.raises(OperationFailed, match="cut short"):
        decode_elements("ports4", broken)


def test_verdict_element() -> None:
    """A verdict is an element's data of another kind."""
    key = interface_name("pier0") * 2
    (request,) = add_elements(NFPROTO_INET, "t", (Element(set_name="nb", key=key, verdict="accept"),))
    assert words(request.body).endswith("10000280 0c000280 08000100 00000001")


def test_many_elements() -> None:
    """No attribute grows beyond its 65,535 bytes: many elements are several messages."""
    elements = [PORT.replace(key=joined(b"\x06", number.to_bytes(2, "big"))) for number in range(1, 4000)]
    requests = add_elements(NFPROTO_INET, "t", tuple(elements))
    assert len(requests) == 10
    assert max(len(request.body) for request in requests) < 65535
    found = [each for request in requests for each in decode_elements("ports4", request.body)]
    assert found == elements


def test_chain_there_and_back() -> None:
    """A hook's chain is decoded as it was encoded; one of no hook has no policy."""
    chain = Chain(name="forward", kind="filter", hook="forward", priority=-300, policy="drop")
    found = decode_chain(add_chain(NFPROTO_INET, "pierhead", chain).body)
    assert (found.family, found.table, found.name) == (1, "pierhead", "forward")
    assert (found.hook, found.priority, found.policy) == (2, -300, 0)
    found = decode_chain(add_chain(NFPROTO_INET, "pierhead", Chain(name="published")).body)
    assert (found.hook, found.policy) == (None, None)


def test_expressions() -> None:
    """A comparison and a mask, byte for byte."""
    assert words(compare(b"\x02").encoded) == (
        "2c000180 08000100 636d7000 20000280 08000100 00000001 08000200 00000000 0c000380 05000100 02000000"
    )
    rule = add_rule(NFPROTO_INET, "pierhead", Rule(chain="c", expressions=(masked(0x20),), why="x"))
    assert words(rule.body) == (
        f"01000000 {TABLE} 06000200 63000000 48000480 44000180 0c000100 62697477 69736500 34000280 08000100 "
        "00000001 08000200 00000001 08000300 00000004 0c000480 08000100 20000000 0c000580 08000100 00000000 "
        "08000700 00027800"
    )


def test_long_comment() -> None:
    """A comment that the kernel's tools would not print is refused."""
    assert len(encode_comment("x" * 127)) == 130
    with pytest.raises(InvalidInput, match="more than 127 bytes"):
        encode_comment("x" * 128)
