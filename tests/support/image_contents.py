"""Images made of bytes, in a store; and what of an image is in one."""

from __future__ import annotations

import base64
import gzip
import random
from typing import TYPE_CHECKING

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.oci.document import encode
from pierhead.oci.image import (
    CONFIG,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    Platform,
    RootFs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.images.content import ContentStore

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")


def random_bytes(count: int, seed: int = 0) -> bytes:
    """The same bytes each time, that no compression makes smaller."""
    return random.Random(seed).randbytes(count)


def add_content(store: ContentStore, data: bytes, media_type: str) -> Descriptor:
    """The content is in the store."""
    return Descriptor(media_type=media_type, digest=store.write(data), size=len(data))


def add_document(store: ContentStore, document: Manifest | Index, media_type: str) -> Descriptor:
    """The document is in the store, as JSON."""
    return add_content(store, jsontext.format_compact(encode(document)).encode(), media_type)


def add_image(
    store: ContentStore,
    layers: Sequence[bytes],
    *,
    platform: Platform = AMD64,
    subject: Descriptor | None = None,
) -> Descriptor:
    """An image of these layers is in the store; each is what a registry would give."""
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        rootfs=RootFs(diff_ids=tuple(compute_digest(layer) for layer in layers)),
    )
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        config=add_content(store, jsontext.format_compact(encode(config)).encode(), CONFIG),
        layers=tuple(add_content(store, layer, LAYER_GZIP) for layer in layers),
        subject=subject,
    )
    return add_document(store, manifest, MANIFEST).replace(platform=platform)


def add_index(store: ContentStore, *images: Descriptor) -> Descriptor:
    """An index of these images is in the store."""
    return add_document(store, Index(schema_version=2, media_type=INDEX, manifests=images), INDEX)


def add_schema1(store: ContentStore, contents: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """A manifest of schema 1 over these contents, and its layers, which are in the store; a step is empty."""
    layers = [gzip.compress(content, mtime=0) for content in contents]
    for layer in layers:
        store.write(layer)
    steps: list[dict[str, object]] = [
        {"container_config": {"Cmd": ["/bin/sh", "-c", f"step {number}"]}, "created": "2015-01-01T00:00:00Z"}
        for number in range(len(layers))
    ]
    image = {
        "throwaway": True,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["A=1"]},
        "id": "f" * 64,
    }
    document = {
        "schemaVersion": 1,
        "name": "old",
        "tag": "1",
        "architecture": "amd64",
        "fsLayers": [
            {"blobSum": digest}
            for digest in [compute_digest(b""), *(compute_digest(layer) for layer in reversed(layers))]
        ],
        "history": [{"v1Compatibility": jsontext.format_compact(step)} for step in [image, *reversed(steps)]],
    }
    return jsontext.format_indented(document).encode(), layers


def sign_schema1(raw: bytes, smuggled: bytes = b"") -> bytes:
    """The manifest with signatures in it, as Docker's library made them; they sign nothing.

    What is smuggled in stands behind what was signed.
    """

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    length = raw.rindex(b"\n}")
    protected = {"formatLength": length, "formatTail": encoded(raw[length:])}
    signatures = [{"protected": encoded(jsontext.format_compact(protected).encode()), "signature": "x"}]
    return (
        raw[:length]
        + smuggled
        + b',\n  "signatures": '
        + jsontext.format_compact(signatures).encode()
        + raw[length:]
    )
