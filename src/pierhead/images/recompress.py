"""Images whose layers are not compressed, as they come from archives, in the form in which they are pushed.

A layer that is compressed already stays as it is, and one whose compressed form is known is not compressed
again.  The image's documents change with the descriptors in them, and nothing else does.
"""

from __future__ import annotations

import os

from pierhead import jsontext
from pierhead.images.diff import LayerWriter
from pierhead.oci.document import encode
from pierhead.oci.image import (
    DOCKER_LAYER,
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_ZSTD,
    DOCUMENT_BYTES_MAX,
    INDEX_TYPES,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST_TYPES,
    Descriptor,
    decode_index,
    decode_manifest,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.images.compression import Written
    from pierhead.images.library import Lease, Library

_BLOCK_BYTES = 1 << 20
_TYPES: dict[str, dict[Written, str]] = {
    LAYER: {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD},
    DOCKER_LAYER: {"gzip": DOCKER_LAYER_GZIP, "zstd": DOCKER_LAYER_ZSTD},
}


def compress_image(library: Library, lease: Lease, image: Descriptor, compression: Written) -> Descriptor:
    """The image with compressed layers, in the store; the same one if there is nothing to compress.

    Args:
        library: knows compressed forms, and learns new ones.
        lease: one of its leases, which keeps what is made.
        image: a manifest or an index; what of it is not here stays as it is.
        compression: ``gzip``, ``zstd``, or ``none``, which changes nothing.

    Raises:
        OperationFailed: the disk is full.
    """
    content = lease.content
    if compression == "none" or content.find_size(image.digest) is None:
        return image
    raw = content.read(image.digest, limit_bytes=DOCUMENT_BYTES_MAX)
    if image.media_type in INDEX_TYPES:
        old = decode_index(raw).manifests
        new = tuple(compress_image(library, lease, child, compression) for child in old)
        key = "manifests"
    elif image.media_type in MANIFEST_TYPES:
        old = decode_manifest(raw).layers
        new = tuple(_compress_layer(library, lease, layer, compression) for layer in old)
        key = "layers"
    else:
        return image
    if new == old:
        return image
    document: dict[str, Any] = jsontext.parse(raw)
    document[key] = [encode(each) for each in new]
    changed = jsontext.format_compact(document).encode()
    return image.replace(digest=content.write(changed), size=len(changed))


def _compress_layer(library: Library, lease: Lease, layer: Descriptor, compression: Written) -> Descriptor:
    content = lease.content
    if layer.media_type not in _TYPES or content.find_size(layer.digest) is None:
        return layer
    media_type = _TYPES[layer.media_type][compression]
    diff_id = layer.digest if layer.digest.startswith("sha256:") else library.find_diff_id(layer.digest)
    for known in library.compressed(diff_id):
        lease.pin(known.digest)
        compressed = known.media_type in (types[compression] for types in _TYPES.values())
        if compressed and content.find_size(known.digest) is not None:
            return layer.replace(media_type=media_type, digest=known.digest, size=known.size)
    fd = content.open(layer.digest)
    try:
        with LayerWriter(content, compression=compression) as writer:
            while block := os.read(fd, _BLOCK_BYTES):
                writer.append(block)
            made = writer.commit()
    finally:
        os.close(fd)
    library.record_compressed(made.diff_id, made.descriptor)
    return layer.replace(media_type=media_type, digest=made.descriptor.digest, size=made.descriptor.size)
