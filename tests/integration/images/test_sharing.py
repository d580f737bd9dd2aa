"""Equal files of different layers have their data once, and nobody who looks at them or writes notices."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Unsupported
from pierhead.images.overlay import OverlaySnapshotter
from pierhead.images.service import ImageService
from pierhead.images.sharing import FilePool
from tests.contract.conftest import SNAPSHOTTERS
from tests.support.image_archives import archive
from tests.support.peers import wait_until
from tests.support.pier import Pier, write_image
from tests.support.requires import requires
from tests.support.snapshots import commit_layer, read_files, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pierhead.images.plaindir import PlainSnapshotter
    from pierhead.images.snapshots import Snapshotter

    Linking = OverlaySnapshotter | PlainSnapshotter

pytestmark = requires("root", "mount")
MIB = 1 << 20
BIG = "0123456789abcdef" * (MIB // 16)
MAKERS = {"btrfs": ("mkfs.btrfs", "-q"), "xfs": ("mkfs.xfs", "-q")}


@pytest.fixture(params=sorted(SNAPSHOTTERS))
def linking(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[OverlaySnapshotter | PlainSnapshotter]:
    """A snapshotter of each kind that shares by hard links."""
    before = set(os.listdir("/proc/self/fd"))
    with SNAPSHOTTERS[request.param](tmp_path / "snapshots", share_files="hardlink") as made:
        yield made
    assert set(os.listdir("/proc/self/fd")) <= before, "a descriptor stays open"


@pytest.fixture(params=[pytest.param(name, marks=requires(MAKERS[name][0])) for name in MAKERS])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """An empty file system with reflinks, on a loop device."""
    image, path = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(320 * MIB)
    path.mkdir()
    subprocess.run([*MAKERS[request.param], image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def files_of(snapshotter: Snapshotter, name: str) -> Path:
    """Where a committed snapshot's own files are, seen through a view of it alone."""
    mount = snapshotter.view(f"look-{name}", name)[-1]
    return Path(mount.source or mount.lower[0])


def put(snapshotter: Snapshotter, name: str, files: dict[str, str], *, mtime_s: int = 1_700_000_000) -> Path:
    """A layer without a parent, its files as old as each other; returns where they are."""
    root = Path(snapshotter.prepare(f"unpack-{name}")[0].source)
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        os.utime(root / path, (mtime_s, mtime_s))
    for directory in (root, *(path for path in root.rglob("*") if path.is_dir())):
        os.utime(directory, (mtime_s, mtime_s))
    snapshotter.commit(name, f"unpack-{name}")
    return files_of(snapshotter, name)


def used_bytes(path: Path) -> int:
    """What is taken on the file system."""
    subprocess.run(["sync", "--file-system", path], check=True)
    about = os.statvfs(path)
    return (about.f_blocks - about.f_bfree) * about.f_frsize


def held_bytes(directory: Path) -> int:
    """What the files below the directory take, each once."""
    found = {about.st_ino: about.st_blocks * 512 for path in directory.rglob("*") if (about := path.lstat())}
    return sum(found.values())


# Hard links


def test_equal_files_are_one(linking: Snapshotter) -> None:
    """The same path and content is one file in both layers, which look as they would without."""
    one = put(linking, "one", {"bin/sh": BIG, "etc/one": "1"})
    two = put(linking, "two", {"bin/sh": BIG, "etc/two": "2"})
    assert (one / "bin/sh").samefile(two / "bin/sh")
    assert read_files(two) == {"bin/sh": BIG, "etc/two": "2"}
    assert {path.stat().st_mtime for path in (two, two / "bin", two / "bin/sh")} == {1_700_000_000}
    assert linking.shared_bytes(("one", "two")) == MIB
    assert linking.shared_bytes(("two",)) == 0
    assert linking.usage("two").size_bytes >= MIB, "a layer has the size that it has alone"


