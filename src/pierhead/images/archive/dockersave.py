"""What ``docker save`` writes (its form 1.2), and Podman, skopeo, kaniko, jib, Bazel, Nix in its likeness.

    manifest.json     [{"Config": FILE, "RepoTags": [NAME, …] or null, "Layers": [FILE, …]}, …]
    FILE              configurations and layers, lowest first; layers are archives, compressed or not

Nothing says the layers' digests but the configuration, which has the diff ids.

Source: moby image/spec/spec.md, "Combined Image JSON + Filesystem Changeset Format".
"""

# Annotations stay real objects here (no ``from __future__ import annotations``): the decoder reads them.

import re

from pierhead import jsontext
from pierhead.digests import compute_digest, encoded_of
from pierhead.errors import InvalidInput
from pierhead.images.archive.compose import compose_image, compose_layers
from pierhead.images.archive.loaded import LoadedImage
from pierhead.oci.document import decode, names
from pierhead.oci.image import decode_config
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.archive.compose import ComposedLayer
    from pierhead.images.archive.files import Files

MANIFEST_FILE = "manifest.json"
_NAMED_BY_DIGEST = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?")


class SavedImage(Value):
    """One element of manifest.json."""

    json_names = names(config="Config", repo_tags="RepoTags", layers="Layers")
    json_always = ("repo_tags", "layers")

    config: str
    repo_tags: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()


def is_docker_save(files: "Files") -> bool:
    """Whether this is such an archive."""
    return MANIFEST_FILE in files.names()


def decode_saved(raw: bytes) -> tuple[SavedImage, ...]:
    """The images that a manifest.json lists.

    Raises:
        InvalidInput: it is none.
    """
    document = jsontext.parse(raw, name=MANIFEST_FILE)
    if not isinstance(document, list):
        raise InvalidInput(f"{MANIFEST_FILE} is not a list of images", code="wrong-type")
    return tuple(
        decode(SavedImage, each, path=f"{MANIFEST_FILE}[{number}]", unknown=[])
        for number, each in enumerate(document)
    )


def load_docker_save(files: "Files") -> "tuple[tuple[LoadedImage, ...], dict[str, ComposedLayer]]":
    """Its images, and its layers by their diff ids, are in the store.

    Raises:
        InvalidInput: it is not what it says.
    """
    listed = decode_saved(files.read(MANIFEST_FILE))
    layers = compose_layers(files, (name for saved in listed for name in saved.layers))
    found: dict[str, LoadedImage] = {}
    for saved in listed:
        image = _load(files, saved, layers)
        same = found.get(image.descriptor.digest)
        found[image.descriptor.digest] = image.replace(names=same.names + image.names) if same else image
    return tuple(found.values()), {layer.diff_id: layer for layer in layers.values()}


def _load(files: "Files", saved: SavedImage, layers: "dict[str, ComposedLayer]") -> LoadedImage:
    config = files.read(saved.config)
    named = _NAMED_BY_DIGEST.fullmatch(saved.config)
    if named and named[1] != encoded_of(compute_digest(config)):
        message = f"the configuration {saved.config} in the archive has another digest than its name says"
        raise InvalidInput(message, code="wrong-digest")
    diff_ids = decode_config(config, name=saved.config).rootfs.diff_ids
    if len(diff_ids) != len(saved.layers):
        message = (
            f"{saved.config} in the archive has {len(diff_ids)} layers, {MANIFEST_FILE} {len(saved.layers)}"
        )
        raise InvalidInput(message, code="invalid-archive")
    descriptors = []
    for name, diff_id in zip(saved.layers, diff_ids, strict=True):
        layer = layers[name]
        if layer.diff_id != diff_id:
            message = f"the layer {name} in the archive is not {diff_id}, as {saved.config} says"
            raise InvalidInput(message, code="wrong-digest")
        descriptors.append(layer.descriptor)
    descriptor = compose_image(files.content, config, tuple(descriptors))
    return LoadedImage(descriptor=descriptor, names=saved.repo_tags)
