"""The table of libpod's routes, and the page about it."""

from __future__ import annotations

import re

from pierhead.api.libpod.routes import SERVED
from tests.support.repository import ROOT

_REQUEST = re.compile(r"`([A-Z]+) (/[^`]*)`")


def test_the_page_has_every_route() -> None:
    """And no other."""
    page = (ROOT / "docs/reference/libpod.md").read_text()
    assert set(_REQUEST.findall(page)) == {(method, pattern) for method, pattern, _ in SERVED}


def test_no_route_stands_twice() -> None:
    """The first one would count."""
    assert len({(method, pattern) for method, pattern, _ in SERVED}) == len(SERVED)
