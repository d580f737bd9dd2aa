"""Being told that something is written to a log, until nothing more can be."""

from __future__ import annotations

import asyncio
import contextlib

from pierhead.errors import Unavailable
from pierhead.linux.inotify import DirectoryWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_UNWATCHED_S = 0.2


class LogNews:
    """Of one log, for one who reads it."""

    def __init__(self, directory: str) -> None:
        """``directory`` has the log's files."""
        self._directory = directory
        self._watch: DirectoryWatch | None = None
        self._news = asyncio.Event()
        self._ended = False

    def end(self) -> None:
        """Nothing more will be written."""
        self._ended = True
        self._news.set()

    def go_on(self) -> None:
        """More will be written after all."""
        self._ended = False

    def take(self) -> bool:
        """What is written from now on is news; whether nothing more will be."""
        self._news.clear()
        return self._ended

    async def wait(self) -> None:
        """There is news, or the end."""
        if self._watch is not None:
            await self._news.wait()
        elif not self._ended:
            await asyncio.sleep(_UNWATCHED_S)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Whatever is written is news, where the kernel lets us watch one directory more."""
        try:
            self._watch = DirectoryWatch(self._directory)
        except Unavailable:
            yield
            return
        loop = asyncio.get_running_loop()
        with contextlib.closing(self._watch) as watch:
            loop.add_reader(watch.fileno(), self._hear)
            try:
                yield
            finally:
                loop.remove_reader(watch.fileno())

    def _hear(self) -> None:
        assert self._watch is not None
        self._watch.drain()
        self._news.set()
