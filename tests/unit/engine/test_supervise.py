"""Ends of containers, and what others do to them at that moment."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import (
    ContainerConfig,
    EndpointSettings,
    HostConfig,
    PortBinding,
    RestartPolicy,
)
from pierhead.engine.ending import Ender
from pierhead.engine.jobs import Jobs
from pierhead.engine.journal import Journal
from pierhead.engine.launching import Ending
from pierhead.engine.record import Record, State
from pierhead.engine.roster import Roster
from pierhead.engine.settings import Settings
from pierhead.engine.store import Store
from pierhead.engine.supervise import Supervisor
from pierhead.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ID = "c" * 64
SETTINGS = Settings(data_root="/none", exec_root="/none")


class EndedInit:
    """A first process that has ended before anybody looked."""

    pid = 7
    pidfd = -1


class EndedContainer:
    """One whose first process has ended."""

    id = ID
    created = "2026-01-01T00:00:00Z"
    status = "stopped"
    init = EndedInit()

    def kill(self, _: int) -> None:
        """Nobody is there any more."""

    def close(self) -> None:
        """There is nothing to close."""


class Launcher:
    """Knows one container, which has ended, and launches it when the test lets it."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def launch(self, _: Record, __: object, *, gated: bool) -> EndedContainer:
        """It ends at once."""
        assert not gated
        self.asked.set()
        self.go.wait()
        return EndedContainer()

    def sweep(self, kept: frozenset[str]) -> None:
        """Nothing is left over."""

    def find(self, container_id: str) -> EndedContainer:
        """The one."""
        assert container_id == ID
        return EndedContainer()

    def await_ending(self, _: EndedContainer) -> Ending:
        """How it ended."""
        return Ending(exit_code=3, finished="2026-01-01T00:00:05Z")

    def delete(self, _: EndedContainer) -> None:
        """Nothing is left."""


class SlowPlaces:
    """What a container needs is given back when the test lets it."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self.failure: Exception | None = None

    async def take(self, record: Record) -> tuple[Record, None]:
        """See ``Places``."""
        return record, None

    def leave(self, _: Record) -> None:
        """See ``Places``."""
        self.asked.set()
        self.go.wait()
        if self.failure is not None:
            raise self.failure


class FailingCompanion:
    """Has something to do at a container's end that goes wrong."""

    async def begin(self, _: Record, __: object) -> None:
        """Nothing to do."""

    async def end(self, _: Record) -> None:
        """See ``Companion``."""
        raise OSError(errno.EIO, "the disk is broken")


class House:
    """A roster with one running container, and who supervises it."""

    def __init__(self, roster: Roster, jobs: Jobs) -> None:
        self.places = SlowPlaces()
        self.launcher = Launcher()
        self.roster = roster
        parts: Any = (self.launcher, self.places)
        self.supervisor = Supervisor(roster, jobs, *parts)
        self.ender = Ender(roster, jobs, self.supervisor, SETTINGS)


@contextlib.asynccontextmanager
async def house(path: Path, policy: str, *companions: FailingCompanion) -> AsyncIterator[House]:
    """The container has the policy, and has ended while no engine was there."""
    state = State(status="running", pid=7, started_ns=1_000)
    host = HostConfig(restart_policy=RestartPolicy(name=policy))
    record = Record(
        id=ID,
        name="it",
        created_ns=1,
        image="busybox",
        config=ContainerConfig(),
        host=host,
        state=state,
        endpoint=EndpointSettings(ip_address="172.17.0.2"),
        ports={"80/tcp": (PortBinding(host_port="8080"),)},
    )
    with Store(str(path / "engine.db")) as store:
        store.write(put=record)
        async with Jobs() as jobs:
            made = House(Roster(store, Journal(store, jobs)), jobs)
            made.supervisor.companions += companions
            await made.supervisor.restore()
            await asyncio.to_thread(made.places.asked.wait)
            try:
                yield made
            finally:
                made.supervisor.rest()
                made.places.go.set()
                made.launcher.go.set()


def test_a_stop_while_the_end_is_cleaned_up(tmp_path: Path) -> None:
    """Who stops a container that is about to be started again has stopped it, whatever goes on just then."""

    async def run() -> State:
        async with house(tmp_path, "always") as made:
            assert made.roster.get("it").state.status == "restarting"
            async with asyncio.TaskGroup() as group:
                group.create_task(made.ender.stop("it", timeout_s=None, signal=""))
                await asyncio.sleep(0)
                made.places.go.set()
        return made.roster.get("it").state

    state = asyncio.run(run())
    assert (state.status, state.exit_code, state.stopped_by_hand) == ("exited", 3, True)


def test_a_stop_while_it_is_started_by_hand(tmp_path: Path) -> None:
    """Who stops a container that waited for its next start, and is started just then, has stopped it."""

    async def run() -> State:
        async with house(tmp_path, "always") as made:
            made.places.go.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(made.supervisor.start_by_hand("it"))
                await asyncio.to_thread(made.launcher.asked.wait)
                group.create_task(made.ender.stop("it", timeout_s=None, signal=""))
                await asyncio.sleep(0)
                made.launcher.go.set()
        return made.roster.get("it").state

    state = asyncio.run(run())
    assert (state.status, state.stopped_by_hand) == ("exited", True)


@pytest.mark.parametrize(
    "failure",
    [OperationFailed("it is busy"), OSError(errno.EIO, "broken"), sqlite3.OperationalError("locked")],
)
def test_an_end_that_cannot_be_cleaned_up(tmp_path: Path, failure: Exception) -> None:
    """A container's policy starts it again, whatever of its run cannot be given back."""

    async def run() -> bool:
        async with house(tmp_path, "always", FailingCompanion()) as made:
            made.places.failure = failure
            made.places.go.set()
            return await asyncio.to_thread(made.launcher.asked.wait)

    assert asyncio.run(run())


@pytest.mark.parametrize("policy", ["no", "always"])
def test_what_changed_meanwhile_stays(tmp_path: Path, policy: str) -> None:
    """A record that changes while the network is given back keeps what has changed."""

    async def run() -> Record:
        async with house(tmp_path, policy) as made:
            record = made.roster.get("it")
            made.roster.put(record.replace(name="renamed"))
        return made.roster.get("renamed")

    record = asyncio.run(run())
    assert (record.endpoint, record.ports) == (None, {})
    assert record.state.exit_code == 3
