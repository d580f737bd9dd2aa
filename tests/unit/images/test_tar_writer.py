"""Entries to archives: others read them, and the same entries give the same bytes."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import Conflict, InvalidInput
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.tarlayer.header import split_name
from pierhead.images.tarlayer.reader import TarReader
from pierhead.images.tarlayer.writer import TarWriter, encode_entry
from tests.support.requires import requires
from tests.support.tars import Pieces, members, pack

if TYPE_CHECKING:
    from pathlib import Path

COMPONENT = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=120).filter(
    lambda text: text not in (".", "..")
)
NAME = st.lists(COMPONENT, min_size=1, max_size=5).map(lambda parts: "/".join(parts).encode())
XATTRS = st.dictionaries(
    st.text("abc=. é", min_size=1, max_size=20).map(lambda text: f"user.{text}".encode()),
    st.binary(max_size=200),
    max_size=3,
)
COMMON = {
    "name": NAME,
    "mode": st.integers(0, 0o7777),
    "uid": st.integers(0, (1 << 32) - 2),
    "gid": st.integers(0, (1 << 32) - 2),
    "mtime_ns": st.integers(-(10**18), 10**20),
    "xattrs": XATTRS,
}
ENTRY = st.one_of(
    st.builds(Entry, **COMMON, kind=st.sampled_from(("file", "directory", "fifo"))),
    st.builds(Entry, **COMMON, kind=st.sampled_from(("symlink", "hardlink")), linkname=NAME),
    st.builds(
        Entry,
        **COMMON,
        kind=st.sampled_from(("character", "block")),
        device_major=st.integers(0, 4095),
        device_minor=st.integers(0, (1 << 20) - 1),
    ),
)
CONTENTS = st.lists(st.tuples(ENTRY, st.binary(max_size=1500)), max_size=5).map(
    lambda pairs: [(entry, data if entry.kind == "file" else b"") for entry, data in pairs]
)


@given(CONTENTS, st.sampled_from((1, 700, 1 << 20)))
def test_what_is_written_is_read(contents: list[tuple[Entry, bytes]], piece: int) -> None:
    """Every field comes back, and every byte."""
    reader = TarReader(Pieces(pack(*contents), piece))
    found = [(entry, reader.read(2000)) for entry in reader]
    assert found == [(entry.replace(size=len(data)), data) for entry, data in contents]


@given(CONTENTS)
def test_the_standard_library_reads_it(contents: list[tuple[Entry, bytes]]) -> None:
    """It finds the same names, numbers and data."""
    found = list(members(pack(*contents)))
    assert len(found) == len(contents)
    for (member, content), (entry, data) in zip(found, contents, strict=True):
        assert member.name.encode(errors="surrogateescape") == entry.name.rstrip(b"/")
        assert (member.mode, member.uid, member.gid) == (entry.mode, entry.uid, entry.gid)
        assert member.linkname.encode(errors="surrogateescape") == entry.linkname
        assert member.mtime == pytest.approx(entry.mtime_ns / 1e9)
        assert content == data


@given(st.lists(st.tuples(NAME, st.binary(max_size=1500)), max_size=5), st.sampled_from((0, 1, 2)))
def test_what_the_standard_library_writes_is_read(files: list[tuple[bytes, bytes]], dialect: int) -> None:
    """In ustar (where it fits), GNU and PAX."""
    buffer = io.BytesIO()
    written = []
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, data in files:
            member = tarfile.TarInfo(name.decode())
            member.size, member.uid, member.mtime = len(data), 70_000, 12
            try:
                archive.addfile(member, io.BytesIO(data))
            except ValueError:  # too long for ustar
                continue
            written.append((name, data))
    reader = TarReader(Pieces(buffer.getvalue(), 1 << 20))
    assert [(entry.name, reader.read(2000)) for entry in reader if entry.uid == 70_000] == written


def test_pax_only_if_it_is_needed() -> None:
    """An ordinary entry costs one block, a fraction of a second two more."""
    assert len(encode_entry(Entry(name=b"x", mtime_ns=10**18))) == 512
    assert len(encode_entry(Entry(name=b"x", mtime_ns=10**18 + 1))) == 1536
    assert len(encode_entry(Entry(name=b"d" * 150 + b"/" + b"n" * 99, size=8**11 - 1))) == 512


REGIONS = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 1500)), max_size=6)


@given(NAME, REGIONS, st.integers(0, 3000))
def test_sparse_files(name: bytes, gaps: list[tuple[int, int]], tail: int) -> None:
    """We read them as they were written, map and all, and the standard library reads the same bytes."""
    regions, content, at = [], bytearray(), 0
    for gap, length in gaps:
        regions.append((at + gap, length))
        content += bytes(gap) + b"x" * length
        at = len(content)
    content += bytes(tail)
    if tail or not regions:
        regions.append((len(content), 0))
    entry = Entry(name=name, size=len(content), sparse=tuple(regions), uid=1 << 30)
    parts: list[bytes] = []
    writer = TarWriter(lambda data: parts.append(bytes(data)))
    writer.add(entry, [b"x" * length for _, length in regions])
    writer.add(Entry(name=b"next"))
    writer.finish()
    archive = b"".join(parts)
    reader = TarReader(Pieces(archive, 700))
    found = [(each, reader.read(1 << 20)) for each in reader]
    assert found == [(entry, bytes(content)), (Entry(name=b"next"), b"")]
    with tarfile.open(fileobj=io.BytesIO(archive), encoding="utf-8", errors="surrogateescape") as opened:
        member = opened.next()
        assert member is not None
        assert (member.name.encode(errors="surrogateescape"), member.size) == (name, len(content))
        file = opened.extractfile(member)
        assert file is not None
        assert file.read() == content
        following = opened.next()
        assert following is not None
        assert following.name == "next"


def test_sparse_data_that_change() -> None:
    """The regions' bytes are counted, not the file's."""
    writer = TarWriter(lambda _: None)
    with pytest.raises(Conflict, match="'x' has not the 5 bytes"):
        writer.add(Entry(name=b"x", size=500, sparse=((100, 5),)), (b"four",))


LONG = st.lists(st.integers(1, 160).map(lambda size: b"x" * size), min_size=1, max_size=5).map(b"/".join)


@given(st.one_of(LONG, NAME))
def test_names_are_split_where_a_slash_is(name: bytes) -> None:
    """Prefix and name are the whole name, and fit; what is not split cannot be."""
    split = split_name(name)
    if split is None:
        slashes = [at for at in range(len(name)) if name[at : at + 1] == b"/"]
        assert len(name) > 100
        assert not [at for at in slashes if at <= 155 and 0 < len(name) - at - 1 <= 100]
        return
    prefix, rest = split
    assert len(prefix) <= 155
    assert 0 < len(rest) <= 100
    assert (prefix + b"/" + rest if prefix else rest) == name


def test_large_files() -> None:
    """A size that the header does not hold stands in a record."""
    entry = Entry(name=b"large", size=1 << 40)
    [found] = (next(TarReader(io.BytesIO(encode_entry(entry)))),)
    assert found == entry


def test_a_file_that_changes() -> None:
    """More or fewer bytes than were announced are an error, not a wrong archive."""
    writer = TarWriter(lambda _: None)
    for data in (b"four", b"sixsix"):
        with pytest.raises(Conflict, match="has not the 5 bytes"):
            writer.add(Entry(name=b"x", size=5), (data,))


def test_names_with_a_nul() -> None:
    """No archive can hold them."""
    with pytest.raises(InvalidInput, match="has a NUL"):
        encode_entry(Entry(name=b"a" * 300 + b"\0"))


@requires("tar")
def test_gnu_tar_reads_it(tmp_path: Path) -> None:
    """All kinds, long names, and times."""
    long = b"d" * 120 + b"/" + b"e" * 200
    archive = pack(
        (Entry(name=b"file", mtime_ns=1_500_000_000 * 10**9, uid=3_000_000), b"content"),
        Entry(name=long, kind="directory", mode=0o750),
        Entry(name=b"link", kind="symlink", linkname=b"t" * 150),
        Entry(name=b"hard", kind="hardlink", linkname=b"file"),
        Entry(name=b"pipe", kind="fifo"),
    )
    run = subprocess.run(
        [shutil.which("tar") or "tar", "--numeric-owner", "--utc", "-tvf", "-"],
        input=archive,
        capture_output=True,
        check=True,
    )
    lines = run.stdout.decode().splitlines()
    assert lines[0] == "-rw-r--r-- 3000000/0         7 2017-07-14 02:40 file"
    assert lines[1].startswith("drwxr-x---")
    assert lines[1].endswith(long.decode() + "/")
    assert lines[2].endswith("link -> " + "t" * 150)
    assert lines[3].endswith("hard link to file")
    assert lines[4].startswith("prw-r--r--")
    assert not run.stderr


@requires("tar")
@pytest.mark.parametrize("dialect", ["v7", "oldgnu", "gnu", "ustar", "posix"])
@pytest.mark.parametrize("sparse", [[], ["-S"]])
def test_what_gnu_tar_writes_is_read(tmp_path: Path, dialect: str, sparse: list[str]) -> None:
    """In each of its dialects, with holes and without."""
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_bytes(b"content")
    with (source / "sub" / "holes").open("wb") as file:
        for at in range(1, 30):
            file.seek(at * 100_000)
            file.write(b"data")
    (source / "link").symlink_to("sub/file")
    if dialect not in ("v7", "ustar"):
        (source / ("n" * 150)).write_bytes(b"long")
    options = sparse if dialect not in ("v7", "ustar") else []
    command = ["tar", f"--format={dialect}", *options, "-cf", "-", "."]
    archive = subprocess.run(command, cwd=source, capture_output=True, check=True).stdout
    reader = TarReader(Pieces(archive, 1 << 20))
    found = {entry.name: (entry, reader.read(1 << 22)) for entry in reader}
    assert found[b"./sub/file"][1] == b"content"
    entry, data = found[b"./sub/holes"]
    assert data == (source / "sub" / "holes").read_bytes()
    assert (entry.sparse is not None) == (bool(sparse) and dialect not in ("v7", "ustar"))
    assert found[b"./link"][0].linkname == b"sub/file"
    assert entry.mtime_ns // 10**9 == (source / "sub" / "holes").stat().st_mtime_ns // 10**9
    if dialect not in ("v7", "ustar"):
        assert found[b"./" + b"n" * 150][1] == b"long"
