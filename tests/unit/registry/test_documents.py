"""What manifests say to a registry."""

from __future__ import annotations

import json

import pytest

from pierhead.oci.image import DOCKER_MANIFEST, INDEX, MANIFEST, Descriptor
from pierhead.registry.documents import encode_referrers, read_facts
from pierhead.registry.faults import Fault

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(digest: str, media_type: str = LAYER, **more: object) -> dict[str, object]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest, "size": 1, **more}


def test_an_image() -> None:
    """It needs its configuration and layers, but for those that are elsewhere."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": entry(A, "application/vnd.example"),
        "layers": [entry(B), entry(B), entry(C, urls=["https://example.org"])],
        "subject": entry(D),
        "annotations": {"k": "v"},
        "unknown": 1,
    }
    facts = read_facts(json.dumps(document).encode(), f"{MANIFEST}; charset=utf-8")
    assert (facts.blobs, facts.elsewhere, facts.manifests) == ((A, B), (C,), ())
    assert (facts.subject, facts.annotations) == (D, {"k": "v"})
    assert (facts.media_type, facts.artifact_type) == (MANIFEST, "application/vnd.example")


def test_an_index() -> None:
    """It names manifests, and has its own type of artifact or none."""
    document = {"schemaVersion": 2, "manifests": [entry(A, MANIFEST)]}
    facts = read_facts(json.dumps(document).encode(), "")
    assert (facts.media_type, facts.manifests, facts.artifact_type) == (INDEX, (A,), "")


def test_a_bare_document_of_docker() -> None:
    """Without a media type of its own it is what it is sent as, if it looks like it."""
    raw = json.dumps({"schemaVersion": 2, "config": entry(A), "layers": []}).encode()
    assert read_facts(raw, DOCKER_MANIFEST).media_type == DOCKER_MANIFEST
    with pytest.raises(Fault, match="is sent as"):
        read_facts(raw, INDEX)
    with pytest.raises(Fault, match=r"is sent as .* and says that it is"):
        read_facts(raw.replace(b"{", f'{{"mediaType": "{MANIFEST}", '.encode(), 1), DOCKER_MANIFEST)


def test_old_manifests() -> None:
    """Schema 1 is refused."""
    with pytest.raises(Fault, match="is no kind of manifest") as caught:
        read_facts(b'{"schemaVersion": 1, "fsLayers": []}', "")
    assert (caught.value.word, caught.value.code) == ("MANIFEST_INVALID", "manifest-invalid")


def test_referrers() -> None:
    """A list of them is an index; of none, an empty one."""
    assert json.loads(encode_referrers(())) == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    shown = Descriptor(media_type=MANIFEST, digest=A, size=3, artifact_type="x/y", annotations={"k": "v"})
    assert json.loads(encode_referrers((shown,)))["manifests"] == [
        {"mediaType": MANIFEST, "digest": A, "size": 3, "annotations": {"k": "v"}, "artifactType": "x/y"}
    ]
