"""What a container changed becomes a layer, and the layer makes the same again."""

from __future__ import annotations

import io
import os
import socket
import stat
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import Conflict, InvalidInput, OperationFailed, Unsupported
from pierhead.images.compression import open_reader
from pierhead.images.content import ContentStore
from pierhead.images.diff import LayerWriter, write_layer, write_tree
from pierhead.images.tarlayer.reader import TarReader
from pierhead.images.treewalk import TreeWalk
from tests.support.requires import requires
from tests.support.unpacking import describe, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pierhead.images.compression import Written
    from pierhead.images.diff import Layer
    from pierhead.images.tarlayer.entry import Entry

pytestmark = requires("root", "python:isal", "python:backports.zstd")

TIME_NS = 1_600_000_000_000_000_000


class Overlay:
    """A real overlay of directories, mounted."""

    def __init__(self, directory: Path) -> None:
        self.lower, self.upper = directory / "lower", directory / "upper"
        self.merged, self._work = directory / "merged", directory / "work"
        self.options = ""
        for each in (self.lower, self.upper, self.merged, self._work):
            each.mkdir(parents=True)

    def mount(self) -> None:
        """It is mounted."""
        options = f"lowerdir={self.lower},upperdir={self.upper},workdir={self._work}{self.options}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.merged)], check=True)

    def unmount(self) -> None:
        """It is not mounted."""
        if self.merged.is_mount():
            subprocess.run(["umount", str(self.merged)], check=True)


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[Overlay]:
    """One whose lower directory has something to change."""
    made = Overlay(tmp_path / "overlay")
    for name in ("kept", "gone", "d/changed", "d/gone", "tree/a/b", "again/old", "renamed/x"):
        (made.lower / name).parent.mkdir(exist_ok=True, parents=True)
        (made.lower / name).write_text(f"old {name}")
    yield made
    made.unmount()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    """An empty one."""
    return ContentStore(tmp_path / "content")


def content(store: ContentStore, layer: Layer) -> bytes:
    """A layer's archive."""
    fd = store.open(layer.descriptor.digest)
    try:
        reader = open_reader(fd)
        return b"".join(iter(lambda: reader.read(1 << 20), b""))
    finally:
        os.close(fd)


def entries(archive: bytes) -> list[Entry]:
    """What the archive has."""
    return list(TarReader(io.BytesIO(archive)))


