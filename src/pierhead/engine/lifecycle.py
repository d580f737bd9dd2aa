"""What a container may become, in Docker's words.

    created ──▶ running ◀──▶ paused
       ▲          │  ▲          │
       │          ▼  │          ▼
       │      restarting ──▶ exited ──▶ running
       │
       └── nothing leads back here

    created, exited, dead, restarting ──▶ removing ──▶ gone, or dead

One table says which step leads from which status to which.  Pure.
"""

from __future__ import annotations

from pierhead.errors import Conflict, NotModified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.engine.record import Record, State

    Step = Literal["start", "die", "retry", "pause", "unpause", "give-up", "remove", "fail-removal"]

TRANSITIONS: dict[tuple[str, str], str] = {
    ("created", "start"): "running",
    ("exited", "start"): "running",
    ("restarting", "start"): "running",
    ("running", "die"): "exited",
    ("paused", "die"): "exited",
    ("exited", "retry"): "restarting",
    ("restarting", "give-up"): "exited",
    ("running", "pause"): "paused",
    ("paused", "unpause"): "running",
    ("created", "remove"): "removing",
    ("exited", "remove"): "removing",
    ("dead", "remove"): "removing",
    ("removing", "fail-removal"): "dead",
}
"""By status and step.  What does not stand here cannot happen."""

ALIVE = ("running", "paused")
"""There are processes."""


def is_alive(record: Record) -> bool:
    """Whether the container has processes, as far as is known."""
    return record.state.status in ALIVE


def after(record: Record, step: Step) -> State:
    """The state with the status that the step leads to; all else in it is as it was.

    Raises:
        Conflict: the step is not possible now.
    """
    status = TRANSITIONS.get((record.state.status, step))
    if status is None:
        raise Conflict(
            f"container {record.name} is {record.state.status}: {step} is not possible now",
            code="wrong-status",
        )
    return record.state.replace(status=status)


def started(record: Record, *, pid: int, now_ns: int) -> State:
    """It runs, as if it never had before."""
    return after(record, "start").replace(
        pid=pid,
        exit_code=0,
        oom_killed=False,
        error="",
        started_ns=now_ns,
        finished_ns=0,
        stopped_by_hand=False,
        health=None,
    )


def ended(record: Record, *, exit_code: int, oom_killed: bool, now_ns: int) -> State:
    """Its first process has ended."""
    return after(record, "die").replace(
        pid=0, exit_code=exit_code, oom_killed=oom_killed, finished_ns=max(now_ns, record.state.started_ns)
    )


# What a verb needs, in words that clients know


def check_start(record: Record) -> None:
    """It can be started.

    Raises:
        NotModified: it runs.
        Conflict: it is paused, or on its way out.
    """
    status = record.state.status
    if status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead", code="paused")
    if status == "running":
        raise NotModified(f"container {record.name} is already running")
    if status in ("removing", "dead"):
        raise Conflict("container is marked for removal and cannot be started", code="marked-for-removal")


def check_alive(record: Record) -> None:
    """It has processes, paused or not.

    Raises:
        Conflict: it has not.
    """
    if not is_alive(record):
        raise not_running(record)


def check_running(record: Record, verb: str) -> None:
    """It has processes, and they run.

    Raises:
        Conflict: they do not.
    """
    status = record.state.status
    if status == "paused":
        if verb == "pause":
            raise Conflict(f"Container {record.id} is already paused", code="paused")
        raise Conflict(
            f"Container {record.id} is paused, unpause the container before {verb}",
            code="paused",
            hint=f"pier unpause {record.name}",
        )
    if status == "restarting":
        raise Conflict(
            f"Container {record.id} is restarting, wait until the container is running", code="restarting"
        )
    check_alive(record)


def check_paused(record: Record) -> None:
    """It is paused.

    Raises:
        Conflict: it is not.
    """
    if record.state.status != "paused":
        raise Conflict(f"Container {record.id} is not paused", code="not-paused")


def check_removal(record: Record) -> None:
    """It can be removed as it is.

    Raises:
        Conflict: it runs, or somebody removes it already.
    """
    status = record.state.status
    if status == "removing":
        raise Conflict(
            f"removal of container {record.name} is already in progress", code="removal-in-progress"
        )
    if status == "paused":
        what = "container is paused and must be unpaused first"
    elif status in ("running", "restarting"):
        what = f"container is {status}: stop the container before removing or force remove"
    else:
        return
    raise Conflict(
        f'cannot remove container "{record.name}": {what}',
        code="running",
        hint=f"pier rm --force {record.name}",
    )


def not_running(record: Record) -> Conflict:
    """The error for a verb that needs a process."""
    return Conflict(
        f"container {record.id} is not running", code="not-running", hint=f"pier start {record.name}"
    )
