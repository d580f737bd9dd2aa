"""Engines that are killed, and what those find that come after them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import Empty, ExecConfig, RestartPolicy
from pierhead.engine.happenings import container_event
from pierhead.engine.launching import Launcher
from pierhead.engine.planning import Place
from pierhead.errors import Conflict
from pierhead.runtime import list_ids, load
from pierhead.runtime.cgroups import load_cgroups
from tests.support.another_engine import another_engine
from tests.support.containers import wait_until
from tests.support.engines import OUTPUT, Engines, create, outcome, read_all, run, start, state_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine
    from pierhead.engine.record import Record

pytestmark = requires("root", "busybox")
FOREVER = ("sleep", "1000")


async def actions(engine: Engine, reference: str) -> list[str]:
    """What the journal tells of a container."""
    now_ns = time.time_ns()
    events = engine.events(since_ns=1, until_ns=now_ns, filters={"container": [reference]})
    return [event.action async for event in events]


def test_containers_go_on(engines: Engines) -> None:
    """A container outlives its engine; the next one sees it run, with its output, and its end."""
    script = "await start(engine, 'sh', '-c', 'read x; echo got $x; exit 6', name='web', open_stdin=True)"
    with another_engine(engines, script) as process:
        process.send_signal(signal.SIGKILL)

    async def work(engine: Engine) -> None:
        assert (await state_of(engine, "web"))["Running"]
        attachment = await engine.attach_container("web", OUTPUT.replace(stdin=True))
        await attachment.write(b"it\n")
        assert await read_all(attachment) == {"stdout": "got it\n"}
        assert await outcome(engine, "web") == 6
        assert await actions(engine, "web") == ["create", "start", "attach", "die"]

    engines.run(work)


def test_ends_that_nobody_saw(engines: Engines) -> None:
    """What ended while no engine was there has ended, with its code and the time of its end."""
    script = "await start(engine, 'sh', '-c', 'until [ -e /go ]; do sleep 0.05; done; exit 7', name='web')"
    with another_engine(engines, script):
        pass
    runtime = Path(engines.settings.exec_root, "runtime")
    begun_s = time.time()
    Path(f"/proc/{_init_pid(runtime)}/root/go").touch()
    while not list(runtime.glob("*/exit.json")):
        time.sleep(0.05)
    ended_s = time.time()
    time.sleep(0.3)

    async def work(engine: Engine) -> None:
        await outcome(engine, "web")
        record = engine.roster.get("web")
        assert (record.state.status, record.state.exit_code) == ("exited", 7)
        assert begun_s <= record.state.finished_ns / 1e9 <= ended_s
        assert await actions(engine, "web") == ["create", "start", "die"]

    engines.run(work)


def _init_pid(runtime: Path) -> int:
    """Of the only container that there is."""
    (record,) = runtime.glob("*/state.json")
    return int(json.loads(record.read_text())["init_pid"])


def test_policies_when_an_engine_begins(engines: Engines) -> None:
    """``always`` starts also what was stopped, ``unless-stopped`` only what was not, others nothing."""
    script = """
for name in ("always", "unless-stopped", "no"):
    policy = RestartPolicy(name=name)
    await start(engine, "sleep", "1000", name=name, restart_policy=policy)
    await engine.stop_container(name, timeout_s=0, signal="")
