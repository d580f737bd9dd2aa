"""An archive of a root file system to an image of one layer: what ``docker export`` and debootstrap make.

The layer is the archive as it came, compressed or not, so that the same archive gives the same layer.
"""

from __future__ import annotations

import os

from pierhead.digests import DEFAULT_ALGORITHM
from pierhead.errors import InvalidInput, OperationFailed
from pierhead.images.archive.compose import compose_image, compose_layer, encode_document
from pierhead.images.archive.files import Stored
from pierhead.oci.image import History, ImageConfig, RootFs
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.library import Lease, Library
    from pierhead.oci.image import Descriptor, Execution, Platform

_BLOCK_BYTES = 1 << 20


class RootfsImage(Value):
    """What is said of an image that is made of a root file system.

    Fields:
        platform: what its programs run on.
        execution: what a container of it runs by default; None says nothing.
        created: RFC 3339, or "".
        author: who made it.
        comment: stands in its history.
    """

    platform: Platform
    execution: Execution | None = None
    created: str = ""
    author: str = ""
    comment: str = ""


def import_rootfs(fd: int, library: Library, lease: Lease, image: RootfsImage) -> Descriptor:
    """The image is in the store and has no name yet; returns its manifest's descriptor.

    Args:
        fd: a file, pipe or socket with a tar archive, compressed or not; read to its end; the caller's.
        library: learns which content is a form of which layer.
        lease: one of the library's; keeps the image until it has a name.
        image: what is said of it.

    Raises:
        InvalidInput: what came is no archive, or a damaged one.
        OperationFailed: the disk is full, or fails.
    """
    content = lease.content
    with content.ingest_new(DEFAULT_ALGORITHM) as ingest:
        while block := _read(fd):
            ingest.append(block)
        if not ingest.size:
            raise InvalidInput("there is nothing in the archive", code="invalid-archive")
        size = ingest.size
        stored = Stored(digest=ingest.commit(), size=size)
    layer = compose_layer(content, stored, checked=True)
    config = ImageConfig(
        created=image.created,
        author=image.author,
        architecture=image.platform.architecture,
        os=image.platform.os,
        variant=image.platform.variant,
        config=image.execution,
        rootfs=RootFs(diff_ids=(layer.diff_id,)),
        history=(History(created=image.created, author=image.author, comment=image.comment),),
    )
    descriptor = compose_image(content, encode_document(config), (layer.descriptor,))
    library.record_compressed(layer.diff_id, layer.descriptor)
    return descriptor


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _BLOCK_BYTES)
    except OSError as error:
        message = f"cannot read the archive: {(error.strerror or str(error)).lower()}"
        raise OperationFailed(message, errno=error.errno or 0, code="cannot-read") from error
