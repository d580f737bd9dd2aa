"""Which images a list shows, by its filters."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.images.catalogue import Summary
from pierhead.images.choosing import choose, parse_filters

DIGEST = f"sha256:{'1' * 64}"


def summary(name: str, year: int, **labels: str) -> Summary:
    """An image of this name that was made in this year."""
    return Summary(
        name=name,
        digest=DIGEST,
        id=DIGEST,
        created=f"{year}-01-01T00:00:00Z",
        size_bytes=1,
        platforms=(),
        labels=labels,
    )


IMAGES = [
    summary("docker.io/library/old:1", 2001, stage="build", by="me"),
    summary("docker.io/library/new:1", 2020, stage="final"),
    summary(f"localhost/unnamed@{DIGEST}", 2010),
]


def created(name: str) -> str:
    """Of the image of this short name."""
    return next(each.created for each in IMAGES if f"/{name}:" in each.name)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        ([], [0, 1, 2]),
        (["dangling=true"], [2]),
        (["dangling=false"], [0, 1]),
        (["dangling=1"], [2]),
        (["label=stage"], [0, 1]),
        (["label=stage=build"], [0]),
        (["label=stage", "label=by=me"], [0]),
        (["label=stage=build", "label=by=you"], []),
        (["reference=old"], [0]),
        (["reference=o*", "reference=*:1"], [0, 1]),
        (["before=new"], [0, 2]),
        (["since=old"], [1, 2]),
        (["since=old", "before=new"], [2]),
        (["since=old", "since=new"], []),
        (["reference=o*", "label=stage=final"], []),
    ],
)
def test_filters(texts: list[str], shown: list[int]) -> None:
    """Each filter must take an image; of one's values any does, of labels all."""
    assert choose(IMAGES, parse_filters(texts), created) == [IMAGES[number] for number in shown]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dangling", "the filter 'dangling' has no value"),
        ("dangling=perhaps", "the filter dangling cannot be 'perhaps'"),
        ("colour=red", "there is no filter 'colour'"),
        ("reference=[", "has an open bracket"),
    ],
)
def test_what_is_no_filter(text: str, message: str) -> None:
    """It is refused, and not passed over."""
    with pytest.raises(InvalidInput, match=message):
        choose(IMAGES, parse_filters([text]), created)
