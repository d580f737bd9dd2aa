"""Whether a container is well: a command runs in it again and again, and its status is the answer.

    starting ──0──▶ healthy ◀──0── unhealthy
        └── retries times ≠ 0, after the start period ──▶ unhealthy ◀── the same ── healthy

Within the start period failures do not count; the first success ends it.  ``Watch`` keeps one container's
answers; what it does is decided by ``judge``, which is pure.

Source: the Dockerfile reference, HEALTHCHECK; ``HealthConfig`` of the Docker API.
"""

from __future__ import annotations

import asyncio
import time

from pierhead.engine.moments import format_moment
from pierhead.engine.record import Health, HealthResult
from pierhead.errors import PierheadError
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pierhead.engine.documents import ContainerConfig, HealthConfig

_S = 1_000_000_000
_DEFAULT_INTERVAL_S = 30.0
_DEFAULT_TIMEOUT_S = 30.0
_DEFAULT_RETRIES = 3
_RESULTS = 5
_OUTPUT_BYTES = 4096
_FAILED = -1


class Check(Value):
    """What is run, how often, and when it counts.

    Fields:
        command: program and arguments, in the container.
        interval_s: between the end of one and the start of the next.
        timeout_s: it is killed then, and has failed.
        start_period_s: after the container's start; failures within it do not count.
        start_interval_s: as ``interval_s``, within the start period.
        retries: how many failures one after the other make it unhealthy.
    """

    command: tuple[str, ...]
    interval_s: float = _DEFAULT_INTERVAL_S
    timeout_s: float = _DEFAULT_TIMEOUT_S
    start_period_s: float = 0.0
    start_interval_s: float = _DEFAULT_INTERVAL_S
    retries: int = _DEFAULT_RETRIES


class Answer(Value):
    """What one run gave; ``output`` has at most the first 4 KB."""

    exit_code: int
    output: str = ""


def check_of(config: ContainerConfig) -> Check | None:
    """What a container's configuration asks for; None for nothing."""
    wanted = config.healthcheck
    command = _command(wanted, config.shell or ("/bin/sh", "-c")) if wanted else ()
    if wanted is None or not command:
        return None
    interval_s = wanted.interval / _S or _DEFAULT_INTERVAL_S
    return Check(
        command=command,
        interval_s=interval_s,
        timeout_s=wanted.timeout / _S or _DEFAULT_TIMEOUT_S,
        start_period_s=wanted.start_period / _S,
        start_interval_s=wanted.start_interval / _S or interval_s,  # as dockerd 26 has it; its pages say 5 s
        retries=wanted.retries or _DEFAULT_RETRIES,
    )


def _command(wanted: HealthConfig, shell: tuple[str, ...]) -> tuple[str, ...]:
    kind, *rest = wanted.test or ("NONE",)
    if kind == "CMD":
        return tuple(rest)
    if kind == "CMD-SHELL" and rest:
        return (*shell, rest[0])
    return ()


def judge(health: Health, result: HealthResult, check: Check, *, starting: bool) -> Health:
    """What a container's health is after one more result.

    Args:
        health: as it was.
        result: of the last run.
        check: what was asked for.
        starting: whether the run began within the start period.
    """
    log = (*health.log, result)[-_RESULTS:]
    if result.exit_code == 0:
        return Health(status="healthy", failing_streak=0, log=log)
    if starting and health.status == "starting":
        return health.replace(log=log)
    streak = health.failing_streak + 1
    status = "unhealthy" if streak >= check.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


class Watch:
    """One container's health, from its start to its end."""

    def __init__(
        self,
        check: Check,
        *,
        started_ns: int,
        health: Health,
        run: Callable[[Check], Awaitable[Answer]],
        tell: Callable[[Health], Awaitable[object]],
    ) -> None:
        """Args:
        check: what is asked.
        started_ns: when the container was started, Unix time.
        health: what is known: of an engine that comes back, what was known before.
        run: runs the command in the container, and kills it after the timeout, when it raises TimeoutError.
        tell: takes every new health.
        """
        self._check = check
        self._started_s = started_ns / _S
        self._health = health
        self._run = run
        self._tell = tell

    def _starting(self) -> bool:
        return time.time() < self._started_s + self._check.start_period_s

    async def watch(self) -> None:
        """The container is asked until this is cancelled."""
        while True:
            within = self._starting() and self._health.status == "starting"
            await asyncio.sleep(self._check.start_interval_s if within else self._check.interval_s)
            starting = self._starting()
            began_ns = time.time_ns()
            answer = await self._ask()
            result = HealthResult(
                start=format_moment(began_ns),
                end=format_moment(time.time_ns()),
                exit_code=answer.exit_code,
                output=answer.output[:_OUTPUT_BYTES],
            )
            self._health = judge(self._health, result, self._check, starting=starting)
            await self._tell(self._health)

    async def _ask(self) -> Answer:
        try:
            return await self._run(self._check)
        except TimeoutError:
            message = f"Health check exceeded timeout ({self._check.timeout_s:g}s)"
            return Answer(exit_code=_FAILED, output=message)
        except PierheadError as error:
            return Answer(exit_code=_FAILED, output=error.message)
