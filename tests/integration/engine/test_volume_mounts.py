"""Volumes with file systems of their own, parts of volumes, propagation: what is mounted, and goes again."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import HostConfig, Mount, VolumeCreate, VolumeOptions
from pierhead.engine.volumemounts import (
    address_of,
    check_propagation,
    mount_shared_memory,
    mounted_on,
    unmount_all,
)
from pierhead.engine.volumes import VolumeStore
from pierhead.errors import InvalidInput, NotFound, OperationFailed
from tests.support.requests import container_config
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VolumeStore]:
    """A store of which nothing stays mounted."""
    with VolumeStore(str(tmp_path / "e.db"), str(tmp_path / "volumes"), str(tmp_path / "run")) as opened:
        try:
            yield opened
        finally:
            opened.reconcile((), ())


def start(store: VolumeStore, container_id: str, **host: Any) -> dict[str, str]:
    """The container's mounts are ready."""
    wanted = HostConfig(**host)
    points = store.resolve(container_id, container_config(), wanted, {}).mounts
    return store.mount(container_id, container_config(), wanted, points)


def tmpfs(name: str, options: str = "size=1m,mode=711,uid=5") -> VolumeCreate:
    """A volume in memory."""
    return VolumeCreate(name=name, driver_opts={"type": "tmpfs", "device": "tmpfs", "o": options})


def part(subpath: str, target: str = "/part") -> Mount:
    """A part of the volume data."""
    return Mount(type="volume", source="data", target=target, volume_options=VolumeOptions(subpath=subpath))


def test_a_volume_in_memory(store: VolumeStore) -> None:
    """It is mounted with its options while containers use it, once for all of them."""
    place = store.ensure(tmpfs("ram"))[0].mountpoint
    start(store, "c1", binds=("ram:/ram",))
    start(store, "c2", binds=("ram:/ram",))
    assert mounted_on(place) == 1
    about = os.stat(place)
    assert (about.st_mode & 0o777, about.st_uid) == (0o711, 5)
    store.unmount("c1")
    assert mounted_on(place) == 1
    store.unmount("c2")
    assert mounted_on(place) == 0
    assert store.users("ram") == ("c1", "c2")


def test_a_directory_as_a_volume(store: VolumeStore, tmp_path: Path) -> None:
    """The option ``bind`` shows a directory of the host, read-only where that is said."""
    (tmp_path / "there").mkdir()
    (tmp_path / "there/file").write_text("x")
    options = {"type": "none", "device": str(tmp_path / "there"), "o": "bind,ro"}
    place = store.ensure(VolumeCreate(name="dir", driver_opts=options))[0].mountpoint
    start(store, "c1", binds=("dir:/dir",))
    assert os.listdir(place) == ["file"]
    with pytest.raises(OSError, match="Read-only file system"):
        (tmp_path / "volumes/dir/_data/new").touch()
    store.release("c1", anonymous=True)
    store.remove("dir")
    assert (tmp_path / "there/file").read_text() == "x", "what is mounted is not the volume's to remove"


def test_what_cannot_be_mounted(store: VolumeStore) -> None:
    """The kernel's reason is told, with the volume's name; nothing is left."""
    store.ensure(tmpfs("ram", "colour=red"))
    with pytest.raises(OperationFailed, match=r"failed to mount local volume: .*colour") as caught:
        start(store, "c1", binds=("ram:/ram",))
    assert "ram" in caught.value.hint
    assert mounted_on(store.get("ram").mountpoint) == 0


def test_a_part_of_a_volume(store: VolumeStore) -> None:
    """A directory or a file of it, wherever its own links point: never outside; gone with the container."""
    data = store.ensure(VolumeCreate(name="data"))[0].mountpoint
    os.makedirs(f"{data}/a/b")
    with open(f"{data}/a/file", "w", encoding="ascii") as file:
        file.write("x")
    os.symlink("/etc", f"{data}/out")
    sources = start(store, "c1", mounts=(part("a/b"), part("a/file", "/file")))
    assert os.path.samefile(sources["/part"], f"{data}/a/b")
    assert os.path.samefile(sources["/file"], f"{data}/a/file")
    os.rename(f"{data}/a/b", f"{data}/a/c")  # whoever writes in the volume cannot exchange it now
    os.symlink("/etc", f"{data}/a/b")
    assert os.path.samefile(sources["/part"], f"{data}/a/c")
    store.unmount("c1")
    assert not os.path.exists(os.path.dirname(sources["/part"]))
    assert os.path.exists(f"{data}/a/file")
    for subpath in ("out", "nothing"):
        with pytest.raises(NotFound, match="no such file or directory"):
            start(store, f"c-{subpath}", mounts=(part(subpath),))


def test_the_engine_was_killed(store: VolumeStore) -> None:
    """What a container needed that no longer runs is unmounted when the engine is back; the rest is kept."""
    for name in ("one", "two"):
        store.ensure(tmpfs(name))
        start(store, name, binds=(f"{name}:/ram",))
    assert store.reconcile(("one", "two"), ("one",)) == ()
    assert mounted_on(store.get("one").mountpoint) == 1
    assert mounted_on(store.get("two").mountpoint) == 0


def test_shared_memory(tmp_path: Path) -> None:
    """It has its size, is made once, and goes."""
    place = str(tmp_path / "shm")
    for _ in range(2):
        mount_shared_memory(place, 1 << 20)
    try:
        about = os.statvfs(place)
        assert about.f_blocks * about.f_frsize == 1 << 20
        assert mounted_on(place) == 1
    finally:
        unmount_all(place)
    assert mounted_on(place) == 0


def test_propagation() -> None:
    """A source on a private mount cannot be shared, and the sentence says where; private ones always can."""
    text = "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n2 1 8:2 / /pri rw - ext4 /dev/b rw\n"
    text += "3 1 8:3 / /sla rw master:4 - ext4 /dev/c rw\n"
    check_propagation("/usr", "rshared", text)
    check_propagation("/sla/x", "rslave", text)
    check_propagation("/pri/x", "rprivate", text)
    for source, propagation, what in (
        ("/pri/x", "rslave", "a shared or slave mount"),
        ("/sla/x", "shared", "a shared mount"),
    ):
        with pytest.raises(InvalidInput, match=rf"^path {source} is mounted on \S+ but it is not {what}$"):
            check_propagation(source, propagation, text)


def test_names_of_servers() -> None:
    """The kernel gets an address; a name that nobody knows is told."""
    assert address_of("127.0.0.1") == "127.0.0.1"
    assert address_of("localhost") in ("127.0.0.1", "::1")
    with pytest.raises(OSError, match=r"no address of a\.\.b is known"):
        address_of("a..b")
