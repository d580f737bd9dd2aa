"""What is asked for when output is read, or streams are connected with.  Pure values."""

from __future__ import annotations

from pierhead.values import Value


class LogQuery(Value):
    """Which output.

    Fields:
        stdout, stderr: whether of this stream.
        follow: whether to go on with what comes.
        since_ns, until_ns: Unix time; 0 for no bound.
        tail: how many of the last lines; None for all.
        timestamps: whether each line begins with its time.
        details: whether then come the labels and variables that the log driver's options name.
    """

    stdout: bool = True
    stderr: bool = True
    follow: bool = False
    since_ns: int = 0
    until_ns: int = 0
    tail: int | None = None
    timestamps: bool = False
    details: bool = False


class AttachQuery(Value):
    """Which streams to be connected with; ``logs`` begins with what was written before."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    stream: bool = True
    logs: bool = False
