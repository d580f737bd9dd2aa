"""Files of containers from outside: a real snapshot, standing and seen by a process."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.commit import CommitRequest, commit
from pierhead.engine.containertree import ContainerTrees
from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.files import ContainerFiles
from pierhead.engine.record import MountPoint, Record, State
from pierhead.errors import Conflict, Forbidden, InvalidInput, NotFound, PierheadError
from pierhead.images.exchange import import_image
from pierhead.images.roots import open_root
from pierhead.images.service import ImageService
from tests.support.image_archives import archive
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pierhead.images.roots import ImageRoot

pytestmark = requires("root")
ROOTFS = archive({"etc/passwd": b"root:x:0:0::/:/bin/sh\n", "srv/old": b"old", "srv/gone": b"gone"})


class Box:
    """A container that does not run, and who gives its files."""

    def __init__(self, service: ImageService, root: ImageRoot) -> None:
        self.service = service
        self.mount = root.mounts[-1]
        self.upper = Path(self.mount.upper)
        self.record = Record(
            id="c" * 64,
            name="web",
            created_ns=1,
            image="box:1",
            image_id=root.image.id,
            config=ContainerConfig(cmd=("sleep", "1"), env=("A=b",)),
            host=HostConfig(),
            root="container-c",
        )
        self.lock = asyncio.Lock()
        trees = ContainerTrees(lambda _: self.mount)
        self.files = ContainerFiles(trees, lambda _: self.record, lambda _: self.lock)

    def stat(self, path: str) -> Any:
        """What a client hears of the path."""
        return asyncio.run(self.files.stat_archive("web", path))

    def get(self, path: str) -> dict[str, bytes]:
        """Names in the archive of the path, with what is in their files."""

        async def read() -> bytes:
            _, pieces = await self.files.get_archive("web", path)
            return b"".join([piece async for piece in pieces])

        return contents(asyncio.run(read()))


def contents(raw: bytes) -> dict[str, bytes]:
    """Members of an archive; a link's content is its target."""
    with tarfile.open(fileobj=io.BytesIO(raw)) as opened:
        found = {}
        for member in opened:
            file = opened.extractfile(member) if member.isfile() else None
            found[member.name] = file.read() if file else member.linkname.encode()
        return found


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A container of an image with some files."""
    with ImageService(tmp_path / "store", policy_path=str(tmp_path / "policy")) as service:
        source = tmp_path / "rootfs.tar"
        source.write_bytes(ROOTFS)
        with source.open("rb") as file:
            import_image(service, file.fileno(), "box:1", now_s=1)
        with open_root(service, service.catalogue.get("box:1")) as root:
            yield Box(service, root)


def write(box: Box, path: str, data: bytes = b"new") -> Path:
    """The container has written a file."""
    target = box.upper / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return target


def test_a_file_and_a_directory(box: Box) -> None:
    """A file comes under its own name; a directory with what is in it, from the image and the container."""
    write(box, "srv/new")
    assert box.get("/srv/old") == {"old": b"old"}
    assert box.get("/srv") == {"srv": b"", "srv/gone": b"gone", "srv/new": b"new", "srv/old": b"old"}
    assert set(box.get("/srv/.")) == {".", "./gone", "./new", "./old"}
    assert "./etc/passwd" in box.get("/.")


def test_stat(box: Box) -> None:
    """Kind and bits are Go's; a link says where it leads, in the container."""
    os.symlink("../etc/passwd", box.upper / "link")
    found = box.stat("/srv")
    assert found["name"] == "srv"
    assert found["mode"] >> 31 == 1
    link = box.stat("/link")
    assert (link["linkTarget"], link["mode"] >> 27 & 1) == ("/etc/passwd", 1)
    assert box.stat("srv/old")["size"] == 3
    with pytest.raises(NotFound, match="Could not find the file /none in container web"):
        box.stat("/none")


def test_the_root(box: Box) -> None:
    """The root's files come under ``/``, which clients replace by a name of their own."""
    found = box.get("/")
    assert found["/etc/passwd"].startswith(b"root:")
    assert not [name for name in found if name.startswith(".")]


