"""Files found in layers as overlayfs shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pierhead.linux.layers import read_text_in_layers
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Find = Callable[[str], str | None]


@pytest.fixture
def find(tmp_path: Path) -> Iterator[Find]:
    """Finds in three layers, the topmost called 3."""
    opened = []
    for name in ("3", "2", "1"):
        (tmp_path / name / "etc").mkdir(parents=True)
        opened.append(os.open(tmp_path / name, os.O_PATH | os.O_DIRECTORY))
    before = os.listdir("/proc/self/fd")
    yield lambda path: read_text_in_layers(opened, path)
    assert os.listdir("/proc/self/fd") == before
    for fd in opened:
        os.close(fd)


def write(path: Path, text: str) -> None:
    """A file with its directories."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_topmost_counts(find: Find, tmp_path: Path) -> None:
    """A file hides those of its name below; directories are merged."""
    write(tmp_path / "1/etc/passwd", "1")
    write(tmp_path / "1/etc/group", "1")
    write(tmp_path / "2/etc/passwd", "2")
    assert find("/etc/passwd") == "2"
    assert find("etc//group") == "1"
    assert find("/etc/shadow") is None


def test_a_file_in_the_place_of_a_directory(find: Find, tmp_path: Path) -> None:
    """It hides the directory, and a directory hides a file."""
    write(tmp_path / "1/a/b", "1")
    write(tmp_path / "2/a", "file")
    assert find("/a/b") is None
    assert find("/a") == "file"
    (tmp_path / "3/a").mkdir()
    assert find("/a") is None
    write(tmp_path / "3/a/c", "3")
    assert find("/a/c") == "3"
    assert find("/a/b") is None


def test_links_stay_within_the_layers(find: Find, tmp_path: Path) -> None:
    """They are followed through all layers, and lead to no file of the host's."""
    write(tmp_path / "1/data/passwd", "1")
    (tmp_path / "2/etc/passwd").symlink_to("../data/passwd")
    (tmp_path / "3/etc/group").symlink_to("/data/passwd")
    (tmp_path / "3/etc/out").symlink_to("../../../../../../../../etc/passwd")
    (tmp_path / "3/etc/round").symlink_to("round")
    (tmp_path / "3/etc/host").symlink_to(tmp_path / "1/data/passwd")
    (tmp_path / "3/up").symlink_to("..")
    assert find("/etc/passwd") == find("/etc/group") == find("/up/data/passwd") == "1"
    assert find("/etc/out") == "1"
    assert find("/etc/round") is None
    assert find("/etc/host") is None


def test_what_is_no_file(find: Find, tmp_path: Path) -> None:
    """Nothing but regular files is opened."""
    os.mkfifo(tmp_path / "3/etc/passwd")
    write(tmp_path / "1/etc/passwd", "1")
    for path in ("/etc/passwd", "/etc", "/", "", ".", "x" * 5000, "/etc/passwd/x"):
        assert find(path) is None


@requires("root")
def test_what_is_taken_away(find: Find, tmp_path: Path) -> None:
    """A whiteout hides a file and a directory, an opaque directory all that is below it."""
    write(tmp_path / "1/etc/passwd", "1")
    write(tmp_path / "1/etc/group", "1")
    write(tmp_path / "1/var/x", "1")
    os.mknod(tmp_path / "2/etc/passwd", 0o020000, 0)
    os.mknod(tmp_path / "2/var", 0o020000, 0)
    assert find("/etc/passwd") is None
    assert find("/var/x") is None
    assert find("/etc/group") == "1"
    os.setxattr(tmp_path / "3/etc", "trusted.overlay.opaque", b"y")
    assert find("/etc/group") is None
    write(tmp_path / "3/etc/group", "3")
    assert find("/etc/group") == "3"
