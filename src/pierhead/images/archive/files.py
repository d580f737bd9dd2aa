"""What an archive or a directory of an image brings: names, small documents, large contents.

An archive may come from a pipe, which is read once, from its beginning to its end; what its entries are for
is only known afterwards.  So small files are kept in memory, and large ones, and all blobs of an OCI layout,
go into the store as they come.  Of an archive that is a file and not compressed it is enough to know where
large ones are: each is read when it is asked for, and several at once by several threads.

    ArchiveFiles      a tar archive, compressed or not, whose entries are known
    DirectoryFiles    a directory; a file is read when it is asked for

Names are relative, with neither ``.`` nor ``..``.  Links lead to other names or are refused.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Protocol

from pierhead.digests import DEFAULT_ALGORITHM, is_digest
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.compression import open_reader
from pierhead.images.tarlayer.entry import shown
from pierhead.images.tarlayer.reader import TarReader
from pierhead.linux.files import open_in_root, read_all
from pierhead.oci.image import DOCUMENT_BYTES_MAX
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Self

    from pierhead.images.content import ContentStore
    from pierhead.images.tarlayer.entry import Entry

RATIO_MAX = 1000
"""An archive that becomes more than so many times larger is made to fill disks (gzip cannot do much more)."""

_LINKS_MAX = 20
_BLOCK_BYTES = 1 << 20
_OF_A_ROOT = frozenset((b"bin", b"dev", b"etc", b"lib", b"proc", b"sbin", b"sys", b"usr", b"var"))
"""Directories by which one sees that an archive is a root file system and no image."""


class Limits(Value):
    """What an archive may have.

    Fields:
        entries: how many.
        small_bytes: files up to this size are kept in memory …
        memory_bytes: … while they have no more than this together.
        content_bytes: of the whole archive, uncompressed; 0 is no limit.
    """

    entries: int = 100_000
    small_bytes: int = 1 << 20
    memory_bytes: int = 32 << 20
    content_bytes: int = 0


class Stored(Value):
    """A file that is in the store."""

    digest: str
    size: int


class _Place(Value):
    """Where a file's content is in an archive, from the descriptor's beginning on."""

    offset: int
    size: int


class Files(Protocol):
    """What the forms are read from."""

    content: ContentStore
    """Where contents go."""

    def names(self) -> Collection[str]:
        """Of all files, links to files included."""

    def size(self, name: str) -> int:
        """The file's, in bytes.

        Raises:
            InvalidInput: there is none of this name.
        """

    def read(self, name: str) -> bytes:
        """A document.

        Raises:
            InvalidInput: there is none of this name, or it is too large.
        """

    def store(self, name: str, digest: str = "") -> Stored:
        """The file is in the store.  Threads may ask for several files at once.

        Raises:
            InvalidInput: there is none of this name, or it is not what ``digest`` says.
        """


def blob_name(digest: str) -> str:
    """Where an OCI layout has this content."""
    return "blobs/" + digest.replace(":", "/")


def digest_of_blob(name: str) -> str:
    """The digest that a name in an OCI layout stands for; "" if it is no blob's name."""
    parts = name.split("/")
    digest = ":".join(parts[1:])
    return digest if len(parts) == 3 and parts[0] == "blobs" and is_digest(digest) else ""


