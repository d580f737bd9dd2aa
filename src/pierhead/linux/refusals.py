"""What the kernel refuses, in words.

Most refusals are understood where they happen.  The rest (a full table of descriptors or of processes, a full
disk, a disk that fails) can meet any line: ``Refusals`` around a verb makes one sentence of them.
"""

from __future__ import annotations

import errno

from pierhead.errors import OperationFailed

_HINTS = {
    errno.EMFILE: "raise this program's limit of open files (ulimit -n)",
    errno.ENFILE: "raise this machine's limit of open files (/proc/sys/fs/file-max)",
    errno.EAGAIN: "a limit of processes is reached: the user's (ulimit -u), a cgroup's (pids.max), or the "
    "machine's (/proc/sys/kernel/pid_max)",
}


def hint_for(number: int) -> str:
    """What to do about a refusal with this errno; empty where that depends on what was refused."""
    return _HINTS.get(number, "")


def refused(doing: str, error: OSError) -> OperationFailed:
    """The error for what could not be done: ``cannot DOING: FILE: REASON``."""
    number = error.errno or 0
    where = f"{error.filename}: " if isinstance(error.filename, str) else ""
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot {doing}: {where}{reason}", errno=number, hint=hint_for(number))


class Refusals:
    """A context manager: an OSError that leaves the block is an OperationFailed."""

    def __init__(self, doing: str) -> None:
        """Args: doing is what the block does, as in "cannot start container web"."""
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            failure = refused(self._doing, error)
            for note in getattr(error, "__notes__", ()):
                failure.add_note(note)
            raise failure from error
