"""Sentences about operations that failed."""

from __future__ import annotations

import pytest

from pierhead.runtime.failures import describe_failure
from pierhead.runtime.wire import Failure, Operation

MOUNT = Operation(name="mount", arguments=("tmpfs", "tmpfs", b"", 0, "/dev", 0, 0))


@pytest.mark.parametrize(
    ("operation", "doing", "about", "sentence"),
    [
        (
            Operation(name="timens_offsets", arguments=("boottime -9 0\n",)),
            "write",
            "timens_offsets",
            "cannot apply timeOffsets: write timens_offsets: invalid argument",
        ),
        (
            Operation(name="scheduler", arguments=(b"",)),
            "sched_setattr",
            "",
            "cannot apply scheduler: sched_setattr: invalid argument",
        ),
        (
            Operation(name="memory_policy", arguments=(0, b"")),
            "set_mempolicy",
            "",
            "cannot apply memoryPolicy: set_mempolicy: invalid argument",
        ),
        (
            MOUNT,
            "fsconfig",
            "tmpfs: Unknown parameter 'context'",
            "cannot apply mountLabel to /dev: fsconfig tmpfs: Unknown parameter 'context': invalid argument",
        ),
        (
            MOUNT,
            "fsconfig",
            "tmpfs: Bad value for 'size'",
            "cannot mount tmpfs on /dev: fsconfig tmpfs: Bad value for 'size': invalid argument",
        ),
    ],
)
def test_failures_name_what_was_asked_for(
    operation: Operation, doing: str, about: str, sentence: str
) -> None:
    """Fields of the configuration where the operation is about one, else the operation's object."""
    failure = Failure(place=2, index=0, errno=22, doing=doing, about=about)
    assert describe_failure(failure, operation, {}) == sentence
