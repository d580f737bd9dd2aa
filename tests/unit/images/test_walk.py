"""Graphs of images: what points at what, what is missing, which platforms are here."""

from __future__ import annotations

import pytest

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput
from pierhead.images.walk import Presence, chain_ids, children, find_missing, find_presences, walk
from pierhead.oci.image import DOCKER_SCHEMA1, INDEX, MANIFEST, Descriptor, Platform
from tests.support.images import describe, make_image, make_index


class Contents(dict[str, bytes]):
    """Contents by their digests."""

    def put(self, data: bytes, media_type: str) -> Descriptor:
        """They are here."""
        descriptor = describe(data, media_type)
        self[descriptor.digest] = data
        return descriptor

    def missing(self, root: Descriptor) -> list[str]:
        """Digests that an image lacks."""
        return [each.digest for each in find_missing(root, self.get, self.__contains__)]

    def presences(self, root: Descriptor) -> tuple[Presence, ...]:
        """Its platforms."""
        return find_presences(root, self.get, self.__contains__)

    def kinds(self, root: Descriptor) -> list[str]:
        """What is met on a walk."""
        return [step.child.kind for step in walk(root, self.get, self.__contains__)]


@pytest.fixture
def contents() -> Contents:
    """None yet."""
    return Contents()


def test_an_image_is_walked_once(contents: Contents) -> None:
    """Parents come first; what several point at is met once."""
    one = make_image(contents.put, [b"a", b"b", b"a"])
    two = make_image(contents.put, [b"a", b"c"], architecture="arm64")
    index = make_index(contents.put, [one, two, make_index(contents.put, [one])])
    assert contents.kinds(one) == ["manifest", "config", "layer", "layer"]
    assert contents.kinds(index) == [
        *("index", "manifest", "config", "layer", "layer"),
        *("manifest", "config", "layer", "index"),
    ]
    assert not contents.missing(index)


def test_a_manifest_needs_everything(contents: Contents) -> None:
    """Whatever is not here is named."""
    image = make_image(contents.put, [b"a", b"b"])
    for each in (b"b", b"a"):
        del contents[compute_digest(each)]
    assert contents.missing(image) == [compute_digest(b"a"), compute_digest(b"b")]
    del contents[image.digest]
    assert contents.missing(image) == [image.digest]


def test_an_index_needs_one_of_its_images(contents: Contents) -> None:
    """Those of other platforms are commonly not fetched."""
    one = make_image(contents.put, [b"a"])
    two = make_image(contents.put, [b"b"], architecture="arm64")
    index = make_index(contents.put, [one, two])
    del contents[one.digest]
    assert not contents.missing(index)
    del contents[compute_digest(b"b")]
    assert contents.missing(index) == [one.digest, compute_digest(b"b")]
    assert not contents.missing(make_index(contents.put, []))


def test_presence_of_platforms(contents: Contents) -> None:
    """Each is whole, partial or absent; those of nested indexes count as well."""
    images = [make_image(contents.put, [name.encode()], architecture=name) for name in ("a", "b", "c")]
    index = make_index(contents.put, [images[0], make_index(contents.put, images[1:])])
    del contents[compute_digest(b"b")]
    del contents[images[2].digest]
    found = contents.presences(index)
    assert [(each.platform.architecture, each.state) for each in found if each.platform] == [
        ("a", "whole"),
        ("b", "partial"),
        ("c", "absent"),
    ]
    assert [len(each.missing) for each in found] == [0, 1, 1]
    assert found[2].size_bytes == 0 < found[0].size_bytes


def test_the_platform_of_a_single_image(contents: Contents) -> None:
    """It stands in its configuration."""
    image = make_image(contents.put, [b"a"], architecture="riscv64").replace(platform=None)
    [found] = contents.presences(image)
    assert found.platform == Platform(os="linux", architecture="riscv64")


def test_layers_that_come_from_elsewhere_may_be_missing(contents: Contents) -> None:
    """Registries do not distribute them."""
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    image = make_image(contents.put, [b"a"])
    text = contents[image.digest].decode().replace("application/vnd.oci.image.layer.v1.tar", foreign)
    changed = contents.put(text.encode(), MANIFEST)
    del contents[compute_digest(b"a")]
    assert not contents.missing(changed)
    assert contents.missing(image)


def test_schema_1_has_layers_only() -> None:
    """Each one once; their sizes are not stated."""
    digests = [compute_digest(b"a"), compute_digest(b"b"), compute_digest(b"a")]
    document = {"schemaVersion": 1, "fsLayers": [{"blobSum": digest} for digest in digests]}
    found = children(jsontext.format_compact(document).encode(), DOCKER_SCHEMA1)
    assert [(each.descriptor.digest, each.descriptor.size) for each in found] == [
        (digest, -1) for digest in digests[:2]
    ]


@pytest.mark.parametrize(
    "text", [b"{}", b"[]", b'{"fsLayers": [{}]}', b'{"fsLayers": [{"blobSum": "../x"}]}', b"\xff"]
)
def test_broken_schema_1(text: bytes) -> None:
    """It is refused."""
    with pytest.raises(InvalidInput):
        children(text, DOCKER_SCHEMA1)


def test_a_document_that_is_something_else(contents: Contents) -> None:
    """It is refused, unless the walk is only to find out what there is."""
    image = make_image(contents.put, [b"a"])
    lie = image.replace(media_type=INDEX)
    with pytest.raises(InvalidInput, match="both a manifest and an index"):
        list(walk(lie, lambda _: b'{"manifests": [], "layers": []}', contents.__contains__))
    steps = list(walk(lie, lambda _: b"no JSON", contents.__contains__, lenient=True))
    assert [step.child.kind for step in steps] == ["index"]


def test_chain_ids() -> None:
    """The first is the layer's own, each other one that of the two before it (config.md's formula)."""
    a, b, c = (compute_digest(text) for text in (b"a", b"b", b"c"))
    ab = compute_digest(f"{a} {b}".encode())
    assert chain_ids((a, b, c)) == (a, ab, compute_digest(f"{ab} {c}".encode()))
    assert chain_ids(()) == ()
