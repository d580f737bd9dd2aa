"""The exit record: how a process ended, as its monitor wrote it (init/record.c is the other side)."""

import errno
import os

from pierhead import jsontext
from pierhead.errors import OperationFailed
from pierhead.values import Value

_RECORD_MAX = 4096


class ExitRecord(Value):
    """How a monitored process ended.

    Fields:
        pid: its number in the monitor's pid namespace.
        code: what it exited with; None if a signal ended it.
        signal: number of the signal that ended it; None if it exited.
        core: whether a core was dumped.
        oom: whether the kernel killed something of its cgroup for want of memory while it ran.
        started: when the monitor took it over, RFC 3339 in UTC with nanoseconds, always of the same length.
        finished: when it ended.
    """

    pid: int
    code: int | None
    signal: int | None
    core: bool
    oom: bool
    started: str
    finished: str


def parse_exit_record(text: bytes, *, name: str = "exit record") -> ExitRecord:
    """The record that the monitor's line of JSON denotes.

    Raises:
        OperationFailed: it is not such a line.
    """
    document = jsontext.parse(text, name=name)
    if not isinstance(document, dict) or not all(field in document for field in ExitRecord.fields):
        raise OperationFailed(f"{name} is not an exit record", code="bad-exit-record")
    return ExitRecord(**{field: document[field] for field in ExitRecord.fields})


def read_exit_record(path: str) -> ExitRecord | None:
    """The record in this file; None while there is none: the process runs, or its monitor was killed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise OperationFailed(
            f"cannot read {path}: {os.strerror(error.errno or 0).lower()}", errno=error.errno or 0
        ) from error
    try:
        return parse_exit_record(os.read(fd, _RECORD_MAX), name=path)
    finally:
        os.close(fd)
