"""The launch plan: a value that says everything about how a process comes to run.  Pure.

``launch.plan_container`` and ``join.plan_exec`` make plans; ``handshake`` performs them with the helper; the command
line's ``--explain`` prints them.
"""

from __future__ import annotations

from pierhead.runtime.wire import Operation
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.oci.runtime import IDMapping

    SlotKind = Literal["open", "given", "made"]


class Slot(Value):
    """A descriptor that operations name.

    ``open``: the performer opens ``path``.  ``given``: the performer has it (a stream, the gate's socket).  ``made``:
    an operation of the plan makes it.
    """

    name: str
    kind: SlotKind
    path: str = ""


class LaunchPlan(Value):
    """What the helper and the launcher do, in order.

    Fields:
        operations: the helper's steps.
        slots: descriptors by the order of their indexes; the ``made`` ones come last.
        clone_flags: CLONE_NEW* that the init process is cloned with.
        joiner: whether the init process is cloned by a process that joins or makes namespaces first.
        into_cgroup: whether the init process may be cloned into its cgroup (v2, no user namespace before it).
        uid_mappings, gid_mappings: of the new user namespace; empty for none.
        oom_score_adj: written by the launcher, who has the rights; None leaves it.
        trace: whether the helper tells how long every operation took.
    """

    operations: tuple[Operation, ...]
    slots: tuple[Slot, ...] = ()
    clone_flags: int = 0
    joiner: bool = False
    into_cgroup: bool = False
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    oom_score_adj: int | None = None
    trace: bool = False

    def with_slots(self, *more: Slot) -> LaunchPlan:
        """The plan with further slots, in the order that indexes need."""
        slots = [slot for slot in self.slots if slot.kind != "made"]
        made = [slot for slot in (*self.slots, *more) if slot.kind == "made"]
        return self.replace(slots=(*slots, *(slot for slot in more if slot.kind != "made"), *made))