await start(engine, "sleep", "1000", name="cut", restart_policy=RestartPolicy(name="unless-stopped"))
"""
    with another_engine(engines, script.strip()):
        pass
    cut = _pid_of(engines, "cut")
    os.kill(cut, signal.SIGKILL)

    async def work(engine: Engine) -> None:
        for name in ("always", "cut"):
            while not (await state_of(engine, name))["Running"]:
                await asyncio.sleep(0.01)
        for name in ("unless-stopped", "no"):
            assert (await state_of(engine, name))["Status"] == "exited"

    engines.run(work)


def _pid_of(engines: Engines, name: str) -> int:
    found: list[int] = []

    async def work(engine: Engine) -> None:
        found.append(engine.roster.get(name).state.pid)

    engines.run(work, keep=True)
    return found[0]


def test_one_engine_at_a_time(engines: Engines) -> None:
    """A second one does not work in the same directories."""

    async def work(_: Engine) -> None:
        with pytest.raises(Conflict, match="another engine works"):
            async with type(_)(engines.settings):
                pass

    engines.run(work)


def test_the_lock_of_one_that_was_killed(engines: Engines) -> None:
    """A process that it was just starting has the lock until it executes its program: that is waited for."""
    os.makedirs(engines.settings.exec_root)
    fd = os.open(f"{engines.settings.exec_root}/engine.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)

    def end() -> None:
        """When the engine has come to the lock, and some time later."""
        wait_until(
            "somebody wants the lock", lambda: _opened(f"{engines.settings.exec_root}/engine.lock") > 1
        )
        time.sleep(0.1)
        os.close(fd)

    ending = threading.Thread(target=end)
    ending.start()

    async def work(engine: Engine) -> None:
        assert not engine.roster.all()

    engines.run(work)
    ending.join()


def _opened(path: str) -> int:
    """How often this process has the file open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += os.readlink(f"/proc/self/fd/{name}") == path
    return count


def test_what_was_left_half_way(engines: Engines) -> None:
    """A removal that was begun is finished, files of what never came to be are gone, a start that was not
    noted is noted.
    """

    async def prepare(engine: Engine) -> None:
        doomed = engine.roster.get(await create(engine, "true", name="doomed"))
        engine.roster.put(doomed.replace(state=doomed.state.replace(status="removing")))
        engine.images.snapshotter.prepare("container-" + "a" * 64)
        Path(engine.paths.container("a" * 64)).mkdir()
        started = engine.roster.get(await start(engine, *FOREVER, name="started"))
        event = container_event(started, "rewound", engine.roster.now_ns())
        engine.roster.put(started.replace(state=started.state.replace(status="created", pid=0)), event)

    engines.run(prepare, keep=True)

    async def work(engine: Engine) -> None:
        assert [record.name for record in engine.roster.all()] == ["started"]
        keys = [each.name for each in engine.images.snapshotter.walk() if each.kind != "committed"]
        assert keys == [engine.roster.get("started").root]
        assert not Path(engine.paths.container("a" * 64)).exists()
        assert (await state_of(engine, "started"))["Running"]
        assert (await actions(engine, "started"))[-2:] == ["rewound", "start"]

    engines.run(work)


def test_an_end_that_was_noted(engines: Engines) -> None:
    """What an engine had noted, and not cleaned up after when it was killed, is not told again; one that
    was to be removed at its end is.
    """

    async def prepare(engine: Engine) -> None:
        for name in ("kept", "passing"):
            made = await start(engine, *FOREVER, name=name, ipc_mode="shareable", volumes={"/v": Empty()})
            record = engine.roster.get(made)
            os.kill(record.state.pid, signal.SIGKILL)
            assert await outcome(engine, made) == 137
            async with engine.roster.lock(made):  # free when it has been cleaned up after
                ended = engine.roster.get(made)
            state = ended.state.replace(finished_ns=ended.state.finished_ns + 10**10)
            host = ended.host.replace(auto_remove=name == "passing")
            engine.roster.put(ended.replace(state=state, host=host, ports={"80/tcp": ()}))
            again = await engine.jobs.thread(_run_unnoted, engine, ended)
            assert again

    engines.run(prepare, keep=True)

    async def work(engine: Engine) -> None:
        assert [record.name for record in engine.roster.all()] == ["kept"]
        assert not os.listdir(engine.paths.runtime_root)
        assert not engine.roster.get("kept").ports
        assert await actions(engine, "kept") == ["create", "start", "die"]
        assert len((await engine.list_volumes({}))["Volumes"]) == 1

    engines.run(work)


def _run_unnoted(engine: Engine, record: Record) -> str:
    """A run of the container of which the engine says nothing."""
    place = Place()
    launcher = Launcher(engine.paths, engine.planner)
    with launcher.launch(record.replace(mounts=()), place, gated=False) as container:
        container.kill(signal.SIGKILL)
        container.wait()
        return str(container.id)


