"""The cgroup above those of an engine's containers: gone with the last, if it was the engine's to make.

    EXEC_ROOT/cgroup-parent    its path, once an engine has found that nobody else had made it

One that somebody has made, perhaps with limits, stays.
"""

from __future__ import annotations

import contextlib
import os

from pierhead.linux.cgroupfs import discover


def _note(exec_root: str) -> str:
    return f"{exec_root}/cgroup-parent"


def _directories(parent: str) -> list[str]:
    path = f"/{parent.strip('/')}"
    return [tree.directory(path) for tree in discover().trees] if path != "/" else []


def note_parent(exec_root: str, parent: str) -> None:
    """It is known whether the cgroup is ours to remove: nobody has made it so far."""
    if not any(os.path.isdir(each) for each in _directories(parent)):
        with open(_note(exec_root), "w", encoding="utf-8") as file:
            file.write(parent)


def remove_parent(exec_root: str) -> None:
    """The cgroup is gone if it is ours and nothing is in it."""
    with contextlib.suppress(OSError):
        with open(_note(exec_root), encoding="utf-8") as file:
            parent = file.read()
        for directory in _directories(parent):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(directory)
        os.unlink(_note(exec_root))
