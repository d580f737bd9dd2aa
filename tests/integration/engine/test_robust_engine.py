"""Engines in bad times: no room on the disk, containers that are stuck, and long lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pierhead.engine.queries import LogQuery
from pierhead.errors import OperationFailed
from tests.support.daemons import command, daemon
from tests.support.engines import IMAGE, OUTPUT, Engines, create, outcome, run, start, state_of
from tests.support.peers import Client, wait_until
from tests.support.pier import Pier
from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pierhead.engine.engine import Engine
    from pierhead.engine.streams import Attachment
    from tests.support.daemons import Daemon

pytestmark = requires("root", "busybox")
FOREVER = ("sleep", "1000")
ROOM_MB = 24
LIVES = int(os.environ.get("PIERHEAD_TEST_LIVES", "40"))
"""Twice so many are led; a few hundred say more of memory."""
KB_MOST = 4096
"""What the allocator takes until it has enough, however long the life is."""


@contextmanager
def small_disk(directory: Path) -> Iterator[Path]:
    """A file system of a few MB."""
    directory.mkdir()
    Client(["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "pierhead-test", directory])()
    try:
        yield directory
    finally:
        Client(["umount", "-l", directory])()


def fill(directory: Path) -> Path:
    """Not a byte is left; returns the file that has them."""
    path = directory / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return path


async def create_many(engine: Engine, count: int) -> None:
    """So many containers were made; a few fit into what is allocated already."""
    for number in range(count):
        await create(engine, "true", name=f"more-{number}")
        assert engine.roster.get(f"more-{number}")


def test_full_disk(tmp_path: Path, engine_store: Path) -> None:
    """What cannot be written is said and not done; what runs goes on, and its end is not lost."""
    with small_disk(tmp_path / "disk") as disk:
        engines = Engines(disk, engine_store)
        engines.settings = engines.settings.replace(exec_root=str(tmp_path / "exec"))

        async def fail(engine: Engine) -> None:
            await start(engine, "sh", "-c", "read x; exit 4", name="web", open_stdin=True)
            await create(engine, "true", name="waits")
            filler = fill(disk)
            with pytest.raises(OperationFailed, match=r"(?i)no space left|disk is full"):
                await create_many(engine, 200)
            assert (await state_of(engine, "web"))["Running"]
            assert len(await engine.list_containers(stopped=False, limit=0, size=False, filters={})) == 1
            attachment = await engine.attach_container("web", OUTPUT.replace(stdin=True))
            await attachment.write(b"x\n")
            assert await outcome(engine, "web") == 4
            await attachment.close()
            await engine.remove_container("waits", force=False, volumes=False)
            filler.unlink()
            await create(engine, "true", name="afterwards")

        engines.run(fail, keep=True)

        async def look(engine: Engine) -> None:
            names = [record.name for record in engine.roster.all() if not record.name.startswith("more-")]
            assert sorted(names) == ["afterwards", "web"]
            assert (await state_of(engine, "web"))["ExitCode"] == 4

        engines.run(look)


def test_full_disk_and_what_runs(tmp_path: Path, engine_store: Path) -> None:
    """A container writes on, to whoever is attached, though its log cannot have it; a commit leaves no part
    of an image; with room again both go on.
    """
    writing = "while read x; do i=0; while [ $i -lt 2000 ]; do echo $x $i; i=$((i+1)); done; done; exit 5"
    with small_disk(tmp_path / "disk") as disk:
        engines = Engines(disk, engine_store)
        engines.settings = engines.settings.replace(exec_root=str(tmp_path / "exec"))

        async def work(engine: Engine) -> None:
            made = await start(engine, "sh", "-c", writing, name="web", open_stdin=True, stdin_once=True)
            attachment = await engine.attach_container("web", OUTPUT.replace(stdin=True))
            await write_until(attachment, b"before")
            changed = await create(engine, "sh", "-c", "head -c 3000000 /dev/urandom > /x", name="changed")
            await engine.start_container(changed)
            await outcome(engine, changed)
            filler = fill(disk)
            await write_until(attachment, b"full")
            with pytest.raises(OperationFailed, match=r"(?i)no space left|disk is full"):
                await commit(engine, changed)
            assert [each["RepoTags"] for each in await images(engine)] == [["box:latest"]]
            filler.unlink()
            await write_until(attachment, b"after")
            await commit(engine, changed)
            assert ["saved:latest"] in [each["RepoTags"] for each in await images(engine)]
            await attachment.close_input()
            assert await outcome(engine, made) == 5
            await attachment.close()
            lines = [line async for line in logged(engine, made)]
            assert [line for line in lines if line.startswith(b"before")] == numbered(b"before")
            assert [line for line in lines if line.startswith(b"after")][-1:] == numbered(b"after")[-1:]

        engines.run(work)


async def images(engine: Engine) -> list[dict[str, Any]]:
    """All that there are."""
    return await engine.list_images(intermediate=False, filters={}, manifests=False)


async def commit(engine: Engine, container: str) -> None:
    """The container is the image ``saved``."""
    await engine.commit_container(
        container, repository="saved", tag="", comment="", author="", pause=True, changes=[], config=None
    )


def numbered(word: bytes) -> list[bytes]:
    """What the container writes of a word."""
    return [b"%s %d" % (word, number) for number in range(2000)]


async def write_until(attachment: Attachment, word: bytes) -> None:
    """The container has read the word, and whoever is attached has every line of it."""
    await attachment.write(word + b"\n")
    wanted, found = b"".join(b"%s\n" % line for line in numbered(word)), b""
    async for _, piece in attachment.output():
        found += piece
        if len(found) >= len(wanted):
            break
    assert found == wanted


async def logged(engine: Engine, container: str) -> AsyncIterator[bytes]:
    """Lines of the container's log."""
    _, pieces = await engine.container_logs(container, LogQuery(stdout=True))
    text = b"".join([piece async for _, piece in pieces])
    for line in text.splitlines():
        yield line


