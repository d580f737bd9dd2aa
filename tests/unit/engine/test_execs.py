"""Further processes, by a container that launches them when the test lets it."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ContainerConfig, ExecConfig, HostConfig
from pierhead.engine.execs import Execs
from pierhead.engine.jobs import Jobs
from pierhead.engine.journal import Journal
from pierhead.engine.record import Record, State
from pierhead.engine.roster import Roster
from pierhead.engine.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID = "c" * 64
RECORD = Record(
    id=ID,
    name="it",
    created_ns=1,
    image="busybox",
    config=ContainerConfig(),
    host=HostConfig(),
    state=State(status="running", pid=7, started_ns=1_000),
)


class Process:
    """One that runs until it is killed."""

    pid = 8
    pidfd = -1

    def __init__(self) -> None:
        self.killed, self.closed = threading.Event(), threading.Event()

    def terminate(self) -> None:
        """It is killed."""
        self.killed.set()

    def wait(self, _: float) -> SimpleNamespace:
        """Its end."""
        self.killed.wait()
        return SimpleNamespace(shell_code=137)

    def close(self) -> None:
        """Nothing of it is open."""
        self.closed.set()


class Container:
    """Launches processes when the test lets it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.process = Process()

    def exec(self, _: object, **__: object) -> Process:
        """It runs."""
        self.go.wait()
        return self.process


class Notes:
    """Which processes were noted."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, container_id: str, _: object) -> None:
        """See ``ExecNotes``."""
        self.written.append(container_id)

    def forget_record(self, _: str, __: str) -> None:
        """There is none."""


class House:
    """A container that runs, and its further processes."""

    def __init__(self, roster: Roster, jobs: Jobs) -> None:
        self.roster, self.container, self.notes = roster, Container(), Notes()
        supervisor: Any = SimpleNamespace(get=lambda _: self.container)
        planner: Any = SimpleNamespace(plan_exec=lambda *_: None)
        notes: Any = self.notes
        self.execs = Execs(roster, jobs, supervisor, planner, notes)


def keep_house(path: Path, work: Callable[[House], Any]) -> House:
    """The work is done."""

    async def run() -> House:
        with Store(str(path / "engine.db")) as store:
            store.write(put=RECORD)
            async with Jobs() as jobs:
                house = House(Roster(store, Journal(store, jobs)), jobs)
                await work(house)
            return house

    return asyncio.run(run())


def test_time_is_over_while_it_is_launched(tmp_path: Path) -> None:
    """A process that nobody waits for any more when it runs at last is killed, and its streams are closed."""

    async def work(house: House) -> None:
        wanted = ExecConfig(cmd=("true",), attach_stdout=True)
        with pytest.raises(TimeoutError):
            await house.execs.run("it", wanted, timeout_s=0)
        house.container.go.set()

    house = keep_house(tmp_path, work)
    assert house.container.process.closed.is_set()
    (made,) = house.execs._execs.values()
    assert (made.exit_code, made.attachment) == (137, None)


def test_an_end_after_the_container_is_gone(tmp_path: Path) -> None:
    """Nothing is noted of the process any more: its container's directory would be there again."""

    async def work(house: House) -> None:
        house.container.go.set()
        made = (await house.execs.create("it", ExecConfig(cmd=("true",))))["Id"]
        await house.execs.start(made, detach=True, console_size=())
        house.notes.written.clear()
        house.roster.drop(house.roster.get("it"))
        house.container.process.terminate()

    house = keep_house(tmp_path, work)
    assert house.container.process.closed.is_set()
    assert house.notes.written == []