class ArchiveFiles:
    """The files of a tar archive."""

    def __init__(self, content: ContentStore, fd: int, limits: Limits | None = None) -> None:
        """What the archive has is known; of a pipe, or compressed, it has been read to its end.

        Args:
            content: takes what is large; one of a lease, so that collections leave it.
            fd: where the archive comes from, compressed or not; stays the caller's, and open.
            limits: what it may have.

        Raises:
            InvalidInput: it is no archive, is damaged, is a root file system, or does what none should.
        """
        self.content = content
        self._limits = limits or Limits()
        self._documents: dict[str, bytes] = {}
        self._stored: dict[str, Stored] = {}
        self._places: dict[str, _Place] = {}
        self._links: dict[str, str] = {}
        self._memory_bytes = 0
        self._fd = fd
        start = os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(os.fstat(fd).st_mode) else 0
        stream = open_reader(fd, limit_bytes=self._limits.content_bytes, ratio_max=RATIO_MAX)
        skip = stream.find_skip()
        self._start = start if skip else -1
        reader = TarReader(stream, skip=skip)
        for count, entry in enumerate(reader, 1):
            if count > self._limits.entries:
                message = f"the archive has more than {self._limits.entries} entries"
                raise InvalidInput(message, code="too-large")
            self._take(entry, reader)
        reader.drain()
        if not stream.size:
            raise InvalidInput("the archive holds no image: it is empty", code="not-an-image")
        for name in self._links:
            self._resolve(name)

    def names(self) -> Collection[str]:
        """As ``Files``."""
        return self._documents.keys() | self._stored.keys() | self._places.keys() | self._links.keys()

    def size(self, name: str) -> int:
        """As ``Files``."""
        found = self._resolve(name)
        if found in self._documents:
            return len(self._documents[found])
        return self._places[found].size if found in self._places else self._stored[found].size

    def read(self, name: str) -> bytes:
        """As ``Files``."""
        name = self._resolve(name)
        if name in self._documents:
            return self._documents[name]
        return self.content.read(self.store(name).digest, limit_bytes=DOCUMENT_BYTES_MAX)

    def store(self, name: str, digest: str = "") -> Stored:
        """As ``Files``."""
        found = self._resolve(name)
        if found in self._documents:
            data = self._documents[found]
            self._stored[found] = Stored(digest=self.content.write(data), size=len(data))
        elif found not in self._stored:
            place = self._places[found]
            self._stored[found] = self._write(digest_of_blob(found), place.size, self._blocks(place))
        stored = self._stored[found]
        if digest and stored.digest != digest:
            raise InvalidInput(
                f"{name} in the archive is not {digest} but {stored.digest}", code="wrong-digest"
            )
        return stored

    def _resolve(self, name: str) -> str:
        """The file that a name means, links followed."""
        found = name
        for _ in range(_LINKS_MAX):
            if found in self._documents or found in self._stored or found in self._places:
                return found
            if found not in self._links:
                break
            found = self._links[found]
        raise _lacks("the archive", name)

    def _take(self, entry: Entry, reader: TarReader) -> None:
        name = clean_name(entry.name)
        if entry.kind in ("directory", "symlink"):
            _refuse_root(name)
        if entry.kind == "directory":
            return
        if entry.kind in ("symlink", "hardlink"):
            inside = os.path.dirname(name) if entry.kind == "symlink" else ""
            self._links[name] = _link_target(entry, inside)
        elif entry.kind == "file" and entry.sparse is None and name:
            self._take_file(name, entry.size, reader)
        else:
            kind = "sparse file" if entry.kind == "file" else entry.kind
            message = f"the archive has {shown(entry.name)}, a {kind}, which no image has"
            raise InvalidInput(message, code="invalid-archive")

    def _take_file(self, name: str, size: int, reader: TarReader) -> None:
        digest = digest_of_blob(name)
        small = size <= min(self._limits.small_bytes, self._limits.memory_bytes - self._memory_bytes)
        if name in self._places:
            self.store(name)
        before = self._stored.get(name) or self._documents.get(name)
        now: Stored | bytes
        if small and not digest:
            now = self._documents[name] = reader.read(size)
            self._memory_bytes += size
        elif self._start >= 0 and before is None:
            self._places[name] = _Place(offset=self._start + reader.offset, size=size)
            return
        else:
            now = self._stored[name] = self._write(digest, size, reader.chunks())
        if before is not None and before != now:
            raise InvalidInput(f"the archive has {name!r} twice, and not the same", code="invalid-archive")

    def _blocks(self, place: _Place) -> Iterator[memoryview]:
        """What the archive has in this place; each block is valid until the next is asked for."""
        buffer = memoryview(bytearray(min(_BLOCK_BYTES, place.size)))
        at, end = place.offset, place.offset + place.size
        while at < end:
            read = os.preadv(self._fd, (buffer[: end - at],), at)
            if not read:
                raise InvalidInput(
                    f"the archive ends at byte {at}, in the middle of an entry",
                    code="truncated-archive",
                    hint="it was changed while it was read",
                )
            at += read
            yield buffer[:read]

    def _write(self, digest: str, size: int, chunks: Iterable[memoryview]) -> Stored:
        if digest:
            self.content.announce(digest)
            if self.content.find_size(digest) == size:
                return Stored(digest=digest, size=size)
        with self.content.ingest_new(digest.partition(":")[0] or DEFAULT_ALGORITHM) as ingest:
            for chunk in chunks:
                ingest.append(chunk)
            return Stored(digest=ingest.commit(digest=digest), size=size)


