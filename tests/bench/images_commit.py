"""A directory of changes becomes a layer upon an image, and goes to a registry, all by one command.

    python images_commit.py STORE BASE UPPER_DIRECTORY COMPRESSION NAME

STORE has the image BASE; NAME is of the new image.  What `docker commit` and `docker push` do together.
"""

from __future__ import annotations

import asyncio
import sys

from pierhead.images.archive.compose import compose_image, encode_document
from pierhead.images.diff import write_layer
from pierhead.images.platforms import host_platform
from pierhead.images.pulling import push_image
from pierhead.images.service import ImageService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.compression import Written

_WRITTEN: dict[str, Written] = {"gzip": "gzip", "zstd": "zstd", "none": "none"}


def main(store: str, base_name: str, upper: str, compression: str, name: str) -> None:
    """The image is made, and pushed."""
    with ImageService(store) as service:
        base = service.catalogue.open(service.catalogue.get(base_name), host_platform())
        assert base.config is not None
        with service.library.lease(purpose="commit") as lease:
            lease.pin_graph(base.descriptor)
            layer = write_layer(lease.content, upper, compression=_WRITTEN[compression])
            diff_ids = (*base.config.rootfs.diff_ids, layer.diff_id)
            config = base.config.replace(rootfs=base.config.rootfs.replace(diff_ids=diff_ids))
            layers = (*base.manifest.layers, layer.descriptor)
            descriptor = compose_image(lease.content, encode_document(config), layers)
            service.library.set_image(name, descriptor)
        asyncio.run(push_image(service, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
