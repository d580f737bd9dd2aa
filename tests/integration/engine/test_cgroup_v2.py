"""What an engine's containers are on cgroup v2: the kernel's own files say it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import UpdateConfig
from pierhead.errors import InvalidInput
from pierhead.linux.cgroupfs import discover
from tests.support.engines import Engines, create, outcome, run, start, state_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox", "cgroup-v2", "memory-controller", "pids-controller")
FOREVER = ("sleep", "1000")
MIB = 1 << 20
SCRIPT = "while :; do :; done"


async def cgroup_of(engine: Engine, container: str) -> Path:
    """The directory of the container's cgroup, by its first process."""
    pid = (await state_of(engine, container))["Pid"]
    [line] = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return Path(discover().trees[0].mountpoint + line.removeprefix("0::"))


def files(directory: Path, *names: str) -> dict[str, str]:
    """What stands in them."""
    return {name: (directory / name).read_text().strip() for name in names}


async def sample(engine: Engine, container: str) -> dict[str, Any]:
    """The figures of a container, once."""
    documents = await engine.container_stats(container, stream=False, one_shot=False)
    return await anext(documents)


def test_limits_stand_in_the_kernels_files(engines: Engines) -> None:
    """Memory, swap on top of it, reservation, processor time, processes: as asked for, and so inspected."""
    wanted = {
        "memory": 64 * MIB,
        "memory_swap": 96 * MIB,
        "memory_reservation": 32 * MIB,
        "nano_cpus": 500_000_000,
        "cpu_shares": 1024,
        "pids_limit": 50,
    }

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, **wanted)
        found = files(
            await cgroup_of(engine, made),
            "memory.max",
            "memory.swap.max",
            "memory.low",
            "cpu.max",
            "pids.max",
        )
        assert found == {
            "memory.max": str(64 * MIB),
            "memory.swap.max": str(32 * MIB),
            "memory.low": str(32 * MIB),
            "cpu.max": "50000 100000",
            "pids.max": "50",
        }
        host = (await engine.inspect_container(made, size=False))["HostConfig"]
        assert (host["Memory"], host["MemorySwap"]) == (64 * MIB, 96 * MIB)
        assert (host["MemoryReservation"], host["NanoCpus"]) == (32 * MIB, 500_000_000)
        assert (host["CpuShares"], host["PidsLimit"]) == (1024, 50)

    engines.run(work)


def test_memory_alone_gets_as_much_swap(engines: Engines) -> None:
    """As Docker gives it; an update changes both, and what cannot be is refused and changes nothing."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, memory=32 * MIB)
        directory = await cgroup_of(engine, made)
        names = ("memory.max", "memory.swap.max")
        assert files(directory, *names) == dict.fromkeys(names, str(32 * MIB))
        update = UpdateConfig(memory=48 * MIB, memory_swap=-1, cpu_quota=20000, pids_limit=20)
        await engine.update_container(made, update)
        assert files(directory, *names, "cpu.max", "pids.max") == {
            "memory.max": str(48 * MIB),
            "memory.swap.max": "max",
            "cpu.max": "20000 100000",
            "pids.max": "20",
        }
        with pytest.raises(InvalidInput, match="Minimum memory limit allowed is 6MB"):
            await engine.update_container(made, UpdateConfig(memory=MIB))
        assert files(directory, "memory.max") == {"memory.max": str(48 * MIB)}

    engines.run(work)


def test_what_is_not_on_v2_is_warned_of(engines: Engines) -> None:
    """Swappiness and the switch of the OOM killer are v1's: left out, with Docker's sentences."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "true", memory=32 * MIB, memory_swappiness=50, oom_kill_disable=True)
        warnings = engine.roster.get(made).warnings
        assert any("memory swappiness" in each for each in warnings), warnings
        assert "Your kernel does not support OomKillDisable. OomKillDisable discarded." in warnings
        host = (await engine.inspect_container(made, size=False))["HostConfig"]
        assert not host["OomKillDisable"]
        info = await engine.info()
        assert (info["CgroupVersion"], info["CgroupDriver"]) == ("2", "cgroupfs")
        assert "name=cgroupns" in info["SecurityOptions"]
        assert (info["MemoryLimit"], info["SwapLimit"], info["PidsLimit"]) == (True, True, True)
        assert not info["OomKillDisable"]
        assert not any("memory" in each or "swap" in each for each in info["Warnings"] or ())

    engines.run(work)


