"""Conditions that libpod's clients wait for, and ends of containers that are gone."""

from __future__ import annotations

from typing import Literal

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.ports import Backend

Condition = Literal["exited", "removed", "running", "other"]

_EXITED = ("exited", "stopped", "stopping")
_REMOVED = ("removing", "removed")
_OTHERS = ("created", "configured", "initialized", "paused", "healthy", "unhealthy", "unknown")
_STATUS_OF = {"configured": "created", "initialized": "created"}
_KEPT_NS = 300 * 1_000_000_000
"""Ends are looked for so far back; Podman keeps exit codes of removed containers as long."""


def parse_condition(word: str) -> Condition:
    """The kind of condition.

    Raises:
        InvalidInput: there is none so called.
    """
    if word in _EXITED:
        return "exited"
    if word in _REMOVED:
        return "removed"
    if word == "running":
        return "running"
    if word in _OTHERS:
        return "other"
    raise InvalidInput(f'there is no condition "{word}" to wait for', code="bad-condition")


def meets(word: str, state: dict[str, Any]) -> bool:
    """Whether a container is as the word says; ``state`` is Docker's, or says ``removed``."""
    status = state["Status"]
    if word in _EXITED:
        return status in ("exited", "dead")
    if word in _REMOVED:
        return bool(status == "removed")
    if word in ("healthy", "unhealthy"):
        return bool((state.get("Health") or {}).get("Status") == word)
    return bool(status == _STATUS_OF.get(word, word))


async def find_end(backend: Backend, reference: str, now_ns: int) -> int | None:
    """The exit code of a container that has ended and was removed; None if none so called has lately."""
    found = None
    filters = {"type": ["container"], "event": ["die"], "container": [reference]}
    async for event in backend.events(since_ns=now_ns - _KEPT_NS, until_ns=now_ns, filters=filters):
        code = event.attributes.get("exitCode", "")
        found = int(code) if code.isdecimal() else found
    return found
