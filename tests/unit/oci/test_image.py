"""Documents of images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci.image import (
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    INDEX,
    MANIFEST,
    Platform,
    decode_config,
    decode_index,
    decode_manifest,
    media_type_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = "sha256:" + "1" * 64, "sha512:" + "2" * 128
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 5, "digest": TWO}
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 3, "digest": ONE}


def manifest(**changes: Any) -> bytes:
    """A manifest's bytes; a change to None leaves a field out."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": CONFIG,
        "layers": [LAYER],
    }
    return json.dumps(
        {name: item for name, item in {**document, **changes}.items() if item is not None}
    ).encode()


def test_a_manifest() -> None:
    """Its fields have the specification's meaning, and what nobody knows is passed over."""
    found = decode_manifest(manifest(annotations={"a": "b"}, artifactType="x/y", future={"field": [1]}))
    assert found.config.digest == ONE
    assert [(layer.media_type, layer.size) for layer in found.layers] == [(LAYER["mediaType"], 5)]
    assert found.annotations == {"a": "b"}
    assert found.artifact_type == "x/y"
    assert found.subject is None


@pytest.mark.parametrize("media_type", ["text/plain; charset=utf-8", 'a/b;c="d e";f=g', "a/b+c"])
def test_media_types_of_artifacts(media_type: str) -> None:
    """Podman's have parameters, as its ``artifact add`` finds them."""
    found = decode_manifest(manifest(layers=[{**LAYER, "mediaType": media_type}]))
    assert found.layers[0].media_type == media_type


def test_an_index() -> None:
    """Platforms have dots in some of their names."""
    platform = {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
        "os.version": "1",
        "os.features": ["f"],
    }
    child = {"mediaType": MANIFEST, "size": 7, "digest": ONE, "platform": platform}
    found = decode_index(json.dumps({"schemaVersion": 2, "manifests": [child]}).encode())
    assert found.manifests[0].platform == Platform(
        architecture="arm", os="linux", variant="v7", os_version="1", os_features=("f",)
    )


def test_a_configuration() -> None:
    """Go's capitals and nulls are read."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["A=b"],
            "Cmd": None,
            "Entrypoint": ["/bin/x"],
            "WorkingDir": "/w",
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5},
        },
        "rootfs": {"type": "layers", "diff_ids": [ONE]},
        "history": [{"created_by": "x", "empty_layer": True}],
        "container_config": {"Hostname": "old"},
    }
    found = decode_config(json.dumps(document).encode())
    assert found.config is not None
    assert (found.config.env, found.config.cmd, found.config.entrypoint) == (("A=b",), (), ("/bin/x",))
    assert found.config.healthcheck is not None
    assert found.config.healthcheck.interval == 5
    assert found.history[0].empty_layer
    assert found.platform == Platform(architecture="amd64", os="linux")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "manifest is not a JSON object"),
        (b"{", "manifest is not JSON"),
        (manifest(config=None), r"manifest: \$\.config: is missing"),
        (manifest(schemaVersion=1), "has the schema version 1, not 2"),
        (manifest(manifests=[]), "is both a manifest and an index"),
        (manifest(layers=[{**LAYER, "digest": "sha256:abc"}]), "'sha256:abc' is not a digest"),
        (manifest(layers=[{**LAYER, "digest": "../../x"}]), "'../../x' is not a digest"),
        (manifest(layers=[{**LAYER, "size": -1}]), r"layers\[0\]\.size: expected 0 to"),
        (manifest(layers=[{**LAYER, "mediaType": "nothing"}]), "'nothing' is not a media type"),
        (manifest(layers=[{**LAYER, "mediaType": "text/plain; charset"}]), "is not a media type"),
        (manifest(layers=[{**LAYER, "mediaType": "text/plain; a=\n"}]), "is not a media type"),
        (manifest(subject="x"), r"\$\.subject: expected an object"),
    ],
)
def test_what_is_no_manifest(raw: bytes, message: str) -> None:
    """One sentence says what and where."""
    with pytest.raises(InvalidInput, match=message):
        decode_manifest(raw)


def test_an_index_that_is_a_manifest_as_well() -> None:
    """Two readers could see two images (CVE-2021-41190)."""
    for extra in ("layers", "config", "fsLayers"):
        with pytest.raises(InvalidInput, match="both a manifest and an index"):
            decode_index(json.dumps({"schemaVersion": 2, "manifests": [], extra: []}).encode())


@pytest.mark.parametrize(
    ("document", "media_type"),
    [
        ({"mediaType": "a/b", "manifests": []}, "a/b"),
        ({"manifests": []}, INDEX),
        ({"config": {}}, MANIFEST),
        ({"schemaVersion": 1}, DOCKER_SCHEMA1),
        ({"schemaVersion": 1, "signatures": []}, DOCKER_SCHEMA1_SIGNED),
        ({"mediaType": 5}, ""),
    ],
)
def test_media_types(document: dict[str, Any], media_type: str) -> None:
    """A document says what it is, or its shape does."""
    assert media_type_of(json.dumps(document).encode()) == media_type


# The specification's own examples.

LENIENT = {
    ("config", 9): "Docker takes a variable without a value",
    ("manifest", 5): "an artifact has no layers",
    ("imageindex", 3): "a platform without an architecture matches nothing",
}
KINDS: dict[str, Callable[[bytes], object]] = {
    "config": decode_config,
    "manifest": decode_manifest,
    "imageindex": decode_index,
}


def examples() -> list[Any]:
    """Those of all kinds: (kind, number, text, whether it is invalid)."""
    vectors = os.environ.get("PIERHEAD_VECTORS")
    if not vectors:
        skip = pytest.mark.skip(reason="PIERHEAD_VECTORS does not say where the specification's examples are")
        return [pytest.param("", 0, "", True, marks=skip)]
    found = []
    for kind in KINDS:
        tables = json.loads(Path(vectors, "vectors/image-spec", f"{kind}.json").read_text())["tables"]
        rows = [row for table in tables for row in table["rows"]]
        for number, row in enumerate(rows):
            text = next(item for item in row.values() if isinstance(item, str))
            found.append((kind, number, text, bool(row.get("{'$id': 'fail'}"))))
    return found


@pytest.mark.parametrize(("kind", "number", "text", "invalid"), examples())
def test_examples(kind: str, number: int, text: str, *, invalid: bool) -> None:
    """What the specification calls valid is read; what it calls invalid is refused, with few exceptions."""
    if invalid and (kind, number) not in LENIENT:
        with pytest.raises(InvalidInput):
            KINDS[kind](text.encode())
    else:
        KINDS[kind](text.encode())