def change(root: Path) -> None:
    """As a program in the container would."""
    (root / "gone").unlink()
    (root / "d/changed").write_text("new")
    (root / "d/gone").unlink()
    subprocess.run(["rm", "-r", str(root / "tree"), str(root / "again")], check=True)
    (root / "again").mkdir(mode=0o711)
    (root / "again/new").write_text("new")
    (root / "setuid").write_text("#!")
    os.chown(root / "setuid", 5, 6)
    (root / "setuid").chmod(0o4755)
    os.setxattr(root / "setuid", "user.x", b"\0y")
    os.link(root / "setuid", root / "other-name")
    os.symlink("kept", root / "link")
    os.mkfifo(root / "pipe", 0o600)
    os.mknod(root / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
    os.utime(root / "d/changed", ns=(TIME_NS, TIME_NS + 123))


def without_sockets(tree: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Times of directories in whole seconds, as layers have them; no sockets, and not the root itself."""
    kept = {}
    for name, about in tree.items():
        if not stat.S_ISSOCK(int(str(about[0]))) and name not in (".", "socket"):
            seconds = int(str(about[5])) // 10**9
            kept[name] = (*about[:5], seconds, *about[6:])
    return kept


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_a_layer_makes_the_same_again(
    tmp_path: Path, overlay: Overlay, store: ContentStore, compression: Written
) -> None:
    """What the container saw is what is seen over the unpacked layer, whiteouts and all."""
    overlay.mount()
    change(overlay.merged)
    seen = describe(overlay.merged)
    layer = write_layer(store, overlay.upper, compression=compression)
    archive = content(store, layer)
    assert compute_digest(archive) == layer.diff_id
    assert len(archive) == layer.size_bytes
    assert store.find_size(layer.descriptor.digest) == layer.descriptor.size
    again = Overlay(tmp_path / "again")
    again.lower.rmdir()
    overlay.lower.rename(again.lower)
    unpack(archive, again.upper)
    again.mount()
    try:
        found = without_sockets(describe(again.merged))
        assert found == without_sockets(seen)
    finally:
        again.unmount()


def test_what_is_in_it(overlay: Overlay, store: ContentStore) -> None:
    """Only what changed, in the order of the names that it is about; nothing of overlayfs's own."""
    overlay.mount()
    change(overlay.merged)
    found = entries(content(store, write_layer(store, overlay.upper)))
    assert [(entry.name.decode(), entry.kind) for entry in found] == [
        ("again", "directory"),
        ("again/.wh..wh..opq", "file"),
        ("again/new", "file"),
        ("d", "directory"),
        ("d/changed", "file"),
        ("d/.wh.gone", "file"),
        (".wh.gone", "file"),
        ("link", "symlink"),
        ("null", "character"),
        ("other-name", "file"),
        ("pipe", "fifo"),
        ("setuid", "hardlink"),
        (".wh.tree", "file"),
    ]
    assert [entry.xattrs for entry in found if entry.xattrs] == [{b"user.x": b"\0y"}]
    assert all(entry.mtime_ns % 10**9 == 0 for entry in found)


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path, store: ContentStore) -> None:
    """In whatever order its files were made."""
    digests = set()
    for number, order in enumerate((range(50), reversed(range(50)))):
        root = tmp_path / f"tree{number}"
        root.mkdir()
        for each in order:
            (root / f"file{each * 7919 % 50}").write_text("same")
        for path in (*root.iterdir(), root):
            os.utime(path, ns=(TIME_NS, TIME_NS + number))
        digests |= {write_layer(store, root, compression=kind).descriptor.digest for kind in ("gzip", "zstd")}
    assert len(digests) == 2


def test_times(tmp_path: Path, store: ContentStore) -> None:
    """Whole seconds unless asked, and never after SOURCE_DATE_EPOCH, which changes no earlier time."""
    for name, time_ns in (("early", 1_000_000_123_000_000_000), ("late", TIME_NS + 5)):
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / name).write_text("")
        os.utime(tmp_path / "tree" / name, ns=(0, time_ns + 7))

    def times(*, epoch: int | None = None, precise: bool = False) -> list[int]:
        layer = write_layer(store, tmp_path / "tree", source_date_epoch=epoch, precise_times=precise)
        return [entry.mtime_ns for entry in entries(content(store, layer))]

    assert times() == [1_000_000_123 * 10**9, TIME_NS]
    assert times(precise=True) == [1_000_000_123 * 10**9 + 7, TIME_NS + 12]
    assert times(epoch=1_100_000_000) == [1_000_000_123 * 10**9, 1_100_000_000 * 10**9]
    assert times(epoch=1_100_000_000, precise=True) == [1_000_000_123 * 10**9 + 7, 1_100_000_000 * 10**9]


def test_marks_of_user_overlays(tmp_path: Path, store: ContentStore) -> None:
    """Those of userxattr count too, and whiteouts that are attributes; what only looks like one does not."""
    upper = tmp_path / "upper"
    for name in ("opaque", "holds-marks"):
        (upper / name).mkdir(parents=True)
    os.setxattr(upper / "opaque", "user.overlay.opaque", b"y")
    os.setxattr(upper / "holds-marks", "user.overlay.opaque", b"x")
    for name in ("gone", "kept"):
        (upper / "holds-marks" / name).write_text("")
    os.setxattr(upper / "holds-marks/gone", "user.overlay.whiteout", b"")
    found = [entry.name for entry in entries(content(store, write_layer(store, upper)))]
    assert found == [
        b"holds-marks",
        b"holds-marks/.wh.gone",
        b"holds-marks/kept",
        b"opaque",
        b"opaque/.wh..wh..opq",
    ]


@pytest.mark.parametrize("name", [".wh.x", "d/.wh.x", ".wh.d/x"])
def test_names_that_a_layer_cannot_have(tmp_path: Path, store: ContentStore, name: str) -> None:
    """A file that would delete something else is refused."""
    (tmp_path / "upper" / name).parent.mkdir(parents=True)
    (tmp_path / "upper" / name).write_text("")
    with pytest.raises(InvalidInput, match="can be in no layer"):
        write_layer(store, tmp_path / "upper")
    assert not list(store.digests())
    assert not list(store.parts())


