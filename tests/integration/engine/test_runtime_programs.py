"""Containers that runc makes, through an engine: nobody who looks can tell, but by their names of errors."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ExecConfig, RestartPolicy, UpdateConfig
from pierhead.engine.settings import RuntimeProgram
from pierhead.errors import InvalidInput, OperationFailed, PierheadError, Unsupported
from tests.support.another_engine import another_engine
from tests.support.engines import ALL, OUTPUT, Engines, create, outcome, read_all, run, start, state_of
from tests.support.peers import find_program
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine
    from pierhead.engine.streams import Attachment

pytestmark = requires("root", "busybox", "runc")
FOREVER = ("sleep", "1000")


@pytest.fixture
def programs(engines: Engines) -> Engines:
    """Engines that know runc, and have it make what names no runtime."""
    runtimes = {
        "runc": RuntimeProgram(path=str(find_program("runc"))),
        "missing": RuntimeProgram(path="/no/such/program"),
        "false": RuntimeProgram(path="/bin/false"),
    }
    engines.settings = engines.settings.replace(runtimes=runtimes, default_runtime="runc")
    return engines


def bundles(engines: Engines) -> list[str]:
    """What there is in the directory of bundles."""
    home = f"{engines.settings.exec_root}/programs"
    return os.listdir(home) if os.path.isdir(home) else []


async def begin(engine: Engine, made: str, *words: str, **wanted: Any) -> tuple[str, Attachment]:
    """A further process runs."""
    config = ExecConfig(cmd=words, attach_stdin=True, attach_stdout=True, attach_stderr=True, **wanted)
    exec_id = (await engine.create_exec(made, config))["Id"]
    attachment = await engine.start_exec(exec_id, detach=False, console_size=())
    assert attachment is not None
    return exec_id, attachment


async def code_of(engine: Engine, exec_id: str) -> int:
    """The exit code of a further process that ends soon."""
    while (code := (await engine.inspect_exec(exec_id))["ExitCode"]) is None:
        await asyncio.sleep(0.005)
    return int(code)


def test_a_program_makes_it(programs: Engines) -> None:
    """Its streams, exit code and pid are the container's own; its parent is our monitor, and runc is gone."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "sh", "-c", "read x; echo got $x; echo e >&2; exit 6", open_stdin=True)
        attachment = await engine.attach_container(made, ALL)
        await engine.start_container(made)
        pid = (await state_of(engine, made))["Pid"]
        assert Path(f"/proc/{_parent(pid)}/comm").read_text() == "pier-init\n"
        state = f"{programs.settings.exec_root}/programs/{made}/state"
        listing = [find_program("runc"), "--root", state, "list", "-q"]
        listed = subprocess.run(listing, check=True, capture_output=True, text=True)
        assert listed.stdout.strip() == made
        assert f"{programs.settings.exec_root}" not in Path("/proc/self/mountinfo").read_text()
        await attachment.write(b"it\n")
        assert await read_all(attachment) == {"stdout": "got it\n", "stderr": "e\n"}
        assert await outcome(engine, made) == 6
        document = await engine.inspect_container(made, size=False)
        assert document["HostConfig"]["Runtime"] == "runc"
        await engine.remove_container(made, force=False, volumes=False)
        assert bundles(programs) == []

    programs.run(work)


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_terminal(programs: Engines) -> None:
    """The monitor keeps the terminal: what is typed arrives, and its size changes."""

    async def work(engine: Engine) -> None:
        script = 'stty size; until [ "$(stty size)" = "30 90" ]; do :; done; read x; echo got $x'
        made = await create(engine, "sh", "-c", script, tty=True, open_stdin=True, console_size=(20, 70))
        attachment = await engine.attach_container(made, ALL)
        await engine.start_container(made)
        said = b""
        async for _, piece in attachment.output():
            said += piece
            if said == b"20 70\r\n":
                await engine.resize_container(made, rows=30, columns=90)
                await attachment.write(b"it\n")
        await attachment.close()
        assert said.endswith(b"got it\r\n")
        assert await outcome(engine, made) == 0

    programs.run(work)


