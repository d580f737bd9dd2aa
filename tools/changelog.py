"""Makes CHANGELOG.md of the news fragments in changes/.

    python tools/changelog.py --draft      prints what the fragments say
    python tools/changelog.py VERSION      moves them into CHANGELOG.md, under this version and today's date

A fragment is a file ``changes/NAME.KIND.md`` with a sentence or two for users; CONTRIBUTING.md has the kinds.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
_MARK = "<!-- releases -->\n"
_WIDTH = 118


def fragments(directory: Path) -> dict[str, list[Path]]:
    """The fragments by kind, sorted by name.

    Raises:
        ValueError: a file's name has no kind, or the file is empty.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(directory.glob("*.md")):
        kind = path.name.removesuffix(".md").rpartition(".")[2]
        if kind not in KINDS or not path.read_text().strip():
            raise ValueError(f"{path.name} is no fragment: NAME.KIND.md, KIND one of {', '.join(KINDS)}")
        found[kind].append(path)
    return found


def entry(text: str) -> str:
    """A fragment as an item of a list."""
    import textwrap

    words = " ".join(text.split())
    return textwrap.fill(
        words,
        _WIDTH,
        initial_indent="- ",
        subsequent_indent="  ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def release(found: dict[str, list[Path]], heading: str) -> str:
    """What the fragments say, as a section."""
    parts = [f"## {heading}"]
    for kind, title in KINDS.items():
        if found[kind]:
            parts.append(f"### {title}")
            parts.append("\n".join(entry(path.read_text()) for path in found[kind]))
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Prints or releases."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    found = fragments(ROOT / "changes")
    if arguments[0] == "--draft":
        print(release(found, "Unreleased"))
        return 0
    if not any(found.values()):
        print("there are no fragments in changes/", file=sys.stderr)
        return 1
    changelog = ROOT / "CHANGELOG.md"
    before, mark, after = changelog.read_text().partition(_MARK)
    if not mark:
        print(f"{changelog} has no line {_MARK.strip()}", file=sys.stderr)
        return 1
    heading = f"{arguments[0]} ({dt.datetime.now(dt.UTC).date()})"
    changelog.write_text(f"{before}{mark}\n{release(found, heading)}{after}")
    for paths in found.values():
        for path in paths:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
