"""Manifests, tags and referrers over HTTP, as the specification's conformance run asks for them, and more."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.registries import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.registries import Registry

OCI = "application/vnd.oci.image"
MANIFEST, INDEX = f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json"
CONFIG, LAYER = f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER = "application/vnd.docker.distribution"
FOREIGN = f"{OCI}.layer.nondistributable.v1.tar+gzip"
MISSING = {"mediaType": MANIFEST, "digest": digest_of(b"missing"), "size": 7}


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return f"manifests/{abs(hash(request.node.nodeid)):x}"


def descriptor(media_type: str, data: bytes, algorithm: str = "sha256", **more: Any) -> dict[str, Any]:
    """Points at the bytes."""
    return {"mediaType": media_type, "digest": digest_of(data, algorithm), "size": len(data), **more}


class Pushing:
    """Puts together what a data set is made of."""

    def __init__(self, reg: Registry, name: str, algorithm: str = "sha256") -> None:
        self.reg, self.name, self.algorithm = reg, name, algorithm

    def blob(self, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
        """A blob that is there, and its descriptor."""
        self.reg.push_blob(self.name, data, self.algorithm)
        return descriptor(media_type, data, self.algorithm, **more)

    def image(self, **more: Any) -> dict[str, Any]:
        """An image's manifest; its blobs are there."""
        config = self.blob(CONFIG, b'{"architecture":"amd64","os":"linux","rootfs":{}}')
        layers = [self.blob(LAYER, os.urandom(1000)) for _ in range(2)]
        return {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **more}

    def artifact(self, **more: Any) -> dict[str, Any]:
        """An artifact's manifest; its blobs are there."""
        empty = self.blob(EMPTY, b"{}")
        artifact = {"artifactType": "application/vnd.example.thing", "config": empty}
        return {"schemaVersion": 2, "mediaType": MANIFEST, **artifact, "layers": [empty], **more}

    def index(self, *documents: dict[str, Any], **more: Any) -> dict[str, Any]:
        """An index of manifests that are put first."""
        entries = []
        for document in documents:
            raw = json.dumps(document).encode()
            digest = digest_of(raw, self.algorithm)
            assert self.reg.put_manifest(self.name, digest, raw).status == 201
            entries.append(descriptor(document["mediaType"], raw, self.algorithm))
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more}


def data_set(push: Pushing, kind: str) -> dict[str, Any]:
    """One of the conformance run's data sets; what it needs is pushed."""
    subject = descriptor(MANIFEST, b"a subject that comes later, or never")
    notes = {f"org.example.note{number}": "x" * 10000 for number in range(390)}
    foreign = descriptor(FOREIGN, b"elsewhere", urls=["https://example.org/layer"])
    custom = {"org.example.field": {"deep": [1, 2.5, None, True]}}

    def inlined() -> dict[str, Any]:
        return {**push.blob(EMPTY, b"{}"), "data": base64.b64encode(b"{}").decode()}

    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "image": push.image,
        "uncompressed": lambda: push.image(layers=[push.blob(f"{OCI}.layer.v1.tar", os.urandom(900))]),
        "large-manifest": lambda: push.image(annotations=notes),
        "index": lambda: push.index(push.image(), push.image()),
        "nested-index": lambda: push.index(push.index(push.image())),
        "empty-index": push.index,
        "artifact": push.artifact,
        "artifact-index": lambda: push.index(push.artifact(), artifactType="application/vnd.example.many"),
        "artifact-without-layers": lambda: push.artifact(layers=[]),
        "index-with-subject": lambda: push.index(push.image(), subject=subject),
        "missing-subject": lambda: push.artifact(subject=MISSING),
        "data-field": lambda: push.artifact(config=inlined(), layers=[inlined()]),
        "non-distributable": lambda: push.image(layers=[foreign, push.blob(LAYER, os.urandom(500))]),
        "custom-fields": lambda: push.image(**custom) | {"config": push.blob(CONFIG, b"{}", **custom)},
        "no-layers": lambda: push.image(layers=[]),
        "sparse": lambda: {"schemaVersion": 2, "mediaType": INDEX, "manifests": [MISSING]},
        "docker": lambda: push.image(mediaType=f"{DOCKER}.manifest.v2+json"),
        "docker-list": lambda: push.index(push.image(), mediaType=f"{DOCKER}.manifest.list.v2+json"),
    }
    return makers[kind]()


