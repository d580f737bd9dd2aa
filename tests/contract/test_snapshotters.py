"""What every snapshotter promises, looked at through real mounts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.removal import remove_tree
from tests.contract.conftest import SNAPSHOTTERS
from tests.support.requires import requires
from tests.support.snapshots import commit_layer, read_files, shown, write_files

if TYPE_CHECKING:
    from pierhead.images.snapshots import Snapshotter

pytestmark = requires("root")

LAYERS = 120


def test_a_layer_and_a_container_upon_it(snapshotter: Snapshotter) -> None:
    """What is committed shows in what is prepared upon it, and what is written there stays there."""
    commit_layer(snapshotter, "sha256:1", files={"etc/passwd": "root", "bin/sh": "sh"})
    with shown(snapshotter.prepare("box", "sha256:1")) as root:
        assert read_files(root) == {"bin/sh": "sh", "etc/passwd": "root"}
        write_files(root, {"etc/passwd": "changed", "tmp/new": "new"})
        (root / "bin/sh").unlink()
    with shown(snapshotter.mounts("box")) as root:
        assert read_files(root) == {"etc/passwd": "changed", "tmp/new": "new"}
    with shown(snapshotter.view("look", "sha256:1")) as root:
        assert read_files(root) == {"bin/sh": "sh", "etc/passwd": "root"}


def test_a_view_is_only_read(snapshotter: Snapshotter) -> None:
    """Nobody writes to a committed snapshot by way of a view, of one layer or of two."""
    commit_layer(snapshotter, "one", files={"a": ""})
    commit_layer(snapshotter, "two", "one", files={"b": ""})
    for parent in ("one", "two"):
        with shown(snapshotter.view(f"look-{parent}", parent)) as root:
            with pytest.raises(OSError, match="Read-only file system"):
                (root / "c").touch()
            with pytest.raises(OSError, match="Read-only file system"):
                (root / "a").unlink()


def test_whiteouts_and_opaque_directories(snapshotter: Snapshotter) -> None:
    """What a layer takes away is gone, and a directory that hides what was below begins anew."""
    commit_layer(snapshotter, "one", files={"gone": "1", "kept": "1", "dir/old": "1", "dir/deep/old": "1"})
    commit_layer(snapshotter, "two", "one", files={"dir/new": "2"}, removed=("gone",), opaque=("dir",))
    commit_layer(snapshotter, "three", "two", files={"gone": "3"})
    with shown(snapshotter.view("look-two", "two")) as root:
        assert read_files(root) == {"kept": "1", "dir/new": "2"}
    with shown(snapshotter.prepare("box", "three")) as root:
        assert read_files(root) == {"kept": "1", "dir/new": "2", "gone": "3"}
        assert sorted(os.listdir(root)) == ["dir", "gone", "kept"]


def test_a_container_becomes_a_layer(snapshotter: Snapshotter) -> None:
    """What was written upon a parent is committed and a parent itself."""
    commit_layer(snapshotter, "one", files={"a": "1", "b": "1"})
    with shown(snapshotter.prepare("box", "one")) as root:
        (root / "a").unlink()
        write_files(root, {"c": "2"})
    snapshotter.commit("two", "box")
    assert snapshotter.stat("two").parent == "one"
    with pytest.raises(NotFound):
        snapshotter.mounts("box")
    with shown(snapshotter.prepare("next", "two")) as root:
        assert read_files(root) == {"b": "1", "c": "2"}


@pytest.mark.parametrize("odd", ["a:b", "a,b", "a\\b", "a b", "a\\:b,c d\\", "ä\udcff", "x" * 200])
@pytest.mark.parametrize("kind", sorted(SNAPSHOTTERS))
def test_odd_characters_in_the_path(tmp_path: Path, kind: str, odd: str) -> None:
    """The directory may be called whatever directories can be called."""
    with SNAPSHOTTERS[kind](tmp_path / odd / odd) as snapshotter:
        commit_layer(snapshotter, "one", files={"a": "1"})
        commit_layer(snapshotter, "two", "one", files={"b": "2"})
        with shown(snapshotter.prepare("box", "two")) as root:
            assert read_files(root) == {"a": "1", "b": "2"}
            write_files(root, {"a": "3"})
        with shown(snapshotter.mounts("box")) as root:
            assert read_files(root) == {"a": "3", "b": "2"}


def test_many_layers(snapshotter: Snapshotter) -> None:
    """There may be as many layers as an image has."""
    parent = ""
    for number in range(LAYERS):
        commit_layer(snapshotter, f"layer-{number}", parent, files={f"file{number}": str(number)})
        parent = f"layer-{number}"
    with shown(snapshotter.prepare("box", parent)) as root:
        assert len(os.listdir(root)) == LAYERS
        assert (root / "file0").read_text() == "0"
        write_files(root, {"file0": "changed"})
    with shown(snapshotter.view("look", parent)) as root:
        assert (root / "file0").read_text() == "0"
    assert len(list(snapshotter.walk())) == LAYERS + 2


def test_names_are_taken_once(snapshotter: Snapshotter) -> None:
    """Keys and names are one set; nothing is written to a committed snapshot, nor put in its place."""
    commit_layer(snapshotter, "one", files={"a": ""})
    snapshotter.prepare("box", "one")
    for key in ("one", "box"):
        with pytest.raises(Conflict, match=f"there is a snapshot {key} already"):
            snapshotter.prepare(key)
        with pytest.raises(Conflict, match=f"there is a snapshot {key} already"):
            snapshotter.view(key, "one")
    snapshotter.prepare("other")
    with pytest.raises(Conflict, match="there is a snapshot one already"):
        snapshotter.commit("one", "other")
    with pytest.raises(Conflict, match="only a view of it can be mounted"):
        snapshotter.mounts("one")
    with pytest.raises(Conflict, match="is not active"):
        snapshotter.commit("again", "one")
    assert [info.name for info in snapshotter.walk()] == ["one", "other", "box"]


def test_parents_are_committed(snapshotter: Snapshotter) -> None:
    """Nothing lies upon what may still change, or is not there."""
    snapshotter.prepare("box")
    for action in (snapshotter.prepare, snapshotter.view):
        with pytest.raises(Conflict, match="box is not committed"):
            action("next", "box")
        with pytest.raises(NotFound, match="there is no snapshot nothing"):
            action("next", "nothing")
    with pytest.raises(NotFound, match="there is no snapshot nothing"):
        snapshotter.commit("one", "nothing")
    assert [info.name for info in snapshotter.walk()] == ["box"]


def test_a_parent_that_cannot_be_had(snapshotter: Snapshotter) -> None:
    """At commit a snapshot gets the parent that it was made for, and no other."""
    commit_layer(snapshotter, "one")
    commit_layer(snapshotter, "two")
    snapshotter.prepare("box", "one")
    with pytest.raises(Conflict, match="box"):
        snapshotter.commit("three", "box", parent="two")
    snapshotter.commit("three", "box", parent="one")
    assert snapshotter.stat("three").parent == "one"


def test_removing(snapshotter: Snapshotter) -> None:
    """A parent stays as long as something lies upon it; then it goes with its files."""
    commit_layer(snapshotter, "one", files={"deep/in/it": "1"})
    commit_layer(snapshotter, "two", "one", files={"b": "2"})
    snapshotter.view("look", "two")
    with pytest.raises(Conflict, match="the snapshot two has others upon it: look"):
        snapshotter.remove("two")
    with pytest.raises(Conflict, match="the snapshot one has others upon it: two"):
        snapshotter.remove("one")
    for name in ("look", "two", "one"):
        snapshotter.remove(name)
        with pytest.raises(NotFound, match=f"there is no snapshot {name}"):
            snapshotter.remove(name)
    assert not list(snapshotter.walk())
    assert directories_of(snapshotter) == []


def directories_of(snapshotter: Snapshotter) -> list[str]:
    """Everything in its root that is not the index."""
    root = Path(snapshotter.root)
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("index.db"))


def test_what_is_detached(snapshotter: Snapshotter) -> None:
    """Nobody knows it any more; its files go with who removes them, or with the next who opens."""
    commit_layer(snapshotter, "one", files={"a": ""})
    left = [Path(snapshotter.detach(key)) for key in ("box", "other") if snapshotter.prepare(key, "one")]
    assert [each.name for each in snapshotter.walk()] == ["one"]
    assert all(os.listdir(each) for each in left)
    remove_tree(str(left[0]))
    with SNAPSHOTTERS[snapshotter.name](Path(snapshotter.root)):
        assert not any(each.exists() for each in left)
    assert snapshotter.detach("one")


def test_usage(snapshotter: Snapshotter, tmp_path: Path) -> None:
    """It says what the disk holds: whole blocks, a file of two names once, links not followed."""
    big = tmp_path / "big"
    big.write_bytes(b"x" * 1_000_000)
    root = Path(snapshotter.prepare("box")[0].source)
    empty = snapshotter.usage("box")
    assert empty.inodes == 1
    (root / "file").write_bytes(b"x" * 100_000)
    os.link(root / "file", root / "again")
    (root / "link").symlink_to(big)
    (root / "dir").mkdir()
    os.truncate(root / "file", 10_000_000)  # a hole takes nothing
    used = snapshotter.usage("box")
    assert used.inodes == empty.inodes + 3
    assert 100_000 <= used.size_bytes - empty.size_bytes <= 120_000
    snapshotter.commit("one", "box")
    assert snapshotter.usage("one") == snapshotter.usage("one") == used
    snapshotter.view("look", "one")
    assert snapshotter.usage("look").size_bytes == 0


def test_what_is_known(snapshotter: Snapshotter) -> None:
    """Stat and walk tell kinds and parents, and parents come first."""
    commit_layer(snapshotter, "z")
    commit_layer(snapshotter, "a", "z")
    snapshotter.prepare("box", "a")
    snapshotter.view("look", "z")
    seen = [(info.name, info.kind, info.parent) for info in snapshotter.walk()]
    assert seen[0] == ("z", "committed", "")
    assert sorted(seen) == [
        ("a", "committed", "z"),
        ("box", "active", "a"),
        ("look", "view", "z"),
        ("z", "committed", ""),
    ]
    assert seen.index(("a", "committed", "z")) < seen.index(("box", "active", "a"))
    assert all(info == snapshotter.stat(info.name) for info in snapshotter.walk())
    with pytest.raises(NotFound, match="there is no snapshot nothing"):
        snapshotter.stat("nothing")
    with pytest.raises(NotFound, match="there is no snapshot nothing"):
        snapshotter.usage("nothing")


@pytest.mark.parametrize("name", ["", ".", "../x", "a b", "a\n", "-a", "a'", "ä", "x" * 256])
def test_names_that_are_none(snapshotter: Snapshotter, name: str) -> None:
    """Names are plain characters, and nothing else reaches the index."""
    with pytest.raises(InvalidInput, match="cannot be a snapshot's key"):
        snapshotter.prepare(name)
    commit_layer(snapshotter, "one")
    with pytest.raises(InvalidInput, match="cannot be a snapshot's parent"):
        snapshotter.view("look", name)
    snapshotter.prepare("box")
    with pytest.raises(InvalidInput, match="cannot be a snapshot's name"):
        snapshotter.commit(name, "box")


def test_the_root_directory_is_the_parents(snapshotter: Snapshotter) -> None:
    """A layer or container that says nothing of / shows it as it is below."""
    root = Path(snapshotter.prepare("unpack")[0].source)
    root.chmod(0o1750)
    os.chown(root, 12, 34)
    snapshotter.commit("one", "unpack")
    commit_layer(snapshotter, "two", "one", files={"a": ""})
    with shown(snapshotter.prepare("box", "two")) as root:
        about = root.stat()
    assert (about.st_mode & 0o7777, about.st_uid, about.st_gid) == (0o1750, 12, 34)


def test_shifted_copies(snapshotter: Snapshotter) -> None:
    """A copy with other owners is a snapshot of its own, whiteouts included."""
    commit_layer(snapshotter, "one", files={"a": "1", "gone": "1"})
    commit_layer(snapshotter, "two", "one", files={"b": "2"}, removed=("gone",))

    def owners(uid: int, gid: int) -> tuple[int, int]:
        return uid + 100_000, gid + 200_000

    snapshotter.shift("one", "one-shifted", owners)
    snapshotter.shift("two", "two-shifted", owners, parent="one-shifted")
    with pytest.raises(Conflict, match="there is a snapshot two-shifted already"):
        snapshotter.shift("two", "two-shifted", owners, parent="one-shifted")
    with pytest.raises(NotFound, match="there is no snapshot nothing"):
        snapshotter.shift("nothing", "more", owners)
    snapshotter.prepare("box", "one")
    with pytest.raises(Conflict, match="box is not committed"):
        snapshotter.shift("box", "more", owners)
    with shown(snapshotter.prepare("shifted", "two-shifted")) as root:
        assert read_files(root) == {"a": "1", "b": "2"}
        for path in (root, root / "a", root / "b"):
            assert (path.stat().st_uid, path.stat().st_gid) == (100_000, 200_000)
    names = {info.name for info in snapshotter.walk()}
    assert names == {"one", "two", "one-shifted", "two-shifted", "box", "shifted"}


def test_it_is_found_again(snapshotter: Snapshotter) -> None:
    """Another process finds what one left."""
    commit_layer(snapshotter, "one", files={"a": "1"})
    snapshotter.prepare("box", "one")
    with SNAPSHOTTERS[snapshotter.name](snapshotter.root) as other:
        assert list(other.walk()) == list(snapshotter.walk())
        with shown(other.mounts("box")) as root:
            assert read_files(root) == {"a": "1"}
