"""Messages of nftables as bytes: tables, chains, rules, sets and their elements.  Pure: no socket, no clock.

Changes travel in a batch, which the kernel takes as a whole or not at all:

    batch      | begin | message | message | … | end |
    message    | netlink header | family u8 | version u8 | resource u16 big-endian | attribute | … |
    rule       a list of expressions; an expression is a name and attributes of its own
    element    a key of as many bytes as the set's keys have, and in a map a value or a verdict

Numbers in attributes are big-endian here, unlike rtnetlink's.  What a register holds is bytes as they stand
in a packet; parts of a concatenation begin at multiples of four bytes.

Every expression says in ``words`` what it does, as ``nft --debug=netlink list ruleset`` prints it: so a plan
of rules can be read, and compared with what the kernel has.

Source: linux/netfilter/nf_tables.h, nfnetlink.h, nft(8); numbers of types: nftables' datatype.h.
"""

from __future__ import annotations

from errno import EBADMSG
from struct import Struct
from typing import Literal

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.linux.netlink_codec import (
    NLM_F_CREATE,
    decode_attributes,
    encode_attribute,
)
from pierhead.linux.nfnetlink import Request
from pierhead.values import Value

NFPROTO_INET, NFPROTO_IPV4, NFPROTO_IPV6 = 1, 2, 10
NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END = 0x10, 0x11

_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
NFT_MSG_NEWTABLE, NFT_MSG_GETTABLE, NFT_MSG_DELTABLE = (_SUBSYSTEM | number for number in (0, 1, 2))
NFT_MSG_NEWCHAIN, NFT_MSG_GETCHAIN = (_SUBSYSTEM | number for number in (3, 4))
NFT_MSG_NEWRULE, NFT_MSG_GETRULE, NFT_MSG_DELRULE = (_SUBSYSTEM | number for number in (6, 7, 8))
NFT_MSG_NEWSET = _SUBSYSTEM | 9
NFT_MSG_NEWGEN, NFT_MSG_GETGEN = (_SUBSYSTEM | number for number in (15, 16))
NFT_MSG_NEWSETELEM, NFT_MSG_GETSETELEM, NFT_MSG_DELSETELEM = (_SUBSYSTEM | n for n in (12, 13, 14))

_NLA_F_NESTED = 0x8000
_NLM_F_APPEND = 0x800
_TABLE_NAME, _TABLE_USERDATA = 1, 6
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 3, 4, 7
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_KEY_TYPE, _SET_KEY_LEN = 1, 2, 3, 4, 5
_SET_DATA_TYPE, _SET_DATA_LEN, _SET_ID, _SET_USERDATA = 6, 7, 10, 13
_ELEMENTS_TABLE, _ELEMENTS_SET, _ELEMENTS_LIST = 1, 2, 3
_ELEMENT_KEY, _ELEMENT_DATA, _ELEMENT_FLAGS = 1, 2, 3
_LIST_ITEM, _EXPRESSION_NAME, _EXPRESSION_DATA = 1, 1, 2
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_SET_F_INTERVAL, _SET_F_MAP, _ELEMENT_F_INTERVAL_END = 0x4, 0x8, 0x1
_DATA_TYPE_VERDICT = 0xFFFFFF00
_UDATA_COMMENT, _UDATA_KEY_BYTE_ORDER, _UDATA_DATA_BYTE_ORDER = 0, 0, 1
_GENERATION_ID = 1
_ELEMENTS_MAX = 400  # of one message: an attribute has at most 65,535 bytes

_NFGENMSG = Struct(">BBH")
_U32 = Struct(">I")
_S32 = Struct(">i")
_U32_HOST = Struct("=I")
_U16_HOST = Struct("=H")

HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
Verdict = Literal["accept", "drop"]
_VERDICTS = {"drop": 0, "accept": 1, "jump": -3, "return": -5}
_REG_VERDICT, _REG_1 = 0, 1


class FieldType(Value):
    """A type of set keys or data: number and size as nft(8) knows it; ``byte_order`` 1 is the host's."""

    number: int
    size_bytes: int
    byte_order: int


IPV4_ADDR = FieldType(number=7, size_bytes=4, byte_order=2)
IPV6_ADDR = FieldType(number=8, size_bytes=16, byte_order=2)
INET_PROTO = FieldType(number=12, size_bytes=1, byte_order=2)
INET_SERVICE = FieldType(number=13, size_bytes=2, byte_order=2)
IFNAME = FieldType(number=41, size_bytes=16, byte_order=1)


