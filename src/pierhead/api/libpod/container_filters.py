"""Filters of libpod's clients in Docker's words.  Pure."""

from __future__ import annotations

from pierhead.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    Filters = dict[str, list[str]]

_STATUSES = {
    "stopped": ("exited",),
    "stopping": ("running",),
    "configured": ("created",),
    "initialized": ("created",),
    "unknown": (),
}
_UNKNOWN = (
    "pod",
    "restart-policy",
    "command",
    "network-mode",
    "ctr-names",
    "ctr-ids",
    "should-start-on-boot",
)


def adapt_filters(filters: Filters) -> Filters:
    """Filters of containers.

    Raises:
        Unsupported: this engine has none like it.
    """
    found = dict(filters)
    for name in _UNKNOWN:
        if found.get(name):
            message = f'the filter "{name}" of containers is not supported by this engine'
            raise Unsupported(message, code="no-such-filter")
    if "status" in found:
        found["status"] = [word for each in found["status"] for word in _STATUSES.get(each, (each,))]
    if "network" in found:
        found["network"] = ["bridge" if each == "podman" else each for each in found["network"]]
    return found
