"""Where a process's standard streams come from and go to."""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput
from pierhead.runtime import wire_table
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.runtime.wire import Argument

    LogFormat = Literal["", "json", "cri"]

_LOG_FORMATS = {"": wire_table.LOG_NONE, "json": wire_table.LOG_JSON, "cri": wire_table.LOG_CRI}
KEEP = "keep"
"""A stream that the monitor keeps: read for the log and attach clients, or written by them."""


class Stdio(Value):
    """The three streams of a process without a terminal.

    Fields:
        input, output, error: a descriptor (which stays the caller's), None for the null device, or ``KEEP``
            for the monitor, which then logs and serves attach.
        log_path: file that the monitor writes kept output to; empty for none.
        log_format: ``json`` (one object a line) or ``cri`` (Kubernetes' text).
        log_bytes: size at which the log is rotated; 0 for never.
        log_files: how many log files are kept, the current one included.

        >>> Stdio.kept("/var/log/web.json").output
        'keep'
    """

    input: int | str | None = 0
    output: int | str | None = 1
    error: int | str | None = 2
    log_path: str = ""
    log_format: LogFormat = ""
    log_bytes: int = 0
    log_files: int = 1

    @classmethod
    def null(cls) -> Stdio:
        """Nothing to read, and what is written is lost."""
        return cls(input=None, output=None, error=None)

    @classmethod
    def kept(
        cls,
        log_path: str = "",
        *,
        log_format: LogFormat = "json",
        log_bytes: int = 0,
        log_files: int = 1,
        stdin: bool = False,
    ) -> Stdio:
        """The monitor keeps the streams; standard input only if ``stdin``."""
        return cls(
            input=KEEP if stdin else None,
            output=KEEP,
            error=KEEP,
            log_path=log_path,
            log_format=log_format if log_path else "",
            log_bytes=log_bytes,
            log_files=log_files,
        )

    def open(
        self, given: dict[str, int], header: dict[str, Argument], opened: list[int], *, supervise: bool
    ) -> None:
        """Fills in the process's ends by slot name, and the monitor's; descriptors opened here are listed
        too.
        """
        for name, wanted in (("input", self.input), ("output", self.output), ("error", self.error)):
            if isinstance(wanted, int):
                given[name] = wanted
            elif wanted == KEEP:
                if not supervise:
                    raise InvalidInput(
                        f"standard {name} is to be kept by a monitor, and none was asked for",
                        code="no-monitor",
                        hint="supervise=True (for exec: an exec_id) makes one",
                    )
                theirs, ours = os.pipe2(os.O_CLOEXEC) if name == "input" else reversed(os.pipe2(os.O_CLOEXEC))
                opened += [theirs, ours]
                given[name], given[f"monitor {name}"] = theirs, ours
                header[name] = f"monitor {name}"
            else:
                null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
                opened.append(null)
                given[name] = null

    def log_header(self) -> dict[str, Argument]:
        """The monitor's log, as the wire has it."""
        return {
            "log_path": self.log_path,
            "log_format": _LOG_FORMATS[self.log_format],
            "log_bytes": self.log_bytes,
            "log_files": self.log_files,
        }
