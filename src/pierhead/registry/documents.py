"""What a manifest says to a registry: what it needs, whom it refers to, what it is.  Pure.

The bytes are kept as they came, with fields that nobody here knows.  Source: image-spec manifest.md,
image-index.md; distribution-spec "Pushing Manifests", "Listing Referrers".
"""

from __future__ import annotations

from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.oci.document import encode
from pierhead.oci.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    INDEX_TYPES,
    MANIFEST,
    MANIFEST_TYPES,
    Descriptor,
    decode_index,
    decode_manifest,
    media_type_of,
    says_its_media_type,
)
from pierhead.registry.faults import Fault
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SAYS_NOTHING = ("", "application/json", "application/octet-stream")
_ELSEWHERE = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
)


class Facts(Value):
    """What a manifest or index says.

    Fields:
        media_type: its own.
        artifact_type: what the list of referrers says of it.
        blobs: digests that have to be in the repository.
        elsewhere: digests of layers that clients fetch from other places, if they like.
        manifests: digests of an index's manifests.
        subject: digest of what it refers to, or "".
        annotations: its own.
    """

    media_type: str
    artifact_type: str = ""
    blobs: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    subject: str = ""
    annotations: dict[str, str]


def read_facts(raw: bytes, content_type: str) -> Facts:
    """What the bytes say.

    Args:
        raw: the manifest as it came.
        content_type: the request's header; has to be what the document says of itself.

    Raises:
        Fault: MANIFEST_INVALID.
    """
    try:
        declared = media_type_of(raw)
        media_type = _agreed(raw, declared, content_type.partition(";")[0].strip().lower())
        if media_type in INDEX_TYPES:
            return _index_facts(raw, media_type)
        if media_type in MANIFEST_TYPES:
            return _manifest_facts(raw, media_type)
    except InvalidInput as error:
        raise Fault("MANIFEST_INVALID", error.message, hint=error.hint) from None
    hint = f"it may be {MANIFEST}, {INDEX}, {DOCKER_MANIFEST} or {DOCKER_INDEX}"
    raise Fault("MANIFEST_INVALID", f"{media_type or 'this'} is no kind of manifest", hint=hint)


def _agreed(raw: bytes, declared: str, content_type: str) -> str:
    """Clients that look at different places must not see different things (CVE-2021-41190)."""
    if content_type in _SAYS_NOTHING or content_type == declared:
        return declared
    shapes = {INDEX: INDEX_TYPES, MANIFEST: MANIFEST_TYPES}
    if content_type in shapes.get(declared, ()) and not says_its_media_type(raw):
        return content_type  # Docker's look the same
    message = f"the manifest is sent as {content_type} and says that it is {declared or 'nothing known'}"
    raise InvalidInput(message)


def _index_facts(raw: bytes, media_type: str) -> Facts:
    index = decode_index(raw)
    return Facts(
        media_type=media_type,
        artifact_type=index.artifact_type,
        manifests=_digests(index.manifests),
        subject=index.subject.digest if index.subject else "",
        annotations=index.annotations,
    )


def _manifest_facts(raw: bytes, media_type: str) -> Facts:
    manifest = decode_manifest(raw)
    here = [layer for layer in manifest.layers if not _is_elsewhere(layer)]
    return Facts(
        media_type=media_type,
        artifact_type=manifest.artifact_type or manifest.config.media_type,
        blobs=_digests((manifest.config, *here)),
        elsewhere=_digests(layer for layer in manifest.layers if _is_elsewhere(layer)),
        subject=manifest.subject.digest if manifest.subject else "",
        annotations=manifest.annotations,
    )


def _is_elsewhere(layer: Descriptor) -> bool:
    return bool(layer.urls) or layer.media_type in _ELSEWHERE


def _digests(descriptors: Iterable[Descriptor]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(descriptor.digest for descriptor in descriptors))


def encode_referrers(referrers: Iterable[Descriptor]) -> bytes:
    """The index that lists them (distribution-spec "Listing Referrers")."""
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [encode(each) for each in referrers]}
    return jsontext.format_compact(document).encode()
