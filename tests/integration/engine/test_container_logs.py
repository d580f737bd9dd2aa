"""Output read again: of files as a monitor writes and rotates them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ContainerConfig, HostConfig, LogConfig
from pierhead.engine.logs import ContainerLogs, parse_block
from pierhead.engine.moments import parse_moment
from pierhead.engine.queries import LogQuery
from pierhead.engine.record import Record
from pierhead.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RECORD = Record(
    id="c" * 64, name="web", created_ns=1, image="box", config=ContainerConfig(), host=HostConfig()
)


def line(text: str, second: int = 0, stream: str = "stdout") -> bytes:
    """A line of a log."""
    moment = f"2026-11-26T08:00:{second:02}.000000000Z"
    document = {"log": text, "stream": stream, "time": moment}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def moment(second: int) -> int:
    """The time of ``line`` in ns."""
    return parse_moment(f"2026-11-26T08:00:{second:02}Z")


class Log:
    """A container's log, and those who read it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.path = directory / "log.json"
        self.ended = asyncio.Event()
        self.logs = ContainerLogs(path=lambda _: str(self.path), wait_end=lambda _: self.ended.wait())

    def write(self, *lines: bytes) -> None:
        """Lines are written."""
        with self.path.open("ab") as file:
            file.write(b"".join(lines))

    def rotate(self) -> None:
        """The file becomes an older one."""
        older = self.path.with_name("log.json.1")
        if older.exists():
            older.rename(self.path.with_name("log.json.2"))
        self.path.rename(older)

    async def pieces(self, record: Record = RECORD, **query: Any) -> list[tuple[str, bytes]]:
        """What a client gets."""
        return [each async for each in await self.logs.read(record, LogQuery(**query))]

    def text(self, **query: Any) -> bytes:
        """What a client gets, of both streams."""
        return b"".join(data for _, data in asyncio.run(self.pieces(**query)))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """An empty one."""
    return Log(tmp_path / "logs")


def test_all_of_it(log: Log) -> None:
    """Older files first, each line once, bytes as they were written."""
    log.write(line("one\n"), line('tab\t"quoted" \\ back\n'), line("ümläut 🐳\n"))
    log.rotate()
    log.write(line("two\n"))
    assert log.text() == 'one\ntab\t"quoted" \\ back\nümläut 🐳\ntwo\n'.encode()


def test_streams_come_in_their_order(log: Log) -> None:
    """Lines of one stream that follow each other are one piece; a stream that is not wanted does not come."""
    log.write(line("a\n"), line("b\n"), line("c\n", stream="stderr"), line("d\n"))
    assert asyncio.run(log.pieces()) == [("stdout", b"a\nb\n"), ("stderr", b"c\n"), ("stdout", b"d\n")]
    assert asyncio.run(log.pieces(stdout=False)) == [("stderr", b"c\n")]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 99])
def test_the_last_lines(log: Log, count: int) -> None:
    """As many as there are, over all files; half a line is none."""
    lines = [f"{number}\n" for number in range(5)]
    log.write(*map(line, lines[:2]))
    log.rotate()
    log.write(*map(line, lines[2:4]))
    log.rotate()
    log.write(line(lines[4]), line("half")[:-1])
    assert log.text(tail=count) == "".join(lines[5 - min(count, 5) :]).encode()


def test_the_last_of_long_lines(log: Log) -> None:
    """Lines longer than the blocks in which the end is looked for."""
    long = ["x" * 70_000 + "\n", "y" * 150_000 + "\n", "z" * 10 + "\n"]
    log.write(*map(line, long), b"{" * 100_000)
    assert log.text(tail=2) == "".join(long[1:]).encode()


def test_times(log: Log) -> None:
    """From one moment to another; each line with its time where that is wanted."""
    log.write(*(line(f"{second}\n", second) for second in range(6)))
    assert log.text(since_ns=moment(2), until_ns=moment(4)) == b"2\n3\n4\n"
    assert log.text(since_ns=moment(5), timestamps=True) == b"2026-11-26T08:00:05.000000000Z 5\n"


def test_a_line_of_another(log: Log) -> None:
    """What is no line of ours is passed over, and those around it come."""
    log.write(
        line("a\n"),
        b"rubbish\n",
        b'{"time": "2026-11-26T08:00:00.000000000Z", "log": "b\\n", "stream": "stdout"}\n',
    )
    assert log.text() == b"a\nb\n"
    assert parse_block(b"rubbish\n") == []


def following(log: Log, then: Callable[[], None]) -> bytes:
    """What a client gets that follows the log; ``then`` happens when it has the first piece."""

    async def run() -> bytes:
        got = b""
        async for _, data in await log.logs.read(RECORD, LogQuery(follow=True)):
            if not got:
                then()
            got += data
        return got

    return asyncio.run(asyncio.wait_for(run(), 30))


def test_following(log: Log) -> None:
    """What is written later comes, over a rotation, and the end ends it with nothing lost."""
    log.write(line("first\n"))

    def go_on() -> None:
        log.write(line("second\n"))
        log.rotate()
        log.write(line("third\n"))
        log.ended.set()

    assert following(log, go_on) == b"first\nsecond\nthird\n"


def test_a_follower_leaves(log: Log) -> None:
    """A client that goes away while nothing is written leaves nothing that waits."""
    log.write(line("first\n"))

    async def run() -> None:
        stream = await log.logs.read(RECORD, LogQuery(follow=True))
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await stream.aclose()  # type: ignore[attr-defined]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_following_until(log: Log) -> None:
    """A bound in time ends it, though the container runs on."""
    log.write(line("past\n"))

    async def run() -> bytes:
        import time

        stream = await log.logs.read(RECORD, LogQuery(follow=True, until_ns=time.time_ns() + 200_000_000))
        return b"".join([data async for _, data in stream])

    assert asyncio.run(asyncio.wait_for(run(), 30)) == b"past\n"


def test_a_driver_that_keeps_nothing(log: Log) -> None:
    """The error is docker's sentence."""
    record = RECORD.replace(host=HostConfig(log_config=LogConfig(type="none")))
    with pytest.raises(Unsupported, match="configured logging driver does not support reading"):
        asyncio.run(log.pieces(record))


def test_a_container_that_never_ran(tmp_path: Path) -> None:
    """It has no output, and that is no failure."""
    found = Log(tmp_path / "logs")
    found.path.parent.rmdir()
    assert found.text() == b""
