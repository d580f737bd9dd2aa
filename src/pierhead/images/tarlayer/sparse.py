"""Where a file has data and where it has holes, in the four forms that GNU tar has written.

    old (type S)   four regions in the header at 386, real size at 483; 21 more in each block that follows
    0.0            PAX records GNU.sparse.offset and .numbytes, a pair for each region
    0.1            one record GNU.sparse.map: offset,length,offset,length,...
    1.0            the map stands before the data, in decimal, a number a line, filled up to a whole block

The data of the regions follow one another.  Written is 1.0: GNU tar, libarchive, Python and Go read it.
Source: GNU tar manual, "Storing Sparse Files".  Pure.
"""

from __future__ import annotations

from pierhead.images.tarlayer.header import BLOCK_BYTES, MalformedHeader, decode_number, decode_string
from pierhead.images.tarlayer.pax import decode_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.tarlayer.pax import Records

    TakeBlock = Callable[[], bytes]

Regions = tuple[tuple[int, int], ...]

REGIONS_MAX = 100_000
_HEADER_REGIONS, _BLOCK_REGIONS = 4, 21
_HEADER_MAP, _HEADER_MORE, _HEADER_SIZE = 386, 482, slice(483, 495)
_BLOCK_MORE = 504
_FIELD_BYTES = 12
_DIGITS_MAX = 20


def decode_old(header: bytes, take_block: TakeBlock) -> tuple[int, Regions]:
    """Real size and regions of an entry of type S; takes the blocks that continue its map."""
    numbers = _numbers(header, _HEADER_MAP, _HEADER_REGIONS)
    more = header[_HEADER_MORE]
    while more:
        block = take_block()
        numbers += _numbers(block, 0, _BLOCK_REGIONS)
        more = block[_BLOCK_MORE]
        if len(numbers) > 2 * REGIONS_MAX:
            raise MalformedHeader("a sparse map is too long")
    return decode_number(header[_HEADER_SIZE]), _pairs(numbers)


def _numbers(block: bytes, start: int, regions: int) -> list[int]:
    """Unused places at the end are empty."""
    found = []
    for at in range(start, start + 2 * regions * _FIELD_BYTES, 2 * _FIELD_BYTES):
        offset, length = block[at : at + _FIELD_BYTES], block[at + _FIELD_BYTES : at + 2 * _FIELD_BYTES]
        if not decode_string(offset) and not decode_string(length):
            break
        found += [decode_number(offset), decode_number(length)]
    return found


def decode_map(text: bytes) -> Regions:
    """Regions of the form 0.1 (and of 0.0, which ``merge_records`` made of pairs)."""
    numbers = text.split(b",") if text else []
    if len(numbers) > 2 * REGIONS_MAX:
        raise MalformedHeader("a sparse map is too long")
    return _pairs([decode_decimal(number) for number in numbers])


def decode_inline(take_block: TakeBlock) -> tuple[int, Regions]:
    """Bytes taken, and regions of the form 1.0."""
    lines: list[bytes] = []
    rest = b""
    taken = 0
    wanted = 1
    while len(lines) < wanted:
        block = take_block()
        taken += len(block)
        *more, rest = (rest + block).split(b"\n")
        lines += more
        if lines and wanted == 1:
            wanted = 1 + 2 * decode_decimal(lines[0])
        if len(rest) > _DIGITS_MAX and len(lines) < wanted:
            raise MalformedHeader("a sparse map is malformed")
        if wanted > 2 * REGIONS_MAX:
            raise MalformedHeader("a sparse map is too long")
    return taken, _pairs([decode_decimal(line) for line in lines[1:wanted]])


def _pairs(numbers: list[int]) -> Regions:
    if len(numbers) % 2:
        raise MalformedHeader("a sparse map is out of order")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def real_size(records: Records) -> int:
    """The file's size that PAX records give, in either generation."""
    value = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
    if value is None:
        raise MalformedHeader("a sparse file has no size")
    return decode_decimal(value)


def check_regions(regions: Iterable[tuple[int, int]], size: int, stored: int) -> None:
    """The regions ascend within the file's size, and have as many bytes as are stored.

    Raises:
        MalformedHeader: they do not.
    """
    end = total = 0
    for offset, length in regions:
        if offset < end or length < 0 or offset + length > size:
            raise MalformedHeader("a sparse map does not ascend within the file")
        end = offset + length
        total += length
    if total != stored:
        raise MalformedHeader("a sparse map does not agree with the data")


# Writing


def encode_inline(regions: Regions) -> bytes:
    """The map of the form 1.0, whole blocks of it."""
    numbers = [len(regions), *(number for region in regions for number in region)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + bytes(-len(text) % BLOCK_BYTES)


def sparse_records(name: bytes, size: int) -> Records:
    """What an extended header says of a file of this name and real size, of the form 1.0."""
    return {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }
