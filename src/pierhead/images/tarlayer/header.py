"""One block of 512 bytes, what every entry of an archive begins with.

    offset  length                      offset  length
    0       100     name                257     6+2   magic and version
    100     8       mode                265     32    owner's name (not read: ids are numbers here)
    108     8       uid                 297     32    group's name
    116     8       gid                 329     8     device's major number
    124     12      size                337     8     device's minor number
    136     12      mtime, seconds      345     155   prefix of the name (ustar)
    148     8       checksum                          or times, a sparse map and the real size (GNU)
    156     1       type                              or 131 of prefix, then times (star)
    157     100     link's target       500     12    unused; ends with "tar" (star)

Numbers are octal text, or two's complement with the highest bit set (GNU's base-256).
Source: POSIX pax(1), "ustar Interchange Format"; GNU tar manual, "Basic Tar Format"; star(5).  Pure.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from zlib import adler32

from pierhead.errors import InvalidInput

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)

FIELDS = Struct("100s8s8s8s12s12s8sc100s8s64x8s8s155s8x4s")
"""name, mode, uid, gid, size, mtime, checksum, type, linkname, magic, major, minor, prefix, trailer"""

GNU_MAGIC = b"ustar  \0"
USTAR_MAGIC = b"ustar\x0000"
_STAR_TRAILER = b"tar\0"
_STAR_PREFIX_BYTES = 131
_TIME_BYTES = 12
_OCTAL = b"01234567"
_INT64_MAX = (1 << 63) - 1
_CHECKSUM = slice(148, 156)
_CHECKSUM_AS_SPACES = 8 * 0x20


class MalformedHeader(ValueError):
    """A block is no header; the reader, which knows where it is, says so in a sentence."""


@lru_cache(maxsize=8192)
def decode_number(field: bytes) -> int:
    """The number that a field holds; 0 if it is empty.

    Remembered, since an archive's owners, modes and times are mostly the same.

    Raises:
        MalformedHeader: it holds none, or one that 64 bits do not.
    """
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        if value >> (bits - 1):
            value -= 1 << bits
        if not -_INT64_MAX - 1 <= value <= _INT64_MAX:
            raise MalformedHeader("a number is too large")
        return value
    text = field.strip(b" \0").partition(b"\0")[0]
    if not text:
        return 0
    if text.strip(_OCTAL):  # int() itself would take signs and underscores
        raise MalformedHeader("a number is not octal")
    return int(text, 8)


def decode_string(field: bytes) -> bytes:
    """What stands before the first NUL."""
    return field.partition(b"\0")[0]


def unsigned_sum(block: bytes) -> int:
    """The sum of a block's bytes.

    The lower half of Adler-32 is one more than the sum modulo 65521, and half a block's sum is smaller than
    that: two calls of C in the place of a loop over 512 bytes.
    """
    return (adler32(block[:256]) & 0xFFFF) + (adler32(block[256:]) & 0xFFFF) - 2


def check_block(block: bytes) -> None:
    """The block's checksum is right, whether its writer added bytes or signed characters (as old ones did).

    Raises:
        MalformedHeader: it is not.
    """
    field = block[_CHECKSUM]
    wanted = decode_number(field)
    found = unsigned_sum(block) - (adler32(field) & 0xFFFF) + 1 + _CHECKSUM_AS_SPACES
    if wanted != found:
        high = sum(1 for byte in block[: _CHECKSUM.start] + block[_CHECKSUM.stop :] if byte & 0x80)
        if wanted != found - 256 * high:
            raise MalformedHeader("the checksum is wrong")


def join_prefix(name: bytes, magic: bytes, prefix: bytes, trailer: bytes) -> bytes:
    """The whole name of an entry whose prefix field is not empty, in its dialect."""
    if magic[:6] == USTAR_MAGIC[:6]:
        if trailer == _STAR_TRAILER:
            prefix = prefix[:_STAR_PREFIX_BYTES]
        prefix = decode_string(prefix)
        return prefix + b"/" + name if prefix else name
    if magic == GNU_MAGIC and not _is_time(prefix[:_TIME_BYTES]):
        # Go before 1.8 took this format for one with a prefix (archive/tar, "invalid-go17.tar").
        prefix = decode_string(prefix)
        return prefix + b"/" + name if prefix and prefix.isascii() else name
    return name


def _is_time(field: bytes) -> bool:
    try:
        decode_number(field)
    except MalformedHeader:
        return False
    return True


# Writing

OCTAL_8_MAX = 0o7777777
OCTAL_12_MAX = 0o77777777777
NAME_BYTES_MAX = 100
_PREFIX_BYTES_MAX = 155
_AFTER_MAGIC = bytes(64)
_UNUSED = bytes(12)


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Prefix and name of a ustar header; None when the name fits in no way."""
    if len(name) <= NAME_BYTES_MAX:
        return b"", name
    if len(name) > _PREFIX_BYTES_MAX + 1 + NAME_BYTES_MAX:
        return None
    cut = name.rfind(b"/", 1, _PREFIX_BYTES_MAX + 1)
    rest = name[cut + 1 :]
    if cut < 0 or not rest or len(rest) > NAME_BYTES_MAX:
        return None
    return name[:cut], rest


def encode_header(
    name: tuple[bytes, bytes],
    mode: int,
    owner: tuple[int, int],
    size: int,
    mtime_s: int,
    kind: bytes,
    linkname: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """A ustar header.

    Args:
        name: what ``split_name`` gave.
        mode: permission bits.
        owner: uid and gid.
        size: of the data that follow, in bytes.
        mtime_s: seconds since the epoch.
        kind: the type, one byte.
        linkname: of links.
        device: major and minor number of devices.

    Raises:
        InvalidInput: a field does not fit; the caller has put it into a PAX record.
    """
    block = b"".join(
        (
            name[1].ljust(NAME_BYTES_MAX, b"\0"),
            b"%07o\0%07o\0%07o\0%011o\0%011o\0        " % (mode, *owner, size, mtime_s),
            kind,
            linkname.ljust(NAME_BYTES_MAX, b"\0"),
            USTAR_MAGIC,
            _AFTER_MAGIC,
            b"%07o\0%07o\0" % device,
            name[0].ljust(_PREFIX_BYTES_MAX, b"\0"),
            _UNUSED,
        )
    )
    if len(block) != BLOCK_BYTES:
        raise InvalidInput(f"{name[1]!r} does not fit into a header", code="does-not-fit")
    return b"%b%06o\0 %b" % (block[:148], unsigned_sum(block), block[156:])