def test_exec(programs: Engines) -> None:
    """A further process has its streams or its terminal, its user and its exit code, and leaves nothing."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        exec_id, attachment = await begin(
            engine, made, "sh", "-c", "id -u; read x; echo $x; exit 5", user="7"
        )
        await attachment.write(b"typed\n")
        assert await read_all(attachment) == {"stdout": "7\ntyped\n"}
        assert await code_of(engine, exec_id) == 5
        exec_id, attachment = await begin(engine, made, "sh", "-c", "tty; kill -9 $$", tty=True)
        assert "/dev/pts/" in (await read_all(attachment))["stdout"]
        assert await code_of(engine, exec_id) == 137
        exec_id, attachment = await begin(engine, made, "no-such-program")
        assert "executable file not found" in (await read_all(attachment))["stderr"]
        assert await code_of(engine, exec_id) == 127
        assert not list(Path(programs.settings.exec_root, "programs", made).glob("exec-*"))

    programs.run(work)


def test_verbs(programs: Engines) -> None:
    """It is paused, counted, listed, updated and killed like any other."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, memory=64 << 20, memory_swap=64 << 20)
        await engine.pause_container(made)
        assert (await state_of(engine, made))["Status"] == "paused"
        await engine.unpause_container(made)
        figures = await anext(await engine.container_stats(made, stream=False, one_shot=True))
        assert figures["memory_stats"]["limit"] == 64 << 20
        rows: list[list[str]] = []
        while [row[1] for row in rows] != ["sleep 1000"]:  # runc has opened its gate, and may still be seen
            rows = (await engine.container_top(made, "-eo pid,args"))["Processes"]
        await engine.update_container(made, UpdateConfig(memory=32 << 20, memory_swap=32 << 20))
        figures = await anext(await engine.container_stats(made, stream=False, one_shot=True))
        assert figures["memory_stats"]["limit"] == 32 << 20
        await engine.kill_container(made, signal="KILL")
        assert await outcome(engine, made) == 137
        await engine.start_container(made)
        await engine.pause_container(made)
        await engine.stop_container(made, timeout_s=0, signal="")
        assert (await state_of(engine, made))["ExitCode"] == 137

    programs.run(work)


def test_lack_of_memory(programs: Engines) -> None:
    """The monitor learns why the kernel killed it."""

    async def work(engine: Engine) -> None:
        eat = "x=xxxxxxxx; while :; do x=$x$x; done"
        made = await start(engine, "sh", "-c", eat, memory=16 << 20, memory_swap=16 << 20)
        assert await outcome(engine, made) == 137
        assert (await state_of(engine, made))["OOMKilled"]

    programs.run(work)


def test_engine_is_killed(programs: Engines) -> None:
    """What runs goes on with its log and its streams; what ended has ended with its code, or runs again."""
    script = """
await start(engine, 'sh', '-c', 'read x; echo got $x; exit 6', name='web', open_stdin=True)
await start(engine, 'sh', '-c', 'sleep 1; exit 7', name='short')
await start(engine, 'sleep', '1000', name='again', restart_policy=RestartPolicy(name='always'))
"""
    with another_engine(programs, script.strip()) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    again: list[int] = []

    async def ends(engine: Engine) -> None:
        assert await outcome(engine, "short") == 7
        state = await state_of(engine, "again")
        again.append(state["Pid"])
        os.kill(state["Pid"], signal.SIGKILL)

    async def work(engine: Engine) -> None:
        attachment = await engine.attach_container("web", OUTPUT.replace(stdin=True))
        _, inside = await begin(engine, "web", "echo", "inside")
        assert await read_all(inside) == {"stdout": "inside\n"}
        await attachment.write(b"one\n")
        assert await read_all(attachment) == {"stdout": "got one\n"}
        assert await outcome(engine, "web") == 6
        while (state := await state_of(engine, "again"))["Pid"] in (0, *again):
            await asyncio.sleep(0.01)
        assert state["Running"]

    programs.run(ends, keep=True)
    programs.run(work)