def test_a_launch_that_is_being_undone(engines: Engines) -> None:
    """Whose launcher was killed: the helper undoes that, and meanwhile has the directory's lock.  The next
    launch waits for it.
    """

    async def work(engine: Engine) -> None:
        made = await create(engine, "true", name="web")
        directory = Path(engine.paths.runtime_root, made)
        directory.mkdir(parents=True)
        fd = os.open(directory, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(engine.start_container(made))
            await asyncio.wait((starting,), timeout=0.3)
            assert not starting.done()
            os.close(fd)
        assert await outcome(engine, made) == 0

    engines.run(work)


def test_a_run_that_is_being_undone(engines: Engines) -> None:
    """Whose engine was killed when the run had been recorded and not committed: it counts as none, however
    late the helper removes it.
    """
    made: list[Record] = []

    async def prepare(engine: Engine) -> None:
        made.append(engine.roster.get(await create(engine, *FOREVER, name="web")))
        launcher = Launcher(engine.paths, engine.planner)
        await engine.places.take(made[0])
        launcher.launch(made[0], Place(), gated=False).close()

    engines.run(prepare, keep=True)
    directory = Path(engines.settings.exec_root, "runtime", made[0].id)
    fd = os.open(directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)

    def undo() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, fd)
            container = stack.enter_context(load(directory.parent, made[0].id))
            container.kill(signal.SIGKILL)
            container.wait(60)
            load_cgroups(container.state.cgroup).remove()
            shutil.rmtree(directory)

    undoing = threading.Timer(0.5, undo)
    undoing.start()

    async def work(engine: Engine) -> None:
        assert (await state_of(engine, "web"))["Status"] == "created"
        assert await actions(engine, "web") == ["create"]

    engines.run(work)
    undoing.join()


def test_a_retry_goes_on_to_count(engines: Engines) -> None:
    """A container that waited for its next start is started as often as its policy says, not anew."""

    async def prepare(engine: Engine) -> None:
        policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
        made = engine.roster.get(await create(engine, "false", name="web", restart_policy=policy))
        state = made.state.replace(status="restarting", exit_code=1, started_ns=1, finished_ns=2)
        engine.roster.put(made.replace(state=state, restart_count=1))

    engines.run(prepare, keep=True)

    async def work(engine: Engine) -> None:
        while (await state_of(engine, "web"))["Status"] != "exited":
            await asyncio.sleep(0.01)
        assert engine.roster.get("web").restart_count == 2
        assert await actions(engine, "web") == ["create", "start", "die"]

    engines.run(work)


def test_killed_at_any_moment(engines: Engines) -> None:
    """Under load, again and again, after ever more answers: no container, exit code or event is lost."""
    script = """
async def one(number):
    made = await create(engine, "sh", "-c", f"sleep 0.0{number}; exit {number}", name=f"c{number}-{0}")
    print("created", made, flush=True)
    await engine.start_container(made)
    print("started", made, flush=True)
print("ready", flush=True)
async with asyncio.TaskGroup() as group:
    for number in range(1, 9):
        group.create_task(one(number))
"""
    answers: list[str] = []
    for turn in range(5):
        with another_engine(engines, script.strip().replace("{0}", str(turn))) as process:
            assert process.stdout is not None
            answers += [process.stdout.readline() for _ in range(3 * turn + 2)]  # of sixteen
            process.kill()
            answers += process.stdout.readlines()
    answered = {verb: {each[8:-1] for each in answers if each[:7] == verb} for verb in ("created", "started")}

    async def work(engine: Engine) -> None:
        records = {record.id: record for record in engine.roster.all()}
        assert answered["created"] <= records.keys()
        assert answered["started"]
        assert all(records[each].state.started_ns for each in answered["started"])
        for record in records.values():
            code = await outcome(engine, record.id)
            told = await actions(engine, record.id)
            if record.state.started_ns:
                assert code == int(record.name[1])
                assert told == ["create", "start", "die"]
            else:
                assert told == ["create"]

    engines.run(work)


