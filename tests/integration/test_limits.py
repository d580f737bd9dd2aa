"""Limits of a container: resource limits of its processes, and those that its cgroup keeps."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError, Unsupported
from pierhead.linux import process
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import BlockIO, Cpu, IDMapping, Memory, Pids, Resources, Rlimit, ThrottleDevice
from pierhead.runtime import factory, handshake
from tests.support.containers import Containers, cgroups_of_ours, namespaces, wait_until
from tests.support.requires import requires

pytestmark = requires("root")

MIB = 1 << 20
GREEDY = "dd if=/dev/zero of=/dev/null bs=64M count=1"
V2 = discover().mode == "v2"


def cgroup_value(container: Any, controller: str, legacy: str, unified: str) -> str:
    """The content of a control file of the container's cgroup."""
    tree = discover().find(controller)
    assert tree is not None
    if tree.version == 2:
        return Path(container.cgroup_paths[""], unified).read_text().strip()
    return Path(container.cgroup_paths[controller], legacy).read_text().strip()


# Resource limits of processes


@pytest.mark.parametrize(
    ("kind", "soft", "hard", "line"),
    [
        ("RLIMIT_NOFILE", 64, 128, "Max open files 64 128 files"),
        ("RLIMIT_CORE", 0, 0, "Max core file size 0 0 bytes"),
        ("RLIMIT_CPU", 5, 10, "Max cpu time 5 10 seconds"),
        ("RLIMIT_FSIZE", 1000, 2000, "Max file size 1000 2000 bytes"),
        ("RLIMIT_DATA", MIB * 64, MIB * 64, f"Max data size {MIB * 64} {MIB * 64} bytes"),
        ("RLIMIT_STACK", MIB, 2 * MIB, f"Max stack size {MIB} {2 * MIB} bytes"),
        ("RLIMIT_NPROC", 50, 60, "Max processes 50 60 processes"),
        ("RLIMIT_MEMLOCK", 0, 4096, "Max locked memory 0 4096 bytes"),
        ("RLIMIT_AS", MIB * 512, MIB * 512, f"Max address space {MIB * 512} {MIB * 512} bytes"),
        ("RLIMIT_LOCKS", 5, 6, "Max file locks 5 6 locks"),
        ("RLIMIT_SIGPENDING", 7, 8, "Max pending signals 7 8 signals"),
        ("RLIMIT_MSGQUEUE", 1000, 2000, "Max msgqueue size 1000 2000 bytes"),
        ("RLIMIT_NICE", 0, 0, "Max nice priority 0 0"),
        ("RLIMIT_RTPRIO", 0, 0, "Max realtime priority 0 0"),
        ("RLIMIT_RTTIME", 100, 200, "Max realtime timeout 100 200 us"),
        ("RLIMIT_RSS", 1000, 2000, "Max resident set 1000 2000 bytes"),
    ],
)
@pytest.mark.parametrize("user", [False, True])
def test_an_rlimit(containers: Containers, kind: str, soft: int, hard: int, line: str, *, user: bool) -> None:
    """Soft and hard limit are the kernel's, in a user namespace too."""
    options: dict[str, Any] = {}
    if user:
        maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
        kinds = namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user")
        options = {"namespaces": kinds, "uid_mappings": maps, "gid_mappings": maps}
    container = containers.running(rlimits=(Rlimit(type=kind, soft=soft, hard=hard),), **options)
    found = Path(f"/proc/{container.init_pid}/limits").read_text()
    assert line.split() in [each.split() for each in found.splitlines()]


def test_unlimited(containers: Containers) -> None:
    """The greatest number means none."""
    unlimited = (1 << 64) - 1
    container = containers.running(rlimits=(Rlimit(type="RLIMIT_CORE", soft=0, hard=unlimited),))
    found = Path(f"/proc/{container.init_pid}/limits").read_text()
    assert "Max core file size        0                    unlimited" in found


def test_rlimits_of_exec(containers: Containers) -> None:
    """The container's, or the process's own."""
    container = containers.running(rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=50, hard=60),))
    assert containers.exec(container, "ulimit -n; ulimit -Hn").words == ["50", "60"]
    own = (Rlimit(type="RLIMIT_NOFILE", soft=30, hard=40),)
    assert containers.exec(container, "ulimit -n; ulimit -Hn", rlimits=own).words == ["30", "40"]


@pytest.mark.parametrize(
    "limits",
    [
        (Rlimit(type="RLIMIT_NOTHING", soft=1, hard=1),),
        (Rlimit(type="RLIMIT_CORE", soft=2, hard=1),),
        (Rlimit(type="RLIMIT_CORE", soft=1, hard=1), Rlimit(type="RLIMIT_CORE", soft=2, hard=2)),
    ],
)
def test_rlimits_that_cannot_be(containers: Containers, limits: tuple[Rlimit, ...]) -> None:
    """An unknown one, a soft limit above the hard one, one that is named twice."""
    with pytest.raises(InvalidInput, match="rlimits"):
        containers.create("true", rlimits=limits)


