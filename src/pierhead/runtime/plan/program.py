"""The plan of a launch whose program is an OCI runtime, which makes the container.  Pure.

    init     a mount namespace with the container's root · streams · bundle · execve of the program

What the program makes outlives it and becomes the stage's child (``LAUNCH_ADOPT``, ``Handshake.adopt``).  The
root is mounted where only the program and its container see it: the program's namespace ends with it, and the
container's copy with the container's last process.  So no mount has to be found and removed after a crash.
"""

from __future__ import annotations

from pierhead.oci.numbers import NAMESPACES
from pierhead.runtime import wire_table
from pierhead.runtime.plan import mounts
from pierhead.runtime.plan.launchplan import LaunchPlan, Slot, assemble
from pierhead.runtime.wire import Operation, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.plan.mounts import RootPlan

_STREAMS = ("input", "output", "error")
_NETWORK = "network namespace"


def plan_program(
    words: tuple[str, ...],
    environment: tuple[str, ...],
    directory: str,
    root: tuple[Operation, ...] = (),
    root_slots: tuple[Slot, ...] = (),
) -> LaunchPlan:
    """The program runs with the given streams (slots "input", "output", "error").

    Args:
        words: the program's absolute path and its arguments.
        environment: the whole of it.
        directory: absolute path of its working directory.
        root: what mounts the container's root, in a mount namespace of the program's own; empty for none.
        root_slots: descriptors that these operations name.
    """
    operations = (
        Operation(name="session", why="no terminal or signal of the caller's reaches it"),
        Operation(name="umask", arguments=(0o022,), why="as programs expect it"),
        *root,
        Operation(name="stdio", arguments=(*_STREAMS, 0), why="its streams become the container's"),
        Operation(
            name="working_directory", arguments=(directory, 0), why="short names of files: see unix(7)"
        ),
        Operation(
            name="find_executable",
            arguments=(words[0], strings(())),
            why="a missing program is found out while everything can be undone",
        ),
        Operation(
            name="own_descriptors", arguments=("", 0, ""), why="it gets no descriptor but the three streams"
        ),
        Operation(name="execute", arguments=(strings(words), strings(environment)), why="the program"),
    )
    return assemble(
        LaunchPlan(
            operations=operations,
            slots=(*(Slot(name=name, kind="given") for name in _STREAMS), *root_slots),
            clone_flags=NAMESPACES["mount"] if root else 0,
        )
    )


def plan_program_root(propagation: str, parent_mount: str, root: RootPlan) -> tuple[Operation, ...]:
    """What mounts the root.

    Args:
        propagation: the configuration's ``rootfs_propagation``.
        parent_mount: where the mount stands that holds the root's place.
        root: how it comes to be, by operations of the init process alone.
    """
    return (*mounts.plan_propagation(propagation, parent_mount), *root.init)


def plan_network(pid: int) -> LaunchPlan:
    """A process opens a socket in the network namespace of the process of this number, for the launcher."""
    operations = (
        Operation(
            name="setns",
            arguments=(_NETWORK, NAMESPACES["network"]),
            why="the program has made the container's network namespace",
        ),
        Operation(
            name="netlink_socket",
            why="the launcher configures this namespace through a socket that was opened in it",
        ),
        Operation(
            name="sync",
            arguments=(wire_table.SYNC_NETWORK,),
            why="interfaces, addresses and routes are made by the launcher",
        ),
        Operation(name="ready", why="it is done"),
    )
    slot = Slot(name=_NETWORK, kind="open", path=f"/proc/{pid}/ns/net")
    return assemble(LaunchPlan(operations=operations, slots=(slot,)))
