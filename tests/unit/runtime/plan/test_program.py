"""Plans of launches whose program makes the container."""

from __future__ import annotations

import pytest

from pierhead.oci.numbers import NAMESPACES
from pierhead.runtime.config import Config, RootOverlay
from pierhead.runtime.plan import mountoptions
from pierhead.runtime.plan.mounts import RootPlan
from pierhead.runtime.plan.program import plan_network, plan_program, plan_program_root
from pierhead.runtime.plan.rootoverlay import plan_root_overlay
from pierhead.runtime.wire import Operation

WORDS = ("/usr/sbin/runc", "create", "web")
ROOT = RootPlan(init=(Operation(name="root_here", why="a test's"),), root=("", "/r"))


def names(operations: tuple[Operation, ...]) -> list[str]:
    """Of operations."""
    return [each.name for each in operations]


def test_create() -> None:
    """The root is mounted in a namespace of the program's own, before it works in its bundle."""
    plan = plan_program(WORDS, ("A=b",), "/run/b", plan_program_root("", "/", ROOT))
    assert plan.clone_flags == NAMESPACES["mount"]
    order = names(plan.operations)
    assert order.index("propagation") < order.index("root_here") < order.index("working_directory")
    assert order[-1] == "execute"
    assert [slot.name for slot in plan.slots] == ["input", "output", "error"]


@pytest.mark.parametrize(
    ("kernel", "lower"), [((6, 1), "/layers/1"), ((6, 12), "/layers/a\\b"), ((6, 12), "/" + "x/" * 200)]
)
def test_layers_under_short_names(kernel: tuple[int, int], lower: str) -> None:
    """What opens layers by one operation and binds them by the next has its places among the descriptors."""
    overlay = RootOverlay(lower=(lower, "/layers/2"), upper="/c/upper", work="/c/work")
    root = plan_root_overlay(Config(rootfs="/r"), overlay, rootless=False, kernel=kernel)
    mounted = plan_program_root("", "/", root)
    plan = plan_program(WORDS, (), "/run/b", mounted, root.slots)
    assert len(root.slots) == 3
    assert {slot.name for slot in root.slots} < set(plan.indexes)


def test_exec() -> None:
    """A further process needs no mount, and so no namespace."""
    plan = plan_program(WORDS, (), "/run/b/exec-1")
    assert plan.clone_flags == 0
    assert "propagation" not in names(plan.operations)


def test_propagation() -> None:
    """Nothing goes out of the namespace; where a container's mounts are to, the root's own do not."""
    [private] = (each for each in plan_program_root("", "/", ROOT) if each.name == "propagation")
    assert private.arguments == ("/", mountoptions.MS_SLAVE | mountoptions.MS_REC)
    shared, parent = (
        each for each in plan_program_root("shared", "/run", ROOT) if each.name == "propagation"
    )
    assert shared.arguments == ("/", mountoptions.MS_SHARED | mountoptions.MS_REC)
    assert parent.arguments == ("/run", mountoptions.MS_PRIVATE)


def test_network() -> None:
    """The launcher gets a socket of the namespace before it is asked to make links there."""
    plan = plan_network(42)
    assert names(plan.operations) == ["setns", "netlink_socket", "sync", "ready"]
    assert plan.slots[0].path == "/proc/42/ns/net"
