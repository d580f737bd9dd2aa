"""Containers while they run: their start, what comes of it, their end, and what follows from that.

    start      launch in a thread; state and event ``start`` are one transaction; its pidfd is watched
    end        exit record, state and event ``die``, then those who wait, then cleaning up
    and then   the restart policy's delay, or removal (``--rm``), or nothing

Containers outlive the engine.  One that comes back asks the runtime for each, and goes on: what ended
meanwhile ends now, with the exit record's time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3

from pierhead.engine import lifecycle, restart
from pierhead.engine.happenings import container_event, mount_events, network_event, unmount_events
from pierhead.engine.launching import UNKNOWN_EXIT_CODE, Ending
from pierhead.engine.moments import parse_moment
from pierhead.engine.waiting import Waiting
from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError
from pierhead.runtime.attach import AttachClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import Protocol

    from pierhead.engine.jobs import Jobs
    from pierhead.engine.launching import Launcher
    from pierhead.engine.places import Places
    from pierhead.engine.record import Event, Record
    from pierhead.engine.roster import Roster
    from pierhead.engine.streams import MonitorAttachment
    from pierhead.runtime import Container

    class Companion(Protocol):
        """Whoever has something to do while a container runs: its health, its log's driver, its processes."""

        async def begin(self, record: Record, container: Container) -> None:
            """The container runs, perhaps since before the engine did."""

        async def end(self, record: Record) -> None:
            """It has ended, and its processes are still to be cleaned up."""


_log = logging.getLogger(__name__)
NOT_EXECUTABLE = 126
_NOT_FOUND, _OTHER = 127, 128