class Expression(Value):
    """One step of a rule: its encoded form, and what it does in the words of ``nft --debug=netlink``."""

    encoded: bytes
    words: str


class Rule(Value):
    """A rule: all its expressions must hold, the last one says what becomes of the packet.

    ``why`` stands in the kernel beside it, as a comment.
    """

    chain: str
    expressions: tuple[Expression, ...]
    why: str = ""


class Chain(Value):
    """A chain; with a ``hook`` the kernel walks through it at this hook, with the ``policy`` at its end."""

    name: str
    kind: str = ""  # "filter" or "nat"
    hook: str = ""
    priority: int = 0
    policy: Verdict = "accept"


class NamedSet(Value):
    """A set, or with ``data`` or ``verdicts`` a map, whose elements can be changed one by one."""

    name: str
    key: tuple[FieldType, ...]
    data: tuple[FieldType, ...] = ()
    verdicts: bool = False
    intervals: bool = False


class Element(Value):
    """An element of a set: a key, and in a map its value (a verdict in a map of verdicts)."""

    set_name: str
    key: bytes
    data: bytes = b""
    verdict: str = ""
    interval_end: bool = False


class ChainFound(Value):
    """A chain that the kernel has; ``policy`` is None where it is no hook's."""

    family: int
    table: str
    name: str
    hook: int | None
    priority: int
    policy: int | None


# Register values


def interface_name(name: str) -> bytes:
    """A link's name as registers hold it: 16 bytes."""
    return name.encode().ljust(16, b"\0")


def joined(*parts: bytes) -> bytes:
    """A concatenation: every part begins at a multiple of four bytes."""
    return b"".join(part + bytes(-len(part) % 4) for part in parts)


# Expressions


def meta(key: Literal["iifname", "oifname", "nfproto", "l4proto"], register: int = _REG_1) -> Expression:
    """The register holds what is known about the packet beside its bytes."""
    number = {"iifname": 6, "oifname": 7, "nfproto": 15, "l4proto": 16}[key]
    parts = _u32(2, number) + _u32(1, register)
    return _expression("meta", parts, f"meta load {key} => reg {register}")


def payload(
    base: Literal["network", "transport"], offset: int, length: int, register: int = _REG_1
) -> Expression:
    """The register holds bytes of the packet, from ``offset`` of a header on."""
    number = {"network": 1, "transport": 2}[base]
    parts = _u32(1, register) + _u32(2, number) + _u32(3, offset) + _u32(4, length)
    words = f"payload load {length}b @ {base} header + {offset} => reg {register}"
    return _expression("payload", parts, words)


def compare(data: bytes, *, equal: bool = True, register: int = _REG_1) -> Expression:
    """The rule goes on only if the register holds these bytes (or, with ``equal`` false, others)."""
    parts = _u32(1, register) + _u32(2, 0 if equal else 1) + _nested(3, encode_attribute(_DATA_VALUE, data))
    operation = "eq" if equal else "neq"
    return _expression("cmp", parts, f"cmp {operation} reg {register} {_register_in_words(data)}")


def masked(mask: int, register: int = _REG_1) -> Expression:
    """Only the bits of ``mask`` (of a number of four bytes) are left in the register."""
    value = encode_attribute(_DATA_VALUE, _U32_HOST.pack(mask))
    zero = encode_attribute(_DATA_VALUE, bytes(4))
    parts = _u32(1, register) + _u32(2, register) + _u32(3, 4) + _nested(4, value) + _nested(5, zero)
    words = f"bitwise reg {register} = ( reg {register} & 0x{mask:08x} ) ^ 0x00000000"
    return _expression("bitwise", parts, words)


def conntrack(key: Literal["state", "status"], register: int = _REG_1) -> Expression:
    """The register holds bits of the packet's connection."""
    parts = _u32(1, register) + _u32(2, {"state": 0, "status": 2}[key])
    return _expression("ct", parts, f"ct load {key} => reg {register}")


def destination_kind(register: int = _REG_1) -> Expression:
    """The register holds what the destination is to this machine: 2 is one of its own addresses."""
    parts = _u32(1, register) + _u32(2, 3) + _u32(3, 2)
    return _expression("fib", parts, f"fib daddr type => reg {register}")


def lookup(set_name: str, data_register: int | None = None, *, inverted: bool = False) -> Expression:
    """The rule goes on only if register 1 holds a key of the set (``inverted``: no key of it).

    In a map the value goes to ``data_register``; 0 takes it as the verdict.
    """
    parts = encode_attribute(1, _text(set_name)) + _u32(2, _REG_1)
    words = f"lookup reg 1 set {set_name}"
    if data_register is not None:
        parts += _u32(3, data_register)
        words += f" dreg {data_register}"
    if inverted:
        parts += _u32(5, 1)
    return _expression("lookup", parts, f"{words} 0x{inverted:x}")