def test_figures(engines: Engines) -> None:
    """What clients compute their shares from: processor time against the machine's, memory and its limit,
    processes and theirs.
    """

    async def work(engine: Engine) -> None:
        made = await start(engine, "sh", "-c", f"sleep 1000 & {SCRIPT}", memory=64 * MIB, pids_limit=50)
        found = await sample(engine, made)
        cpu, before = found["cpu_stats"], found["precpu_stats"]
        used = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
        whole = cpu["system_cpu_usage"] - before["system_cpu_usage"]
        share = used / whole * cpu["online_cpus"]
        assert 0.01 < share < 1.3, found  # of what others leave to it
        assert "percpu_usage" not in cpu["cpu_usage"]
        assert cpu["cpu_usage"]["usage_in_usermode"] > 0
        memory = found["memory_stats"]
        assert memory["limit"] == 64 * MIB
        assert 0 < memory["usage"] < 64 * MIB
        assert {"anon", "file", "inactive_file", "pgfault"} <= memory["stats"].keys()
        assert found["pids_stats"] == {"current": 2, "limit": 50}
        assert found["blkio_stats"].keys() >= {"io_service_bytes_recursive", "io_serviced_recursive"}

    engines.run(work)


def test_out_of_memory(engines: Engines) -> None:
    """The kernel kills it, and so it is told: state, event, figures."""

    async def work(engine: Engine) -> None:
        hog = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null & wait $!; sleep 1000"
        survivor = await start(engine, "sh", "-c", hog, memory=16 * MIB, memory_swap=16 * MIB)
        directory = await cgroup_of(engine, survivor)
        while "oom_kill 0" in (directory / "memory.events").read_text():
            time.sleep(0.02)
        found = await sample(engine, survivor)
        assert f"oom {found['memory_stats']['failcnt']}\n" in (directory / "memory.events").read_text()
        made = await start(engine, "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", memory=16 * MIB)
        assert await outcome(engine, made) == 137
        assert (await state_of(engine, made))["OOMKilled"]
        events = engine.events(since_ns=1, until_ns=time.time_ns(), filters={"container": [made]})
        assert [event.action async for event in events] == ["create", "start", "oom", "die"]

    engines.run(work)


def test_cgroup_namespaces(engines: Engines) -> None:
    """Its own by itself: the container sees a root and cannot write; with ``host`` it sees where it is."""

    async def work(engine: Engine) -> None:
        write = "mkdir /sys/fs/cgroup/x && echo made; rmdir /sys/fs/cgroup/x"
        look = ("sh", "-c", f"cat /proc/self/cgroup; {write}")
        code, output = await run(engine, *look)
        assert output["stdout"].splitlines() == ["0::/"], code
        _, output = await run(engine, *look, privileged=True)
        assert output["stdout"].splitlines() == ["0::/", "made"]
        _, output = await run(engine, *look[:2], "cat /proc/self/cgroup", cgroupns_mode="host")
        parent = engines.settings.cgroup_parent
        [path] = output["stdout"].splitlines()
        assert path.startswith(f"0::{parent}/")
        inner = await start(engine, *FOREVER, cgroup_parent=f"{parent}/inner")
        assert (await cgroup_of(engine, inner)).name == inner
        assert (await cgroup_of(engine, inner)).parent.name == "inner"
        await engine.remove_container(inner, force=True, volumes=False)

    engines.run(work)


def test_devices(engines: Engines) -> None:
    """Their rules are a program of eBPF: what nobody allowed is refused, a rule allows it, privilege all."""

    async def work(engine: Engine) -> None:
        look = ("sh", "-c", "mknod /n c 10 200; mknod /z c 1 5; head -c 1 /z | wc -c; exec 3</n || exit 9")
        code, output = await run(engine, *look)
        assert (code, output["stdout"]) == (1, "1\n"), output
        assert "not permitted" in output["stderr"]
        for wanted in ({"device_cgroup_rules": ("c 10:200 rwm",)}, {"privileged": True}):
            _, output = await run(engine, *look, **wanted)
            assert output["stdout"] == "1\n", output
            assert "not permitted" not in output.get("stderr", ""), output

    engines.run(work)


def test_pause_freezes(engines: Engines) -> None:
    """None of its processes runs; it is killed all the same, and what paused it is nowhere any more."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "sh", "-c", SCRIPT)
        directory = await cgroup_of(engine, made)
        await engine.pause_container(made)
        assert "frozen 1" in (directory / "cgroup.events").read_text()
        used = files(directory, "cpu.stat")
        time.sleep(0.2)
        assert files(directory, "cpu.stat") == used
        await engine.kill_container(made, signal="KILL")
        assert await outcome(engine, made) == 137
        while directory.exists():
            await asyncio.sleep(0.02)

    engines.run(work)
