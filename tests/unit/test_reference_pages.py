"""The reference pages say what the code says."""

from __future__ import annotations

import pytest

import pierhead.runtime
from pierhead.runtime.exitrecord import ExitRecord
from pierhead.runtime.state import NAMES, ContainerState
from tests.support.repository import ROOT
from tools.gen_library import PAGES, codes

REFERENCE = ROOT / "docs/reference"


@pytest.mark.parametrize("name", PAGES)
def test_made_pages_are_fresh(name: str) -> None:
    """After a change of a docstring, a signature or an error somebody has to make the page again."""
    assert (REFERENCE / name).read_text() == PAGES[name](), "run: make reference"


def test_the_public_face_is_documented() -> None:
    """Every public name has a section in the library's page, or fields in the configuration's."""
    text = (REFERENCE / "library.md").read_text() + (REFERENCE / "configuration.md").read_text()
    headings = {line.lstrip("# ") for line in text.splitlines() if line.startswith("#")}
    missing = {name for name in pierhead.runtime.__all__ if name not in headings}
    assert missing <= {"Config"}, missing


def test_state_files_are_documented() -> None:
    """Every file and field of the state directory is on its page."""
    text = (REFERENCE / "state-directory.md").read_text()
    words = [*ContainerState.fields, *ExitRecord.fields, *(name for name in NAMES if name[0] != ".")]
    assert not [word for word in words if f"`{word}`" not in text and f"    {word} " not in text]


def test_codes_are_words_for_programs() -> None:
    """Codes are kebab-case, so that they can stand anywhere."""
    assert not [code for code, _, _ in codes() if not code.replace("-", "").isalnum() or not code.islower()]
