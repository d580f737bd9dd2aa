"""A stream of bytes to entries and their data.

    for entry in (reader := TarReader(stream)):
        if entry.kind == "file":
            for chunk in reader.chunks():
                ...

Reads v7, ustar, star, GNU (long names, sparse files, large numbers) and PAX (also global headers).  It takes
large blocks from its stream and gives parts of them without a copy.  A chunk is valid for as long as anybody
holds it.

An archive may say anything: names are given as they are, sizes are believed only as far as data come.
What no tar program would have written is an InvalidInput that says at which byte.
"""

from __future__ import annotations

from typing import Protocol

from pierhead.errors import InvalidInput
from pierhead.images.tarlayer.entry import Entry, shown
from pierhead.images.tarlayer.header import (
    BLOCK_BYTES,
    FIELDS,
    ZERO_BLOCK,
    MalformedHeader,
    check_block,
    decode_number,
    decode_string,
    join_prefix,
)
from pierhead.images.tarlayer.pax import (
    PAX_BYTES_MAX,
    SPARSE,
    Records,
    decode_decimal,
    decode_records,
    decode_time,
    decode_xattrs,
    merge_records,
)
from pierhead.images.tarlayer.sparse import check_regions, decode_inline, decode_map, decode_old, real_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Self

    from pierhead.images.tarlayer.entry import Kind
    from pierhead.images.tarlayer.sparse import Regions

READ_BYTES = 1 << 19
"""What is asked of the stream at once.

A block changes hands between the thread that decompresses and the one that writes, which costs as much as a
few files: blocks of a quarter of this take 5 to 9 percent more of a processor's time.
"""

_NS = 1_000_000_000
_PADDING = BLOCK_BYTES - 1
_SKIP_BYTES = 1 << 20
_MAGIC, _MAGIC_AT = b"ustar", 257
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
    b"D": "directory",
}
_SPECIAL = b"xXgLKV"
"""Headers that say something of other entries (V: a label that nobody needs)."""
_SIZED = b"0\x007SD"
"""Types after whose header data follow; of others the size means nothing (archive/tar, "hdr-only.tar")."""


