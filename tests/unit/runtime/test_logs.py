"""Reading logs over rotations; the writer here does what init/log.c does, at the worst moments."""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import NotFound
from pierhead.runtime.logs import LogEntry, LogReader, parse_entry, read_log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = "2026-01-02T03:04:05.123456789Z"


def entry(data: bytes, stream: str = "stdout") -> LogEntry:
    """An entry of the usual time."""
    return LogEntry(time=TIME, stream=stream, data=data)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f'{{"log":"a\\u003c\\n","stream":"stderr","time":"{TIME}"}}', entry(b"a<\n", "stderr")),
        (f'{{"log":"part","stream":"stdout","time":"{TIME}"}}', entry(b"part")),
        (f'{{"log":"\\ufffd\\ud800","stream":"stdout","time":"{TIME}"}}', entry("\ufffd?".encode())),
        (f"{TIME} stdout F a b ", entry(b"a b \n")),
        (f"{TIME} stdout F ", entry(b"\n")),
        (f"{TIME} stderr P part", entry(b"part", "stderr")),
    ],
)
def test_lines(line: str, expected: LogEntry) -> None:
    """Both formats give the same entries."""
    assert parse_entry(line.encode()) == expected


@pytest.mark.parametrize(
    "line", [b"", b"\0\0\0", b"{", b"{}", b'{"log":1,"stream":"stdout","time":""}', b"a b c", b"a b X c"]
)
def test_lines_that_are_none(line: bytes) -> None:
    """What a power cut leaves is passed over."""
    assert parse_entry(line) is None


PIECES = (
    b'{"log":',
    b'"stream":',
    b'"time":',
    b'"stdout"',
    b'"\\ud800\\n"',
    b",",
    b"}",
    b"null",
    b"1",
    b"[",
    b"\xff",
    TIME.encode(),
    b" ",
    b"stderr",
    b"F",
    b"P",
    b"\0",
)


@given(st.lists(st.sampled_from(PIECES), max_size=10).map(b"".join) | st.binary(max_size=80))
def test_any_line(line: bytes) -> None:
    """Nothing raises."""
    parse_entry(line)


