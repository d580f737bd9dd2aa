"""Volumes without mounts: names, users, removal, files of images; nobody needs rights for this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ContainerConfig, Empty, HostConfig, Mount, VolumeCreate, VolumeOptions
from pierhead.engine.record import MountPoint
from pierhead.engine.volumes import VolumeStore
from pierhead.errors import Conflict, InvalidInput, NotFound, Unsupported
from tests.support.requests import container_config

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_NAME = (
    'create ../x: "../x" includes invalid characters for a local volume name, only '
    '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
)
TMPFS = {"type": "tmpfs", "device": "tmpfs"}


def open_store(directory: Path) -> VolumeStore:
    """A store in the directory."""
    return VolumeStore(str(directory / "engine.db"), str(directory / "volumes"), str(directory / "run"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    """An empty store."""
    with open_store(tmp_path) as opened:
        yield opened


def resolve(store: VolumeStore, container_id: str, config: ContainerConfig | None = None, **host: Any) -> Any:
    """What the container's mounts become."""
    others = host.pop("others", {})
    return store.resolve(container_id, config or container_config(), HostConfig(**host), others)


def names(store: VolumeStore, **filters: list[str]) -> list[str]:
    """Names of volumes by filters."""
    return [volume.name for volume in store.list_volumes(filters)]


def test_create(store: VolumeStore) -> None:
    """A volume is a directory; to make it again changes nothing."""
    made = store.ensure(VolumeCreate(name="data", labels={"a": "b"}))[0]
    assert os.listdir(made.mountpoint) == []
    assert store.ensure(VolumeCreate(name="data")) == (made, False)
    assert store.get("data") == made
    document = made.document()
    assert (document["Name"], document["Driver"], document["Labels"]) == ("data", "local", {"a": "b"})
    assert document["CreatedAt"].endswith("Z")


def test_without_a_name(store: VolumeStore) -> None:
    """It is given one of 64 digits, and a label by which Docker's clients know it."""
    made = store.ensure(VolumeCreate())[0]
    assert len(made.name) == 64
    assert made.anonymous


@pytest.mark.parametrize(
    ("wanted", "kind", "message"),
    [
        (
            VolumeCreate(name="a"),
            InvalidInput,
            "create a: volume name is too short, names should be at least two alphanumeric characters",
        ),
        (
            VolumeCreate(name="../x"),
            InvalidInput,
            BAD_NAME,
        ),
        (
            VolumeCreate(name="data", driver="nfs"),
            NotFound,
            'error looking up volume plugin nfs: plugin "nfs" not found',
        ),
        (
            VolumeCreate(name="data", driver_opts={"colour": "red"}),
            InvalidInput,
            'create data: invalid option: "colour"',
        ),
        (
            VolumeCreate(name="data", driver_opts={"type": "tmpfs"}),
            InvalidInput,
            'create data: missing required option: "device"',
        ),
        (
            VolumeCreate(name="data", driver_opts={"size": "1g"}),
            Unsupported,
            "create data: quota size requested but no quota support",
        ),
    ],
)
def test_refused(
    store: VolumeStore, tmp_path: Path, wanted: VolumeCreate, kind: type[Exception], message: str
) -> None:
    """What cannot be a volume is refused with Docker's sentence, and nothing is made."""
    with pytest.raises(kind) as caught:
        store.ensure(wanted)
    assert str(caught.value) == message
    assert names(store) == []
    assert os.listdir(tmp_path / "volumes") == []


def test_no_such_volume(store: VolumeStore) -> None:
    """Docker's sentence; with force there is nothing to say."""
    with pytest.raises(NotFound, match=r"^get data: no such volume$"):
        store.get("data")
    with pytest.raises(NotFound, match=r"^get data: no such volume$"):
        store.remove("data")
    assert not store.remove("data", force=True)


def test_users(store: VolumeStore) -> None:
    """A volume that a container has cannot be removed, by force neither; afterwards it can."""
    resolve(store, "c1", binds=("data:/data",))
    (Path(store.get("data").mountpoint) / "old").touch()
    for force in (False, True):
        with pytest.raises(Conflict, match=r"^remove data: volume is in use - \[c1\]$"):
            store.remove("data", force=force)
    assert store.release("c1", anonymous=True) == ()
    assert store.remove("data")
    assert os.listdir(store.ensure(VolumeCreate(name="data"))[0].mountpoint) == []


