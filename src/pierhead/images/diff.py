"""Layers made of directories: what a container changed, or a whole root file system.

    directory ─▶ treewalk ─▶ tarlayer.writer ─┬─▶ sha256: the diff id
                                              └─▶ compression ─▶ a content of the store, by its digest

Only an overlay's upper directory is read: it has what changed, and nothing else.  The same tree gives the
same bytes, on any machine, at any time: entries are sorted, owners are numbers, and times are whole seconds.
"""

from __future__ import annotations

import os

from pierhead.digests import digest_of, hasher
from pierhead.images.compression import Compressor
from pierhead.images.tarlayer.writer import TarWriter
from pierhead.images.treewalk import TreeWalk
from pierhead.images.writebehind import WriteBehind
from pierhead.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD, Descriptor
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from pierhead.images.compression import Written
    from pierhead.images.content import ContentStore
    from pierhead.images.tarlayer.entry import Entry

MEDIA_TYPES: dict[Written, str] = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}
_ZSTD_THREADS = 2
"""More than one compress large layers faster; any number of them but none gives the same bytes."""


class Layer(Value):
    """A layer that is in the store.

    Fields:
        descriptor: of its compressed form.
        diff_id: digest of its archive.
        size_bytes: of its archive.
    """

    descriptor: Descriptor
    diff_id: str
    size_bytes: int


class LayerWriter:
    """An archive on its way into the store, and both of its digests."""

    def __init__(self, store: ContentStore, *, compression: Written, level: int | None = None) -> None:
        """A context manager: leaving it without ``commit`` leaves nothing in the store.

        Raises:
            Unsupported: the package that compresses is not installed.
            InvalidInput: there is no such level.
        """
        self._compression: Written = compression
        self._compressor = Compressor(compression, level, threads=_ZSTD_THREADS)
        self._hash = hasher()
        self._size = 0
        self._ingest = store.ingest_new()
        self._behind = WriteBehind(self._put)

    def __enter__(self) -> Self:
        self._behind.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._behind.__exit__()
        self._ingest.close()

    def append(self, data: bytes | memoryview) -> None:
        """The bytes will be at the archive's end.

        Raises:
            OperationFailed: the disk is full, or fails; it may have been found out a little later.
        """
        self._size += len(data)
        self._behind.append(data)

    def commit(self) -> Layer:
        """The layer is in the store.

        Raises:
            OperationFailed: the disk is full, or fails.
        """
        self._behind.finish()
        rest = self._compressor.flush()
        if rest:
            self._ingest.append(rest)
        size = self._ingest.size
        digest = self._ingest.commit()
        diff_id = digest if self._compression == "none" else digest_of(self._hash)
        descriptor = Descriptor(media_type=MEDIA_TYPES[self._compression], digest=digest, size=size)
        return Layer(descriptor=descriptor, diff_id=diff_id, size_bytes=self._size)

    def _put(self, data: bytes) -> None:
        if self._compression != "none":  # else both digests are the same
            self._hash.update(data)
        compressed = self._compressor.compress(data)
        if compressed:
            self._ingest.append(compressed)


def write_layer(
    store: ContentStore,
    upper_directory: str | os.PathLike[str],
    *,
    compression: Written = "gzip",
    level: int | None = None,
    source_date_epoch: int | None = None,
    precise_times: bool = False,
    left_out: frozenset[bytes] = frozenset(),
) -> Layer:
    """What an overlay's upper directory has is a layer in the store.

    Args:
        store: where to.
        upper_directory: what the container changed.
        compression: ``gzip``, ``zstd`` or ``none``.
        level: None is the usual one.
        source_date_epoch: seconds; no file is said to be later.
        precise_times: times with nanoseconds, where a file has them.
        left_out: paths that do not come; what is in a directory among them is among them too.

    Raises:
        Conflict: something changed while it was read.
        InvalidInput: a file's name begins with ``.wh.``.
        Unsupported: the overlay was mounted with redirect_dir or metacopy; or a package is missing.
        OperationFailed: the disk is full, or fails.
    """
    with LayerWriter(store, compression=compression, level=level) as layer:
        writer = TarWriter(layer.append)

        def add(entry: Entry, chunks: Iterable[bytes]) -> None:
            if entry.name not in left_out:
                writer.add(entry, chunks)

        walk = TreeWalk(add, upper=True, latest_s=source_date_epoch, precise=precise_times)
        _run(walk, upper_directory)
        writer.finish()
        return layer.commit()


def write_tree(
    append: Callable[[bytes | memoryview], object],
    directory: str | os.PathLike[str],
    *,
    source_date_epoch: int | None = None,
    precise_times: bool = False,
    sparse: bool = False,
    lenient: bool = False,
) -> int:
    """A whole root file system as an archive; returns its size in bytes.

    Args:
        append: takes the archive's bytes, piece by piece; ``LayerWriter.append`` makes a layer of them.
        directory: the root; it has no entry itself.
        source_date_epoch: seconds; no file is said to be later.
        precise_times: times with nanoseconds, where a file has them.
        sparse: holes of files are left out where that saves something.  Not for layers: see ``holes``.
        lenient: what vanishes meanwhile is passed over; see ``TreeWalk``.

    Raises:
        Conflict: something changed while it was read.
        OperationFailed: something cannot be read.
    """
    writer = TarWriter(append)
    walk = TreeWalk(
        writer.add,
        upper=False,
        latest_s=source_date_epoch,
        precise=precise_times,
        sparse=sparse,
        lenient=lenient,
    )
    _run(walk, directory)
    writer.finish()
    return writer.size


def _run(walk: TreeWalk, directory: str | os.PathLike[str]) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        walk.run(fd)
    finally:
        os.close(fd)
