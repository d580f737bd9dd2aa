"""Namespaces: which are made with the clone, which are joined or made by the joiner beforehand.  Pure.

A user namespace is made with the clone too, unless the joiner has to be in it first; so every other new
namespace is owned by it. The cgroup namespace is made by the init process itself, once it is in its cgroup:
the namespace's root is where its maker is (cgroup_namespaces(7)). A time namespace is entered by a clone
only, and its offsets are written before that (time_namespaces(7)).
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci.numbers import NAMESPACES
from pierhead.runtime import wire_table
from pierhead.runtime.plan.launchplan import Slot
from pierhead.runtime.wire import INIT, JOINER, Operation
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pierhead.oci.runtime import Namespace, TimeOffset

PROC_NAMES = {
    "mount": "mnt",
    "network": "net",
    "cgroup": "cgroup",
    "uts": "uts",
    "ipc": "ipc",
    "user": "user",
    "pid": "pid",
    "time": "time",
}
"""Names below /proc/PID/ns by the specification's names."""

_JOIN_ORDER = ("ipc", "uts", "network", "pid", "cgroup", "time", "mount")
_WHY_NEW = {
    "pid": "its first process is number 1 and sees no other",
    "mount": "its mounts are its own and vanish with it",
    "uts": "its host name is its own",
    "ipc": "System V and POSIX queues and shared memory are its own",
    "network": "interfaces, addresses and ports are its own",
    "cgroup": "it sees its own cgroup as the root",
    "user": "root inside is an ordinary user outside",
    "time": "its boot and monotonic clocks are its own",
}


class NamespacePlan(Value):
    """How the namespaces come to be."""

    clone_flags: int
    slots: tuple[Slot, ...]
    joiner: tuple[Operation, ...]
    opening: tuple[Operation, ...]
    new: frozenset[str]
    joined: frozenset[str]


def why_new(kind: str) -> str:
    """What a new namespace of this kind is good for, in words."""
    return _WHY_NEW[kind]


def plan_namespaces(
    namespaces: tuple[Namespace, ...],
    time_offsets: Mapping[str, TimeOffset],
    *,
    cgroups: tuple[str, ...] = (),
    meet_launcher: bool = False,
    user_first: bool = False,
    root: tuple[int, int] = (0, 0),
    before: tuple[Operation, ...] = (),
) -> NamespacePlan:
    """Clone flags, the joiner's operations and the init process's first ones.

    Args:
        namespaces: of the configuration; one with a path is joined.
        time_offsets: for a new time namespace.
        cgroups: names of the slots with the files by which the init process joins its cgroups.
        meet_launcher: the launcher has something to do for the process (id maps count without saying).
        user_first: a user namespace is joined before the others: the launcher has rights only there.  A
            privileged launcher joins it last: others may belong to namespaces above it.
        root: user and group in a user namespace that set the container up.
        before: what the joiner does first, with the launcher's rights.
    """
    joined = {item.type: item.path for item in namespaces if item.path}
    new = frozenset(item.type for item in namespaces if not item.path)
    unknown = [item.type for item in namespaces if item.type not in NAMESPACES]
    if unknown:
        raise InvalidInput(f"there is no namespace type {unknown[0]!r}", path="$.linux.namespaces")
    needs_joiner = bool(joined or before) or "time" in new
    flags = sum(NAMESPACES[kind] for kind in new if kind not in ("cgroup", "time"))
    joiner: list[Operation] = []
    if needs_joiner:
        joiner = [*before, *_joins(joined, user_first=user_first)]
        joiner += _made_by_joiner(joined, new, time_offsets, root)
        flags &= ~NAMESPACES["user"]
    slots = tuple(Slot(name=f"{kind} namespace", kind="open", path=path) for kind, path in joined.items())
    return NamespacePlan(
        clone_flags=flags,
        slots=slots,
        joiner=tuple(joiner),
        opening=_opening(new, None if needs_joiner else root, cgroups=cgroups, meet_launcher=meet_launcher),
        new=new,
        joined=frozenset(joined),
    )


def _joins(joined: Mapping[str, str], *, user_first: bool) -> Iterator[Operation]:
    order = ("user", *_JOIN_ORDER) if user_first else (*_JOIN_ORDER, "user")
    for kind in order:
        if kind in joined:
            yield Operation(
                name="setns",
                arguments=(f"{kind} namespace", NAMESPACES[kind]),
                place=JOINER,
                why=f"share the {kind} namespace of {joined[kind]}",
            )


def _made_by_joiner(
    joined: Mapping[str, str],
    new: frozenset[str],
    time_offsets: Mapping[str, TimeOffset],
    root: tuple[int, int],
) -> list[Operation]:
    operations = []
    if "user" in new:
        why = _WHY_NEW["user"]
        operations.append(Operation(name="unshare", arguments=(NAMESPACES["user"],), place=JOINER, why=why))
        operations.append(_sync(JOINER))
        operations.append(_become_root(JOINER, root))
    elif "user" in joined:
        operations.append(_become_root(JOINER, (0, 0)))
    if "time" in new:
        why = _WHY_NEW["time"]
        operations.append(Operation(name="unshare", arguments=(NAMESPACES["time"],), place=JOINER, why=why))
        if time_offsets:
            operations.append(_time_offsets(time_offsets))
    return operations


def _time_offsets(time_offsets: Mapping[str, TimeOffset]) -> Operation:
    text = "".join(f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in time_offsets.items())
    why = "the offsets hold from the first process on"
    return Operation(name="timens_offsets", arguments=(text,), place=JOINER, why=why)


def _sync(place: int) -> Operation:
    """Met once in a launch: the kernel takes maps once only, and clones inherit cgroup and score."""
    why = "the launcher writes what needs its rights: id maps, cgroup, OOM score"
    return Operation(name="sync", arguments=(wire_table.SYNC_MAPS,), place=place, why=why)


def _become_root(place: int, root: tuple[int, int]) -> Operation:
    why = "root of the user namespace, as mapped"
    return Operation(name="become_root", arguments=root, place=place, why=why)


def _opening(
    new: frozenset[str], root: tuple[int, int] | None, *, cgroups: tuple[str, ...], meet_launcher: bool
) -> tuple[Operation, ...]:
    """Args: root is None where the joiner has made the user namespace."""
    operations = [join_cgroup(name, INIT) for name in cgroups]
    has_met = "user" in new and root is None
    if ("user" in new or meet_launcher) and not has_met:
        operations.append(_sync(INIT))
    if "user" in new and root is not None:
        operations.append(_become_root(INIT, root))
    if "cgroup" in new:
        why = f"from inside our cgroup: {_WHY_NEW['cgroup']}"
        operations.append(Operation(name="unshare", arguments=(NAMESPACES["cgroup"],), why=why))
    return tuple(operations)


def join_cgroup(slot: str, place: int) -> Operation:
    """The process puts itself into a cgroup, by the open file that the slot names."""
    why = "its limits hold before anything of the user's runs"
    return Operation(name="join_cgroup", arguments=(slot,), place=place, why=why)
