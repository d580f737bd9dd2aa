"""A layer on its way to the store, as far as whoever unpacks it has to know.

    begin ─▶ grow … ─▶ finish         it came, and is what it has to be
          ─▶ grow, to less ─▶ …       what came was wrong, and comes again: only the whole counts now

What is unpacked before the layer is whole may be anything: nothing of it is used until ``settled`` says that
the very bytes that were read have been verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import os

from pierhead.images.growing import Growth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Part:
    """What has come of a layer, for one reader."""

    def __init__(self, fd: int, growth: Growth) -> None:
        """Takes both over."""
        self.fd = fd
        self.growth = growth
        self.lost = asyncio.Event()
        """Set when something else comes in its place."""
        self.settled = asyncio.Event()
        """Set when it is verified, or lost."""

    def close(self) -> None:
        """Nothing of it is open here."""
        self.growth.close()
        os.close(self.fd)


class ArrivingLayer:
    """One layer, from one thread.  Whoever has begun it closes it."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._part: Part | None = None
        self._is_taken = False
        self.ready = asyncio.Event()
        """Set when it can be read, as it comes or from the store."""

    def begin(self, open_reader: Callable[[], int]) -> None:
        """It comes; the function gives a descriptor of what is there."""
        growth = Growth(self._size_bytes)
        try:
            self._part = Part(open_reader(), growth)
        except BaseException:
            growth.close()
            raise
        self.ready.set()

    def grow(self, done_bytes: int) -> None:
        """So many bytes are there; fewer than before mean that those were wrong."""
        part = self._part
        if part is None or part.growth.tell(done_bytes):
            return
        self.ready.clear()
        part.lost.set()
        part.settled.set()
        self._part = None
        if not self._is_taken:
            part.close()

    def finish(self) -> bool:
        """It is in the store, verified; returns whether somebody has read it as it came."""
        part, self._part = self._part, None
        self.ready.set()
        if part is None:
            return False
        part.settled.set()
        if not self._is_taken:
            part.close()
        return self._is_taken

    @contextlib.contextmanager
    def take(self) -> Iterator[Part | None]:
        """What is there of it, for one reader; None when it has to be read from the store, where it is."""
        part = self._part
        if part is None or self._is_taken:
            yield None
            return
        self._is_taken = True
        try:
            yield part
        finally:
            self._part = None
            self._is_taken = False
            part.close()

    def close(self) -> None:
        """Nothing is open that nobody has taken."""
        part, self._part = self._part, None
        if part is not None and not self._is_taken:
            part.close()
