"""Limits changed while a container runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import Conflict, InvalidInput, OperationFailed, PierheadError, Unsupported
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Cpu, DeviceRule, Memory, Pids, Resources
from pierhead.runtime import load
from pierhead.runtime.config import DEFAULT_RESOURCES
from tests.support.containers import Containers, status_of, wait_until
from tests.support.requires import requires

pytestmark = requires("root")

MIB = 1 << 20
V2 = discover().mode == "v2"


def value(container: Any, controller: str, legacy: str, unified: str) -> str:
    """The content of a control file of the container's cgroup."""
    tree = discover().find(controller)
    assert tree is not None
    directory = container.cgroup_paths["" if tree.version == 2 else controller]
    return Path(directory, unified if tree.version == 2 else legacy).read_text().strip()


@requires("memory-controller")
@pytest.mark.parametrize(("first", "then"), [(64, 128), (128, 64), (64, 64)])
def test_memory_up_and_down(containers: Containers, first: int, then: int) -> None:
    """A limit may grow and shrink, with swap, in whichever order the kernel wants it."""
    before = Resources(memory=Memory(limit=first * MIB, swap=first * MIB))
    container = containers.running(resources=before)
    container.update(Resources(memory=Memory(limit=then * MIB, swap=then * MIB)))
    assert value(container, "memory", "memory.limit_in_bytes", "memory.max") == str(then * MIB)


@requires("memory-controller")
def test_memory_without_limit(containers: Containers) -> None:
    """-1 takes a limit away."""
    container = containers.running(resources=Resources(memory=Memory(limit=64 * MIB)))
    container.update(Resources(memory=Memory(limit=-1)))
    assert (
        int(value(container, "memory", "memory.limit_in_bytes", "memory.max").replace("max", str(1 << 62)))
        >= 1 << 62
    )


@requires("memory-controller")
def test_memory_below_what_is_used(containers: Containers) -> None:
    """With check_before_update a limit below the usage is refused, and the old one stays."""
    container = containers.start(
        "x=$(head -c 32m /dev/zero | tr '\\0' x); sleep 1000",
        resources=Resources(memory=Memory(limit=512 * MIB)),
    )
    wait_until("it uses memory", lambda: container.stats().memory.usage.usage > 16 * MIB)
    with pytest.raises(PierheadError, match="memory"):
        container.update(Resources(memory=Memory(limit=MIB, check_before_update=True)))
    assert value(container, "memory", "memory.limit_in_bytes", "memory.max") == str(512 * MIB)
    assert status_of(container) == "running"


@requires("cpu-controller")
def test_processor(containers: Containers) -> None:
    """Quota, period and shares, one without the other."""
    container = containers.running(resources=Resources(cpu=Cpu(quota=20000, period=100000, shares=512)))
    container.update(Resources(cpu=Cpu(quota=40000)))
    if V2:
        assert value(container, "cpu", "", "cpu.max") == "40000 100000"
    else:
        assert value(container, "cpu", "cpu.cfs_quota_us", "") == "40000"
        assert value(container, "cpu", "cpu.cfs_period_us", "") == "100000"
        assert value(container, "cpu", "cpu.shares", "") == "512"


@requires("pids-controller")
def test_processes(containers: Containers) -> None:
    """The limit holds for what is started afterwards."""
    container = containers.running()
    container.update(Resources(pids=Pids(limit=3)))
    said = containers.exec(container, "for i in 1 2 3 4 5 6; do sleep 9 > /dev/null 2>&1 & done; echo all")
    assert "fork" in said.output
    container.update(Resources(pids=Pids(limit=-1)))
    assert value(container, "pids", "pids.max", "pids.max") == "max"


@requires("cpuset-controller")
def test_processors(containers: Containers) -> None:
    """Processes that run are moved."""
    container = containers.running()
    container.update(Resources(cpu=Cpu(cpus="0")))
    assert containers.exec(container, "grep Cpus_allowed_list /proc/self/status").words[1] == "0"


def test_devices(containers: Containers) -> None:
    """New rules hold at once; what every container needs stays."""
    container = containers.running(copy_on_write=True)
    script = "mknod /tmp/d c 1 12 2>/dev/null; (exec 3</tmp/d) 2>&1 | grep -c 'not permitted'; cat /dev/null"
    assert containers.exec(container, script).words == ["1"]
    container.update(Resources(devices=(DeviceRule(allow=True, type="c", major=1, minor=12, access="rwm"),)))
    assert containers.exec(container, script).words == ["0"]
    container.update(Resources(devices=(DeviceRule(allow=False, type="c", major=1, minor=12, access="rwm"),)))
    assert containers.exec(container, script).words == ["1"]
    container.update(Resources(devices=(DeviceRule(allow=True, access="rwm"),)))
    assert containers.exec(container, script).words == ["0"]
    container.update(Resources(devices=(DeviceRule(allow=False, access="rwm"),)))
    assert containers.exec(container, script).words == ["1"]


