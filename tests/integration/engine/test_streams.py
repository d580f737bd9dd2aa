"""Streams of containers and of their further processes, as clients are connected with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import ExecConfig
from pierhead.engine.queries import AttachQuery
from pierhead.errors import Conflict, NotFound, PierheadError
from tests.support.engines import ALL, OUTPUT, Engines, create, outcome, read_all, start
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from pierhead.engine.engine import Engine
    from pierhead.engine.streams import Attachment

pytestmark = requires("root", "busybox")
FOREVER = ("sleep", "1000")


async def executed(engine: Engine, made: str, *words: str, **wanted: Any) -> tuple[int, dict[str, str]]:
    """The exit code of a further process, and what it wrote."""
    config = ExecConfig(cmd=words, attach_stdout=True, attach_stderr=True, **wanted)
    exec_id = (await engine.create_exec(made, config))["Id"]
    attachment = await engine.start_exec(exec_id, detach=False, console_size=())
    assert attachment is not None
    output = await read_all(attachment)
    return await exit_code_of(engine, exec_id), output


async def exit_code_of(engine: Engine, exec_id: str) -> int:
    """Of a further process that ends soon."""
    while (document := await engine.inspect_exec(exec_id))["ExitCode"] is None:
        await asyncio.sleep(0.005)
    assert not document["Running"]
    return int(document["ExitCode"])


def test_much_output(engines: Engines) -> None:
    """A client that is connected before the start sees every byte, in order."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "seq", "1", "200000")
        attachment = await engine.attach_container(made, OUTPUT)
        await engine.start_container(made)
        output = await read_all(attachment)
        assert output["stdout"] == "".join(f"{number}\n" for number in range(1, 200001))

    engines.run(work)


def test_input_is_half_closed(engines: Engines) -> None:
    """What is written is read; after its end the output still comes."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "sh", "-c", "cat; echo done", open_stdin=True, stdin_once=True)
        attachment = await engine.attach_container(made, ALL)
        await engine.start_container(made)
        text = "line\n" * 100_000
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_all(attachment))
            await attachment.write(text.encode())
            await attachment.close_input()
        assert reading.result() == {"stdout": text + "done\n"}
        assert await outcome(engine, made) == 0

    engines.run(work)


def test_input_ends_with_its_client(engines: Engines) -> None:
    """``docker run -i`` whose client is gone: the process reads end-of-file."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "cat", open_stdin=True, stdin_once=True)
        attachment = await engine.attach_container(made, ALL)
        await engine.start_container(made)
        await attachment.close()
        assert await outcome(engine, made) == 0

    engines.run(work)


def test_several_clients(engines: Engines) -> None:
    """Each sees all; one that comes later sees what comes later; one that wants one stream sees that."""

    async def work(engine: Engine) -> None:
        script = "echo one; read line; echo $line; echo other >&2"
        made = await create(engine, "sh", "-c", script, open_stdin=True)
        first = await engine.attach_container(made, ALL)
        errors = await engine.attach_container(made, AttachQuery(stderr=True))
        await engine.start_container(made)
        pieces = first.output()
        assert await anext(pieces) == ("stdout", b"one\n")
        later = await engine.attach_container(made, OUTPUT)
        await first.write(b"two\n")
        assert await read_all(later) == {"stdout": "two\n", "stderr": "other\n"}
        assert await read_all(errors) == {"stderr": "other\n"}
        assert [piece async for piece in pieces] == [("stdout", b"two\n"), ("stderr", b"other\n")]
        await first.close()

    engines.run(work)


def test_attach_with_what_was_written_before(engines: Engines) -> None:
    """``logs`` begins with the log; without ``stream`` that is all."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "echo", "before")
        await outcome(engine, made)
        attachment = await engine.attach_container(made, OUTPUT.replace(stream=False, logs=True))
        assert await read_all(attachment) == {"stdout": "before\n"}

    engines.run(work)


def test_attachment_of_what_is_removed(engines: Engines) -> None:
    """Who waits for the start of a container that is removed waits no longer."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "true")
        attachment = await engine.attach_container(made, OUTPUT)
        await engine.remove_container(made, force=False, volumes=False)
        assert await read_all(attachment) == {}

    engines.run(work)


async def first_line(pieces: AsyncIterator[tuple[str, bytes]]) -> str:
    """The first line of a terminal; what was written at once may come in pieces."""
    line = b""
    while not line.endswith(b"\r\n"):
        stream, piece = await anext(pieces)
        assert stream == "stdout"
        line += piece
    return line.decode().rstrip()


def test_terminal(engines: Engines) -> None:
    """One stream, with the size that was asked for last."""

    async def work(engine: Engine) -> None:
        script = "stty size; read line; stty size"
        made = await create(engine, "sh", "-c", script, tty=True, open_stdin=True, console_size=(11, 44))
        attachment = await engine.attach_container(made, ALL)
        assert attachment.terminal
        await engine.start_container(made)
        pieces = attachment.output()
        assert await first_line(pieces) == "11 44"
        await engine.resize_container(made, rows=20, columns=60)
        await attachment.write(b"\n")
        rest = b"".join([piece async for _, piece in pieces])
        assert rest.endswith(b"20 60\r\n")
        await attachment.close()
        with pytest.raises(Conflict, match="not running"):
            await engine.resize_container(made, rows=20, columns=60)

    engines.run(work)


