"""Archives in every dialect, whole and broken, become entries or a sentence."""

from __future__ import annotations

import bz2
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.tarlayer.header import MalformedHeader, decode_number
from pierhead.images.tarlayer.reader import TarReader
from tests.support.tars import END, Pieces, pack, padded, pax, raw_header, with_checksum


def read(archive: bytes, piece: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    """Every entry with its whole content."""
    reader = TarReader(Pieces(archive, piece))
    return [(entry, reader.read(1 << 20)) for entry in reader]


# Numbers


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000644\0", 0o644),
        (b"   644 \0", 0o644),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"7\x00777777", 7),
        (b"77777777", 0o77777777),
        (b"\x80\0\0\0\0\0\0\x05", 5),
        (b"\x80\0\0\0\0\0\0\0\0\0\0\x05", 5),
        (b"\xff" * 12, -1),
        (b"\xff" * 7 + b"\xfe", -2),
    ],
)
def test_numbers(field: bytes, value: int) -> None:
    """Octal text with whatever stands around it, or GNU's binary form."""
    assert decode_number(field) == value


@pytest.mark.parametrize("field", [b"8", b"-7", b"+7", b"1_7", b"0x1f", b"1 7", b"\x80" + b"\x7f" * 11])
def test_what_is_no_number(field: bytes) -> None:
    """What only Python would take for a number is none."""
    with pytest.raises(MalformedHeader):
        decode_number(field)


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_binary_numbers(value: int) -> None:
    """Any number of 64 bits can be in the binary form."""
    field = bytes([0xFF if value < 0 else 0x80]) + (value & ((1 << 88) - 1)).to_bytes(11, "big")
    assert decode_number(field) == value


# Dialects


def test_signed_checksums() -> None:
    """Old programs summed signed characters."""
    header = with_checksum(raw_header(b"na\xefve\xff"), signed=True)
    assert read(header + END)[0][0].name == b"na\xefve\xff"


def test_a_directory_of_v7() -> None:
    """It is a file whose name ends with a slash."""
    [(entry, _)] = read(raw_header(b"etc/", b"\0", magic=b"") + END)
    assert (entry.name, entry.kind) == (b"etc", "directory")


def test_long_names_of_gnu() -> None:
    """They stand before their entry, and hold for it alone."""
    name, link = b"n" * 300, b"l" * 200
    archive = b"".join(
        (
            raw_header(b"././@LongLink", b"L", size=b"%o\0" % 301) + padded(name + b"\0"),
            raw_header(b"././@LongLink", b"K", size=b"%o\0" % 201) + padded(link + b"\0"),
            raw_header(b"short", b"2", linkname=b"also short"),
            raw_header(b"next", b"2", linkname=b"short"),
        )
    )
    assert [(entry.name, entry.linkname) for entry, _ in read(archive + END)] == [
        (name, link),
        (b"next", b"short"),
    ]


def test_records_of_pax() -> None:
    """They override what the header says, exactly."""
    records = [
        (b"path", "größer als das Feld".encode()),
        (b"uid", b"4000000000"),
        (b"gid", b"3000000"),
        (b"size", b"3"),
        (b"mtime", b"-1.5000000019"),
        (b"comment", b"nobody reads this"),
        (b"SCHILY.xattr.user.empty", b""),
        (b"SCHILY.xattr.user.both", b"\0\n=binary"),
        (b"LIBARCHIVE.xattr.user.both", b"b3RoZXI"),
        (b"LIBARCHIVE.xattr.user.a%3Db", b"dmFsdWU"),
    ]
    [(entry, data)] = read(pax(records) + raw_header(b"x") + padded(b"abc") + END)
    assert data == b"abc"
    assert entry == Entry(
        name="größer als das Feld".encode(),
        uid=4_000_000_000,
        gid=3_000_000,
        size=3,
        mtime_ns=-1_500_000_001,
        xattrs={b"user.empty": b"", b"user.both": b"\0\n=binary", b"user.a=b": b"value"},
    )