def test_what_overlayfs_keeps_elsewhere(overlay: Overlay, store: ContentStore) -> None:
    """A directory that was renamed by reference is in no layer; the sentence says how to mount."""
    overlay.options = ",redirect_dir=on"
    overlay.mount()
    (overlay.merged / "renamed").rename(overlay.merged / "new-name")
    with pytest.raises(Unsupported, match=r"'new-name' elsewhere \(trusted.overlay.redirect\)") as caught:
        write_layer(store, overlay.upper)
    assert "redirect_dir=off" in caught.value.hint


def test_a_whole_tree(tmp_path: Path, overlay: Overlay) -> None:
    """As others read it; names that mean something in layers mean nothing here."""
    overlay.mount()
    change(overlay.merged)
    (overlay.merged / ".wh.kept").write_text("a file")
    parts: list[bytes] = []
    size = write_tree(lambda data: parts.append(bytes(data)), overlay.merged)
    archive = b"".join(parts)
    assert size == len(archive)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        names = opened.getnames()
    assert sorted(names) == sorted(
        name.removesuffix("/.") for name in describe(overlay.merged) if name not in (".", "socket")
    )
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-x", "-p", "--numeric-owner", "-C", str(out)], input=archive, check=True)
    assert (out / "again/new").read_text() == "new"
    assert (out / ".wh.kept").read_text() == "a file"


def holey_tree(root: Path) -> Path:
    """A directory with a file that is mostly holes, in a directory; returns the file."""
    (root / "var/log").mkdir(parents=True)
    with (root / "var/log/lastlog").open("wb") as file:
        for at, data in ((0, b"begin"), (5 << 20, b"middle"), ((9 << 20) + 1000, b"end")):
            file.seek(at)
            file.write(data)
        file.truncate(12 << 20)
    return root / "var/log/lastlog"


def test_holes(tmp_path: Path, store: ContentStore) -> None:
    """Left out of a tree where that is asked for, and never of a layer: docker could not save it again."""
    file = holey_tree(tmp_path / "tree")
    sizes = {}
    for sparse in (True, False):
        parts: list[bytes] = []
        sizes[sparse] = write_tree(lambda data: parts.append(bytes(data)), tmp_path / "tree", sparse=sparse)  # noqa: B023
        out = tmp_path / f"out-{sparse}"
        out.mkdir()
        subprocess.run(["tar", "-x", "-C", out], input=b"".join(parts), check=True)
        found = out / "var/log/lastlog"
        assert found.read_bytes() == file.read_bytes()
        assert (found.stat().st_blocks * 512 < 1 << 20) == sparse
        os.mkdir(tmp_path / f"ours-{sparse}")
        unpack(b"".join(parts), tmp_path / f"ours-{sparse}")
        assert (tmp_path / f"ours-{sparse}/var/log/lastlog").read_bytes() == file.read_bytes()
    assert sizes[True] < 1 << 18 < 12 << 20 < sizes[False]
    assert write_layer(store, tmp_path / "tree").size_bytes > 12 << 20


