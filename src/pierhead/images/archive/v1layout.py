"""The first form of saved images: a directory for each layer, which names the one below it.

    repositories      {"REPOSITORY": {"TAG": ID, …}, …}
    ID/VERSION        1.0
    ID/json           what this layer is: its parent, and the topmost one's also how to run the image
    ID/layer.tar

A configuration as images have it today is composed of the documents along the way down.

Source: moby image/spec/v1.md.
"""

from __future__ import annotations

from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.images.archive.compose import compose_image, compose_layers
from pierhead.images.archive.loaded import LoadedImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.images.archive.compose import ComposedLayer
    from pierhead.images.archive.files import Files
    from pierhead.oci.image import Descriptor

REPOSITORIES_FILE = "repositories"
LAYER_FILE = "layer.tar"
DOCUMENT_FILE = "json"
VERSION_FILE = "VERSION"
VERSION = "1.0"

LAYERS_MAX = 1000
NOT_OF_IMAGES = (
    "id",
    "parent",
    "parent_id",
    "layer_id",
    "container",
    "container_config",
    "throwaway",
    "checksum",
    "comment",
    "Size",
)
"""What a layer's document says that is nothing of an image's configuration."""


def is_v1_layout(files: Files) -> bool:
    """Whether this is such an archive."""
    names = files.names()
    return REPOSITORIES_FILE in names or any(_layer_of(name) for name in names)


def load_v1_layout(files: Files) -> tuple[tuple[LoadedImage, ...], dict[str, ComposedLayer]]:
    """Its images, and its layers by their diff ids, are in the store.

    Without ``repositories`` every layer on which no other one stands is an image without a name.

    Raises:
        InvalidInput: it is not what it says.
    """
    tops = sorted(_tops(files).items())
    chains = {top: _chain(files, top) for top, _ in tops}
    layers = compose_layers(files, (_archive_of(layer) for chain in chains.values() for layer, _ in chain))
    images = tuple(
        LoadedImage(descriptor=_load(files, chains[top], layers), names=tuple(sorted(names)))
        for top, names in tops
    )
    return images, {layer.diff_id: layer for layer in layers.values()}


def _layer_of(name: str) -> str:
    """The id of the layer whose document this is; "" for other files."""
    directory, _, file = name.rpartition("/")
    return directory if file == DOCUMENT_FILE and directory and "/" not in directory else ""


def _tops(files: Files) -> dict[str, list[str]]:
    """Topmost layers with the names of their images."""
    found: dict[str, list[str]] = {}
    if REPOSITORIES_FILE not in files.names():
        ids = {_layer_of(name) for name in files.names()} - {""}
        below = {str(_document(files, each).get("parent")) for each in ids}
        return {each: [] for each in ids if each not in below}
    document = jsontext.parse(files.read(REPOSITORIES_FILE), name=REPOSITORIES_FILE)
    for repository, tags in document.items() if isinstance(document, dict) else ():
        for tag, top in tags.items() if isinstance(tags, dict) else ():
            if not isinstance(top, str):
                raise InvalidInput(f"{REPOSITORIES_FILE} has no id for {repository}:{tag}", code="wrong-type")
            found.setdefault(top, []).append(f"{repository}:{tag}")
    return found


def _document(files: Files, layer: str) -> dict[str, Any]:
    name = f"{layer}/{DOCUMENT_FILE}"
    document = jsontext.parse(files.read(name), name=name)
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} is not a JSON object", code="wrong-type")
    return document


def _archive_of(layer: str) -> str:
    return f"{layer}/{LAYER_FILE}"


def _load(
    files: Files, chain: list[tuple[str, dict[str, Any]]], layers: dict[str, ComposedLayer]
) -> Descriptor:
    composed = [layers[_archive_of(layer)] for layer, _ in chain]
    config = {key: value for key, value in chain[-1][1].items() if key not in NOT_OF_IMAGES}
    config.setdefault("architecture", "amd64")  # what images without one were made for
    config.setdefault("os", "linux")
    config["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in composed]}
    config["history"] = [_history(document) for _, document in chain]
    raw = jsontext.format_compact(config).encode()
    return compose_image(files.content, raw, tuple(layer.descriptor for layer in composed))


def _chain(files: Files, top: str) -> list[tuple[str, dict[str, Any]]]:
    """The image's layers with their documents, lowest first."""
    found: dict[str, dict[str, Any]] = {}
    layer: Any = top
    while layer:
        if not isinstance(layer, str) or "/" in layer or layer in (".", ".."):
            raise InvalidInput(f"the archive has a layer with the id {layer!r}", code="hostile-archive")
        if layer in found or len(found) == LAYERS_MAX:
            message = f"the layers below {top} in the archive have no end"
            raise InvalidInput(message, code="hostile-archive")
        found[layer] = _document(files, layer)
        layer = found[layer].get("parent")
    return list(reversed(found.items()))


def _history(document: dict[str, Any]) -> dict[str, str]:
    made = document.get("container_config")
    command = made.get("Cmd") if isinstance(made, dict) else None
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    entries = {
        "created": document.get("created"),
        "author": document.get("author"),
        "created_by": " ".join(words),
        "comment": document.get("comment"),
    }
    return {key: value for key, value in entries.items() if isinstance(value, str) and value}