def destination_nat(family: int, address_register: int, port_register: int) -> Expression:
    """The connection goes to the address and the port in these registers instead."""
    registers = _u32(3, address_register) + _u32(5, port_register)
    address, port = address_register, port_register
    return _expression(
        "nat",
        _u32(1, 1) + _u32(2, family) + registers,
        f"nat dnat {'ip' if family == NFPROTO_IPV4 else 'ip6'} addr_min reg {address} addr_max reg {address} "
        f"proto_min reg {port} proto_max reg {port} flags 0x3",
    )


def masquerade() -> Expression:
    """The connection goes on under the address of the link that it leaves by."""
    return _expression("masq", b"", "masq")


def counter() -> Expression:
    """Packets and bytes that come this far are counted."""
    return _expression("counter", b"", "counter pkts 0 bytes 0")


def verdict(word: Literal["accept", "drop", "return", "jump"], chain: str = "") -> Expression:
    """What becomes of the packet; ``jump`` goes on in another chain and comes back."""
    data = _nested(_DATA_VERDICT, _verdict(word, chain))
    target = f" -> {chain}" if chain else ""
    return _expression(
        "immediate", _u32(1, _REG_VERDICT) + _nested(2, data), f"immediate reg 0 {word}{target}"
    )


def _expression(name: str, parts: bytes, words: str) -> Expression:
    named = encode_attribute(_EXPRESSION_NAME, _text(name))
    return Expression(encoded=_nested(_LIST_ITEM, named + _nested(_EXPRESSION_DATA, parts)), words=words)


def _verdict(word: str, chain: str = "") -> bytes:
    code = encode_attribute(_VERDICT_CODE, _S32.pack(_VERDICTS[word]))
    return code + (encode_attribute(_VERDICT_CHAIN, _text(chain)) if chain else b"")


def _register_in_words(data: bytes) -> str:
    padded = data + bytes(-len(data) % 4)
    numbers = (_U32_HOST.unpack_from(padded, offset)[0] for offset in range(0, len(padded), 4))
    return " ".join(f"0x{number:08x}" for number in numbers)


# Requests


def add_table(family: int, name: str, comment: str = "") -> Request:
    """The table exists."""
    body = _header(family) + encode_attribute(_TABLE_NAME, _text(name))
    if comment:
        body += encode_attribute(_TABLE_USERDATA, encode_comment(comment))
    return Request(kind=NFT_MSG_NEWTABLE, flags=NLM_F_CREATE, body=body, what=f"add table {name}")


def delete_table(family: int, name: str) -> Request:
    """The table and all that is in it are gone."""
    body = _header(family) + encode_attribute(_TABLE_NAME, _text(name))
    return Request(kind=NFT_MSG_DELTABLE, flags=0, body=body, what=f"delete table {name}")


def add_chain(family: int, table: str, chain: Chain) -> Request:
    """The chain exists."""
    body = _header(family) + encode_attribute(_CHAIN_TABLE, _text(table))
    body += encode_attribute(_CHAIN_NAME, _text(chain.name))
    if chain.hook:
        number = _u32(_HOOK_NUMBER, HOOKS[chain.hook])
        priority = encode_attribute(_HOOK_PRIORITY, _S32.pack(chain.priority))
        body += _nested(_CHAIN_HOOK, number + priority)
        body += _u32(_CHAIN_POLICY, _VERDICTS[chain.policy])
        body += encode_attribute(_CHAIN_TYPE, _text(chain.kind))
    what = f"add chain {chain.name} to table {table}"
    return Request(kind=NFT_MSG_NEWCHAIN, flags=NLM_F_CREATE, body=body, what=what)


def add_rule(family: int, table: str, rule: Rule) -> Request:
    """The rule is the last of its chain."""
    body = _header(family) + encode_attribute(_RULE_TABLE, _text(table))
    body += encode_attribute(_RULE_CHAIN, _text(rule.chain))
    body += _nested(_RULE_EXPRESSIONS, b"".join(each.encoded for each in rule.expressions))
    if rule.why:
        body += encode_attribute(_RULE_USERDATA, encode_comment(rule.why))
    what = f"add a rule to chain {rule.chain} of table {table}"
    return Request(kind=NFT_MSG_NEWRULE, flags=NLM_F_CREATE | _NLM_F_APPEND, body=body, what=what)