def test_a_stuck_container_delays_nobody(engines: Engines) -> None:
    """Its monitor stands still and its processes are frozen: whoever asks it to end waits, others do not."""

    async def work(engine: Engine) -> None:
        stuck = await start(engine, *FOREVER, name="stuck")
        container = engine.supervisor.get(engine.roster.get(stuck))
        await engine.pause_container(stuck)
        os.kill(container.state.monitor_pid, signal.SIGSTOP)
        try:
            async with asyncio.TaskGroup() as group:
                waiting = [
                    group.create_task(engine.stop_container(stuck, timeout_s=-1, signal="USR1")),
                    group.create_task(engine.inspect_container(stuck, size=False)),
                ]
                assert await run(engine, "echo", "other", name="other") == (0, {"stdout": "other\n"})
                listed = await engine.list_containers(stopped=True, limit=0, size=False, filters={})
                assert [each["Names"] for each in listed] == [["/stuck"]]
                assert (await engine.inspect_container(stuck, size=False))["State"]["Running"]
                assert not waiting[0].done()
                os.kill(container.state.monitor_pid, signal.SIGCONT)
                await engine.kill_container(stuck, signal="KILL")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(container.state.monitor_pid, signal.SIGCONT)

    engines.run(work)


@pytest.mark.parametrize("shared", ["data", "exec"])
def test_one_daemon_in_a_directory(tmp_path: Path, shared: str) -> None:
    """A second one with either root of the first is refused, and the first one serves on."""
    others = {"data": "--exec-root", "exec": "--data-root"}
    with daemon(tmp_path, "--bridge", "none") as it:
        words = command(tmp_path, "--bridge", "none", others[shared], str(tmp_path / "other"))
        second = Client(words, env={"PYTHONPATH": str(ROOT / "src")}).result()
        assert second.returncode == 1
        assert f"works in {tmp_path}/{shared}" in second.stderr
        assert "hint: " in second.stderr
        assert "Traceback" not in second.stderr
        assert it.client.get("/_ping").status == 200


def test_a_long_life(tmp_path: Path, engine_image: Path) -> None:
    """Container after container: neither descriptors nor threads nor memory of ``pierd`` grow with them."""
    Pier(tmp_path / "data")("load", "--quiet", "--input", str(engine_image), "--name", IMAGE)
    words = ("--bridge", "none", "--cgroup-parent", f"/pierhead-engine-{tmp_path.name}")
    with daemon(tmp_path, *words) as it:
        lead(it, LIVES)
        before = used(it.process.pid)
        lead(it, LIVES)
        wait_until(
            lambda: used(it.process.pid).descriptors <= before.descriptors + 2,
            what="an end of what the last lives had open",
        )
        after = used(it.process.pid)
        print(before, after)
        assert after.threads <= before.threads + 4  # as many as were busy at once
        assert after.private_kb - before.private_kb < KB_MOST + LIVES


def lead(it: Daemon, count: int) -> None:
    """So many containers were made, have run, and are gone."""
    document = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    for _ in range(count):
        made = it.client.post("/containers/create", document).json()["Id"]
        assert it.client.post(f"/containers/{made}/start").status == 204
        assert it.client.post(f"/containers/{made}/wait").json()["StatusCode"] == 0
        assert it.client("DELETE", f"/containers/{made}?force=1").status == 204


class Used(NamedTuple):
    """What a process has."""

    descriptors: int
    threads: int
    private_kb: int


def used(pid: int) -> Used:
    """What it has now."""
    directory = Path(f"/proc/{pid}")
    with (directory / "smaps_rollup").open() as file:
        private_kb = sum(int(line.split()[1]) for line in file if line.startswith("Private_"))
    return Used(len(os.listdir(directory / "fd")), len(os.listdir(directory / "task")), private_kb)