def test_filters(store: VolumeStore) -> None:
    """By part of the name, label, driver, and whether somebody has them."""
    store.ensure(VolumeCreate(name="data", labels={"a": "1", "b": ""}))
    store.ensure(VolumeCreate(name="database", labels={"a": "2"}))
    resolve(store, "c1", binds=("database:/x",))
    assert names(store, name=["data"]) == ["data", "database"]
    assert names(store, label=["a"]) == ["data", "database"]
    assert names(store, label=["a=1", "b"]) == ["data"]
    assert names(store, dangling=["true"]) == ["data"]
    assert names(store, dangling=["0"]) == ["database"]
    assert names(store, driver=["other"]) == []
    for bad in ({"colour": ["red"]}, {"dangling": ["maybe"]}, {"dangling": ["1", "0"]}):
        with pytest.raises(InvalidInput, match=r"^invalid filter"):
            store.list_volumes(bad)


def test_prune(store: VolumeStore) -> None:
    """Those without a name that nobody has; all that nobody has where that is asked for."""
    anonymous = store.ensure(VolumeCreate(labels={"keep": ""}))[0]
    other = store.ensure(VolumeCreate())[0]
    (named := store.ensure(VolumeCreate(name="data"))[0]).document()
    resolve(store, "c1", binds=("used:/x",))
    with open(f"{other.mountpoint}/file", "wb") as file:
        file.write(bytes(10000))
    gone, reclaimed_bytes = store.prune({"label!": ["keep"]})
    assert gone == (other.name,)
    assert reclaimed_bytes >= 10000
    assert not os.path.exists(other.mountpoint)
    assert set(store.prune({"all": ["true"]})[0]) == {anonymous.name, named.name}
    assert names(store) == ["used"]


def test_mount_points(store: VolumeStore, tmp_path: Path) -> None:
    """Each mount is as ``inspect`` shows it; volumes are made on the way, the image's too."""
    config = container_config(volumes={"/image": Empty(), "/data": Empty()})
    decided = resolve(
        store,
        "c1",
        config,
        binds=("data:/data", f"{tmp_path}/new:/bind:ro"),
        mounts=(Mount(type="tmpfs", target="/t"), Mount(type="image", source="busybox", target="/i")),
    )
    data, bind, tmpfs, image, anonymous = decided.mounts
    assert data == MountPoint(
        type="volume",
        name="data",
        source=store.get("data").mountpoint,
        destination="/data",
        driver="local",
        mode="z",
    )
    assert bind == MountPoint(
        type="bind",
        source=f"{tmp_path}/new",
        destination="/bind",
        mode="ro",
        rw=False,
        propagation="rprivate",
    )
    assert (tmpfs.type, tmpfs.source, image.name, image.rw) == ("tmpfs", "", "busybox", False)
    assert store.get(anonymous.name).anonymous
    assert [volume.name for volume in decided.created] == ["data", anonymous.name]
    assert decided.to_fill == (data, anonymous)
    assert not (tmp_path / "new").exists(), "made when the container starts"
    assert store.release("c1", anonymous=True) == (anonymous.name,)
    assert names(store) == ["data"]


def test_volumes_from(store: VolumeStore) -> None:
    """Another container's mounts, read-only where that is said; below what is asked for, above the image."""
    first = resolve(store, "c1", binds=("data:/data", "logs:/logs:ro")).mounts
    config = container_config(volumes={"/data": Empty()})
    decided = resolve(
        store,
        "c2",
        config,
        volumes_from=("web:ro",),
        binds=("mine:/logs",),
        others={"web": first},
    )
    assert [(point.name, point.destination, point.rw) for point in decided.mounts] == [
        ("mine", "/logs", True),
        ("data", "/data", False),
    ]
    assert [point.name for point in decided.to_fill] == ["mine"]
    assert store.users("data") == ("c1", "c2")
    assert names(store) == ["data", "logs", "mine"]
    with pytest.raises(InvalidInput, match=r"^No such container: nobody$"):
        resolve(store, "c3", volumes_from=("nobody",))