def delete_rule(family: int, table: str, chain: str, handle: int) -> Request:
    """The rule that the kernel knows by this number is gone."""
    body = _header(family) + encode_attribute(_RULE_TABLE, _text(table))
    body += encode_attribute(_RULE_CHAIN, _text(chain))
    body += encode_attribute(_RULE_HANDLE, handle.to_bytes(8, "big"))
    what = f"delete a rule of chain {chain} of table {table}"
    return Request(kind=NFT_MSG_DELRULE, flags=0, body=body, what=what)


def add_set(family: int, table: str, named: NamedSet, number: int) -> Request:
    """The set exists; ``number`` tells it from the other new ones of the batch."""
    is_map = bool(named.data) or named.verdicts
    flags = (_SET_F_INTERVAL if named.intervals else 0) | (_SET_F_MAP if is_map else 0)
    body = _header(family) + encode_attribute(_SET_TABLE, _text(table))
    body += encode_attribute(_SET_NAME, _text(named.name)) + _u32(_SET_FLAGS, flags)
    body += _u32(_SET_KEY_TYPE, _joined_type(named.key)) + _u32(_SET_KEY_LEN, _joined_bytes(named.key))
    order = _byte_order(_UDATA_KEY_BYTE_ORDER, named.key)
    if named.verdicts:
        body += _u32(_SET_DATA_TYPE, _DATA_TYPE_VERDICT) + _u32(_SET_DATA_LEN, 0)
    elif named.data:
        body += _u32(_SET_DATA_TYPE, _joined_type(named.data))
        body += _u32(_SET_DATA_LEN, _joined_bytes(named.data))
        order += _byte_order(_UDATA_DATA_BYTE_ORDER, named.data)
    body += _u32(_SET_ID, number) + encode_attribute(_SET_USERDATA, order)
    what = f"add set {named.name} to table {table}"
    return Request(kind=NFT_MSG_NEWSET, flags=NLM_F_CREATE, body=body, what=what)


def add_elements(family: int, table: str, elements: tuple[Element, ...]) -> tuple[Request, ...]:
    """The sets hold the elements."""
    return tuple(
        Request(
            kind=NFT_MSG_NEWSETELEM,
            flags=NLM_F_CREATE,
            body=_header(family) + body,
            what=f"add elements to set {name} of table {table}",
        )
        for name, body in _element_lists(table, elements)
    )


def delete_elements(family: int, table: str, elements: tuple[Element, ...]) -> tuple[Request, ...]:
    """The sets do not hold the elements; one that was not there is an error (ENOENT)."""
    return tuple(
        Request(
            kind=NFT_MSG_DELSETELEM,
            flags=0,
            body=_header(family) + body,
            what=f"delete elements of set {name} of table {table}",
        )
        for name, body in _element_lists(table, elements)
    )


def encode_query(family: int, table: str = "", set_name: str = "", chain: str = "") -> bytes:
    """The body that asks for tables, chains, rules or a set's elements."""
    body = _header(family)
    if table:
        body += encode_attribute(1, _text(table))  # the same number for all kinds of objects
    if set_name:
        body += encode_attribute(_ELEMENTS_SET, _text(set_name))
    if chain:
        body += encode_attribute(_RULE_CHAIN, _text(chain))
    return body


def batch_mark(*, begin: bool) -> Request:
    """The message that begins or ends a batch."""
    return Request(
        kind=NFNL_MSG_BATCH_BEGIN if begin else NFNL_MSG_BATCH_END,
        flags=0,
        body=_NFGENMSG.pack(0, 0, _SUBSYSTEM >> 8),
        what="change the firewall's rules",
    )


def _element_lists(table: str, elements: tuple[Element, ...]) -> list[tuple[str, bytes]]:
    by_set: dict[str, list[Element]] = {}
    for element in elements:
        by_set.setdefault(element.set_name, []).append(element)
    lists = []
    for name, members in by_set.items():
        for start in range(0, len(members), _ELEMENTS_MAX):
            encoded = b"".join(map(_encode_element, members[start : start + _ELEMENTS_MAX]))
            body = encode_attribute(_ELEMENTS_TABLE, _text(table)) + encode_attribute(
                _ELEMENTS_SET, _text(name)
            )
            lists.append((name, body + _nested(_ELEMENTS_LIST, encoded)))
    return lists


