"""Compressed bytes: what they are is seen by their first bytes, never by a name or a media type.

    gzip      1f 8b                          read and written with isal, three times as fast as zlib
    zstd      28 b5 2f fd, or 5x 2a 4d 18    read and written with Python's own zstd, or backports.zstd
    bzip2     "BZh"                          read only, as old archives are
    xz        fd "7zXZ" 00                   read only
    none      anything else

Several compressed streams that follow one another are one (gzip members, zstd frames); what follows them must
be another one, or zeros.  Sources: RFC 1952, RFC 8878.
"""

from __future__ import annotations

import contextlib
import os
import stat
from importlib import import_module
from typing import Literal, Protocol

from pierhead.errors import InvalidInput, OperationFailed, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Kind = Literal["gzip", "zstd", "bzip2", "xz", "none"]
Written = Literal["gzip", "zstd", "none"]

GZIP_LEVEL = 2
"""Of isal's 0 to 3: within two percent of the size that gzip -6 gives, in a tenth of its time."""
ZSTD_LEVEL = 3

RATIO_BYTES = 4 << 30
"""A content below this size may be as much larger than its compressed form as it likes."""

_INPUT_BYTES = 1 << 18
_MAGIC_BYTES = 6
_XZ_MEMORY_BYTES = 128 << 20
_WBITS_GZIP = 31
_ZSTD_JOB_BYTES = 4 << 20
"""What each thread compresses at once: half of zstd's own choice, for half of its memory."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
_HINT = "pip install 'pierhead[images]'"


class _Decompressor(Protocol):
    """What the decompressors of every kind have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...


def detect(head: bytes) -> Kind:
    """What a content is that begins with these bytes (six are enough)."""
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] == _ZSTD_MAGIC or (head[1:4] == _SKIPPABLE and head[0] & 0xF0 == 0x50):
        return "zstd"
    if head[:3] == b"BZh":
        return "bzip2"
    return "xz" if head[:6] == b"\xfd7zXZ\0" else "none"


def open_reader(
    fd: int, *, limit_bytes: int = 0, ratio_max: int = 0, read: Callable[[int], bytes] | None = None
) -> Reader:
    """A reader of what is in this descriptor, from its present place on; the descriptor stays the caller's.

    Args:
        fd: a file, pipe or socket.
        limit_bytes: how many bytes may come out; 0 is no limit.
        ratio_max: how many times as many as went in, once there are more than 4 GiB; 0 is no limit.
        read: gives at most so many bytes of it; None is read(2), from the descriptor's present place on.

    Raises:
        Unsupported: the package that reads this kind is not installed.
    """
    source = _Source(fd, read or (lambda size: os.read(fd, size)))
    head = b""
    while len(head) < _MAGIC_BYTES and (more := source.read(_INPUT_BYTES)):
        head += more
    kind = detect(head)
    if kind == "none":
        return Reader(source, head, limit_bytes=limit_bytes)
    return _CompressedReader(source, head, kind, limit_bytes=limit_bytes, ratio_max=ratio_max)


class _Source:
    """The descriptor, and how its bytes are read."""

    def __init__(self, fd: int, read: Callable[[int], bytes]) -> None:
        self.fd = fd
        self._read = read

    def read(self, size: int) -> bytes:
        try:
            return self._read(size)
        except OSError as error:
            message = f"cannot read the content: {(error.strerror or str(error)).lower()}"
            raise OperationFailed(message, errno=error.errno or 0, code="cannot-read") from error


class Reader:
    """The bytes of a descriptor, which are not compressed."""

    kind: Kind = "none"

    def __init__(self, source: _Source, head: bytes, *, limit_bytes: int) -> None:
        """``head`` has been read already."""
        self._source = source
        self._head = head
        self._limit_bytes = limit_bytes
        self.taken = len(head)
        """Compressed bytes that have been read."""
        self.size = 0
        """Bytes that have been given or passed over, without compression."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, and none only at the end.

        Raises:
            InvalidInput: there are more than the limit.
        """
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._source.read(size)
            self.taken += len(data)
        self.size += len(data)
        self._check_limit()
        return data

    def find_skip(self) -> Callable[[int], None] | None:
        """A function that passes over so many bytes without reading them; None where that is not possible."""
        return self._skip if self.kind == "none" and stat.S_ISREG(os.fstat(self._source.fd).st_mode) else None

    def _skip(self, size: int) -> None:
        beyond = size - len(self._head)
        self._head = self._head[size:]
        if beyond > 0:
            end = os.fstat(self._source.fd).st_size
            if os.lseek(self._source.fd, beyond, os.SEEK_CUR) > end:
                raise InvalidInput(
                    f"the archive ends at byte {end}, in the middle of an entry",
                    code="truncated-archive",
                    hint="it was not copied whole",
                )
        self.size += size
        self._check_limit()

    def _check_limit(self) -> None:
        if self._limit_bytes and self.size > self._limit_bytes:
            raise InvalidInput(
                f"the content has more than the {self._limit_bytes} bytes that are allowed",
                code="too-large",
                hint="raise the limit if you trust where it comes from",
            )


