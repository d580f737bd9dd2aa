"""Containers are asked to end, or to hold still: stop, kill, restart, pause.

No lock is held while one waits for an end: somebody else may kill meanwhile what does not stop.
"""

from __future__ import annotations

import asyncio
import contextlib

from pierhead.engine import lifecycle
from pierhead.engine.happenings import container_event
from pierhead.errors import Conflict, NotModified, OperationFailed, Unavailable
from pierhead.signals import parse_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.record import Record
    from pierhead.engine.roster import Roster
    from pierhead.engine.settings import Settings
    from pierhead.engine.supervise import Supervisor
    from pierhead.engine.waiting import Outcome

_SIGKILL = 9
_DEATH_S = 10.0
"""How long a process that was killed may take to be gone."""


class Ender:
    """Ends containers and holds them still."""

    def __init__(self, roster: Roster, jobs: Jobs, supervisor: Supervisor, settings: Settings) -> None:
        self._roster = roster
        self._jobs = jobs
        self._supervisor = supervisor
        self._settings = settings

    # Ends

    async def stop(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        """It has ended: asked to, and killed if it takes too long.

        Raises:
            NotModified: it did not run.
            OperationFailed: it does not die.
        """
        record = self._roster.get(reference)
        if await self._gave_up_retry(record):
            return
        record = self._roster.get(record.id)
        if not lifecycle.is_alive(record):
            raise NotModified(f"container {record.name} is already stopped")
        await self._jobs.finish(self._stop(record, timeout_s, signal))

    async def _stop(self, record: Record, timeout_s: int | None, signal: str) -> None:
        number = parse_signal(signal or record.config.stop_signal or "TERM")
        if timeout_s is None:
            own = record.config.stop_timeout
            timeout_s = own if own is not None else self._settings.stop_timeout_s
        await self._end(record, number, None if timeout_s < 0 else float(timeout_s))
        found = self._roster.find(record.id)
        if found is not None:
            self._roster.tell(container_event(found, "stop", self._roster.now_ns()))

    async def _end(self, record: Record, signal: int, timeout_s: float | None) -> None:
        """Its first process has ended, within the time or by SIGKILL."""
        self._mark_by_hand(record.id)
        ended = self._supervisor.waiting.expect(record, "next-exit")
        if not lifecycle.is_alive(self._roster.find(record.id) or record):
            ended.cancel()
            return
        try:
            if signal != _SIGKILL and (timeout_s is None or timeout_s > 0):
                await self._signal(record.id, signal)
                if await _ends(ended, timeout_s):
                    return
            await self._signal(record.id, _SIGKILL)
            if not await _ends(ended, _DEATH_S):
                raise OperationFailed(
                    f"cannot stop container {record.name}: process {record.state.pid} does not die",
                    code="undead",
                    hint="the kernel holds it, most often for a disk or a network file system",
                )
        finally:
            ended.cancel()

    async def _signal(self, container_id: str, number: int) -> None:
        """Sent; one that is paused is let run, so that it sees the signal.  Nothing if it has just ended."""
        record = self._roster.find(container_id)
        container = self._supervisor.find(container_id)
        if record is None or container is None:
            return
        with contextlib.suppress(Conflict):
            await self._jobs.thread(container.kill, number)
            self._roster.tell(container_event(record, "kill", self._roster.now_ns(), signal=str(number)))
        if record.state.status == "paused" and number != _SIGKILL:
            await self._unpause(container_id)

    def _mark_by_hand(self, container_id: str) -> None:
        record = self._roster.find(container_id)
        if record is not None and not record.state.stopped_by_hand:
            self._roster.observe(record.replace(state=record.state.replace(stopped_by_hand=True)))

    async def end_now(self, record: Record) -> None:
        """It does not run, nor is it started again by its policy."""
        if await self._gave_up_retry(record):
            return
        record = self._roster.find(record.id) or record
        if lifecycle.is_alive(record):
            await self._end(record, _SIGKILL, None)

    async def _gave_up_retry(self, record: Record) -> bool:
        """Whether it waited for its next start, and does not any more; one that is started at this moment has
        been started when we know.
        """
        if record.state.status != "restarting":
            return False
        if self._supervisor.is_starting(record.id):
            async with self._roster.lock(record.id):
                now = self._roster.find(record.id)
            if now is None or now.state.status != "restarting":
                return False
            record = now
        self._supervisor.give_up_retry(record)
        return True

    async def kill(self, reference: str, *, signal: str) -> None:
        """The signal has been sent; SIGKILL, and the container's stop signal, say that it is to stay ended.

        Raises:
            Conflict: it does not run.
        """
        record = self._roster.get(reference)
        number = parse_signal(signal or "KILL")
        if number == _SIGKILL:
            if await self._gave_up_retry(record):
                return
            record = self._roster.get(record.id)
        refused = Conflict(
            f"cannot kill container: {reference}: container {record.id} is not running", code="not-running"
        )
        container = self._supervisor.find(record.id)
        if container is None or not lifecycle.is_alive(record):
            raise refused
        if number in (_SIGKILL, parse_signal(record.config.stop_signal or "TERM")):
            self._mark_by_hand(record.id)
        try:
            await self._jobs.finish(self._jobs.thread(container.kill, number))
        except Conflict:
            raise refused from None
        self._roster.tell(container_event(record, "kill", self._roster.now_ns(), signal=str(number)))

    async def restart(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        """It runs anew; what ran, or was paused, has ended before."""
        container_id = self._roster.get(reference).id
        await self._jobs.finish(self._restart(container_id, timeout_s, signal))

    async def _restart(self, container_id: str, timeout_s: int | None, signal: str) -> None:
        with self._supervisor.keeping(container_id):
            with contextlib.suppress(NotModified):
                await self.stop(container_id, timeout_s=timeout_s, signal=signal)
            async with self._roster.lock(container_id):
                with contextlib.suppress(NotModified):
                    await self._supervisor.start(container_id)
        record = self._roster.find(container_id)
        if record is not None:
            self._roster.tell(container_event(record, "restart", self._roster.now_ns()))

    # Holding still

    async def pause(self, reference: str) -> None:
        """None of its processes runs.

        Raises:
            Conflict: it does not run, or is paused already.
        """
        await self._jobs.finish(self._pause(self._roster.get(reference).id))

    async def _pause(self, container_id: str) -> None:
        async with self._roster.lock(container_id):
            record = self._roster.get(container_id)
            lifecycle.check_running(record, "pause")
            await self._jobs.thread(self._supervisor.get(record).pause)
            self._note(container_id, "pause")

    async def unpause(self, reference: str) -> None:
        """Its processes run again.

        Raises:
            Conflict: it is not paused.
        """
        record = self._roster.get(reference)
        lifecycle.check_paused(record)
        await self._jobs.finish(self._unpause(record.id))

    async def _unpause(self, container_id: str) -> None:
        async with self._roster.lock(container_id):
            record = self._roster.get(container_id)
            if record.state.status != "paused":
                return
            await self._jobs.thread(self._supervisor.get(record).resume)
            self._note(container_id, "unpause")

    def _note(self, container_id: str, step: lifecycle.Step) -> None:
        record = self._roster.get(container_id)
        event = container_event(record, step, self._roster.now_ns())
        self._roster.observe(record.replace(state=lifecycle.after(record, step)), event)


async def _ends(ended: asyncio.Future[Outcome], timeout_s: float | None) -> bool:
    """Whether it ends within the time.

    Raises:
        Unavailable: the engine ends before, and sees no ends any more.
    """
    done, _ = await asyncio.wait((ended,), timeout=timeout_s)
    if ended.cancelled():
        raise Unavailable("the engine stops, and does not wait for the container's end", code="engine-stops")
    return bool(done)
