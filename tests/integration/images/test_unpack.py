"""Layers are unpacked as their archives say, in an overlay's form and in the applied one."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import Forbidden, InvalidInput
from pierhead.images.compression import Compressor
from pierhead.images.tarlayer.entry import Entry
from tests.support.requires import requires
from tests.support.tars import pack, vectors
from tests.support.unpacking import describe, unpack

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.images.compression import Written
    from pierhead.images.unpack import Whiteouts

pytestmark = requires("root", "python:isal", "python:backports.zstd")

TIME_NS = 1_500_000_000_123_456_789
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""cap_net_raw=ep, as setcap(8) writes it."""

TREE: list[Entry | tuple[Entry, bytes]] = [
    Entry(name=b"./", kind="directory", mode=0o751, uid=5, gid=6, mtime_ns=TIME_NS),
    Entry(name=b"./d", kind="directory", mode=0o2750, uid=1000, gid=1001, mtime_ns=TIME_NS),
    (Entry(name=b"./d/file", mode=0o640, uid=1000, gid=1002, mtime_ns=TIME_NS), b"content"),
    (Entry(name=b"./d/setuid", mode=0o6755, uid=12, gid=13, mtime_ns=TIME_NS), b"#!"),
    Entry(name=b"./d/none", mode=0, mtime_ns=-1),
    Entry(name=b"./d/link", kind="symlink", linkname=b"../nowhere", uid=7, gid=8, mtime_ns=TIME_NS),
    Entry(name=b"./d/hard", kind="hardlink", linkname=b"./d/file"),
    Entry(name=b"./d/null", kind="character", mode=0o666, device_major=1, device_minor=3, mtime_ns=TIME_NS),
    Entry(
        name=b"./d/disk",
        kind="block",
        mode=0o660,
        gid=6,
        device_major=8,
        device_minor=70_000,
        mtime_ns=TIME_NS,
    ),
    Entry(name=b"./d/pipe", kind="fifo", mode=0o622, mtime_ns=TIME_NS),
    Entry(name=b"./t", kind="directory", mode=0o1777, mtime_ns=TIME_NS),
    Entry(name=b"./t/no", kind="directory", mode=0, mtime_ns=TIME_NS),
    Entry(name=b"./t/no/" + b"n" * 255, mtime_ns=TIME_NS, mode=0o644),
    Entry(name="./t/größe\udc80".encode(errors="surrogateescape"), mtime_ns=TIME_NS, mode=0o644),
]


def as_archive() -> bytes:
    """The tree above."""
    return pack(*TREE)


def compress(data: bytes, kind: Written) -> bytes:
    """In one of the forms that are written."""
    compressor = Compressor(kind)
    return bytes(compressor.compress(data)) + compressor.flush()


@pytest.mark.parametrize("umask", [0, 0o22, 0o77])
@pytest.mark.parametrize("whiteouts", ["overlay", "apply"])
def test_everything_is_as_the_archive_says(tmp_path: Path, whiteouts: Whiteouts, umask: int) -> None:
    """Kinds, owners, modes with setuid, times with nanoseconds also of directories, whatever our umask is."""
    before = os.umask(umask)
    try:
        root = tmp_path / "root"
        unpack(as_archive(), root, whiteouts=whiteouts)
    finally:
        os.umask(before)
    kinds = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK, "fifo": stat.S_IFIFO}
    kinds |= {"character": stat.S_IFCHR, "block": stat.S_IFBLK}
    for each in TREE:
        entry, data = each if isinstance(each, tuple) else (each, b"")
        path = os.path.join(os.fsencode(root), entry.name)
        about = os.lstat(path)
        if entry.kind == "hardlink":
            assert os.path.samefile(path, root / "d/file")
            continue
        assert stat.S_IFMT(about.st_mode) == kinds[entry.kind], entry
        assert (about.st_uid, about.st_gid, about.st_mtime_ns) == (entry.uid, entry.gid, entry.mtime_ns), (
            entry
        )
        if entry.kind == "symlink":
            assert os.readlink(path) == entry.linkname
        else:
            assert stat.S_IMODE(about.st_mode) == entry.mode, entry
        if entry.kind == "file":
            with open(path, "rb") as file:
                assert file.read() == data
        if entry.device_major:
            assert about.st_rdev == os.makedev(entry.device_major, entry.device_minor)


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_what_was_hashed_is_not_hashed_again(tmp_path: Path, kind: Written) -> None:
    """A known digest is the diff id where nothing is compressed, if it is of the algorithm of diff ids."""
    data, said = compress(as_archive(), kind), f"sha256:{'7' * 64}"
    found = unpack(data, tmp_path / "known", digest=said)
    real = compute_digest(as_archive())
    assert found == unpack(data, tmp_path / "unknown").replace(diff_id=said if kind == "none" else real)
    assert unpack(data, tmp_path / "other", digest=f"sha512:{'7' * 128}").diff_id == real
    assert describe(tmp_path / "known") == describe(tmp_path / "unknown")


