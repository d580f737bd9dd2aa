"""The files of a container that does not run, with what is mounted among them: as it would see them itself.

    a thread    a mount namespace of its own, which sends nothing back (CLONE_NEWNS, MS_PRIVATE)
                the container's own files, and each mount on its place in them
    we          a descriptor of the root, and one of the namespace, in which nobody is any more

So the kernel leads every path where the container's process would be led, and a link that somebody has put
there leads nowhere else.  It all goes with the descriptors; until then the namespace holds this machine's
other mounts too.  Docker does the same with a process (moby, daemon/containerfs_linux.go).
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from typing import NamedTuple

from pierhead.errors import OperationFailed
from pierhead.images.snapshots import in_thread_at, open_detached
from pierhead.linux import mounts as calls
from pierhead.linux.files import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.engine.record import MountPoint
    from pierhead.images.snapshots import Mount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Together(NamedTuple):
    """A container's files with its mounts; both descriptors are the caller's.

    Fields:
        root_fd: of the root.
        namespace_fd: without it there are no mounts.
        left: destinations on which nothing could be mounted: there is no such place, or no such source.
    """

    root_fd: int
    namespace_fd: int
    left: frozenset[str]


def open_together(mount: Mount, points: Sequence[MountPoint], *, makes_places: bool) -> Together:
    """The container's files, with its mounts.

    Args:
        mount: how its own files come to be seen.
        points: its mounts.
        makes_places: whether places that are missing are made, as at a start.

    Raises:
        OperationFailed: the kernel refuses.
    """
    with contextlib.ExitStack() as opened:
        root = open_detached(mount)
        opened.callback(os.close, root)
        sources: list[tuple[MountPoint, int]] = []
        left: set[str] = set()
        for point in sorted(points, key=lambda each: len(each.destination)):
            try:
                sources.append((point, _open_source(point)))
            except FileNotFoundError:
                left.add(point.destination)
            else:
                opened.callback(os.close, sources[-1][1])
        try:
            return in_thread_at("/", lambda: _put_together(root, sources, left, makes_places=makes_places))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            message = f"cannot mount what is in a container: {reason}"
            raise OperationFailed(message, errno=error.errno or 0, code="mount-failed") from error


def _open_source(point: MountPoint) -> int:
    """A mount of the source that stands nowhere; devices in it cannot be opened, programs gain no rights."""
    tree = calls.open_tree(point.source, calls.AT_RECURSIVE)
    attributes = calls.MOUNT_ATTR_NOSUID | calls.MOUNT_ATTR_NODEV
    try:
        calls.mount_setattr(
            tree,
            attr_set=attributes if point.rw else attributes | calls.MOUNT_ATTR_RDONLY,
            flags=calls.AT_RECURSIVE,
        )
    except BaseException:
        os.close(tree)
        raise
    return tree


def _put_together(
    root: int,
    sources: list[tuple[MountPoint, int]],
    left: set[str],
    *,
    makes_places: bool,
) -> Together:
    calls.unshare(calls.CLONE_NEWNS)
    with contextlib.ExitStack() as failed:
        top_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            calls.mount_setattr(top_fd, propagation=calls.MS_PRIVATE, flags=calls.AT_RECURSIVE)
            calls.move_mount(root, to_fd=top_fd)
        finally:
            os.close(top_fd)
        root_fd = os.open(f"/proc/self/fd/{root}/.", _DIRECTORY)
        failed.callback(os.close, root_fd)
        for point, source in sources:
            place = _open_place(root_fd, point, makes=makes_places)
            if place < 0:
                left.add(point.destination)
                continue
            try:
                calls.move_mount(source, to_fd=place)
            finally:
                os.close(place)
        namespace_fd = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        failed.pop_all()
        return Together(root_fd=root_fd, namespace_fd=namespace_fd, left=frozenset(left))


def _open_place(root_fd: int, point: MountPoint, *, makes: bool) -> int:
    """An O_PATH descriptor of where the mount is to stand; -1 where there is no such place."""
    try:
        return open_in_root(root_fd, point.destination)
    except OSError:
        if not makes:
            return -1
    try:
        _make_place(root_fd, point.destination, directory=os.path.isdir(point.source))
        return open_in_root(root_fd, point.destination)
    except OSError:  # a file is in the way, or a link that leads to nothing
        return -1


def _make_place(root_fd: int, destination: str, *, directory: bool) -> None:
    parent, last = posixpath.split(destination.rstrip("/"))
    try:
        parent_fd = open_in_root(root_fd, parent)
    except FileNotFoundError:
        _make_place(root_fd, parent, directory=True)
        parent_fd = open_in_root(root_fd, parent)
    try:
        if directory:
            os.mkdir(last, 0o755, dir_fd=parent_fd)
        else:
            os.close(os.open(last, _NEW_FILE, 0o755, dir_fd=parent_fd))
    finally:
        os.close(parent_fd)
