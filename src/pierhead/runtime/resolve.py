"""From what was asked for to what will be: a process with every choice made.

Reads the root's passwd file, no more.
"""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput
from pierhead.linux import facts
from pierhead.runtime.config import SECCOMP_DEFAULT, Config, ProcessSpec
from pierhead.runtime.filters import FilterStore, compile_once
from pierhead.runtime.users import find_account

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.oci.runtime import Seccomp, User
    from pierhead.runtime.filters import Filter
    from pierhead.runtime.users import Reader

_INHERITED = (
    "capabilities",
    "rlimits",
    "no_new_privileges",
    "apparmor_profile",
    "process_label",
    "oom_score_adj",
    "io_priority",
    "scheduler",
    "exec_cpu_affinity",
)


def resolve_process(config: Config, wanted: ProcessSpec, find_text: Reader | None) -> ProcessSpec:
    """The process with numbers for names and the container's values for what it leaves open.

    Args:
        config: the container's.
        wanted: as it was asked for.
        find_text: reads the container's passwd and group files; None when its root cannot be read.
    """
    extra = config.additional_groups if wanted.additional_groups is None else wanted.additional_groups
    account = find_account(find_text, wanted.user, extra)
    changes: dict[str, Any] = {
        name: getattr(config, name) for name in _INHERITED if getattr(wanted, name) is None
    }
    env = wanted.env
    if not any(entry.startswith("HOME=") for entry in env):
        env = (*env, f"HOME={account.home or '/'}")
    user = account.user
    if not extra and user.additional_gids == (user.gid,) and _maps_one(config):
        user = user.replace(additional_gids=())  # no group can be given there: see ``plan.launch``
    _check_mapped(config, user)
    return wanted.replace(user=user, additional_groups=(), env=env, **changes)


def _maps_one(config: Config) -> bool:
    return len(config.gid_mappings) == 1 and config.gid_mappings[0].size == 1


def _check_mapped(config: Config, user: User) -> None:
    """What names have turned out to be exists in the container's user namespace (user_namespaces(7))."""
    ids = [("uid", user.uid, config.uid_mappings), ("gid", user.gid, config.gid_mappings)]
    ids += [("gid", gid, config.gid_mappings) for gid in user.additional_gids]
    for kind, number, maps in ids:
        if maps and not any(item.container_id <= number < item.container_id + item.size for item in maps):
            raise InvalidInput(
                f"{kind} {number} is not mapped in the user namespace",
                path="$.process.user",
                code="not-mapped",
            )


_FILTERS_MAX = 64


class Filters:
    """Compiled system call filters by profile, as this process has them."""

    _store = FilterStore()
    _compiled: dict[int, tuple[Seccomp, Filter]] = {}  # noqa: RUF012 - a cache
    _profiles: dict[tuple[str, ...], Seccomp] = {}  # noqa: RUF012 - a cache

    @classmethod
    def compile(cls, seccomp: Seccomp) -> Filter:
        """Program, flags, and whether somebody listens.

        Looked up by identity, which the kept profile makes sure of: to compare profiles takes longer than the
        launch of a process.
        """
        known = cls._compiled.get(id(seccomp))
        if known is not None:
            return known[1]
        made = compile_once(seccomp, os.uname().machine, cls._store)
        if len(cls._compiled) >= _FILTERS_MAX:
            cls._compiled.clear()
        cls._compiled[id(seccomp)] = (seccomp, made)
        return made

    @classmethod
    def default(cls, capabilities: tuple[str, ...]) -> Seccomp:
        """Docker's default profile for these capabilities on this machine."""
        if capabilities not in cls._profiles:
            from pierhead.oci.seccomp_profile import default_profile

            cls._profiles[capabilities] = default_profile(
                capabilities, os.uname().machine, facts.kernel_version()
            )
        return cls._profiles[capabilities]


def resolve_seccomp(config: Config, process: ProcessSpec) -> Config:
    """The configuration with a profile in the place of the word ``default``."""
    if config.seccomp != SECCOMP_DEFAULT:
        return config
    capabilities = (process.capabilities or config.capabilities).bounding
    return config.replace(seccomp=Filters.default(tuple(capabilities)))
