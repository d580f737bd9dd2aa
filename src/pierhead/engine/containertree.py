"""A container's files, as somebody outside sees them: beneath a descriptor, links lead nowhere else.

    runs      /proc/PID/root of its first process: with its volumes, as it sees them itself
    stands    its snapshot, and upon it its volumes, in a mount namespace in which nobody is (``standing``)

Everything here blocks.  Source: moby's "docker cp" has let links out of the container twice (CVE-2018-15664,
CVE-2019-14271): here every component is opened beneath the one before, and no program of the container runs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from typing import NamedTuple

from pierhead.engine.standing import open_together
from pierhead.engine.usermapping import maps_of
from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed
from pierhead.images.snapshots import open_mounts
from pierhead.linux.files import open_in_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pierhead.engine.record import MountPoint, Record
    from pierhead.engine.usermapping import UserMaps
    from pierhead.errors import PierheadError
    from pierhead.images.snapshots import Mount

ACTIVE = ("running", "paused", "restarting")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def clean(path: str) -> str:
    """The path from the container's root, without ``.`` and ``..``.

    Raises:
        InvalidInput: it is empty, or no path at all.
    """
    if not path or "\0" in path:
        raise InvalidInput("Could not find the file in container: no path is given", code="no-path")
    return posixpath.normpath(posixpath.join("/", path)).replace("//", "/")


def has_processes(record: Record) -> bool:
    """Whether its files are seen through its first process."""
    return record.state.status in ACTIVE and record.state.pid > 0


def layers_of(mount: Mount) -> Mount:
    """The same files to read only, though somebody else writes: the upper directory is one layer more."""
    lower = mount.lower or (mount.source,)
    return mount.replace(source="", lower=(mount.upper, *lower), upper="", work="", readonly=True)


class Beneath(NamedTuple):
    """Where a path of a container leads.

    Fields:
        root_fd: of a directory.
        inner: the path beneath it.
        kept_fd: what else is to be open as long; -1 for nothing.
        users: whose ids the files' owners are the host's; None where owners are the container's as they are.
    """

    root_fd: int
    inner: str
    users: UserMaps | None
    kept_fd: int = -1


class ContainerTrees:
    """Opens containers' files."""

    def __init__(
        self,
        mount: Callable[[str], Mount],
        users: UserMaps | None = None,
        *,
        is_seen: Callable[[Record, MountPoint], bool] = lambda *_: True,
    ) -> None:
        """Args:
        mount: says how a snapshot comes to be seen, see ``Record.root``.
        users: of containers.
        is_seen: whether what is mounted in a container that does not run lies at its source, see
            ``VolumeStore.is_seen``.
        """
        self._mount = mount
        self._users = users
        self._is_seen = is_seen

    def mount_of(self, record: Record) -> Mount:
        """How the container's own files come to be seen.

        Raises:
            Conflict: it has none: it is a view of this machine.
        """
        if not record.root:
            message = f"container {record.name} is a view of this machine and has no files of its own"
            raise Conflict(message, code="no-own-files")
        return self._mount(record.root)

    @contextlib.contextmanager
    def open(self, record: Record, path: str, *, writable: bool = False) -> Iterator[Beneath]:
        """A directory, and the path that the given one is beneath it.

        Args:
            record: the container.
            path: in it, as ``clean`` gives it.
            writable: whether something will be written.

        Raises:
            Conflict: its files cannot be had.
        """
        if has_processes(record):
            found = Beneath(_open_process_root(record), path, maps_of(record, self._users))
        else:
            found = self._open_standing(record, path, writable=writable)
        try:
            yield found
        finally:
            os.close(found.root_fd)
            if found.kept_fd >= 0:
                os.close(found.kept_fd)

    def _open_standing(self, record: Record, path: str, *, writable: bool) -> Beneath:
        above = self._point_above(record, path)
        points = [
            point
            for point in record.mounts
            if point.type != "tmpfs" and point.source and self._is_seen(record, point)
        ]
        users = maps_of(record, self._users)
        if not points or users is not None or not record.root:
            return self._open_alone(record, path, above, writable=writable)
        together = open_together(self._shown(record, writable=writable), points, makes_places=writable)
        if above is not None and above.destination in together.left:
            os.close(together.root_fd)
            os.close(together.namespace_fd)
            return self._open_alone(record, path, above, writable=writable)
        return Beneath(together.root_fd, path, None, kept_fd=together.namespace_fd)

    def _point_above(self, record: Record, path: str) -> MountPoint | None:
        """The mount that the path, as it is written, is in; None for none, and for one in memory.

        Raises:
            Conflict: its files are there only while the container runs.
        """
        for point in sorted(record.mounts, key=lambda each: -len(each.destination)):
            at = point.destination.rstrip("/")
            if path != at and not path.startswith(f"{at}/"):
                continue
            if not self._is_seen(record, point):
                message = f"the {point.type} on {at} of container {record.name} is mounted while that runs"
                raise Conflict(message, code="not-running", hint=f"pier start {record.name}")
            if point.type != "tmpfs" and point.source:
                return point
        return None

    def _open_alone(self, record: Record, path: str, above: MountPoint | None, *, writable: bool) -> Beneath:
        """The files of the mount above the path, or else the container's own, and nothing mounted there.

        It is so where users are mapped: the owners in the one are not those in the other (``usermapping``).
        """
        if above is not None:
            inner = path[len(above.destination.rstrip("/")) :] or "/"
            root_fd, inner = _open_source(above.source, inner, record.name)
            return Beneath(root_fd, inner, maps_of(record, self._users))
        return Beneath(open_mounts((self._shown(record, writable=writable),)), path, None)

    def _shown(self, record: Record, *, writable: bool) -> Mount:
        mount = self.mount_of(record)
        return mount if writable or not mount.upper else layers_of(mount)


def _open_process_root(record: Record) -> int:
    try:
        return os.open(f"/proc/{record.state.pid}/root", _DIRECTORY)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH):
            message = f"container {record.name} has just ended"
            raise Conflict(message, code="container-ended", hint="try again") from None
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(
            f"cannot look into container {record.name}: {reason}", errno=error.errno or 0
        ) from error


def _open_source(source: str, inner: str, name: str) -> tuple[int, str]:
    """A mount's source: a directory, or a file in the directory that has it."""
    try:
        if os.path.isdir(source):
            return os.open(source, _DIRECTORY), inner
        return os.open(os.path.dirname(source), _DIRECTORY), f"/{os.path.basename(source)}"
    except OSError as error:
        raise _gone(name, source, error) from error


def find(root_fd: int, path: str, name: str) -> int:
    """An O_PATH descriptor of what the path leads to, links followed; ``name`` is the container's.

    Raises:
        NotFound: there is nothing.
    """
    try:
        return open_in_root(root_fd, path)
    except OSError as error:
        raise _gone(name, path, error) from error


def _gone(name: str, path: str, error: OSError) -> PierheadError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        return NotFound(f"Could not find the file {path} in container {name}", code="file-not-found")
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot open {path} in container {name}: {reason}", errno=error.errno or 0)
