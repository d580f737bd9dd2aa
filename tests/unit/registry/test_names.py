"""Names, tags, and what paths mean."""

from __future__ import annotations

import pytest

from pierhead.registry.faults import Fault
from pierhead.registry.names import (
    Place,
    check_digest_of_path,
    check_name,
    check_tag,
    is_name,
    is_tag,
    parse_path,
)

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v2", Place(kind="ping")),
        ("/v2/", Place(kind="ping")),
        ("/v2/_catalog", Place(kind="catalog")),
        ("/v2/a/tags/list", Place(kind="tags", name="a", reference="list")),
        ("/v2/a/b/manifests/latest", Place(kind="manifest", name="a/b", reference="latest")),
        (f"/v2/a/blobs/{DIGEST}", Place(kind="blob", name="a", reference=DIGEST)),
        ("/v2/a/blobs/uploads", Place(kind="uploads", name="a")),
        ("/v2/a/blobs/uploads/", Place(kind="uploads", name="a")),
        ("/v2/a/blobs/uploads/x", Place(kind="upload", name="a", reference="x")),
        (f"/v2/a/referrers/{DIGEST}", Place(kind="referrers", name="a", reference=DIGEST)),
        ("/v2/blobs/uploads/blobs/uploads/x", Place(kind="upload", name="blobs/uploads", reference="x")),
        ("/v2/tags/list/tags/list", Place(kind="tags", name="tags/list", reference="list")),
    ],
)
def test_paths(path: str, place: Place) -> None:
    """Each path means one thing; a repository may be called like a part of the protocol."""
    assert parse_path(path) == place


@pytest.mark.parametrize("path", ["", "/", "/v1/", "/v2/a", "/v2/a/tags/", "/v2/a/blobs/", "/v2//blobs"])
def test_paths_that_mean_nothing(path: str) -> None:
    """Others mean nothing."""
    assert parse_path(path) is None


@pytest.mark.parametrize("name", ["a", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "0/1", "x" * 255])
def test_names(name: str) -> None:
    """The specification's grammar."""
    assert is_name(name)
    check_name(name)


@pytest.mark.parametrize("name", ["", "A", "a/", "/a", "a//b", "a..b", "a___b", "a.", "a\n", "x" * 256, "é"])
def test_names_that_are_none(name: str) -> None:
    """What is not in it is refused."""
    assert not is_name(name)
    with pytest.raises(Fault, match="is not a name") as caught:
        check_name(name)
    assert (caught.value.word, caught.value.status) == ("NAME_INVALID", 400)


def test_tags() -> None:
    """The specification's grammar."""
    for tag in ("latest", "1.0", "_x", "A-b.c_d", "x" * 128):
        assert is_tag(tag)
        check_tag(tag)
    for tag in ("", ".x", "-x", "a b", "a:b", "x" * 129, "x\n"):
        assert not is_tag(tag)
        with pytest.raises(Fault, match="is not a tag"):
            check_tag(tag)


def test_digests() -> None:
    """Only whole ones of known algorithms."""
    check_digest_of_path(DIGEST)
    with pytest.raises(Fault, match="is not a digest"):
        check_digest_of_path("sha256:baddigeststring")