def test_further_process_of_a_killed_engine(programs: Engines) -> None:
    """One that runs when its engine is killed has its exit code with the next."""
    script = """from pierhead.engine.documents import ExecConfig
await start(engine, 'sh', '-c', 'mkfifo /go; exec sleep 1000', name='web')
wanted = ExecConfig(cmd=('sh', '-c', 'while [ ! -e /go ]; do :; done; read x < /go; exit 4'))
made = (await engine.create_exec('web', wanted))['Id']
await engine.start_exec(made, detach=True, console_size=())
open(engine.settings.data_root + '/exec', 'w').write(made)"""
    with another_engine(programs, script) as process:
        process.kill()
        process.wait()
    made = Path(programs.settings.data_root, "exec").read_text()

    async def work(engine: Engine) -> None:
        assert (await engine.inspect_exec(made))["Running"]
        wanted = ExecConfig(cmd=("sh", "-c", "echo > /go"))
        assert (await engine.execs.run("web", wanted, timeout_s=20))[0] == 0
        assert await code_of(engine, made) == 4

    programs.run(work)


def test_restarts(programs: Engines) -> None:
    """It is started again by its policy, in the same files."""

    async def work(engine: Engine) -> None:
        policy = RestartPolicy(name="on-failure", maximum_retry_count=2)
        made = await start(engine, "sh", "-c", "echo x >> /runs; exit 9", restart_policy=policy)
        while (await state_of(engine, made))["Status"] != "exited":
            await asyncio.sleep(0.02)
        path = engine.roots.mount(engine.roster.get(made).root).upper
        assert Path(path, "runs").read_text() == "x\n" * 3

    programs.run(work)


def test_what_cannot_be_run(programs: Engines) -> None:
    """The program's words become the error, with a shell's exit code; nothing is left or logged."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "no-such-program")
        with pytest.raises(
            PierheadError, match=r"^runc create failed: .*executable file not found in \$PATH$"
        ):
            await engine.start_container(made)
        assert (await state_of(engine, made))["ExitCode"] == 127
        assert os.path.getsize(engine.paths.log(made)) == 0
        silent = await create(engine, "true", runtime="false")
        with pytest.raises(OperationFailed, match=r"^false create failed: it did not say why$"):
            await engine.start_container(silent)
        assert bundles(programs) == []
        assert not os.listdir(engine.paths.runtime_root)

    programs.run(work)


def test_names_of_runtimes(programs: Engines) -> None:
    """Our library goes by its own name and by docker's; unknown and missing programs are refused at once."""

    async def work(engine: Engine) -> None:
        for name in ("pierhead", "io.containerd.runc.v2"):
            assert await run(engine, "echo", "hi", runtime=name) == (0, {"stdout": "hi\n"})
        with pytest.raises(InvalidInput, match="unknown or invalid runtime name: nosuch"):
            await create(engine, "true", runtime="nosuch")
        with pytest.raises(OperationFailed, match="the runtime program /no/such/program is not there"):
            await create(engine, "true", runtime="missing")
        told = await engine.info()
        assert told["DefaultRuntime"] == "runc"
        assert sorted(told["Runtimes"]) == ["false", "missing", "pierhead", "runc"]

    programs.run(work)


def test_engine_without_cgroups(programs: Engines) -> None:
    """A program would make some all the same, so it is not asked to."""
    programs.settings = programs.settings.replace(cgroup_manager="disabled")

    async def work(engine: Engine) -> None:
        with pytest.raises(Unsupported, match="the runtime runc needs cgroups, and this engine has none"):
            await create(engine, "true")
        assert await run(engine, "echo", "hi", runtime="pierhead") == (0, {"stdout": "hi\n"})

    programs.run(work)


def test_view_of_the_host(programs: Engines) -> None:
    """The image that is this machine runs by a program too; what is written goes to memory."""

    async def work(engine: Engine) -> None:
        script = "echo x > /written && cat /written; test -e /proc/1/root/bin"
        code, output = await run(engine, "/bin/sh", "-c", script, image="pierhead/host")
        assert (code, output["stdout"]) == (0, "x\n")
        assert not os.path.exists("/written")

    programs.run(work)
