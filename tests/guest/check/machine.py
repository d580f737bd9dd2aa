"""The machine itself: versions, size, and what root may do."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

from tests.guest.check.probing import fact, in_child, output

GROUP = Path("/sys/fs/cgroup")


@fact("kernel, service manager, interpreter")
def _versions() -> str:
    systemd = output("systemctl", "--version").splitlines()[0]
    return f"Linux {platform.release()}, {systemd}, Python {platform.python_version()}"


@fact("processors and memory")
def _size() -> str:
    return f"{os.cpu_count()} processor, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20} MiB"


@fact("all capabilities, all in the bounding set")
def _capabilities() -> str:
    status = dict(
        line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line
    )
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    full = f"{(1 << last + 1) - 1:016x}"
    assert status["CapEff"] == status["CapBnd"] == full, (
        f"effective {status['CapEff']}, bounding {status['CapBnd']}"
    )
    return full


@fact("raising a resource limit")
def _rlimit() -> str:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[0], before[1] + 1))
    return f"RLIMIT_NOFILE {before[1]} -> {before[1] + 1}"


@fact("realtime scheduling at the root of the hierarchy")
def _scheduling() -> str:
    def work() -> int:
        (GROUP / "cgroup.procs").write_text("0")
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        return 0

    assert in_child(work) == 0, "sched_setscheduler(SCHED_FIFO) failed"
    return "SCHED_FIFO"


@fact("realtime scheduling in a group", needed=False)
def _scheduling_group() -> str:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "SCHED_FIFO"
