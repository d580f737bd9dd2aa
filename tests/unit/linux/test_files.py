"""Paths inside a directory that is not trusted; locks."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.linux.files import (
    ensure_private_file,
    lock_at_once,
    lock_soon,
    open_in_root,
    read_text_in_root,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root, beside a file that is not in it."""
    (tmp_path / "secret").write_text("outside")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    return root


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    """The root, opened."""
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    "target", ["../secret", "/../secret", "../../../../secret", "/secret", "etc/../../secret"]
)
def test_links_lead_nowhere_else(root: Path, root_fd: int, target: str) -> None:
    """A link out of the root ends at the root, whatever way it takes."""
    (root / "link").symlink_to(target)
    assert read_text_in_root(root_fd, "/link") is None
    (root / "secret").write_text("inside")
    assert read_text_in_root(root_fd, "/link") == "inside"


def test_absolute_paths_outside_are_not_reached(root: Path, root_fd: int) -> None:
    """An absolute link, to a file that is there outside, is looked for from the root."""
    (root / "link").symlink_to(root.parent / "secret")
    assert read_text_in_root(root_fd, "/link") is None
    (root / "etc/link").symlink_to("/secret")
    assert read_text_in_root(root_fd, "/etc/link") is None
    (root / "secret").write_text("inside")
    assert read_text_in_root(root_fd, "/etc/link") == "inside"


def test_loops_end(root: Path, root_fd: int) -> None:
    """Links that lead to each other are no file."""
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    assert read_text_in_root(root_fd, "/one") is None


def test_only_regular_files_are_read(root: Path, root_fd: int) -> None:
    """A FIFO, a directory and a missing file are no text, and nobody waits for a writer."""
    os.mkfifo(root / "fifo")
    for name in ("/fifo", "/etc", "/none", "/fifo/none", "/" + "n" * 300):
        assert read_text_in_root(root_fd, name) is None


def test_nothing_is_opened_for_reading(root: Path, root_fd: int) -> None:
    """What is found is an O_PATH descriptor, which does nothing to a device."""
    (root / "etc/passwd").write_text("x")
    fd = open_in_root(root_fd, "/etc/passwd")
    try:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.read(fd, 1)
    finally:
        os.close(fd)


def test_a_lock_that_is_free_before_long(tmp_path: Path) -> None:
    """It is waited for, and not for ever."""
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert lock_at_once(first)
    assert not lock_soon(second, 0.1)
    ending = threading.Timer(0.1, os.close, (first,))
    ending.start()
    assert lock_soon(second, 60)
    ending.join()
    os.close(second)


def test_a_private_file_keeps_its_locks(tmp_path: Path) -> None:
    """It is made once, for its owner alone; what holds locks on it, as SQLite does, holds them afterwards."""
    path = tmp_path / "file"
    ensure_private_file(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("r+") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        lock = f":{path.stat().st_ino} 0 EOF"
        assert lock in Path("/proc/locks").read_text()
        ensure_private_file(str(path))
        assert lock in Path("/proc/locks").read_text()
