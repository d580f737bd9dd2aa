"""Hundreds of archives that were made to do harm: nothing outside changes, whatever is inside."""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError
from pierhead.images.compression import Compressor
from pierhead.images.removal import remove_whatever
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.unpack import UnpackLimits
from tests.support.requires import requires
from tests.support.tars import END, pack, padded, pax, raw_header
from tests.support.unpacking import describe, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.images.tarlayer.entry import Kind
    from pierhead.images.unpack import Whiteouts

pytestmark = requires("root", "python:isal", "python:backports.zstd")

FORMS: tuple[Whiteouts, ...] = ("overlay", "overlay-user", "apply")
KINDS: tuple[Kind, ...] = ("file", "directory", "symlink", "hardlink", "fifo", "character", "block")
Contents = list[tuple[Entry, bytes]]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the one into which is unpacked, with things that somebody would like to change."""
    directory = tmp_path / "outside"
    (directory / "sub").mkdir(parents=True)
    (directory / "secret").write_text("secret")
    (directory / "secret").chmod(0o600)
    (directory / "sub" / "deep").write_text("deep")
    return directory


class Place:
    """Where hostile archives are unpacked, one after the other."""

    def __init__(self, tmp_path: Path, outside: Path) -> None:
        self._root = tmp_path / "root"
        self._outside = outside
        self._before = describe(outside)
        self._beside = sorted(os.listdir(tmp_path))
        self._parent = tmp_path
        self.layers = 0
        self.sentences: list[str] = []

    def unpack(self, archive: bytes, form: Whiteouts, *, lower: Contents = ()) -> None:  # type: ignore[assignment]
        """Unpacked, or refused; what is outside is as it was."""
        shutil.rmtree(self._root, ignore_errors=True)
        if lower:
            unpack(pack(*lower), self._root, whiteouts=form)
        try:
            unpack(archive, self._root, whiteouts=form)
            self.layers += 1
        except PierheadError as error:
            self.sentences.append(error.message)
        assert describe(self._outside) == self._before
        shutil.rmtree(self._root)
        assert sorted(os.listdir(self._parent)) == self._beside
        assert all(self.sentences)


@pytest.fixture
def place(tmp_path: Path, outside: Path) -> Place:
    """A place with something to attack beside it."""
    return Place(tmp_path, outside)


def entry(name: str, kind: Kind, linkname: str = "") -> tuple[Entry, bytes]:
    """One entry of this kind, which would do what it can."""
    made = Entry(
        name=name.encode(),
        kind=kind,
        mode=0o777,
        linkname=linkname.encode() if kind in ("symlink", "hardlink") else b"",
        device_major=1 if kind in ("character", "block") else 0,
        device_minor=3 if kind in ("character", "block") else 0,
        mtime_ns=1,
    )
    return made, b"owned" if kind == "file" else b""


def test_names_that_lead_out(place: Place, outside: Path) -> None:
    """``..`` anywhere, and absolute names."""
    names = [
        "../outside/secret",
        "../outside/new",
        "sub/../../outside/new",
        "./../outside/new",
        "/../outside/new",
        f"{outside}/new",
        f"//{outside}/secret",
        f"./{outside}/secret",
        "..",
        "../",
        "sub/..",
        "../outside/.wh.secret",
        "../outside/.wh..wh..opq",
        "sub/../../../" * 20 + str(outside / "new"),
    ]
    for name, kind, form in itertools.product(names, KINDS, FORMS):
        place.unpack(pack(entry(name, kind, "sub/x")), form)
    assert any("leads out of the directory" in sentence for sentence in place.sentences)
    assert place.layers + len(place.sentences) == len(names) * len(KINDS) * len(FORMS)


def links_out(outside: Path) -> Iterator[Contents]:
    """Symbolic links ``way`` that lead out, at once or by and by."""
    for target in ("../outside", str(outside), "../" * 30 + str(outside), "/proc/self/root" + str(outside)):
        yield [entry("way", "symlink", target)]
    yield [entry("one", "symlink", "../outside"), entry("way", "symlink", "one")]
    yield [entry("up", "symlink", ".."), entry("way", "symlink", "up/outside")]
    yield [entry("d/e/up", "symlink", "../../.."), entry("way", "symlink", "d/e/up/outside")]
    yield [entry("way", "symlink", "way")]
    yield [entry("way", "symlink", "other"), entry("other", "symlink", "way/x")]
    yield [entry("way", "symlink", "x/../" * 800)]


def test_links_that_are_written_through(place: Place, outside: Path) -> None:
    """First a link, then something through it, in any of the forms, also where the link was there before."""
    through: list[Contents] = [
        [entry("way/new", kind, target)] for kind in KINDS for target in ("way/secret", "secret")
    ]
    through += [[entry("way/secret", kind, "x")] for kind in KINDS]
    through += [[entry("way", kind, "x")] for kind in KINDS]
    through += [
        [entry("way/sub/deep", "file")],
        [entry("way/sub", "directory")],
        [entry("way/.wh.secret", "file")],
        [entry("way/.wh..wh..opq", "file")],
        [entry(".wh.way", "file"), entry("way/new", "file")],
        [entry("mine", "hardlink", "way/secret"), entry("mine", "file")],
        [entry("mine", "hardlink", "way"), entry("mine/new", "file")],
        [entry("mine", "symlink", "way/secret"), entry("mine", "file")],
        [entry("way", "directory"), entry("way/new", "file")],
        [entry("way/", "directory"), entry("way", "symlink", str(outside)), entry("way/new", "file")],
    ]
    count = 0
    for link, writes, form in itertools.product(links_out(outside), through, FORMS):
        place.unpack(pack(*link, *writes), form)
        count += 1
    for link, writes in itertools.product(links_out(outside), through):
        place.unpack(pack(*writes), "apply", lower=link)
        count += 1
    assert place.layers + len(place.sentences) == count > 1000
    assert any("through too many links" in sentence for sentence in place.sentences)


def test_hard_links_to_what_is_outside(place: Place, outside: Path) -> None:
    """They would give somebody else's file a name here, to write into or to read."""
    targets = [
        "../outside/secret",
        str(outside / "secret"),
        "/etc/shadow",
        "/proc/self/mem",
        "way/secret",
        "..",
        ".",
        "/",
        "",
        "missing",
        "x" * 300,
    ]
    for target, form in itertools.product(targets, FORMS):
        link = entry("way", "symlink", str(outside))
        place.unpack(pack(link, entry("mine", "hardlink", target), entry("mine", "file")), form)
    assert place.layers == 0


