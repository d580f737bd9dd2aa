"""Archives of ``cp`` on this machine's side: written from files, and unpacked to files."""

from __future__ import annotations

import io
import os
import tarfile
import threading

from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_READ_BYTES = 1 << 16


class Target(Value):
    """Where something that is copied comes to be.

    Fields:
        path: as it was given.
        contents_only: a directory's contents, and not itself.
        of_directory: whether what is copied is a directory.
    """

    path: str
    contents_only: bool
    of_directory: bool

    def place(self) -> tuple[str, str | None]:
        """The directory to unpack in, and the name that the archive's root gets there; None keeps it.

        Raises:
            InvalidInput: there is no such place.
        """
        if os.path.isdir(self.path):
            return self.path, "." if self.contents_only else None
        if os.path.exists(self.path) and self.of_directory:
            raise InvalidInput(f"cannot copy a directory to the file {self.path}", code="no-directory")
        if self.path.endswith("/") and not self.of_directory:
            raise InvalidInput(f"the directory {self.path} does not exist", code="no-directory")
        directory, name = os.path.split(os.path.abspath(self.path))
        if not os.path.isdir(directory):
            raise InvalidInput(f"the directory {directory} does not exist", code="no-directory")
        return directory, name


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(pieces: Iterator[bytes], target: Target, *, archive: bool) -> None:
    """The archive's files are there, and nowhere outside; with ``archive`` with their owners.

    Raises:
        InvalidInput: there is no such place, or the archive would leave it.
    """
    directory, name = target.place()
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Pieces(pieces), _READ_BYTES), mode="r|") as tar:
            for member in tar:
                member.name = _renamed(member.name, name)
                if member.islnk():
                    member.linkname = _renamed(member.linkname, name)
                if not archive:
                    member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
                tar.extract(member, directory, numeric_owner=True, filter="tar")
    except (tarfile.TarError, OSError) as error:
        raise InvalidInput(f"cannot copy to {target.path}: {error}", code="copy-failed") from None


def _renamed(path: str, name: str | None) -> str:
    if name is None:
        return path
    _, slash, rest = path.strip("/").partition("/")
    return f"{name}{slash}{rest}"


def pack_tree(source: str, name: str, *, follow: bool) -> Iterator[bytes]:
    """An archive of the file or tree, whose root has this name, piece by piece."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with (
                open(writing, "wb") as file,
                tarfile.open(fileobj=file, mode="w|", dereference=follow) as tar,
            ):
                tar.add(source, arcname=name)
        except BrokenPipeError:
            return
        except BaseException as error:  # noqa: BLE001 - told by the one who reads
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while data := os.read(reading, _READ_BYTES):
            yield data
    finally:
        os.close(reading)
        thread.join()
    if failed:
        raise InvalidInput(f"cannot read {source}: {failed[0]}", code="copy-failed")
