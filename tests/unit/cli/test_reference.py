"""The reference pages are what the programs' tables say."""

from __future__ import annotations

import pytest

from tests.support.repository import ROOT
from tools.gen_reference import PAGES, page


@pytest.mark.parametrize("name", sorted(PAGES))
def test_pages_are_up_to_date(name: str) -> None:
    """After a change of a table somebody has to run tools/gen_reference.py."""
    path = ROOT / "docs" / "reference" / name
    assert path.read_text() == page(PAGES[name]), "run: python tools/gen_reference.py"