def test_further_processes_of_a_killed_engine(engines: Engines) -> None:
    """One has ended before, one while nobody was there, one ends later: each has its code, told once."""
    script = """from pierhead.engine.documents import ExecConfig
await start(engine, 'sh', '-c', 'mkfifo /first /second; exec sleep 1000', name='web')
ids = []
for words in ('exit 3', 'read x < /first; exit 4', 'read x < /second; exit 5'):
    wanted = ExecConfig(cmd=('sh', '-c', 'while [ ! -e /second ]; do :; done; ' + words))
    ids.append((await engine.create_exec('web', wanted))['Id'])
    await engine.start_exec(ids[-1], detach=True, console_size=())
while (await engine.inspect_exec(ids[0]))['ExitCode'] is None:
    await asyncio.sleep(0.02)
open(engine.settings.data_root + '/ids', 'w').write(' '.join(ids))"""
    with another_engine(engines, script) as process:
        process.kill()
        process.wait()
        runtime = Path(engines.settings.exec_root, "runtime")
        Path(f"/proc/{_init_pid(runtime)}/root/first").write_text("x\n")
        while len(list(runtime.glob("*/exec-*.json"))) < 1:
            time.sleep(0.02)

    async def work(engine: Engine) -> None:
        ids = Path(engines.settings.data_root, "ids").read_text().split()
        assert (await engine.inspect_exec(ids[0]))["ExitCode"] == 3
        assert (await engine.inspect_container("web", size=False))["ExecIDs"] == [ids[2]]
        wanted = ExecConfig(cmd=("sh", "-c", "echo > /second"))
        assert (await engine.execs.run("web", wanted, timeout_s=20))[0] == 0
        for each in ids[1:]:
            while (await engine.inspect_exec(each))["ExitCode"] is None:
                await asyncio.sleep(0.02)
        assert [(await engine.inspect_exec(each))["ExitCode"] for each in ids] == [3, 4, 5]
        done = [each for each in await actions(engine, "web") if each == "exec_die"]
        assert len(done) == len(ids) + 1

    engines.run(work)


def _reboot(engines: Engines) -> None:
    """All processes are gone, and so is what lies in memory: mounts, the exec root, cgroups."""
    exec_root = engines.settings.exec_root
    runtime_root = f"{exec_root}/runtime"
    for container_id in list_ids(runtime_root):
        with load(runtime_root, container_id) as container:
            with contextlib.suppress(ProcessLookupError):  # one that the engine was cleaning up after
                os.kill(container.state.monitor_pid, signal.SIGKILL)
            container.delete(force=True)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if (place := line.split()[4]).startswith(f"{exec_root}/"):
            subprocess.run(("umount", "-l", place), check=True)
    shutil.rmtree(exec_root)


def test_after_a_reboot(engines: Engines) -> None:
    """What ran has ended, nobody knows how: 255, as Docker has it. Policies start what they start, ``--rm``
    removes, and what had been stopped before is as it was.
    """
    script = """
from pierhead.engine.documents import Empty
for name in ("always", "unless-stopped", "no"):
    policy = RestartPolicy(name=name)
    await start(engine, "sleep", "1000", name=name, restart_policy=policy, ipc_mode="shareable")
policy = RestartPolicy(name="unless-stopped")
stopped = await start(engine, "sleep", "1000", name="stopped", restart_policy=policy)
await engine.stop_container(stopped, timeout_s=0, signal="")
await start(engine, "sleep", "1000", name="passing", auto_remove=True, volumes={"/v": Empty()})
await create(engine, "true", name="created", restart_policy=RestartPolicy(name="always"))
"""
    with another_engine(engines, script.strip()):
        pass
    _reboot(engines)

    async def work(engine: Engine) -> None:
        for name in ("always", "unless-stopped"):
            while (await state_of(engine, name))["Status"] != "running":
                await asyncio.sleep(0.01)
            told = await actions(engine, name)
            assert told == ["create", "start", "die", "start"]
        states = {record.name: record.state for record in engine.roster.all()}
        assert states.keys() == {"always", "unless-stopped", "no", "stopped", "created"}
        assert (states["no"].status, states["no"].exit_code) == ("exited", 255)
        assert (states["stopped"].status, states["stopped"].exit_code) == ("exited", 137)
        assert (states["created"].status, states["created"].started_ns) == ("created", 0)
        assert not (await engine.list_volumes({}))["Volumes"]
        code, output = await run(engine, "echo", "well")
        assert (code, output) == (0, {"stdout": "well\n"})

    engines.run(work)