@requires("tar")
def test_as_gnu_tar_unpacks_it(tmp_path: Path) -> None:
    """The same tree comes of it, but for names that it takes otherwise."""
    archive = as_archive()
    (tmp_path / "theirs").mkdir()
    command = ["tar", "-x", "--numeric-owner", "-p", "-C", str(tmp_path / "theirs")]
    subprocess.run(command, input=archive, check=True, capture_output=True)
    unpack(archive, tmp_path / "ours")
    assert describe(tmp_path / "ours") == describe(tmp_path / "theirs")


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd"])
def test_the_diff_id_is_of_the_whole_archive(tmp_path: Path, kind: Written) -> None:
    """With what fills it up at its end, and however it is compressed."""
    archive = as_archive() + bytes(8192)
    result = unpack(compress(archive, kind), tmp_path / "root")
    assert result.diff_id == compute_digest(archive)
    assert result.size_bytes == len(archive)
    assert result.entries == len(TREE)
    assert result.implied == ()


def test_extended_attributes(tmp_path: Path) -> None:
    """Of files and directories, also those that a change of owner would take away."""
    xattrs = {b"user.comment": b"\0binary", b"security.capability": CAPABILITY}
    archive = pack(
        (Entry(name=b"ping", mode=0o755, uid=1000, xattrs=xattrs), b"#!"),
        Entry(name=b"d", kind="directory", xattrs={b"user.d": b"e", b"trusted.mine": b"f"}),
        Entry(name=b"l", kind="symlink", linkname=b"x", xattrs={b"user.never": b"on links"}),
    )
    result = unpack(archive, tmp_path / "root")
    root = tmp_path / "root"
    assert os.getxattr(root / "ping", "user.comment") == b"\0binary"
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY
    assert os.getxattr(root / "d", "user.d") == b"e"
    assert os.getxattr(root / "d", "trusted.mine") == b"f"
    assert result.left_out_xattrs == 1


def test_holes(tmp_path: Path) -> None:
    """A sparse file takes as little room as it had."""
    archive = (vectors("tar") / "pax-sparse-big.tar").read_bytes()
    unpack(archive, tmp_path / "root")
    about = os.stat(tmp_path / "root/pax-sparse")
    assert about.st_size == 60_000_000_000
    assert about.st_blocks * 512 < 1 << 20
    with open(tmp_path / "root/pax-sparse", "rb") as file:
        for offset in (9_999_999_488, 59_999_999_488):
            file.seek(offset)
            assert file.read(512).endswith(b"0123456789")
            file.seek(offset - 512)
            assert file.read(512) == bytes(512)