def test_it_is_remembered(containers: Containers) -> None:
    """The state file and later loads have the new limits beside the old ones."""
    container = containers.running(resources=Resources(memory=Memory(limit=64 * MIB), pids=Pids(limit=100)))
    container.update(Resources(memory=Memory(reservation=32 * MIB)))
    with load(containers.root, container.id) as again:
        assert again.config.resources.memory == Memory(limit=64 * MIB, reservation=32 * MIB)
        assert again.config.resources.pids == Pids(limit=100)
    text = json.loads(Path(containers.root, container.id, "state.json").read_text())
    assert text["config"]["resources"]["memory"] == {"limit": 64 * MIB, "reservation": 32 * MIB}


@pytest.mark.parametrize("state", ["created", "paused"])
def test_whatever_its_status(containers: Containers, state: str) -> None:
    """A container that waits or is paused can be changed; it stays as it is."""
    container = containers.create("sleep 1000") if state == "created" else containers.running()
    if state == "paused":
        container.pause()
    container.update(Resources(pids=Pids(limit=50)))
    assert value(container, "pids", "pids.max", "pids.max") == "50"
    assert status_of(container) == state


def test_a_stopped_container(containers: Containers) -> None:
    """There is nothing to limit."""
    container = containers.start("true")
    container.wait(60)
    with pytest.raises(Conflict, match="container not running"):
        container.update(Resources(pids=Pids(limit=50)))


@pytest.mark.parametrize(
    "limits",
    [
        Resources(cpu=Cpu(cpus="4000")),
        Resources(unified={"nothing.max": "1"}),
        Resources(cpu=Cpu(quota=1)),
    ],
)
def test_limits_that_the_kernel_refuses(containers: Containers, limits: Resources) -> None:
    """The error names the limit; what is remembered stays as it was."""
    container = containers.running(resources=Resources(pids=Pids(limit=77)))
    before = Path(containers.root, container.id, "state.json").read_text()
    with pytest.raises((OperationFailed, InvalidInput, Unsupported)):
        container.update(limits)
    assert Path(containers.root, container.id, "state.json").read_text() == before
    assert status_of(container) == "running"


@requires("cpu-controller", "pids-controller")
def test_an_update_is_whole_or_nothing(containers: Containers) -> None:
    """What was set before the kernel refused something is set back, also to what nobody had asked for."""
    container = containers.running(
        copy_on_write=True, resources=DEFAULT_RESOURCES.replace(pids=Pids(limit=77))
    )
    files = (("pids", "pids.max", "pids.max"), ("cpu", "cpu.shares", "cpu.weight"))
    before = [value(container, *each) for each in files]
    opened = "mknod /tmp/d c 1 12 2>/dev/null; (exec 3</tmp/d) 2>&1 | grep -c 'not permitted'; cat /dev/null"
    assert containers.exec(container, opened).words == ["1"]
    everything = (DeviceRule(allow=True, access="rwm"),)
    with pytest.raises(OperationFailed, match=r"quota|cpu\.max") as caught:
        container.update(Resources(devices=everything, pids=Pids(limit=9), cpu=Cpu(shares=333, quota=5)))
    assert not getattr(caught.value, "__notes__", [])
    assert [value(container, *each) for each in files] == before
    assert containers.exec(container, opened).words == ["1"]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Resources(cpu=Cpu(shares=-5)), r"^\$\.cpu\.shares: expected 0 to"),
        (Resources(memory=Memory().replace(limit="64M")), r"^\$\.memory\.limit: expected a whole number"),
        (Resources(memory=Memory(limit=-5)), r"^\$\.memory\.limit: expected bytes or -1"),
    ],
)
def test_limits_that_are_none(containers: Containers, limits: Resources, message: str) -> None:
    """They are refused before the kernel sees any."""
    container = containers.running()
    with pytest.raises(InvalidInput, match=message):
        container.update(limits)


def test_nothing(containers: Containers) -> None:
    """An update of nothing changes nothing."""
    container = containers.running(resources=Resources(pids=Pids(limit=77)))
    assert container.update(Resources()) == []
    assert value(container, "pids", "pids.max", "pids.max") == "77"


def test_updates_at_once(containers: Containers) -> None:
    """Threads that update different limits do not lose each other's."""
    container = containers.running()
    changes = [
        *(Resources(pids=Pids(limit=100 + number)) for number in range(5)),
        *(Resources(memory=Memory(limit=(64 + number) * MIB)) for number in range(5)),
    ]
    threads = [threading.Thread(target=container.update, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with load(containers.root, container.id) as again:
        found = again.config.resources
    assert found.pids is not None
    assert found.memory is not None
    assert value(container, "pids", "pids.max", "pids.max") == str(found.pids.limit)
    assert value(container, "memory", "memory.limit_in_bytes", "memory.max") == str(found.memory.limit)
