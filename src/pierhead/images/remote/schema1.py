"""Docker's manifests of schema 1, read as if they were of today's form.

    fsLayers [{blobSum}, …]             the newest layer first, with layers that hold nothing
    history  [{v1Compatibility}, …]     JSON as a string, one for each layer, the first is the image's

A configuration is made of the histories, and a manifest of it and of the layers that hold something; its
diff ids are those of the layers' contents.  Nothing is ever written in the old form, and the signatures,
which name no one in particular, are passed over: contents are verified by their digests.

Source: Docker's "Image Manifest Version 2, Schema 1".
"""

from __future__ import annotations

import base64
import binascii
import os

from pierhead import jsontext
from pierhead.digests import check_digest, compute_digest, digest_of, hasher
from pierhead.errors import InvalidInput
from pierhead.images.compression import open_reader
from pierhead.oci.image import CONFIG, LAYER_GZIP, MANIFEST, Descriptor
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pierhead.images.content import ContentStore

_DROPPED = frozenset(
    ("id", "parent", "parent_id", "layer_id", "Size", "throwaway", "container_config", "container")
)
_LAYERS_MAX = 1000
_BLOCK_BYTES = 1 << 20
_UNPACKED_BYTES_MAX = 1 << 38


class OldLayer(Value):
    """One step of the image's making, the oldest first; ``digest`` is empty where it changed no file."""

    digest: str
    created: str
    created_by: str
    author: str
    comment: str


class OldManifest(Value):
    """What a manifest of schema 1 says."""

    layers: tuple[OldLayer, ...]
    image: dict[str, object]

    @property
    def digests(self) -> tuple[str, ...]:
        """Of the layers that hold something, the lowest first."""
        return tuple(layer.digest for layer in self.layers if layer.digest)


def payload(raw: bytes) -> bytes:
    """What the signatures are of, and what the manifest's digest is of.

    Raises:
        InvalidInput: the signatures do not say how to find it.
    """
    document = jsontext.parse(raw, name="manifest")
    length, tail = -1, b""
    try:
        protected = jsontext.parse(_decode_base64(document["signatures"][0]["protected"]), name="signature")
        length, tail = int(protected["formatLength"]), _decode_base64(protected["formatTail"])
    except (KeyError, IndexError, TypeError, ValueError, binascii.Error, InvalidInput):
        pass
    if not 0 <= length <= len(raw):
        raise InvalidInput("a signed manifest of schema 1 has no usable signature", code="invalid-schema1")
    return raw[:length] + tail


def _decode_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def decode_schema1(raw: bytes) -> OldManifest:
    """The manifest that the bytes are.

    Raises:
        InvalidInput: they are none.
    """
    document = jsontext.parse(raw, name="manifest")
    layers: tuple[OldLayer, ...] = ()
    try:
        sums = [each["blobSum"] for each in document["fsLayers"]]
        steps = [jsontext.parse(each["v1Compatibility"], name="history") for each in document["history"]]
        if document["schemaVersion"] == 1 and len(steps) <= _LAYERS_MAX:
            layers = tuple(_read_layer(digest, step) for digest, step in zip(sums, steps, strict=True))
    except (KeyError, TypeError, ValueError, AttributeError, InvalidInput):
        pass
    if not layers:
        raise InvalidInput("a manifest of schema 1 has not the form of one", code="invalid-schema1")
    image = {key: value for key, value in steps[0].items() if key not in _DROPPED}
    return OldManifest(layers=layers[::-1], image=image)


def _read_layer(digest: str, step: dict[str, Any]) -> OldLayer:
    check_digest(digest)
    command = step.get("container_config", {}).get("Cmd") or []
    return OldLayer(
        digest="" if step.get("throwaway") else digest,
        created=str(step.get("created", "")),
        created_by=" ".join(command),
        author=str(step.get("author", "")),
        comment=str(step.get("comment", "")),
    )


def convert(old: OldManifest, sizes: Mapping[str, int], diff_ids: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The manifest and the configuration of today's form, always the same bytes for the same image.

    Args:
        old: the manifest.
        sizes: of the layers in bytes, by digest.
        diff_ids: of the layers' contents, by digest.
    """
    history = []
    for layer in old.layers:
        entry: dict[str, object] = {
            key: value
            for key in ("created", "author", "created_by", "comment")
            if (value := getattr(layer, key))
        }
        if not layer.digest:
            entry["empty_layer"] = True
        history.append(entry)
    config = {
        "architecture": "amd64",
        "os": "linux",
        **old.image,
        "rootfs": {"type": "layers", "diff_ids": [diff_ids[digest] for digest in old.digests]},
        "history": history,
    }
    raw = jsontext.format_compact(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": compute_digest(raw), "size": len(raw)},
        "layers": [
            {"mediaType": LAYER_GZIP, "digest": digest, "size": sizes[digest]} for digest in old.digests
        ],
    }
    return jsontext.format_compact(manifest).encode(), raw


def compute_diff_id(store: ContentStore, digest: str, *, limit_bytes: int = _UNPACKED_BYTES_MAX) -> str:
    """The digest of what a compressed layer holds.

    Raises:
        NotFound: it is not in the store.
        InvalidInput: it is not compressed by gzip, as all layers of this form are, or holds too much.
    """
    hashed, fd = hasher(), store.open(digest)
    try:
        unpacked = open_reader(fd, limit_bytes=limit_bytes)
        is_gzip = unpacked.kind == "gzip"
        while is_gzip and (block := unpacked.read(_BLOCK_BYTES)):
            hashed.update(block)
    except InvalidInput as error:
        if error.code == "too-large":
            raise InvalidInput(f"the layer {digest} holds too much", code="too-large") from None
        if error.code == "damaged-stream":
            raise InvalidInput(f"the layer {digest} is not whole: {error}", code="damaged-layer") from None
        raise
    finally:
        os.close(fd)
    if not is_gzip:
        raise InvalidInput(f"the layer {digest} is not compressed by gzip", code="damaged-layer")
    return digest_of(hashed)


def describe(raw_manifest: bytes) -> Descriptor:
    """The descriptor of a converted manifest."""
    return Descriptor(media_type=MANIFEST, digest=compute_digest(raw_manifest), size=len(raw_manifest))