def test_what_differs_stays_apart(linking: Snapshotter) -> None:
    """Another path, mode, owner, time, attribute or text is another file."""
    first = put(linking, "one", {"a": BIG, "b": BIG})
    assert not (first / "a").samefile(first / "b"), "a container would see one file of two names"
    changes: dict[str, Callable[[Path], object]] = {
        "text": lambda path: path.write_text(BIG[::-1]),
        "mode": lambda path: path.chmod(0o4755),
        "owner": lambda path: os.chown(path, 12, 34),
        "time": lambda path: os.utime(path, (5, 5)),
        "xattr": lambda path: os.setxattr(path, "user.who", b"me"),
    }
    for name, change in changes.items():
        root = Path(linking.prepare(f"unpack-{name}")[0].source)
        (root / "a").write_text(BIG)
        os.utime(root / "a", (1_700_000_000, 1_700_000_000))
        change(root / "a")
        if name != "time":
            os.utime(root / "a", (1_700_000_000, 1_700_000_000))
        linking.commit(name, f"unpack-{name}")
        assert not (files_of(linking, name) / "a").samefile(first / "a"), name


def test_links_of_a_layer_stay_its_own(linking: Snapshotter) -> None:
    """A file to which a layer gives two names is no file of another layer, in which they are two."""
    one = put(linking, "one", {"a": BIG, "b": BIG})
    root = Path(linking.prepare("unpack-two")[0].source)
    (root / "a").write_text(BIG)
    os.utime(root / "a", (1_700_000_000, 1_700_000_000))
    os.link(root / "a", root / "b")
    linking.commit("two", "unpack-two")
    two = files_of(linking, "two")
    assert (two / "a").samefile(two / "b")
    assert not (two / "a").samefile(one / "a")


def test_a_container_changes_its_own_file(linking: Snapshotter) -> None:
    """Whoever writes to a shared file in one container changes it there and nowhere else."""
    one = put(linking, "one", {"etc/passwd": BIG})
    two = put(linking, "two", {"etc/passwd": BIG})
    with shown(linking.prepare("box", "two")) as root:
        with (root / "etc/passwd").open("a") as file:
            file.write("changed")
        (root / "etc/passwd").chmod(0o600)
        assert (root / "etc/passwd").read_text() == BIG + "changed"
    assert (one / "etc/passwd").read_text() == (two / "etc/passwd").read_text() == BIG
    assert (one / "etc/passwd").stat().st_mode & 0o777 == 0o644


def test_what_nobody_has_any_more_goes(linking: OverlaySnapshotter) -> None:
    """A shared file lasts as long as the last layer that has it; so does its name in the index."""
    put(linking, "one", {"a": BIG, "only": "1"})
    two = put(linking, "two", {"a": BIG})
    pool = Path(linking.root, "shared/hardlink")
    (pool / "new-0123456789abcdef").hardlink_to(two / "a")  # as somebody leaves it who is killed
    for name in ("look-one", "one"):
        linking.remove(name)
    linking.remove_unshared()
    assert [path.stat().st_nlink for path in pool.iterdir()] == [2]
    assert (two / "a").read_text() == BIG
    for name in ("look-two", "two"):
        linking.remove(name)
    linking.remove_unshared()
    assert not list(pool.iterdir())


def test_a_file_that_somebody_changed_is_not_taken(linking: OverlaySnapshotter) -> None:
    """What is not any more what the index calls it is left alone."""
    one = put(linking, "one", {"a": BIG})
    (one / "a").write_text("spoilt")
    two = put(linking, "two", {"a": BIG})
    assert (two / "a").read_text() == BIG


# Reflinks


@pytest.mark.parametrize("kind", sorted(SNAPSHOTTERS))
def test_reflinks(disk: Path, kind: str) -> None:
    """Files stay two, of whatever path and mode, and take the space of one; what is left of it is counted."""
    with SNAPSHOTTERS[kind](disk / "snapshots", share_files="reflink") as snapshotter:
        one = put(snapshotter, "one", {"a": BIG * 20, "small": "s"})
        before = used_bytes(disk)
        two = put(snapshotter, "two", {"b": BIG * 20, "c/d": BIG * 20, "small": "s"}, mtime_s=5)
        # XFS gives back what was removed some time after its removal.
        wait_until(lambda: used_bytes(disk) - before < 4 * MIB, what="forty are saved; that")
        assert not (one / "a").samefile(two / "b")
        assert (two / "b").stat().st_mtime == (two / "c").stat().st_mtime == 5
        assert snapshotter.shared_bytes(("one", "two")) >= 40 * MIB
        assert 20 * MIB <= snapshotter.shared_bytes(("two",)) < 21 * MIB, "it has it twice by itself"
        for name in ("look-one", "one"):
            snapshotter.remove(name)
        snapshotter.remove_unshared()
        assert (two / "b").read_text() == (two / "c/d").read_text() == BIG * 20
        assert not list((disk / "snapshots/shared/reflink").iterdir())


