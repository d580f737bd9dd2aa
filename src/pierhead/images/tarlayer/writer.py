r"""Entries and their data to the bytes of an archive: ustar where an entry fits, PAX where it does not.

    writer = TarWriter(append)
    writer.add(Entry(name=b"etc/hostname", size=4), (b"box\n",))
    writer.finish()

The same entries give the same bytes, always: no time of its own, no names of owners, no process numbers.
"""

from __future__ import annotations

from pierhead.errors import Conflict, InvalidInput
from pierhead.images.tarlayer.entry import shown
from pierhead.images.tarlayer.header import (
    BLOCK_BYTES,
    NAME_BYTES_MAX,
    OCTAL_8_MAX,
    OCTAL_12_MAX,
    encode_header,
    split_name,
)
from pierhead.images.tarlayer.pax import encode_records, encode_time, encode_xattr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.tarlayer.entry import Entry
    from pierhead.images.tarlayer.pax import Records

_NS = 1_000_000_000
_GATHER_BYTES = 1 << 18
"""Small pieces are gathered into one of this size; larger ones go on as they are."""
_FLAGS = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "character": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}
_PADDING = tuple(bytes(-size % BLOCK_BYTES) for size in range(BLOCK_BYTES))
_PAX_NAME = b"PaxHeaders.0/"


class TarWriter:
    """Writes one archive."""

    def __init__(self, append: Callable[[bytes | memoryview], object]) -> None:
        """``append`` takes the archive's bytes, piece by piece in their order; it keeps no piece."""
        self._append = append
        self._pieces: list[bytes | memoryview] = []
        self._gathered = 0
        self.size = 0
        """Bytes of the archive so far."""

    def add(self, entry: Entry, chunks: Iterable[bytes | memoryview] = ()) -> None:
        """The entry and its data are in the archive.  Its ``sparse`` map is passed over: holes are data here.

        Args:
            entry: its name relative, without ``/`` at the end.
            chunks: ``entry.size`` bytes; taken once, one after the other.

        Raises:
            Conflict: there are more or fewer bytes, as when the file grows meanwhile.
            InvalidInput: a number that no archive can hold.
        """
        self._write(encode_entry(entry))
        written = 0
        for chunk in chunks:
            written += len(chunk)
            if written > entry.size:
                break
            self._write(chunk)
        if written != entry.size:
            message = f"{shown(entry.name)} has not the {entry.size} bytes that it was said to have"
            raise Conflict(message, code="file-changed", hint="pause the container while it is read")
        padding = _PADDING[entry.size % BLOCK_BYTES]
        if padding:
            self._write(padding)

    def finish(self) -> None:
        """The archive is whole."""
        self._write(bytes(2 * BLOCK_BYTES))
        self._flush()

    def _write(self, data: bytes | memoryview) -> None:
        size = len(data)
        self.size += size
        if size >= _GATHER_BYTES:
            self._flush()
            self._append(data)
            return
        # A chunk may be a part of a buffer that is filled anew after this call.
        self._pieces.append(data if isinstance(data, bytes) else bytes(data))
        self._gathered += size
        if self._gathered >= _GATHER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            self._append(b"".join(self._pieces))
            self._pieces.clear()
            self._gathered = 0


def encode_entry(entry: Entry) -> bytes:
    """All that stands before an entry's data: its header, and an extended one before it if that is needed."""
    records: Records = {}
    name = entry.name + b"/" if entry.kind == "directory" else entry.name
    split = split_name(name)
    if split is None:
        records[b"path"] = name
        split = b"", name[:NAME_BYTES_MAX]
    linkname = entry.linkname
    if len(linkname) > NAME_BYTES_MAX:
        records[b"linkpath"] = linkname
        linkname = linkname[:NAME_BYTES_MAX]
    mtime_s, fraction = divmod(entry.mtime_ns, _NS)
    if fraction or not 0 <= mtime_s <= OCTAL_12_MAX:
        records[b"mtime"] = encode_time(entry.mtime_ns)
        mtime_s = min(max(0, mtime_s), OCTAL_12_MAX)
    for key, value, most in (
        (b"uid", entry.uid, OCTAL_8_MAX),
        (b"gid", entry.gid, OCTAL_8_MAX),
        (b"size", entry.size, OCTAL_12_MAX),
    ):
        if value > most:
            records[key] = b"%d" % value
    for attribute, content in entry.xattrs.items():
        key, value_bytes = encode_xattr(attribute, content)
        records[key] = value_bytes
    header = encode_header(
        split,
        entry.mode,
        (entry.uid if entry.uid <= OCTAL_8_MAX else 0, entry.gid if entry.gid <= OCTAL_8_MAX else 0),
        entry.size if entry.size <= OCTAL_12_MAX else 0,
        mtime_s,
        _FLAGS[entry.kind],
        linkname,
        (entry.device_major, entry.device_minor),
    )
    return _extended(name, records) + header if records else header


def _extended(name: bytes, records: Records) -> bytes:
    if b"\0" in name or b"\0" in records.get(b"linkpath", b""):
        raise InvalidInput(f"the name {shown(name)} has a NUL", code="invalid-name")
    text = encode_records(records)
    shown_name = (_PAX_NAME + name.rstrip(b"/").rpartition(b"/")[2])[:NAME_BYTES_MAX]
    header = encode_header((b"", shown_name), 0o644, (0, 0), len(text), 0, b"x")
    return header + text + _PADDING[len(text) % BLOCK_BYTES]
