"""The containers that there are: an in-memory picture that is read without locks, and written through.

Records are immutable: a reader has what was true at one moment, and waits for nobody.  Changes of one
container are made by whoever holds its lock.  Each is one transaction of the store together with the events
that tell of it; then those who wait for it learn of it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from pierhead.engine import naming
from pierhead.errors import PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.engine.journal import Journal
    from pierhead.engine.record import Event, Record
    from pierhead.engine.store import Store

_log = logging.getLogger(__name__)


class Roster:
    """All containers."""

    def __init__(self, store: Store, journal: Journal, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Holds what the store has."""
        self._store = store
        self._journal = journal
        self._records = {record.id: record for record in store.containers()}
        self._ids = {record.name: record.id for record in self._records.values()}
        self._locks: dict[str, asyncio.Lock] = {}
        self._reserved: set[str] = set()
        self._clock_ns = clock_ns

    def now_ns(self) -> int:
        """Unix time."""
        return self._clock_ns()

    # Looking

    def get(self, reference: str) -> Record:
        """The container that is meant.

        Raises:
            NotFound: there is none.
            InvalidInput: there are several.
        """
        return self._records[naming.resolve(reference, self._records.keys(), self._ids)]

    def find(self, container_id: str) -> Record | None:
        """The container of this whole id."""
        return self._records.get(container_id)

    def all(self) -> tuple[Record, ...]:
        """All, in no order."""
        return tuple(self._records.values())

    # Changing

    def lock(self, container_id: str) -> asyncio.Lock:
        """Held by whoever changes the container."""
        lock = self._locks.get(container_id)
        if lock is None:
            lock = self._locks[container_id] = asyncio.Lock()
        return lock

    def reserve(self, name: str) -> str:
        """The name, or a new one for "", is nobody else's until it is released or a container has it.

        Raises:
            InvalidInput: it can be no name.
            Conflict: somebody has it.
        """
        if not name:
            name = naming.choose_name(self._ids.keys() | self._reserved)
        else:
            name = name.removeprefix("/")
            naming.check_name(name)
            if name in self._ids or name in self._reserved:
                raise naming.name_taken(name, self._ids.get(name, "that is being created"))
        self._reserved.add(name)
        return name

    def release(self, name: str) -> None:
        """A reserved name is free, unless a container has it by now."""
        self._reserved.discard(name)

    def put(self, record: Record, *events: Event) -> Record:
        """The record is new, or as somebody wants it to be; it is written before anybody sees it.

        Raises:
            OperationFailed: it cannot be written; nothing has changed.
        """
        was = self._records.get(record.id)
        self._store.write(put=record, was=was, events=events)
        self._show(record, was, events)
        return record

    def observe(self, record: Record, *events: Event) -> Record:
        """The record is as the kernel has it, which is true whether it can be written or not."""
        was = self._records.get(record.id)
        if record == was and not events:
            return record
        try:
            self._store.write(put=record, was=was, events=events)
        except PierheadError as error:
            _log.error("container %s: %s", record.id, error)
        self._show(record, was, events)
        return record

    def revise(self, container_id: str, **changes: object) -> Record:
        """As ``observe``, of the record as it is at this moment: whoever had to wait for what is new may hold
        one that is old by now.
        """
        return self.observe(self._records[container_id].replace(**changes))

    def drop(self, record: Record, *events: Event) -> None:
        """The container is gone.

        Raises:
            OperationFailed: it cannot be written; nothing has changed.
        """
        self._store.write(drop=record.id, events=events)
        del self._ids[self._records.pop(record.id).name]
        self._locks.pop(record.id, None)
        self._journal.tell(events)

    def tell(self, *events: Event) -> None:
        """Something happened that changes no record."""
        try:
            self._store.write(events=events)
        except PierheadError as error:
            _log.error("an event cannot be written: %s", error)
        self._journal.tell(events)

    def _show(self, record: Record, was: Record | None, events: tuple[Event, ...]) -> None:
        if was is not None and was.name != record.name:
            del self._ids[was.name]
        self._records[record.id] = record
        self._ids[record.name] = record.id
        self._journal.tell(events)
