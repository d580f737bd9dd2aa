"""Events as they are read: those of the past from the store, then those that come.

Whoever follows keeps nothing but a number: the journal itself is the queue.  So a slow reader costs no
memory, and loses only what has left the journal since it last looked.
"""

from __future__ import annotations

import asyncio
import time

from pierhead.engine.happenings import passes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from pierhead.engine.happenings import Filters
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.record import Event
    from pierhead.engine.store import Store


class Journal:
    """The events of one engine."""

    def __init__(self, store: Store, jobs: Jobs, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Over the store."""
        self._store = store
        self._jobs = jobs
        self._clock_ns = clock_ns
        self._sleepers: set[asyncio.Future[None]] = set()
        self.followers = 0
        """How many follow at the moment."""

    def tell(self, events: Sequence[Event]) -> None:
        """Those who follow learn of the events, which are in the store."""
        if self._store.wants_checkpoint():
            self._jobs.begin(self._jobs.thread(self._store.checkpoint))
        if not events:
            return
        sleepers, self._sleepers = self._sleepers, set()
        for sleeper in sleepers:
            if not sleeper.done():
                sleeper.set_result(None)

    def follow(self, *, since_ns: int, until_ns: int, filters: Filters) -> AsyncGenerator[Event, None]:
        """Events that pass the filters; with ``until_ns`` it ends then, else never.

        Nothing that happens after this call is missed, however late the first one is asked for.
        """
        begin = self._store.find_event(since_ns) if since_ns else self._store.last_event
        return self._follow(begin, until_ns, filters)

    async def _follow(self, sequence: int, until_ns: int, filters: Filters) -> AsyncGenerator[Event, None]:
        self.followers += 1
        try:
            while True:
                events = self._store.events_after(sequence)
                for event in events:
                    if until_ns and event.time_ns > until_ns:
                        return
                    sequence = event.sequence
                    if passes(event, filters):
                        yield event
                if not events and not await self._more(sequence, until_ns):
                    return
        finally:
            self.followers -= 1

    async def _more(self, sequence: int, until_ns: int) -> bool:
        """Whether there are events after this one, now or in the end; False when the time is over."""
        if self._store.last_event > sequence:
            return True
        left_s = (until_ns - self._clock_ns()) / 1e9 if until_ns else None
        if left_s is not None and left_s <= 0:
            return False
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.add(sleeper)
        try:
            await asyncio.wait_for(sleeper, left_s)
        except TimeoutError:
            return False
        finally:
            self._sleepers.discard(sleeper)
        return True
