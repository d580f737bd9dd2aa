"""When containers are started again."""

from __future__ import annotations

import pytest

from pierhead.engine.documents import RestartPolicy
from pierhead.engine.record import State
from pierhead.engine.restart import next_delay_s, wants_restart, wants_start_at_boot
from tests.support.records import record


def test_delays_double_up_to_a_minute() -> None:
    """100 ms, 200 ms, … and never more than a minute."""
    delay, found = 0.0, []
    for _ in range(12):
        delay = next_delay_s(delay, ran_s=0.5)
        found.append(delay)
    assert found[:4] == [0.1, 0.2, 0.4, 0.8]
    assert found[-2:] == [60.0, 60.0]


def test_a_steady_run_begins_anew() -> None:
    """After ten seconds of run a failure is a first one."""
    assert next_delay_s(25.6, ran_s=9.9) == 51.2
    assert next_delay_s(25.6, ran_s=10.0) == 0.1


@pytest.mark.parametrize(
    ("policy", "exit_code", "count", "wanted"),
    [
        ("no", 1, 0, False),
        ("", 1, 0, False),
        ("always", 0, 99, True),
        ("unless-stopped", 0, 99, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 99, True),
    ],
)
def test_policies(policy: str, exit_code: int, count: int, *, wanted: bool) -> None:
    """Each says of an exit code whether it is started again."""
    state = State(status="exited", exit_code=exit_code)
    assert wants_restart(RestartPolicy(name=policy), state, count) is wanted


def test_failures_are_counted() -> None:
    """``on-failure:3`` starts it three times."""
    policy, state = RestartPolicy(name="on-failure", maximum_retry_count=3), State(exit_code=1)
    assert [wants_restart(policy, state, count) for count in range(5)] == [True, True, True, False, False]


def test_what_somebody_stopped_stays_stopped() -> None:
    """Whatever the policy; only when an engine begins does ``always`` mean what it says."""
    state = State(status="exited", exit_code=1, started_ns=1, stopped_by_hand=True)
    for name, at_boot in (("always", True), ("unless-stopped", False), ("on-failure", False), ("no", False)):
        policy = RestartPolicy(name=name)
        assert not wants_restart(policy, state, 0)
        assert wants_start_at_boot(record(state=state, restart_policy=policy)) is at_boot


def test_what_never_ran_is_not_started_at_boot() -> None:
    """A container that was only created stays so."""
    assert not wants_start_at_boot(record(restart_policy=RestartPolicy(name="always")))
