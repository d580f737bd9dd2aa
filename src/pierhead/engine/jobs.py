"""Work that is done to its end, whoever asked for it: a client that hangs up leaves nothing half-way.

A verb runs as a task of the engine's own; its caller only waits for what comes of it.  What blocks runs in
threads of the engine's own, enough of them that a few that are stuck hold up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType
    from typing import Any, Self, TypeVar

    T = TypeVar("T")

THREADS_MAX = 256
"""A thread that is not needed is not made; one that waits costs some KB."""

_log = logging.getLogger(__name__)


class Jobs:
    """The engine's tasks and threads; an asynchronous context manager."""

    def __init__(self) -> None:
        """Entered before it is used."""
        self._group = asyncio.TaskGroup()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="engine")
        self._passing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """What was begun is done; what only waits for something is given up."""
        for task in self._passing:
            task.cancel()
        try:
            await self._group.__aexit__(kind, error, traceback)
        finally:
            self._threads.shutdown(wait=False)

    async def thread(self, function: Callable[..., T], *arguments: object) -> T:
        """What the function, which may block, returns."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns; it goes on to its end even where whoever asked is cancelled."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._group.create_task(_settle(work, outcome))
        return await outcome

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """The work is done some time, and its failure, which nobody waits for, is noted."""
        self._group.create_task(_note_failure(work))

    def begin_passing(self, work: Coroutine[Any, Any, object]) -> asyncio.Task[None]:
        """As ``begin``, for what may be given up at any time: it is cancelled when the engine ends."""
        task = self._group.create_task(_note_failure(work))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began
        return task


async def _settle(work: Coroutine[Any, Any, T], outcome: asyncio.Future[T]) -> None:
    try:
        result = await work
    except asyncio.CancelledError:
        outcome.cancel()
        raise
    except Exception as error:  # noqa: BLE001 - whoever waits gets it
        if not outcome.done():
            outcome.set_exception(error)
        else:
            _log.warning("what a client that is gone had asked for failed: %s", error)
    else:
        if not outcome.done():
            outcome.set_result(result)


async def _note_failure(work: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        try:
            await work
        except Exception:  # noqa: BLE001 - nobody else would hear of it
            _log.exception("a task of the engine failed")
