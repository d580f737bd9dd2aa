"""A container's output, read again: as much of it as a client asks for, while more is written.

    log.json, log.json.1, …  ─▶ blocks of lines ─▶ pieces, each of one stream, in their order

A log is as large as its container makes it, so lines are not looked at one by one: a pattern finds the parts
of a whole block, and what it finds is decoded together.  Only what is no line of ours is read by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from itertools import groupby
from operator import itemgetter

from pierhead.engine.lognews import LogNews
from pierhead.engine.logship.tags import format_details
from pierhead.engine.moments import format_moment
from pierhead.engine.queries import LogQuery
from pierhead.engine.specgen.logwords import is_readable
from pierhead.errors import Unsupported
from pierhead.images.remote.tasks import offload, parallel
from pierhead.runtime.logs import LogReader, parse_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from typing import Self

    from pierhead.engine.queries import AttachQuery
    from pierhead.engine.record import Record

    Piece = tuple[str, bytes]

_LINE = re.compile(rb'\{"log":"([^"\\]*(?:\\.[^"\\]*)*)","stream":"(std(?:out|err))","time":"([^"]*)"\}\n')


def parse_block(block: bytes) -> list[tuple[bytes, bytes, bytes]]:
    """The lines of a block: output as JSON writes strings, stream, time."""
    found = _LINE.findall(block)
    if len(found) == block.count(b"\n"):
        return found
    entries = filter(None, map(parse_entry, block[:-1].split(b"\n")))
    return [
        (
            json.dumps(entry.data.decode(errors="replace"))[1:-1].encode(),
            entry.stream.encode(),
            entry.time.encode(),
        )
        for entry in entries
    ]


def _as_json(data: bytes) -> bytes:
    return json.dumps(data.decode(errors="replace"))[1:-1].encode()


class Filter:
    """Which lines a query wants, and how they are shown."""

    def __init__(self, query: LogQuery, details: str = "") -> None:
        """Makes the bounds that times are compared with: they are all of one length.

        Args:
            query: what is wanted.
            details: what stands before each line, and after its time; nothing that JSON would quote.
        """
        self._streams = {
            name for name, wanted in ((b"stdout", query.stdout), (b"stderr", query.stderr)) if wanted
        }
        self._since = _bound(query.since_ns)
        self._until = _bound(query.until_ns)
        self._timestamps = query.timestamps
        self._details = details.encode()
        self.over = False
        """Whether a line was later than the query wants any."""

    def pieces(self, block: bytes) -> Iterator[Piece]:
        """What of the block is wanted: lines of one stream that follow each other are one piece."""
        lines: Iterable[tuple[bytes, bytes, bytes]] = parse_block(block)
        if len(self._streams) == 1:
            lines = [line for line in lines if line[1] in self._streams]
        if self._since:
            lines = [line for line in lines if line[2] >= self._since]
        if self._until:
            found = [line for line in lines if line[2] <= self._until]
            self.over = self.over or len(found) < len(list(lines))
            lines = found
        details = self._details
        for stream, run in groupby(lines, key=itemgetter(1)):
            if self._timestamps:
                text = b"".join([b"%s %s%s" % (moment, details, output) for output, _, moment in run])
            elif details:
                text = b"".join([details + output for output, _, _ in run])
            else:
                text = b"".join([output for output, _, _ in run])
            yield stream.decode(), json.loads(b'"%s"' % text).encode(errors="replace")


def _bound(moment_ns: int) -> bytes:
    """A time as the log writes them."""
    if not moment_ns:
        return b""
    text = format_moment(moment_ns).removesuffix("Z")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction:0<9}Z".encode()


class ContainerLogs:
    """The part of an engine that gives output again; see ``api.ports.Containers``."""

    def __init__(
        self,
        *,
        path: Callable[[Record], str],
        wait_end: Callable[[Record], Awaitable[object]],
    ) -> None:
        """Args:
        path: of a container's newest log file.
        wait_end: returns when the container does not run.
        """
        self._path = path
        self._wait_end = wait_end

    async def read(self, record: Record, query: LogQuery) -> AsyncIterator[Piece]:
        """The container's output.

        Raises:
            Unsupported: its log driver keeps nothing.
        """
        log = record.host.log_config
        if not is_readable(log):
            message = f"configured logging driver does not support reading: {log.type}"
            raise Unsupported(message, code="log-not-kept", hint="use --log-driver json-file or local")
        return self._read(record, query)

    def past(self, record: Record, query: AttachQuery, until_ns: int) -> AsyncIterator[Piece]:
        """What was written before that moment, for a client that is connected with the streams from then on;
        nothing where its log driver keeps nothing.
        """
        return self._read(record, LogQuery(stdout=query.stdout, stderr=query.stderr, until_ns=until_ns))

    async def _read(self, record: Record, query: LogQuery) -> AsyncIterator[Piece]:
        path = self._path(record)
        if not os.path.isdir(os.path.dirname(path)):
            return
        details = format_details(record) if query.details else ""
        with _Reading(path, query, details) as reading:
            if not query.follow:
                async for piece in reading.present():
                    yield piece
                return
            async with parallel() as group:
                ending = group.create_task(self._tell_end(record, query, reading))
                try:
                    async for piece in reading.all():
                        yield piece
                finally:
                    ending.cancel()

    async def _tell_end(self, record: Record, query: LogQuery, reading: _Reading) -> None:
        """The reading ends when nothing more can come that is wanted."""
        try:
            until_s = query.until_ns / 1e9 - time.time() if query.until_ns else None
            async with asyncio.timeout(until_s):
                await self._wait_end(record)
        except TimeoutError:
            pass
        reading.end()


class _Reading:
    """One client's way through a log."""

    def __init__(self, path: str, query: LogQuery, details: str) -> None:
        self._reader = LogReader(path)
        self._filter = Filter(query, details)
        self._news = LogNews(self._reader.directory)
        if query.tail is not None:
            self._reader.skip_to_last(query.tail)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def end(self) -> None:
        """Nothing more will be written."""
        self._news.end()

    async def present(self) -> AsyncIterator[Piece]:
        """What is there and was not given before.  Large logs are read in threads, a block at a time."""
        blocks = self._reader.take_lines()
        while not self._filter.over and (block := await offload(next, blocks, b"")):
            for piece in self._filter.pieces(block):
                yield piece

    async def all(self) -> AsyncIterator[Piece]:
        """What is there, and what comes until the end."""
        with self._news.watched():
            while not self._filter.over:
                ended = self._news.take()
                async for piece in self.present():
                    yield piece
                if ended:
                    return
                await self._news.wait()
