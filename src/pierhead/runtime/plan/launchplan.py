"""The launch plan: a value that says everything about how a process comes to run.  Pure.

``launch.plan_container`` and ``join.plan_exec`` make plans; ``handshake`` performs them with the helper; the
command line's ``--explain`` prints them.
"""

from __future__ import annotations

from pierhead.runtime.wire import Operation, encode_operations
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.oci.runtime import IDMapping

    SlotKind = Literal["open", "given", "made"]


class Slot(Value):
    """A descriptor that operations name.

    ``open``: the performer opens ``path``. ``given``: the performer has it (a stream, the gate's socket).
    ``made``: an operation of the plan makes it.
    """

    name: str
    kind: SlotKind
    path: str = ""


def no_indexes() -> dict[str, int]:
    """The indexes of a plan that is not assembled: never to be changed in place."""
    return {}


class LaunchPlan(Value):
    """What the helper and the launcher do, in order. The same for every container of a configuration: what
    differs from one to the next (id, descriptors, what to undo) comes in the wire's header.

    Fields:
        operations: the helper's steps.
        encoded: the same as the wire has them.
        slots: descriptors that operations name.
        indexes: of the slots in the helper's table; those beyond ``given_slots`` are left for the header's
            own.
        clone_flags: CLONE_NEW* that the init process is cloned with.
        joiner: whether the init process is cloned by a process that joins or makes namespaces first.
        into_cgroup: whether the stage's clone puts the process into its v2 cgroup.
        uid_mappings, gid_mappings: of the new user namespace; empty for none.
        oom_score_adj: written by the launcher, who has the rights; None leaves it.
        trace: whether the helper tells how long every operation took.
    """

    operations: tuple[Operation, ...]
    encoded: bytes = b""
    slots: tuple[Slot, ...] = ()
    indexes: dict[str, int] = no_indexes()
    clone_flags: int = 0
    joiner: bool = False
    into_cgroup: bool = False
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    oom_score_adj: int | None = None
    trace: bool = False


HEADER_SLOTS = 12
"""Places in the helper's table for descriptors that only the header names."""


def assemble(plan: LaunchPlan) -> LaunchPlan:
    """The plan with its slots in order and its operations encoded.

    The table of descriptors has first those that come with the plan, in order, then those of the header, then
    those that operations make.
    """
    coming = tuple(slot for slot in plan.slots if slot.kind != "made")
    made = tuple(slot for slot in plan.slots if slot.kind == "made")
    indexes = {slot.name: number for number, slot in enumerate(coming)}
    first_made = len(coming) + HEADER_SLOTS
    indexes |= {slot.name: number for number, slot in enumerate(made, first_made)}
    encoded = encode_operations(plan.operations, indexes)
    return plan.replace(slots=(*coming, *made), indexes=indexes, encoded=encoded)
