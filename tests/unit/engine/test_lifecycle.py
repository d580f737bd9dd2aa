"""What a container may become."""

from __future__ import annotations

import pytest

from pierhead.engine import lifecycle
from pierhead.engine.record import State
from pierhead.errors import Conflict, NotModified
from tests.support.records import record

STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


def test_every_status_is_reached_and_left() -> None:
    """But for the first, which nothing leads to."""
    assert set(lifecycle.TRANSITIONS.values()) == set(STATUSES) - {"created"}
    assert {before for before, _ in lifecycle.TRANSITIONS} == set(STATUSES)


def test_steps_that_are_not_there() -> None:
    """A step from a status that does not lead anywhere is refused."""
    with pytest.raises(Conflict, match="container web is paused: start is not possible now"):
        lifecycle.after(record(state=State(status="paused")), "start")


def test_a_start_forgets_the_run_before() -> None:
    """Exit code, error and health are those of the new run."""
    before = State(
        status="exited", exit_code=7, error="x", finished_ns=5, oom_killed=True, stopped_by_hand=True
    )
    found = lifecycle.started(record(state=before), pid=42, now_ns=9)
    assert found == State(status="running", pid=42, started_ns=9)


def test_an_end_is_never_before_its_start() -> None:
    """Clocks are set back; a run still takes no negative time."""
    running = record(state=State(status="running", pid=1, started_ns=100))
    found = lifecycle.ended(running, exit_code=3, oom_killed=True, now_ns=50)
    assert found == State(status="exited", exit_code=3, oom_killed=True, started_ns=100, finished_ns=100)


@pytest.mark.parametrize("status", STATUSES)
def test_start(status: str) -> None:
    """What does not run can be started, unless it is on its way out."""
    found = record(state=State(status=status))
    if status in ("created", "exited", "restarting"):
        lifecycle.check_start(found)
        return
    with pytest.raises(NotModified if status == "running" else Conflict):
        lifecycle.check_start(found)


@pytest.mark.parametrize("status", STATUSES)
def test_removal(status: str) -> None:
    """What does not run can be removed, once."""
    found = record(state=State(status=status))
    if status in ("created", "exited", "dead"):
        lifecycle.check_removal(found)
        return
    with pytest.raises(Conflict, match=r'removal of container web is already|cannot remove container "web"'):
        lifecycle.check_removal(found)
