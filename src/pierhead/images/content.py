"""Contents by their digests: an OCI image layout's blobs, and what is on its way to become one.

    ROOT/
      oci-layout                      {"imageLayoutVersion": "1.0.0"}
      blobs/ALGORITHM/HEX             whole contents; they never change
      ingest/ALGORITHM-HEX.part       the verified beginning of a content that is being fetched
      ingest/ALGORITHM-HEX.lock       locked by whoever fetches it
      ingest/new-RANDOM.part          a content whose digest is not known yet; locked by its writer

A content appears whole or not at all: it is written to a part, flushed, and renamed.  A part only grows at
its end, so that its length says how much of the content is there; one fetch goes on where another one, in
whatever process, was stopped.  Locks are the kernel's (flock), so they end with their holder.

Knows nothing of what contents mean, nor which are needed: ``library`` does.
Source: image-spec image-layout.md.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat

from pierhead.digests import (
    DEFAULT_ALGORITHM,
    algorithm_of,
    check_digest,
    compute_digest,
    digest_of,
    encoded_of,
    hasher,
    is_digest,
)
from pierhead.errors import InvalidInput, NotFound, OperationFailed
from pierhead.linux.files import lock_at_once, read_all, replace_file, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from hashlib import _Hash
    from typing import Self

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_ALGORITHMS = ("sha256", "sha512")
_BLOCK_BYTES = 1 << 20
FREE_BYTES_MIN = 2 << 20
"""What stays free on the disk: whoever removes contents has to write that down."""
_PART = re.compile(r"(?:(sha\d+)-([0-9a-f]+)|new-[0-9a-f]+)\.part")


class ContentStore:
    """Contents under one directory, shared by any number of processes and threads."""

    def __init__(
        self, root: str | os.PathLike[str], *, announce: Callable[[str], None] | None = None
    ) -> None:
        """Makes what is missing of the directory.

        Args:
            root: the directory.
            announce: is told the digest of every content that is to be written through this object, before
                anybody can find it (a lease pins it then, so that no collection takes it away).
        """
        self.root = os.path.abspath(os.fspath(root))
        self.announce = announce or _tell_nobody
        self._ingest = f"{self.root}/ingest"
        _make_private(self.root)
        for name in ("ingest", *(f"blobs/{algorithm}" for algorithm in _ALGORITHMS)):
            os.makedirs(f"{self.root}/{name}", mode=0o755, exist_ok=True)
        if not os.path.exists(f"{self.root}/oci-layout"):
            directory_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory_fd, "oci-layout", _LAYOUT, mode=0o644, durable=True)
            finally:
                os.close(directory_fd)

    # What is there

    def path(self, digest: str) -> str:
        """Where the content is, or would be.

        Raises:
            InvalidInput: not a digest; nothing else becomes a part of a path.
        """
        check_digest(digest)
        return f"{self.root}/blobs/{algorithm_of(digest)}/{encoded_of(digest)}"

    def find_size(self, digest: str) -> int | None:
        """The content's size in bytes; None when it is not there."""
        try:
            return os.stat(self.path(digest)).st_size
        except FileNotFoundError:
            return None

    def open(self, digest: str) -> int:
        """A descriptor to read the content from, the caller's; it stays readable when the content is removed.

        Raises:
            NotFound: it is not there.
        """
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"the content {digest} is not here", code="content-not-found") from None

    def read(self, digest: str, *, limit_bytes: int) -> bytes:
        """A small content, whole and verified.

        Raises:
            NotFound: it is not there.
            InvalidInput: it is larger than the limit, or is not what its name says (a damaged disk).
        """
        fd = self.open(digest)
        try:
            data = read_all(fd, limit_bytes + 1)
        finally:
            os.close(fd)
        if len(data) > limit_bytes:
            raise InvalidInput(f"the content {digest} has more than {limit_bytes} bytes", code="too-large")
        if compute_digest(data, algorithm_of(digest)) != digest:
            hint = "remove the image and pull it anew"
            raise InvalidInput(f"the content {digest} is damaged", code="damaged-content", hint=hint)
        return data

    def digests(self) -> Iterator[tuple[str, int]]:
        """Every content with its size in bytes."""
        for algorithm in _ALGORITHMS:
            with os.scandir(f"{self.root}/blobs/{algorithm}") as entries:
                for entry in entries:
                    digest = f"{algorithm}:{entry.name}"
                    if is_digest(digest):
                        try:
                            yield digest, entry.stat(follow_symlinks=False).st_size
                        except FileNotFoundError:  # removed meanwhile
                            continue

    # What comes and goes

    def write(self, data: bytes, digest: str = "") -> str:
        """A small content is there; returns its digest.

        Raises:
            InvalidInput: it is not what ``digest`` says.
        """
        with self.ingest_new(algorithm_of(digest) or DEFAULT_ALGORITHM) as ingest:
            ingest.append(data)
            return ingest.commit(digest=digest)

    def ingest(self, digest: str) -> Ingest:
        """The one place where this content can be written; waits while anybody else has it.

        A context manager: leaving it without commit keeps the part for the next one.  Ask ``find_size`` again
        inside: whoever had it may have finished.
        """
        return self._open_ingest(digest, wait=True)

    def find_ingest(self, digest: str) -> Ingest | None:
        """As ``ingest``, without waiting: None while anybody else has it."""
        try:
            return self._open_ingest(digest, wait=False)
        except BlockingIOError:
            return None

    def _open_ingest(self, digest: str, *, wait: bool) -> Ingest:
        check_digest(digest)
        self.announce(digest)
        part = f"{self._ingest}/{digest.replace(':', '-')}.part"
        lock_fd = self._lock(_lock_of(part), wait=wait)
        try:
            part_fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except BaseException:
            os.close(lock_fd)
            raise
        return Ingest(self, part, part_fd, digest=digest, lock_fd=lock_fd)

    def ingest_new(self, algorithm: str = DEFAULT_ALGORITHM) -> Ingest:
        """A place to write a content whose digest is known at its end.

        A context manager: leaving it without commit removes the part.
        """
        path = f"{self._ingest}/new-{os.urandom(8).hex()}.part"
        return Ingest(self, path, self._lock(path), algorithm=algorithm)

    def remove(self, digest: str) -> int:
        """The content is gone; returns the bytes that were freed.  Readers that have it open keep it."""
        path = self.path(digest)
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        return size

    def parts(self) -> Iterator[tuple[str, int]]:
        """Paths and sizes of what nobody is writing at the moment."""
        with os.scandir(self._ingest) as entries:
            names = [entry.name for entry in entries if _PART.fullmatch(entry.name)]
        for path in (f"{self._ingest}/{name}" for name in names):
            if not self._is_locked(_lock_of(path)):
                try:
                    yield path, os.stat(path).st_size
                except FileNotFoundError:
                    continue

    def remove_parts(self) -> int:
        """What nobody is writing at the moment is gone; returns the bytes that were freed."""
        freed = sum(self.remove_part(path) for path, _ in list(self.parts()))
        self.remove_locks()
        return freed

    def remove_locks(self) -> None:
        """No lock is left of a writer that was killed between its content's renaming and its own end."""
        with os.scandir(self._ingest) as entries:
            names = {entry.name for entry in entries}
        for name in names:
            if name.endswith(".lock") and f"{name.removesuffix('.lock')}.part" not in names:
                self.remove_part(f"{self._ingest}/{name.removesuffix('.lock')}.part")

    def remove_part(self, path: str) -> int:
        """A part is gone, unless somebody is writing it by now; returns the bytes that were freed."""
        lock = _lock_of(path)
        try:
            lock_fd = self._lock(lock, wait=False)
        except BlockingIOError:
            return 0
        try:
            size = os.stat(path).st_size
            os.unlink(path)
        except FileNotFoundError:
            return 0
        finally:
            _remove(lock)
            os.close(lock_fd)
        return size

    # Locks

    def _lock(self, path: str, *, wait: bool = True) -> int:
        """The lock's descriptor.  A lock file that was removed while we waited for it protects nothing."""
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.path.exists(path) and os.path.samestat(os.fstat(fd), os.stat(path)):
                    return fd
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _is_locked(self, path: str) -> bool:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not lock_at_once(fd)
        finally:
            os.close(fd)


