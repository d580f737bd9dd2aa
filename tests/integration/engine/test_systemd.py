"""Engines on a machine whose cgroups belong to systemd: each container is a unit."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import UpdateConfig
from pierhead.errors import InvalidInput
from tests.integration.engine.test_cgroup_v2 import MIB, cgroup_of, files, sample
from tests.support.engines import Engines, create, run, start, state_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox", "cgroup-v2", "systemd", "python:jeepney")
FOREVER = ("sleep", "1000")


def shown(unit: str, *names: str) -> dict[str, str]:
    """Properties of a unit, as systemctl shows them."""
    words = ["systemctl", "show", unit, f"--property={','.join(names)}"]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def units(engines: Engines) -> Engines:
    """Engines with systemd's driver."""
    engines.settings = engines.settings.replace(cgroup_manager="systemd")
    return engines


def test_a_container_is_a_scope(units: Engines) -> None:
    """Of its own name, in system.slice, with its limits as properties; gone with it."""

    async def work(engine: Engine) -> None:
        assert (await engine.info())["CgroupDriver"] == "systemd"
        made = await start(engine, *FOREVER, memory=64 * MIB, pids_limit=50, nano_cpus=500_000_000)
        unit = f"pierhead-{made}.scope"
        assert shown(unit, "Slice", "ActiveState", "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec") == {
            "Slice": "system.slice",
            "ActiveState": "active",
            "MemoryMax": str(64 * MIB),
            "TasksMax": "50",
            "CPUQuotaPerSecUSec": "500ms",
        }
        directory = await cgroup_of(engine, made)
        assert str(directory).endswith(f"/system.slice/{unit}")
        update = UpdateConfig(memory=48 * MIB, memory_swap=48 * MIB)
        await engine.update_container(made, update)
        subprocess.run(("systemctl", "daemon-reload"), check=True)
        assert shown(unit, "MemoryMax") == {"MemoryMax": str(48 * MIB)}
        assert files(directory, "memory.max", "pids.max") == {"memory.max": str(48 * MIB), "pids.max": "50"}
        found = await sample(engine, made)
        assert found["memory_stats"]["limit"] == 48 * MIB
        assert found["pids_stats"] == {"current": 1, "limit": 50}
        await engine.pause_container(made)
        assert (await state_of(engine, made))["Paused"]
        await engine.unpause_container(made)
        await engine.restart_container(made, timeout_s=0, signal="")
        assert shown(unit, "ActiveState") == {"ActiveState": "active"}
        await engine.remove_container(made, force=True, volumes=False)
        assert shown(unit, "ActiveState") == {"ActiveState": "inactive"}

    units.run(work)


def test_slices(units: Engines) -> None:
    """A container lies in the slice that it, or the engine, names; a path is none."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, cgroup_parent="pierhead-web.slice")
        place = "/pierhead.slice/pierhead-web.slice"
        assert str((await cgroup_of(engine, made)).parent).endswith(place)
        code, output = await run(engine, "cat", "/proc/self/cgroup", cgroup_parent="pierhead-web.slice")
        assert (code, output["stdout"]) == (0, "0::/\n")
        with pytest.raises(InvalidInput, match="should be a valid slice"):
            await create(engine, "true", cgroup_parent="/somewhere")

    async def of_the_engine(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        assert str((await cgroup_of(engine, made)).parent).endswith("/pierhead.slice/pierhead-all.slice")

    units.settings = units.settings.replace(cgroup_parent="")
    units.run(work)
    units.settings = units.settings.replace(cgroup_parent="pierhead-all.slice")
    units.run(of_the_engine)
    subprocess.run(("systemctl", "stop", "pierhead.slice"), check=True)
