"""News fragments become a changelog."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT
from tools import changelog

if TYPE_CHECKING:
    from pathlib import Path


def test_the_fragments_that_wait() -> None:
    """Every fragment in changes/ can be released."""
    text = changelog.release(changelog.fragments(ROOT / "changes"), "Unreleased")
    assert text.startswith("## Unreleased\n")


def test_kinds_have_an_order(tmp_path: Path) -> None:
    """Sections come in one order whatever the files are called, and long entries are wrapped."""
    (tmp_path / "b.added.md").write_text("B is there.\n")
    (tmp_path / "a.fixed.md").write_text("A works " + "again and " * 20 + "again.\n")
    (tmp_path / "a.added.md").write_text("A is\nthere.\n")
    text = changelog.release(changelog.fragments(tmp_path), "1.0")
    assert text.startswith(
        "## 1.0\n\n### Added\n\n- A is there.\n- B is there.\n\n### Fixed\n\n- A works again"
    )
    assert max(map(len, text.splitlines())) < 120


@pytest.mark.parametrize("name", ["a.md", "a.new.md", "a.added.md"])
def test_what_is_no_fragment(tmp_path: Path, name: str) -> None:
    """A name without a kind, or nothing to say, is an error."""
    (tmp_path / name).write_text("" if name == "a.added.md" else "text")
    with pytest.raises(ValueError, match="is no fragment"):
        changelog.fragments(tmp_path)


def test_the_changelog_has_its_mark() -> None:
    """Releases are put where the file says."""
    assert "<!-- releases -->" in (ROOT / "CHANGELOG.md").read_text()
