"""Reading a container's log, over its rotations, while it is written or afterwards (init/log.c writes it).

    for entry in read_log("/var/lib/…/log", follow=True, ended_fd=monitor_pidfd):
        show(entry.time, entry.stream, entry.data)

The newest file is ``path``, older ones are ``path.1``, ``path.2``, …  The writer only renames and unlinks
files, oldest first, and writes whole lines.  So a reader holds the file that it reads open, whatever it is
called by now, and goes on to the file that is next in age when it has read it to the end: nothing is seen
twice, and nothing is missed as long as the reader is not slower than it takes to fill all the kept files.
"""

import os
import select

from pierhead import jsontext
from pierhead.errors import InvalidInput, NotFound, Unavailable
from pierhead.linux.inotify import DirectoryWatch
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self, TypeVar

    T = TypeVar("T")

_BLOCK_BYTES = 65536
_LOOKS = 1000
_NO_FILE = (-1, -1)
"""A descriptor, and the number in the file's name when it was opened."""
_UNWATCHED_MS = 200


class LogEntry(Value):
    """What a container wrote at one moment.

    Fields:
        time: RFC 3339 in UTC with nanoseconds, always of the same length, so that texts sort as times do.
        stream: ``stdout`` or ``stderr``.
        data: the bytes; with their final newline, unless this is a part of a longer line or the very end.
            In JSON logs bytes that are not UTF-8 have become U+FFFD.
    """

    time: str
    stream: str
    data: bytes


def parse_entry(line: bytes) -> LogEntry | None:
    """The entry that a line of a log (json or CRI) denotes; None if it is not one, as after a power cut."""
    return _parse_json(line) if line.startswith(b"{") else _parse_cri(line)


def _parse_json(line: bytes) -> LogEntry | None:
    try:
        document = jsontext.parse(line)
        return LogEntry(
            time=document["time"], stream=document["stream"], data=document["log"].encode(errors="replace")
        )
    except (InvalidInput, KeyError, TypeError, AttributeError):
        return None


def _parse_cri(line: bytes) -> LogEntry | None:
    parts = line.split(b" ", 3)
    if len(parts) != 4 or parts[2] not in (b"F", b"P"):
        return None
    time, stream, tag, text = parts
    data = text + b"\n" if tag == b"F" else text
    return LogEntry(time=time.decode(errors="replace"), stream=stream.decode(errors="replace"), data=data)


