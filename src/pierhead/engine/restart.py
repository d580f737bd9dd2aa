"""When a container that has ended is started again, and after how long.

    first time            100 ms
    each further time     twice as long, 1 min at most
    after a run of 10 s   100 ms again

Source: Docker's "Start containers automatically"; the names of policies are the API's.  Pure.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.documents import RestartPolicy
    from pierhead.engine.record import Record, State

FIRST_DELAY_S = 0.1
DELAY_MAX_S = 60.0
STEADY_S = 10.0
"""A container that ran so long was well: its next failure is a first one."""


def next_delay_s(previous_s: float, ran_s: float) -> float:
    """How long to wait before the next start.

    Args:
        previous_s: the wait before the run that has just ended; 0 if somebody started that.
        ran_s: how long it ran.
    """
    if previous_s <= 0 or ran_s >= STEADY_S:
        return FIRST_DELAY_S
    return min(previous_s * 2, DELAY_MAX_S)


def wants_restart(policy: RestartPolicy, state: State, restart_count: int) -> bool:
    """Whether the policy starts a container again that has ended like this.

    Args:
        policy: the container's.
        state: with its exit code, and whether somebody asked for the end.
        restart_count: how often the policy has done so since somebody last started it.
    """
    if state.stopped_by_hand:
        return False
    if policy.name == "on-failure":
        most = policy.maximum_retry_count
        return state.exit_code != 0 and (most == 0 or restart_count < most)
    return policy.name in ("always", "unless-stopped")


def wants_start_at_boot(record: Record) -> bool:
    """Whether an engine that begins starts the container, which does not run.

    ``always`` means also one that somebody has stopped before; none starts that never ran.
    """
    policy = record.host.restart_policy
    if record.state.started_ns == 0 or record.state.status not in ("exited", "restarting"):
        return False
    if policy.name == "always":
        return True
    return wants_restart(policy, record.state, record.restart_count)