@pytest.mark.parametrize("path", ["/srv/old/", "/srv/old/."])
def test_a_file_is_no_directory(box: Box, path: str) -> None:
    """A path that says that it leads to a directory, and leads to a file, is refused."""
    for ask in (box.get, box.stat):
        with pytest.raises(InvalidInput, match="/srv/old in container web is not a directory"):
            ask(path)


def test_links_lead_nowhere_else(box: Box, tmp_path: Path) -> None:
    """A link to this machine's files leads to the container's; one that leads up stays in its root."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    os.symlink(tmp_path, box.upper / "out")
    os.symlink("../" * 40 + str(tmp_path).lstrip("/"), box.upper / "up")
    for path in ("/out/secret", "/up/secret", f"/srv/../../../..{secret}"):
        with pytest.raises(NotFound):
            box.get(path)
    os.symlink("/srv", box.upper / "absolute")
    os.symlink("../" * 40 + "srv", box.upper / "relative")
    for link in ("absolute", "relative"):
        assert box.get(f"/{link}/old") == {"old": b"old"}


def test_hard_links_within_a_directory(box: Box) -> None:
    """Names of one file stay names of one file, under the directory's name."""
    first = write(box, "data/a", b"one file")
    os.link(first, box.upper / "data/b")
    assert box.get("/data") == {"data": b"", "data/a": b"one file", "data/b": b"data/a"}


def test_a_volume_of_a_container_that_stands(box: Box, tmp_path: Path) -> None:
    """A path in a volume leads to the volume."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "kept").write_bytes(b"kept")
    point = MountPoint(type="volume", source=str(volume), destination="/srv")
    box.record = box.record.replace(mounts=(point,))
    assert box.get("/srv/kept") == {"kept": b"kept"}
    with pytest.raises(NotFound):
        box.get("/srv/old")


def test_a_process_sees_more(box: Box) -> None:
    """Of a container that runs, the files are those that its first process sees."""
    place = box.upper.parent / "seen"
    place.mkdir()
    script = 'mount -t tmpfs none "$0" && echo here > "$0/file" && echo ready && exec sleep 60'
    words = ["unshare", "-m", "sh", "-c", script, str(place)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            box.record = box.record.replace(state=State(status="running", pid=process.pid))
            assert box.get(f"{place}/file") == {"file": b"here\n"}
        finally:
            process.kill()


def test_changes(box: Box) -> None:
    """Added, changed, removed: each with docker's number; places of mounts are no changes."""
    write(box, "srv/new")
    write(box, "srv/old", b"other")
    os.mknod(box.upper / "srv/gone", 0o20000, os.makedev(0, 0))
    for place in ("proc", "etc"):
        (box.upper / place).mkdir(exist_ok=True)
    (box.upper / "etc/hosts").touch()
    found = {each["Path"]: each["Kind"] for each in asyncio.run(box.files.container_changes("web"))}
    assert found == {"/srv": 0, "/srv/gone": 2, "/srv/new": 1, "/srv/old": 0}


def test_export(box: Box, tmp_path: Path) -> None:
    """All files, as the container sees them, without its volumes; also while it writes."""
    write(box, "srv/new")
    os.mknod(box.upper / "srv/gone", 0o20000, os.makedev(0, 0))

    (tmp_path / "kept").touch()
    point = MountPoint(type="volume", source=str(tmp_path), destination="/data")
    box.record = box.record.replace(mounts=(point,))
    write(box, "large", bytes(4 << 20))  # more than is read ahead

    async def read() -> bytes:
        pieces = []
        async for piece in await box.files.export_container("web"):
            pieces.append(piece)
            write(box, f"srv/later-{len(pieces)}")
        return b"".join(pieces)

    found = contents(asyncio.run(read()))
    assert {"srv/new", "srv/old", "etc/passwd", "large"} <= set(found)
    assert not {"srv/gone", "data/kept"} & set(found)