def test_writing_into_an_earlier_file(tmp_path: Path) -> None:
    """An entry over a hard link takes its place; the file's other name keeps its content."""
    first = (Entry(name=b"first"), b"first")
    other = (Entry(name=b"other"), b"other")
    link = Entry(name=b"other", kind="hardlink", linkname=b"first")
    unpack(pack(first, link, other), tmp_path / "root")
    assert (tmp_path / "root/first").read_bytes() == b"first"
    assert (tmp_path / "root/other").read_bytes() == b"other"


WITH_DATA = Entry(name=b"f", size=5)

LIES = {
    "an end in a file": (raw_header(b"f", size=b"77777777777\0") + bytes(512), "in the middle of an entry"),
    "a size of exabytes": (
        raw_header(b"f", size=b"\x80\0\0\0\x7f" + bytes(7)) + END,
        "files of more than",
    ),
    "a negative size": (raw_header(b"f", size=b"\xff" * 12) + END, "negative"),
    "a sparse file of exabytes": (
        pax([(b"GNU.sparse.size", b"9000000000000000000"), (b"GNU.sparse.map", b"")])
        + raw_header(b"f")
        + END,
        "files of more than",
    ),
    "a long component": (pack(Entry(name=b"n" * 256)), "too long"),
    "a long name": (pack(Entry(name=b"n/" * 3000 + b"n")), "longer than 4096 bytes"),
    "a long target": (pack(Entry(name=b"n", kind="symlink", linkname=b"x/" * 3000)), "too long"),
    "no target": (pack(Entry(name=b"n", kind="symlink")), "no such file"),
    "an owner that is none": (pack(Entry(name=b"n", uid=(1 << 32) - 1)), "an owner is too large"),
    "an owner of 62 bits": (
        pack(Entry(name=b"n", kind="symlink", linkname=b"x", gid=1 << 62)),
        "owner is too",
    ),
    "a time after the end": (pack(Entry(name=b"n", mtime_ns=10**9 * (1 << 63) - 1)), None),
    "a device of no number": (
        pack(Entry(name=b"n", kind="block", device_major=0o7777777, device_minor=1)),
        "no valid number",
    ),
    "a root that is a file": (pack(Entry(name=b"./")), "no directory"),
    "a root that is a link": (pack(Entry(name=b".", kind="symlink", linkname=b"/")), "no directory"),
    "a file in a file": (pack(Entry(name=b"f"), Entry(name=b"f/g")), "is no directory"),
    "a file in a device": (
        pack(Entry(name=b"f", kind="character", device_major=1, device_minor=3), Entry(name=b"f/g")),
        "is no directory",
    ),
    "an empty whiteout": (pack(Entry(name=b"d/.wh.")), "no valid whiteout"),
    "a whiteout of ..": (pack(Entry(name=b"d/.wh...")), "no valid whiteout"),
    "a whiteout of .": (pack(Entry(name=b".wh..")), "no valid whiteout"),
    "aufs's own, elsewhere": (pack(Entry(name=b"d/.wh..wh.plnk", kind="directory")), "no valid whiteout"),
    "something in a whiteout": (pack(Entry(name=b"d/.wh.x/y")), "is in a whiteout"),
    "a link to a directory": (
        pack(Entry(name=b"d", kind="directory"), Entry(name=b"e", kind="hardlink", linkname=b"d")),
        "there is no such file",
    ),
    "a NUL in a sparse name": (
        pax([(b"GNU.sparse.size", b"0"), (b"GNU.sparse.map", b""), (b"GNU.sparse.name", b"a\0b")])
        + raw_header(b"f")
        + END,
        "NUL",
    ),
    "no archive": (b"<html>404</html>" * 100, "not a tar archive|no valid entry"),
    "half a block": (pack(WITH_DATA.replace(size=0))[:300], "in the middle"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("form", FORMS)
def test_lies(tmp_path: Path, lie: str, form: Whiteouts) -> None:
    """Each is refused in words, or does no harm."""
    archive, words = LIES[lie]
    if words is None:
        unpack(archive, tmp_path / "root", whiteouts=form)
        return
    with pytest.raises((InvalidInput, OperationFailed), match=words):
        unpack(archive, tmp_path / "root", whiteouts=form)


def test_every_truncation(tmp_path: Path) -> None:
    """An archive, plain or compressed, that ends anywhere: a sentence, or what was before."""
    archive = pack(
        *(entry(f"d/{kind}", kind, "d/file") for kind in KINDS), (Entry(name=b"x" * 150), b"y" * 700)
    )
    whole = []
    for size in range(0, len(archive), 170):
        try:
            unpack(archive[:size], tmp_path / f"plain{size}")
        except InvalidInput as error:
            assert error.code in ("truncated-archive", "invalid-archive")  # noqa: PT017
        else:
            whole.append(size)
    assert len(whole) < 20, "the others are refused"
    compressor = Compressor("gzip")
    packed = bytes(compressor.compress(archive)) + compressor.flush()
    for size in range(4, len(packed), 3):
        with pytest.raises(InvalidInput):
            unpack(packed[:size], tmp_path / "gzip")


def test_limits(tmp_path: Path) -> None:
    """Of entries, of bytes, of directories that are only implied."""
    archive = pack(*((Entry(name=b"%d/f" % number), b"x" * 1000) for number in range(30)))
    for number, (limits, match) in enumerate(
        (
            (UnpackLimits(entries=29), "more than the 29 entries"),
            (UnpackLimits(file_bytes=29_999), "more than the 29999 bytes"),
            (UnpackLimits(implied=28), "more than the 28 directories"),
            (UnpackLimits(archive_bytes=20_000), "more than the 20000 bytes"),
        )
    ):
        with pytest.raises(InvalidInput, match=match):
            unpack(archive, tmp_path / str(number), limits=limits)
    unpack(archive, tmp_path / "enough", limits=UnpackLimits(entries=30, file_bytes=30_000, implied=30))


def test_a_deep_tree_is_removed(tmp_path: Path) -> None:
    """Two thousand directories in one another, made by one entry, make room for a file."""
    deep = b"d/" * 2000 + b"f"
    result = unpack(pack(Entry(name=deep), Entry(name=b"d", kind="fifo")), tmp_path / "root")
    assert os.listdir(tmp_path / "root") == ["d"]
    assert result.implied == ()


def test_a_way_through_links_is_bounded(tmp_path: Path) -> None:
    """A path that grows by links is refused before it is longer than any path may be."""
    half = b"d" * 200 + b"/"
    entries = [
        Entry(name=half * 10 + b"e", kind="directory"),
        Entry(name=b"l", kind="symlink", linkname=half * 10 + b"e"),
        Entry(name=b"l/" + half * 15 + b"f"),
    ]
    with pytest.raises(InvalidInput, match="too deep"):
        unpack(pack(*entries), tmp_path / "root")
    directory_fd = os.open(tmp_path, os.O_RDONLY)
    remove_whatever(directory_fd, b"root")  # which no program does that goes by whole paths
    os.close(directory_fd)


def test_attributes_of_overlayfs_are_not_taken(tmp_path: Path) -> None:
    """An archive cannot say that a directory is really another one, or that a file's data are elsewhere."""
    hostile = {
        b"trusted.overlay.redirect": b"/../../outside",
        b"trusted.overlay.opaque": b"y",
        b"user.overlay.metacopy": b"",
        b"com.apple.quarantine": b"x",
    }
    result = unpack(pack(Entry(name=b"d", kind="directory", xattrs=hostile)), tmp_path / "root")
    assert os.listxattr(tmp_path / "root/d") == []
    assert result.left_out_xattrs == 4


def test_padding_hides_nothing(tmp_path: Path) -> None:
    """What stands behind the end of the archive is in its digest, and is not unpacked."""
    archive = pack(Entry(name=b"a"))
    hidden = raw_header(b"hidden", size=b"1\0") + padded(b"x") + END
    first = unpack(archive, tmp_path / "one")
    second = unpack(archive + hidden, tmp_path / "two")
    assert os.listdir(tmp_path / "two") == ["a"]
    assert first.diff_id != second.diff_id
    assert second.size_bytes == len(archive + hidden)
