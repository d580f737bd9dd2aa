"""Manifests for images that come without one: layers get descriptors, and a manifest names them.

The same layers and the same configuration give the same manifest, whatever they came in.
"""

from __future__ import annotations

import os

from pierhead import jsontext
from pierhead.digests import digest_of, hasher
from pierhead.errors import InvalidInput
from pierhead.images.archive.files import RATIO_MAX
from pierhead.images.compression import open_reader
from pierhead.images.sidebyside import side_by_side
from pierhead.images.tarlayer.reader import TarReader
from pierhead.oci.document import encode
from pierhead.oci.image import (
    CONFIG,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    Descriptor,
    Manifest,
    decode_config,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.archive.files import Files, Stored
    from pierhead.images.compression import Reader
    from pierhead.images.content import ContentStore

_BLOCK_BYTES = 1 << 20
_TYPES = {"none": LAYER, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}


class ComposedLayer(Value):
    """A layer in the store, and the digest of its archive without compression."""

    descriptor: Descriptor
    diff_id: str


class _Overheard:
    """A stream of which somebody else takes every byte too."""

    def __init__(self, reader: Reader, take: Callable[[bytes], object]) -> None:
        self._reader = reader
        self._take = take

    def read(self, size: int, /) -> bytes:
        data = self._reader.read(size)
        self._take(data)
        return data


def compose_layers(files: Files, names: Iterable[str]) -> dict[str, ComposedLayer]:
    """What these files are as layers, by their names; all are in the store.

    Large ones come first and two at once: hashing and writing leave another thread its processor.

    Raises:
        InvalidInput: there is none of such a name; or as ``compose_layer``.
    """
    layers: dict[str, ComposedLayer] = {}

    def compose(name: str) -> ComposedLayer:
        stored = files.store(name)
        known = layers.get(stored.digest)
        if known is None:
            known = layers[stored.digest] = compose_layer(files.content, stored)
        return known

    wanted = sorted(dict.fromkeys(names), key=files.size, reverse=True)
    return dict(zip(wanted, side_by_side(compose, wanted), strict=True))


def compose_layer(content: ContentStore, stored: Stored, *, checked: bool = False) -> ComposedLayer:
    """What a content is as a layer; it has been decompressed to see its diff id.

    Kinds of compression that OCI has no media type for (bzip2, xz) are undone.

    Args:
        content: the store, of a lease.
        stored: the content.
        checked: whether it has to be a tar archive; otherwise that is seen when it is unpacked.

    Raises:
        InvalidInput: the compressed stream is damaged, or is made to fill disks; it is no archive.
    """
    fd = content.open(stored.digest)
    try:
        reader = open_reader(fd, ratio_max=RATIO_MAX)
        media_type = _TYPES.get(reader.kind, "")
        descriptor = Descriptor(media_type=media_type, digest=stored.digest, size=stored.size)
        if reader.kind == "none" and not checked:
            return ComposedLayer(descriptor=descriptor, diff_id=stored.digest)
        if media_type:
            hashed = hasher()
            _read_all(_Overheard(reader, hashed.update), checked=checked)
            return ComposedLayer(descriptor=descriptor, diff_id=digest_of(hashed))
        with content.ingest_new() as ingest:
            _read_all(_Overheard(reader, ingest.append), checked=checked)
            size = ingest.size
            digest = ingest.commit()
        plain = Descriptor(media_type=LAYER, digest=digest, size=size)
        return ComposedLayer(descriptor=plain, diff_id=digest)
    finally:
        os.close(fd)


def _read_all(stream: _Overheard, *, checked: bool) -> None:
    if checked:
        reader = TarReader(stream)
        for _ in reader:
            continue
        reader.drain()
    while stream.read(_BLOCK_BYTES):
        continue


def compose_image(content: ContentStore, config: bytes, layers: tuple[Descriptor, ...]) -> Descriptor:
    """The image of this configuration and these layers is in the store; returns its manifest's descriptor.

    Raises:
        InvalidInput: the configuration is none, or speaks of another number of layers.
    """
    decoded = decode_config(config)
    if len(decoded.rootfs.diff_ids) != len(layers):
        message = (
            f"the image's configuration has {len(decoded.rootfs.diff_ids)} layers, the archive {len(layers)}"
        )
        raise InvalidInput(message, code="invalid-archive")
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        config=Descriptor(media_type=CONFIG, digest=content.write(config), size=len(config)),
        layers=layers,
    )
    raw = encode_document(manifest)
    return Descriptor(
        media_type=MANIFEST, digest=content.write(raw), size=len(raw), platform=decoded.platform
    )


def encode_document(value: Value) -> bytes:
    """A document's bytes; the same for the same value."""
    return jsontext.format_compact(encode(value)).encode()
