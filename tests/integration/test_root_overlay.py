"""A root that is an overlay of directories: what images' layers become."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import NotFound, OperationFailed
from pierhead.images.overlay import OverlaySnapshotter
from pierhead.images.plaindir import PlainSnapshotter
from pierhead.oci.runtime import IDMapping
from pierhead.runtime import RootOverlay
from tests.support.bundles import make_rootfs
from tests.support.containers import namespaces
from tests.support.requires import requires
from tests.support.snapshots import OPAQUE, write_files

if TYPE_CHECKING:
    from pierhead.images.snapshots import Mount
    from tests.support.containers import Containers, Finished

pytestmark = requires("root")

MAPS = (IDMapping(container_id=0, host_id=100_000, size=65_536),)
MAPPED: dict[str, Any] = {
    "namespaces": namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user"),
    "uid_mappings": MAPS,
    "gid_mappings": MAPS,
}
WAYS: dict[str, dict[str, Any]] = {"plain": {}, "user namespace": MAPPED}
MANY = 125


class Layers:
    """Layers in a directory that nobody but root may enter, and containers upon them."""

    def __init__(self, containers: Containers, directory: Path) -> None:
        """Args: directory is new."""
        directory.mkdir(mode=0o700, parents=True)
        self.directory = directory
        self.containers = containers
        self.lower: list[str] = [str(make_rootfs(directory / "busybox"))]
        for name in ("empty", "upper", "work"):
            (directory / name).mkdir(mode=0o755)
        self.upper, self.work = directory / "upper", directory / "work"

    def add(self, name: str, files: dict[str, str], *, opaque: str = "", removed: str = "") -> Path:
        """One more on top."""
        layer = self.directory / name
        layer.mkdir()
        write_files(layer, files)
        if opaque:
            (layer / opaque).mkdir(parents=True, exist_ok=True)
            os.setxattr(layer / opaque, OPAQUE, b"y")
        if removed:
            (layer / removed).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(layer / removed, stat.S_IFCHR)
        self.lower.insert(0, str(layer))
        return layer

    def overlay(self, *, writable: bool = True, **changes: Any) -> RootOverlay:
        """The root of all layers."""
        overlay = RootOverlay(lower=tuple(self.lower), **changes)
        return overlay.replace(upper=str(self.upper), work=str(self.work)) if writable else overlay

    def run(self, script: str, *, writable: bool = True, **changes: Any) -> Finished:
        """What a container upon the layers says."""
        overlay = changes.pop("root_overlay", None) or self.overlay(writable=writable)
        rootfs = str(self.directory / "empty")
        return self.containers.run(f"{script} 2>&1", rootfs=rootfs, root_overlay=overlay, **changes)


@pytest.fixture
def layers(containers: Containers, tmp_path: Path) -> Layers:
    """A layer of busybox."""
    return Layers(containers, tmp_path / "layers")


@pytest.mark.parametrize("way", WAYS)
def test_layers_and_changes(layers: Layers, way: str) -> None:
    """The container sees all layers in one; what it changes is in upper, with the container's ids."""
    one = layers.add("one", {"a": "1", "b": "1", "gone": "1", "dir/old": "1"})
    layers.add("two", {"b": "2", "dir/new": "2"}, opaque="dir", removed="gone")
    script = (
        "cat /a /b; ls / /dir; stat -c %u:%g /a; id -u; echo new > /made; echo 3 > /a; rm /b; mkdir -p /x/y; "
        "rm -r /dir; mkdir /dir; chown 7:8 /made; touch /app; chown 1000 /app; cat /etc/hostname"
    )
    said = layers.run(script, **WAYS[way])
    assert said.status.code == 0, said.output
    assert said.output.startswith("12")
    assert "gone" not in said.words
    assert "old" not in said.words
    assert "new" in said.words
    assert "0:0" in said.words
    upper = layers.upper
    assert (upper / "made").read_text() == "new\n"
    assert ((upper / "made").stat().st_uid, (upper / "made").stat().st_gid) == (7, 8)
    assert (upper / "app").stat().st_uid == 1000
    assert (upper / "a").read_text() == "3\n"
    assert stat.S_ISCHR((upper / "b").lstat().st_mode)
    assert (upper / "b").lstat().st_rdev == 0
    assert (upper / "x/y").stat().st_uid == 0
    assert os.getxattr(upper / "dir", OPAQUE) == b"y"
    assert (one / "a").read_text() == "1"
    assert not any((layers.directory / "empty").iterdir())