def test_global_records() -> None:
    """They hold for all that follow, until others take their place; an entry's own go before."""
    archive = b"".join(
        (
            pax([(b"uid", b"7"), (b"mtime", b"9")], b"g"),
            raw_header(b"one"),
            pax([(b"uid", b"8")]) + raw_header(b"two"),
            pax([(b"mtime", b"")], b"g") + raw_header(b"three"),
        )
    )
    found = [(entry.uid, entry.mtime_ns) for entry, _ in read(archive + END)]
    assert found == [(7, 9_000_000_000), (8, 9_000_000_000), (7, 0)]


SPARSE = bytes(10) + b"first" + bytes(985) + b"second" + bytes(94)
STORED = padded(b"firstsecond")
SIZED = {"size": b"%o\0" % 11}


def old_sparse() -> bytes:
    """The file above as an entry of type S, with a map that goes on in a block of its own."""
    header = bytearray(raw_header(b"f", b"S", magic=b"ustar  \0", **SIZED))
    header[386:410] = b"%011o\0%011o\0" % (10, 5)
    header[410:482] = b"%011o\0%011o\0" % (1000, 0) * 3
    header[482] = 1
    header[483:495] = b"%011o\0" % 1100
    more = (b"%011o\0%011o\0" % (1000, 6)).ljust(512, b"\0")
    return with_checksum(header) + more + STORED


def pax_sparse(records: list[tuple[bytes, bytes]], before: bytes = b"") -> bytes:
    """The file above, its map in PAX records, or in its data."""
    data = before + STORED
    return pax(records) + raw_header(b"f", size=b"%o\0" % (len(before) + 11)) + data


@pytest.mark.parametrize(
    "archive",
    [
        old_sparse(),
        pax_sparse(
            [
                (b"GNU.sparse.size", b"1100"),
                (b"GNU.sparse.offset", b"10"),
                (b"GNU.sparse.numbytes", b"5"),
                (b"GNU.sparse.offset", b"1000"),
                (b"GNU.sparse.numbytes", b"6"),
            ]
        ),
        pax_sparse([(b"GNU.sparse.size", b"1100"), (b"GNU.sparse.map", b"10,5,1000,6")]),
        pax_sparse(
            [
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.realsize", b"1100"),
                (b"GNU.sparse.name", b"f"),
            ],
            padded(b"2\n10\n5\n1000\n6\n"),
        ),
    ],
    ids=["old", "0.0", "0.1", "1.0"],
)
@pytest.mark.parametrize("piece", [1, 100, 1 << 20])
def test_sparse_files(archive: bytes, piece: int) -> None:
    """All four forms give the same file, however the stream is cut."""
    [(entry, data), (following, _)] = read(archive + raw_header(b"next") + END, piece)
    assert entry.name == b"f"
    assert entry.size == 1100
    assert [region for region in entry.sparse or () if region[1]] == [(10, 5), (1000, 6)]
    assert data == SPARSE
    assert following.name == b"next"


@pytest.mark.parametrize(
    "map_",
    [b"5,10,0,1", b"10,5,12,6", b"10,5", b"10,5,1095,6", b"10,5,1000", b"-1,5,9,6", b"0,9999999999999999999"],
)
def test_sparse_maps_that_lie(map_: bytes) -> None:
    """A map that does not ascend, leaves the file, or is of other data, is refused."""
    with pytest.raises(InvalidInput, match="no valid entry at byte 0"):
        read(pax_sparse([(b"GNU.sparse.size", b"1100"), (b"GNU.sparse.map", map_)]) + END)


def test_a_sparse_map_without_an_end() -> None:
    """Maps are bounded."""
    records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"1")]
    for text in (b"999999999\n", b"1" * 600):
        with pytest.raises(InvalidInput, match="sparse map"):
            read(pax_sparse(records, padded(text)) + END)


# What is broken