def test_later_entries_take_earlier_ones_places(tmp_path: Path) -> None:
    """Of any kind over any kind; only a directory keeps what is in it."""
    kinds: dict[str, Entry | tuple[Entry, bytes]] = {
        "file": (Entry(name=b"x"), b"new"),
        "directory": Entry(name=b"x", kind="directory", mode=0o700),
        "symlink": Entry(name=b"x", kind="symlink", linkname=b"y"),
        "fifo": Entry(name=b"x", kind="fifo"),
        "hardlink": Entry(name=b"x", kind="hardlink", linkname=b"y"),
    }
    target = (Entry(name=b"y"), b"target")
    inside = (Entry(name=b"x/inside"), b"inside")
    for (first, earlier), (second, last) in itertools.product(kinds.items(), repeat=2):
        root = tmp_path / f"{first}-{second}"
        entries = [target, earlier, *([inside] if first == "directory" else []), last]
        result = unpack(pack(*entries), root)
        expected = ["x", "y"]
        assert sorted(os.listdir(root)) == expected, (first, second)
        if first == second == "directory":
            assert os.listdir(root / "x") == ["inside"]
        elif second == "directory":
            assert os.listdir(root / "x") == []
        elif second == "hardlink":
            assert os.path.samefile(root / "x", root / "y")
        assert not result.implied


def test_links_on_the_way_are_walked_inside(tmp_path: Path) -> None:
    """As builders write layers: files in lib, where lib is a link to usr/lib, in whatever form it says so."""
    for target in (b"usr/lib", b"/usr/lib", b"../../usr/./lib/", b"usr/bin/../lib"):
        archive = pack(
            Entry(name=b"usr/bin", kind="directory"),
            Entry(name=b"usr/lib", kind="directory", mode=0o755),
            Entry(name=b"lib", kind="symlink", linkname=target),
            (Entry(name=b"lib/x/y"), b"content"),
            (Entry(name=b"lib/z"), b"content"),
        )
        root = tmp_path / target.hex()
        result = unpack(archive, root)
        assert (root / "usr/lib/x/y").read_bytes() == b"content"
        assert (root / "usr/lib/z").read_bytes() == b"content"
        assert os.readlink(root / "lib") == os.fsdecode(target)
        assert result.implied == ("usr", "usr/lib/x")


def test_implied_directories(tmp_path: Path) -> None:
    """What no entry is for is told, unless one comes later."""
    archive = pack(
        (Entry(name=b"a/b/c"), b""), (Entry(name=b"d/e"), b""), Entry(name=b"d", kind="directory", mode=0o711)
    )
    result = unpack(archive, tmp_path / "root")
    assert result.implied == ("a", "a/b")
    assert stat.S_IMODE(os.stat(tmp_path / "root/a/b").st_mode) == 0o755
    assert stat.S_IMODE(os.stat(tmp_path / "root/d").st_mode) == 0o711


# Whiteouts

LAYERED: list[Entry | tuple[Entry, bytes]] = [
    Entry(name=b"gone/.wh.file"),
    Entry(name=b".wh.tree"),
    Entry(name=b"opaque", kind="directory", mode=0o755),
    (Entry(name=b"opaque/new"), b"new"),
    Entry(name=b"opaque/.wh..wh..opq"),
    Entry(name=b".wh.again", mode=0o644),
    Entry(name=b"again", kind="directory", mode=0o755),
    (Entry(name=b"again/new"), b"new"),
    (Entry(name=b"kept"), b"new"),
    Entry(name=b".wh.kept"),
    Entry(name=b"late", kind="directory", mode=0o755),
    (Entry(name=b"late/new"), b"new"),
    Entry(name=b".wh.late"),
    Entry(name=b".wh.never-there"),
    Entry(name=b"turned", kind="directory", mode=0o755),
    (Entry(name=b".wh.implied"), b""),
    (Entry(name=b"implied/new"), b"new"),
]
LOWER: list[Entry | tuple[Entry, bytes]] = [
    (Entry(name=b"gone/file"), b"old"),
    (Entry(name=b"gone/other"), b"old"),
    (Entry(name=b"tree/a/b/c"), b"old"),
    (Entry(name=b"opaque/old/file"), b"old"),
    (Entry(name=b"again/old"), b"old"),
    (Entry(name=b"kept"), b"old"),
    (Entry(name=b"late/old"), b"old"),
    (Entry(name=b"late/sub/old"), b"old"),
    (Entry(name=b"turned"), b"old"),
    (Entry(name=b"implied/old"), b"old"),
]
MERGED = {
    "again/new": b"new",
    "gone/other": b"old",
    "implied/new": b"new",
    "kept": b"new",
    "late/new": b"new",
    "opaque/new": b"new",
}