class Ingest:
    """A content on its way.  Used by one thread at a time."""

    def __init__(
        self,
        store: ContentStore,
        path: str,
        fd: int,
        *,
        digest: str = "",
        algorithm: str = "",
        lock_fd: int = -1,
        keep: bool = False,
    ) -> None:
        """Takes the descriptors over; with ``keep`` a part without a digest stays when it is left."""
        self._store = store
        self._path = path
        self._fd = fd
        self._lock_fd = lock_fd
        self._keep = keep
        self.digest = digest
        """What it is to be; "" if that is not known."""
        self.size = 0
        """Bytes that are there and hashed."""
        self._hash: _Hash = hasher(algorithm or algorithm_of(digest))
        try:
            self._take_over()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_over(self) -> None:
        """What is there from before counts: it is hashed anew."""
        os.lseek(self._fd, 0, os.SEEK_SET)
        while block := os.read(self._fd, _BLOCK_BYTES):
            self._hash.update(block)
            self.size += len(block)

    def append(self, block: bytes | memoryview) -> None:
        """The bytes are at the content's end.

        Raises:
            OperationFailed: the disk is full, or fails.
        """
        try:
            _check_room(self._fd, len(block))
            write_all(self._fd, block)
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            os.lseek(self._fd, self.size, os.SEEK_SET)
            raise _cannot_write(self._store.root, error) from error
        self._hash.update(block)
        self.size += len(block)

    def rewind(self) -> None:
        """Nothing is there: what was, was wrong."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hasher(self._hash.name)
        self.size = 0

    @property
    def is_open(self) -> bool:
        """Whether it was neither committed nor closed yet."""
        return self._fd >= 0

    def open_reader(self) -> int:
        """A descriptor to read what is there from, the caller's; it outlives the commit."""
        return os.open(f"/proc/self/fd/{self._fd}", os.O_RDONLY | os.O_CLOEXEC)

    def flush(self) -> None:
        """What is there is on the disk, so that ``commit`` has little to wait for."""
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _cannot_write(self._store.root, error) from error

    def rehash(self, algorithm: str) -> None:
        """What is there is hashed by this algorithm; its digest will be one of it."""
        if algorithm != self._hash.name:
            self._hash, self.size = hasher(algorithm), 0
            self._take_over()

    def current_digest(self) -> str:
        """Of what is there so far."""
        return digest_of(self._hash)

    def commit(self, *, digest: str = "", size: int = -1) -> str:
        """The content is whole and in the store, also after a power cut; returns its digest.

        Args:
            digest: what it has to be; "" is what it was announced to be, or whatever it is.
            size: in bytes, what it has to be; negative is any.

        Raises:
            InvalidInput: it is something else; the part is removed.
            OperationFailed: the disk is full, or fails.
        """
        found, wanted = digest_of(self._hash), digest or self.digest
        if (wanted and found != wanted) or size not in (-1, self.size):
            difference = _difference(wanted, found, size, self.size)
            self.rewind()
            raise InvalidInput(difference, code="wrong-digest")
        target = self._store.path(found)
        self._store.announce(found)
        try:
            os.fsync(self._fd)
            os.rename(self._path, target)
            _flush_directory(os.path.dirname(target))
        except OSError as error:
            raise _cannot_write(self._store.root, error) from error
        self.close()
        return found

    def close(self) -> None:
        """What is here goes to whoever comes next; a part without a digest is gone."""
        if self._fd < 0:
            return
        if not (self.digest or self._keep) or (self.size == 0 and self._lock_fd >= 0):
            _remove_if_same(self._path, self._fd)
        os.close(self._fd)
        self._fd = -1
        if self._lock_fd >= 0:
            if not os.path.exists(self._path):
                _remove(self._path.removesuffix(".part") + ".lock")
            os.close(self._lock_fd)
            self._lock_fd = -1


