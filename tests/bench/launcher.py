"""Runs other programs for the benchmark, one per line of standard input, and says how long each took.

It is its own small process (``python -IS launcher.py``) so that it may live in a private mount namespace:
crun refuses a hybrid cgroup hierarchy, so its launcher sees none.  Every program is launched by the same few
lines, whichever namespace they run in.

    in    JSON array: the command's words
    out   one line: exit status, microseconds from spawn to the end of the wait
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
        _, status = os.waitpid(pid, 0)
        elapsed_us = (time.perf_counter_ns() - begin_ns) / 1000
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)} {elapsed_us:.1f}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
