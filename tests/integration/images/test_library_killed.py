"""The library under SIGKILL: whatever moment it comes at, what is left is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import image_life
from tests.support.repository import ROOT


def live_and_die(directory: str, rounds: int) -> dict[str, int]:
    """What the program of tests/support/image_life.py says in the end."""
    command = (sys.executable, "-m", "tests.support.image_life", directory, str(rounds), "1")
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(400)
def test_killed_at_any_moment() -> None:
    """220 processes that pull, name, unpack, remove and collect, two at once, are killed.

    After each pair every name's image is whole, every content is what its digest says, every recorded layer
    has its snapshot, and what a living process has pinned is there.  In the end one collection removes all
    that was left lying.

    In memory, for the kernel keeps what a killed process wrote: more happens in a life.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        found = live_and_die(directory, 110)
    assert found["images"] > 100, "the processes died before they had done anything"


def test_killed_on_a_disk(tmp_path: Path) -> None:
    """As above, where flushing takes time: other moments are the likely ones."""
    assert live_and_die(str(tmp_path), 20)["rounds"] == 20


def test_the_inspection_sees_what_is_lost(tmp_path: Path) -> None:
    """Proof of the tests above: a content that goes although somebody counts on it is noticed."""
    library, _ = image_life.open_library(tmp_path)
    with library:
        for each in image_life.KEPT:
            library.content.write(each)
        image_life.inspect(tmp_path)
        library.collect()
    with pytest.raises(AssertionError, match="what was pinned is lost"):
        image_life.inspect(tmp_path)
