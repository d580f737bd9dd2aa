"""Digests."""

from __future__ import annotations

import pytest

from pierhead.digests import (
    algorithm_of,
    check_digest,
    compute_digest,
    digest_of,
    encoded_of,
    hasher,
    is_digest,
    short_digest,
)
from pierhead.errors import InvalidInput

EMPTY_OBJECT = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_parts() -> None:
    """A digest has an algorithm and a hash, of which people read the beginning."""
    assert algorithm_of(EMPTY_OBJECT) == "sha256"
    assert encoded_of(EMPTY_OBJECT) == EMPTY_OBJECT[7:]
    assert short_digest(EMPTY_OBJECT) == "44136fa355b3"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_computing(algorithm: str) -> None:
    """In one go and in parts the same; both algorithms' digests are digests."""
    hashed = hasher(algorithm)
    hashed.update(b"one ")
    hashed.update(b"two")
    assert digest_of(hashed) == compute_digest(b"one two", algorithm)
    assert is_digest(digest_of(hashed))


def test_a_known_digest() -> None:
    """That of an artifact's empty configuration, which the specification prints."""
    assert compute_digest(b"{}") == EMPTY_OBJECT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "sha256:baddigeststring",
        EMPTY_OBJECT.upper(),
        EMPTY_OBJECT[:-1],
        EMPTY_OBJECT + "0",
        EMPTY_OBJECT.replace("sha256", "sha512"),
        "md5:" + "0" * 32,
        "sha256:../" + "0" * 61,
        "0" * 64,
    ],
)
def test_what_is_none(text: str) -> None:
    """Nothing else is one; the error names it."""
    assert not is_digest(text)
    with pytest.raises(InvalidInput, match="is not a digest"):
        check_digest(text)
