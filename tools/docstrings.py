"""Docstrings as Markdown: a text, and sections of named items (Args, Raises, Fields, …)."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_HEADING = re.compile(r"^([A-Z][^:]*):$")
_ITEM = re.compile(r"^ {4}([A-Za-z_][\w, ]*):(?: +(.*))?$")
_PROMPT = ">>> "


@dataclass
class Section:
    """A heading and its items; text that is no item is an item without a name."""

    title: str
    items: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Docstring:
    """A docstring, read."""

    text: str
    sections: list[Section]

    def section(self, title: str) -> list[tuple[str, str]]:
        """The items under a heading; none without it."""
        return next((section.items for section in self.sections if section.title == title), [])


def read(thing: object) -> Docstring:
    """The thing's own docstring."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    text: list[str] = []
    sections: list[Section] = []
    for number, line in enumerate(lines):
        match = _HEADING.match(line)
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if match and following.startswith("    "):
            sections.append(Section(match[1]))
        elif sections and (line.startswith("    ") or not line):
            _add(sections[-1], line)
        else:
            text.append(line)
    return Docstring(markdown("\n".join(text).strip()), sections)


def _add(section: Section, line: str) -> None:
    match = _ITEM.match(line)
    words = line.strip()
    if words.startswith(_PROMPT):
        section.items.append(("", ""))  # an example, which ends the items
    elif match:
        section.items.append((match[1], markdown(match[2] or "")))
    elif words and section.items and section.items[-1] != ("", ""):
        name, text = section.items[-1]
        section.items[-1] = (name, f"{text} {markdown(words)}")
    elif words and not section.items:
        section.items.append(("", markdown(words)))


def markdown(text: str) -> str:
    """Literals of reStructuredText as Markdown's; indented blocks as fenced ones."""
    text = text.replace("``", "`")
    block = re.compile(r"(?:^ {4}.*\n?|^\n(?= {4}))+", re.MULTILINE)
    return block.sub(_fence, text)


def _fence(match: re.Match[str]) -> str:
    lines = [line[4:] for line in match[0].rstrip("\n").split("\n")]
    while lines and not lines[0]:
        lines.pop(0)
    return "\n```text\n" + "\n".join(lines) + "\n```\n"


def one_line(text: str) -> str:
    """The text in a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")