def test_truncated_archives() -> None:
    """Wherever it is cut, there are the entries before, and a sentence; or it was the end."""
    archive = pack((Entry(name=b"a" * 150), b"content"), Entry(name=b"d", kind="directory"))
    first, second = (entry.name for entry, _ in read(archive))
    directory_at = len(archive) - len(END) - 512
    first_ends = directory_at - 512 + len(b"content")  # what fills up its last block is missed by nobody
    for size in range(len(archive) - len(END)):
        names = []
        try:
            reader = TarReader(io.BytesIO(archive[:size]))
            for entry in reader:
                names.append(entry.name)
                assert reader.read(100) == (b"content" if entry.name == first else b"")
        except InvalidInput as error:
            # the end is no error between entries; before the word "ustar" nobody knows that it is an archive
            assert error.code == ("invalid-archive" if size < 262 else "truncated-archive")  # noqa: PT017
        else:
            assert size == 0 or first_ends <= size <= directory_at
        assert names == [first] if size >= first_ends else second not in names


@pytest.mark.parametrize("data", [b"x", b"x" * 512, bytes(range(256)) * 2, b"\x1f\x8b" * 256])
def test_what_is_no_archive(data: bytes) -> None:
    """It is called so."""
    with pytest.raises(InvalidInput, match="this is not a tar archive"):
        read(data)


@pytest.mark.parametrize(
    ("archive", "match"),
    [
        (raw_header(b"a", b"Z"), "type b'Z'"),
        (raw_header(b""), "no name"),
        (raw_header(b"a", size=b"\xff" * 12), "negative"),
        (raw_header(b"a", b"x", size=b"77777777\0"), "extended header is too large"),
        (pax([(b"size", b"-1")]) + raw_header(b"a"), "number"),
        (pax([(b"mtime", b"1e9")]) + raw_header(b"a"), "time"),
        (raw_header(b"a", b"x", size=b"5\0") + padded(b"9 a=b"), "malformed"),
        (raw_header(b"a") + bytes(512) + raw_header(b"b"), "single block of zeros"),
    ],
)
def test_entries_that_lie(archive: bytes, match: str) -> None:
    """Each lie has its word."""
    with pytest.raises(InvalidInput, match=match):
        read(archive + END)


def test_large_files_are_not_read_whole() -> None:
    """Nor when their size is a lie."""
    archive = raw_header(b"a", size=b"\x80" + b"\0" * 5 + b"\x7f" + b"\0" * 5) + b"data"
    reader = TarReader(io.BytesIO(archive))
    next(reader)
    with pytest.raises(InvalidInput, match="more than 1000 bytes"):
        reader.read(1000)
    with pytest.raises(InvalidInput, match="ends at byte 516"):
        next(reader)


def test_what_can_be_skipped_is_not_read() -> None:
    """A stream that can be moved is moved over large files."""
    archive = pack((Entry(name=b"large"), bytes(5 << 20)), (Entry(name=b"small"), b"data"))
    file = io.BytesIO(archive)
    moved: list[int] = []

    def skip(size: int) -> None:
        moved.append(size)
        file.seek(size, io.SEEK_CUR)

    reader = TarReader(file, skip=skip)
    found = [(entry.name, reader.read(100) if entry.size < 100 else b"") for entry in reader]
    assert found == [(b"large", b""), (b"small", b"data")]
    assert [size >> 20 for size in moved] == [4]


SEEDS = [
    pack((Entry(name=b"a" * 150, xattrs={b"user.x": b"y"}), b"content"), Entry(name=b"d", kind="directory")),
    old_sparse() + END,
    pax_sparse([(b"GNU.sparse.size", b"1100"), (b"GNU.sparse.map", b"10,5,1000,6")]) + END,
    bz2.decompress(bz2.compress(raw_header(b"././@LongLink", b"L", size=b"5\0") + padded(b"abcde") + END)),
]


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=8))
def test_damage_gives_a_sentence(seed: bytes, changes: list[tuple[int, int]]) -> None:
    """Whatever bytes change, with the checksums made right again, there is no other error."""
    damaged = bytearray(seed)
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    for at in range(0, len(damaged), 512):
        if any(damaged[at : at + 512]):
            damaged[at : at + 512] = with_checksum(damaged[at : at + 512])
    try:
        for entry, data in read(bytes(damaged)):
            assert len(data) == entry.size
    except InvalidInput:
        pass