def test_reflinks_are_refused(tmp_path: Path) -> None:
    """Where the file system has none, that is said before anything is done, and nothing stays open."""
    before = set(os.listdir("/proc/self/fd"))
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    try:
        with pytest.raises(Unsupported, match="has no reflinks") as caught:
            OverlaySnapshotter(tmp_path / "snapshots", share_files="reflink")
        assert caught.value.code == "no-reflinks"
        assert not (tmp_path / "snapshots/shared").exists()
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert set(os.listdir("/proc/self/fd")) <= before


# All of it


def test_df_and_prune_count_what_is_shared(tmp_path: Path) -> None:
    """Two images with the same big file: the sum has it once, and removing one image frees the rest only."""
    pier = Pier(tmp_path / "store")
    env = {**os.environ, "PIER_SHARE_FILES": "hardlink"}
    for name in ("one", "two"):
        layer = archive({"big": BIG.encode() * 4, "name": name.encode()})
        layout = write_image(tmp_path / name, layer, Cmd=["/nothing"])
        pier.result("load", "--quiet", "--input", str(layout), "--name", name, env=env)
        said = pier.run_result(name, env=env)
        assert "/nothing" in said.stderr, said
    assert [line.split()[-1] for line in pier.lines("df") if line.startswith("Shared by layers")] == [
        "-4.19MB"
    ]
    with ImageService(tmp_path / "store") as service:
        plan = service.library.plan_collection(without=["docker.io/library/one:latest"])
        layers = [item for item in plan.removed if item.kind == "layer"]
        assert [item.size_bytes >= 4 * MIB for item in layers] == [True]
        before = held_bytes(tmp_path)
        service.library.remove_image("docker.io/library/one:latest")
        assert service.collect().removed_bytes == plan.removed_bytes < 5 * MIB, "the content, not the layer"
        assert before - held_bytes(tmp_path) == pytest.approx(plan.removed_bytes, abs=100_000)
        assert not service.library.usage().inventory.shared_bytes


def test_a_wrong_setting(tmp_path: Path) -> None:
    """It is said what it can be."""
    said = Pier(tmp_path / "store").result("images", env={**os.environ, "PIER_SHARE_FILES": "maybe"})
    assert said.returncode == 1, said
    assert "PIER_SHARE_FILES cannot be 'maybe'" in said.stderr
    assert "none, reflink or hardlink" in said.stderr


def test_two_at_once(tmp_path: Path) -> None:
    """Pools of two processes over one directory find each other's files."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(BIG)
        os.utime(tmp_path / name / "a", (5, 5))
    with FilePool(str(tmp_path), "hardlink") as first, FilePool(str(tmp_path), "hardlink") as second:
        first.share(str(tmp_path / "one"))
        second.share(str(tmp_path / "two"))
        first.share(str(tmp_path / "two"))
    assert (tmp_path / "one/a").samefile(tmp_path / "two/a")
    assert (tmp_path / "one/a").stat().st_nlink == 3


def test_nothing_is_shared_by_itself(tmp_path: Path) -> None:
    """It is off where nobody asks for it."""
    with OverlaySnapshotter(tmp_path / "snapshots") as snapshotter:
        for name in ("one", "two"):
            commit_layer(snapshotter, name, files={"a": BIG})
        assert snapshotter.shared_bytes(("one", "two")) == 0
        snapshotter.remove_unshared()
    assert not (tmp_path / "snapshots/shared").exists()