def test_commit(box: Box) -> None:
    """The image has the container's files and what it runs, on top of its own image's layers."""
    write(box, "srv/new")
    (box.upper / "proc").mkdir()
    request = CommitRequest(
        name="box:2", comment="by hand", author="me", changes=("LABEL x=y", 'CMD ["/bin/true"]')
    )
    identity = commit(box.service, box.record, box.mount, request)
    shown = box.service.catalogue.open(box.service.catalogue.get("box:2"))
    assert shown.id == identity
    assert shown.config is not None
    assert shown.config.config is not None
    assert (shown.config.config.cmd, shown.config.config.env) == (("/bin/true",), ("A=b",))
    assert shown.config.history[-1].comment == "by hand"
    assert len(shown.manifest.layers) == 2
    with open_root(box.service, box.service.catalogue.get("box:2"), readonly=True) as root:
        newest = Path(root.mounts[-1].lower[0])
        assert sorted(str(path.relative_to(newest)) for path in newest.rglob("*")) == ["srv", "srv/new"]


def test_commit_without_a_name(box: Box) -> None:
    """The image is there under its digest."""
    identity = commit(box.service, box.record, box.mount, CommitRequest())
    assert (
        box.service.catalogue.open(box.service.catalogue.get(identity.partition(":")[2][:12])).id == identity
    )


def test_what_has_no_files_of_its_own(box: Box) -> None:
    """A view of this machine can be neither committed nor exported."""
    box.record = box.record.replace(root="", image_id="")
    with pytest.raises(Conflict, match="a view of this machine"):
        asyncio.run(box.files.export_container("web"))
    with pytest.raises(Conflict, match="a view of this machine"):
        commit(box.service, box.record, box.mount, CommitRequest())


def put(
    box: Box, path: str, members: dict[str, bytes], *, no_overwrite: bool = True, copy_owners: bool = False
) -> None:
    """A client sends an archive."""

    async def pieces() -> AsyncIterator[bytes]:
        assert box.lock.locked()  # nobody starts or removes it meanwhile
        yield archive(members)

    asyncio.run(
        box.files.put_archive("web", path, pieces(), no_overwrite=no_overwrite, copy_owners=copy_owners)
    )


def test_put(box: Box) -> None:
    """Files come into the directory, over those that are there; a whiteout is a file like others."""
    put(box, "/srv", {"old": b"newer", "made/here": b"x", ".wh.gone": b"a name like others"})
    assert box.get("/srv") == {
        "srv": b"",
        "srv/.wh.gone": b"a name like others",
        "srv/gone": b"gone",
        "srv/made": b"",
        "srv/made/here": b"x",
        "srv/old": b"newer",
    }


def test_put_where_accounts_are_no_file(box: Box) -> None:
    """What a container has at the place of its accounts is read only if it is a file."""
    (box.upper / "etc").mkdir(exist_ok=True)
    os.mkfifo(box.upper / "etc/passwd")
    box.record = box.record.replace(config=ContainerConfig(user="somebody"))
    with pytest.raises(InvalidInput, match="somebody"):
        put(box, "/srv", {"x": b"y"}, copy_owners=True)


def test_put_through_a_link(box: Box, tmp_path: Path) -> None:
    """A link to a place outside leads to the same place inside, where there is nothing."""
    os.symlink(tmp_path, box.upper / "out")
    with pytest.raises(NotFound):
        put(box, "/out", {"x": b"y"})
    assert not (tmp_path / "x").exists()


def test_put_into_what_is_no_directory(box: Box) -> None:
    """Is refused in docker's words, as is a file in a directory's place."""
    with pytest.raises(InvalidInput, match="extraction point is not a directory"):
        put(box, "/srv/old", {"x": b"y"})
    with pytest.raises(InvalidInput, match="cannot overwrite directory"):
        put(box, "/", {"srv": b"a file"})
    put(box, "/", {"srv": b"a file"}, no_overwrite=False)
    assert box.get("/srv") == {"srv": b"a file"}


def test_put_where_nothing_may_be_written(box: Box, tmp_path: Path) -> None:
    """A read-only root takes nothing but in a mount that can be written, and the reverse."""
    box.record = box.record.replace(host=HostConfig(readonly_rootfs=True))
    with pytest.raises(Forbidden, match="container rootfs is marked read-only"):
        put(box, "/srv", {"x": b"y"})
    point = MountPoint(type="bind", source=str(tmp_path), destination="/data")
    box.record = box.record.replace(mounts=(point,))
    put(box, "/data", {"x": b"y"})
    assert (tmp_path / "x").read_bytes() == b"y"
    box.record = box.record.replace(mounts=(point.replace(rw=False),))
    with pytest.raises(Forbidden, match="mounted volume is marked read-only"):
        put(box, "/data", {"x": b"y"})


