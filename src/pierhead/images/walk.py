"""The graph of an image: what its documents point at, and how much of that is here.

    index ──▶ index, manifest ──▶ config, layers
    schema 1 ──▶ layers

    walk(root, read)              every content of the graph, once
    find_missing(root, …)         what an image would need that is not here
    find_presences(root, …)       the images in it, one for each platform, and how much of each is here

An index's children need not be here: only the platform that was asked for was fetched.  A manifest's children
need to be, except for layers that registries do not distribute.  What a manifest is about (its ``subject``)
is no part of it.

Pure over two functions: one reads a document, one says whether a content is there.
Source: image-spec manifest.md, image-index.md; Docker's image manifest version 2, schema 1.
"""

from __future__ import annotations

from pierhead import jsontext
from pierhead.digests import check_digest, compute_digest
from pierhead.errors import InvalidInput
from pierhead.oci.image import (
    CONFIG_TYPES,
    DOCKER_LAYER_GZIP,
    INDEX_TYPES,
    MANIFEST_TYPES,
    SCHEMA1_TYPES,
    Descriptor,
    Platform,
    decode_config,
    decode_index,
    decode_manifest,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Literal

    Kind = Literal["index", "manifest", "schema1", "config", "layer", "content"]
    Read = Callable[[str], bytes | None]
    """A document's bytes by its digest; None when it is not here."""
    Exists = Callable[[str], bool]

_NOT_DISTRIBUTED = ("nondistributable", ".foreign.")
"""In media types of layers that registries need not have (layer.md, "Non-Distributable Layers")."""
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(INDEX_TYPES, "index"),
    **dict.fromkeys(MANIFEST_TYPES, "manifest"),
    **dict.fromkeys(SCHEMA1_TYPES, "schema1"),
}
_DOCUMENTS = ("index", "manifest", "schema1")


class Child(Value):
    """What a document points at.

    Fields:
        descriptor: its size is -1 where the document does not state it (schema 1).
        kind: what it is for.
        needed: whether the image is incomplete without it.
    """

    descriptor: Descriptor
    kind: Kind
    needed: bool = True


class Step(Value):
    """One content of a graph; ``parent`` is the digest of the document that points at it, "" at the root."""

    child: Child
    parent: str
    present: bool


class Presence(Value):
    """How much of one platform's image is here.

    Fields:
        descriptor: of its manifest, as the index has it.
        platform: what it runs on; None where nothing says so.
        state: ``whole``; ``partial`` when the manifest is here and something it needs is not; ``absent``.
        missing: what is needed and not here.
        size_bytes: of all that is here.
    """

    descriptor: Descriptor
    platform: Platform | None = None
    state: Literal["whole", "partial", "absent"]
    missing: tuple[Descriptor, ...] = ()
    size_bytes: int = 0


def kind_of(media_type: str) -> Kind:
    """What a content of this media type is: a document that points at others, or just ``content``."""
    return _KINDS.get(media_type, "content")


def children(raw: bytes, media_type: str) -> tuple[Child, ...]:
    """What a document of this media type points at, in its order; nothing if it is no document.

    Raises:
        InvalidInput: it is not what its media type says.
    """
    kind = kind_of(media_type)
    if kind == "index":
        found = decode_index(raw).manifests
        return tuple(Child(descriptor=each, kind=kind_of(each.media_type), needed=False) for each in found)
    if kind == "manifest":
        manifest = decode_manifest(raw)
        return (
            Child(descriptor=manifest.config, kind="config"),
            *(
                Child(descriptor=each, kind="layer", needed=is_distributed(each.media_type))
                for each in manifest.layers
            ),
        )
    return _children_of_schema1(raw) if kind == "schema1" else ()


def is_distributed(media_type: str) -> bool:
    """Whether registries give layers of this media type."""
    return not any(word in media_type for word in _NOT_DISTRIBUTED)


def _children_of_schema1(raw: bytes) -> tuple[Child, ...]:
    """Layers, topmost first as the document has them; many are the same empty one."""
    document = jsontext.parse(raw, name="manifest")
    layers = document.get("fsLayers") if isinstance(document, dict) else None
    if not isinstance(layers, list):
        raise InvalidInput("manifest has no list of layers", code="wrong-type")
    found = {}
    for layer in layers:
        digest = layer.get("blobSum") if isinstance(layer, dict) else None
        if not isinstance(digest, str):
            raise InvalidInput("manifest has a layer without a digest", code="wrong-type")
        check_digest(digest)
        descriptor = Descriptor(media_type=DOCKER_LAYER_GZIP, digest=digest, size=-1)
        found[digest] = Child(descriptor=descriptor, kind="layer")
    return tuple(found.values())