@pytest.mark.skipif(
    (int(Path("/proc/self/status").read_text().split("CapBnd:\t")[1][:16], 16) >> 24) & 1 == 1,
    reason="needs a machine that withholds CAP_SYS_RESOURCE",
)
def test_an_rlimit_that_we_may_not_raise(containers: Containers) -> None:
    """Without CAP_SYS_RESOURCE the kernel refuses; the error has the limit's name, and nothing is left."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = Rlimit(type="RLIMIT_NOFILE", soft=hard + 1, hard=hard + 1)
    with pytest.raises(OperationFailed, match="RLIMIT_NOFILE"):
        containers.create("true", rlimits=(limit,))
    assert os.listdir(containers.root) == []


# Limits of the cgroup


@requires("memory-controller")
def test_a_memory_limit_holds(containers: Containers) -> None:
    """Who takes more is killed for it: by the kernel, and the exit tells."""
    limits = Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB))
    said = containers.run(f"{GREEDY}; echo $?", resources=limits)
    assert said.lines[-1] == "137"


@requires("memory-controller")
def test_the_exit_tells_of_a_lack_of_memory(containers: Containers) -> None:
    """``oom`` is True where the monitor saw the kernel kill for memory."""
    limits = Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB))
    container = containers.start(GREEDY, resources=limits, options={"supervise": True})
    status = container.wait(60)
    assert status.oom
    assert status.signal == 9 or status.code


@requires("memory-controller")
def test_a_lack_of_memory_before_anybody_watches(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed for memory before its launch is over has been seen all the same."""

    class Late(handshake.Handshake):
        def commit(self) -> None:
            assert process.wait_pidfd(self.init_pidfd, 60)
            super().commit()

    monkeypatch.setattr(factory, "Handshake", Late)
    limits = Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB))
    container = containers.start(GREEDY, resources=limits, options={"supervise": True})
    assert container.wait(60).oom


@requires("memory-controller")
def test_notices_of_a_lack_of_memory(containers: Containers) -> None:
    """``notify_oom`` gives an item when the kernel kills, and none before."""
    limits = Resources(memory=Memory(limit=16 * MIB, swap=16 * MIB))
    container = containers.running(resources=limits)
    with container.notify_oom() as events:
        said = containers.exec(container, GREEDY)
        assert said.status.signal == 9 or said.status.code
        assert next(iter(events))


@requires("pids-controller")
def test_a_limit_of_processes_holds(containers: Containers) -> None:
    """A fork too many fails inside, and the container lives."""
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 100 > /dev/null 2>&1 & done; echo all"
    container = containers.running(resources=Resources(pids=Pids(limit=5)))
    said = containers.exec(container, script)
    assert "fork" in said.output
    assert len(container.processes()) <= 5


@requires("cpu-controller")
def test_limits_of_the_processor(containers: Containers) -> None:
    """Quota, period and shares stand in the cgroup before the process runs."""
    cpu = Cpu(shares=512, quota=50000, period=100000)
    container = containers.create("true", resources=Resources(cpu=cpu))
    if V2:
        assert cgroup_value(container, "cpu", "", "cpu.max") == "50000 100000"
        assert 1 < int(cgroup_value(container, "cpu", "", "cpu.weight")) < 100
    else:
        assert cgroup_value(container, "cpu", "cpu.cfs_quota_us", "") == "50000"
        assert cgroup_value(container, "cpu", "cpu.shares", "") == "512"


@requires("cpuset-controller")
def test_processors_by_cpuset(containers: Containers) -> None:
    """The process may run there alone."""
    said = containers.run(
        "grep Cpus_allowed_list /proc/self/status", resources=Resources(cpu=Cpu(cpus="0", mems="0"))
    )
    assert said.words[1] == "0"


@requires("memory-controller")
def test_all_memory_limits(containers: Containers) -> None:
    """Limit, reservation, swap."""
    memory = Memory(limit=64 * MIB, reservation=32 * MIB, swap=64 * MIB)
    container = containers.create("true", resources=Resources(memory=memory))
    assert cgroup_value(container, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    low = cgroup_value(container, "memory", "memory.soft_limit_in_bytes", "memory.low")
    assert low == str(32 * MIB)
    swap = cgroup_value(container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    assert swap == ("0" if V2 else str(64 * MIB))  # v1 counts it with the memory


def test_stats_count(containers: Containers) -> None:
    """Processor, memory and processes are the kernel's numbers; they grow with use."""
    container = containers.start("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000")
    wait_until("it has used the processor", lambda: container.stats().cpu.total > 10_000_000)
    counted = container.stats()
    assert counted.memory.usage.usage

    assert counted.pids.current >= 1


def test_stats_of_what_has_stopped(containers: Containers) -> None:
    """There is nothing to count any more."""
    container = containers.start("true")
    container.wait(60)
    with pytest.raises(PierheadError, match="container not running"):
        container.stats()


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Resources(memory=Memory(limit=64 * MIB, swap=32 * MIB)), "memory"),
        (Resources(cpu=Cpu(cpus="zero")), "cpu"),
        (Resources(cpu=Cpu(cpus="4000", mems="0")), "cpu"),
        (Resources(unified={"nothing.max": "1"}), "unified|nothing"),
        (
            Resources(
                block_io=BlockIO(throttle_read_bps_device=(ThrottleDevice(major=4095, minor=1, rate=1000),))
            ),
            "blkio|io",
        ),
    ],
)
def test_limits_that_cannot_be(containers: Containers, limits: Resources, said: str) -> None:
    """One sentence names what is refused, and no cgroup is left."""
    with pytest.raises((InvalidInput, OperationFailed, Unsupported), match=said):
        containers.create("true", resources=limits)
    assert cgroups_of_ours() == []
