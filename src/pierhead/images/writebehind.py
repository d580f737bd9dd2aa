"""A thread that does with blocks what takes long, while whoever made them makes the next ones.

Compressing and hashing let other threads run, and so do the calls that read files.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Semaphore, Thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_BLOCKS_BEHIND = 8


class WriteBehind:
    """Blocks on their way to a function, in their order.  A context manager: leaving it ends the thread."""

    def __init__(self, put: Callable[[bytes], object]) -> None:
        """``put`` is called by the thread, with one block after the other, until it raises."""
        self._put = put
        self._blocks: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = Semaphore(_BLOCKS_BEHIND)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="write-behind", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks.put(None)
        self._thread.join()

    def append(self, block: bytes | memoryview) -> None:
        """The block is on its way.

        Raises:
            Exception: what ``put`` raised for a block before.
        """
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._blocks.put(block if isinstance(block, bytes) else bytes(block))

    def finish(self) -> None:
        """Everything has arrived; nothing may follow.

        Raises:
            Exception: what ``put`` raised.
        """
        self._blocks.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            try:
                if self._error is None:
                    self._put(block)
            except BaseException as error:  # noqa: BLE001 - it is raised where the blocks come from
                self._error = error
            self._room.release()
