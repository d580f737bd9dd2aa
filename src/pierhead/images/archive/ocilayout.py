"""OCI image layouts: index.json lists the images, ``blobs`` has their contents.

    oci-layout                 {"imageLayoutVersion": "1.0.0"}
    index.json                 descriptors; annotations have the names
    blobs/ALGORITHM/HEX

The annotation ``org.opencontainers.image.ref.name`` is a tag by the specification, and a whole name as Podman
and skopeo write it.  Docker and containerd add ``io.containerd.image.name``, always whole.

Source: image-spec image-layout.md.
"""

from __future__ import annotations

from pierhead import jsontext
from pierhead.errors import InvalidInput, Unsupported
from pierhead.images.archive.files import blob_name
from pierhead.images.archive.loaded import LoadedImage
from pierhead.images.library.collection import exists_in, reader
from pierhead.images.walk import find_missing, walk
from pierhead.oci.image import INDEX_TYPES, MANIFEST_TYPES, REF_NAME, decode_index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.archive.files import Files
    from pierhead.oci.image import Descriptor

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
LAYOUT_VERSION = "1.0.0"
FULL_NAME = "io.containerd.image.name"
"""Annotation of index.json: a whole name."""

_IMAGE_TYPES = MANIFEST_TYPES | INDEX_TYPES


def is_layout(files: Files) -> bool:
    """Whether this is such a layout."""
    return {INDEX_FILE, LAYOUT_FILE} <= set(files.names())


def load_layout(files: Files) -> tuple[LoadedImage, ...]:
    """Its images are in the store.

    What the layout lacks counts as there if the store has it.

    Raises:
        InvalidInput: it is not what it says; an image is incomplete.
        Unsupported: it is of a version that is not known.
    """
    _check_version(files)
    index = decode_index(files.read(INDEX_FILE), name=INDEX_FILE)
    found: dict[str, LoadedImage] = {}
    for descriptor in index.manifests:
        if descriptor.media_type not in _IMAGE_TYPES:
            continue
        _bring(files, descriptor)
        names, tag = _names(descriptor.annotations)
        image = found.get(descriptor.digest) or LoadedImage(descriptor=descriptor.replace(annotations={}))
        more = tuple(name for name in names if name not in image.names)
        found[descriptor.digest] = image.replace(names=image.names + more, tag=image.tag or tag)
    return tuple(found.values())


def _check_version(files: Files) -> None:
    document = jsontext.parse(files.read(LAYOUT_FILE), name=LAYOUT_FILE)
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if version != LAYOUT_VERSION:
        message = f"the image layout is of version {version!r}, not {LAYOUT_VERSION}"
        raise Unsupported(message, code="layout-version")


def _bring(files: Files, root: Descriptor) -> None:
    """All of the image that the layout has is in the store, and no more."""
    names = set(files.names())
    in_store = exists_in(files.content)
    read_stored = reader(files.content)

    def exists(digest: str) -> bool:
        if blob_name(digest) in names:
            files.store(blob_name(digest), digest)
            return True
        files.content.announce(digest)
        return in_store(digest)

    def read(digest: str) -> bytes | None:
        return read_stored(digest) if exists(digest) else None

    for step in walk(root, read, exists):
        descriptor = step.child.descriptor
        size = files.content.find_size(descriptor.digest)
        if step.present and size != descriptor.size >= 0:
            message = (
                f"{descriptor.digest} in the archive has {size} bytes, and was to have {descriptor.size}"
            )
            raise InvalidInput(message, code="wrong-size")
    missing = find_missing(root, read, exists)
    if missing:
        raise InvalidInput(
            f"the archive lacks {missing[0].digest}, which its image {root.digest} needs",
            code="incomplete-archive",
            hint="save the image again; older programs save images of which a platform is missing",
        )


def _names(annotations: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """Whole names, and a mere tag."""
    full, name = annotations.get(FULL_NAME, ""), annotations.get(REF_NAME, "")
    if full:
        return (full,), ""
    return ((name,), "") if "/" in name or ":" in name else ((), name)
