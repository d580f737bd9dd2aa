"""Images for tests, made in memory: a few layers that are no archives, their configuration and manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.oci.image import CONFIG, INDEX, LAYER, MANIFEST, Descriptor, Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.content import ContentStore

    Put = Callable[[bytes, str], Descriptor]


def describe(data: bytes, media_type: str, platform: Platform | None = None) -> Descriptor:
    """The descriptor of these bytes."""
    return Descriptor(media_type=media_type, digest=compute_digest(data), size=len(data), platform=platform)


def put_in(store: ContentStore) -> Put:
    """Writes bytes into the store."""

    def put(data: bytes, media_type: str) -> Descriptor:
        store.write(data)
        return describe(data, media_type)

    return put


def plain(descriptor: Descriptor) -> dict[str, object]:
    """As it stands in a document."""
    found: dict[str, object] = {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    }
    if descriptor.platform is not None:
        found["platform"] = {
            "os": descriptor.platform.os,
            "architecture": descriptor.platform.architecture,
        }
    return found


def make_image(put: Put, layers: Iterable[bytes], *, architecture: str = "amd64") -> Descriptor:
    """An image with these layers; its manifest is put last."""
    made = [put(layer, LAYER) for layer in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in made]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": plain(put(jsontext.format_compact(config).encode(), CONFIG)),
        "layers": [plain(layer) for layer in made],
    }
    platform = Platform(os="linux", architecture=architecture)
    return put(jsontext.format_compact(manifest).encode(), MANIFEST).replace(platform=platform)


def make_index(put: Put, images: Iterable[Descriptor]) -> Descriptor:
    """An index of these images."""
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [plain(image) for image in images]}
    return put(jsontext.format_compact(index).encode(), INDEX)
