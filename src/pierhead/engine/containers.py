"""Containers as clients of the API look at them, change them, wait for them and connect with them.

Lists and inspections read the roster's picture and wait for nobody.
"""

from __future__ import annotations

from pierhead.engine import choosing, lifecycle
from pierhead.engine.describing import inspection, summary
from pierhead.engine.happenings import container_event
from pierhead.engine.processtable import read_table
from pierhead.engine.record import Event
from pierhead.engine.streams import MonitorAttachment
from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterable
    from typing import Any

    from pierhead.engine.documents import UpdateConfig
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.making import Maker
    from pierhead.engine.planning import Planner
    from pierhead.engine.queries import AttachQuery
    from pierhead.engine.record import Record
    from pierhead.engine.roots import Roots
    from pierhead.engine.roster import Roster
    from pierhead.engine.settings import Paths
    from pierhead.engine.supervise import Supervisor
    from pierhead.engine.waiting import Outcome

    Document = dict[str, Any]
    Filters = dict[str, list[str]]
    ExecIds = Callable[[str], Iterable[str]]


class ContainerDesk:
    """What there is to know of containers, and what changes them without touching their processes."""

    def __init__(
        self,
        roster: Roster,
        jobs: Jobs,
        roots: Roots,
        planner: Planner,
        supervisor: Supervisor,
        maker: Maker,
        paths: Paths,
        exec_ids: ExecIds,
    ) -> None:
        self._roster = roster
        self._jobs = jobs
        self._roots = roots
        self._planner = planner
        self._supervisor = supervisor
        self._maker = maker
        self._paths = paths
        self._exec_ids = exec_ids

    # Looking

    async def summaries(self, *, stopped: bool, limit: int, size: bool, filters: Filters) -> list[Document]:
        """See ``GET /containers/json``.  An image's name that means another image by now, or none, is not
        shown: the id says what the container is made of.

        Raises:
            InvalidInput: a filter is unknown, or cannot have a value.
        """
        catalogue, ancestors = self._roots.service.catalogue, frozenset[str]()
        if wanted := filters.get("ancestor"):
            ancestors = await self._jobs.thread(catalogue.ids_of, wanted)
        chosen = choosing.choose(
            self._roster.all(), filters, self._roster.get, ancestors, stopped=stopped, limit=limit
        )
        used = {(record.image, record.image_id) for record in chosen if record.image_id}
        moved = await self._jobs.thread(catalogue.find_moved, used) if used else frozenset()
        now_ns = self._roster.now_ns()
        found = []
        for record in chosen:
            document = summary(record, now_ns)
            if (record.image, record.image_id) in moved:
                document["Image"] = record.image_id
            if size:
                sizes = await self._jobs.thread(self._roots.sizes, record.root)
                document["SizeRw"], document["SizeRootFs"] = sizes
            found.append(document)
        return found

    async def inspect(self, reference: str, *, size: bool) -> Document:
        """See ``GET /containers/{id}/json``."""
        record = self._roster.get(reference)
        graph = self._roots.describe(record.root)
        apparmor = self._planner.apparmor_of(record)
        document = inspection(record, self._paths, graph, self._exec_ids(record.id), apparmor)
        if size:
            sizes = await self._jobs.thread(self._roots.sizes, record.root)
            document["SizeRw"], document["SizeRootFs"] = sizes
        return document

    async def top(self, reference: str, arguments: str) -> Document:
        """See ``GET /containers/{id}/top``.

        Raises:
            Conflict: it does not run.
        """
        record = self._roster.get(reference)
        table = await self._jobs.thread(read_table, self._supervisor.get(record), arguments)
        self._roster.tell(container_event(record, "top", self._roster.now_ns()))
        return table

    # Changing

    async def rename(self, reference: str, name: str) -> None:
        """It is called so from now on.

        Raises:
            InvalidInput: nothing can be called so.
            Conflict: something else is.
        """
        container_id = self._roster.get(reference).id
        if not name:
            raise InvalidInput("Neither old nor new names may be empty", code="invalid-name")
        await self._jobs.finish(self._rename(container_id, name))

    async def _rename(self, container_id: str, name: str) -> None:
        async with self._roster.lock(container_id):
            self._rename_held(self._roster.get(container_id), name)

    def _rename_held(self, record: Record, name: str) -> None:
        if name.removeprefix("/") == record.name:
            message = "Renaming a container with the same name as its current name"
            raise InvalidInput(message, code="same-name")
        try:
            name = self._roster.reserve(name)
        except PierheadError as error:
            message = f"Error when allocating new name: {error.message}"
            raise type(error)(message, code=error.code, hint=error.hint) from None
        try:
            renamed = record.replace(name=name)
            event = container_event(renamed, "rename", self._roster.now_ns(), oldName=f"/{record.name}")
            self._roster.put(renamed, event)
        finally:
            self._roster.release(name)

    async def update(self, reference: str, update: UpdateConfig) -> Document:
        """Its limits and its restart policy are these; returns ``{"Warnings"}``.

        Raises:
            Conflict: it is on its way out.
            InvalidInput: a limit cannot be one.
        """
        record = self._roster.get(reference)
        return {"Warnings": await self._jobs.finish(self._update(record.id, update))}

    async def _update(self, container_id: str, update: UpdateConfig) -> list[str]:
        async with self._roster.lock(container_id):
            record = self._roster.get(container_id)
            if record.state.status in ("removing", "dead"):
                message = f"Cannot update container {record.id}: Container is marked for removal"
                raise Conflict(message, code="marked-for-removal")
            host, resources = self._planner.plan_update(record, update)
            warnings: list[str] = []
            if lifecycle.is_alive(record):
                container = self._supervisor.get(record)
                warnings = list(await self._jobs.thread(container.update, resources))
            record = self._roster.get(container_id)
            event = container_event(record, "update", self._roster.now_ns())
            self._roster.put(record.replace(host=host), event)
            return warnings

    async def prune(self, filters: Filters) -> Document:
        """Those that do not run are gone; returns ``{"ContainersDeleted", "SpaceReclaimed"}``."""
        chosen = choosing.choose_for_prune(self._roster.all(), filters, self._roster.now_ns())
        removed, freed_bytes = [], 0
        for record in chosen:
            try:
                own, _ = await self._jobs.thread(self._roots.sizes, record.root)
                await self._maker.remove(record.id, force=False, volumes=False)
            except (Conflict, NotFound):  # it has been started or removed meanwhile
                continue
            removed.append(record.id)
            freed_bytes += own
        attributes = {"reclaimed": str(freed_bytes)}
        now_ns = self._roster.now_ns()
        self._roster.tell(
            Event(kind="container", action="prune", actor="", attributes=attributes, time_ns=now_ns)
        )
        return {"ContainersDeleted": removed or None, "SpaceReclaimed": freed_bytes}

    async def resize(self, reference: str, *, rows: int, columns: int) -> None:
        """Its terminal has this size.

        Raises:
            Conflict: it does not run.
        """
        record = self._roster.get(reference)
        container = self._supervisor.get(record)
        try:
            await self._jobs.thread(container.init.resize, rows, columns)
        except Conflict:
            raise lifecycle.not_running(record) from None
        event = container_event(record, "resize", self._roster.now_ns(), height=str(rows), width=str(columns))
        self._roster.tell(event)

    # Waiting and watching

    async def wait(self, reference: str, condition: str) -> AsyncIterator[Document | None]:
        """First None: from now on nothing is missed.  Then ``{"StatusCode", "Error"}``.

        Raises:
            InvalidInput: there is no such condition.
        """
        return _waited(self._supervisor.waiting.expect(self._roster.get(reference), condition))

    async def attach(self, reference: str, query: AttachQuery) -> MonitorAttachment:
        """A connection with its streams; where it does not run yet, from its first byte on.

        Raises:
            Conflict: it is paused or restarting.
        """
        record = self._roster.get(reference)
        if record.state.status == "paused":
            message = f"container {record.name} is paused, unpause the container before attach"
            raise Conflict(message, code="paused", hint=f"pier unpause {record.name}")
        attachment = MonitorAttachment(
            query,
            terminal=record.config.tty,
            closes_input=record.config.stdin_once
            and record.config.open_stdin
            and not record.config.tty,  # who leaves a terminal types no end of file (moby, daemon/attach)
        )
        attachment.on_detach = lambda: self._tell_detach(record)
        if query.stream:
            await self._supervisor.attach(record, attachment)
            self._roster.tell(container_event(record, "attach", self._roster.now_ns()))
        else:
            attachment.give_up()
        return attachment

    def _tell_detach(self, record: Record) -> None:
        self._roster.tell(container_event(record, "detach", self._roster.now_ns()))


async def _waited(future: asyncio.Future[Outcome]) -> AsyncIterator[Document | None]:
    try:
        yield None
        outcome = await future
        yield {"StatusCode": outcome.exit_code, "Error": None}
    finally:
        future.cancel()