SETS = (
    *("image", "uncompressed", "large-manifest", "index", "nested-index", "empty-index", "artifact"),
    *("artifact-index", "artifact-without-layers", "index-with-subject", "missing-subject", "data-field"),
    *("non-distributable", "custom-fields", "no-layers", "sparse", "docker", "docker-list"),
)


def check_is_there(reg: Registry, path: str, raw: bytes, media_type: str, digest: str) -> None:
    """The manifest is there as it was sent."""
    answer = reg.get(path)
    assert (answer.status, answer.body) == (200, raw)
    for answered in (answer, reg.head(path)):
        assert answered["Content-Type"] == media_type
        assert answered["Content-Length"] == str(len(raw))
        assert answered["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("kind", SETS)
def test_life_of_a_manifest(reg: Registry, name: str, kind: str, algorithm: str) -> None:
    """Put by digest and by tag, listed, read byte for byte, deleted."""
    document = data_set(Pushing(reg, name, algorithm), kind)
    raw = json.dumps(document, indent=1).encode()
    digest, media_type = digest_of(raw, algorithm), document["mediaType"]
    by_digest = reg.put_manifest(name, f"{digest}?tag=tagged", raw)
    assert (by_digest.status, by_digest["Docker-Content-Digest"]) == (201, digest)
    paths = [by_digest["Location"], f"/v2/{name}/manifests/tagged", f"/v2/{name}/manifests/{digest}"]
    for path in paths:
        check_is_there(reg, path, raw, media_type, digest)
    by_tag = reg.put_manifest(name, "second", raw)
    assert by_tag.status == 201
    check_is_there(reg, by_tag["Location"], raw, media_type, digest_of(raw))
    for answer in (by_digest, by_tag):
        assert answer.headers["OCI-Subject"] == document.get("subject", {}).get("digest")
    assert reg.get(f"/v2/{name}/tags/list").json() == {"name": name, "tags": ["second", "tagged"]}
    assert reg.delete(f"/v2/{name}/manifests/tagged").status == 202
    assert reg.head(f"/v2/{name}/manifests/tagged").status == 404
    assert reg.delete(by_digest["Location"]).status == 202
    assert reg.delete(by_digest["Location"]).status == 404
    assert reg.head(by_digest["Location"]).status == 404
    for layer in document.get("layers", []):
        assert reg.delete(f"/v2/{name}/blobs/{layer['digest']}").status in (202, 404)
        assert reg.head(f"/v2/{name}/blobs/{layer['digest']}").status == 404


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tags_with_a_digest(reg: Registry, name: str, algorithm: str) -> None:
    """A manifest put by its digest gets the tags that it is put with, each confirmed."""
    raw = json.dumps(Pushing(reg, name).image()).encode()
    digest = digest_of(raw, algorithm)
    answer = reg.put_manifest(name, f"{digest}?tag=a&tag=b", raw)
    assert answer.status == 201
    assert answer.headers.get_all("OCI-Tag") == ["a", "b"]
    for tag in "ab":
        check_is_there(reg, f"/v2/{name}/manifests/{tag}", raw, MANIFEST, digest)
    answer = reg.put_manifest(name, f"{digest}?tag=c&tag=.d", raw)
    assert (answer.status, answer.word) == (400, "TAG_INVALID")
    assert reg.get(f"/v2/{name}/tags/list").json()["tags"] == ["a", "b"]


def test_deleting_a_manifest_takes_its_tags(reg: Registry, name: str) -> None:
    """No tag is left that leads nowhere; others stay."""
    push = Pushing(reg, name)
    first, second = push.image(), push.image()
    digest = reg.put_manifest(name, "one", first)["Docker-Content-Digest"]
    reg.put_manifest(name, "also-one", first)
    reg.put_manifest(name, "two", second)
    assert reg.delete(f"/v2/{name}/manifests/{digest}").status == 202
    assert reg.get(f"/v2/{name}/tags/list").json()["tags"] == ["two"]
    assert reg.delete(f"/v2/{name}/manifests/one").status == 404


def test_referrers(reg: Registry, name: str) -> None:
    """Whoever refers to a manifest is listed, with what it is; the list can be filtered."""
    push = Pushing(reg, name)
    raw = json.dumps(push.image()).encode()
    subject = descriptor(MANIFEST, raw)
    path = f"/v2/{name}/referrers/{subject['digest']}"
    documents = (
        push.artifact(subject=subject, annotations={"org.example": "first"}),
        push.image(subject=subject),
        push.index(subject=subject, artifactType="application/vnd.example.list", annotations={"k": "v"}),
        push.index(subject=subject),
    )
    wanted = []
    for document in documents:
        written = json.dumps(document).encode()
        answer = reg.put_manifest(name, digest_of(written), written)
        assert (answer.status, answer["OCI-Subject"]) == (201, subject["digest"])
        entry = descriptor(document["mediaType"], written)
        kind = document.get("artifactType") or document.get("config", {}).get("mediaType")
        entry |= {"artifactType": kind} if kind else {}
        entry |= {"annotations": document["annotations"]} if "annotations" in document else {}
        wanted.append(entry)
    answer = reg.get(path)
    assert (answer.status, answer["Content-Type"]) == (200, INDEX)
    assert answer.headers["OCI-Filters-Applied"] is None
    shown = answer.json()
    assert (shown["schemaVersion"], shown["mediaType"]) == (2, INDEX)
    assert sorted(shown["manifests"], key=str) == sorted(wanted, key=str)
    filtered = reg.get(f"{path}?artifactType=application/vnd.example.thing")
    assert filtered["OCI-Filters-Applied"] == "artifactType"
    assert filtered.json()["manifests"] == wanted[:1]
    assert reg.get(f"{path}?artifactType=none").json()["manifests"] == []
    reg.delete(f"/v2/{name}/manifests/{wanted[0]['digest']}")
    assert wanted[0] not in reg.get(path).json()["manifests"]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_no_referrers(reg: Registry, algorithm: str) -> None:
    """Of nothing the list is empty, and never 404."""
    answer = reg.get(f"/v2/nobody/referrers/{digest_of(b'nothing', algorithm)}")
    assert (answer.status, answer["Content-Type"]) == (200, INDEX)
    assert answer.json() == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    assert reg.get("/v2/nobody/referrers/sha256:bad").status == 400


def test_many_referrers_come_in_pages(reg: Registry, name: str) -> None:
    """A list is no larger than a manifest may be; a link leads to the rest."""
    push = Pushing(reg, name)
    large = {"org.example": "x" * 1_500_000}
    digests = set()
    for number in range(5):
        artifact = push.artifact(subject=MISSING, annotations=large, number=number)
        digests.add(reg.put_manifest(name, f"t{number}", artifact)["Docker-Content-Digest"])
    pages, found, path = 0, set(), f"/v2/{name}/referrers/{MISSING['digest']}"
    while path:
        pages += 1
        answer = reg.get(path)
        assert len(answer.body) <= 4 << 20
        found |= {entry["digest"] for entry in answer.json()["manifests"]}
        path = (answer.headers["Link"] or "").partition(">")[0].removeprefix("<")
    assert (found, pages) == (digests, 3)


def test_tags_in_pages(reg: Registry, name: str) -> None:
    """``n`` and ``last`` give a part of the tags, in their order, and a link to the rest."""
    image = Pushing(reg, name).image()
    for tag in ("b", "a", "C", "d.1", "e_2"):
        reg.put_manifest(name, tag, image)
    path = f"/v2/{name}/tags/list"
    assert reg.get(path).json()["tags"] == ["C", "a", "b", "d.1", "e_2"]
    first = reg.get(f"{path}?n=2")
    assert first.json()["tags"] == ["C", "a"]
    assert first["Link"] == f'<{path}?last=a&n=2>; rel="next"'
    assert reg.get(f"{path}?last=a&n=2").json()["tags"] == ["b", "d.1"]
    rest = reg.get(f"{path}?n=2&last=d.1")
    assert (rest.json()["tags"], rest.headers["Link"]) == (["e_2"], None)
    assert reg.get(f"{path}?last=b").json()["tags"] == ["d.1", "e_2"]
    assert (reg.get(f"{path}?n=0").json()["tags"], reg.get(f"{path}?n=0").headers["Link"]) == ([], None)
    for wrong in ("-1", "x", "1e3"):
        answer = reg.get(f"{path}?n={wrong}")
        assert (answer.status, answer.word) == (400, "PAGINATION_NUMBER_INVALID")


def test_lists_without_their_bodies(reg: Registry, name: str) -> None:
    """HEAD of a list says what GET would, pages and all; the connection goes on."""
    image = Pushing(reg, name).image()
    for tag in "ab":
        reg.put_manifest(name, tag, image)
    for path in (
        f"{name}/tags/list?n=1",
        f"_catalog?last={name}0&n=1",
        f"{name}/referrers/{digest_of(b'x')}",
    ):
        shown, told = reg.get(f"/v2/{path}"), reg.head(f"/v2/{path}")
        assert (told.status, told.body) == (200, b"")
        for header in ("Content-Length", "Content-Type", "Link"):
            assert told.headers[header] == shown.headers[header]


def test_unknown_repository(reg: Registry) -> None:
    """Its tags are 404."""
    answer = reg.get("/v2/nobody/here/tags/list")
    assert (answer.status, answer.word) == (404, "NAME_UNKNOWN")


def test_catalog(reg: Registry, name: str) -> None:
    """Repositories are listed, in pages as well."""
    names = [f"{name}/{letter}" for letter in "abc"]
    for each in names:
        reg.push_blob(each, b"x")
    assert set(names) <= set(reg.get("/v2/_catalog").json()["repositories"])
    answer = reg.get(f"/v2/_catalog?last={name}/0&n=2")
    assert answer.json()["repositories"] == names[:2]
    assert "/v2/_catalog?last=" in answer["Link"]


def test_what_is_missing(reg: Registry, name: str) -> None:
    """Manifests that nobody put are 404, by tag and by digest."""
    for reference in ("latest", digest_of(b"x"), "-not-a-tag"):
        answer = reg.get(f"/v2/{name}/manifests/{reference}")
        assert (answer.status, answer.word) == (404, "MANIFEST_UNKNOWN")
        assert reg.head(f"/v2/{name}/manifests/{reference}").status == 404


def test_what_is_no_digest(reg: Registry, name: str) -> None:
    """It is refused, in reading and in writing."""
    path = "sha256:baddigeststring"
    image = Pushing(reg, name).image()
    for answer in (reg.put_manifest(name, path, image), reg.get(f"/v2/{name}/manifests/{path}")):
        assert (answer.status, answer.word) == (400, "DIGEST_INVALID")
    answer = reg.put_manifest(name, digest_of(b"other"), image)
    assert (answer.status, answer.word) == (400, "DIGEST_INVALID")


def test_what_is_no_manifest(reg: Registry, name: str) -> None:
    """Not JSON, another shape, two things at once, or something else than it is sent as."""
    image = Pushing(reg, name).image()
    for document, media_type in (
        (b"not json", MANIFEST),
        (b"[]", MANIFEST),
        (b"{}", MANIFEST),
        (json.dumps(image).encode(), INDEX),
        (json.dumps(image).encode(), f"{DOCKER}.manifest.v2+json"),
        (json.dumps({**image, "manifests": []}).encode(), MANIFEST),
        (json.dumps({**image, "schemaVersion": 1}).encode(), MANIFEST),
        (json.dumps({**image, "layers": [{"digest": "sha256:x", "size": 1}]}).encode(), MANIFEST),
        (json.dumps({**image, "mediaType": "text/plain"}).encode(), "text/plain"),
    ):
        answer = reg.put_manifest(name, "wrong", document, media_type)
        assert (answer.status, answer.word) == (400, "MANIFEST_INVALID"), document
    answer = reg.put_manifest(name, "-wrong", image)
    assert (answer.status, answer.word) == (400, "TAG_INVALID")
    answer = reg.put_manifest(name, "large", image | {"x": "y" * (9 << 20)})
    assert (answer.status, answer.word) == (413, "MANIFEST_INVALID")
    assert reg.get(f"/v2/{name}/tags/list").json()["tags"] == []


def test_blobs_come_first(reg: Registry, name: str) -> None:
    """A manifest whose layers are not in its repository is refused, though another has them."""
    image = Pushing(reg, f"{name}/other").image()
    answer = reg.put_manifest(name, "early", image)
    assert (answer.status, answer.word) == (404, "MANIFEST_BLOB_UNKNOWN")


def test_a_manifest_without_a_media_type(reg: Registry, name: str) -> None:
    """Its shape tells, or the header of Docker's clients."""
    image = Pushing(reg, name).image()
    del image["mediaType"]
    for sent in ("", MANIFEST, f"{DOCKER}.manifest.v2+json"):
        assert reg.put_manifest(name, "bare", image, sent).status == 201
        assert reg.get(f"/v2/{name}/manifests/bare")["Content-Type"] == (sent or MANIFEST)


def test_what_is_known_is_not_sent_again(reg: Registry, name: str) -> None:
    """A client that has the manifest is told that it is the same."""
    digest = reg.put_manifest(name, "t", Pushing(reg, name).image())["Docker-Content-Digest"]
    answer = reg.get(f"/v2/{name}/manifests/t", If_None_Match=f'"{digest}"')
    assert (answer.status, answer.body) == (304, b"")