class DirectoryFiles:
    """The files below a directory.  A context manager."""

    def __init__(self, content: ContentStore, path: str | os.PathLike[str]) -> None:
        """Nothing has been read yet.

        Raises:
            NotFound: there is no such directory.
        """
        self.content = content
        self._path = os.fspath(path)
        self._stored: dict[str, Stored] = {}
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"there is no directory {self._path}", code="no-directory") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def names(self) -> Collection[str]:
        """As ``Files``; three levels deep, which is as deep as any form goes."""
        return set(_names_below(self._fd, "", 3))

    def size(self, name: str) -> int:
        """As ``Files``."""
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def read(self, name: str) -> bytes:
        """As ``Files``."""
        fd = self._open(name)
        try:
            data = read_all(fd, DOCUMENT_BYTES_MAX + 1)
        finally:
            os.close(fd)
        if len(data) > DOCUMENT_BYTES_MAX:
            message = f"{name} in {self._path} has more than {DOCUMENT_BYTES_MAX} bytes"
            raise InvalidInput(message, code="too-large")
        return data

    def store(self, name: str, digest: str = "") -> Stored:
        """As ``Files``."""
        if name in self._stored and digest in ("", self._stored[name].digest):
            return self._stored[name]
        if digest:
            self.content.announce(digest)
            present = self.content.find_size(digest)
            if present is not None:
                return Stored(digest=digest, size=present)
        fd = self._open(name)
        try:
            with self.content.ingest_new(digest.partition(":")[0] or DEFAULT_ALGORITHM) as ingest:
                while block := os.read(fd, _BLOCK_BYTES):
                    ingest.append(block)
                size = ingest.size
                self._stored[name] = Stored(digest=ingest.commit(digest=digest), size=size)
        finally:
            os.close(fd)
        return self._stored[name]

    def _open(self, name: str) -> int:
        """Links lead nowhere out of the directory; only regular files are opened."""
        try:
            found = open_in_root(self._fd, name)
        except ValueError:  # a NUL, or what is no text
            raise _lacks(self._path, repr(name)) from None
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                raise
            raise _lacks(self._path, name) from None
        try:
            if not stat.S_ISREG(os.fstat(found).st_mode):
                raise InvalidInput(f"{name} in {self._path} is no file", code="invalid-archive")
            return os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)


def _names_below(directory_fd: int, prefix: str, levels: int) -> Iterator[str]:
    with os.scandir(directory_fd) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            yield prefix + entry.name
        elif levels > 1:
            fd = os.open(
                entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd
            )
            try:
                yield from _names_below(fd, f"{prefix}{entry.name}/", levels - 1)
            finally:
                os.close(fd)


def clean_name(name: bytes) -> str:
    """A name from an archive without ``.`` and doubled slashes; "" for the archive's own directory.

    Raises:
        InvalidInput: it leads out of the archive, or is no text.
    """
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"the archive has the name {shown(name)}, which is no text") from None
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts or "\0" in text:
        message = f"the archive has the name {shown(name)}, which leads out of it"
        raise InvalidInput(message, code="hostile-archive")
    return "/".join(parts)


def _link_target(entry: Entry, directory: str) -> str:
    """The name that a link leads to, seen from its directory."""
    target = os.path.normpath(os.path.join(directory, entry.linkname.decode(errors="replace")))
    if entry.linkname.startswith(b"/") or target.split("/")[0] == "..":
        message = f"the archive has the link {shown(entry.name)} to {shown(entry.linkname)}, outside of it"
        raise InvalidInput(message, code="hostile-archive")
    return target


def _refuse_root(name: str) -> None:
    if name.encode() in _OF_A_ROOT:
        raise InvalidInput(
            "the archive is a root file system and no image",
            code="not-an-image",
            hint="pier import makes an image of it",
        )


def _lacks(where: str, name: str) -> InvalidInput:
    return InvalidInput(
        f"{where} lacks {name}, which it speaks of", code="incomplete-archive", hint="it was not copied whole"
    )
