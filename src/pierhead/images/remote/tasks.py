"""Work beside the event loop and in parallel, so that it is over when its caller thinks so.

A thread cannot be cancelled: whoever gives it a file to write must not close that file before it is done,
for the number may be another file's by then.
"""

from __future__ import annotations

import asyncio
import contextlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TypeVar

    T = TypeVar("T")


async def offload(
    function: Callable[..., T], *arguments: object, undo: Callable[[T], object] | None = None
) -> T:
    """What the function returns, run in a thread; being cancelled, this waits for its end first.

    Args:
        function: blocks.
        arguments: for it.
        undo: gives back what it returned if nobody is there any more to take it.
    """
    running = asyncio.get_running_loop().run_in_executor(None, lambda: function(*arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait((running,))
        if undo is not None and not running.cancelled() and running.exception() is None:
            undo(running.result())
        raise


@contextlib.asynccontextmanager
async def parallel() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks whose first error is raised as itself, when the others, cancelled, have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
