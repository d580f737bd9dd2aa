"""Images in the store to a directory of the first form, as Docker's ``download-frozen-image`` makes it.

    DIRECTORY/
      manifest.json             for docker load
      repositories              {"REPOSITORY": {"TAG": ID of the topmost layer}}
      CONFIG.json               each image's configuration as it is
      ID/VERSION                1.0
      ID/json                   the layer's id, its parent's, and the topmost one's also how to run the image
      ID/layer.tar              the archive without compression; a link where another directory has it

An id is the hash of the ids below, the layer's digest, and for the topmost layer the configuration's: two
images that differ in nothing but how they run do not take each other's place.

    tar -cC DIRECTORY . | docker load
"""

from __future__ import annotations

import hashlib
import os

from pierhead import jsontext
from pierhead.digests import algorithm_of, digest_of, encoded_of, hasher
from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.images.archive.dockersave import MANIFEST_FILE, SavedImage
from pierhead.images.archive.files import RATIO_MAX
from pierhead.images.archive.save import new_file
from pierhead.images.archive.v1layout import (
    DOCUMENT_FILE,
    LAYER_FILE,
    REPOSITORIES_FILE,
    VERSION,
    VERSION_FILE,
)
from pierhead.images.compression import open_reader
from pierhead.linux.files import write_all
from pierhead.oci.document import encode
from pierhead.oci.image import (
    CONFIG_TYPES,
    DOCUMENT_BYTES_MAX,
    artifact_refused,
    decode_config,
    decode_manifest,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.images.content import ContentStore
    from pierhead.oci.image import Descriptor, ImageConfig, Manifest

_BLOCK_BYTES = 1 << 20
_NO_TIME = "0001-01-01T00:00:00Z"
"""What the script, and Docker's own save, write for layers that say nothing of themselves."""


class FrozenImage(Value):
    """An image to freeze: one platform's manifest, and the name that it gets."""

    repository: str
    tag: str
    descriptor: Descriptor


def write_frozen(
    images: Iterable[FrozenImage], content: ContentStore, directory: str | os.PathLike[str]
) -> None:
    """The directory has these images.

    Raises:
        NotFound: something that an image needs is not in the store.
        InvalidInput: a layer is not what the configuration says, or it is an artifact without files.
        OperationFailed: the directory cannot be written.
    """
    root = os.fspath(directory)
    try:
        _write(tuple(images), content, root)
    except OSError as error:
        message = f"cannot write {root}: {(error.strerror or str(error)).lower()}"
        raise OperationFailed(message, errno=error.errno or 0, code="cannot-write") from error


def _write(images: tuple[FrozenImage, ...], content: ContentStore, root: str) -> None:
    os.makedirs(root, exist_ok=True)
    repositories: dict[str, dict[str, str]] = {}
    saved: dict[str, SavedImage] = {}
    archives: dict[str, str] = {}
    for image in images:
        raw = content.read(image.descriptor.digest, limit_bytes=DOCUMENT_BYTES_MAX)
        manifest = decode_manifest(raw, name=f"{image.repository}:{image.tag}")
        if manifest.config.media_type not in CONFIG_TYPES:
            raise artifact_refused(f"{image.repository}:{image.tag}")
        raw = content.read(manifest.config.digest, limit_bytes=DOCUMENT_BYTES_MAX)
        config = decode_config(raw)
        ids = _write_layers(root, content, manifest, config, archives)
        name = f"{encoded_of(manifest.config.digest)}.json"
        _put(f"{root}/{name}", raw)
        layers = tuple(f"{each}/{LAYER_FILE}" for each in ids)
        before = saved.get(name, SavedImage(config=name, layers=layers))
        saved[name] = before.replace(repo_tags=(*before.repo_tags, f"{image.repository}:{image.tag}"))
        if ids:
            repositories.setdefault(image.repository, {})[image.tag] = ids[-1]
    _put(f"{root}/{MANIFEST_FILE}", _json([encode(each) for each in saved.values()]))
    _put(f"{root}/{REPOSITORIES_FILE}", _json(repositories))


def _write_layers(
    root: str, content: ContentStore, manifest: Manifest, config: ImageConfig, archives: dict[str, str]
) -> list[str]:
    """Directories of the layers, lowest first; ``archives`` has those written before by their diff ids."""
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(manifest.layers):
        message = f"the image has {len(manifest.layers)} layers, its configuration {len(diff_ids)}"
        raise Conflict(message, code="invalid-image")
    ids: list[str] = []
    for number, (layer, diff_id) in enumerate(zip(manifest.layers, diff_ids, strict=True), 1):
        top = number == len(diff_ids)
        parent = ids[-1] if ids else ""
        own = manifest.config.digest if top else ""
        layer_id = hashlib.sha256(f"{parent}\n{layer.digest}\n{own}".encode()).hexdigest()
        ids.append(layer_id)
        os.makedirs(f"{root}/{layer_id}", exist_ok=True)
        _put(f"{root}/{layer_id}/{VERSION_FILE}", VERSION.encode())
        document = _document(config) if top else {"created": _NO_TIME}
        place = {"id": layer_id, **({"parent": parent} if parent else {})}
        _put(f"{root}/{layer_id}/{DOCUMENT_FILE}", _json({**place, **document}))
        known = archives.setdefault(diff_id, layer_id)
        path = f"{root}/{layer_id}/{LAYER_FILE}"
        if known == layer_id:
            _write_archive(path, content, layer, diff_id)
        elif not os.path.lexists(path):
            os.symlink(f"../{known}/{LAYER_FILE}", path)
    return ids


def _document(config: ImageConfig) -> dict[str, object]:
    """How to run the image, as the topmost layer's document says it."""
    known = encode(config)
    return {key: value for key, value in known.items() if key not in ("rootfs", "history")}


def _write_archive(path: str, content: ContentStore, layer: Descriptor, diff_id: str) -> None:
    hashed = hasher(algorithm_of(diff_id))
    source = content.open(layer.digest)
    try:
        reader = open_reader(source, ratio_max=RATIO_MAX)
        with new_file(path) as fd:
            while block := reader.read(_BLOCK_BYTES):
                hashed.update(block)
                write_all(fd, block)
            if digest_of(hashed) != diff_id:
                message = f"the layer {layer.digest} is {digest_of(hashed)}, its image says {diff_id}"
                raise InvalidInput(message, code="wrong-digest")
    finally:
        os.close(source)


def _put(path: str, data: bytes) -> None:
    with new_file(path) as fd:
        write_all(fd, data)


def _json(value: object) -> bytes:
    return jsontext.format_compact(value).encode()