def _encode_element(element: Element) -> bytes:
    body = b""
    if element.interval_end:
        body += _u32(_ELEMENT_FLAGS, _ELEMENT_F_INTERVAL_END)
    body += _nested(_ELEMENT_KEY, encode_attribute(_DATA_VALUE, element.key))
    if element.data:
        body += _nested(_ELEMENT_DATA, encode_attribute(_DATA_VALUE, element.data))
    elif element.verdict:
        body += _nested(_ELEMENT_DATA, _nested(_DATA_VERDICT, _verdict(element.verdict)))
    return _nested(_LIST_ITEM, body)


# Answers


def decode_generation(body: bytes) -> int:
    """How often the rules of the namespace have been changed, of an NFT_MSG_NEWGEN message."""
    number = decode_attributes(body, _NFGENMSG.size).get(_GENERATION_ID)
    return _U32.unpack(number)[0] if number else 0


def decode_chain(body: bytes) -> ChainFound:
    """The chain that an NFT_MSG_NEWCHAIN message describes."""
    attributes = decode_attributes(body, _NFGENMSG.size)
    hook = decode_attributes(attributes.get(_CHAIN_HOOK, b""))
    policy = attributes.get(_CHAIN_POLICY)
    number = hook.get(_HOOK_NUMBER)
    return ChainFound(
        family=body[0],
        table=_decode_text(attributes.get(_CHAIN_TABLE, b"")),
        name=_decode_text(attributes.get(_CHAIN_NAME, b"")),
        hook=_U32.unpack(number)[0] if number else None,
        priority=_S32.unpack(hook[_HOOK_PRIORITY])[0] if _HOOK_PRIORITY in hook else 0,
        policy=_U32.unpack(policy)[0] if policy else None,
    )


def decode_rule(body: bytes) -> tuple[int, bytes]:
    """The number of a rule within its table, and its userdata."""
    attributes = decode_attributes(body, _NFGENMSG.size)
    return int.from_bytes(attributes.get(_RULE_HANDLE, b""), "big"), attributes.get(_RULE_USERDATA, b"")


def decode_elements(set_name: str, body: bytes) -> tuple[Element, ...]:
    """The elements that an NFT_MSG_NEWSETELEM message lists; verdicts are not read."""
    items = decode_attributes(body, _NFGENMSG.size).get(_ELEMENTS_LIST, b"")
    found = []
    offset = 0
    while len(items) - offset >= 4:
        length = _U16_HOST.unpack_from(items, offset)[0]
        if length < 4 or offset + length > len(items):
            raise OperationFailed("the kernel's list of elements is cut short", errno=EBADMSG)
        attributes = decode_attributes(items[offset + 4 : offset + length])
        key = decode_attributes(attributes.get(_ELEMENT_KEY, b"")).get(_DATA_VALUE, b"")
        data = decode_attributes(attributes.get(_ELEMENT_DATA, b"")).get(_DATA_VALUE, b"")
        flags = int.from_bytes(attributes.get(_ELEMENT_FLAGS, b""), "big")
        end = bool(flags & _ELEMENT_F_INTERVAL_END)
        found.append(Element(set_name=set_name, key=key, data=data, interval_end=end))
        offset += (length + 3) & ~3
    return tuple(found)


# Small parts


def encode_comment(text: str) -> bytes:
    """How the comment of a rule or a table stands in its userdata."""
    raw = _text(text)
    if len(raw) > 128:  # NFTNL_UDATA_COMMENT_MAXLEN
        raise InvalidInput(f"the comment {text!r} has more than 127 bytes")
    return bytes((_UDATA_COMMENT, len(raw))) + raw


def _header(family: int) -> bytes:
    return _NFGENMSG.pack(family, 0, 0)


def _nested(kind: int, payload: bytes) -> bytes:
    return encode_attribute(kind | _NLA_F_NESTED, payload)


def _u32(kind: int, number: int) -> bytes:
    return encode_attribute(kind, _U32.pack(number))


def _text(text: str) -> bytes:
    return text.encode() + b"\0"


def _decode_text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode(errors="replace")


def _joined_type(types: tuple[FieldType, ...]) -> int:
    number = 0
    for each in types:
        number = number << 6 | each.number
    return number


def _joined_bytes(types: tuple[FieldType, ...]) -> int:
    if len(types) == 1:
        return types[0].size_bytes
    return sum((each.size_bytes + 3) & ~3 for each in types)


def _byte_order(kind: int, types: tuple[FieldType, ...]) -> bytes:
    """Userdata by which nft(8) knows how to print keys; a concatenation's parts need none."""
    order = types[0].byte_order if len(types) == 1 else 0
    return bytes((kind, 4)) + _U32_HOST.pack(order)
