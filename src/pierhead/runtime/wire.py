"""The wire's Python side: plans to bytes, packets to values.  init/wire.def holds numbers and encoding.

Pure: knows no socket and no kernel.
"""

from __future__ import annotations

from pierhead.errors import OperationFailed
from pierhead.runtime import wire_table
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Argument = int | str | bytes

PACKET_BYTES = 32768
"""Size of the packets that a plan is sent in; the helper takes up to twice that."""

STAGE, JOINER, INIT = wire_table.PLACE_STAGE, wire_table.PLACE_JOINER, wire_table.PLACE_INIT


class Operation(Value):
    """One step of a launch: what is done, where, and why.

    Fields:
        name: of wire.def's ``op``.
        arguments: in wire.def's order; a descriptor is named by its slot's name, "" for none.
        place: STAGE, JOINER or INIT.
        why: the reason, in words, for who reads the plan.
    """

    name: str
    arguments: tuple[Argument, ...] = ()
    place: int = INIT
    why: str = ""

    @property
    def manual(self) -> str:
        """The man page or section of a specification behind the operation."""
        return wire_table.OPERATIONS[self.name][3]

    def named_arguments(self) -> tuple[tuple[str, Argument], ...]:
        """Pairs of argument name and value."""
        return tuple(zip(wire_table.OPERATIONS[self.name][2], self.arguments, strict=True))


def strings(items: Iterable[str]) -> bytes:
    """A list of strings as the wire has it: each ended by a NUL byte."""
    return b"".join(item.encode(errors="surrogateescape") + b"\0" for item in items)


def encode_operations(operations: Sequence[Operation], slots: Mapping[str, int]) -> bytes:
    """The operations as the wire has them, their count first.

    Args:
        operations: in the order in which they are performed.
        slots: index of every descriptor by name.
    """
    out = [len(operations).to_bytes(4, "little")]
    for operation in operations:
        number, signature, _, _ = wire_table.OPERATIONS[operation.name]
        out.append((number | operation.place << 16).to_bytes(4, "little"))
        for kind, argument in zip(signature, operation.arguments, strict=True):
            out.append(_encode(kind, argument, slots))
    return b"".join(out)


_EMPTY: dict[str, Argument] = {"u": 0, "f": "", "s": "", "b": b""}


def encode_plan(header: Mapping[str, Argument], operations: bytes, slots: Mapping[str, int]) -> bytes:
    """The bytes of a plan.

    Args:
        header: values by field name; a field that is not given is 0, "" or no descriptor.
        operations: from ``encode_operations``.
        slots: index of every descriptor that the header names.
    """
    out = [wire_table.VERSION.to_bytes(4, "little"), len(wire_table.HEADER).to_bytes(4, "little")]
    out.extend(_encode(kind, header.get(name, _EMPTY[kind]), slots) for kind, name in wire_table.HEADER)
    return b"".join((*out, operations))


def _encode(kind: str, argument: Argument, slots: Mapping[str, int]) -> bytes:
    if kind == "u":
        number = int(argument)
        return number.to_bytes(8, "little", signed=number < 0)
    if kind == "f":
        return (slots[str(argument)] if argument else -1).to_bytes(4, "little", signed=True)
    data = argument if isinstance(argument, bytes) else str(argument).encode(errors="surrogateescape")
    return len(data).to_bytes(4, "little") + data + b"\0"


class Failure(Value):
    """What the helper says when an operation failed."""

    place: int
    index: int
    errno: int
    doing: str
    about: str


def words(packet: bytes) -> tuple[int, ...]:
    """A packet's 32-bit numbers; what is left over at its end is passed over."""
    return tuple(int.from_bytes(packet[at : at + 4], "little") for at in range(0, len(packet) - 3, 4))


def decode_failure(packet: bytes) -> Failure:
    """The failure that an ``error`` packet tells of."""
    if len(packet) < 16:
        raise OperationFailed("pier-init sent a packet that is cut short", code="wire-broken")
    _, place, index, errno = words(packet[:16])
    doing, _, about = packet[16:].partition(b"\0")
    return Failure(
        place=place,
        index=index,
        errno=errno,
        doing=doing.decode(errors="replace"),
        about=about.rstrip(b"\0").decode(errors="replace").strip(),
    )


def go_packets(states: Iterable[bytes] = ()) -> list[bytes]:
    """The packets of ``go``, with the state documents that hooks read."""
    documents = b"".join(len(state).to_bytes(4, "little") + state + b"\0" for state in states)
    head = b"".join(number.to_bytes(4, "little") for number in (wire_table.MESSAGE_GO, len(documents)))
    return _packets(head, documents)


def plan_packets(plan: bytes, descriptors: int) -> list[bytes]:
    """The packets that carry a plan; the descriptors go with the first."""
    head = b"".join(
        number.to_bytes(4, "little") for number in (wire_table.MESSAGE_PLAN, len(plan), descriptors)
    )
    return _packets(head, plan)


def _packets(head: bytes, data: bytes) -> list[bytes]:
    first = head + data[: PACKET_BYTES - len(head)]
    rest = data[PACKET_BYTES - len(head) :]
    return [first, *(rest[at : at + PACKET_BYTES] for at in range(0, len(rest), PACKET_BYTES))]