class LogReader:
    """Gives a log's entries from the oldest that there is, each one once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """``path`` is the newest file's; none need exist yet."""
        self._path = os.path.abspath(os.fspath(path))
        self._directory, self._name = os.path.split(self._path)
        self._fd, self._number = _NO_FILE
        self._offset = 0

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file is given back; reading starts anew."""
        self._move_to(_NO_FILE)

    @property
    def directory(self) -> str:
        """Where the files are, to watch."""
        return self._directory

    def exists(self) -> bool:
        """Whether there is a log."""
        return self._fd >= 0 or bool(self._numbers())

    def take(self) -> "Iterator[LogEntry]":
        """The entries that have been written by now and were not given before."""
        return self._through(self._entries)

    def take_lines(self) -> "Iterator[bytes]":
        """The same as they stand in the files: blocks of whole lines, for who reads many at once."""
        return self._through(self._blocks)

    def _through(self, read: "Callable[[], Iterator[T]]") -> "Iterator[T]":
        while True:
            yield from read()
            successor = self._open_successor()
            if successor == _NO_FILE:
                return
            # What was written between the end that we saw and the rename.
            yield from read()
            self._move_to(successor)

    @property
    def place(self) -> tuple[int, int]:
        """Up to where entries were given: the file's inode, and the offset in it; zeros before the first."""
        return (os.fstat(self._fd).st_ino, self._offset) if self._fd >= 0 else (0, 0)

    def go_to(self, inode: int, offset: int) -> bool:
        """What is given begins there, as ``place`` was once; whether the file is still there, and so long."""
        for number in self._numbers():
            fd = self._open(number)
            if fd < 0:
                continue
            about = os.fstat(fd)
            if about.st_ino == inode and about.st_size >= offset and _is_start(fd, offset):
                self._move_to((fd, number))
                self._offset = offset
                return True
            os.close(fd)
        return False

    def drop_read(self, kept: int) -> None:
        """Files that were read to their end are gone, but for as many of the newest as are to be kept.

        The writer may rename ours up by one meanwhile (it writes a whole file between two renames): so the
        one that is next to ours stays.
        """
        mine = self._find_mine()
        if mine is None:
            return
        for number in reversed(self._numbers()):
            if number < kept or number <= mine + 1:
                return
            os.unlink(self._numbered(number))

    def skip_to_last(self, count: int) -> None:
        """What is given begins with the last so many lines of what has been written by now.

        Lines that are rotated away meanwhile are not given, and others in their place.
        """
        found = _NO_FILE
        offset = 0
        for number in self._numbers():
            fd = self._open(number)
            if fd < 0:
                continue
            if found != _NO_FILE:
                os.close(found[0])
            found = fd, number
            offset, missing = _find_last(fd, count)
            if not missing:
                break
            count = missing
        self._move_to(found)
        self._offset = offset

    # One file

    def _move_to(self, file: tuple[int, int]) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._number = file
        self._offset = 0

    def _entries(self) -> "Iterator[LogEntry]":
        """One by one: what is not taken comes another time."""
        before = self._offset
        for block in self._blocks():
            self._offset = before
            for line in block[:-1].split(b"\n"):
                self._offset += len(line) + 1
                entry = parse_entry(line)
                if entry is not None:
                    yield entry
            before = self._offset

    def _blocks(self) -> "Iterator[bytes]":
        """The offset stays at a whole line's end, for the writer takes half a line back (a full disk)."""
        size = _BLOCK_BYTES
        while self._fd >= 0:
            block = os.pread(self._fd, size, self._offset)
            whole = block.rfind(b"\n") + 1
            if whole:
                self._offset += whole
                yield block[:whole]
            elif len(block) < size:
                return
            else:
                size *= 2

    # The next file

    def _numbers(self) -> list[int]:
        """The numbers of the files that exist, newest first; 0 is the file without one."""
        found = []
        for name in os.listdir(self._directory):
            rest = name.removeprefix(self._name)
            if name == self._name:
                found.append(0)
            elif rest != name and rest[0] == "." and rest[1:].isdecimal() and rest[1] != "0":
                found.append(int(rest[1:]))
        return sorted(found)

    def _numbered(self, number: int) -> str:
        return f"{self._path}.{number}" if number else self._path

    def _is(self, fd: int, number: int) -> bool:
        """Whether this open file has this number now.  Its inode is not used anew while it is open."""
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self._numbered(number)))
        except FileNotFoundError:
            return False

    def _open_successor(self) -> tuple[int, int]:
        """The next younger file, opened, and its number; -1 for both while there is none.

        The files may be renamed while we look.  They only ever go up, and none overtakes another: if ours
        has the same number before and after, then what was opened just below it in between is the next.
        """
        for _ in range(_LOOKS):
            mine = self._find_mine()
            if mine == 0:
                return _NO_FILE
            if mine is not None:
                found, settled = self._open_younger(mine)
            elif self._fd >= 0 and os.fstat(self._fd).st_nlink:
                continue
            else:
                found, settled = self._open_oldest()
            if settled:
                return found
            if found != _NO_FILE:
                os.close(found[0])
        raise Unavailable(
            f"the log {self._path} is rotated faster than it can be read, or somebody else moves its files",
            code="log-too-fast",
        )

    def _find_mine(self) -> int | None:
        """The number that the file we read has by now; None when it is not there."""
        if self._fd < 0:
            return None
        if self._is(self._fd, self._number):
            return self._number
        later = (number for number in self._numbers() if number > self._number)
        return next((number for number in later if self._is(self._fd, number)), None)

    def _open_younger(self, mine: int) -> tuple[tuple[int, int], bool]:
        """The file next below ours; and whether nothing has moved there meanwhile, so that it is the one."""
        found = _NO_FILE
        for number in range(mine - 1, -1, -1):
            fd = self._open(number)
            if fd >= 0:
                found = fd, number
                break
        between = range(found[1] + 1, mine)
        missed = any(os.path.exists(self._numbered(number)) for number in between)
        return found, not missed and self._is(self._fd, mine)

    def _open_oldest(self) -> tuple[tuple[int, int], bool]:
        """The oldest file there is; and whether it still is the oldest."""
        numbers = self._numbers()
        if not numbers:
            return _NO_FILE, True
        fd = self._open(numbers[-1])
        if fd < 0:
            return _NO_FILE, False
        return (fd, numbers[-1]), self._is(fd, max(self._numbers(), default=0))

    def _open(self, number: int) -> int:
        try:
            return os.open(self._numbered(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1


def _is_start(fd: int, offset: int) -> bool:
    """Whether an entry begins there, or the file ends."""
    return not offset or os.pread(fd, 1, offset - 1) == b"\n"


def _find_last(fd: int, count: int) -> tuple[int, int]:
    """Where in the file the last so many whole lines begin, and how many of them it has too few of."""
    at = os.fstat(fd).st_size
    left = count + 1  # the newline before the first of them
    whole = False
    while at and left:
        begin = max(at - _BLOCK_BYTES, 0)
        block = os.pread(fd, at - begin, begin)
        if not whole:  # half a line is no line yet
            block = block[: block.rfind(b"\n") + 1]
            whole = bool(block)
        place = len(block)
        while left and place >= 0:
            place = block.rfind(b"\n", 0, place)
            left -= place >= 0
        if not left:
            return begin + place + 1, 0
        at = begin
    return 0, max(left - 1, 0)


def read_log(
    path: str | os.PathLike[str], *, follow: bool = False, ended_fd: int = -1
) -> "Iterator[LogEntry]":
    """The log's entries, oldest first.

    Args:
        path: the newest file.
        follow: go on with what is written later.
        ended_fd: with ``follow``: a descriptor that becomes readable when nothing more will be written, as
            the monitor's pidfd does; stays the caller's.  Without one the iteration has no end.

    Raises:
        NotFound: there is no such log (or, with ``follow``, not even its directory).
    """
    with LogReader(path) as reader:
        if follow:
            yield from _follow(reader, ended_fd)
        elif not os.path.isdir(reader.directory) or not reader.exists():
            raise NotFound(f"there is no log {os.fspath(path)}")
        else:
            yield from reader.take()


def _follow(reader: LogReader, ended_fd: int) -> "Iterator[LogEntry]":
    poll = select.poll()
    watch = _watch(reader.directory)
    try:
        if watch is not None:
            poll.register(watch.fileno(), select.POLLIN)
        if ended_fd >= 0:
            poll.register(ended_fd, select.POLLIN)
        ended = False
        while True:
            yield from reader.take()
            if ended:
                return
            ready = poll.poll(None if watch is not None else _UNWATCHED_MS)
            ended = any(fd == ended_fd for fd, _ in ready)
            if watch is not None:
                watch.drain()
    finally:
        if watch is not None:
            watch.close()


def _watch(directory: str) -> "DirectoryWatch | None":
    """None where the user has as many watches as the kernel allows: the log is then looked at in turns."""
    try:
        return DirectoryWatch(directory)
    except Unavailable:
        return None
