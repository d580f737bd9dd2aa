"""Archives between the loop and threads, through pipes: a client's speed becomes the thread's, and back.

async for block in read_written(write):    write(fd) runs in a thread; its error comes in its place
    …
result = await feed(blocks, read)          read(fd) runs in a thread, and gets what comes
"""

from __future__ import annotations

import asyncio
import os

from pierhead.images.remote.tasks import offload, parallel
from pierhead.linux.files import write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import TypeVar

    T = TypeVar("T")

_BLOCK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


async def read_written(write: Callable[[int], object]) -> AsyncIterator[bytes]:
    """What the function writes to the descriptor it is called with, block by block.

    Its error is raised after what it wrote before.  If nobody reads to the end, it gets EPIPE.
    """
    reading_fd, writing_fd = _pipe()

    def run() -> Exception | None:
        try:
            write(writing_fd)
        except Exception as error:  # noqa: BLE001 - raised in its place
            return error
        finally:
            os.close(writing_fd)
        return None

    async with parallel() as group:
        task = group.create_task(offload(run))
        try:
            while block := await offload(os.read, reading_fd, _BLOCK_BYTES):
                yield block
        finally:
            os.close(reading_fd)
        error = await task
    if error is not None:
        raise error


async def feed(blocks: AsyncIterator[bytes], read: Callable[[int], T]) -> T:
    """What the function returns, which reads the blocks from the descriptor it is called with.

    When it has returned or failed, the rest of the blocks is passed over.
    """
    reading_fd, writing_fd = _pipe()

    def run() -> T:
        try:
            return read(reading_fd)
        finally:
            os.close(reading_fd)

    async with parallel() as group:
        task = group.create_task(offload(run))
        try:
            async for block in blocks:
                if task.done():
                    continue
                try:
                    await offload(write_all, writing_fd, block)
                except BrokenPipeError:
                    continue
        finally:
            os.close(writing_fd)
        return await task


def _pipe() -> tuple[int, int]:
    import fcntl

    reading_fd, writing_fd = os.pipe2(os.O_CLOEXEC)
    try:
        fcntl.fcntl(writing_fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:  # the user has too many large pipes: smaller ones work as well
        pass
    return reading_fd, writing_fd


async def first_of(documents: AsyncIterator[T]) -> AsyncIterator[T]:
    """The same documents; an error before the first of them has been raised by this call already."""
    try:
        first = await anext(documents)
    except StopAsyncIteration:
        return _nothing()
    return _rest(first, documents)


async def _rest(first: T, documents: AsyncIterator[T]) -> AsyncIterator[T]:
    try:
        yield first
        async for each in documents:
            yield each
    finally:
        closing = getattr(documents, "aclose", None)
        if closing is not None:
            await asyncio.shield(closing())


async def _nothing() -> AsyncIterator[T]:
    return
    yield
