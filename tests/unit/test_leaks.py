"""The leak fixture sees what a test could leave: where the kernel does not show it, nothing would leak."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from pierhead.linux.cgroupfs import discover
from tests.support.leaks import leaks_since, observe, states_below
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path


def test_what_anybody_can_leave(tmp_path: Path) -> None:
    """A process, an open file, a container's state; and nothing where nothing was left."""
    before = observe((tmp_path,))
    assert leaks_since(before, lambda: before) == []
    with (tmp_path / "open").open("w"), subprocess.Popen(["sleep", "1000"]) as child:
        (tmp_path / "box").mkdir()
        (tmp_path / "box/state.json").touch()
        after = observe((tmp_path,))
        child.kill()
    assert f"process {child.pid} (sleep)" in after.children - before.children
    left = [each for each in after.descriptors - before.descriptors if each.endswith(f" -> {tmp_path}/open")]
    assert len(left) == 1
    assert states_below(tmp_path) == [f"state of a container: {tmp_path}/box"]


@requires("root", "mount")
def test_what_root_can_leave(tmp_path: Path) -> None:
    """A mount, and a cgroup in each hierarchy."""
    before = observe((tmp_path,))
    made = [tree.directory(f"/pierhead-eyes-{os.getpid()}") for tree in discover().trees]
    assert made
    try:
        for directory in made:
            os.mkdir(directory)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path], check=True)
        after = observe((tmp_path,))
    finally:
        subprocess.run(["umount", tmp_path], check=False)
        for directory in made:
            os.rmdir(directory)
    assert after.cgroups - before.cgroups >= set(made)
    assert [each for each in after.mounts - before.mounts if each.startswith(f"{tmp_path} (tmpfs, ")]