class Writer:
    """Writes numbered lines, and rotates one rename at a time."""

    def __init__(self, path: Path, files: int) -> None:
        self.path = path
        self.files = files
        self.written = 0
        self.file = path.open("ab", buffering=0)

    def close(self) -> None:
        """The file is closed."""
        self.file.close()

    def write(self, count: int = 1) -> None:
        """So many lines, each with its number."""
        for _ in range(count):
            line = {"log": f"{self.written}\n", "stream": "stdout", "time": TIME}
            self.file.write(json.dumps(line).encode() + b"\n")
            self.written += 1

    def tear(self) -> None:
        """Half a line is written and taken back, as on a full disk."""
        size = self.file.seek(0, os.SEEK_END)
        self.file.write(b'{"log":"lost')
        self.file.truncate(size)

    def rotate(self) -> Iterator[None]:
        """Yields between any two steps."""
        numbers = [n for n in range(1, self.files - 1) if self._name(n).exists()]
        for number in reversed([0, *numbers]):
            self._name(number).rename(self._name(number + 1))
            yield
        self.file.close()
        self.file = self.path.open("ab", buffering=0)
        yield

    def _name(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


@given(
    steps=st.lists(
        st.sampled_from(["write", "take", "take one", "tear", "rotate", "rotate slowly"]), max_size=40
    )
)
def test_every_line_once(tmp_path_factory: pytest.TempPathFactory, steps: list[str]) -> None:
    """In order, whenever the reader looks: before, between and after the renames."""
    path = tmp_path_factory.mktemp("log") / "log"
    writer = Writer(path, files=100)
    seen: list[int] = []
    with LogReader(path) as reader:
        for step in steps:
            if step == "write":
                writer.write(3)
            elif step == "tear":
                writer.tear()
            elif step == "take one":
                seen.extend(int(found.data) for found in itertools.islice(reader.take(), 1))
            elif step == "take":
                seen.extend(int(found.data) for found in reader.take())
            else:
                for _ in writer.rotate():
                    if step == "rotate slowly":
                        seen.extend(int(found.data) for found in reader.take())
        seen.extend(int(found.data) for found in reader.take())
    writer.close()
    assert seen == list(range(writer.written))


def test_what_was_rotated_out_is_missing_and_nothing_else(tmp_path: Path) -> None:
    """A reader that is too slow goes on with the oldest file that is left, in order."""
    writer = Writer(tmp_path / "log", files=3)
    with LogReader(tmp_path / "log") as reader:
        writer.write(2)
        assert [int(found.data) for found in reader.take()] == [0, 1]
        for _ in range(6):
            writer.write(2)
            list(writer.rotate())
        writer.write(1)
        seen = [int(found.data) for found in reader.take()]
    writer.close()
    # the file that it held open, then the three that are kept
    assert seen == [2, 3, 10, 11, 12, 13, 14]


class DisturbedReader(LogReader):
    """Whenever it looks at the directory, the oldest file has another name afterwards."""

    def _numbers(self) -> list[int]:
        numbers = super()._numbers()
        oldest = self._path + f".{numbers[-1]}"
        os.rename(oldest, self._path + f".{numbers[-1] + 1}")
        return numbers


def test_rotation_of_older_files_disturbs_nobody(tmp_path: Path) -> None:
    """A reader goes on from one file to the next while older ones are renamed all the time."""
    for number in (500, *range(30)):
        name = f"log.{number}" if number else "log"
        (tmp_path / name).write_text(f"{TIME} stdout F {number}\n")
    with LogReader(tmp_path / "log") as reader:
        taking = reader.take()
        seen = [int(next(taking).data) for _ in range(2)]
        reader.__class__ = DisturbedReader
        seen.extend(int(found.data) for found in taking)
    assert seen == [500, *reversed(range(30))]


def test_a_gap_in_the_numbers(tmp_path: Path) -> None:
    """A writer that was killed in the middle of a rotation leaves one; nothing is missed."""
    for number, name in enumerate(("log.4", "log.2", "log")):
        (tmp_path / name).write_text(f"{TIME} stdout F {number}\n")
    for other in ("log.x", "log.", "log.05", "logs", "log.1.gz"):
        (tmp_path / other).write_text(f"{TIME} stdout F no\n")
    assert [found.data for found in read_log(tmp_path / "log")] == [b"0\n", b"1\n", b"2\n"]


def test_long_lines(tmp_path: Path) -> None:
    """A line may be longer than what is read at once."""
    texts = ["x" * 200000, "y" * 65535, "z"]
    (tmp_path / "log").write_text("".join(f"{TIME} stdout F {text}\n" for text in texts))
    assert [found.data.decode() for found in read_log(tmp_path / "log")] == [f"{text}\n" for text in texts]


def test_an_unfinished_line_waits(tmp_path: Path) -> None:
    """It is given when it is whole."""
    path = tmp_path / "log"
    with LogReader(path) as reader, path.open("a") as file:
        file.write(f"{TIME} stdout F he")
        file.flush()
        assert not list(reader.take())
        file.write("llo\n")
        file.flush()
        assert [found.data for found in reader.take()] == [b"hello\n"]


def test_following_ends_when_told(tmp_path: Path) -> None:
    """With what was written last."""
    path = tmp_path / "log"
    read_end, write_end = os.pipe()
    try:
        path.write_text(f"{TIME} stdout F one\n")
        follower = read_log(path, follow=True, ended_fd=read_end)
        assert next(follower).data == b"one\n"
        with path.open("a") as file:
            file.write(f"{TIME} stdout F two\n")
        assert next(follower).data == b"two\n"
        with path.open("a") as file:
            file.write(f"{TIME} stdout F three\n")
        os.close(write_end)
        assert [found.data for found in follower] == [b"three\n"]
    finally:
        os.close(read_end)


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    """Is said to be so; a follower waits for the file but not for the directory."""
    with pytest.raises(NotFound, match="there is no log"):
        list(read_log(tmp_path / "log"))
    with pytest.raises(NotFound, match="does not exist"):
        next(read_log(tmp_path / "missing" / "log", follow=True))
