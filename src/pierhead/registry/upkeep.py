"""What a registry does by itself while it serves: it collects garbage, and keeps copies within their room."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time

from pierhead.errors import PierheadError
from pierhead.registry.collect import collect
from pierhead.registry.evict import Room, evict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.registry.metrics import Metrics
    from pierhead.registry.settings import Settings
    from pierhead.registry.storage import Storage

_log = logging.getLogger(__name__)
_COUNTED = ("collections", "collections_failed", "contents_collected", "freed_bytes")
_COUNTED_OF_COPIES = ("copies_evicted", "copies_evicted_bytes")


class Upkeep:
    """The work of one registry, one piece at a time."""

    def __init__(
        self, storage: Storage, metrics: Metrics, settings: Settings, *, more_came: asyncio.Event
    ) -> None:
        """``more_came`` is set when a copy came from an upstream: old ones may have to go then, at once."""
        self._storage = storage
        self._metrics = metrics
        self._settings = settings
        self._room = Room.of(settings)
        self._bell = more_came
        self._stopping = False
        # A counter that is there from the beginning shows its first step too (Prometheus, "Instrumentation").
        for event in (*_COUNTED, *(_COUNTED_OF_COPIES if self._room else ())):
            metrics.count(event, 0)

    def stop(self) -> None:
        """``run`` ends soon; what is left of its work is left to the next one."""
        self._stopping = True
        self._bell.set()

    def _is_stopping(self) -> bool:
        return self._stopping

    async def run(self) -> None:
        """Everything was kept up until it was told to stop."""
        every_s = self._settings.collect_every_s
        due_s = time.monotonic() + every_s
        while not self._stopping:
            rest_s = max(due_s - time.monotonic(), 0) if every_s else None
            rang = await _is_set_within(self._bell, rest_s)
            self._bell.clear()
            if self._stopping:
                break
            if not rang:
                await self._attempt(self._collect)
                due_s = time.monotonic() + every_s
            await self._attempt(self._evict)

    async def _attempt(self, work: Callable[[], dict[str, int]]) -> None:
        """The work was done, and what it counted is among the figures."""
        try:
            counts = await asyncio.to_thread(work)
        except (OSError, sqlite3.Error, PierheadError):
            # The next one will say more, or it was a passing trouble; the registry goes on.
            _log.exception("collecting garbage failed")
            counts = {"collections_failed": 1}
        for event, number in counts.items():
            self._metrics.count(event, number)

    def _collect(self) -> dict[str, int]:
        found = collect(
            self._storage,
            grace_s=self._settings.grace_s,
            untagged=self._settings.collect_untagged,
            give_up=self._is_stopping,
        )
        return {
            "collections": 1,
            "contents_collected": found.contents,
            "freed_bytes": found.freed_bytes,
        }

    def _evict(self) -> dict[str, int]:
        if not self._room:
            return {}
        found = evict(self._storage, self._room, give_up=self._is_stopping)
        return {"copies_evicted": found.copies, "copies_evicted_bytes": found.freed_bytes}


async def _is_set_within(event: asyncio.Event, seconds: float | None) -> bool:
    """Whether the event comes within the time; without end if that is None."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
