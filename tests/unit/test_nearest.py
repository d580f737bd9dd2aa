"""What somebody meant who has mistyped a word."""

from __future__ import annotations

import pytest

from pierhead.nearest import nearest, nearest_image


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("boxx", "box"),
        ("bux:latest", "box"),
        ("nope:latest", ""),
        ("nginx", ""),
        ("debian:trixy", "debian:trixie"),
    ],
)
def test_images(name: str, near: str) -> None:
    """Names are alike by what they say, and not because each is the latest."""
    assert nearest_image(name, ["box:latest", "debian:trixie"]) == near


def test_nothing_is_near() -> None:
    """Then nothing is suggested."""
    assert nearest("swarm", ["pull"]) == ""
