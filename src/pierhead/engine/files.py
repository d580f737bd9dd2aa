"""Files of containers for clients: ``docker cp``, ``docker diff``, ``docker export``."""

from __future__ import annotations

import os
import posixpath
import stat

from pierhead.engine.changes import list_changes
from pierhead.engine.containertree import clean, find, has_processes, layers_of
from pierhead.engine.pipes import feed, first_of, read_written
from pierhead.errors import Forbidden, InvalidInput, NotFound
from pierhead.images.archive.save import appender
from pierhead.images.diff import write_tree
from pierhead.images.remote.tasks import offload
from pierhead.images.snapshots import open_mounts
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.tarlayer.writer import TarWriter
from pierhead.images.times import format_time
from pierhead.images.treewalk import TreeWalk
from pierhead.images.unpackworker import start_placing
from pierhead.linux.files import read_text_in_root
from pierhead.runtime.users import find_account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager
    from typing import Any

    from pierhead.engine.containertree import Beneath, ContainerTrees
    from pierhead.engine.record import Record
    from pierhead.engine.usermapping import UserMaps

    Document = dict[str, Any]
    Add = Callable[[Entry, Iterable[bytes]], None]
    Bytes = AsyncIterator[bytes]

_GO_MODES = (
    (stat.S_ISDIR, 1 << 31),
    (stat.S_ISLNK, 1 << 27),
    (stat.S_ISBLK, 1 << 26),
    (stat.S_ISFIFO, 1 << 25),
    (stat.S_ISSOCK, 1 << 24),
    (stat.S_ISCHR, (1 << 26) | (1 << 21)),
)
_KERNELS = frozenset((b"proc", b"sys", b"dev"))
"""What is in them is no file of the container's, and has no end."""
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class ContainerFiles:
    """The part of an engine that has to do with containers' files; see ``api.ports.Containers``."""

    def __init__(
        self,
        trees: ContainerTrees,
        find_record: Callable[[str], Record],
        lock: Callable[[str], AbstractAsyncContextManager[object]],
    ) -> None:
        """``find_record`` gives the container that a reference means, and raises NotFound; whoever holds the
        ``lock`` of a container's id keeps others from changing it.
        """
        self._trees = trees
        self._find_record = find_record
        self._lock = lock

    async def stat_archive(self, reference: str, path: str) -> Document:
        """See ``api.ports.Containers``."""
        record = self._find_record(reference)
        return await offload(self._stat, record, path)

    def _stat(self, record: Record, path: str) -> Document:
        with self._trees.open(record, clean(path)) as found:
            return _describe(
                found.root_fd, found.inner, record.name, follow=_follows(path), shown=clean(path)
            )

    async def get_archive(self, reference: str, path: str) -> tuple[Document, Bytes]:
        """See ``api.ports.Containers``."""
        record = self._find_record(reference)
        document = await offload(self._stat, record, path)

        def write(fd: int) -> None:
            with self._trees.open(record, clean(path)) as found:
                _write_archive(found, path, record.name, fd)

        return document, await first_of(read_written(write))

    async def put_archive(
        self, reference: str, path: str, archive: Bytes, *, no_overwrite: bool, copy_owners: bool
    ) -> None:
        """See ``api.ports.Containers``.

        What does not run is not started meanwhile, nor removed: its files are mounted here, and what two
        mounts of one overlay do is undefined (overlayfs.rst, "Sharing and copying layers").
        """
        record = self._find_record(reference)
        place = (path, archive)
        if not has_processes(record):
            async with self._lock(record.id):
                record = self._find_record(record.id)
                if not has_processes(record):
                    await self._put(record, *place, no_overwrite=no_overwrite, copy_owners=copy_owners)
                    return
        await self._put(record, *place, no_overwrite=no_overwrite, copy_owners=copy_owners)

    async def _put(
        self, record: Record, path: str, archive: Bytes, *, no_overwrite: bool, copy_owners: bool
    ) -> None:
        _refuse_readonly(record, clean(path))

        def read(fd: int) -> None:
            with self._trees.open(record, clean(path), writable=True) as found:
                refusal = "extraction point is not a directory"
                directory_fd = _open_directory(found.root_fd, found.inner, record.name, otherwise=refusal)
                try:
                    owners = self._user_of(record) if copy_owners else True
                    _place(fd, directory_fd, found.users, owners=owners, keeps_kinds=no_overwrite)
                finally:
                    os.close(directory_fd)

        await feed(archive, read)

    def _user_of(self, record: Record) -> bool | tuple[int, int]:
        """Whose files become that the container's user is to have; True for a container that names none.

        Docker has it so (moby, daemon/archive_tarcopyoptions_unix.go), but asks the host for the name.
        """
        if not record.config.user:
            return True

        def read(path: str) -> str | None:
            with self._trees.open(record, path) as found:
                return read_text_in_root(found.root_fd, found.inner)

        user = find_account(read, record.config.user, ()).user
        return user.uid, user.gid

    async def container_changes(self, reference: str) -> list[Document]:
        """See ``api.ports.Containers``."""
        record = self._find_record(reference)
        return await offload(lambda: list_changes(self._trees.mount_of(record)))

    async def export_container(self, reference: str) -> Bytes:
        """See ``api.ports.Containers``."""
        record = self._find_record(reference)
        mount = self._trees.mount_of(record)

        def write(fd: int) -> None:
            root_fd = open_mounts((layers_of(mount) if mount.upper else mount,))
            try:
                write_tree(appender(fd), f"/proc/self/fd/{root_fd}", lenient=True)
            finally:
                os.close(root_fd)

        return await first_of(read_written(write))