def test_exec(engines: Engines) -> None:
    """A further process runs in the container, as whom and where it was asked for."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, env=("WHO=me",))
        script = "echo $WHO$X; pwd; id -u; echo err >&2; exit 6"
        code, output = await executed(
            engine, made, "sh", "-c", script, env=("X=x",), working_dir="/etc", user="7"
        )
        assert code == 6
        assert output == {"stdout": "mex\n/etc\n7\n", "stderr": "err\n"}

    engines.run(work)


def test_exec_has_its_exit_code_when_its_streams_end(engines: Engines) -> None:
    """Clients ask for it then, and only once; it may end at once or some time later."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        for number in range(20):
            script = f"exec >&- 2>&-; {f'sleep 0.0{number}; ' if number < 10 else ''}exit 3"
            config = ExecConfig(cmd=("sh", "-c", script), attach_stdout=True)
            exec_id = (await engine.create_exec(made, config))["Id"]
            attachment = await engine.start_exec(exec_id, detach=False, console_size=())
            assert attachment is not None
            await read_all(attachment)
            assert (await engine.inspect_exec(exec_id))["ExitCode"] == 3
            await attachment.close()

    engines.run(work)


def test_input_and_terminal_of_exec(engines: Engines) -> None:
    """It reads what is written until the input's end; with a terminal it has a size."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        config = ExecConfig(cmd=("cat",), attach_stdin=True, attach_stdout=True)
        attachment = await started(engine, made, config)
        await attachment.write(b"text")
        await attachment.close_input()
        assert await read_all(attachment) == {"stdout": "text"}
        config = ExecConfig(cmd=("sh", "-c", "stty size; read x; stty size"), attach_stdin=True, tty=True)
        exec_id = (await engine.create_exec(made, config))["Id"]
        terminal = await engine.start_exec(exec_id, detach=False, console_size=(9, 33))
        assert terminal is not None
        assert terminal.terminal
        pieces = terminal.output()
        assert await first_line(pieces) == "9 33"
        await engine.resize_exec(exec_id, rows=10, columns=40)
        await terminal.write(b"\n")
        rest = b"".join([piece async for _, piece in pieces])
        assert rest.endswith(b"10 40\r\n")
        await terminal.close()

    engines.run(work)


async def started(engine: Engine, made: str, config: ExecConfig) -> Attachment:
    """The streams of a further process."""
    exec_id = (await engine.create_exec(made, config))["Id"]
    attachment = await engine.start_exec(exec_id, detach=False, console_size=())
    assert attachment is not None
    return attachment


def test_detached_exec(engines: Engines) -> None:
    """Nobody is connected with it; its exit code is known, and it does not run twice."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        for tty in (False, True):
            config = ExecConfig(cmd=("sh", "-c", "seq 100000; exit 8"), tty=tty)
            exec_id = (await engine.create_exec(made, config))["Id"]
            assert await engine.start_exec(exec_id, detach=True, console_size=()) is None
            assert await exit_code_of(engine, exec_id) == 8
            with pytest.raises(Conflict, match="has already run"):
                await engine.start_exec(exec_id, detach=True, console_size=())

    engines.run(work)


def test_exec_that_cannot_be_run(engines: Engines) -> None:
    """Its streams say so, and its exit code is a shell's; detached it is an error."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        code, output = await executed(engine, made, "no-such-program")
        assert code == 127
        assert "executable file not found" in output["stderr"]
        code, output = await executed(engine, made, "true", user="nobody-known")
        assert code == 126
        assert output["stderr"].strip() == (
            "OCI runtime exec failed: unable to find user nobody-known: no matching entries in passwd file"
        )
        code, output = await executed(engine, made, "pwd", working_dir="/no/such")
        assert code == 127
        assert "/no/such" in output["stderr"]
        assert await engine.container_changes(made) == []
        exec_id = (await engine.create_exec(made, ExecConfig(cmd=("no-such-program",))))["Id"]
        with pytest.raises(PierheadError, match="executable file not found"):
            await engine.start_exec(exec_id, detach=True, console_size=())

    engines.run(work)


def test_exec_ends_with_its_container(engines: Engines) -> None:
    """Its streams end; one that does not run has no further processes; one that is gone forgets them."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        attachment = await started(engine, made, ExecConfig(cmd=FOREVER, attach_stdout=True))
        exec_ids = (await engine.inspect_container(made, size=False))["ExecIDs"]
        assert len(exec_ids) == 1
        await engine.kill_container(made, signal="KILL")
        assert await read_all(attachment) == {}
        assert await exit_code_of(engine, exec_ids[0]) == 137
        await outcome(engine, made)
        with pytest.raises(Conflict, match="is not running"):
            await engine.create_exec(made, ExecConfig(cmd=("true",)))
        await engine.remove_container(made, force=True, volumes=False)
        with pytest.raises(NotFound, match="No such exec instance"):
            await engine.inspect_exec(exec_ids[0])

    engines.run(work)


def test_exec_leaves_streams_to_others(engines: Engines) -> None:
    """A process that it leaves behind holds its streams, and does not hold up its client for long."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER)
        code, output = await executed(engine, made, "sh", "-c", "sleep 1000 & echo started")
        assert (code, output) == (0, {"stdout": "started\n"})

    engines.run(work)
