"""Archives of Go's archive/tar, whose names say what is odd about them."""

from __future__ import annotations

import bz2
import tarfile

import pytest

from pierhead.errors import InvalidInput
from pierhead.images.tarlayer.reader import TarReader
from tests.support.tars import Pieces, vectors

BROKEN = {
    "issue10968": "too large",
    "issue11169": "malformed",
    "issue12435": "too large",
    "neg-size": "too large",
    "pax-bad-hdr-file": "malformed",
    "pax-bad-mtime-file": "time",
    "pax-nul-path": "NUL",
    "pax-nul-xattrs": "NUL",
    "pax-path-hdr": "in the middle of an entry",
    "writer-big": "in the middle of an entry",
    "writer-big-long": "in the middle of an entry",
}
"""Why these are refused."""

OTHERWISE = {
    "gnu-multi-hdrs": "the last of several long names holds here",
    "pax-multi-hdrs": "the last of several extended headers holds here",
    "pax-global-records": "an empty record deletes here, as POSIX has it",
    "invalid-go17": "the standard library does not know Go's mistake",
    "gnu-incremental": "the standard library takes the listing of a directory for a file",
}
"""What the standard library reads otherwise."""

NAMES = [
    "file-and-dir",
    "gnu-incremental",
    "gnu-long-nul",
    "gnu-multi-hdrs",
    "gnu-nil-sparse-data",
    "gnu-nil-sparse-hole",
    "gnu-not-utf8",
    "gnu-sparse-big",
    "gnu-utf8",
    "gnu",
    "hardlink",
    "hdr-only",
    "invalid-go17",
    "issue10968",
    "issue11169",
    "issue12435",
    "neg-size",
    "nil-uid",
    "pax-bad-hdr-file",
    "pax-bad-mtime-file",
    "pax-global-records",
    "pax-multi-hdrs",
    "pax-nil-sparse-data",
    "pax-nil-sparse-hole",
    "pax-nul-path",
    "pax-nul-xattrs",
    "pax-path-hdr",
    "pax-pos-size-file",
    "pax-records",
    "pax-sparse-big",
    "pax",
    "sparse-formats",
    "star",
    "trailing-slash",
    "ustar-file-devs",
    "ustar-file-reg",
    "ustar",
    "v7",
    "writer-big-long",
    "writer-big",
    "writer",
    "xattrs",
]

KINDS = {
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.DIRTYPE: "directory",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}


def read(name: str, piece: int = 1 << 20) -> TarReader:
    """A reader of one of them."""
    return TarReader(Pieces((vectors("tar") / f"{name}.tar").read_bytes(), piece))


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_broken_archives(name: str) -> None:
    """Each is refused in a sentence that says what is wrong."""
    with pytest.raises(InvalidInput, match=BROKEN[name]):
        list(read(name))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(BROKEN) - set(OTHERWISE)))
def test_as_the_standard_library_reads_them(name: str) -> None:
    """Every field and all data are the same."""
    reader = read(name)
    with tarfile.open(vectors("tar") / f"{name}.tar") as opened:
        for entry in reader:
            member = opened.next()
            assert member is not None
            assert entry.name.decode(errors="surrogateescape") == member.name
            assert entry.kind == KINDS.get(member.type, "file")
            assert (entry.mode, entry.uid, entry.gid) == (member.mode & 0o7777, member.uid, member.gid)
            assert entry.linkname.decode(errors="surrogateescape") == member.linkname
            assert entry.mtime_ns / 1e9 == pytest.approx(member.mtime)
            real = member.pax_headers.get("GNU.sparse.realsize", member.size)
            assert entry.size == (int(real) if entry.kind == "file" else 0)
            file = opened.extractfile(member) if member.isreg() and entry.sparse is None else None
            if file is not None:
                assert b"".join(reader.chunks()) == file.read()
        assert opened.next() is None


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(BROKEN)))
def test_pieces_do_not_matter(name: str) -> None:
    """However the stream is cut, the entries are the same."""
    whole = list(read(name))
    for piece in (1, 511, 513):
        assert list(read(name, piece)) == whole


def test_the_others() -> None:
    """What the standard library does not read as we do, is as Go's tests have it."""
    assert [entry.name for entry in read("gnu-multi-hdrs")] == [b"GNU2/GNU2/long-path-name"]
    assert [entry.linkname for entry in read("gnu-multi-hdrs")] == [b"GNU4/GNU4/long-linkpath-name"]
    assert [(entry.name, entry.linkname) for entry in read("pax-multi-hdrs")] == [
        (b"bar", b"PAX4/PAX4/long-linkpath-name")
    ]
    [entry] = read("invalid-go17")
    assert entry.name == b"a" * 97 + b"/foo"
    assert [entry.name for entry in read("pax-global-records")] == [b"global1", b"file2", b"file3", b"file4"]
    assert [(entry.name, entry.kind) for entry in read("gnu-incremental")] == [
        (b"test2", "directory"),
        (b"test2/foo", "file"),
        (b"test2/sparse", "file"),
    ]


def test_sparse_formats() -> None:
    """The same file in four forms."""
    reader = read("sparse-formats")
    contents = [reader.read(1000) for entry in reader]
    assert len(set(contents[:4])) == 1
    assert len(contents[0]) == 200
    assert contents[4] == b"end\n"


def test_an_extended_header_that_is_too_large() -> None:
    """It is refused before it is in memory."""
    archive = bz2.decompress((vectors("tar") / "pax-bad-hdr-large.tar.bz2").read_bytes())
    with pytest.raises(InvalidInput, match="extended header is too large"):
        list(TarReader(Pieces(archive, 1 << 20)))
