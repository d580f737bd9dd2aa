"""Resource limits of processes by Docker's names.  Pure.  Source: getrlimit(2), limits.conf(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.documents import Ulimit
from pierhead.errors import InvalidInput
from pierhead.oci.numbers import RLIMITS
from pierhead.oci.runtime import Rlimit

if TYPE_CHECKING:
    from pierhead.engine.documents import HostConfig
    from pierhead.engine.settings import Settings
    from pierhead.engine.specgen.ground import Machine

INFINITY = 2**64 - 1
_NAMES = {name.removeprefix("RLIMIT_").lower(): name for name in RLIMITS if name != "RLIMIT_AS"}


def fill_ulimits(
    host: HostConfig, settings: Settings, machine: Machine
) -> tuple[tuple[Ulimit, ...], list[str]]:
    """The request's limits and the engine's default ones of other names, with warnings.

    Raises:
        InvalidInput: a name or a pair of numbers cannot be a limit.
    """
    given = {limit.name: limit for limit in host.ulimits}
    for name, soft, hard in settings.ulimits:
        given.setdefault(name, Ulimit(name=name, soft=soft, hard=hard))
    warnings = []
    most = dict(machine.hard_limits)
    for limit in given.values():
        checked = _checked(limit)
        if checked.hard > most.get(checked.type, INFINITY):
            warnings.append(
                f"The engine may not raise the limit {limit.name} above {most[checked.type]}. "
                f"Limited to {most[checked.type]}."
            )
    return tuple(given.values()), warnings


def _checked(limit: Ulimit) -> Rlimit:
    if limit.name not in _NAMES:
        raise InvalidInput(f"invalid ulimit type: {limit.name}", code="bad-ulimit")
    if limit.soft < -1 or limit.hard < -1:
        raise InvalidInput(f"the limit {limit.name} cannot be negative", code="bad-ulimit")
    soft, hard = (INFINITY if number == -1 else number for number in (limit.soft, limit.hard))
    if soft > hard:
        raise InvalidInput(
            f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}",
            code="bad-ulimit",
        )
    return Rlimit(type=_NAMES[limit.name], soft=soft, hard=hard)


def rlimits_of(limits: tuple[Ulimit, ...], machine: Machine) -> tuple[Rlimit, ...]:
    """The limits as the runtime sets them, none above what this machine lets the engine set."""
    most = dict(machine.hard_limits)
    found = []
    for limit in map(_checked, limits):
        hard = min(limit.hard, most.get(limit.type, INFINITY))
        found.append(limit.replace(hard=hard, soft=min(limit.soft, hard)))
    return tuple(found)
