"""Work in threads and in groups: over when its caller thinks so."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pierhead.images.remote.tasks import offload, parallel


def test_what_a_thread_returns() -> None:
    """Results and errors come through."""

    async def run() -> int:
        with pytest.raises(ZeroDivisionError):
            await offload(lambda: 1 // 0)
        return await offload(max, 1, 2)

    assert asyncio.run(run()) == 2


def test_a_cancelled_caller_waits_for_its_thread() -> None:
    """However often it is cancelled; what the thread gave is given back."""
    started, go_on = threading.Event(), threading.Event()
    told: list[str] = []

    def work() -> str:
        started.set()
        assert go_on.wait(60)
        told.append("done")
        return "result"

    async def run() -> None:
        task = asyncio.ensure_future(offload(work, undo=lambda result: told.append(f"{result} given back")))
        while not started.is_set():
            await asyncio.sleep(0.001)
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0.01)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["done", "result given back"]

    asyncio.run(run())


def test_the_first_error_is_raised_as_itself() -> None:
    """Not as a group, and when the others have ended."""
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("other")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    async def run() -> None:
        async with parallel() as group:
            group.create_task(wait())
            group.create_task(fail())

    with pytest.raises(KeyError, match="first"):
        asyncio.run(run())
    assert ended == ["other"]


def test_an_error_of_the_body_is_raised_as_itself() -> None:
    """And ends the tasks as well."""

    async def run() -> None:
        async with parallel() as group, parallel() as inner:
            group.create_task(asyncio.sleep(60))
            inner.create_task(asyncio.sleep(60))
            raise LookupError("body")

    with pytest.raises(LookupError, match="body"):
        asyncio.run(run())
