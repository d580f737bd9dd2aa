"""The documentation's links lead somewhere, and its pages can be found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import pages
from tests.support.repository import ROOT, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its code."""
    return _CODE.sub("", page.read_text())


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Files of the repository that the page links, with the anchor."""
    for target in _LINK.findall(prose(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as forges make it of their text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


@pytest.mark.parametrize("page", [pytest.param(page, id=name_of(page)) for page in pages()])
def test_links(page: Path) -> None:
    """Every link to a file of the repository, and to a heading in one, leads there."""
    for target, anchor in links(page):
        assert target.exists(), f"{name_of(page)} links {target}, which does not exist"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), (
                f"{name_of(page)} links #{anchor} in {target}, which has no such heading"
            )


def test_every_page_is_linked() -> None:
    """From README.md and docs/index.md a reader comes to every page."""
    found: set[Path] = set()
    ahead = [ROOT / "README.md", ROOT / "docs/index.md"]
    while ahead:
        page = ahead.pop()
        if page.suffix == ".md" and page not in found and page.exists():
            found.add(page)
            ahead += [target for target, _ in links(page)]
    assert set(pages()) <= found, sorted(name_of(page) for page in set(pages()) - found)