class _CompressedReader(Reader):
    """The bytes of a descriptor, decompressed."""

    def __init__(self, source: _Source, head: bytes, kind: Kind, *, limit_bytes: int, ratio_max: int) -> None:
        super().__init__(source, head, limit_bytes=limit_bytes)
        self.kind = kind
        self._make, errors = _DECOMPRESSORS[kind]()
        self._errors: tuple[type[Exception], ...] = (*errors, EOFError, OSError, ValueError)
        self._ratio_max = ratio_max
        self._current = self._make()

    def read(self, size: int, /) -> bytes:
        while True:
            if self._current.eof and not self._next_stream():
                return b""
            data = b""
            if self._current.needs_input:
                data = self._take()
                if not data:
                    raise self._damaged("it ends too early")
            try:
                data = self._current.decompress(data, size)
            except self._errors as error:
                raise self._damaged(str(error).lower()) from None
            if data:
                self.size += len(data)
                self._check_limit()
                if self._ratio_max and self.size > max(RATIO_BYTES, self._ratio_max * self.taken):
                    raise self._bomb()
                return data

    def _take(self) -> bytes:
        if self._head:
            data, self._head = self._head, b""
            return data
        data = self._source.read(_INPUT_BYTES)
        self.taken += len(data)
        return data

    def _next_stream(self) -> bool:
        """Another stream follows; False at the end.  Zeros may fill up the last block of a tape."""
        rest = self._current.unused_data or self._take()
        while len(rest) < _MAGIC_BYTES and (more := self._take()):
            rest += more
        while rest and not rest.strip(b"\0"):
            rest = self._take()
        if not rest:
            return False
        if detect(rest) != self.kind:
            raise self._damaged("something else follows it")
        self._head = rest + self._head
        self._current = self._make()
        return True

    def _damaged(self, reason: str) -> InvalidInput:
        message = f"the {self.kind} stream is damaged after {self.size} bytes of content: {reason}"
        return InvalidInput(message, code="damaged-stream", hint="fetch or copy it anew")

    def _bomb(self) -> InvalidInput:
        message = f"{self.taken} bytes became {self.size}, more than {self._ratio_max} times as many"
        return InvalidInput(message, code="decompression-bomb", hint="such a content is made to fill disks")


_Made = tuple["Callable[[], _Decompressor]", tuple[type[Exception], ...]]


def _gzip() -> _Made:
    try:
        igzip = import_module("isal.igzip_lib")  # whose stubs take its error for an instance
    except ImportError:
        raise _missing("gzip", "isal") from None
    return lambda: igzip.IgzipDecompressor(flag=igzip.DECOMP_GZIP), (igzip.IsalError,)


def _zstd() -> _Made:
    zstd = _import_zstd()
    return zstd.ZstdDecompressor, (zstd.ZstdError,)


def _bzip2() -> _Made:
    import bz2

    return bz2.BZ2Decompressor, ()


def _xz() -> _Made:
    import lzma

    return lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES), (lzma.LZMAError,)


_DECOMPRESSORS = {"gzip": _gzip, "zstd": _zstd, "bzip2": _bzip2, "xz": _xz}


def load_decompressors() -> None:
    """Nothing has to be imported any more to read an archive; what is not installed is missed when needed."""
    for load in _DECOMPRESSORS.values():
        with contextlib.suppress(ImportError, Unsupported):
            load()


class _Compressing(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Compressor:
    """Bytes to their compressed form; the same bytes at the same level give the same form."""

    def __init__(self, kind: Written, level: int | None = None, *, threads: int = 0) -> None:
        """Nothing is compressed yet.

        Args:
            kind: ``none`` gives the bytes as they are.
            level: gzip 0 to 3, zstd -7 to 22; None is 2 and 3.
            threads: zstd's, beside the caller's; 0 is none.

        Raises:
            Unsupported: the package that writes this kind is not installed.
            InvalidInput: there is no such level.
        """
        self._inner: _Compressing | None = None
        if kind == "gzip":
            self._inner = _gzip_compressor(GZIP_LEVEL if level is None else level)
        elif kind == "zstd":
            self._inner = _zstd_compressor(ZSTD_LEVEL if level is None else level, threads)

    def compress(self, data: bytes | memoryview) -> bytes | memoryview:
        """What is ready of the compressed form, possibly nothing yet."""
        return data if self._inner is None else self._inner.compress(data)

    def flush(self) -> bytes:
        """The rest of the compressed form; nothing may follow."""
        return b"" if self._inner is None else self._inner.flush()


def _gzip_compressor(level: int) -> _Compressing:
    try:
        from isal import isal_zlib
    except ImportError:
        raise _missing("gzip", "isal") from None
    if not isal_zlib.ISAL_BEST_SPEED <= level <= isal_zlib.ISAL_BEST_COMPRESSION:
        raise InvalidInput(f"gzip has no level {level} here", hint="levels are 0 (fastest) to 3")
    return isal_zlib.compressobj(level, isal_zlib.DEFLATED, _WBITS_GZIP)


def _zstd_compressor(level: int, threads: int) -> _Compressing:
    zstd = _import_zstd()
    parameter = zstd.CompressionParameter
    lowest, highest = parameter.compression_level.bounds()
    if not lowest <= level <= highest:
        raise InvalidInput(f"zstd has no level {level}", hint="levels are 1 (fastest) to 22")
    options = {parameter.compression_level: level, parameter.checksum_flag: 1}
    if threads:
        options[parameter.nb_workers] = threads
        options[parameter.job_size] = _ZSTD_JOB_BYTES
    compressor: _Compressing = zstd.ZstdCompressor(options=options)
    return compressor


def _import_zstd() -> ModuleType:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise _missing("zstd", "backports.zstd")


def _missing(kind: str, package: str) -> Unsupported:
    message = f"the Python package {package} is not installed, which {kind} needs"
    return Unsupported(message, code="package-missing", hint=_HINT)