def walk(root: Descriptor, read: Read, exists: Exists, *, lenient: bool = False) -> Iterator[Step]:
    """Every content of the graph once, parents before their children; what is not here ends its branch.

    Args:
        root: where it begins.
        read: gives documents.
        exists: says whether a content is here.
        lenient: a document that is not what its media type says points at nothing.

    Raises:
        InvalidInput: a document is not what its media type says.
    """
    seen: set[tuple[str, bool]] = set()
    waiting = [Step(child=Child(descriptor=root, kind=kind_of(root.media_type)), parent="", present=True)]
    while waiting:
        step = waiting.pop()
        descriptor, is_document = step.child.descriptor, step.child.kind in _DOCUMENTS
        if (descriptor.digest, is_document) in seen:
            continue
        seen.add((descriptor.digest, is_document))
        raw = read(descriptor.digest) if is_document else None
        present = raw is not None if is_document else exists(descriptor.digest)
        yield step.replace(present=present)
        if raw is not None:
            below = _children_if_any(raw, descriptor.media_type, lenient=lenient)
            waiting += [
                Step(child=child, parent=descriptor.digest, present=True) for child in reversed(below)
            ]


def _children_if_any(raw: bytes, media_type: str, *, lenient: bool) -> tuple[Child, ...]:
    try:
        return children(raw, media_type)
    except InvalidInput:
        if lenient:
            return ()
        raise


def find_missing(root: Descriptor, read: Read, exists: Exists) -> tuple[Descriptor, ...]:
    """What would have to come for the image to be whole; nothing if it is.

    An index is whole when one of its images is, or when it has none.

    Raises:
        InvalidInput: as ``walk``.
    """
    if kind_of(root.media_type) != "index":
        return _missing_below(root, read, exists)
    raw = read(root.digest)
    if raw is None:
        return (root,)
    missing: list[Descriptor] = []
    for child in children(raw, root.media_type):
        lacking = find_missing(child.descriptor, read, exists)
        if not lacking:
            return ()
        missing += lacking
    return tuple(missing)


def _missing_below(root: Descriptor, read: Read, exists: Exists) -> tuple[Descriptor, ...]:
    return tuple(
        step.child.descriptor for step in walk(root, read, exists) if step.child.needed and not step.present
    )


def find_presences(root: Descriptor, read: Read, exists: Exists) -> tuple[Presence, ...]:
    """One for each image in an index (and in the indexes in it), in its order; one for any other root.

    Raises:
        InvalidInput: as ``walk``.
    """
    if kind_of(root.media_type) != "index":
        return (_presence(root, read, exists),)
    raw = read(root.digest)
    found: list[Presence] = []
    for child in children(raw, root.media_type) if raw is not None else ():
        found += find_presences(child.descriptor, read, exists)
    return tuple(found)


def _presence(root: Descriptor, read: Read, exists: Exists) -> Presence:
    steps = list(walk(root, read, exists))
    missing = tuple(step.child.descriptor for step in steps if step.child.needed and not step.present)
    absent = any(step.parent == "" and not step.present for step in steps)
    platform = root.platform
    for step in steps:
        if platform is None and step.child.kind == "config" and step.present:
            platform = _platform_of(step.child.descriptor, read)
    return Presence(
        descriptor=root,
        platform=platform,
        state="absent" if absent else "partial" if missing else "whole",
        missing=missing,
        size_bytes=sum(max(0, step.child.descriptor.size) for step in steps if step.present),
    )


def _platform_of(config: Descriptor, read: Read) -> Platform | None:
    if config.media_type not in CONFIG_TYPES:
        return None
    raw = read(config.digest)
    return decode_config(raw).platform if raw is not None else None


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the file systems that the layers make, one upon another (config.md, "Layer ChainID")."""
    found: list[str] = []
    for diff_id in diff_ids:
        found.append(compute_digest(f"{found[-1]} {diff_id}".encode()) if found else diff_id)
    return tuple(found)
