"""What the helper does where no container is made: a user namespace to hold, operations of the stage."""

from __future__ import annotations

import os

from pierhead.runtime import wire, wire_table
from pierhead.runtime.handshake import Handshake
from pierhead.runtime.plan.launchplan import LaunchPlan, Slot, assemble

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CLONE_NEWUSER = 0x10000000


def hold_user_namespace(write_maps: Callable[[int], None]) -> int:
    """A descriptor of a new user namespace whose maps ``write_maps`` writes; no process stays in it."""
    operations = (
        wire.Operation(name="sync", arguments=(wire_table.SYNC_MAPS,), why="the launcher writes the id maps"),
        wire.Operation(name="ready", why="the launcher holds the namespace"),
    )
    keeper = _Keeper(write_maps)
    with Handshake() as handshake:
        handshake.send(assemble(LaunchPlan(operations=operations, clone_flags=_CLONE_NEWUSER)), {}, {})
        handshake.run(keeper)
    return keeper.fd


class _Keeper:
    """The steps of a launch whose only result is a user namespace."""

    def __init__(self, write_maps: Callable[[int], None]) -> None:
        self._write_maps = write_maps
        self.fd = -1

    def place(self, pid: int, *, maps: bool) -> None:  # noqa: ARG002 - the plan has no maps of its own
        """Maps are written and the namespace is opened."""
        self._write_maps(pid)
        self.fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)

    def born(self, pid: int) -> None:
        """Nothing is to be done."""

    def states(self) -> tuple[bytes, bytes]:
        """There are no hooks."""
        return b"", b""

    def network(self, netlink_fd: int) -> None:
        """Not asked for by the plan."""
        os.close(netlink_fd)

    def hooks(self) -> None:
        """Not asked for by the plan."""

    def limits(self) -> None:
        """Not asked for by the plan."""

    def listener(self, notify_fd: int) -> None:
        """Not asked for by the plan."""
        os.close(notify_fd)


def perform_on_host(operations: Sequence[wire.Operation], given: Mapping[str, int]) -> None:
    """The stage performs these operations in our own namespaces; nothing is launched.

    Args:
        operations: the stage's.
        given: descriptors that they name.
    """
    slots = tuple(Slot(name=name, kind="given") for name in given)
    with Handshake() as handshake:
        plan = assemble(LaunchPlan(operations=tuple(operations), slots=slots))
        handshake.send(plan, {"flags": wire_table.LAUNCH_NOTHING}, given)
        handshake.await_stage()