def _refuse_readonly(record: Record, path: str) -> None:
    """Whoever copies into a container writes nothing that the container itself may not write.

    Raises:
        Forbidden: the path is on a read-only root, or in a read-only mount.
    """
    for point in sorted(record.mounts, key=lambda each: -len(each.destination)):
        at = point.destination.rstrip("/")
        if path == at or path.startswith(f"{at}/"):
            if not point.rw:
                raise Forbidden("mounted volume is marked read-only", code="read-only")
            return
    if record.host.readonly_rootfs:
        raise Forbidden("container rootfs is marked read-only", code="read-only")


def _place(
    archive_fd: int,
    directory_fd: int,
    users: UserMaps | None,
    *,
    owners: bool | tuple[int, int],
    keeps_kinds: bool,
) -> None:
    """The archive is in the directory; with ``users`` whoever unpacks it is a process of their namespace."""
    namespace_fd = users.open_namespace() if users else -1
    try:
        with start_placing(
            archive_fd, directory_fd, owners=owners, keeps_kinds=keeps_kinds, namespace_fd=namespace_fd
        ) as worker:
            worker.wait()
    finally:
        if namespace_fd >= 0:
            os.close(namespace_fd)


def _open_directory(root_fd: int, inner: str, name: str, *, otherwise: str = "") -> int:
    """The directory that the path leads to, to be read; ``otherwise`` is what is said if it is none.

    Raises:
        NotFound: there is nothing.
        InvalidInput: it is no directory.
    """
    found = find(root_fd, inner, name)
    try:
        return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        message = otherwise or f"{inner} in container {name} is not a directory"
        raise InvalidInput(message, code="not-a-directory") from None
    finally:
        os.close(found)


def _follows(path: str) -> bool:
    """Whether the path says that it leads to a directory: then a link at its end is followed."""
    return path.endswith(("/", "/.")) or clean(path) == "/"


def _describe(root_fd: int, inner: str, name: str, *, follow: bool, shown: str) -> Document:
    parent, last = posixpath.split(inner)
    open_one = _open_directory if follow else find
    directory_fd = open_one(root_fd, inner if follow or not last else parent, name)
    try:
        if follow or not last:
            about = os.stat(f"/proc/self/fd/{directory_fd}")
            target = ""
        else:
            os.close(find_last(directory_fd, last, inner, name))
            about = os.stat(last, dir_fd=directory_fd, follow_symlinks=False)
            link = os.readlink(last, dir_fd=directory_fd) if stat.S_ISLNK(about.st_mode) else ""
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(shown), link)) if link else ""
    finally:
        os.close(directory_fd)
    return {
        "name": posixpath.basename(shown) or "/",
        "size": about.st_size,
        "mode": go_mode(about.st_mode),
        "mtime": _format_mtime(about.st_mtime_ns),
        "linkTarget": target,
    }


