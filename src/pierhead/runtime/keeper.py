"""Namespaces that outlive whoever makes them, for a whole program with everything that it starts.

    keep ──▶ the keeper: pier-init in new namespaces (user, mount, network), as root there, which only waits
    enter ─▶ a program in the keeper's namespaces, as root there, and our child
    accompany ─▶ the same, and it goes on without us

An ordinary user has in them what root has on the machine, as far as the kernel gives it to user namespaces:
mounts, bridges, a firewall.  They are there until the keeper and everybody else in them have ended.  The root
file system stays, and processes keep their numbers.
"""

from __future__ import annotations

import os

from pierhead.linux.process import helper_path
from pierhead.oci.numbers import NAMESPACES
from pierhead.runtime import wire_table
from pierhead.runtime.config import Config, ProcessSpec
from pierhead.runtime.handshake import Handshake
from pierhead.runtime.launcher import Steps, perform
from pierhead.runtime.plan import mountoptions
from pierhead.runtime.plan.launchplan import LaunchPlan, Slot, assemble
from pierhead.runtime.wire import JOINER, Operation, strings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pierhead.oci.runtime import IDMapping

_NULL, _HELD, _KEEPER, _LOG = "null device", "held", "keeper", "log"
_KINDS = sum(NAMESPACES[kind] for kind in ("user", "mount", "network"))
_SIGTERM = 15


def plan_keep(
    uid_mappings: tuple[IDMapping, ...], gid_mappings: tuple[IDMapping, ...], program: str
) -> LaunchPlan:
    """The plan of a keeper.  Pure.

    Args:
        uid_mappings: of the user namespace; root is mapped.
        gid_mappings: the same for groups.
        program: the helper's path.
    """
    slave = ("/", mountoptions.MS_SLAVE | mountoptions.MS_REC)
    operations = (
        Operation(name="sync", arguments=(wire_table.SYNC_MAPS,), why="the launcher writes the id maps"),
        Operation(name="become_root", arguments=(0, 0), why="root of the user namespace, as mapped"),
        Operation(name="session", why="no terminal or signal of the caller's reaches it"),
        Operation(name="propagation", arguments=slave, why="what is mounted inside stays inside"),
        Operation(name="loopback_up", why="127.0.0.1 is there"),
        Operation(name="stdio", arguments=(_NULL, _NULL, _NULL, 0), why="it holds nobody's streams"),
        *_program((program, "keep"), {}, "/", kept=(_HELD,)),
    )
    return assemble(
        LaunchPlan(
            operations=operations,
            slots=(Slot(name=_NULL, kind="open", path=os.devnull), Slot(name=_HELD, kind="given")),
            clone_flags=_KINDS,
            uid_mappings=uid_mappings,
            gid_mappings=gid_mappings,
        )
    )


def plan_enter(
    words: tuple[str, ...], environment: Mapping[str, str], directory: str, cover: tuple[str, str]
) -> LaunchPlan:
    """The plan of a program in a keeper's namespaces, which ends with the launcher.  Pure."""
    operations = (
        *_join(),
        Operation(
            name="parent_death_signal", arguments=(_SIGTERM,), why="it ends with the process that launched it"
        ),
        *(_cover(*cover) if cover[0] else ()),
        *_program(words, environment, directory),
    )
    return assemble(LaunchPlan(operations=operations, slots=(Slot(name=_KEEPER, kind="given"),), joiner=True))


def plan_accompany(words: tuple[str, ...], environment: Mapping[str, str]) -> LaunchPlan:
    """The plan of a program in a keeper's namespaces that goes on without the launcher.  Pure."""
    operations = (
        *_join(),
        Operation(name="session", why="no terminal or signal of the caller's reaches it"),
        Operation(name="stdio", arguments=(_NULL, _LOG, _LOG, 0), why="it holds nobody's streams"),
        *_program(words, environment, "/", kept=(_HELD,)),
    )
    slots = (
        Slot(name=_KEEPER, kind="given"),
        Slot(name=_NULL, kind="open", path=os.devnull),
        Slot(name=_LOG, kind="given"),
        Slot(name=_HELD, kind="given"),
    )
    return assemble(LaunchPlan(operations=operations, slots=slots, joiner=True))


