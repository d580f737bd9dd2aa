"""Where a process's standard streams come from and go to."""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput
from pierhead.linux.refusals import refused
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

    def check(self) -> None:
        """Every field has one of the values that it may have, and a log a place.

        Raises:
            InvalidInput: it has not.
        """
        for name, wanted in (("input", self.input), ("output", self.output), ("error", self.error)):
            if not (wanted is None or wanted == KEEP or isinstance(wanted, int)):
                message = f"standard {name} is a descriptor, None or {KEEP!r}, not {wanted!r}"
                raise InvalidInput(message, code="bad-stream")
        if self.log_format not in _LOG_FORMATS:
            known = " and ".join(name for name in _LOG_FORMATS if name)
            message = f"there is no log format {self.log_format!r}: {known} are known"
            raise InvalidInput(message, code="bad-log")
        if self.log_path and not self.log_format:
            raise InvalidInput(f"the log {self.log_path} has no format", code="bad-log")
        if self.log_format and not os.path.isabs(self.log_path):
            message = f"the path of a log has to be absolute, and is {self.log_path!r}"
            raise InvalidInput(message, code="bad-log")
        if self.log_bytes < 0 or self.log_files < 1:
            message = f"a log cannot have {self.log_files} files of {self.log_bytes} bytes"
            raise InvalidInput(message, code="bad-log", hint="0 bytes is no limit; one file is the least")

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
                opened.append(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))
                given[name] = opened[-1]

    def open_log(self) -> int:
        """A descriptor of the log, which exists and can be written.

        The monitor, which opens it by itself, tells nobody when it cannot.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            return os.open(self.log_path, flags, 0o640)
        except OSError as error:
            raise refused("write the log", error) from None

    def log_header(self) -> dict[str, Argument]:
        """The monitor's log, as the wire has it."""
        return {
            "log_path": self.log_path,
            "log_format": _LOG_FORMATS[self.log_format],
            "log_bytes": self.log_bytes,
            "log_files": self.log_files,
        }
