"""Events of containers and of what they have, as ``GET /events`` tells them, and which of them a filter lets
pass.  Pure.
"""

from __future__ import annotations

from pierhead.engine.networknames import NETWORK_DRIVERS, network_identity
from pierhead.engine.record import Event
from pierhead.images.choosing import has_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.engine.record import Record

    Filters = dict[str, list[str]]

_KINDS = ("container", "image", "volume", "network", "daemon", "plugin")
_SHORT_ID = 12
_KNOWN = (*_KINDS, "event", "type", "label", "scope")


def container_event(record: Record, action: str, time_ns: int, **what: str) -> Event:
    """Something happened to the container; ``what`` are attributes beyond image, name and labels."""
    return Event(
        kind="container",
        action=action,
        actor=record.id,
        attributes={**record.config.labels, "image": record.image, "name": record.name, **what},
        time_ns=time_ns,
    )


def network_event(record: Record, action: str, time_ns: int) -> Event | None:
    """The container came into its network, or went; None for one that has the network of another."""
    name = record.network_mode
    kind = NETWORK_DRIVERS.get(name)
    identity = network_identity(name)
    if record.endpoint is not None:
        kind, identity = "bridge", record.endpoint.network_id
    if kind is None:
        return None
    attributes = {"container": record.id, "name": name, "type": kind}
    return Event(kind="network", action=action, actor=identity, attributes=attributes, time_ns=time_ns)


def volume_event(name: str, action: str, time_ns: int, **what: str) -> Event:
    """Something happened to the volume; ``what`` are attributes beyond its driver."""
    attributes = {"driver": "local", **what}
    return Event(kind="volume", action=action, actor=name, attributes=attributes, time_ns=time_ns)


def mount_events(record: Record, time_ns: int) -> tuple[Event, ...]:
    """The container's volumes have come to their places in it."""
    return tuple(
        volume_event(
            point.name,
            "mount",
            time_ns,
            container=record.id,
            destination=point.destination,
            propagation=point.propagation,
            **{"read/write": "true" if point.rw else "false"},
        )
        for point in record.mounts
        if point.type == "volume"
    )


def unmount_events(record: Record, time_ns: int) -> tuple[Event, ...]:
    """The container has left its volumes."""
    return tuple(
        volume_event(point.name, "unmount", time_ns, container=record.id)
        for point in record.mounts
        if point.type == "volume"
    )


def passes(event: Event, filters: Filters) -> bool:
    """Whether every filter lets the event pass: one of its values is enough.

    A filter that there is not takes nothing away, as Docker has it here, and only here.
    """
    return all(_passes(event, name, values) for name, values in filters.items() if values and name in _KNOWN)


def _passes(event: Event, name: str, values: Sequence[str]) -> bool:
    if name == "type":
        return event.kind in values
    if name == "event":
        # ``exec_start: true`` is an ``exec_start``
        return any(event.action == value or event.action.startswith(f"{value}:") for value in values)
    if name == "label":
        return all(has_label(event.attributes, value) for value in values)
    if name == "scope":
        return "local" in values
    if name == "image" and event.kind == "container":
        return any(_is_image(event.attributes.get("image", ""), value) for value in values)
    return event.kind == name and any(_is_called(event, value) for value in values)


def _is_called(event: Event, value: str) -> bool:
    """By an id, a name, or the beginning of either, as Docker has it; an image by the whole of it."""
    name = event.attributes.get("name", "")
    if event.kind == "image":
        return _is_image(event.actor, value) or _is_image(name, value)
    return event.actor.startswith(value) or name.startswith(value.removeprefix("/"))


def _is_image(name: str, value: str) -> bool:
    """Whether the value is the name, or the name without its tag; of an id, its beginning."""
    if value in (name, name.partition("@")[0]) or (":" in name and value == name.rpartition(":")[0]):
        return True
    return len(value) >= _SHORT_ID and name.startswith(f"sha256:{value.removeprefix('sha256:')}")
