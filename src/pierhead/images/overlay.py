"""Snapshots by overlayfs: each has a directory of its own changes, and the kernel shows them in one.

    ROOT/ID/fs       what the snapshot adds; what it takes away is a device 0:0 of that name
    ROOT/ID/work     the kernel's, while it is active

Layers need no order to come in: each is unpacked by itself, and gets its parent when it is committed.  In a
user namespace the same directories serve, shown through idmapped mounts.

Source: Linux's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import os

from pierhead.errors import Conflict
from pierhead.images.snapshotindex import IndexedSnapshotter
from pierhead.images.snapshots import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.snapshotindex import Row

_ROOT_MODE = 0o755


class OverlaySnapshotter(IndexedSnapshotter):
    """See ``snapshots.Snapshotter``.  Its directory is on a file system that overlayfs can write to."""

    name = "overlay"
    rebases = True

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        """See ``Snapshotter``."""

        def fill(directory: str) -> None:
            os.mkdir(f"{directory}/work", 0o711)
            _make_root(f"{directory}/fs")
            if parent:
                _look_like(f"{directory}/fs", self._index.layers(parent)[0])

        self._index.add(key, "active", parent, fill)
        return self.mounts(key)

    def _mount(self, row: Row) -> Mount:
        layers = self._index.layers(row.name)
        if len(layers) == 1:  # an overlay has two at least
            return Mount(source=layers[0], readonly=row.kind == "view")
        if row.kind == "view":
            return Mount(lower=layers, readonly=True)
        return Mount(lower=layers[1:], upper=layers[0], work=f"{self._index.path(row.directory)}/work")

    def commit(self, name: str, key: str, *, parent: str = "") -> None:
        """See ``Snapshotter``."""

        def check(row: Row) -> None:
            if not parent:
                return
            if row.parent not in ("", parent):
                message = f"the snapshot {key} lies upon {row.parent} and cannot be moved to {parent}"
                raise Conflict(message, code="snapshot-has-parent")
            if not row.parent:
                _inherit_root(self._index.layers(key)[0], self._index.layers(parent)[0])

        self._index.commit(name, key, parent, check, self._share)


def _make_root(path: str) -> None:
    """The directory that becomes ``/`` has the mode that roots have, whatever the umask is."""
    os.mkdir(path, _ROOT_MODE)
    os.chmod(path, _ROOT_MODE)


def _inherit_root(path: str, parent: str) -> None:
    """A layer that says nothing of ``/`` leaves it as it is below.

    Few layers have an entry for it; one that has this very owner and mode cannot be told from them.
    """
    about = os.stat(path)
    if (about.st_uid, about.st_gid, about.st_mode & 0o7777) == (os.geteuid(), os.getegid(), _ROOT_MODE):
        _look_like(path, parent)


def _look_like(path: str, other: str) -> None:
    """A directory has the owner and mode of another one: an overlay shows those of the topmost."""
    about = os.stat(other)
    os.chown(path, about.st_uid, about.st_gid)
    os.chmod(path, about.st_mode & 0o7777)