def test_all_or_nothing(store: VolumeStore) -> None:
    """A container with one mount that cannot be leaves nothing of the others."""
    gone = Mount(type="bind", source="/nowhere/at/all", target="/b")
    with pytest.raises(InvalidInput, match=r"bind source path does not exist: /nowhere/at/all$"):
        resolve(store, "c1", binds=("data:/data",), mounts=(gone,))
    assert names(store) == []


def fill(store: VolumeStore, root: Path, point: MountPoint) -> bool:
    """The volume has what the image has."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return store.copy_up(fd, point)
    finally:
        os.close(fd)


def test_files_of_the_image(store: VolumeStore, tmp_path: Path) -> None:
    """An empty volume gets them, with modes and links; one with files keeps its own."""
    place = tmp_path / "root/real/data"
    (place / "sub").mkdir(parents=True)
    (place / "sub/file").write_text("image")
    (place / "link").symlink_to("sub/file")
    place.chmod(0o750)
    (tmp_path / "root/data").symlink_to("/real/data")  # resolved beneath the image's root
    point = resolve(store, "c1", binds=("data:/data",)).mounts[0]
    assert fill(store, tmp_path / "root", point)
    assert (Path(point.source) / "link").read_text() == "image"
    assert os.stat(point.source).st_mode & 0o777 == 0o750
    (Path(point.source) / "sub/file").write_text("mine")
    assert not fill(store, tmp_path / "root", point)
    assert (Path(point.source) / "sub/file").read_text() == "mine"
    nothing = resolve(store, "c2", binds=("other:/nowhere",)).mounts[0]
    assert not fill(store, tmp_path / "root", nothing)


def test_nocopy(store: VolumeStore) -> None:
    """Who says so gets an empty volume."""
    mount = Mount(type="volume", source="data", target="/data", volume_options=VolumeOptions(no_copy=True))
    assert resolve(store, "c1", mounts=(mount,)).to_fill == ()


def test_after_a_crash(tmp_path: Path) -> None:
    """A making is undone, a removal completed, a filling begun anew; users that are gone are forgotten."""
    with open_store(tmp_path) as store:
        resolve(store, "gone", binds=("data:/data",))
        resolve(store, "there", binds=("kept:/kept",))
        store._table.begin_removal(store.ensure(VolumeCreate(name="going"))[0].name)
    volumes = tmp_path / "volumes"
    (volumes / "half-made/_data").mkdir(parents=True)
    (volumes / "hardly-made").mkdir()
    (volumes / ".removing-0123/_data/sub").mkdir(parents=True)
    (volumes / "kept/_data.filling/sub").mkdir(parents=True)
    (volumes / "strange").mkdir()
    (volumes / "strange/file").write_text("somebody's")
    with open_store(tmp_path) as store:
        assert store.reconcile(("there",), ()) == ("strange",)
        assert sorted(os.listdir(volumes)) == ["data", "kept", "strange"]
        assert os.listdir(volumes / "kept") == ["_data"]
        assert names(store, dangling=["true"]) == ["data"]
        assert store.users("kept") == ("there",)


def test_what_cannot_be_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What of a volume that is gone cannot be removed is in the log, and holds up nothing."""
    with open_store(tmp_path) as store:
        store.ensure(VolumeCreate(name="kept"))
        store.ensure(VolumeCreate(name="gone"))
    volumes = tmp_path / "volumes"
    (volumes / ".removing-0123").write_text("no directory")
    (volumes / "kept/_data.filling").write_text("no directory")
    (volumes / "gone/_data").rmdir()
    (volumes / "gone").rmdir()
    (volumes / "gone").write_text("no directory")
    with open_store(tmp_path) as store:
        assert store.reconcile((), ()) == ()
        assert store.remove("gone")
        assert names(store) == ["kept"]
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 4
    assert all("cannot be removed: " in each for each in said)


def test_two_stores_of_one_engine(tmp_path: Path) -> None:
    """The tables are shared: what one makes the other sees."""
    with open_store(tmp_path) as one, open_store(tmp_path) as two:
        one.ensure(VolumeCreate(name="data", driver_opts=TMPFS))
        assert two.get("data").options == TMPFS
