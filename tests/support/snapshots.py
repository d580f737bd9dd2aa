"""Layers for tests of snapshotters, and eyes for what their mounts show."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.images.snapshots import open_mounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pierhead.images.snapshots import Mount, Snapshotter

OPAQUE = "trusted.overlay.opaque"


@contextlib.contextmanager
def shown(mounts: Sequence[Mount]) -> Iterator[Path]:
    """The directory that the mounts show, mounted for real, in nobody's mount namespace."""
    fd = open_mounts(mounts)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def write_files(root: Path, files: dict[str, str]) -> None:
    """The files are there, with their directories."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read_files(root: Path) -> dict[str, str]:
    """Every regular file below, by its path relative to the root."""
    return {
        str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()
    }


def commit_layer(
    snapshotter: Snapshotter,
    name: str,
    parent: str = "",
    *,
    files: dict[str, str] | None = None,
    removed: Sequence[str] = (),
    opaque: Sequence[str] = (),
    key: str = "",
) -> None:
    """A layer as an unpacker makes it: by itself where the snapshotter rebases, else onto its parent.

    Args:
        snapshotter: where.
        name: of the committed one.
        parent: name of the one below.
        files: what it adds.
        removed: paths that it takes away.
        opaque: directories that hide what is below them.
        key: of the one that is prepared for it.
    """
    key = key or f"unpack-{name}"
    mounts = snapshotter.prepare(key, "" if snapshotter.rebases else parent)
    root = Path(mounts[0].source)
    for path in opaque:
        if snapshotter.rebases:
            (root / path).mkdir(parents=True)
            os.setxattr(root / path, OPAQUE, b"y")
        else:
            for inner in sorted((root / path).rglob("*"), reverse=True):
                inner.rmdir() if inner.is_dir() else inner.unlink()
    for path in removed:
        if snapshotter.rebases:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(root / path, stat.S_IFCHR)
        else:
            (root / path).unlink()
    write_files(root, files or {})
    snapshotter.commit(name, key, parent=parent)
