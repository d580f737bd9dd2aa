"""The repository's own files, for tests that read them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_NOT_OURS = frozenset(("build", "dist", "bench-results", "__pycache__"))


def files(*folders: str, endings: tuple[str, ...]) -> Iterator[Path]:
    """Files below these folders ("" is the top itself) with such names; what was built or is hidden is
    passed over.
    """
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*") if folder else ROOT.iterdir()):
            parts = path.relative_to(ROOT).parts
            hidden = any(part.startswith(".") or part in _NOT_OURS for part in parts)
            if not hidden and path.is_file() and path.name.endswith(endings):
                yield path


def name_of(path: Path) -> str:
    """The path as it is written in the repository."""
    return path.relative_to(ROOT).as_posix()
