"""Who looks after the health of containers that run: a companion of each one's start and end."""

from __future__ import annotations

from pierhead.engine.documents import ExecConfig
from pierhead.engine.happenings import container_event
from pierhead.engine.health import Answer, Watch, check_of
from pierhead.engine.lifecycle import is_alive
from pierhead.engine.record import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio

    from pierhead.engine.execs import Execs
    from pierhead.engine.health import Check
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.record import Record
    from pierhead.engine.roster import Roster
    from pierhead.runtime import Container


class HealthWatches:
    """One watch for each container that asks for it; see ``supervise.Companion``."""

    def __init__(self, roster: Roster, jobs: Jobs, execs: Execs) -> None:
        """Nobody is watched."""
        self._roster = roster
        self._jobs = jobs
        self._execs = execs
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, record: Record, container: Container) -> None:  # noqa: ARG002 - a companion's
        """The container runs: it is asked from now on."""
        check = check_of(record.config)
        if check is None:
            return
        health = record.state.health
        if health is None:
            health = Health()
            self._roster.observe(record.replace(state=record.state.replace(health=health)))

        async def run(asked: Check) -> Answer:
            return await self._ask(record.id, asked)

        async def tell(new: Health) -> None:
            self._note(record.id, new)

        watch = Watch(check, started_ns=record.state.started_ns, health=health, run=run, tell=tell)
        self._tasks[record.id] = self._jobs.begin_passing(watch.watch())

    async def end(self, record: Record) -> None:
        """The container has ended: nobody asks it any more."""
        task = self._tasks.pop(record.id, None)
        if task is not None:
            task.cancel()

    async def _ask(self, container_id: str, check: Check) -> Answer:
        wanted = ExecConfig(cmd=check.command, attach_stdout=True, attach_stderr=True)
        exit_code, output = await self._execs.run(container_id, wanted, timeout_s=check.timeout_s)
        return Answer(exit_code=exit_code, output=output.decode(errors="replace"))

    def _note(self, container_id: str, health: Health) -> None:
        record = self._roster.find(container_id)
        if record is None or not is_alive(record):
            return
        before = record.state.health
        events = []
        if before is None or before.status != health.status:
            events = [container_event(record, f"health_status: {health.status}", self._roster.now_ns())]
        self._roster.observe(record.replace(state=record.state.replace(health=health)), *events)
