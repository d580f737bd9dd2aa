"""Ranges of subordinate ids, as the files have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Unavailable
from pierhead.linux.subids import get_ranges, parse_ranges

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """# a comment
anna:100000:65536
berta:165536:65536
1000:300000:1000
anna:400000:10
anna:what:10
anna:500000:0
"""


def test_ranges() -> None:
    """A user's lines stand under name or number, in their order; what is no range counts for nothing."""
    assert parse_ranges(TEXT, ("anna", "1000")) == ((100000, 65536), (300000, 1000), (400000, 10))
    assert parse_ranges(TEXT, ("carla", "1001")) == ()


def test_none(tmp_path: Path) -> None:
    """Who has none is told how to get some, also where there is no file."""
    path = tmp_path / "subuid"
    with pytest.raises(Unavailable, match=f"user 4000000 has no subordinate ids in {path}") as caught:
        get_ranges(str(path), 4000000)
    assert "usermod --add-subuids" in caught.value.hint
    path.write_text("4000000:7:8\n")
    assert get_ranges(str(path), 4000000) == ((7, 8),)
