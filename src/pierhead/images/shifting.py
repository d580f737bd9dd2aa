"""Layers for a user namespace where the kernel cannot map owners by mounts: copies with other owners.

    layer sha256:1 ─▶ snapshot sha256:1+100000-65536     each upon the one below, shifted in the same way
          sha256:2 ─▶          sha256:2+100000-65536

They are made when they are first wanted and last until a collection: no image has them, and while a container
stands on them, or somebody makes it, they are held.  Where the kernel can, nothing is copied: it takes Linux
5.19, and a file system that lets a mount map owners.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pierhead.errors import Conflict, NotFound
from pierhead.images.library import Layer
from pierhead.images.walk import chain_ids
from pierhead.linux import mounts as calls
from pierhead.linux.facts import kernel_version
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.library import Lease
    from pierhead.images.service import ImageService

_MAPPED_LAYERS = (5, 19)
"""The Linux whose overlayfs takes layers with mapped owners."""
_NOBODY = 65_534


class IdRange(Value):
    """Users and groups of a user namespace: its first ``size`` ids are the host's from ``start`` on."""

    start: int
    size: int

    def host_id(self, number: int) -> int:
        """The host's id for one of the namespace's.  What it does not have belongs to its nobody, or to the
        last that it has.
        """
        return self.start + (number if number < self.size else min(_NOBODY, self.size - 1))


def can_map_owners(directory: str, userns_fd: int, *, kernel: tuple[int, int] | None = None) -> bool:
    """Whether layers in the directory can be shown with the owners that a user namespace maps.

    Asked of the kernel for the file system; of overlayfs only the version tells: it takes no mount that
    stands nowhere, and to try one means to mount.

    Args:
        directory: on the file system in question.
        userns_fd: a user namespace with maps; stays the caller's.
        kernel: Linux's version; None is this one's.
    """
    if (kernel or kernel_version()) < _MAPPED_LAYERS:
        return False
    tree = calls.open_tree(directory)
    try:
        calls.mount_setattr(tree, attr_set=calls.MOUNT_ATTR_IDMAP, userns_fd=userns_fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    finally:
        os.close(tree)
    return True


def shift_layers(service: ImageService, lease: Lease, diff_ids: tuple[str, ...], ids: IdRange) -> str:
    """Copies of the layers, with owners of the range, are there; returns the topmost one's name.

    Args:
        service: has the layers, unpacked.
        lease: pins the copies.
        diff_ids: of the layers, the lowest first.
        ids: those of the user namespace.
    """

    def owners(uid: int, gid: int) -> tuple[int, int]:
        return ids.host_id(uid), ids.host_id(gid)

    names = [(name, f"{name}+{ids.start}-{ids.size}") for name in chain_ids(diff_ids)]
    lease.pin(*(shifted for _, shifted in names))
    below = ""
    for diff_id, (name, shifted) in zip(diff_ids, names, strict=True):
        if not _is_there(service, shifted):
            with contextlib.suppress(Conflict):  # somebody else has been quicker
                service.snapshotter.shift(name, shifted, owners, parent=below)
        service.library.record_layer(
            Layer(
                snapshotter=service.snapshotter.name,
                chain_id=shifted,
                diff_id=diff_id,
                parent=below,
                size_bytes=service.snapshotter.usage(shifted).size_bytes,
            )
        )
        below = shifted
    return below


def _is_there(service: ImageService, name: str) -> bool:
    try:
        service.snapshotter.stat(name)
    except NotFound:
        return False
    return True
