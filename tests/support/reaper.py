"""A stand-in for containerd's shim and conmon: calls a runtime and inherits the processes it leaves behind.

    python reaper.py PID_FILE COMMAND…      prints the exit status of the process named in PID_FILE

The kernel gives it the orphans of its descendants (PR_SET_CHILD_SUBREAPER), so it can wait for a process that
the runtime launched; a runtime that has waited for the process itself takes its status away from the caller.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Runs the command, then waits for the process in its pid file."""
    pid_file, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    try:
        _, status = os.waitpid(int(Path(pid_file).read_text()), 0)
    except ChildProcessError:
        print("somebody else has waited for it")
        return 1
    print(os.waitstatus_to_exitcode(status))
    return 0


if __name__ == "__main__":
    sys.exit(main())
