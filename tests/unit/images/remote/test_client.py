"""What answers of registries mean, by their headers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead import jsontext
from pierhead.images.remote.client import contradicts, next_page, referrers_tag
from pierhead.images.remote.connection import Answer
from pierhead.oci.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    INDEX,
    MANIFEST,
)

URL = "https://r.lan:5000/v2/a/b/tags/list?n=2"


def linked(header: str) -> Answer:
    """A page of a list with this Link header."""
    return Answer(status=200, headers={"link": header}, body=b"", url=URL)


@pytest.mark.parametrize(
    ("header", "following"),
    [
        ('</v2/a/b/tags/list?last=x&n=2>; rel="next"', "https://r.lan:5000/v2/a/b/tags/list?last=x&n=2"),
        ("<list?last=x>; rel=next", "https://r.lan:5000/v2/a/b/tags/list?last=x"),
        ('<?last=x>; rel="next"', "https://r.lan:5000/v2/a/b/tags/list?last=x"),
        ('<https://r.lan:5000/v2/x>; rel="next"', "https://r.lan:5000/v2/x"),
        ('</v2/one>; rel="prev", </v2/two>; rel="next"', "https://r.lan:5000/v2/two"),
        ('<https://elsewhere.lan/v2/x>; rel="next"', ""),
        ('<http://r.lan:5000/v2/x>; rel="next"', ""),
        ('<//[>; rel="next"', ""),
        ('</v2/one>; rel="prev"', ""),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_the_next_page(header: str, following: str) -> None:
    """Wherever on the same server the list goes on, and nowhere else: our token goes along."""
    assert next_page(linked(header)) == following


LINKS = st.builds(
    '<{}{}{}>; rel="next"'.format,
    st.sampled_from(["", "http:", "https:", "ftp:"]),
    st.sampled_from(["", "//", "//r.lan:5000", "//r.lan", "//me@r.lan:5000", "//[", "//[::1]", "\\\\r.lan"]),
    st.sampled_from(["", "/v2/x", "?n=1", "x", ":80", "@x", "#", "\0", " ", "é"]),
)


@given(st.one_of(LINKS, st.text(alphabet='<>;,="/:?[]relnxt ', max_size=40)))
def test_any_link_is_read(header: str) -> None:
    """To a page of the same server by the same scheme, or none."""
    following = next_page(linked(header))
    assert following == "" or re.match(r"https://r\.lan:5000(?![^/?#])", following)


def test_the_tag_of_referrers() -> None:
    """A digest as a tag, cut to what tags may be long."""
    assert referrers_tag("sha256:" + "a" * 64) == "sha256-" + "a" * 64
    assert referrers_tag("sha512:" + "b" * 128) == "sha512-" + "b" * 64


@pytest.mark.parametrize(
    ("document", "media_type", "expected"),
    [
        ({"mediaType": MANIFEST, "config": {}}, MANIFEST, False),
        ({"mediaType": MANIFEST, "config": {}}, DOCKER_MANIFEST, True),
        ({"mediaType": INDEX, "manifests": []}, MANIFEST, True),
        ({"config": {}}, DOCKER_MANIFEST, False),
        ({"config": {}}, INDEX, True),
        ({"manifests": []}, DOCKER_INDEX, False),
        ({"manifests": []}, MANIFEST, True),
        ({"schemaVersion": 1}, DOCKER_SCHEMA1, False),
        ({"schemaVersion": 1, "signatures": []}, DOCKER_SCHEMA1_SIGNED, False),
        ({"schemaVersion": 2, "config": {}}, DOCKER_SCHEMA1_SIGNED, True),
        ({"schemaVersion": 1}, MANIFEST, True),
    ],
)
def test_contradictions(document: dict[str, object], media_type: str, *, expected: bool) -> None:
    """What a document says of itself counts, and where it says nothing its shape."""
    raw = jsontext.format_compact(document).encode()
    assert contradicts(raw, media_type) is expected