def _difference(wanted: str, found: str, size: int, found_size: int) -> str:
    if wanted and wanted != found:
        return f"what came is not {wanted} but {found}"
    return f"the content {found} has {found_size} bytes and was to have {size}"


def _check_room(fd: int, size: int) -> None:
    """The disk has room for so many bytes and a little more.

    Raises:
        OSError: ENOSPC, as the kernel would say.
    """
    found = os.fstatvfs(fd)
    if found.f_blocks and found.f_bavail * found.f_frsize < size + FREE_BYTES_MIN:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cannot_write(root: str, error: OSError) -> OperationFailed:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "pier df shows what takes space, pier prune frees some" if full else ""
    reason = "the disk is full" if full else (error.strerror or str(error)).lower()
    code = "disk-full" if full else "cannot-write"
    return OperationFailed(
        f"cannot write to the image store {root}: {reason}", errno=error.errno or 0, code=code, hint=hint
    )


def part_digest(path: str) -> str:
    """The digest of the content that a part is to become; "" if it is not known."""
    match = _PART.fullmatch(os.path.basename(path))
    return f"{match[1]}:{match[2]}" if match and match[1] else ""


def _lock_of(part: str) -> str:
    """What is locked by whoever writes a part: a file beside it, which outlives its renaming, or itself."""
    return part.removesuffix(".part") + ".lock" if part_digest(part) else part


def _tell_nobody(_: str) -> None:
    """What a store does that nobody wants to hear from."""


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


def _remove_if_same(path: str, fd: int) -> None:
    """The file is gone, unless it has become something else (a content, by commit)."""
    try:
        if os.path.samestat(os.stat(path), os.fstat(fd)):
            os.unlink(path)
    except FileNotFoundError:
        return


def _flush_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_private(path: str) -> None:
    """The directory is there, and only its owner comes through it.

    Images of private registries are not for all users of the machine to read.
    """
    os.makedirs(path, mode=0o700, exist_ok=True)
    found = os.stat(path)
    if found.st_mode & stat.S_IRWXO and found.st_uid == os.geteuid():  # an earlier version made it for all
        os.chmod(path, stat.S_IMODE(found.st_mode) & ~stat.S_IRWXO)