def test_a_deep_tree(tmp_path: Path, store: ContentStore) -> None:
    """More directories in one another than a process has descriptors."""
    (tmp_path / "tree").mkdir()
    fd = os.open(tmp_path / "tree", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    layer = write_layer(store, tmp_path / "tree")
    assert len(entries(content(store, layer))) == 1500
    subprocess.run(["rm", "-r", str(tmp_path / "tree")], check=True)


def exchanging(directory: Path, act: Callable[[], None]) -> Callable[[Entry, object], None]:
    """An ``add`` that changes the tree when it is given the entry ``first``."""

    def add(entry: Entry, chunks: object) -> None:
        if entry.name == b"first":
            act()
        for _ in chunks:  # type: ignore[attr-defined]
            pass

    return add


@pytest.mark.parametrize("name", ["second", "sub"])
@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", ""])
def test_exchanged_names_lead_nowhere(tmp_path: Path, name: str, target: str) -> None:
    """A running container that puts a link in a file's place gets nothing else into its layer."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for each in ("first", "second", "sub/inside"):
        (root / each).write_text("")

    def exchange() -> None:
        (root / name).rename(tmp_path / "moved")
        if target:
            (root / name).symlink_to(target)

    walk = TreeWalk(exchanging(root, exchange), upper=True, latest_s=None, precise=False)
    fd = os.open(root, os.O_RDONLY)
    try:
        with pytest.raises(Conflict, match="changed while it was read"):
            walk.run(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["second", "sub"])
@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", ""])
def test_who_is_lenient_gets_the_rest(tmp_path: Path, name: str, target: str) -> None:
    """Nothing that is put in a place of another is followed either; what is not changed still comes."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    for each in ("first", "second", "sub/inside", "then"):
        (root / each).write_text("")
    found = []

    def add(entry: Entry, _: object) -> None:
        found.append(entry.name.decode())
        if entry.name == b"first":
            (root / name).rename(tmp_path / "moved")
            if target:
                (root / name).symlink_to(target)

    fd = os.open(root, os.O_RDONLY)
    try:
        TreeWalk(add, upper=False, latest_s=None, precise=False, lenient=True).run(fd)
    finally:
        os.close(fd)
    assert found == [each for each in ("first", "second", "sub", "sub/inside", "then") if name not in each]


def test_a_closed_directory(tmp_path: Path) -> None:
    """Comes without what is in it."""
    (tmp_path / "root/proc/1").mkdir(parents=True)
    (tmp_path / "root/sub/proc").mkdir(parents=True)
    found = []
    walk = TreeWalk(
        lambda entry, _: found.append(entry.name),
        upper=False,
        latest_s=None,
        precise=False,
        closed=frozenset((b"proc",)),
    )
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    try:
        walk.run(fd)
    finally:
        os.close(fd)
    assert found == [b"proc", b"sub", b"sub/proc"]


def test_a_file_that_shrinks_ends_in_zeros(tmp_path: Path) -> None:
    """For whoever copies files of a container that runs, and cannot stop it."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(b"x" * (3 << 20))
    parts: list[bytes] = []

    def append(data: bytes | memoryview) -> None:
        os.truncate(tmp_path / "root/file", 100)
        parts.append(bytes(data))

    write_tree(append, tmp_path / "root", lenient=True)
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as opened:
        data = opened.extractfile("file").read()  # type: ignore[union-attr]
    assert len(data) == 3 << 20
    assert data.endswith(bytes(1 << 20))


def test_a_file_that_shrinks(tmp_path: Path) -> None:
    """Is no file of a layer: the sentence says what to do."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(bytes(3 << 20))
    sizes: list[int] = []

    def append(data: bytes | memoryview) -> None:
        sizes.append(len(data))
        os.truncate(tmp_path / "root/file", 100)

    with pytest.raises(Conflict, match="'file' has not the 3145728 bytes") as caught:
        write_tree(append, tmp_path / "root")
    assert "pause the container" in caught.value.hint


def test_errors_of_who_takes_the_bytes_are_theirs(tmp_path: Path) -> None:
    """A pipe that nobody reads any more is not taken for a file that cannot be read."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(bytes(3 << 20))

    def append(_: bytes | memoryview) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        write_tree(append, tmp_path / "root")


def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing of the layer is left, and the sentence says why."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_bytes(os.urandom(2 << 20))
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path / "small")], check=True)
    try:
        small = ContentStore(tmp_path / "small/content")
        with pytest.raises(OperationFailed, match="the disk is full"):
            write_layer(small, tmp_path / "root", compression="gzip")
        assert not list(small.parts())
        assert not list(small.digests())
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def test_a_layer_of_a_whole_tree(tmp_path: Path, store: ContentStore) -> None:
    """As ``import`` and ``bootstrap`` make one."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/file").write_text("content")
    with LayerWriter(store, compression="zstd") as layer:
        write_tree(layer.append, tmp_path / "root")
        made = layer.commit()
    assert made == write_layer(store, tmp_path / "root", compression="zstd")
    assert made.descriptor.media_type == "application/vnd.oci.image.layer.v1.tar+zstd"
