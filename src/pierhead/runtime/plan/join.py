"""The plan of a further process in a container that runs.  Pure.

The joiner is put into the container's cgroup, enters all its namespaces at once through the init process's
pidfd (a pidfd cannot come to mean another process, as a number can), and clones the process, which is then in
the pid namespace too.
"""

from __future__ import annotations

from pierhead.oci.numbers import NAMESPACES
from pierhead.runtime import wire_table as wire
from pierhead.runtime.plan import credentials
from pierhead.runtime.plan.launch import (
    LaunchView,
    _first_id,
    list_slots,
    plan_keyring,
    plan_process,
    plan_terminal_or_streams,
)
from pierhead.runtime.plan.launchplan import LaunchPlan, Slot, assemble
from pierhead.runtime.plan.namespaces import join_cgroup
from pierhead.runtime.wire import INIT, JOINER, Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.runtime.config import Config, ProcessSpec


def plan_exec(config: Config, process: ProcessSpec, view: LaunchView) -> LaunchPlan:
    """The plan of a process that joins.

    Args:
        config: the container's.
        process: resolved, as for ``plan_container``.
        view: ``gate`` is False.
    """
    operations = (
        *_join(config, process, view),
        Operation(name="session", why="no terminal or signal of the caller's reaches it"),
        *plan_keyring(config, process),
        Operation(name="root_here", why="paths are resolved beneath the container's root"),
        *plan_terminal_or_streams(process, view, new_root=False),
        Operation(name="reopen_null", why="no descriptor of the host's null device is kept"),
        *_final_affinity(process),
        # a slip in a command is no reason to change the container's files; runc makes none here either
        *plan_process(config, process, view, makes_directory=False),
    )
    plan = LaunchPlan(
        operations=operations,
        slots=list_slots(view, Slot(name="init process", kind="given")),
        joiner=True,
        into_cgroup=view.into_cgroup,
        oom_score_adj=process.oom_score_adj,
        trace=view.trace,
    )
    return assemble(plan)


def _join(config: Config, process: ProcessSpec, view: LaunchView) -> Iterable[Operation]:
    affinity = process.exec_cpu_affinity
    if affinity and affinity.initial:
        why = "CPUs until the process is in the container's cgroup"
        yield credentials.plan_affinity(affinity.initial, place=JOINER, why=why)
    for name in view.cgroups:
        yield join_cgroup(name, JOINER)
    if process.oom_score_adj is not None:
        why = "the launcher writes what needs its rights: the OOM score"
        yield Operation(name="sync", arguments=(wire.SYNC_MAPS,), place=JOINER, why=why)
    kinds = {item.type for item in config.namespaces}
    flags = sum(NAMESPACES[kind] for kind in kinds)
    why = f"the container's namespaces, all at once: {', '.join(sorted(kinds))}"
    yield Operation(name="setns", arguments=("init process", flags), place=JOINER, why=why)
    if "user" in kinds:
        why = "root of the user namespace, as mapped"
        root = (_first_id(config.uid_mappings), _first_id(config.gid_mappings))
        yield Operation(name="become_root", arguments=root, place=JOINER, why=why)


def _final_affinity(process: ProcessSpec) -> Iterable[Operation]:
    affinity = process.exec_cpu_affinity
    if affinity and affinity.final:
        why = "CPUs from now on"
        yield credentials.plan_affinity(affinity.final, place=INIT, why=why)
