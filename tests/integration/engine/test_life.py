"""What containers go through: stops, kills, pauses, restarts, removal, and what clients are told of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.engine import restart
from pierhead.engine.documents import RestartPolicy, UpdateConfig
from pierhead.errors import Conflict, InvalidInput, NotFound, NotModified, PierheadError
from tests.support.engines import Engines, create, outcome, start, state_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox")
FOREVER = ("sleep", "1000")
OBEDIENT = ("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")


async def listening(engine: Engine, reference: str) -> None:
    """The shell of ``OBEDIENT`` has set its trap: it has started a child."""
    while len((await engine.container_top(reference, "-eo pid"))["Processes"]) < 2:
        await asyncio.sleep(0.01)


def test_stop_asks_and_then_kills(engines: Engines) -> None:
    """What obeys ends by itself; what does not is killed in time; a second stop changes nothing."""

    async def work(engine: Engine) -> None:
        obedient = await start(engine, *OBEDIENT)
        await listening(engine, obedient)
        await engine.stop_container(obedient, timeout_s=None, signal="")
        assert (await state_of(engine, obedient))["ExitCode"] == 3
        deaf = await start(engine, *FOREVER)
        await engine.stop_container(deaf, timeout_s=0, signal="")
        state = await state_of(engine, deaf)
        assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 137, 0)
        with pytest.raises(NotModified):
            await engine.stop_container(deaf, timeout_s=0, signal="")

    engines.run(work)


def test_stop_of_one_does_not_hold_up_others(engines: Engines) -> None:
    """While one takes its time to stop, it is listed, looked at, and killed by somebody else."""

    async def work(engine: Engine) -> None:
        deaf = await start(engine, "sh", "-c", "trap 'touch /asked' TERM; while :; do sleep 0.05; done")
        await listening(engine, deaf)
        asked = Path(f"/proc/{(await state_of(engine, deaf))['Pid']}/root/asked")
        async with asyncio.TaskGroup() as group:
            group.create_task(engine.stop_container(deaf, timeout_s=600, signal="TERM"))
            while not asked.exists():
                await asyncio.sleep(0.01)
            [listed] = await engine.list_containers(stopped=False, limit=0, size=False, filters={})
            assert listed["Id"] == deaf
            assert (await state_of(engine, deaf))["Running"]
            await engine.kill_container(deaf, signal="KILL")
        assert (await state_of(engine, deaf))["ExitCode"] == 137

    engines.run(work)


def test_kill(engines: Engines) -> None:
    """Any signal is sent, by its number or its name; not to what does not run."""

    async def work(engine: Engine) -> None:
        obedient = await start(engine, *OBEDIENT)
        await listening(engine, obedient)
        await engine.kill_container(obedient, signal="15")
        assert await outcome(engine, obedient) == 3
        with pytest.raises(Conflict, match="is not running"):
            await engine.kill_container(obedient, signal="KILL")
        with pytest.raises(InvalidInput):
            await engine.kill_container(obedient, signal="NOSUCH")

    engines.run(work)


def test_pause(engines: Engines) -> None:
    """One that is paused is neither paused again nor started, and can be stopped."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        await engine.pause_container(made)
        assert (await state_of(engine, made))["Paused"]
        with pytest.raises(Conflict, match="already paused"):
            await engine.pause_container(made)
        with pytest.raises(Conflict, match="unpause"):
            await engine.start_container(made)
        await engine.unpause_container(made)
        assert (await state_of(engine, made))["Status"] == "running"
        with pytest.raises(Conflict, match="not paused"):
            await engine.unpause_container(made)
        await engine.pause_container(made)
        await engine.stop_container(made, timeout_s=0, signal="")
        assert (await state_of(engine, made))["Status"] == "exited"

    engines.run(work)


def test_start_again_and_restart(engines: Engines) -> None:
    """One that has ended is started again with its files as it left them; restart does it in one go."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "sh", "-c", "echo x >> /runs; exec sleep 1000")
        runs = Path(engine.roots.mount(engine.roster.get(made).root).upper, "runs")

        async def has_run(times: int) -> None:
            while not runs.exists() or runs.read_text() != "x\n" * times:
                await asyncio.sleep(0.01)

        with pytest.raises(NotModified):
            await engine.start_container(made)
        await has_run(1)
        first = (await state_of(engine, made))["Pid"]
        await engine.restart_container(made, timeout_s=0, signal="")
        state = await state_of(engine, made)
        assert state["Running"]
        assert state["Pid"] != first
        await has_run(2)
        await engine.kill_container(made, signal="")
        await outcome(engine, made)
        await engine.start_container(made)
        await has_run(3)

    engines.run(work)


def test_remove(engines: Engines) -> None:
    """What runs is only removed by force; then nothing of it is there, and nobody knows it."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, name="web")
        with pytest.raises(Conflict, match="stop the container before removing or force remove"):
            await engine.remove_container("web", force=False, volumes=False)
        await engine.remove_container("web", force=True, volumes=False)
        with pytest.raises(NotFound, match="No such container: web"):
            await engine.inspect_container("web", size=False)
        assert not [each for each in engine.images.snapshotter.walk() if each.name.endswith(made)]

    engines.run(work)


