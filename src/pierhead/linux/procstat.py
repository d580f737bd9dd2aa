"""What the kernel says of a process by its number: when it started, and how far it has come.

A number alone can come to mean another process; with its start time it means this one.
"""

from __future__ import annotations

import os

from pierhead.linux.process import wait_pidfd

_START_TIME_FIELD, _FLAGS_FIELD = 22 - 3, 9 - 3
_PF_FORKNOEXEC = 0x40
_PAUSE_S = 0.001


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone.

    Source: proc_pid_stat(5), 22.
    """
    fields = _stat_fields(pid)
    return int(fields[_START_TIME_FIELD]) if fields else None


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and nobody has asked for its status yet."""
    fields = _stat_fields(pid)
    return bool(fields) and fields[0] in ("Z", "X")


def observe(pid: int) -> tuple[int, bool] | None:
    """Start time and whether it is a zombie; None when it is gone."""
    fields = _stat_fields(pid)
    return (int(fields[_START_TIME_FIELD]), fields[0] in ("Z", "X")) if fields else None


def has_executed(pid: int) -> bool:
    """Whether the process, or zombie, has executed a program since it was cloned; also when it is gone.

    Source: proc_pid_stat(5), 9; PF_FORKNOEXEC in the kernel's include/linux/sched.h, which execve clears.
    """
    fields = _stat_fields(pid)
    return not (fields and int(fields[_FLAGS_FIELD]) & _PF_FORKNOEXEC)


def executes(pid: int, pidfd: int) -> bool:
    """Whether the process, which has nothing left to do but that, has executed its program; not if it ends
    before.

    That its descriptors are closed does not tell: Linux 7.2 as user-mode Linux does so a moment before.
    """
    while not has_executed(pid):
        if wait_pidfd(pidfd, _PAUSE_S):
            return has_executed(pid)
    return True


def _stat_fields(pid: int) -> list[str]:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        text = os.read(fd, 4096).decode(errors="replace")
    except ProcessLookupError:
        return []
    finally:
        os.close(fd)
    return text.rpartition(")")[2].split()