def _join() -> tuple[Operation, ...]:
    why = "the keeper's namespaces, all at once: mount, network, user"
    return (
        Operation(name="setns", arguments=(_KEEPER, _KINDS), place=JOINER, why=why),
        Operation(name="become_root", arguments=(0, 0), place=JOINER, why="root of the user namespace"),
    )


def _cover(source: str, target: str) -> tuple[Operation, ...]:
    arguments = ("", source, target, 0, wire_table.TARGET_FILE, 0, 0, mountoptions.MS_PRIVATE, "")
    return (
        Operation(name="root_here", why="paths are those of the keeper's root"),
        Operation(name="bind", arguments=arguments, why=f"seen at {target} by all that is inside"),
    )


def _program(
    words: tuple[str, ...], environment: Mapping[str, str], directory: str, kept: tuple[str, ...] = ()
) -> tuple[Operation, ...]:
    values = strings(tuple(f"{name}={value}" for name, value in environment.items()))
    why = "every descriptor that was not asked for closes when the program starts"
    return (
        Operation(name="working_directory", arguments=(directory, 0), why="where the program starts"),
        Operation(name="find_executable", arguments=(words[0], strings(())), why="the program"),
        Operation(name="own_descriptors", arguments=(kept[0] if kept else "", len(kept), ""), why=why),
        Operation(name="execute", arguments=(strings(words), values), why="the program"),
    )


def keep(
    uid_mappings: tuple[IDMapping, ...], gid_mappings: tuple[IDMapping, ...], held_fd: int
) -> tuple[int, int]:
    """New namespaces have a keeper; returns its pid and a pidfd, the caller's to close.

    Args:
        uid_mappings: of the user namespace; root is mapped.
        gid_mappings: the same for groups.
        held_fd: open in the keeper as long as it lives; stays the caller's.

    Raises:
        OperationFailed: the kernel, or newuidmap, refuses.
    """
    plan = plan_keep(uid_mappings, gid_mappings, helper_path())
    return _launch(plan, (helper_path(), "keep"), {_HELD: held_fd})


def enter(
    keeper_fd: int,
    words: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    directory: str,
    cover: tuple[str, str] = ("", ""),
) -> tuple[int, int]:
    """The program runs in the keeper's namespaces, with our streams, and gets SIGTERM when we have ended;
    returns its pid, which is our child's, and a pidfd, the caller's to close.

    Args:
        keeper_fd: the keeper's pidfd.
        words: the program's path and arguments.
        environment: the whole of it.
        directory: where it starts.
        cover: a file, and what it covers from then on for everybody in the namespaces; empty for nothing.

    Raises:
        OperationFailed: the keeper has ended, or the program cannot be run.
    """
    return _launch(plan_enter(words, environment, directory, cover), words, {_KEEPER: keeper_fd})


def accompany(
    keeper_fd: int,
    words: tuple[str, ...],
    *,
    environment: Mapping[str, str],
    held_fd: int,
    log_fd: int,
) -> tuple[int, int]:
    """The program runs in the keeper's namespaces, in a session of its own, and goes on without us; returns
    its pid, which is our child's, and a pidfd, the caller's to close.

    Args:
        keeper_fd: the keeper's pidfd.
        words: the program's path and arguments.
        environment: the whole of it.
        held_fd: its descriptor 3; stays the caller's.
        log_fd: where what it says goes; the same.

    Raises:
        OperationFailed: the keeper has ended, or the program cannot be run.
    """
    given = {_KEEPER: keeper_fd, _HELD: held_fd, _LOG: log_fd}
    return _launch(plan_accompany(words, environment), words, given)


def _launch(plan: LaunchPlan, words: tuple[str, ...], given: dict[str, int]) -> tuple[int, int]:
    steps = Steps(Config(rootfs="/"), plan, ProcessSpec(args=words))
    with Handshake() as handshake:
        handshake.send(plan, {}, given)
        launched = perform(handshake, steps, before_commit=lambda _: None, supervised=False)
    return launched.pid, launched.pidfd