def bind(source: Path, destination: str, **fields: Any) -> MountPoint:
    """A mount of the host's."""
    return MountPoint(type="bind", source=str(source), destination=destination, **fields)


def test_put_onto_what_will_be_mounted(box: Box, tmp_path: Path) -> None:
    """What is copied into a container that stands comes where its process will find it: into its volumes,
    whether their places are there yet or not; a file that is mounted is not exchanged (dockerd 26.1: device
    or resource busy).
    """
    (tmp_path / "bound").write_bytes(b"the host's")
    (tmp_path / "volume/deep").mkdir(parents=True)
    (tmp_path / "inner").mkdir()
    box.record = box.record.replace(
        mounts=(
            bind(tmp_path / "bound", "/bound"),
            bind(tmp_path / "bound", "/etc/passwd"),
            bind(tmp_path / "inner", "/new/volume/deep"),
            bind(tmp_path / "volume", "/new/volume"),
            bind(tmp_path / "nothing", "/srv"),
        )
    )
    for path in ("bound", "etc/passwd"):
        with pytest.raises(Conflict, match="something is mounted there"):
            put(box, "/", {path: b"other"})
    assert (tmp_path / "bound").read_bytes() == b"the host's"
    put(box, "/", {"new/volume/x": b"x", "new/volume/deep/y": b"y", "new/z": b"z"})
    assert contents_of(tmp_path / "volume") == {"deep": None, "x": b"x"}
    assert contents_of(tmp_path / "inner") == {"y": b"y"}
    assert contents_of(box.upper / "new") == {"volume": None, "z": b"z"}
    assert contents_of(box.upper / "new/volume") == {}
    assert box.get("/bound") == {"bound": b"the host's"}
    whole = box.get("/new")
    assert (whole["new/volume/x"], whole["new/volume/deep/y"]) == (b"x", b"y")
    assert box.stat("/bound")["size"] == len(b"the host's")


def contents_of(directory: Path) -> dict[str, bytes | None]:
    """Names in a directory with what the files have."""
    return {each.name: each.read_bytes() if each.is_file() else None for each in directory.iterdir()}


def test_put_through_links_and_mounts(box: Box, tmp_path: Path) -> None:
    """A link leads into a volume as for the container's process, and out of one to nothing of the host's."""
    volume, secret = tmp_path / "volume", tmp_path / "secret"
    volume.mkdir()
    secret.mkdir()
    (secret / "key").write_bytes(b"the host's")
    box.record = box.record.replace(mounts=(bind(volume, "/volume"), bind(secret, "/closed", rw=False)))
    os.symlink("/volume", box.upper / "link")
    os.symlink("/closed", box.upper / "other")
    os.symlink("../" * 40 + f"{tmp_path}/secret", volume / "out")
    os.symlink(f"{tmp_path}/secret/key", volume / "key")
    put(box, "/link", {"x": b"x"})
    assert (volume / "x").read_bytes() == b"x"
    for path in ("/link/out", "/volume/out"):
        with pytest.raises(NotFound):
            put(box, path, {"y": b"y"})
    with pytest.raises(NotFound):
        box.get("/volume/key/.")
    put(box, "/volume", {"out/y": b"y"}, no_overwrite=False)
    with pytest.raises(PierheadError):
        put(box, "/other", {"y": b"y"})
    assert contents_of(secret) == {"key": b"the host's"}


def test_places_of_mounts_that_lead_away(box: Box, tmp_path: Path) -> None:
    """A mount whose place is a link to this machine's stands at the same place inside, or nowhere."""
    volume, outside = tmp_path / "volume", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    os.symlink(outside, box.upper / "away")
    os.symlink("/srv", box.upper / "near")
    box.record = box.record.replace(mounts=(bind(volume, "/away"), bind(volume, "/near")))
    put(box, "/", {"srv/x": b"x"})
    put(box, "/away", {"y": b"y"})
    assert contents_of(volume) == {"x": b"x", "y": b"y"}
    assert contents_of(outside) == {}