def files(root: Path) -> dict[str, bytes]:
    """Regular files with their contents."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_whiteouts_applied(tmp_path: Path) -> None:
    """What they hide is removed; what the layer itself has stays, whichever came first."""
    unpack(pack(*LOWER), tmp_path / "root", whiteouts="apply")
    unpack(pack(*LAYERED), tmp_path / "root", whiteouts="apply")
    assert files(tmp_path / "root") == MERGED
    assert (tmp_path / "root/turned").is_dir()


@pytest.mark.parametrize("form", ["overlay", "overlay-user"])
def test_whiteouts_for_overlayfs(tmp_path: Path, form: Whiteouts) -> None:
    """The kernel's own overlay of the two directories shows what applying them gives."""
    unpack(pack(*LOWER), tmp_path / "lower", whiteouts=form)
    unpack(pack(*LAYERED), tmp_path / "upper", whiteouts=form)
    about = os.lstat(tmp_path / "upper/gone/file")
    assert stat.S_ISCHR(about.st_mode)
    assert about.st_rdev == 0
    name = "user.overlay.opaque" if form == "overlay-user" else "trusted.overlay.opaque"
    for directory in ("opaque", "again", "late", "implied"):
        assert os.getxattr(tmp_path / "upper" / directory, name) == b"y"
    assert not os.listxattr(tmp_path / "upper/turned")
    merged = tmp_path / "merged"
    merged.mkdir()
    options = f"lowerdir={tmp_path}/upper:{tmp_path}/lower" + (",userxattr" if form == "overlay-user" else "")
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(merged)], check=True)
    try:
        assert files(merged) == MERGED
        assert (merged / "turned").is_dir()
    finally:
        subprocess.run(["umount", str(merged)], check=True)


def test_whiteouts_that_would_hide_nothing(tmp_path: Path) -> None:
    """In a directory that hides all below it, overlayfs would show them as files that cannot be had."""
    archive = pack(
        Entry(name=b"d", kind="directory"),
        Entry(name=b"d/.wh..wh..opq"),
        Entry(name=b"d/.wh.file"),
        Entry(name=b"d/sub", kind="directory"),
        Entry(name=b"d/sub/.wh.file"),
        Entry(name=b"e/.wh.file"),
    )
    unpack(archive, tmp_path / "upper")
    assert os.listdir(tmp_path / "upper/d") == ["sub"]
    assert os.listdir(tmp_path / "upper/d/sub") == []
    assert os.listdir(tmp_path / "upper/e") == ["file"]


@pytest.mark.parametrize("form", ["overlay", "apply"])
def test_what_aufs_kept_for_itself(tmp_path: Path, form: Whiteouts) -> None:
    """Layers of Docker's first years have it at their top; it is not unpacked, and hides nothing."""
    archive = pack(
        Entry(name=b"./.wh..wh.aufs"),
        Entry(name=b".wh..wh.plnk", kind="directory", mode=0o700),
        (Entry(name=b".wh..wh.plnk/12.34"), b"linked"),
        (Entry(name=b"file"), b"own"),
    )
    unpack(archive, tmp_path / "root", whiteouts=form)
    assert os.listdir(tmp_path / "root") == ["file"]


def test_a_device_that_overlayfs_takes_for_a_whiteout(tmp_path: Path) -> None:
    """Has the meaning of one in either form."""
    device = Entry(name=b"gone/file", kind="character")
    unpack(pack(*LOWER), tmp_path / "root", whiteouts="apply")
    unpack(pack(device), tmp_path / "root", whiteouts="apply")
    assert not os.path.lexists(tmp_path / "root/gone/file")
    unpack(pack(device), tmp_path / "upper")
    assert os.lstat(tmp_path / "upper/gone/file").st_rdev == 0


