"""Progress in the words of the Docker API."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.pipes import first_of
from pierhead.engine.transfers import Telling, draw_bar, told
from pierhead.errors import NotFound, OperationFailed
from pierhead.oci.image import LAYER_GZIP, Descriptor

if TYPE_CHECKING:
    from pierhead.engine.transfers import Tell

LAYER = Descriptor(media_type=LAYER_GZIP, digest="sha256:" + "ab" * 32, size=2000)


def all_of(work: Any) -> list[Any]:
    """What a client gets to read."""

    async def read() -> list[Any]:
        return [each async for each in await first_of(told(work))]

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("done", "total", "bar"),
    [
        (0, 2000, "[>                                                 ]      0B/2kB"),
        (1000, 2000, "[========================>                         ]     1kB/2kB"),
        (2000, 2000, "[=================================================>]     2kB/2kB"),
        (3, 0, "[>                                                 ]      3B/0B"),
    ],
)
def test_the_bar(done: int, total: int, bar: str) -> None:
    """It has fifty places, and grows with what is done; a length of 0 divides nothing."""
    assert draw_bar(done, total) == bar


def test_a_layer_has_its_short_id() -> None:
    """Clients draw a line for each id."""
    documents: list[Any] = []
    telling = Telling(documents.append)
    telling.planned((LAYER,))
    telling.downloading(LAYER, 2000)
    assert [each["id"] for each in documents] == ["abababababab"] * 2
    assert documents[1]["progressDetail"] == {"current": 2000, "total": 2000}


def test_downloading_is_not_told_for_every_block() -> None:
    """Of a thousand blocks that come at once a client hears of the first and of the last at most some."""
    documents: list[Any] = []
    telling = Telling(documents.append)
    for done in range(0, 2001, 2):
        telling.downloading(LAYER, done)
    assert len(documents) < 100
    assert documents[-1]["progressDetail"]["current"] == 2000


def test_an_early_failure_is_raised() -> None:
    """A client gets its status instead of an answer."""

    async def work(_: Tell) -> None:
        raise NotFound("there is no such thing")

    with pytest.raises(NotFound):
        all_of(work)


def test_a_late_failure_is_told() -> None:
    """The answer has begun: the failure is its last document."""

    async def work(tell: Tell) -> None:
        tell({"status": "begins"})
        raise OperationFailed("the disk is full", hint="make room")

    documents = all_of(work)
    assert documents[0] == {"status": "begins"}
    assert documents[1]["error"] == documents[1]["errorDetail"]["message"] == "the disk is full (make room)"


def test_a_reader_who_leaves_ends_the_work() -> None:
    """The work is cancelled when nobody reads any more."""
    ended: list[str] = []

    async def work(tell: Tell) -> None:
        tell({"status": "begins"})
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("cancelled")

    async def leave() -> None:
        documents = await first_of(told(work))
        await anext(documents)
        await documents.aclose()  # type: ignore[attr-defined]

    asyncio.run(leave())
    assert ended == ["cancelled"]
