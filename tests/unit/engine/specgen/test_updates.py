"""New limits for containers that are there."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.engine.documents import HostConfig, RestartPolicy, UpdateConfig
from pierhead.engine.specgen import plan_update
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Cpu, Memory, Pids, Resources
from tests.support.requests import MACHINE, filled

MIB = 1 << 20


def updated(host: HostConfig, **fields: Any) -> tuple[HostConfig, Resources]:
    """What the update makes of a container that was asked for."""
    return plan_update(filled(host)[0], UpdateConfig(**fields), machine=MACHINE)


def test_only_what_changes() -> None:
    """The limits that the cgroup gets are those of the update, and what stays is kept."""
    host, limits = updated(HostConfig(memory=64 * MIB, nano_cpus=10**9), cpu_shares=5, pids_limit=7)
    assert limits == Resources(cpu=Cpu(shares=5), pids=Pids(limit=7))
    assert (host.memory, host.cpu_shares, host.pids_limit) == (64 * MIB, 5, 7)


def test_an_empty_update() -> None:
    """Nothing changes."""
    before, _ = filled(HostConfig(memory=64 * MIB, restart_policy=RestartPolicy(name="always")))
    assert plan_update(before, UpdateConfig()) == (before, Resources())


def test_memory_and_swap_go_together() -> None:
    """The kernel checks each against the other, so both are said; more than the swap needs a new one."""
    host, limits = updated(HostConfig(memory=64 * MIB), memory=100 * MIB)
    assert limits.memory == Memory(limit=100 * MIB, swap=128 * MIB)
    with pytest.raises(InvalidInput, match=r"^Memory limit should be smaller than already set memoryswap"):
        updated(HostConfig(memory=64 * MIB), memory=200 * MIB)
    host, limits = updated(HostConfig(memory=64 * MIB), memory=200 * MIB, memory_swap=-1)
    assert (host.memory, host.memory_swap) == (200 * MIB, -1)


def test_no_limits_any_more() -> None:
    """-1 takes the limit of swap and of processes away."""
    _, limits = updated(HostConfig(memory=64 * MIB, pids_limit=5), memory_swap=-1, pids_limit=-1)
    assert limits.pids == Pids(limit=-1)
    assert limits.memory == Memory(limit=64 * MIB, swap=-1)


@pytest.mark.parametrize(
    ("before", "fields", "message"),
    [
        (
            {"cpu_period": 50000},
            {"nano_cpus": 10**9},
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            {"nano_cpus": 10**9},
            {"cpu_quota": 50000},
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        ({}, {"memory": MIB}, "Minimum memory limit allowed is 6MB"),
        (
            {"auto_remove": True},
            {"restart_policy": RestartPolicy(name="always")},
            "Restart policy cannot be updated because AutoRemove is enabled for the container",
        ),
    ],
)
def test_refused(before: dict[str, Any], fields: dict[str, Any], message: str) -> None:
    """What cannot stand beside what is there is refused with Docker's sentence."""
    with pytest.raises(InvalidInput) as caught:
        updated(HostConfig(**before), **fields)
    assert caught.value.message == message


def test_restart_policy() -> None:
    """The policy changes where one is named."""
    policy = RestartPolicy(name="on-failure", maximum_retry_count=3)
    host, limits = updated(HostConfig(), restart_policy=policy)
    assert (host.restart_policy, limits) == (policy, Resources())
    assert updated(host, restart_policy=RestartPolicy())[0].restart_policy == policy