def test_links_in_layers_below_are_replaced_by_entries(tmp_path: Path) -> None:
    """A directory's entry over a link makes a directory; the link's target is not touched."""
    lower = [Entry(name=b"real", kind="directory"), Entry(name=b"l", kind="symlink", linkname=b"real")]
    unpack(pack(*lower), tmp_path / "root", whiteouts="apply")
    unpack(
        pack(Entry(name=b"l", kind="directory"), (Entry(name=b"l/x"), b"")),
        tmp_path / "root",
        whiteouts="apply",
    )
    assert os.listdir(tmp_path / "root/real") == []
    assert os.listdir(tmp_path / "root/l") == ["x"]


def test_a_directory_that_hands_its_group_down(tmp_path: Path) -> None:
    """A setgid directory that was there before gives no file its group."""
    root = tmp_path / "root"
    root.mkdir()
    os.chown(root, 0, 55)
    root.chmod(0o2755)
    unpack(pack((Entry(name=b"f", mode=0o644), b""), Entry(name=b"d", kind="directory", mode=0o755)), root)
    assert [(os.stat(root / name).st_gid, stat.S_IMODE(os.stat(root / name).st_mode)) for name in "fd"] == [
        (0, 0o644),
        (0, 0o755),
    ]


# Without root


def test_without_owners(tmp_path: Path) -> None:
    """Everything is ours, nothing is setuid, devices and security attributes are left out and counted."""
    extra = Entry(name=b"p", xattrs={b"security.capability": CAPABILITY, b"user.x": b"y"}, mode=0o644)
    result = unpack(pack(*TREE, extra), tmp_path / "root", owners=False)
    about = os.stat(tmp_path / "root/d/setuid")
    assert (about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)) == (os.geteuid(), os.getegid(), 0o755)
    assert not os.path.lexists(tmp_path / "root/d/null")
    assert os.listxattr(tmp_path / "root/p") == ["user.x"]
    assert (result.left_out_devices, result.left_out_xattrs) == (2, 1)


def test_owners_take_root(tmp_path: Path) -> None:
    """Somebody else gets a sentence, or what is possible without owners."""
    (tmp_path / "mine").mkdir()
    os.chown(tmp_path / "mine", 1234, 1234)
    for path in (tmp_path, *tmp_path.parents):
        path.chmod(path.stat().st_mode | 0o011)
    os.setegid(1234)
    os.seteuid(1234)
    try:
        with pytest.raises(Forbidden, match=r"cannot unpack './d/file': operation not permitted") as caught:
            unpack(as_archive(), tmp_path / "mine")
        assert "root" in caught.value.hint
        os.mkdir(tmp_path / "mine/second")
        result = unpack(as_archive(), tmp_path / "mine/second", owners=False)
        assert result.left_out_devices == 2
        assert (tmp_path / "mine/second/d/file").read_bytes() == b"content"
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_a_full_disk(tmp_path: Path) -> None:
    """The sentence says so."""
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "small")], check=True)
    try:
        with pytest.raises(Exception, match="the disk is full") as caught:
            unpack(pack((Entry(name=b"f"), bytes(1 << 20))), tmp_path / "small")
        assert getattr(caught.value, "code", "") == "disk-full"
        assert getattr(caught.value, "errno", 0) == errno.ENOSPC
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)


def test_hard_links_to_the_layers_below(tmp_path: Path) -> None:
    """Applied, they work; in a layer of its own there is a sentence."""
    link = pack(Entry(name=b"other", kind="hardlink", linkname=b"kept"))
    unpack(pack(*LOWER), tmp_path / "root", whiteouts="apply")
    unpack(link, tmp_path / "root", whiteouts="apply")
    assert os.path.samefile(tmp_path / "root/other", tmp_path / "root/kept")
    with pytest.raises(InvalidInput, match="'other' is a hard link to 'kept', and there is no such file"):
        unpack(link, tmp_path / "upper")
