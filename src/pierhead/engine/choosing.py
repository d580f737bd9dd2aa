"""Which containers ``docker ps`` shows and ``docker container prune`` removes, by their filters.  Pure.

Source: the API's description of ``filters`` for ``GET /containers/json`` and ``POST /containers/prune``.
"""

from __future__ import annotations

import re

from pierhead.engine.filters import check_names, parse_until
from pierhead.errors import InvalidInput
from pierhead.images.choosing import has_label, says_yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from pierhead.engine.record import Record

    Filters = dict[str, list[str]]
    Find = Callable[[str], Record]
    Test = Callable[[Record, Sequence[str]], bool]

_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_HEALTHS = ("starting", "healthy", "unhealthy", "none")
_SHOWN = ("running", "paused", "restarting")
_PORT_DIGITS, _PORT_MAX = 5, 65535
_WANT_ALL = ("status", "exited")
_PRUNE = ("until", "label", "label!")


def choose(
    records: Iterable[Record],
    filters: Filters,
    find: Find,
    ancestors: AbstractSet[str] = frozenset(),
    *,
    stopped: bool,
    limit: int,
) -> list[Record]:
    """The containers that a list shows, newest first.

    Args:
        records: all.
        filters: each must have a value that fits.
        find: a container by its reference; raises NotFound.
        ancestors: the ids of the images that the filter ``ancestor`` means, whatever they are called.
        stopped: whether those that do not run are shown too.
        limit: how many, of all; 0 or less for no limit.

    Raises:
        InvalidInput: a filter is unknown, or a value is none for it.
        NotFound: ``before`` or ``since`` name nothing.
    """
    check_filters(filters)
    stopped = stopped or limit > 0 or any(filters.get(name) for name in _WANT_ALL)
    found = [
        record for record in records if stopped or record.state.status in ("running", "paused", "restarting")
    ]
    for name, values in filters.items():
        if name == "before" and values:
            bound = min(find(value).created_ns for value in values)
            found = [record for record in found if record.created_ns < bound]
        elif name == "since" and values:
            bound = max(find(value).created_ns for value in values)
            found = [record for record in found if record.created_ns > bound]
        elif name == "ancestor" and values:
            found = [record for record in found if _is_made_of(record, values, ancestors)]
        elif values:
            found = [record for record in found if _TESTS[name](record, values)]
    found.sort(key=lambda record: record.created_ns, reverse=True)
    return found[:limit] if limit > 0 else found


def check_filters(filters: Filters) -> None:
    """All filters are known, with values that they may have.

    Raises:
        InvalidInput: one is not.
    """
    check_names(filters, (*_TESTS, "ancestor", "before", "since"))
    for name, values in filters.items():
        for value in values:
            _check_value(name, value)
    says_yes(filters, "is-task")


def _check_value(name: str, value: str) -> None:
    if name == "status" and value not in _STATUSES:
        message, hint = f"invalid filter '{name}={value}'", f"one of {', '.join(_STATUSES)}"
        raise InvalidInput(message, code="invalid-filter", hint=hint)
    if name == "health" and value not in _HEALTHS:
        message, hint = f"unrecognized filter value for health: {value}", f"one of {', '.join(_HEALTHS)}"
        raise InvalidInput(message, code="invalid-filter", hint=hint)
    if name in ("publish", "expose"):
        _ports(name, (value,))
    if name == "exited" and not value.lstrip("-").isdecimal():
        raise InvalidInput(f"invalid filter '{name}={value}'", code="invalid-filter", hint="give a number")


def has_labels(labels: dict[str, str], wanted: Iterable[str]) -> bool:
    """Whether all of them, ``name`` or ``name=value``, are there."""
    return all(has_label(labels, each) for each in wanted)


def _is_made_of(record: Record, values: Sequence[str], ancestors: AbstractSet[str]) -> bool:
    """By its image's id; the image that is this machine has a name only."""
    return record.image_id in ancestors if record.image_id else record.image in values


def _has_volume(record: Record, values: Sequence[str]) -> bool:
    return any(value in (mount.name, mount.destination) for mount in record.mounts for value in values)


def _is_in_network(record: Record, values: Sequence[str]) -> bool:
    known = {record.network_mode, *record.networking.endpoints_config}
    known |= {endpoint.network_id for endpoint in record.networking.endpoints_config.values()}
    if record.endpoint is not None:
        known.add(record.endpoint.network_id)
    return any(value in known for value in values)


def _fits(pattern: str, text: str) -> bool:
    """Whether the expression is found there; what is none is found nowhere, as Docker has it."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _ports(name: str, values: Sequence[str]) -> set[str]:
    """``80``, ``80/udp`` and ``8000-8010/tcp`` as ports with protocols.

    Raises:
        InvalidInput: a value of the filter ``name`` is none of them.
    """
    found = set()
    for value in values:
        numbers, _, protocol = value.partition("/")
        first, _, last = numbers.partition("-")
        if not (_is_port(first) and _is_port(last or first)):
            message = f"error while looking up for {name} {value}: that is no port"
            raise InvalidInput(message, code="invalid-filter", hint="as 80, 80/udp, 8000-8010")
        found |= {f"{port}/{protocol or 'tcp'}" for port in range(int(first), int(last or first) + 1)}
    return found


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS and int(text) <= _PORT_MAX


def _publishes(record: Record, values: Sequence[str]) -> bool:
    wanted = _ports("publish", values)
    bound = {
        f"{binding.host_port}/{port.partition('/')[2]}"
        for port, bindings in record.ports.items()
        for binding in bindings
    }
    return bool(wanted & bound)


def _exposes(record: Record, values: Sequence[str]) -> bool:
    return bool(_ports("expose", values) & (record.config.exposed_ports.keys() | record.ports.keys()))


def _health(record: Record) -> str:
    return record.state.health.status if record.state.health is not None else "none"


_TESTS: dict[str, Test] = {
    "id": lambda record, values: any(_fits(value, record.id) for value in values),
    "name": lambda record, values: any(
        _fits(value, f"/{record.name}") or _fits(value, record.name) for value in values
    ),
    "label": lambda record, values: has_labels(record.config.labels, values),
    "status": lambda record, values: record.state.status in values,
    "exited": lambda record, values: (
        record.state.status == "exited" and str(record.state.exit_code) in values
    ),
    "volume": _has_volume,
    "network": _is_in_network,
    "publish": _publishes,
    "expose": _exposes,
    "health": lambda record, values: _health(record) in values,
    "isolation": lambda _, values: "default" in values,
    "is-task": lambda _, values: not says_yes({"is-task": values}, "is-task"),
}


def choose_for_prune(records: Iterable[Record], filters: Filters, now_ns: int) -> list[Record]:
    """The containers that do not run, and that the filters name.

    Raises:
        InvalidInput: a filter is unknown, or no time.
    """
    check_names(filters, _PRUNE)
    until = [parse_until(value, now_ns) for value in filters.get("until", ())]
    return [
        record
        for record in records
        if record.state.status in ("created", "exited", "dead")
        and all(record.created_ns < bound for bound in until)
        and has_labels(record.config.labels, filters.get("label", ()))
        and not any(has_label(record.config.labels, each) for each in filters.get("label!", ()))
    ]