def find_last(directory_fd: int, last: str, path: str, name: str) -> int:
    """An O_PATH descriptor of a directory's entry, a link as itself.

    Raises:
        NotFound: there is nothing.
    """
    try:
        return os.open(last, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"Could not find the file {path} in container {name}", code="file-not-found") from None


def go_mode(mode: int) -> int:
    """The mode as Go's os.FileMode has it: kinds and special bits at its top (pkg.go.dev/io/fs#FileMode)."""
    found = mode & 0o777
    for is_kind, bit in _GO_MODES:
        if is_kind(mode):
            found |= bit
    for special, bit in _GO_BITS:
        if mode & special:
            found |= bit
    return found


def _format_mtime(mtime_ns: int) -> str:
    return format_time(mtime_ns / 1_000_000_000)


def _write_archive(found: Beneath, path: str, name: str, fd: int) -> None:
    """What the path leads to is in the archive, under the path's last name; the root's files under ``/``.

    A path that ends in ``.`` gives what is in the directory, under ``.``.  Clients replace the one or the
    other by the name that the files are to have.
    """
    writer = TarWriter(appender(fd))
    add = _translated(writer.add, found.users)
    root_fd, inner = found.root_fd, found.inner
    follow = _follows(path)
    parent, last = posixpath.split(inner)
    if path in (".", "./") or path.endswith("/."):
        shown = b"."
    else:
        shown = os.fsencode(posixpath.basename(clean(path))) or b"/"
    directory_fd = _open_directory(root_fd, inner if follow or not last else parent, name)
    try:
        if follow or not last:
            _add_directory(add, directory_fd, shown, inner)
        else:
            os.close(find_last(directory_fd, last, inner, name))
            rename = _renamed(add, os.fsencode(last), shown)
            walk = TreeWalk(rename, upper=False, latest_s=None, precise=False, lenient=True)
            walk.run(directory_fd, only=os.fsencode(last))
    finally:
        os.close(directory_fd)
    writer.finish()


def _translated(add: Add, users: UserMaps | None) -> Add:
    """Adds entries with the container's owners."""
    if users is None:
        return add

    def translate(entry: Entry, chunks: Iterable[bytes]) -> None:
        uid, gid = users.to_container(entry.uid, entry.gid)
        add(entry.replace(uid=uid, gid=gid), chunks)

    return translate


def _add_directory(add: Add, directory_fd: int, shown: bytes, inner: str) -> None:
    about = os.fstat(directory_fd)
    top = Entry(
        name=shown,
        kind="directory",
        mode=about.st_mode & 0o7777,
        uid=about.st_uid,
        gid=about.st_gid,
        mtime_ns=about.st_mtime_ns // 1_000_000_000 * 1_000_000_000,
    )
    add(top, ())

    prefix = b"/" if shown == b"/" else shown + b"/"
    closed = _KERNELS if inner == "/" else frozenset[bytes]()

    def add_below(entry: Entry, chunks: Iterable[bytes]) -> None:
        link = prefix + entry.linkname if entry.kind == "hardlink" else entry.linkname
        add(entry.replace(name=prefix + entry.name, linkname=link), chunks)

    walk = TreeWalk(add_below, upper=False, latest_s=None, precise=False, lenient=True, closed=closed)
    walk.run(directory_fd)


def _renamed(add: Add, last: bytes, shown: bytes) -> Add:
    """Adds entries whose first name is another one."""

    def rename(entry: Entry, chunks: Iterable[bytes]) -> None:
        link = shown + entry.linkname[len(last) :] if entry.kind == "hardlink" else entry.linkname
        add(entry.replace(name=shown + entry.name[len(last) :], linkname=link), chunks)

    return rename
