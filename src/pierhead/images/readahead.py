"""A stream that is read by a thread of its own, a few blocks ahead of whoever takes them.

Decompressing and hashing let other threads run, and so do the calls that write files: one layer keeps two
processors busy.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Semaphore, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_BLOCKS_AHEAD = 8


class ReadAhead:
    """The blocks that a function gives, in their order.  A context manager: leaving it ends the thread."""

    def __init__(self, take: Callable[[], bytes]) -> None:
        """``take`` is called by the thread, until it gives nothing or raises; it must not wait for ever."""
        self._take = take
        self._blocks: SimpleQueue[bytes | BaseException] = SimpleQueue()
        self._room = Semaphore(_BLOCKS_AHEAD)
        self._stopped = False
        self._thread = Thread(target=self._run, name="read-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join()

    def read(self, _: int, /) -> bytes:
        """The next block, however long it is; nothing at the end.

        Raises:
            Exception: what ``take`` raised, when its blocks before have been read.
        """
        block = self._blocks.get()
        self._room.release()
        if isinstance(block, BaseException):
            self._blocks.put(block)
            raise block
        if not block:
            self._blocks.put(block)  # the end stays the end
        return block

    def _run(self) -> None:
        block: bytes | BaseException = b"first"
        while block and not isinstance(block, BaseException):
            self._room.acquire()
            if self._stopped:
                return
            try:
                block = self._take()
            except BaseException as error:  # noqa: BLE001 - it is raised where the blocks are read
                block = error
            self._blocks.put(block)
