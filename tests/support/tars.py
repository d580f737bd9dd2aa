"""Archives made by hand, byte by byte, for tests: also those that no tar program would write."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.images.tarlayer.writer import TarWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pierhead.images.tarlayer.entry import Entry

END = bytes(1024)


def vectors(folder: str) -> Path:
    """A folder of the reference data; skips the test where there is none."""
    place = os.environ.get("PIERHEAD_VECTORS", "")
    if not place:
        pytest.skip("PIERHEAD_VECTORS does not say where the reference data are")
    return Path(place) / "vectors" / folder


def pack(*entries: Entry | tuple[Entry, bytes]) -> bytes:
    """An archive of these entries, by our own writer; a file's size is that of its data."""
    parts: list[bytes] = []
    writer = TarWriter(lambda data: parts.append(bytes(data)))
    for each in entries:
        entry, data = each if isinstance(each, tuple) else (each, b"")
        writer.add(entry.replace(size=len(data)), (data,))
    writer.finish()
    return b"".join(parts)


def raw_header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: bytes = b"",
    linkname: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """One header of exactly these fields, its checksum right."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[157 : 157 + len(linkname)] = linkname
    block[257 : 257 + len(magic)] = magic
    return with_checksum(block)


def with_checksum(block: bytes | bytearray, *, signed: bool = False) -> bytes:
    """The block with a right checksum."""
    changed = bytearray(block)
    changed[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in changed)
    changed[148:156] = b"%06o\0 " % total
    return bytes(changed)


def padded(data: bytes) -> bytes:
    """Filled up to a whole block."""
    return data + bytes(-len(data) % 512)


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """An extended header of these records, in this order."""
    text = b""
    for key, value in records:
        rest = len(key) + len(value) + 3
        size = next(size for size in range(rest, rest + 9) if size == rest + len(str(size)))
        text += b"%d %b=%b\n" % (size, key, value)
    return raw_header(b"extended", kind, size=b"%o\0" % len(text)) + padded(text)


class Pieces:
    """A stream that gives its data in pieces of one size, as pipes do."""

    def __init__(self, data: bytes, size: int) -> None:
        self._file = io.BytesIO(data)
        self._size = size

    def read(self, size: int, /) -> bytes:
        """At most as much as the pieces have."""
        return self._file.read(min(size, self._size))


def members(archive: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    """What the standard library reads."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for member in opened:
            file = opened.extractfile(member) if member.isreg() else None
            yield member, file.read() if file else b""