class Supervisor:
    """Containers that run, by their ids."""

    def __init__(self, roster: Roster, jobs: Jobs, launcher: Launcher, places: Places) -> None:
        """Nothing runs yet; ``restore`` finds what does."""
        self._roster = roster
        self._jobs = jobs
        self._launcher = launcher
        self.waiting = Waiting()
        self._places = places
        self._running: dict[str, Container] = {}
        self._expected: dict[str, list[MonitorAttachment]] = {}
        self._retries: dict[str, asyncio.Task[None]] = {}
        self._delays: dict[str, float] = {}
        self._kept: list[str] = []
        self._starting: set[str] = set()
        self._ending: set[str] = set()
        self._resting = False
        self.companions: list[Companion] = []
        self.checks: list[Callable[[Record], Awaitable[None]]] = []
        """What has to be right before a container is launched; what is wrong is its start's failure."""
        self.remove: Callable[[str], Awaitable[None]] | None = None
        """Removes a container that is to be gone at its end."""

    def find(self, container_id: str) -> Container | None:
        """The runtime's container, if it runs as far as is known."""
        return self._running.get(container_id)

    def get(self, record: Record) -> Container:
        """The same.

        Raises:
            Conflict: it does not run.
        """
        found = self._running.get(record.id)
        if found is None:
            raise lifecycle.not_running(record)
        return found

    # The start

    async def start_by_hand(self, reference: str) -> None:
        """Somebody wants the container to run, and it does.

        Raises:
            NotModified: it runs already.
            PierheadError: it cannot be started; its record says why.
        """
        record = self._roster.get(reference)
        lifecycle.check_start(record)
        await self._jobs.finish(self._start_by_hand(record))

    async def _start_by_hand(self, record: Record) -> None:
        """One that is to be removed at its end, and has none since it cannot be started, is removed now:
        whoever wants to run it waits for that.
        """
        try:
            async with self._roster.lock(record.id):
                await self.start(record.id)
        except PierheadError:
            now = self._roster.find(record.id)
            if now is not None and now.state.error and now.host.auto_remove:
                await self._remove_at_end(now.id)
            raise

    async def start(self, container_id: str, *, retry: bool = False) -> None:
        """The container runs.  The caller holds its lock.

        Raises:
            NotModified: it runs already.
            PierheadError: it cannot be started; its record says why.
        """
        record = self._need(container_id)
        lifecycle.check_start(record)
        if not retry:
            self.cancel_retry(container_id)
            self._delays.pop(container_id, None)
        self._starting.add(container_id)
        try:
            container = await self._start(record)
            self._running[container_id] = container
            count = record.restart_count + 1 if retry else 0
            self._note_start(container_id, container, restart_count=count, now_ns=self._roster.now_ns())
        finally:
            self._starting.remove(container_id)
        await self._begin_companions(container_id, container)

    async def _start(self, record: Record) -> Container:
        attachments = self._expected.pop(record.id, [])
        try:
            for check in self.checks:
                await check(record)
            return await self._launch(record, attachments)
        except PierheadError as error:
            told = in_docker_words(error)
            self._note_failure(record.id, told)
            if told is error:
                raise
            raise told from error.__cause__
        finally:
            for each in attachments:
                each.give_up()

    async def _launch(self, record: Record, attachments: list[MonitorAttachment]) -> Container:
        """Where somebody is to see its output from the first byte on, it waits for them to be connected."""
        taken, place = await self._places.take(record)
        record = self._roster.revise(record.id, endpoint=taken.endpoint, ports=taken.ports)
        self._tell_of_place(record, "connect", mount_events)
        try:
            container = await self._jobs.thread(
                lambda: self._launcher.launch(record, place, gated=bool(attachments))
            )
            if not attachments:
                return container
            try:
                path = self._launcher.attach_path(record.id)
                for each in attachments:
                    each.connect(AttachClient(path))
                await self._jobs.thread(container.start)
            except BaseException:
                await self._jobs.thread(self._launcher.delete, container)
                raise
        except BaseException:
            await self._leave(record.id)
            raise
        return container

    def _note_start(
        self, container_id: str, container: Container, *, restart_count: int, now_ns: int
    ) -> None:
        record = self._need(container_id)
        state = lifecycle.started(record, pid=container.init.pid, now_ns=now_ns)
        record = record.replace(state=state, restart_count=restart_count)
        self._roster.observe(record, container_event(record, "start", now_ns))
        self._watch(container_id, container)

    def _note_failure(self, container_id: str, error: PierheadError) -> None:
        """As Docker notes it: the error, and the code that a shell has for it.  One that waited for its next
        start has ended.
        """
        record = self._need(container_id)
        code = exit_code_of_failure(error.message)
        state = record.state.replace(error=error.message, exit_code=code)
        waited = state.status == "restarting"
        if waited:
            state = state.replace(status="exited", finished_ns=self._roster.now_ns())
        record = self._roster.observe(record.replace(state=state))
        if waited:
            self.waiting.ended(record)

    async def _begin_companions(self, container_id: str, container: Container) -> None:
        for each in self.companions:
            await each.begin(self._need(container_id), container)

    def _need(self, container_id: str) -> Record:
        record = self._roster.find(container_id)
        if record is None:
            raise NotFound(f"No such container: {container_id}", code="container-not-found")
        return record

    # Those who want to see it

    async def attach(self, record: Record, attachment: MonitorAttachment) -> None:
        """The attachment is connected, now or when the container starts."""
        if lifecycle.is_alive(record):
            try:
                attachment.connect(AttachClient(self._launcher.attach_path(record.id)))
            except Conflict:  # it has just ended
                attachment.give_up()
            return
        waiting = [each for each in self._expected.get(record.id, []) if not each.is_closed]
        self._expected[record.id] = [*waiting, attachment]

    def forget(self, container_id: str) -> None:
        """The container is gone: nobody waits for its start any more."""
        self.cancel_retry(container_id)
        self._delays.pop(container_id, None)
        for attachment in self._expected.pop(container_id, []):
            attachment.give_up()

    # The end

    def _watch(self, container_id: str, container: Container) -> None:
        if self._resting:
            return
        loop, pidfd = asyncio.get_running_loop(), container.init.pidfd
        if pidfd < 0:  # it had ended before anybody looked
            self._jobs.begin(self._conclude(container_id, container))
            return

        def ended() -> None:
            loop.remove_reader(pidfd)
            self._jobs.begin(self._conclude(container_id, container))

        loop.add_reader(pidfd, ended)

    async def _conclude(self, container_id: str, container: Container) -> None:
        """The first process has ended: so has the container."""
        ending = await self._jobs.thread(self._launcher.await_ending, container)
        self._ending.add(container_id)
        try:
            await self._end(container_id, container, ending)
        finally:
            self._ending.discard(container_id)

    async def _end(self, container_id: str, container: Container, ending: Ending) -> None:
        async with self._roster.lock(container_id):
            if self._running.pop(container_id, None) is None:
                return
            record = self._note_end(container_id, ending)
            self.waiting.ended(record)
            await self._clean_up(container_id, container)
        if record.state.status == "restarting" and not self._resting:
            self._retry_later(record)
        elif record.host.auto_remove:
            await self._remove_at_end(container_id)

    async def _remove_at_end(self, container_id: str) -> None:
        if container_id in self._kept or self.remove is None:
            return
        with contextlib.suppress(NotFound, Conflict):  # somebody else is at it
            await self.remove(container_id)

    def _note_end(self, container_id: str, ending: Ending) -> Record:
        record = self._need(container_id)
        now_ns = parse_moment(ending.finished) if ending.finished else self._roster.now_ns()
        state = lifecycle.ended(
            record, exit_code=ending.exit_code, oom_killed=ending.oom_killed, now_ns=now_ns
        )
        if restart.wants_restart(record.host.restart_policy, state, record.restart_count):
            state = lifecycle.after(record.replace(state=state), "retry")
        ran_s = (state.finished_ns - state.started_ns) / 1e9
        what = {"exitCode": str(state.exit_code), "execDuration": str(int(ran_s))}
        record = record.replace(state=state)
        events = [container_event(record, "die", now_ns, **what)]
        if ending.oom_killed:
            events.insert(0, container_event(record, "oom", now_ns))
        return self._roster.observe(record, *events)

    async def _clean_up(self, container_id: str, container: Container) -> None:
        """Cgroup, state directory, network: nothing of the run is left; what fails is noted and tried again
        at the next start.
        """
        for companion in self.companions:
            with _said(container_id):
                await companion.end(self._need(container_id))
        await self._leave(container_id, container)

    async def _leave(self, container_id: str, container: Container | None = None) -> None:
        """What it needed to run is given back, and what is left of its run is removed; its record tells of
        nothing any more.
        """
        record = self._need(container_id)
        await self._jobs.thread(self._give_back, record, container)
        self._tell_of_place(record, "disconnect", unmount_events)
        self._forget_place(container_id)

    def _give_back(self, record: Record, container: Container | None) -> None:
        if container is not None:
            with _said(record.id):
                self._launcher.delete(container)
        with _said(record.id):
            self._places.leave(record)

    def _tell_of_place(
        self, record: Record, action: str, of_volumes: Callable[[Record, int], tuple[Event, ...]]
    ) -> None:
        now_ns = self._roster.now_ns()
        event = network_event(record, action, now_ns)
        events = (*((event,) if event is not None else ()), *of_volumes(record, now_ns))
        if events:
            self._roster.tell(*events)

    # Starting again

    def _retry_later(self, record: Record) -> None:
        ran_s = (record.state.finished_ns - record.state.started_ns) / 1e9
        delay_s = restart.next_delay_s(self._delays.get(record.id, 0.0), ran_s)
        self._delays[record.id] = delay_s
        self._retries[record.id] = self._jobs.begin_passing(self._retry(record.id, delay_s))

    async def _retry(self, container_id: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self._retries.pop(container_id, None)
        await self._jobs.finish(self._start_again(container_id))

    async def _start_again(self, container_id: str) -> None:
        async with self._roster.lock(container_id):
            record = self._roster.find(container_id)
            if record is None or record.state.status != "restarting":
                return
            try:
                await self.start(container_id, retry=True)
            except PierheadError as error:
                _log.warning("container %s cannot be started again: %s", container_id, error)

    def is_starting(self, container_id: str) -> bool:
        """Whether it is being started at this moment: when its lock is free, it runs or has failed."""
        return container_id in self._starting

    def is_ending(self, container_id: str) -> bool:
        """Whether it has just ended: it is being cleaned up, and removed if it is to be gone at its end."""
        return container_id in self._ending

    def cancel_retry(self, container_id: str) -> None:
        """The container is not started again by its policy."""
        task = self._retries.pop(container_id, None)
        if task is not None:
            task.cancel()

    def give_up_retry(self, record: Record) -> None:
        """A container that waited for its next start is one that has ended, since somebody wants that."""
        self.cancel_retry(record.id)
        state = lifecycle.after(record, "give-up").replace(stopped_by_hand=True)
        record = self._roster.put(record.replace(state=state))
        self.waiting.ended(record)

    @contextlib.contextmanager
    def keeping(self, container_id: str) -> Iterator[None]:
        """Its end inside does not remove the container."""
        self._kept.append(container_id)
        try:
            yield
        finally:
            self._kept.remove(container_id)

    # Coming back

    async def restore(self) -> None:
        """Containers that run are watched; those that ended meanwhile have ended."""
        records = self._roster.all()
        await self._jobs.thread(self._launcher.sweep, frozenset(record.id for record in records))
        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(self._restore(record))

    async def _restore(self, record: Record) -> None:
        async with self._roster.lock(record.id):
            container = await self._jobs.thread(self._launcher.find, record.id)
            if container is None:
                if lifecycle.is_alive(record):
                    ending = Ending(exit_code=UNKNOWN_EXIT_CODE)
                    self.waiting.ended(self._note_end(record.id, ending))
                    await self._leave(record.id)
                else:
                    self._forget_place(record.id)
                return
            status = await self._jobs.thread(lambda: container.status)
            if status == "created" or (status == "stopped" and self._was_noted(record, container)):
                await self._jobs.thread(self._launcher.delete, container)
                self._forget_place(record.id)
                return
            self._running[record.id] = container
            self._adopt(record, container, status)
            if status != "stopped":
                await self._begin_companions(record.id, container)

    def _was_noted(self, record: Record, container: Container) -> bool:
        """Whether it is what is left of a run whose end was noted: the engine was killed before it had
        cleaned up.  A run that began after the last noted end is another one.
        """
        return not lifecycle.is_alive(record) and parse_moment(container.created) <= record.state.finished_ns

    def _forget_place(self, container_id: str) -> None:
        """The record of what does not run tells of no network; whatever else was noted meanwhile stays."""
        self._roster.revise(container_id, endpoint=None, ports={})

    def _adopt(self, record: Record, container: Container, status: str) -> None:
        if not lifecycle.is_alive(record):  # its start was not noted any more
            count = record.restart_count + 1 if record.state.status == "restarting" else 0
            began_ns = parse_moment(container.created)
            self._note_start(record.id, container, restart_count=count, now_ns=began_ns)
            record = self._need(record.id)
        else:
            self._watch(record.id, container)
        wanted = {"running": "running", "paused": "paused"}.get(status, record.state.status)
        if wanted != record.state.status:
            self._roster.observe(record.replace(state=record.state.replace(status=wanted)))

    async def start_at_boot(self) -> None:
        """Containers run that their policies start when an engine begins."""
        chosen = [record for record in self._roster.all() if restart.wants_start_at_boot(record)]
        own = [record for record in chosen if not record.network_mode.startswith("container:")]
        others = [record for record in chosen if record not in own]
        for records in (own, others):
            async with asyncio.TaskGroup() as group:
                for record in records:
                    group.create_task(self._start_at_boot(record.id))

    async def _start_at_boot(self, container_id: str) -> None:
        async with self._roster.lock(container_id):
            record = self._roster.find(container_id)
            if record is None or not restart.wants_start_at_boot(record) or container_id in self._retries:
                return
            try:  # one that waited for its next start goes on to count
                await self.start(container_id, retry=record.state.status == "restarting")
            except PierheadError as error:
                _log.warning("container %s cannot be started: %s", container_id, error)

    def rest(self) -> None:
        """Nothing is watched any more; what runs goes on, and what is being done is done to its end."""
        self._resting = True
        self.waiting.close()
        loop = asyncio.get_running_loop()
        for container in self._running.values():
            if container.init.pidfd >= 0:
                loop.remove_reader(container.init.pidfd)
        for container_id in (*self._expected, *self._retries):
            self.forget(container_id)

    def close(self) -> None:
        """Nothing of what runs is open any more."""
        for container in self._running.values():
            container.close()
        self._running.clear()


@contextlib.contextmanager
def _said(container_id: str) -> Iterator[None]:
    """What goes wrong is in the log, and what follows from the container's end is done."""
    try:
        yield
    except (PierheadError, OSError, sqlite3.Error) as error:
        _log.warning("container %s: %s", container_id, error)


def in_docker_words(error: PierheadError) -> PierheadError:
    """The same, without its place in a document that no client of the engine's has seen."""
    if not isinstance(error, InvalidInput) or error.path != "$.process.user":
        return error
    message = error.message.removeprefix(f"{error.path}: ")
    return InvalidInput(message, code=error.code, hint=error.hint)


def exit_code_of_failure(message: str, *, otherwise: int = _OTHER) -> int:
    """What a shell says of a program that cannot be run; Docker's clients tell by the same words.

    Args:
        message: the error's.
        otherwise: the code where something else was wrong.
    """
    if "executable file not found" in message or "no such file or directory" in message:
        return _NOT_FOUND
    if "permission denied" in message or "is a directory" in message or "not a directory" in message:
        return NOT_EXECUTABLE
    return otherwise
