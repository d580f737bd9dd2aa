"""The engine's database, its journal, and the picture in memory."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import EndpointSettings
from pierhead.engine.happenings import container_event
from pierhead.engine.jobs import Jobs
from pierhead.engine.journal import Journal
from pierhead.engine.record import Event, Record, State
from pierhead.engine.roster import Roster
from pierhead.engine.store import EVENTS_MAX, Store
from pierhead.errors import Conflict, NotFound, OperationFailed
from tests.support.records import ID, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PAGE = 4096


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    with Store(str(tmp_path / "engine.db")) as made:
        yield made


def event(number: int, action: str = "start", **what: str) -> Event:
    """One of the container's, at that second."""
    return container_event(record(), action, number * 10**9, **what)


def open_files(directory: Path) -> list[str]:
    """Files of the directory that this process has open, while what was raised is still there."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.realpath(link).startswith(f"{directory}/")]


def test_records_come_back(store: Store, tmp_path: Path) -> None:
    """As they were written last, and those that were dropped do not."""
    made = record(env=("A=b",), memory=64, labels={"a": "b"})
    store.write(put=made)
    seen = made.replace(
        state=State(status="running", pid=7, started_ns=5),
        endpoint=EndpointSettings(ip_address="10.0.0.2"),
        restart_count=2,
    )
    store.write(put=seen, was=made)
    store.write(put=record(id="f" * 64, name="other"))
    store.write(drop="f" * 64)
    store.close()
    with Store(str(tmp_path / "engine.db")) as again:
        assert list(again.containers()) == [seen]


def test_nobody_else_reads_it(store: Store, tmp_path: Path) -> None:
    """Environments of containers have passwords in them."""
    store.write(put=record())
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_change_and_its_events_are_one(store: Store) -> None:
    """Where the change cannot be written, nothing is told of it."""
    store.write(put=record(), events=(event(1),))
    with pytest.raises(Conflict):
        store.write(put=record(id="f" * 64), events=(event(2),))
    assert [each.time_ns for each in store.events_after(0)] == [10**9]
    assert [each.id for each in store.containers()] == [ID]


def test_events_are_bounded(store: Store) -> None:
    """The oldest go; numbers go on."""
    for begin in range(0, 2 * EVENTS_MAX, 512):
        store.write(events=[event(number) for number in range(begin, begin + 512)])
    first = store.events_after(0, most=1)[0]
    assert store.last_event == 2 * EVENTS_MAX
    assert EVENTS_MAX <= store.last_event - first.sequence + 1 <= EVENTS_MAX + 512


def test_what_is_no_database(tmp_path: Path) -> None:
    """It says what to do."""
    (tmp_path / "engine.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(OperationFailed, match="is damaged"):
        Store(str(tmp_path / "engine.db"))


def test_a_damaged_page(tmp_path: Path) -> None:
    """Whichever it is: it is said, and never found by surprise."""
    path = tmp_path / "engine.db"
    with Store(str(path)) as store:
        for number in range(20):
            made = record(id=f"{number:064x}", name=f"web-{number}")
            store.write(put=made, events=[event(number) for number in range(40)])
        store.checkpoint()
    whole = path.read_bytes()
    pages = len(whole) // PAGE
    assert pages > 20
    for number in range(pages):
        broken = whole[: number * PAGE] + b"\xff" * PAGE + whole[(number + 1) * PAGE :]
        path.write_bytes(broken)
        with pytest.raises(OperationFailed, match="is damaged") as caught:
            Store(str(path))
        assert not open_files(tmp_path), caught.value


def test_a_damaged_entry(tmp_path: Path) -> None:
    """What is no record any more is said too, with the place in it."""
    path = tmp_path / "engine.db"
    with Store(str(path)) as store:
        store.write(put=record(), events=[event(1)])
        store.checkpoint()
    path.write_bytes(path.read_bytes().replace(b'"created_ns"', b'"cheated_ns"'))
    with Store(str(path)) as store, pytest.raises(OperationFailed, match=r"is damaged: .*cheated_ns"):
        list(store.containers())


def test_a_newer_pierhead_has_been_here(tmp_path: Path) -> None:
    """Nothing is opened of which we do not know what it means."""
    path = str(tmp_path / "engine.db")
    Store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=1000")
    with pytest.raises(Conflict, match="made by a newer Pierhead") as caught:
        Store(path)
    assert not open_files(tmp_path), caught.value


def test_log_is_worked_in(store: Store) -> None:
    """When it has grown long; what was written is there before and after."""
    while not store.wants_checkpoint():
        store.write(events=[event(number) for number in range(512)])
    known = store.last_event
    store.checkpoint()
    assert not store.wants_checkpoint(), "the log's file stays as long as it was"
    assert store.events_after(known - 1)[0].sequence == known


async def _next(events: AsyncIterator[Event]) -> Event:
    """The next one, as a task can wait for it."""
    return await anext(events)


async def _followed(journal: Journal, *, since_ns: int, until_ns: int, **filters: list[str]) -> list[str]:
    found = journal.follow(since_ns=since_ns, until_ns=until_ns, filters=filters)
    return [each.action async for each in found]


def test_journal(store: Store) -> None:
    """The past from a moment on, then what comes, until a moment; filters let pass what fits."""

    async def work() -> None:
        async with Jobs() as jobs:
            journal = Journal(store, jobs, clock_ns=lambda: 100 * 10**9)
            roster = Roster(store, journal)
            roster.put(record(labels={"a": "b"}), event(1, "create"), event(2, "start", a="b"))
            coming = journal.follow(since_ns=0, until_ns=0, filters={})
            assert await _followed(journal, since_ns=1, until_ns=50 * 10**9) == ["create", "start"]
            assert await _followed(journal, since_ns=2 * 10**9, until_ns=50 * 10**9) == ["start"]
            assert await _followed(journal, since_ns=1, until_ns=1 * 10**9) == ["create"]
            assert await _followed(journal, since_ns=1, until_ns=3, event=["create"]) == []
            for filters, wanted in (
                ({"event": ["start"]}, ["start"]),
                ({"type": ["image"]}, []),
                ({"container": ["web"]}, ["create", "start"]),
                ({"container": ["other"]}, []),
                ({"label": ["a=b"]}, ["start"]),
            ):
                assert await _followed(journal, since_ns=1, until_ns=50 * 10**9, **filters) == wanted
            async with asyncio.TaskGroup() as group:
                first = group.create_task(_next(coming))
                await asyncio.sleep(0)
                roster.tell(event(9, "die"))
            assert first.result().action == "die"
            await coming.aclose()
            assert journal.followers == 0

    asyncio.run(work())


def test_roster(store: Store) -> None:
    """Names are nobody else's while they are reserved or taken, and free again afterwards."""

    async def work() -> None:
        async with Jobs() as jobs:
            roster = Roster(store, Journal(store, jobs))
            assert roster.reserve("/web") == "web"
            with pytest.raises(Conflict, match='The container name "/web" is already in use'):
                roster.reserve("web")
            made = roster.put(record())
            roster.release("web")
            with pytest.raises(Conflict, match=f'by container "{ID}"'):
                roster.reserve("web")
            roster.put(made.replace(name="other"))
            assert roster.get("other").id == ID
            with pytest.raises(NotFound):
                roster.get("web")
            roster.drop(roster.get("other"))
            assert not roster.all()
            assert roster.reserve("other") == "other"

    asyncio.run(work())


def test_what_was_seen_counts_though_it_cannot_be_written(store: Store) -> None:
    """A full disk changes nothing in what the kernel has done; what was only asked for is refused."""

    async def work() -> None:
        async with Jobs() as jobs:
            roster = Roster(store, Journal(store, jobs))
            made = roster.put(record())
            store.close()
            ended: Record = made.replace(state=State(status="exited"))
            with pytest.raises(OperationFailed):
                roster.put(ended)
            assert roster.get("web") == made
            roster.observe(ended)
            assert roster.get("web") == ended

    asyncio.run(work())
