"""Health of containers: what is asked, and what the answers mean."""

from __future__ import annotations

import asyncio
import time

import pytest

from pierhead.engine.documents import ContainerConfig, HealthConfig
from pierhead.engine.health import Answer, Check, Watch, check_of, judge
from pierhead.engine.record import Health, HealthResult
from pierhead.errors import Conflict

S = 1_000_000_000
CHECK = Check(command=("true",), retries=3)


def result(exit_code: int) -> HealthResult:
    """A run's."""
    return HealthResult(start="a", end="b", exit_code=exit_code, output="")


@pytest.mark.parametrize(
    ("test", "command"),
    [
        (("CMD", "curl", "-f", "x"), ("curl", "-f", "x")),
        (("CMD-SHELL", "curl x || exit 1"), ("/bin/sh", "-c", "curl x || exit 1")),
        (("NONE",), None),
        ((), None),
        (("CMD",), None),
    ],
)
def test_what_is_run(test: tuple[str, ...], command: tuple[str, ...] | None) -> None:
    """The forms that a Dockerfile has, and those that turn it off."""
    check = check_of(ContainerConfig(healthcheck=HealthConfig(test=test)))
    assert (check.command if check else None) == command


def test_times_and_defaults() -> None:
    """Nanoseconds become seconds; what is not given is docker's default."""
    found = check_of(ContainerConfig(healthcheck=HealthConfig(test=("CMD", "x"), interval=2 * S, retries=5)))
    assert found == Check(command=("x",), interval_s=2.0, start_interval_s=2.0, retries=5)
    assert check_of(ContainerConfig()) is None


def test_the_shell_of_the_image() -> None:
    """A command for a shell is for the image's own."""
    config = ContainerConfig(healthcheck=HealthConfig(test=("CMD-SHELL", "x")), shell=("/bin/ash", "-ec"))
    found = check_of(config)
    assert found is not None
    assert found.command == ("/bin/ash", "-ec", "x")


def test_so_many_failures() -> None:
    """As many as ``retries`` one after the other make it unhealthy; one success makes it healthy again."""
    health = Health()
    seen = []
    for code in (1, 1, 0, 1, 1, 1, 0):
        health = judge(health, result(code), CHECK, starting=False)
        seen.append((health.status, health.failing_streak))
    assert seen == [
        ("starting", 1),
        ("starting", 2),
        ("healthy", 0),
        ("healthy", 1),
        ("healthy", 2),
        ("unhealthy", 3),
        ("healthy", 0),
    ]
    assert len(health.log) == 5


def test_the_start_period() -> None:
    """Failures within it do not count, but a container that was well once has left it."""
    health = judge(Health(), result(1), CHECK, starting=True)
    assert (health.status, health.failing_streak) == ("starting", 0)
    health = judge(judge(health, result(0), CHECK, starting=True), result(1), CHECK, starting=True)
    assert (health.status, health.failing_streak) == ("healthy", 1)


def test_a_watch_tells_of_every_answer() -> None:
    """Also of those that come too late, or not at all."""
    answers: list[Answer | Exception] = [
        Answer(exit_code=0, output="x" * 9999),
        TimeoutError(),
        Conflict("it is paused"),
    ]
    told: list[Health] = []
    check = Check(command=("true",), interval_s=0.001, timeout_s=2, retries=2)

    async def run(_: Check) -> Answer:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def scene() -> None:
        done = asyncio.Event()

        async def tell(health: Health) -> None:
            told.append(health)
            if not answers:
                done.set()

        watch = Watch(check, started_ns=time.time_ns(), health=Health(), run=run, tell=tell)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch.watch())
            await done.wait()
            task.cancel()

    asyncio.run(scene())
    assert [each.status for each in told] == ["healthy", "healthy", "unhealthy"]
    assert [each.log[-1].exit_code for each in told] == [0, -1, -1]
    assert len(told[0].log[-1].output) == 4096
    assert told[1].log[-1].output == "Health check exceeded timeout (2s)"
