"""The reference pages are what the programs' tables say."""

from __future__ import annotations

import pytest

from tests.support.repository import ROOT
from tools.gen_reference import PAGES, daemon_page, page


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_are_up_to_date(name: str) -> None:
    """After a change of a table somebody has to run tools/gen_reference.py."""
    path = ROOT / "docs" / "reference" / name
    assert path.read_text() == page(PAGES[name]), "run: python tools/gen_reference.py"


def test_the_daemons_page_is_up_to_date() -> None:
    """Its table of flags and keys is the program's own."""
    path = ROOT / "docs" / "reference" / "pierd.md"
    assert path.read_text() == daemon_page(), "run: python tools/gen_reference.py"
