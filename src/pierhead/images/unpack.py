"""A layer's archive to a directory.

    compressed bytes ─▶ compression ─▶ sha256 (the diff id) ─▶ tarlayer.reader ─▶ files beneath one directory

Nothing that an archive says is trusted: see ``beneath`` for its paths.  A file is always made anew and never
written into, so that no entry writes through a link, hard or symbolic, that an earlier one made.  What is in
the way of an entry is removed; only a directory over a directory stays.  Directories get their owner, mode
and times last, when nothing more is put into them.

Whiteouts become what overlayfs takes for them, in a directory of the layer's own; or, where the directory has
the layers below already, what they hide is removed.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from typing import Literal

from pierhead.digests import DEFAULT_ALGORITHM, digest_of, hasher
from pierhead.errors import Conflict, Forbidden, InvalidInput, OperationFailed, PierheadError
from pierhead.images.beneath import Beneath, clean_path, make_private
from pierhead.images.compression import open_reader
from pierhead.images.readahead import ReadAhead
from pierhead.images.removal import remove_whatever
from pierhead.images.tarlayer.entry import shown
from pierhead.images.tarlayer.reader import READ_BYTES, TarReader
from pierhead.images.unpackattributes import Attributes
from pierhead.images.whiteouts import DEVICE, PREFIX, belongs_to_aufs, hidden_name, opaque_xattr
from pierhead.linux.facts import in_user_namespace
from pierhead.linux.files import mount_id
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.images.growing import GrowingFile
    from pierhead.images.tarlayer.entry import Entry
    from pierhead.images.tarlayer.reader import Stream

Whiteouts = Literal["overlay", "overlay-user", "apply", "none"]
"""How what the layers below have is hidden: for overlayfs (also with userxattr), or by removing it; in an
archive that is no layer there are none, and their names are names like others."""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEVICE_MAX = (4095, (1 << 20) - 1)
_IMPLIED_MODE = 0o755
_PLACEHOLDER = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {"character": stat.S_IFCHR, "block": stat.S_IFBLK, "fifo": stat.S_IFIFO}


class UnpackLimits(Value):
    """How much a layer may be.

    Fields:
        archive_bytes: of the archive without compression.
        file_bytes: of all files, holes included.
        entries: files, directories, links and all else.
        implied: directories that have no entry, but something in them that has.
        ratio: how many times as large as its compressed form the archive may be, once it is above 4 GiB.
    """

    archive_bytes: int = 256 << 30
    file_bytes: int = 1 << 40
    entries: int = 10_000_000
    implied: int = 100_000
    ratio: int = 2000


class Unpacked(Value):
    """What a layer was.

    Fields:
        diff_id: digest of the archive without compression.
        size_bytes: of the archive without compression.
        entries: how many there were.
        implied: directories that no entry is for, made because something is in them.  Where the layers below
            have such a directory, or a link in its place, that one's owner, mode and way should hold.
        left_out_devices: how many were not made, for want of the right to.
        left_out_xattrs: how many extended attributes were not set: the file system, or we, cannot.
    """

    diff_id: str
    size_bytes: int
    entries: int
    implied: tuple[str, ...] = ()
    left_out_devices: int = 0
    left_out_xattrs: int = 0


def unpack_layer(
    source_fd: int,
    directory_fd: int,
    *,
    whiteouts: Whiteouts,
    owners: bool | tuple[int, int] = True,
    limits: UnpackLimits | None = None,
    digest: str = "",
    growing: GrowingFile | None = None,
    keeps_kinds: bool = False,
) -> Unpacked:
    """The layer is in the directory.

    Args:
        source_fd: the archive, compressed or not, read to its end; stays the caller's.
        directory_fd: open for reading; nobody else changes what is in it meanwhile; stays the caller's.
        whiteouts: how what the layer deletes is marked.
        owners: whether files get their owners, devices are made and security attributes set, which takes
            root; without, everything becomes ours, devices are left out, and nothing is setuid.  A user and
            a group: whose everything becomes.
        limits: None is the default ones.
        digest: of the source, by somebody who has hashed it all; "" is unknown.  An archive that is not
            compressed is not hashed again.
        growing: reads the archive, which is not whole yet; None if it is.
        keeps_kinds: whether a directory that is in the way of something else is an error, and the reverse.

    Raises:
        InvalidInput: it is no archive, is damaged, or says what is not allowed; the sentence names the entry.
        Forbidden: a right is missing.
        OperationFailed: the kernel refused; code ``disk-full`` says why most often.
        Unsupported: the package that decompresses it is not installed.
    """
    limits = limits or UnpackLimits()
    read = growing.read if growing else None
    reader = open_reader(source_fd, limit_bytes=limits.archive_bytes, ratio_max=limits.ratio, read=read)
    attributes = Attributes(directory_fd, owners=owners)
    hashed = hasher()
    known = digest if reader.kind == "none" and digest.startswith(f"{DEFAULT_ALGORITHM}:") else ""

    def take() -> bytes:
        block = reader.read(READ_BYTES)
        hashed.update(block)
        return block

    with ExitStack() as stack:
        stream: Stream = reader if known else _Taken(take)
        if not known and stat.S_ISREG(os.fstat(source_fd).st_mode):  # reading anything else may wait for ever
            stream = stack.enter_context(ReadAhead(take))
            if growing:
                stack.callback(growing.stop)
        unpacker = _Unpacker(
            TarReader(stream), directory_fd, whiteouts, attributes, limits, keeps_kinds=keeps_kinds
        )
        stack.callback(unpacker.close)
        unpacker.run()
    return unpacker.result(known or digest_of(hashed), reader.size)


class _Taken:
    """A stream of the blocks that a function gives."""

    def __init__(self, take: Callable[[], bytes]) -> None:
        self._take = take

    def read(self, _: int, /) -> bytes:
        """The next block."""
        return self._take()


class _Unpacker:
    """One layer on its way."""

    def __init__(
        self,
        reader: TarReader,
        directory_fd: int,
        whiteouts: Whiteouts,
        attributes: Attributes,
        limits: UnpackLimits,
        *,
        keeps_kinds: bool,
    ) -> None:
        self._reader = reader
        self._beneath = Beneath(directory_fd, make=self._make_implied)
        self._attributes = attributes
        self._limits = limits
        self._applies = whiteouts in ("apply", "none")
        self._has_whiteouts = whiteouts != "none"
        self._keeps_kinds = keeps_kinds
        self._opaque = opaque_xattr(user=whiteouts == "overlay-user")
        self._entries = 0
        self._file_bytes = 0
        self._implied: set[bytes] = set()
        self._directories: dict[bytes, Entry] = {}
        """What the layer's directories are to be like, when all is in them."""
        self._own: set[bytes] = set()
        """Where whiteouts are applied: paths of this layer, which they spare."""
        self._opaque_paths: set[bytes] = set()
        """Directories that hide all that is below them: a whiteout in one would hide nothing, and be seen."""
        self._left_out_devices = 0

    def run(self) -> None:
        """Everything is unpacked, and the stream read to its end."""
        for entry in self._reader:
            try:
                self._unpack(entry)
            except PierheadError:
                raise
            except (OSError, OverflowError) as error:
                raise _failed(entry, error) from error
        self._reader.drain()
        for path in sorted(self._directories, reverse=True):  # what is in a directory before itself
            entry = self._directories[path]
            try:
                fd, _ = self._beneath.directory(path, make=False)
                self._attributes.set_directory(fd, entry)
            except (OSError, OverflowError) as error:
                raise _failed(entry, error) from error

    def close(self) -> None:
        """No descriptor is left open."""
        self._beneath.close()

    def result(self, diff_id: str, size_bytes: int) -> Unpacked:
        """What has been done."""
        return Unpacked(
            diff_id=diff_id,
            size_bytes=size_bytes,
            entries=self._entries,
            implied=tuple(sorted(os.fsdecode(path) for path in self._implied)),
            left_out_devices=self._left_out_devices,
            left_out_xattrs=self._attributes.left_out,
        )

    # Entries

    def _unpack(self, entry: Entry) -> None:
        self._count(entry.size)
        name = entry.name
        path = clean_path(name[2:] if name.startswith(b"./") else name)
        if not path:
            if entry.kind != "directory":
                message = f"the entry {shown(name)} has no name and is no directory"
                raise InvalidInput(message, code="invalid-name")
            self._directories[b""] = entry
            return
        parent, _, last = path.rpartition(b"/")
        if PREFIX in path and self._has_whiteouts:
            if belongs_to_aufs(path):
                return
            if parent.startswith(PREFIX) or b"/" + PREFIX in parent:
                message = f"the entry {shown(name)} is in a whiteout"
                raise InvalidInput(message, code="invalid-whiteout")
            if last.startswith(PREFIX):
                self._hide(parent, hidden_name(last))
                return
        if entry.kind == "hardlink":
            self._link(entry, path)
            return
        directory_fd, real = self._beneath.directory(parent)
        if entry.kind == "file":
            self._write_file(entry, directory_fd, last, real)
        elif entry.kind == "directory":
            self._make_directory(entry, directory_fd, last, _join(real, last))
            return
        else:
            self._make_node(entry, directory_fd, last, real)
        if self._applies:
            self._spare(_join(real, last))

    def _count(self, size: int) -> None:
        self._entries += 1
        self._file_bytes += size
        most = self._limits
        if self._entries > most.entries:
            raise _too_large(f"has more than the {most.entries} entries that are allowed")
        if self._file_bytes > most.file_bytes:
            raise _too_large(f"has files of more than the {most.file_bytes} bytes that are allowed")
        if len(self._implied) > most.implied:
            raise _too_large(f"implies more than the {most.implied} directories that are allowed")

    def _write_file(self, entry: Entry, directory_fd: int, name: bytes, real: bytes) -> None:
        mode = entry.mode & 0o777
        try:
            fd = os.open(name, _CREATE, mode, dir_fd=directory_fd)
        except FileExistsError:
            self._remove(directory_fd, name, _join(real, name))
            directory_fd = self._beneath.directory(real)[0]
            fd = os.open(name, _CREATE, mode, dir_fd=directory_fd)
        try:
            if entry.size:
                if entry.sparse is None:
                    write = os.write
                    for chunk in self._reader.chunks():
                        while (written := write(fd, chunk)) < len(chunk):
                            chunk = chunk[written:]  # noqa: PLW2901 - a short write, as on a full disk
                else:
                    self._write_sparse(entry, fd)
            self._attributes.set_file(fd, entry)
        finally:
            os.close(fd)

    def _write_sparse(self, entry: Entry, fd: int) -> None:
        """Holes stay holes."""
        os.ftruncate(fd, entry.size)
        regions = iter(entry.sparse or ())
        at = left = 0
        for chunk in self._reader.chunks():
            while chunk:
                while not left:
                    at, left = next(regions)
                written = os.pwrite(fd, chunk[:left], at)
                chunk = chunk[written:]  # noqa: PLW2901 - what is left of it
                at += written
                left -= written

    def _make_directory(self, entry: Entry, directory_fd: int, name: bytes, path: bytes) -> None:
        try:
            make_private(directory_fd, name)
        except FileExistsError:
            self._make_in_place(directory_fd, name, path, replaces=True)
        self._directories[path] = entry
        self._implied.discard(path)
        if self._applies:
            self._spare(path)

    def _make_implied(self, directory_fd: int, name: bytes, path: bytes) -> None:
        """A directory that an entry's name implies is there: for ``Beneath``."""
        try:
            make_private(directory_fd, name)
        except FileExistsError:
            self._make_in_place(directory_fd, name, path, replaces=self._applies and path not in self._own)
        os.chmod(name, _IMPLIED_MODE, dir_fd=directory_fd)
        self._implied.add(path)

    def _make_in_place(self, directory_fd: int, name: bytes, path: bytes, *, replaces: bool) -> None:
        """A directory takes the place of what is there, or is there already.

        In the place of a whiteout it hides what is below it, as the whiteout did.
        """
        about = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            return
        if self._keeps_kinds:
            raise _other_kind(path, "non-directory", "directory")
        hides = not self._applies and _is_whiteout(about)
        if not (replaces or hides):
            message = f"the archive has entries in {shown(path)}, which is no directory in it"
            raise InvalidInput(message, code="invalid-name")
        os.unlink(name, dir_fd=directory_fd)
        make_private(directory_fd, name)
        if stat.S_ISLNK(about.st_mode):
            self._beneath.forget()
        if hides:
            self._set_opaque(directory_fd, name, path)

    def _make_node(self, entry: Entry, directory_fd: int, name: bytes, real: bytes) -> None:
        """A symbolic link, device or FIFO is there."""
        if entry.kind in ("character", "block"):
            device = (entry.device_major, entry.device_minor)
            if entry.kind == "character" and device == DEVICE and self._has_whiteouts:
                self._hide(real, name)  # that is what it means to overlayfs
                return
            if not self._attributes.owners:
                self._left_out_devices += 1
                return
            if not (0 <= device[0] <= _DEVICE_MAX[0] and 0 <= device[1] <= _DEVICE_MAX[1]):
                raise InvalidInput(
                    f"{shown(entry.name)} is a device of no valid number", code="invalid-device"
                )
        try:
            self._attempt_node(entry, directory_fd, name)
        except FileExistsError:
            self._remove(directory_fd, name, _join(real, name))
            directory_fd = self._beneath.directory(real)[0]
            self._attempt_node(entry, directory_fd, name)
        self._attributes.set_node(directory_fd, name, entry)

    def _attempt_node(self, entry: Entry, directory_fd: int, name: bytes) -> None:
        if entry.kind == "symlink":
            os.symlink(entry.linkname, name, dir_fd=directory_fd)
            return
        device = os.makedev(entry.device_major, entry.device_minor)
        try:
            os.mknod(name, _KINDS[entry.kind] | (entry.mode & 0o777), device, dir_fd=directory_fd)
        except PermissionError:
            if entry.kind == "fifo" or not in_user_namespace():
                raise
            # An image can do without the device; a file of its name keeps its owner and mode.
            os.close(os.open(name, _PLACEHOLDER, entry.mode & 0o777, dir_fd=directory_fd))

    def _link(self, entry: Entry, path: bytes) -> None:
        """Another name of a file that is there; nothing of the file itself changes."""
        target = clean_path(entry.linkname)
        if not target:
            raise _no_target(entry)
        parent, _, last = path.rpartition(b"/")
        target_parent, _, target_last = target.rpartition(b"/")
        fd, real = self._beneath.directory(parent)
        directory_fd = os.dup(fd)
        try:
            target_fd, target_real = self._beneath.directory(target_parent, make=False)
            if (target_real, target_last) == (real, last):
                return
            try:
                self._attempt_link(target_fd, target_last, directory_fd, last)
            except FileExistsError:
                self._remove(directory_fd, last, _join(real, last))
                target_fd, _ = self._beneath.directory(target_parent, make=False)
                self._attempt_link(target_fd, target_last, directory_fd, last)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_target(entry) from None
        except PermissionError as error:  # as for a directory
            raise _no_target(entry) if self._attributes.owners else error from None
        finally:
            os.close(directory_fd)
        if self._applies:
            self._spare(_join(real, last))

    def _attempt_link(self, target_fd: int, target: bytes, directory_fd: int, name: bytes) -> None:
        os.link(target, name, src_dir_fd=target_fd, dst_dir_fd=directory_fd, follow_symlinks=False)

    # What is in the way, and what is hidden

    def _remove(self, directory_fd: int, name: bytes, path: bytes) -> None:
        """What is there makes room for an entry of the same path; descriptors of ``Beneath`` are void."""
        mode = os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode
        if self._keeps_kinds and stat.S_ISDIR(mode):
            raise _other_kind(path, "directory", "non-directory")
        if not self._has_whiteouts and _is_mounted(directory_fd, name):
            raise Conflict(f"cannot replace {shown(path)}: something is mounted there", code="mounted")
        remove_whatever(directory_fd, name)
        if stat.S_ISDIR(mode):
            below = path + b"/"
            for known in (self._directories, self._implied, self._own, self._opaque_paths):
                for each in [each for each in known if each == path or each.startswith(below)]:
                    known.pop(each) if isinstance(known, dict) else known.discard(each)
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._beneath.forget()

    def _hide(self, parent: bytes, name: bytes) -> None:
        """What the layers below have of this name is hidden; b"" is all they have in this directory."""
        directory_fd, real = self._beneath.directory(parent)
        if self._applies:
            if name:
                self._clear(directory_fd, name, _join(real, name))
            else:
                for child in os.listdir(directory_fd):
                    self._clear(directory_fd, os.fsencode(child), _join(real, os.fsencode(child)))
            self._beneath.forget()
        elif not name:
            os.setxattr(directory_fd, self._opaque, b"y")
            self._opaque_paths.add(real)
        elif not self._is_in_opaque(real):
            try:
                os.mknod(name, stat.S_IFCHR, os.makedev(*DEVICE), dir_fd=directory_fd)
            except (
                FileExistsError
            ):  # this layer's own hides it already; but a directory lets what is below through
                if stat.S_ISDIR(os.stat(name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                    self._set_opaque(directory_fd, name, _join(real, name))

    def _is_in_opaque(self, path: bytes) -> bool:
        while path and path not in self._opaque_paths:
            path = path.rpartition(b"/")[0]
        return path in self._opaque_paths

    def _set_opaque(self, directory_fd: int, name: bytes, path: bytes) -> None:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
        try:
            os.setxattr(fd, self._opaque, b"y")
            self._opaque_paths.add(path)
        finally:
            os.close(fd)

    def _clear(self, directory_fd: int, name: bytes, path: bytes) -> None:
        """What the layers below had at this path is gone; what this layer has stays."""
        if path not in self._own:
            remove_whatever(directory_fd, name)
            return
        about = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        todo = [path] if stat.S_ISDIR(about.st_mode) else []
        while todo:
            parent = todo.pop()
            fd, _ = self._beneath.directory(parent, make=False)
            for child in map(os.fsencode, os.listdir(fd)):
                below = _join(parent, child)
                if below not in self._own:
                    remove_whatever(fd, child)
                elif stat.S_ISDIR(os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode):
                    todo.append(below)

    def _spare(self, path: bytes) -> None:
        """The path and the directories that lead to it are this layer's."""
        while path and path not in self._own:
            self._own.add(path)
            path = path.rpartition(b"/")[0]


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name


def _other_kind(path: bytes, there: str, coming: str) -> InvalidInput:
    """Docker's words."""
    return InvalidInput(f"cannot overwrite {there} {shown(path)} with {coming}", code="other-kind")


def _is_mounted(directory_fd: int, name: bytes) -> bool:
    """Whether something is mounted there, in whose mount namespace the directory may be: then to unlink the
    name would take the mount away from everybody there (unlink(2) refuses it in one's own namespace only).
    """
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        return mount_id(fd) != mount_id(directory_fd)
    finally:
        os.close(fd)


def _too_large(what: str) -> InvalidInput:
    hint = "raise the limit if you trust where the layer comes from"
    return InvalidInput(f"the layer {what}", code="too-large", hint=hint)


def _is_whiteout(about: os.stat_result) -> bool:
    return stat.S_ISCHR(about.st_mode) and about.st_rdev == os.makedev(*DEVICE)


def _no_target(entry: Entry) -> InvalidInput:
    message = f"{shown(entry.name)} is a hard link to {shown(entry.linkname)}, and there is no such file"
    hint = "a hard link is to a file of the same layer, before it"
    return InvalidInput(message, code="invalid-link", hint=hint)


def _failed(entry: Entry, error: Exception) -> PierheadError:
    """The sentence for what the kernel would not do for an entry."""
    name = shown(entry.name)
    if not isinstance(error, OSError):
        return InvalidInput(f"{name} has a number that no file can have: {error}", code="invalid-archive")
    reason = (error.strerror or str(error)).lower()
    number = error.errno or 0
    if number in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EFBIG):
        return InvalidInput(f"{name} cannot be in any directory: {reason}", code="invalid-name")
    if number in (errno.EPERM, errno.EACCES):
        hint = "owners, devices and security attributes take root"
        return Forbidden(f"cannot unpack {name}: {reason}", hint=hint)
    if number in (errno.ENOSPC, errno.EDQUOT):
        hint = "pier df shows what takes space, pier prune frees some"
        return OperationFailed(
            f"cannot unpack {name}: the disk is full", errno=number, code="disk-full", hint=hint
        )
    return OperationFailed(f"cannot unpack {name}: {reason}", errno=number, code="cannot-unpack")
