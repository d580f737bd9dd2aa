"""What a transfer does, for people: on a terminal a line for each content, repainted; else lines of text.

    trixie: Pulling from docker.io/library/debian
    6e2a1f0c9b3d: Downloading  [========>           ]  21.4MB/51.8MB
    f1a2b3c4d5e6: Extracting
    0c9b3d6e2a1f: Pull complete

Everything goes to standard error: standard output is for what was asked for.
"""

from __future__ import annotations

import os
import time

from pierhead.cli.output import STDERR
from pierhead.digests import short_digest
from pierhead.figures import format_size
from pierhead.images.reference import parse_reference
from pierhead.images.unpackprogress import UnpackProgress, WordedProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.cli.output import Output
    from pierhead.oci.image import Descriptor

_REPAINT_S = 0.1
_BAR_WIDTH = 20
_NARROW = 60
_MOVING = ("Downloading", "Pushing")
_ENDS = ("Pull complete", "Already exists", "Pushed", "Layer already exists", "Download complete")


class Line:
    """One content: what happens to it, and how much of it has."""

    def __init__(self, content: Descriptor) -> None:
        self.name = short_digest(content.digest)
        self.size_bytes = max(content.size, 1)
        self.state = "Waiting"
        self.done_bytes = 0

    def format(self, width: int) -> str:
        """As the terminal shows it."""
        text = f"{self.name}: {self.state}"
        if self.state not in _MOVING:
            return text
        done = f"{format_size(self.done_bytes)}/{format_size(self.size_bytes)}"
        filled = min(_BAR_WIDTH, _BAR_WIDTH * self.done_bytes // self.size_bytes)
        head = ">" if filled < _BAR_WIDTH else ""
        bar = f"[{('=' * filled + head).ljust(_BAR_WIDTH)[:_BAR_WIDTH]}]  " if width >= _NARROW else ""
        return f"{text:<26} {bar}{done}"


class TransferProgress(WordedProgress):
    """Lines about contents, as they change."""

    def __init__(self, output: Output, *, pushing: bool = False) -> None:
        super().__init__(pushing=pushing)
        self._output = output
        self._lines: dict[str, Line] = {}

    def resolved(self, name: str, descriptor: Descriptor, answered_by: str) -> None:  # noqa: ARG002
        """See ``Progress``."""
        reference = parse_reference(name).canonical()
        what = "Pushing to" if self.pushing else "Pulling from"
        asked = answered_by and answered_by != reference.domain
        self.remarked(
            f"{reference.identifier}: {what} {reference.name}{f' (by {answered_by})' if asked else ''}"
        )

    def planned(self, contents: tuple[Descriptor, ...]) -> None:
        """See ``Progress``."""
        for content in contents:
            self._lines.setdefault(content.digest, Line(content))

    def retrying(self, content: Descriptor, reason: str) -> None:
        """See ``Progress``."""
        self.remarked(f"{short_digest(content.digest)}: Retrying: {reason}")

    def close(self) -> None:
        """Everything has been shown."""

    def changed(self, content: Descriptor, state: str, done_bytes: int | None = None) -> None:
        """See ``WordedProgress``."""
        line = self._lines.get(content.digest)
        if line is None:
            return  # a document: too small to be worth a line
        if line.state == "Pull complete" or (line.state, state) == ("Already exists", "Pull complete"):
            return  # its end has been told; a layer can be unpacked before all of its download is settled
        changed = line.state != state
        line.state, line.done_bytes = state, done_bytes or 0
        self._show(line, changed=changed)

    def _show(self, line: Line, *, changed: bool) -> None:
        """Without a terminal: what begins and ends, and no steps in between."""
        if changed and (line.state in _ENDS or line.state.startswith("Mounted")):
            self.remarked(line.format(0))

    def remarked(self, text: str) -> None:
        """See ``WordedProgress``."""
        self._output.remark(f"{text}\n")


class TerminalProgress(TransferProgress):
    """The same on a terminal, whose lines are painted over."""

    def __init__(
        self, output: Output, *, pushing: bool = False, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(output, pushing=pushing)
        self._clock_s = clock_s
        self._painted_s = 0.0
        self._painted = 0

    def planned(self, contents: tuple[Descriptor, ...]) -> None:
        """See ``Progress``."""
        super().planned(contents)
        self._paint()

    def close(self) -> None:
        """The last state of everything is shown."""
        self._paint()

    def _show(self, line: Line, *, changed: bool) -> None:  # noqa: ARG002 - all lines are painted at once
        if changed or self._clock_s() - self._painted_s >= _REPAINT_S:
            self._paint()

    def remarked(self, text: str) -> None:
        """Above the painted lines."""
        self._output.remark(f"{self._back()}\x1b[J{text}\n")
        self._painted = 0
        self._paint()

    def _back(self) -> str:
        return f"\r\x1b[{self._painted}A" if self._painted else "\r"

    def _paint(self) -> None:
        width, height = _terminal_size()
        shown = list(self._lines.values())[-(height - 1) :] if height > 1 else []
        text = "".join(f"{line.format(width)[: width - 1]}\x1b[K\n" for line in shown)
        if text:
            self._output.remark(self._back() + text)
        self._painted = len(shown)
        self._painted_s = self._clock_s()


def _terminal_size() -> tuple[int, int]:
    try:
        return os.get_terminal_size(STDERR)
    except OSError:
        return 80, 24


def make_progress(output: Output, *, quiet: bool, pushing: bool = False) -> UnpackProgress:
    """Whoever tells a person at this output about a transfer."""
    if quiet:
        return UnpackProgress()
    if os.isatty(STDERR) and os.environ.get("TERM") != "dumb":
        return TerminalProgress(output, pushing=pushing)
    return TransferProgress(output, pushing=pushing)
