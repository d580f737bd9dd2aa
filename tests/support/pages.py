"""Documentation pages, read and performed: the tests' eyes for their examples.

    ```python      all blocks of a page are one program, run in order
    ```output      lines that the program prints, in this order; others may come between them
    ```console     `$ ` begins a command, what follows is its output; all blocks of a page are one shell

``…`` stands for anything in a line, alone on a line for any number of lines.  A command without output in the
page must succeed.  Blocks in any other language (text, sh, json, c) are not performed.

A page is performed in mount and network namespaces of its own: /run, /srv, /var/lib and /var/log are empty
but for /srv/busybox, a root file system as the first tutorial has readers make it, and there is no network
but a loopback.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.repository import ROOT, files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOTFS = "/srv/busybox"
_TUTORIAL = ROOT / "docs/tutorial/first-container.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_ANYTHING = "…"
_MARK = "\0"
_STAGE = """set -e
ip link set lo up
for place in /run /srv /var/lib /var/log; do mount -t tmpfs tmpfs $place; done
mkdir {rootfs}
mount --bind "$1" {rootfs}
shift
exec "$@"
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the page's line it begins on."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every page for readers."""
    return [*files("", endings=(".md",)), *files("docs", endings=(".md",))]


def blocks(page: Path) -> list[Block]:
    """The page's blocks, in order."""
    text = page.read_text()
    return [
        Block(match[1], match[2], text.count("\n", 0, match.start()) + 2) for match in _BLOCK.finditer(text)
    ]


def program(page: Path) -> str:
    """The page's Python blocks as one program, in which every line has the number it has on the page."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python":
            lines += [""] * (block.line - 1 - len(lines)) + block.text.splitlines()
    return "\n".join(lines) + "\n"


def promised_output(page: Path) -> list[str]:
    """What the program prints, by the page."""
    return [line for block in blocks(page) if block.language == "output" for line in block.text.splitlines()]


def commands(page: Path) -> Iterator[tuple[str, list[str], int]]:
    """The page's commands with their promised outputs and line numbers."""
    for block in blocks(page):
        if block.language != "console":
            continue
        found: tuple[str, list[str], int] | None = None
        for number, line in enumerate(block.text.splitlines(), block.line):
            if line.startswith("$ "):
                if found:
                    yield found
                found = (line[2:], [], number)
            elif found:
                found[1].append(line)
        if found:
            yield found


def make_rootfs(directory: Path) -> None:
    """``directory`` has what the first tutorial's commands make at /srv/busybox.

    Raises:
        subprocess.CalledProcessError: they fail,.
    """
    (script,) = [block.text for block in blocks(_TUTORIAL) if "busybox --install" in block.text]
    status, said = perform(("sh", "-ec", script), directory, directory)
    if status:
        raise subprocess.CalledProcessError(status, script, said)


def perform(command: Sequence[str], rootfs: Path, directory: Path) -> tuple[int, str]:
    """Runs a command where a page is performed; its status, and all that it said."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": "/root",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",  # what the page's program and its containers print comes in their order
        "LC_ALL": "C.UTF-8",
    }
    staged = ("sh", "-c", _STAGE.format(rootfs=ROOTFS), "sh", str(rootfs), *command)
    done = subprocess.run(
        ("unshare", "--mount", "--net", "--propagation", "private", *staged),
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def perform_commands(page: Path, rootfs: Path, directory: Path) -> list[tuple[int, str]]:
    """Status and output of each of the page's commands, in one shell."""
    script = "".join(f"{command}\nprintf '\\0%d\\0' $?\n" for command, _, _ in commands(page))
    _, said = perform(("sh", "-c", f"{script}find /run -name state.json"), rootfs, directory)
    parts = said.split(_MARK)
    found = [(int(status), output) for output, status in zip(parts[:-1:2], parts[1::2], strict=True)]
    assert not parts[-1], f"containers are left: {parts[-1]}"
    return found


def is_as_promised(output: Sequence[str], promised: Sequence[str]) -> bool:
    """Whether the lines are those that were promised, ``…`` standing for anything."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == _ANYTHING else _line_pattern(line) + r"\n" for line in promised
    )
    return re.fullmatch(pattern, "".join(f"{line.rstrip()}\n" for line in output)) is not None


def _line_pattern(line: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split(_ANYTHING))
