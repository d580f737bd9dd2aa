"""Time namespaces: clocks that are the container's own."""

from __future__ import annotations

import time

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.oci.runtime import IDMapping, TimeOffset
from tests.support.containers import Containers, namespaces
from tests.support.requires import requires

pytestmark = requires("root")

USUAL = ("mount", "uts", "ipc", "pid", "network", "cgroup")
DAY = 86400
ROUNDED_S = 0.02
"""/proc/uptime has hundredths, rounded down."""


def uptime(text: str) -> float:
    """Seconds since boot, as /proc/uptime has them."""
    return float(text.partition(" ")[0])


def since_boot() -> float:
    """The same of the host, exactly."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.parametrize("user", [False, True])
def test_offsets(containers: Containers, *, user: bool) -> None:
    """The boot clock is ahead by what was asked for, in a user namespace too; the wall clock is not."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),) if user else ()
    kinds = namespaces(*USUAL, "time", *(("user",) if user else ()))
    offsets = {"boottime": TimeOffset(secs=7 * DAY), "monotonic": TimeOffset(secs=DAY, nanosecs=5)}
    booted, now = since_boot(), time.time()
    said = containers.run(
        "cat /proc/uptime; date +%s; cat /proc/self/timens_offsets",
        namespaces=kinds,
        time_offsets=offsets,
        uid_mappings=maps,
        gid_mappings=maps,
    )
    assert booted - ROUNDED_S <= uptime(said.lines[0]) - 7 * DAY <= since_boot()
    assert int(now) - 1 <= int(said.lines[1]) <= time.time()  # date(1) may read the last tick
    assert [line.split() for line in said.lines[2:]] == [
        ["monotonic", str(DAY), "5"],
        ["boottime", str(7 * DAY), "0"],
    ]


def test_negative_offsets(containers: Containers) -> None:
    """A clock may be behind the host's."""
    offsets = {"boottime": TimeOffset(secs=-1)}
    said = containers.run(
        "cat /proc/self/timens_offsets", namespaces=namespaces(*USUAL, "time"), time_offsets=offsets
    )
    assert said.lines[1].split() == ["boottime", "-1", "0"]


def test_without_offsets(containers: Containers) -> None:
    """A new namespace without offsets has the host's clocks."""
    booted = since_boot()
    said = containers.run("cat /proc/uptime", namespaces=namespaces(*USUAL, "time"))
    assert booted - ROUNDED_S <= uptime(said.output) <= since_boot()


def test_exec_has_the_containers_clocks(containers: Containers) -> None:
    """A further process is in the time namespace too."""
    container = containers.running(
        namespaces=namespaces(*USUAL, "time"), time_offsets={"boottime": TimeOffset(secs=9 * DAY)}
    )
    said = containers.exec(container, "cat /proc/uptime")
    assert uptime(said.output) > 9 * DAY


def test_offsets_need_a_namespace(containers: Containers) -> None:
    """They are refused without one, and with a joined one."""
    with pytest.raises(InvalidInput, match="time_offsets"):
        containers.create("true", time_offsets={"boottime": TimeOffset(secs=1)})


@pytest.mark.parametrize(
    "offsets", [{"realtime": TimeOffset(secs=1)}, {"boottime": TimeOffset(nanosecs=1_000_000_000)}]
)
def test_offsets_that_cannot_be(containers: Containers, offsets: dict[str, TimeOffset]) -> None:
    """A clock that has none, a nanosecond too many."""
    with pytest.raises(InvalidInput, match="time_offsets"):
        containers.create("true", namespaces=namespaces(*USUAL, "time"), time_offsets=offsets)


def test_an_offset_that_the_kernel_refuses(containers: Containers) -> None:
    """A clock cannot begin before zero: the error says what could not be written."""
    offsets = {"boottime": TimeOffset(secs=-(1 << 40))}
    with pytest.raises(OperationFailed, match="timens_offsets"):
        containers.create("true", namespaces=namespaces(*USUAL, "time"), time_offsets=offsets)