@pytest.mark.parametrize("way", WAYS)
def test_changes_stay(layers: Layers, way: str) -> None:
    """A container upon the same upper directory goes on where the last one ended."""
    assert layers.run("echo kept > /note", **WAYS[way]).status.code == 0
    assert layers.run("cat /note", **WAYS[way]).output == "kept\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_without_upper(layers: Layers, way: str, count: int) -> None:
    """Nobody writes to it: not the container, and not who makes its mounts."""
    for number in range(count):
        layers.add(f"layer{number}", {f"file{number}": ""})
    before = {directory: sorted(os.listdir(directory)) for directory in layers.lower}
    said = layers.run(
        "touch /x; rm /etc/passwd; cat /etc/hostname; ls /file* | wc -l", writable=False, **WAYS[way]
    )
    assert said.output.count("Read-only file system") == 2
    assert said.lines[-1] == str(count) or count == 0
    assert "box" in said.words
    assert {directory: sorted(os.listdir(directory)) for directory in layers.lower} == before


@pytest.mark.parametrize("way", WAYS)
def test_one_directory_to_write_to(layers: Layers, way: str) -> None:
    """It is the root as it is, with the container's ids."""
    overlay = RootOverlay(lower=(), upper=layers.lower[0])
    said = layers.run("stat -c %u /etc/hostname; touch /made", root_overlay=overlay, **WAYS[way])
    assert said.output == "0\n"
    assert Path(layers.lower[0], "made").stat().st_uid == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [OverlaySnapshotter, PlainSnapshotter])
def test_snapshots(
    layers: Layers, way: str, kind: type[OverlaySnapshotter | PlainSnapshotter], tmp_path: Path
) -> None:
    """What a container writes upon snapshots becomes the next one's layer."""
    with kind(tmp_path / "snapshots") as snapshotter:
        shutil.copytree(
            layers.lower[0], snapshotter.prepare("unpack")[0].source, symlinks=True, dirs_exist_ok=True
        )
        snapshotter.commit("one", "unpack")
        said = layers.run(
            "id -u > /made; rm /etc/group", root_overlay=root_of(snapshotter.prepare("a", "one")), **WAYS[way]
        )
        assert said.status.code == 0
        snapshotter.commit("two", "a")
        said = layers.run(
            "cat /made; ls /etc", root_overlay=root_of(snapshotter.prepare("b", "two")), **WAYS[way]
        )
        assert said.words[0] == "0"
        assert "passwd" in said.words
        assert "group" not in said.words
        said = layers.run(
            "cat /made; touch /x", root_overlay=root_of(snapshotter.view("c", "two")), **WAYS[way]
        )
        assert said.words[0] == "0"
        assert "Read-only" in said.output


def root_of(mounts: tuple[Mount, ...]) -> RootOverlay:
    """A snapshot's mounts as a container's root."""
    mount = mounts[0]
    if mount.source:
        alone = (mount.source,) if mount.readonly else ()
        return RootOverlay(lower=alone, upper="" if mount.readonly else mount.source)
    return RootOverlay(lower=mount.lower, upper=mount.upper, work=mount.work)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_it_stays_mounted(layers: Layers, way: str) -> None:
    """The host's mount table does not change while the container runs, nor when it is killed."""
    layers.add("one", {"a": "1"})
    before = Path("/proc/self/mountinfo").read_text()
    rootfs = str(layers.directory / "empty")
    container = layers.containers.running(rootfs=rootfs, root_overlay=layers.overlay(), **WAYS[way])
    assert Path("/proc/self/mountinfo").read_text() == before
    assert layers.containers.exec(container, "cat /a; mount | head -1").output.startswith("1overlay on / ")
    container.delete(force=True)
    assert Path("/proc/self/mountinfo").read_text() == before