def test_auto_remove(engines: Engines) -> None:
    """``--rm``: at its end it is removed, and who waits for that has its exit code."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "sh", "-c", "exit 4", auto_remove=True)
        async with asyncio.TaskGroup() as group:
            removed = group.create_task(outcome(engine, made, "removed"))
            await asyncio.sleep(0)
            await engine.start_container(made)
        assert removed.result() == 4
        assert not engine.roster.all()

    engines.run(work)


@pytest.mark.parametrize("auto_remove", [True, False])
def test_files_that_go_need_no_disk(engines: Engines, *, auto_remove: bool) -> None:
    """Those of a container that is removed at its end, and of no other; a restart finds them all."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, auto_remove=auto_remove)
        for again in (False, True):
            if again:
                await engine.restart_container(made, timeout_s=0, signal="")
            pid = (await state_of(engine, made))["Pid"]
            mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
            root = next(line for line in mounts if line.split()[1] == "/")
            assert ("volatile" in root) == auto_remove
            kept = Path(f"/proc/{pid}/root/kept")
            assert kept.exists() == again
            kept.touch()

    engines.run(work)


def test_removal_while_it_is_started_again(engines: Engines) -> None:
    """Whom the policy starts at this moment is removed by force all the same, and does not run on."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, restart_policy=RestartPolicy(name="always"))
        killed = {0}
        while not engine.supervisor.is_starting(made):  # if we looked too late, the next start will do
            pid = engine.roster.get(made).state.pid
            if pid not in killed:
                os.kill(pid, signal.SIGKILL)
            killed.add(pid)
            await asyncio.sleep(0.001)
        assert engine.roster.get(made).state.status == "restarting"
        await engine.remove_container(made, force=True, volumes=True)
        assert not engine.roster.all()

    engines.run(work)


def test_what_cannot_be_run(engines: Engines) -> None:
    """The error has the words by which clients know it, and the container has a shell's exit code for it."""

    async def work(engine: Engine) -> None:
        missing = await create(engine, "no-such-program")
        with pytest.raises(PierheadError, match="executable file not found"):
            await engine.start_container(missing)
        state = await state_of(engine, missing)
        assert (state["Status"], state["ExitCode"]) == ("created", 127)
        assert "no-such-program" in state["Error"]
        removed = await create(engine, "no-such-program", auto_remove=True)
        with pytest.raises(PierheadError, match="executable file not found"):
            await engine.start_container(removed)
        with pytest.raises(NotFound):
            await engine.inspect_container(removed, size=False)
        refused = await create(engine, "/etc/motd")
        with pytest.raises(PierheadError, match="permission denied"):
            await engine.start_container(refused)
        assert (await state_of(engine, refused))["ExitCode"] == 126

    engines.run(work)


def test_conditions_of_waits(engines: Engines) -> None:
    """``not-running`` is met by one never started; ``next-exit`` waits for an end; others are none."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "sh", "-c", "exit 5")
        assert await outcome(engine, made) == 0
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(outcome(engine, made, "next-exit"))
            await asyncio.sleep(0)
            await engine.start_container(made)
        assert ended.result() == 5
        with pytest.raises(InvalidInput, match="invalid condition"):
            await engine.wait_container(made, "never")

    engines.run(work)


def test_restart_on_failure(engines: Engines) -> None:
    """It is started as often as the policy says, and then it has ended."""

    async def work(engine: Engine) -> None:
        policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
        made = await start(engine, "sh", "-c", "echo x >> /runs; exit 9", restart_policy=policy)
        while (await state_of(engine, made))["Status"] != "exited":
            await asyncio.sleep(0.02)
        document = await engine.inspect_container(made, size=False)
        assert (document["RestartCount"], document["State"]["ExitCode"]) == (2, 9)
        path = engine.roots.mount(engine.roster.get(made).root).upper
        with open(f"{path}/runs") as file:
            assert file.read() == "x\n" * 3

    engines.run(work)


def test_restart_until_stopped(engines: Engines) -> None:
    """``always`` starts it again until somebody stops it, also while it waits for its next start."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "true", restart_policy=RestartPolicy(name="always"))
        while engine.roster.get(made).restart_count < 1:
            await asyncio.sleep(0.01)
        while (await state_of(engine, made))["Status"] != "restarting":
            await asyncio.sleep(0.001)
        await engine.stop_container(made, timeout_s=None, signal="")
        count = engine.roster.get(made).restart_count
        await asyncio.sleep(restart.next_delay_s(0, 0) * 2 ** (count + 1))  # longer than it would have waited
        assert (await state_of(engine, made))["Status"] == "exited"
        assert engine.roster.get(made).restart_count == count

    engines.run(work)


@requires("memory-controller")
def test_update(engines: Engines) -> None:
    """A container that runs gets other limits, and another policy."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, memory=64 << 20, memory_swap=64 << 20)
        update = UpdateConfig(
            memory=32 << 20, memory_swap=32 << 20, restart_policy=RestartPolicy(name="unless-stopped")
        )
        await engine.update_container(made, update)
        host = (await engine.inspect_container(made, size=False))["HostConfig"]
        assert host["Memory"] == 32 << 20
        figures = await anext(await engine.container_stats(made, stream=False, one_shot=True))
        assert figures["memory_stats"]["limit"] == 32 << 20
        assert host["RestartPolicy"]["Name"] == "unless-stopped"

    engines.run(work)


def test_what_cannot_be_started_goes_where_it_was_to_go_at_its_end(engines: Engines) -> None:
    """A container that removes itself does so when it could not begin; another stays, and says why."""

    async def work(engine: Engine) -> None:
        for auto_remove in (True, False):
            made = await create(engine, "no-such-program", auto_remove=auto_remove)
            with pytest.raises(PierheadError, match="executable file not found"):
                await engine.start_container(made)
            assert (engine.roster.find(made) is None) == auto_remove
        assert "executable file not found" in (await state_of(engine, made))["Error"]

    engines.run(work)


def test_an_unknown_network(engines: Engines) -> None:
    """Is said at the start, as Docker does."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "true", network_mode="backstage")
        with pytest.raises(NotFound, match="network backstage not found"):
            await engine.start_container(made)

    engines.run(work)
