r"""Entries and their data to the bytes of an archive: ustar where an entry fits, PAX where it does not.

    writer = TarWriter(append)
    writer.add(Entry(name=b"etc/hostname", size=4), (b"box\n",))
    writer.finish()

A file with holes is written in GNU tar's PAX form 1.0.  The same entries give the same bytes, always: no time
of its own, no names of owners, no process numbers.
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
from pierhead.images.tarlayer.sparse import encode_inline, sparse_records

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
_PAX_NAME, _SPARSE_NAME = b"PaxHeaders.0/", b"GNUSparseFile.0/"


class TarWriter:
    """Writes one archive."""

    def __init__(self, append: Callable[[bytes | memoryview], object]) -> None:
        """``append`` takes the archive's bytes, piece by piece in their order; it keeps no piece."""
        self._append = append
        self._pieces: list[bytes] = []
        self._gathered = 0
        self._appended = 0

    @property
    def size(self) -> int:
        """Bytes of the archive so far."""
        return self._appended + self._gathered

    def add(self, entry: Entry, chunks: Iterable[bytes | memoryview] = ()) -> None:
        """The entry and its data are in the archive.

        Args:
            entry: its name relative, without ``/`` at the end.
            chunks: ``entry.size`` bytes, or those of the regions of ``entry.sparse``; taken once, one after
                the other.

        Raises:
            Conflict: there are more or fewer bytes, as when the file grows meanwhile.
            InvalidInput: a number that no archive can hold.
        """
        size = entry.size if entry.sparse is None else sum(length for _, length in entry.sparse)
        self._gather(encode_entry(entry))
        written = 0
        for chunk in chunks:
            written += len(chunk)
            if written > size:
                break
            if len(chunk) < _GATHER_BYTES:
                # It may be a part of a buffer that is filled anew after this call.
                self._gather(chunk if isinstance(chunk, bytes) else bytes(chunk))
            else:
                self._flush()
                self._append(chunk)
                self._appended += len(chunk)
        if written != size:
            message = f"{shown(entry.name)} has not the {size} bytes that it was said to have"
            raise Conflict(message, code="file-changed", hint="pause the container while it is read")
        if size % BLOCK_BYTES:
            self._gather(_PADDING[size % BLOCK_BYTES])

    def finish(self) -> None:
        """The archive is whole."""
        self._gather(bytes(2 * BLOCK_BYTES))
        self._flush()

    def _gather(self, data: bytes) -> None:
        self._pieces.append(data)
        self._gathered += len(data)
        if self._gathered >= _GATHER_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pieces:
            self._append(b"".join(self._pieces))
            self._pieces.clear()
            self._appended += self._gathered
            self._gathered = 0


def encode_entry(entry: Entry) -> bytes:
    """All that stands before an entry's data: its header, and an extended one before it if that is needed; a
    sparse file's map after it.
    """
    name = entry.name + b"/" if entry.kind == "directory" else entry.name
    mtime_s, fraction = divmod(entry.mtime_ns, _NS)
    uid, gid, size, linkname = entry.uid, entry.gid, entry.size, entry.linkname
    split = split_name(name)
    records: Records = {}
    regions = b""
    if entry.sparse is not None:
        # Who does not know what this is makes a strange file of it, and not a wrong one of this name.
        records = sparse_records(name, size)
        split = b"", (_SPARSE_NAME + name.rpartition(b"/")[2])[:NAME_BYTES_MAX]
        regions = encode_inline(entry.sparse)
        size = len(regions) + sum(length for _, length in entry.sparse)
    elif split is None:
        records[b"path"] = name
        split = b"", name[:NAME_BYTES_MAX]
    if len(linkname) > NAME_BYTES_MAX:
        records[b"linkpath"] = linkname
        linkname = linkname[:NAME_BYTES_MAX]
    if fraction or not 0 <= mtime_s <= OCTAL_12_MAX:
        records[b"mtime"] = encode_time(entry.mtime_ns)
        mtime_s = min(max(0, mtime_s), OCTAL_12_MAX)
    if uid > OCTAL_8_MAX:
        records[b"uid"], uid = b"%d" % uid, 0
    if gid > OCTAL_8_MAX:
        records[b"gid"], gid = b"%d" % gid, 0
    if size > OCTAL_12_MAX:
        records[b"size"], size = b"%d" % size, 0
    for attribute, content in entry.xattrs.items():
        key, value = encode_xattr(attribute, content)
        records[key] = value
    device = (entry.device_major, entry.device_minor)
    flag = _FLAGS[entry.kind]
    header = encode_header(split, entry.mode, (uid, gid), size, mtime_s, flag, linkname, device)
    return _extended(name, records) + header + regions if records else header


def _extended(name: bytes, records: Records) -> bytes:
    if b"\0" in name or b"\0" in records.get(b"linkpath", b""):
        raise InvalidInput(f"the name {shown(name)} has a NUL", code="invalid-name")
    text = encode_records(records)
    shown_name = (_PAX_NAME + name.rstrip(b"/").rpartition(b"/")[2])[:NAME_BYTES_MAX]
    header = encode_header((b"", shown_name), 0o644, (0, 0), len(text), 0, b"x")
    return header + text + _PADDING[len(text) % BLOCK_BYTES]