@pytest.mark.parametrize("way", WAYS)
def test_many_layers(layers: Layers, way: str) -> None:
    """As many layers as images have."""
    for number in range(MANY):
        layers.add(f"layer{number}", {f"many/file{number}": str(number)})
    said = layers.run("ls /many | wc -l; cat /many/file0; echo 1 > /many/x", **WAYS[way])
    assert said.output == f"{MANY}\n0"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("odd", ["a:b,c\\d e", "x" * 250])
def test_odd_paths(containers: Containers, tmp_path: Path, way: str, odd: str) -> None:
    """Layers may be called whatever directories can be called, and lie as deep."""
    layers = Layers(containers, tmp_path / odd)
    layers.add("one:,\\", {"a": "1"})
    said = layers.run("cat /a /etc/hostname; echo 2 > /a", **WAYS[way])
    assert said.output == "1box\n"
    assert (layers.upper / "a").read_text() == "2\n"


def test_users_of_the_topmost_layer(layers: Layers) -> None:
    """A user's name is looked up in the layers as the container sees them."""
    layers.add("one", {"etc/passwd": "me:x:77:88::/home/me:/bin/sh\n"})
    said = layers.run("id -u; id -g; echo $HOME", process={"user": "me"})
    assert said.words == ["77", "88", "/home/me"]
    layers.add("two", {"etc/passwd": "me:x:78:88::/:/bin/sh\n"}, opaque="etc")
    assert layers.run("id -u", process={"user": "me"}).words == ["78"]


def test_owners_that_are_the_hosts_already(layers: Layers) -> None:
    """With mapped = False nothing is translated: a layer that was shifted by copying shows as it is."""
    shifted = layers.add("shifted", {"mine": ""})
    for path in (shifted, shifted / "mine", layers.upper):
        os.chown(path, 100_000, 100_000)
    overlay = layers.overlay(mapped=False)
    said = layers.run("stat -c %u /mine /etc/hostname; touch /made", root_overlay=overlay, **MAPPED)
    assert said.words == ["0", "65534"]
    assert (layers.upper / "made").stat().st_uid == 100_000


def test_a_user_namespace_that_is_joined(layers: Layers) -> None:
    """Owners are mapped as the namespace maps them, for reading."""
    layers.add("one", {"a": "1"})
    other = layers.containers.running(**MAPPED)
    path = f"/proc/{other.state.init_pid}/ns/user"
    joined = {"namespaces": namespaces("mount", "pid", "ipc", "uts", "network", user=path)}
    said = layers.run("stat -c %u /a; touch /x", writable=False, **joined)
    assert said.words[0] == "0"
    assert "Read-only" in said.output


@pytest.mark.parametrize("way", WAYS)
def test_a_layer_that_is_missing(layers: Layers, way: str) -> None:
    """It is named."""
    layers.lower.append("/nowhere/at/all")
    with pytest.raises(NotFound, match="layer /nowhere/at/all: no such file or directory"):
        layers.run("true", **WAYS[way])


def test_what_the_kernel_refuses(layers: Layers) -> None:
    """The kernel's own words are in the error, and nothing is left."""
    overlay = layers.overlay(writable=False)
    overlay = overlay.replace(upper=str(layers.upper), work="/proc/self")
    with pytest.raises(OperationFailed, match="overlay"):
        layers.run("true", root_overlay=overlay)


def before_65(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planner takes this kernel for an older one, which this kernel still understands."""
    monkeypatch.setattr("pierhead.linux.facts.kernel_version", lambda: (6, 1))


@pytest.mark.parametrize("way", WAYS)
def test_before_linux_6_5(layers: Layers, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Layers share one value of the mount, under short names."""
    for number in range(100):
        layers.add(f"a long name of a layer, number {number}", {f"many/file{number}": str(number)})
    before_65(monkeypatch)
    said = layers.run("ls /many | wc -l; cat /many/file0; echo 1 > /many/x", **WAYS[way])
    assert said.output == "100\n0"
    assert (layers.upper / "many/x").exists()