class Stream(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, and none only at the end."""


class _Overrides:
    """What came before an entry's own header."""

    __slots__ = ("linkname", "name", "records")

    def __init__(self) -> None:
        self.records: Records = {}
        self.name: bytes | None = None
        self.linkname: bytes | None = None


class TarReader:
    """The entries of an archive, in their order; each one's data can be taken until the next is asked for."""

    def __init__(self, stream: Stream, *, skip: Callable[[int], object] | None = None) -> None:
        """``skip`` passes over so many of the stream's bytes without reading them, where that is possible;
        it raises InvalidInput when the stream has fewer.
        """
        self._read = stream.read
        self._seek = skip
        self._block = b""
        self._view = memoryview(b"")
        self._at = 0
        self._before = 0
        """Bytes of the stream before the block."""
        self._left = 0
        """Bytes of the present entry's data that were not given yet."""
        self._behind = 0
        """Bytes after these before the next header."""
        self._globals: Records = {}
        self._entry: Entry | None = None
        self._ended = False
        self._is_tar = False
        """Whether the first header was one."""

    @property
    def offset(self) -> int:
        """The byte of the stream that comes next: after an entry, the first one of its data."""
        return self._before + self._at

    # Entries

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Entry:
        """The next entry.

        Raises:
            InvalidInput: the archive is damaged, truncated, or none at all.
        """
        start = self._before + self._at
        try:
            self._pass(self._left, self._behind)
            self._left = self._behind = 0
            start = self._before + self._at
            self._entry = entry = self._next_entry()
        except MalformedHeader as error:
            message = f"the archive has no valid entry at byte {start}: {error}"
            hint = "it is damaged"
            if not self._is_tar:
                message, hint = "this is not a tar archive", f"or it is damaged at its beginning: {error}"
            raise InvalidInput(message, code="invalid-archive", hint=hint) from None
        if entry is None:
            self._ended = True
            raise StopIteration
        return entry

    def _next_entry(self) -> Entry | None:
        before: _Overrides | None = None
        while not self._ended:
            header = self._take_header()
            if not header or (header == ZERO_BLOCK and self._is_end()):
                break
            check_block(header)
            self._is_tar = True
            fields = FIELDS.unpack(header)
            kind = fields[7]
            if kind not in _SPECIAL:
                return self._decode(header, fields, before)
            before = before or _Overrides()
            self._take_special(kind, decode_number(fields[4]), before)
        if before is not None and (before.records or before.name or before.linkname):
            raise _truncated(self.offset)
        return None

    def _is_end(self) -> bool:
        """Two blocks of zeros end an archive; so does one at the stream's end.

        Raises:
            MalformedHeader: one block of zeros between entries.
        """
        following = self._take_header()
        if following and following != ZERO_BLOCK:
            raise MalformedHeader("a single block of zeros")
        return True

    def _take_special(self, kind: bytes, size: int, before: _Overrides) -> None:
        if not 0 <= size <= PAX_BYTES_MAX:
            raise MalformedHeader("an extended header is too large")
        text = self._take(size)
        self._pass(0, -size & _PADDING)
        if kind in b"xX":
            before.records = merge_records({}, decode_records(text))
        elif kind == b"g":
            self._globals = merge_records(self._globals, decode_records(text))
        elif kind == b"L":
            before.name = decode_string(text)
        elif kind == b"K":
            before.linkname = decode_string(text)

    def _decode(self, header: bytes, fields: tuple[Any, ...], before: _Overrides | None) -> Entry:
        name, mode, uid, gid, size, mtime, _, flag, linkname, magic, major, minor, prefix, trailer = fields
        kind = _KINDS.get(flag)
        if kind is None:
            raise MalformedHeader(f"entries of type {flag!r} are unknown")
        stored = decode_number(size)
        name = name.rstrip(b"\0") if name[-1] == 0 else name
        if b"\0" in name:
            name = decode_string(name)
        if prefix[0]:
            name = join_prefix(name, magic, prefix, trailer)
        if flag == b"0" and before is None and not self._globals and stored >= 0 and name:
            # Most entries: the same as below, without what they do not have.
            self._left, self._behind = stored, -stored & _PADDING
            return Entry(
                name=name,
                mode=decode_number(mode) & 0o7777,
                uid=_decode_id(uid),
                gid=_decode_id(gid),
                mtime_ns=decode_number(mtime) * _NS,
                size=stored,
            )
        values: dict[str, Any] = {
            "name": name,
            "kind": kind,
            "mode": decode_number(mode) & 0o7777,
            "uid": _decode_id(uid),
            "gid": _decode_id(gid),
            "mtime_ns": decode_number(mtime) * _NS,
        }
        if kind in ("symlink", "hardlink"):
            values["linkname"] = decode_string(linkname)
        elif kind in ("character", "block"):
            values["device_major"] = decode_number(major)
            values["device_minor"] = decode_number(minor)
        records = self._globals
        if before is not None:
            if before.name is not None:
                values["name"] = before.name
            if before.linkname is not None and "linkname" in values:
                values["linkname"] = before.linkname
            records = {**records, **before.records} if records else before.records
        if records:
            stored = _override(values, records, stored)
        self._set_data(values, flag, header, stored, records)
        return Entry(**values)

    def _set_data(
        self, values: dict[str, Any], flag: bytes, header: bytes, stored: int, records: Records
    ) -> None:
        """Sizes, the sparse map, and last checks of what will be an entry."""
        if stored < 0:
            raise MalformedHeader("a size is negative")
        if flag not in _SIZED:
            stored = 0
        padding = -stored & _PADDING
        if values["kind"] == "file":
            values["size"] = stored
            if flag == b"\0" and values["name"].endswith(b"/"):  # v7 had no type for directories
                values.update(kind="directory", size=0)
            elif flag == b"S":
                values["size"], values["sparse"] = decode_old(header, self._take_block)
            elif any(key.startswith(SPARSE) for key in records):
                values["size"], values["sparse"], stored = self._decode_sparse(values, records, stored)
            if "sparse" in values:
                check_regions(values["sparse"], values["size"], stored)
        if values["kind"] == "directory":
            values["name"] = values["name"].rstrip(b"/") or b"/"
            self._left, self._behind = 0, stored + padding
        else:
            self._left, self._behind = stored, padding
        if not values["name"]:
            raise MalformedHeader("an entry has no name")

    def _decode_sparse(
        self, values: dict[str, Any], records: Records, stored: int
    ) -> tuple[int, Regions, int]:
        """Size, regions, and how many of the stored bytes are left for data, by PAX records."""
        values["name"] = records.get(b"GNU.sparse.name", values["name"])
        size = real_size(records)
        if records.get(b"GNU.sparse.major") == b"1":
            taken, regions = decode_inline(self._take_block)
            return size, regions, stored - taken
        return size, decode_map(records.get(b"GNU.sparse.map", b"")), stored

    # Data

    def chunks(self) -> Iterator[memoryview]:
        """The present entry's data; of a sparse file its regions' data, one after the other.

        Raises:
            InvalidInput: the archive ends before.
        """
        while self._left:
            if self._at == len(self._block) and not self._fill():
                raise _truncated(self.offset)
            start = self._at
            size = min(self._left, len(self._block) - start)
            self._at += size
            self._left -= size
            yield self._view[start : start + size]

    def read(self, limit_bytes: int) -> bytes:
        """The present entry's whole content, holes included.

        Raises:
            InvalidInput: it is larger than the limit, or the archive ends before.
        """
        entry = self._entry
        if entry is None:
            return b""
        if entry.size > limit_bytes:
            message = f"{shown(entry.name)} in the archive has more than {limit_bytes} bytes"
            raise InvalidInput(message, code="too-large")
        data = b"".join(self.chunks())
        if entry.sparse is None:
            return data
        content = bytearray(entry.size)
        at = 0
        for offset, length in entry.sparse:
            content[offset : offset + length] = data[at : at + length]
            at += length
        return bytes(content)

    def drain(self) -> None:
        """The stream has been read to its end; what stands behind an archive's end means nothing.

        Whoever wants a digest of the whole stream needs this.
        """
        while self._fill():
            pass

    # The stream

    def _fill(self) -> bool:
        """The next block takes the place of the present one; False at the stream's end."""
        self._before += len(self._block)
        self._block = self._read(READ_BYTES)
        self._view = memoryview(self._block)
        self._at = 0
        return bool(self._block)

    def _take(self, size: int) -> bytes:
        """So many bytes."""
        data = self._take_up_to(size)
        if len(data) < size:
            raise _truncated(self.offset)
        return data

    def _take_block(self) -> bytes:
        return self._take(BLOCK_BYTES)

    def _take_header(self) -> bytes:
        """One block; nothing at the stream's end."""
        end = self._at + BLOCK_BYTES
        if end <= len(self._block):
            header = self._block[self._at : end]
            self._at = end
            return header
        header = self._take_up_to(BLOCK_BYTES)
        if header and len(header) < BLOCK_BYTES:
            if not header.strip(b"\0"):
                return b""
            if not self._is_tar and header[_MAGIC_AT : _MAGIC_AT + len(_MAGIC)] != _MAGIC:
                raise MalformedHeader("it is shorter than one entry")
            raise _truncated(self.offset)
        return header

    def _take_up_to(self, size: int) -> bytes:
        """So many bytes, or as many as there are."""
        parts = []
        while size:
            if self._at == len(self._block) and not self._fill():
                break
            part = self._block[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pass(self, left: int, behind: int) -> None:
        """So many bytes are passed over.  What only fills up the last block may be missing at the end."""
        here = len(self._block) - self._at
        if left + behind <= here:
            self._at += left + behind
            return
        if self._seek is not None and left - here > _SKIP_BYTES:
            beyond = left - here
            self._seek(beyond)
            self._before += len(self._block) + beyond
            self._block, self._view, self._at = b"", memoryview(b""), 0
            left = 0
        while left + behind:
            if self._at == len(self._block) and not self._fill():
                if left or behind >= BLOCK_BYTES:
                    raise _truncated(self.offset)
                return
            size = min(left + behind, len(self._block) - self._at)
            self._at += size
            behind -= max(0, size - left)
            left -= min(size, left)


def _decode_id(field: bytes) -> int:
    number = decode_number(field)
    if number < 0:
        raise MalformedHeader("an owner is negative")
    return number


def _override(values: dict[str, Any], records: Records, stored: int) -> int:
    """The records' values take the place of the header's; returns the size of the data that follow."""
    if (path := records.get(b"path")) is not None:
        values["name"] = path
    if (linkpath := records.get(b"linkpath")) is not None and "linkname" in values:
        values["linkname"] = linkpath
    for name in ("uid", "gid"):
        if (number := records.get(name.encode())) is not None:
            values[name] = decode_decimal(number)
    if (time := records.get(b"mtime")) is not None:
        values["mtime_ns"] = decode_time(time)
    xattrs = decode_xattrs(records)
    if xattrs:
        values["xattrs"] = xattrs
    size = records.get(b"size")
    return stored if size is None else decode_decimal(size)


def _truncated(offset: int) -> InvalidInput:
    return InvalidInput(
        f"the archive ends at byte {offset}, in the middle of an entry",
        code="truncated-archive",
        hint="it was not copied whole",
    )
