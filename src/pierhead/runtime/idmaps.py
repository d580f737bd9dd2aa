"""Id maps of a new user namespace, written from outside.

Root writes them; an ordinary user may map only itself, or asks the set-user-id programs newuidmap and
newgidmap for the ranges that /etc/subuid and /etc/subgid give. Without privilege the group map is written
only after ``deny`` to setgroups (CVE-2014-8989). Source: user_namespaces(7).
"""

from __future__ import annotations

import os

from pierhead.errors import OperationFailed
from pierhead.linux import files, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.oci.runtime import IDMapping


def write_maps(pid: int, uid_mappings: Sequence[IDMapping], gid_mappings: Sequence[IDMapping]) -> None:
    """The process's user namespace has these maps.

    Raises:
        OperationFailed: the kernel, or newuidmap, refuses.
    """
    privileged = os.geteuid() == 0
    if not privileged and _maps_only_self(gid_mappings, os.getegid()):
        _write(pid, "setgroups", "deny")
    for name, mappings, own in (("uid", uid_mappings, os.geteuid()), ("gid", gid_mappings, os.getegid())):
        if privileged or _maps_only_self(mappings, own):
            _write(pid, f"{name}_map", _text(mappings))
        elif mappings:
            _ask(f"new{name}map", pid, mappings)


def _maps_only_self(mappings: Sequence[IDMapping], own: int) -> bool:
    return len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == own


def _text(mappings: Sequence[IDMapping]) -> str:
    return "".join(f"{item.container_id} {item.host_id} {item.size}\n" for item in mappings)


def _write(pid: int, name: str, text: str) -> None:
    try:
        files.write_text(f"/proc/{pid}/{name}", text)
    except OSError as error:
        shown, reason = text.strip().replace("\n", ", "), os.strerror(error.errno or 0).lower()
        raise OperationFailed(
            f"cannot write {shown!r} to {name} of the user namespace: {reason}",
            errno=error.errno or 0,
        ) from None


def _ask(program: str, pid: int, mappings: Sequence[IDMapping]) -> None:
    numbers = [str(n) for item in mappings for n in (item.container_id, item.host_id, item.size)]
    code, said = process.run_program((program, str(pid), *numbers))
    if code != 0:
        raise OperationFailed(
            f"{program} refuses the mapping: {said or f'exit status {code}'}",
            hint="/etc/subuid and /etc/subgid give a user ranges; the package uidmap has the program",
        )


def open_user_namespace(uid_mappings: Sequence[IDMapping], gid_mappings: Sequence[IDMapping]) -> int:
    """A descriptor of a new user namespace with these maps, held by no process: for an idmapped mount."""
    from pierhead.runtime.containerless import hold_user_namespace

    return hold_user_namespace(lambda pid: write_maps(pid, uid_mappings, gid_mappings))
