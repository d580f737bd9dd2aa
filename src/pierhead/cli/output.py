"""Everything that the programs say.  Standard output is for what was asked for, standard error for the rest.

    pier-runtime: container does not exist
    hint: list those that do with `pier-runtime list`

With ``--log`` the errors go to that file too, and warnings and debugging only there, one entry a line:

    text   time="2026-11-23T07:53:21Z" level=error msg="container does not exist"
    json   {"level":"error","msg":"container does not exist","time":"2026-11-23T07:53:21Z"}

containerd's shim and conmon read the last JSON entry whose level is ``error``.
"""

from __future__ import annotations

import errno
import os

from pierhead.errors import InvalidInput, PierheadError
from pierhead.jsontext import format_compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal, Protocol

    Level = Literal["debug", "warning", "error"]

    class Log(Protocol):
        """Where entries are kept."""

        def add(self, level: Level, message: str) -> None:
            """The entry is kept."""

        def close(self) -> None:
            """No more will be added."""


STDIN, STDOUT, STDERR = 0, 1, 2
_RED, _YELLOW, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"


class Output:
    """One program's voice."""

    def __init__(self, program: str, *, log: Log | None = None, debug: bool = False) -> None:
        """Speaks as ``program``.

        Args:
            program: its name, which begins every line on standard error.
            log: keeps entries; None for none.
            debug: whether debugging is said at all.
        """
        self.program = program
        self.log = log
        self._debug = debug

    def print(self, text: str) -> None:
        """The text is on standard output."""
        write_all(STDOUT, text.encode(errors="surrogateescape"))

    def error(self, error: PierheadError, *, prefix: str = "") -> None:
        """What went wrong is said, with its hint."""
        message = prefix + error.message
        if self.log is not None:
            self._keep("error", message)
        self._complain(_RED, message)
        if error.hint:
            self._say(f"{self._painted(_DIM, 'hint:')} {error.hint}\n")

    def warn(self, message: str) -> None:
        """The caller is told of something that is not as they may think."""
        if self.log is not None:
            self._keep("warning", message)
        else:
            self._complain(_YELLOW, f"warning: {message}")

    def remark(self, text: str) -> None:
        """A text of several lines beside what was asked for, on standard error."""
        self._say(text)

    def debug(self, message: str) -> None:
        """Said with --debug only."""
        if not self._debug:
            return
        if self.log is not None:
            self._keep("debug", message)
        else:
            self._complain(_DIM, message)

    def colour(self, fd: int = STDOUT) -> bool:
        """Whether the stream shows colours, and the person wants them (no-color.org)."""
        return os.isatty(fd) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def width(self, fallback: int) -> int:
        """Columns of standard output where it is a terminal."""
        try:
            return os.get_terminal_size(STDOUT).columns or fallback
        except OSError:
            return fallback

    def close(self) -> None:
        """The log, if there is one, is given back."""
        if self.log is not None:
            self.log.close()
            self.log = None

    def _keep(self, level: Level, message: str) -> None:
        assert self.log is not None
        try:
            self.log.add(level, message)
        except OSError as error:
            self.log = None
            self._complain(
                _YELLOW, f"warning: cannot write to the log: {os.strerror(error.errno or 0).lower()}"
            )

    def _complain(self, colour: str, message: str) -> None:
        self._say(f"{self._painted(colour, self.program + ':')} {message}\n")

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.colour(STDERR) else text

    def _say(self, text: str) -> None:
        try:
            write_all(STDERR, text.encode(errors="surrogateescape"))
        except OSError as error:
            if error.errno not in (errno.EBADF, errno.EPIPE, errno.EIO, errno.ENOSPC):
                raise


def write_all(fd: int, data: bytes) -> None:
    """All of ``data`` is written, also to a descriptor that does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            import select

            select.select([], [fd], [])


def pretty_object(document: Mapping[str, object]) -> str:
    """An object of texts, numbers and objects of texts as indented JSON, without the json module's 17 ms."""
    return _pretty(document, "") + "\n"


def _pretty(value: object, indent: str) -> str:
    if not isinstance(value, dict) or not value:
        return format_compact(value)
    inner = indent + "  "
    members = (f"{inner}{format_compact(key)}: {_pretty(each, inner)}" for key, each in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def now() -> str:
    """The present time in UTC as RFC 3339 writes it, to the second."""
    import time

    year, month, day, hour, minute, second = time.gmtime()[:6]
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"


def format_entry(level: Level, message: str, time: str, *, json: bool) -> str:
    """One line of a log file."""
    if json:
        return format_compact({"level": level, "msg": message, "time": time}) + "\n"
    return f'time="{time}" level={level} msg={format_compact(message)}\n'


def open_log(destination: str, log_format: str) -> Log | None:
    """The log that ``--log`` names: a path, ``file:PATH``, ``journald:NAME``, ``syslog:NAME``; "" for none.

    Raises:
        InvalidInput: it cannot be opened.
    """
    if not destination:
        return None
    kind, colon, rest = destination.partition(":")
    try:
        if colon and kind in ("journald", "syslog"):
            from pierhead.cli.logsocket import JournalLog, SyslogLog

            return JournalLog(rest) if kind == "journald" else SyslogLog(rest)
        return FileLog(rest if colon and kind == "file" else destination, json=log_format == "json")
    except OSError as error:
        raise InvalidInput(
            f"cannot open the log {destination}: {os.strerror(error.errno or 0).lower()}", code="bad-log"
        ) from None


class FileLog:
    """A file to whose end entries are added; never shortened, since it may be read at the same time."""

    def __init__(self, path: str, *, json: bool) -> None:
        """Opens the file, which is made if need be."""
        self._json = json
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def add(self, level: Level, message: str) -> None:
        """The entry is at the file's end."""
        write_all(self._fd, format_entry(level, message, now(), json=self._json).encode())

    def close(self) -> None:
        """The descriptor is given back."""
        os.close(self._fd)
