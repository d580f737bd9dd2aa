"""Reads the dialogue that is drawn in ARCHITECTURE.md: the test's eyes for it.

A line with an arrow of ``───`` or ``◀──`` is a packet: its message's name in init/wire.def, and for some
a second word (who a child is, what a sync is about).  A message belongs to a conversation by its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.repository import ROOT

HEADING = "## The dialogue"
_PACKET = re.compile(r"(◀──|───) ([a-z]+)(?: ([a-z]+))? ─+(▶)?")
ANY_TIME = ("error", "trace")
STAGE_SAYS = ("undo", "plan", "adopt", "commit", "child", "watching", "exited")
"""What goes over the stage's own conversation; the rest goes over that of the launched process."""


@dataclass(frozen=True)
class Packet:
    """One packet: who sends it, and what it says."""

    to_python: bool
    message: str
    detail: str = ""

    def __str__(self) -> str:
        words = f"{self.message} {self.detail}".rstrip()
        return f"◀ {words}" if self.to_python else f"{words} ▶"

    @property
    def is_stage(self) -> bool:
        """Whether it belongs to the stage's conversation."""
        return self.message in STAGE_SAYS


def drawings() -> list[list[Packet]]:
    """The packets of each drawing in the section about the dialogue, from top to bottom."""
    section = (ROOT / "ARCHITECTURE.md").read_text().partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [found for found in ([*_packets(block)] for block in blocks) if found]


def _packets(block: str) -> list[Packet]:
    found = []
    for line in block.splitlines():
        match = _PACKET.search(line)
        if match:
            head, message, detail, tip = match.groups()
            to_python = head == "◀──"
            assert to_python != bool(tip), f"an arrow with two heads or none: {line}"
            found.append(Packet(to_python, message, detail or ""))
    return found
