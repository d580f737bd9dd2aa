"""Roots of containers: files of their own upon an image's, for as long as somebody holds them.

    with open_root(service, image) as root:
        root.mounts        what becomes /
        root.scratch       a directory for files that are mounted into the container

A root whose holder was killed is removed by the next collection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil

from pierhead.errors import NotFound
from pierhead.images.shifting import shift_layers
from pierhead.images.unpacking import unpack_image
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.library import Image
    from pierhead.images.service import ImageService
    from pierhead.images.shifting import IdRange
    from pierhead.images.snapshots import Mount
    from pierhead.images.unpackprogress import UnpackProgress
    from pierhead.oci.image import Platform


class ImageRoot(Value):
    """A container's root.

    Fields:
        image: whose files are below.
        mounts: what becomes ``/``; see ``snapshots.Mount``.
        scratch: absolute path of an empty directory of the container's.
    """

    image: PlatformImage
    mounts: tuple[Mount, ...]
    scratch: str


@contextlib.contextmanager
def open_root(
    service: ImageService,
    image: Image,
    platform: Platform | None = None,
    *,
    readonly: bool = False,
    progress: UnpackProgress | None = None,
    shifted: IdRange | None = None,
) -> Iterator[ImageRoot]:
    """A root upon the image, which is unpacked where it is not yet; gone at the end.

    Args:
        service: has the image.
        image: whose files are below.
        platform: None is this machine's.
        readonly: whether nobody writes to it.
        progress: told of layers that are unpacked.
        shifted: a user namespace's ids, whose files these are to be: see ``shifting``.  None leaves owners to
            whoever mounts it.

    Raises:
        NotFound: nothing of the image is here for the platform.
        InvalidInput: it is an artifact without files, or not what it says.
    """
    with service.library.lease(purpose=f"container of {service.catalogue.familiar(image.name)}") as lease:
        lease.pin_graph(image.descriptor)
        shown = service.catalogue.open(image, platform)
        chain_id = asyncio.run(unpack_image(service, lease, shown, progress))
        if shifted and shown.config and chain_id:
            chain_id = shift_layers(service, lease, shown.config.rootfs.diff_ids, shifted)
        key = lease.snapshot_key("root")
        if readonly and chain_id:
            mounts = service.snapshotter.view(key, chain_id)
        else:
            mounts = service.snapshotter.prepare(key, chain_id)
        try:
            scratch = service.scratch(lease.id)
            os.makedirs(scratch, mode=0o755)
            yield ImageRoot(image=shown, mounts=mounts, scratch=scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with contextlib.suppress(NotFound):
                service.snapshotter.remove(key)
