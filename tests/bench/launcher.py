"""Runs other programs for the benchmark, one per line of standard input, and says what each took.

It is its own small process (``python -IS launcher.py``) so that it may live in a private mount namespace:
crun refuses a hybrid cgroup hierarchy, so its launcher sees none.  Every program is launched by the same few
lines, whichever namespace they run in.  Being small matters, too: a child's peak of memory is at least what
its parent had when it began.

    in    JSON array: the command's words
    out   one line: exit status, microseconds from spawn to the end of the wait, microseconds of processors
          and KiB of the largest process, of the program and of what it waited for
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Serve until the end of standard input."""
    quiet = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, quiet, 0), (os.POSIX_SPAWN_DUP2, quiet, 1)]
    for line in sys.stdin:
        command = json.loads(line)
        begin_ns = time.perf_counter_ns()
        pid = os.posix_spawn(command[0], command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        elapsed_us = (time.perf_counter_ns() - begin_ns) / 1000
        cpu_us = (usage.ru_utime + usage.ru_stime) * 1e6
        sys.stdout.write(
            f"{os.waitstatus_to_exitcode(status)} {elapsed_us:.1f} {cpu_us:.0f} {usage.ru_maxrss}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
