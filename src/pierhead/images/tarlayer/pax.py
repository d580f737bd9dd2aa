r"""Records of extended headers: ``LENGTH KEY=VALUE\n``, where the length counts the whole record.

They stand before an entry (type x) or for all that follow (type g), and override what its header says:

    path linkpath size uid gid mtime      as the header's fields, in decimal, times with a fraction
    SCHILY.xattr.NAME                     an extended attribute, its value as it is
    LIBARCHIVE.xattr.NAME                 the same, the name percent-encoded and the value in base64
    GNU.sparse.*                          see ``sparse``

Source: POSIX pax(1), "pax Extended Header"; star(5); tar(5) of libarchive.  Pure.
"""

from __future__ import annotations

import binascii
import re

from pierhead.images.tarlayer.header import MalformedHeader

PAX_BYTES_MAX = 1 << 20
"""The largest extended header that is read: attributes of the kernel have 64 KiB, paths 4."""

SCHILY_XATTR = b"SCHILY.xattr."
LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
SPARSE = b"GNU.sparse."
_NS = 1_000_000_000
_SECONDS_MAX = 1 << 63
_TIME = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_DECIMAL = re.compile(rb"[0-9]{1,40}")
_NAMES = (b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name")

Records = dict[bytes, bytes]


def decode_records(text: bytes) -> list[tuple[bytes, bytes]]:
    """The records in their order; one key may come several times (GNU.sparse 0.0).

    Raises:
        MalformedHeader: it is no sequence of records, or a name in it has a NUL.
    """
    records = []
    at = 0
    while at < len(text):
        space = text.find(b" ", at, at + 20)
        digits = text[at:space]
        if space < 0 or not digits.isdigit():
            if not text[at:].strip(b"\0"):  # padding that some writers count
                break
            raise MalformedHeader("a record of an extended header has no length")
        end = at + int(digits)
        key, equals, value = text[space + 1 : end - 1].partition(b"=")
        if not space < end - 1 < len(text) or text[end - 1] != 0x0A or not equals or not key:
            raise MalformedHeader("a record of an extended header is malformed")
        if b"\0" in key or (key in _NAMES and b"\0" in value):
            raise MalformedHeader("a name in an extended header has a NUL")
        records.append((key, value))
        at = end
    return records


def merge_records(known: Records, records: list[tuple[bytes, bytes]]) -> Records:
    """What holds after these records: a later one counts, and one without a value takes an earlier one away.

    GNU.sparse 0.0 gives its map as one pair of records for each region; they become the map of 0.1.
    """
    merged = dict(known)
    regions: list[bytes] = []
    for key, value in records:
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if (key == b"GNU.sparse.offset") == bool(len(regions) % 2):
                raise MalformedHeader("a sparse map is out of order")
            regions.append(value)
        elif value or key.startswith((SCHILY_XATTR, LIBARCHIVE_XATTR)):
            merged[key] = value
        else:
            merged.pop(key, None)
    if regions:
        merged[b"GNU.sparse.map"] = b",".join(regions)
    return merged


def decode_decimal(value: bytes) -> int:
    """A number that is not negative.

    Raises:
        MalformedHeader: it is none, or too large.
    """
    if not _DECIMAL.fullmatch(value) or (number := int(value)) >= 1 << 63:
        raise MalformedHeader("a number of an extended header is malformed")
    return number


def decode_time(value: bytes) -> int:
    """Nanoseconds; digits beyond are dropped.

    Raises:
        MalformedHeader: it is no time.
    """
    match = _TIME.fullmatch(value)
    if match is None or int(match[2]) >= _SECONDS_MAX:
        raise MalformedHeader("a time of an extended header is malformed")
    nanoseconds = int(match[2]) * _NS + int((match[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if match[1] else nanoseconds


def decode_xattrs(records: Records) -> dict[bytes, bytes]:
    """The extended attributes among the records, by their whole names.

    Raises:
        MalformedHeader: a value is not in the form that its key demands.
    """
    found = {}
    for key, value in records.items():
        if key.startswith(SCHILY_XATTR):
            found[key[len(SCHILY_XATTR) :]] = value
        elif key.startswith(LIBARCHIVE_XATTR):
            from urllib.parse import unquote_to_bytes

            name = unquote_to_bytes(key[len(LIBARCHIVE_XATTR) :])
            if SCHILY_XATTR + name not in records:
                found[name] = _decode_base64(value)
    if any(not name or b"\0" in name for name in found):
        raise MalformedHeader("an extended attribute has no valid name")
    return found


def _decode_base64(value: bytes) -> bytes:
    """Libarchive leaves the padding out."""
    try:
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        raise MalformedHeader("an extended attribute's value is malformed") from None


# Writing


def encode_records(records: Records) -> bytes:
    """The records as an extended header's data, sorted."""
    return b"".join(_encode_record(key, records[key]) for key in sorted(records))


def _encode_record(key: bytes, value: bytes) -> bytes:
    """A record's length counts its own digits."""
    rest = len(key) + len(value) + 3
    size = rest + len(b"%d" % rest)
    if rest + len(b"%d" % size) != size:
        size += 1
    return b"%d %b=%b\n" % (size, key, value)


def encode_time(nanoseconds: int) -> bytes:
    """A time with no more digits than it needs."""
    seconds, fraction = divmod(abs(nanoseconds), _NS)
    text = b"%b%d" % (b"-" if nanoseconds < 0 else b"", seconds)
    return text + (b".%09d" % fraction).rstrip(b"0") if fraction else text


def encode_xattr(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The record of an attribute; one whose name has an equals sign only libarchive's form can hold."""
    if b"=" not in name:
        return SCHILY_XATTR + name, value
    from urllib.parse import quote_from_bytes

    encoded = binascii.b2a_base64(value, newline=False).rstrip(b"=")
    return LIBARCHIVE_XATTR + quote_from_bytes(name, safe="").encode(), encoded
