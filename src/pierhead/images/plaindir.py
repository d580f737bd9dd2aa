"""Snapshots by copies: each is a whole tree in a directory of its own, and needs nothing of the kernel.

    ROOT/ID/fs       all files

For file systems that overlayfs cannot write to, and for kernels that refuse it.  To prepare one upon a parent
copies the parent; where files can share their data (reflinks, on Btrfs and XFS) that takes little space.
Layers come in one after the other, and a whiteout removes the file.
"""

from __future__ import annotations

import os

from pierhead.errors import Conflict
from pierhead.images.filetrees import copy_directory
from pierhead.images.snapshotindex import IndexedSnapshotter
from pierhead.images.snapshots import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.snapshotindex import Row

_ROOT_MODE = 0o755


class PlainSnapshotter(IndexedSnapshotter):
    """See ``snapshots.Snapshotter``."""

    name = "plain"
    rebases = False

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        """See ``Snapshotter``."""

        def fill(directory: str) -> None:
            os.mkdir(f"{directory}/fs", _ROOT_MODE)
            os.chmod(f"{directory}/fs", _ROOT_MODE)
            if parent:
                copy_directory(self._index.layers(parent)[0], f"{directory}/fs")

        self._index.add(key, "active", parent, fill, slowly=bool(parent))
        return self.mounts(key)

    def _mount(self, row: Row) -> Mount:
        return Mount(source=self._index.layers(row.name)[0], readonly=row.kind == "view")

    def commit(self, name: str, key: str, *, parent: str = "") -> None:
        """See ``Snapshotter``."""

        def check(row: Row) -> None:
            if parent not in ("", row.parent):
                message = f"the snapshot {key} was not prepared upon {parent}"
                raise Conflict(message, code="snapshot-has-parent")

        self._index.commit(name, key, parent, check, self._share)
