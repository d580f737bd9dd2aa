"""A container's lacks of memory, from its cgroup's state; the kernel's part is ``pierhead.linux.oom``."""

from __future__ import annotations

from pierhead.linux import oom
from pierhead.linux.oom import OomEvents
from pierhead.runtime.cgroups import CgroupState, paths_by_controller

__all__ = ["OomEvents", "oom_events", "oom_kills"]


def oom_events(state: CgroupState) -> OomEvents:
    """A subscription to the container's lacks of memory, from now on; close it, or use it in ``with``.

    Raises:
        Unsupported: the container has no memory controller.
    """
    return oom.oom_events(paths_by_controller(state))


def oom_kills(state: CgroupState) -> int:
    """How many of the container's processes were killed for lack of memory so far; 0 where nobody counts."""
    return oom.oom_kills(paths_by_controller(state))
