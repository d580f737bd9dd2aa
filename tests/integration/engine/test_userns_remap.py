"""Users of containers that are other users outside: what they own, inside and outside, and what is copied."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import ExecConfig, Mount
from pierhead.engine.settings import RuntimeProgram
from pierhead.engine.usermapping import read_user_maps
from pierhead.errors import InvalidInput, Unsupported
from tests.support.engines import HOST, Engines, create, outcome, run, start
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from pierhead.engine.engine import Engine

pytestmark = requires("root", "unshare")
FIRST = 200_000


@pytest.fixture
def remapped(engines: Engines, tmp_path: Path) -> Iterator[Engines]:
    """Engines whose containers' root is another user; /etc/subuid has its ids."""
    user = f"pier-{os.getpid()}"
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{user}:{FIRST}:65536\n")
    for each in (tmp_path, tmp_path.parent):  # a container's root is nobody here, and has to come through
        each.chmod(0o711)
    engines.settings = engines.settings.replace(userns_remap=user)
    try:
        yield engines
    finally:
        for path in ("/etc/subuid", "/etc/subgid"):
            with open(path, encoding="utf-8") as file:
                kept = [line for line in file if not line.startswith(f"{user}:")]
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(kept)


def archive(name: str, uid: int, data: bytes) -> bytes:
    """One file of one user's."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.uid = entry.gid = uid
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return written.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """As a client sends it."""
    yield data


async def owner_of(engine: Engine, container: str, path: str) -> tuple[int, int]:
    """User and group of a file, as ``docker cp`` gives it."""
    _, stream = await engine.get_archive(container, path)
    whole = b"".join([piece async for piece in stream])
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        first = tar.getmembers()[0]
        return first.uid, first.gid


def test_a_root_of_its_own(remapped: Engines) -> None:
    """Its process is another user outside, its files are root's inside; it may write where root may."""

    async def work(engine: Engine) -> None:
        script = (
            "id -u; stat -c %u:%g /bin /etc/hosts /dev/shm; echo x > /new; echo y >> /etc/hosts; cat /new"
        )
        code, output = await run(engine, "sh", "-c", script, ipc_mode="shareable")
        assert code == 0, output
        assert output["stdout"].split() == ["0", "0:0", "0:0", "0:0", "x"]
        made = await start(engine, "sleep", "100")
        pid = engine.roster.get(made).state.pid
        assert os.stat(f"/proc/{pid}").st_uid == FIRST
        code, output = await run(engine, "cat", "/proc/self/uid_map", userns_mode="host", privileged=True)
        assert output["stdout"].split() == ["0", "0", "4294967295"]

    remapped.run(work)


def test_further_processes_join(remapped: Engines) -> None:
    """One that is started later is root there too."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "sleep", "100")
        wanted = ExecConfig(cmd=("cat", "/proc/self/uid_map"), attach_stdout=True)
        code, output = await engine.execs.run(made, wanted, timeout_s=20)
        assert code == 0
        assert output.split() == [b"0", b"%d" % FIRST, b"65536"]

    remapped.run(work)


def test_volumes(remapped: Engines) -> None:
    """A volume is the container's root's, with what the image has there; on disk it has the host's ids."""

    async def work(engine: Engine) -> None:
        mount = Mount(type="volume", source="data", target="/etc")
        script = "stat -c %u:%g /etc /etc/motd && echo x > /etc/new"
        code, output = await run(engine, "sh", "-c", script, mounts=(mount,))
        assert (code, output["stdout"].split()) == (0, ["0:0", "0:0"]), output
        place = (await engine.inspect_volume("data"))["Mountpoint"]
        assert {os.stat(f"{place}/{name}").st_uid for name in ("motd", "new", ".")} == {FIRST}
        await engine.remove_volume("data", force=False)

    remapped.run(work)


@pytest.mark.parametrize("running", [True, False])
def test_copies(remapped: Engines, running: bool) -> None:  # noqa: FBT001 - a parameter
    """Files go in and come out with the container's ids, in its root and in volumes, running or not."""

    async def work(engine: Engine) -> None:
        mount = Mount(type="volume", target="/data")
        make = start if running else create
        made = await make(engine, "sleep", "100", mounts=(mount,))
        for directory in ("/", "/data"):
            await engine.put_archive(
                made, directory, pieces(archive("f", 33, b"hello")), no_overwrite=False, copy_owners=False
            )
            assert await owner_of(engine, made, f"{directory}/f") == (33, 33)
        if not running:
            await engine.start_container(made)
        wanted = ExecConfig(
            cmd=("stat", "-c", "%u:%g", "/f", "/data/f"), attach_stdout=True, attach_stderr=True
        )
        assert await engine.execs.run(made, wanted, timeout_s=20) == (0, b"33:33\n33:33\n")

    remapped.run(work)


def test_changes_and_commits(remapped: Engines) -> None:
    """What changed is told, and an image of it has the container's ids: another container sees them."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "sh", "-c", "echo x > /new; chown 33:44 /new; rm /etc/motd")
        assert await outcome(engine, made) == 0
        changes = {each["Path"]: each["Kind"] for each in await engine.container_changes(made)}
        assert (changes["/new"], changes["/etc/motd"]) == (1, 2)
        await engine.commit_container(
            made, repository="changed", tag="1", comment="", author="", pause=False, changes=[], config=None
        )
        code, output = await run(engine, "stat", "-c", "%u:%g", "/new", image="changed:1")
        assert (code, output["stdout"]) == (0, "33:44\n")
        await engine.remove_image("changed:1", force=False, no_prune=False)

    remapped.run(work)


def test_the_network_of_another(remapped: Engines) -> None:
    """Containers share a network, and each has its users; other namespaces they cannot share."""

    async def work(engine: Engine) -> None:
        await start(engine, "sleep", "100", name="owner")
        code, output = await run(engine, "cat", "/proc/self/uid_map", network_mode="container:owner")
        assert (code, output["stdout"].split()[1]) == (0, str(FIRST)), output
        made = await create(engine, "true", pid_mode="container:owner")
        with pytest.raises(Unsupported, match="each has users of its own"):
            await engine.start_container(made)

    remapped.run(work)


def test_runtime_programs_are_refused(remapped: Engines) -> None:
    """They are not told how owners of layers are mapped; with the host's users they do."""
    remapped.settings = remapped.settings.replace(runtimes={"false": RuntimeProgram(path="/bin/false")})

    async def work(engine: Engine) -> None:
        with pytest.raises(Unsupported, match="the runtime false cannot map users"):
            await create(engine, "true", runtime="false")
        assert await create(engine, "true", runtime="false", userns_mode="host")

    remapped.run(work)


def test_the_machine_as_an_image(remapped: Engines) -> None:
    """Its files are the machine's users': a container of it has those too, or there is none."""

    async def work(engine: Engine) -> None:
        with pytest.raises(Unsupported, match="userns_remap cannot map them"):
            await create(engine, "true", image=HOST)
        assert await run(engine, "/bin/true", image=HOST, userns_mode="host") == (0, {})

    remapped.run(work)


def test_who_has_no_ids(tmp_path: Path) -> None:
    """The error says what is missing."""
    with pytest.raises(InvalidInput, match="gives nobody-here 0 ids"):
        read_user_maps("nobody-here", str(tmp_path))
    assert read_user_maps("", str(tmp_path)) is None
