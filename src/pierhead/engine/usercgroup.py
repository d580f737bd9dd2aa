"""The cgroup that systemd has given to an ordinary user's ``pierd``: in it are those of the containers.

    …/pierd.service/      of a unit with Delegate=yes: the user's own
        pierd/            with DelegateSubgroup=pierd: pierd, the namespaces' keeper, monitors
                          (what is divided holds no processes)
        pierhead/ID/      containers

Source: cgroup-v2.rst, "Delegation" and "No Internal Process Constraint"; systemd's CGROUP_DELEGATION.md;
systemd.resource-control(5), DelegateSubgroup=.
"""

from __future__ import annotations

import os
from contextlib import suppress

from pierhead.errors import PierheadError
from pierhead.linux import cgroupfs

_UNITS = (".service", ".scope")
_OTHERS = (*_UNITS, ".slice")
_DIVIDING = "cgroup.subtree_control"
_WANTED = ("cpu", "cpuset", "io", "memory", "pids")


def divide_delegated() -> tuple[str, tuple[str, ...]]:
    """The cgroup of our unit is divided, if it was given to us; its path, and the controllers of those below
    it.  Both are empty where it was not.
    """
    trees = cgroupfs.discover()
    tree = trees.unified()
    path = find_delegated(tree.own_path) if tree is not None and trees.mode == "v2" else ""
    if not path or tree is None:
        return "", ()
    controllers = _divide(tree.directory(path))
    return (path, controllers) if controllers else ("", ())


def find_delegated(own: str) -> str:
    """The path of the unit's cgroup above ours, or nothing.  Pure.

    Only one that was given away may be divided, and systemd marks those of user's units in no way.  But who
    is below a unit's own is where somebody has divided it before us: systemd itself, as it was told.
    """
    above, _, name = own.rstrip("/").rpartition("/")
    return above if above.endswith(_UNITS) and not name.endswith(_OTHERS) else ""


def _divide(directory: str) -> tuple[str, ...]:
    if not all(os.access(place, os.W_OK) for place in (directory, f"{directory}/{_DIVIDING}")):
        return ()
    there = (cgroupfs.read_text(directory, "cgroup.controllers") or "").split()
    for name in _WANTED:
        if name in there:
            with suppress(PierheadError):  # one controller fewer
                cgroupfs.write_lines(directory, _DIVIDING, (f"+{name}",))
    return tuple((cgroupfs.read_text(directory, _DIVIDING) or "").split())
