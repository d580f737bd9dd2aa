"""Who waits for the end of a container: ``POST /containers/{id}/wait``, and the engine's own ``stop``.

not-running   until it does not run; at once where it does not
next-exit     until it ends the next time
removed       until it is gone
"""

from __future__ import annotations

import asyncio

from pierhead.engine.lifecycle import ALIVE
from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.record import Record

CONDITIONS = ("not-running", "next-exit", "removed")


class Outcome(Value):
    """How a container ended; what never started has a shell's code for it."""

    exit_code: int


class Waiting:
    """Those who wait, by the container's id."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiters: dict[str, list[tuple[str, asyncio.Future[Outcome]]]] = {}

    def expect(self, record: Record, condition: str) -> asyncio.Future[Outcome]:
        """A future that has the outcome when the condition is met.

        Raises:
            InvalidInput: there is no such condition.
        """
        condition = condition or "not-running"
        if condition not in CONDITIONS:
            raise InvalidInput(
                f"invalid condition: {condition!r}", code="invalid-condition", hint=f"one of {CONDITIONS}"
            )
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if condition == "not-running" and record.state.status not in (*ALIVE, "restarting"):
            future.set_result(_outcome(record))
            return future
        waiter = (condition, future)
        waiters = self._waiters.setdefault(record.id, [])
        waiters.append(waiter)
        future.add_done_callback(lambda _: self._forget(record.id, waiter))
        return future

    def ended(self, record: Record) -> None:
        """The container has ended, whether it is started again or not."""
        self._resolve(record, ("not-running", "next-exit"))

    def gone(self, record: Record) -> None:
        """The container is no more."""
        self._resolve(record, CONDITIONS)

    def close(self) -> None:
        """Nobody is told of ends any more: whoever still waits is cancelled."""
        for waiters in tuple(self._waiters.values()):
            for _, future in tuple(waiters):
                future.cancel()

    def _resolve(self, record: Record, conditions: tuple[str, ...]) -> None:
        outcome = _outcome(record)
        for condition, future in tuple(self._waiters.get(record.id, ())):
            if condition in conditions and not future.done():
                future.set_result(outcome)

    def _forget(self, container_id: str, waiter: tuple[str, asyncio.Future[Outcome]]) -> None:
        waiters = self._waiters.get(container_id, [])
        if waiter in waiters:
            waiters.remove(waiter)
        if not waiters:
            self._waiters.pop(container_id, None)


def _outcome(record: Record) -> Outcome:
    return Outcome(exit_code=record.state.exit_code)
