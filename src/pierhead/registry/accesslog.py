"""One line for each request that was answered, as JSON or for people.

2026-11-26T05:01:02Z 127.0.0.1 alice GET /v2/a/blobs/sha256:… 200 received=0 sent=1048576 4.1 ms
"""

from __future__ import annotations

import os
import sys
import time

from pierhead import jsontext
from pierhead.errors import InvalidInput, OperationFailed
from pierhead.linux.files import write_all
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

FORMATS = ("text", "json")


class AccessEntry(Value):
    """A request that was answered; ``status`` 499 is a client that went away before."""

    time_s: float
    client: str
    user: str
    method: str
    path: str
    status: int
    received_bytes: int
    sent_bytes: int
    seconds: float
    agent: str


def format_entry(entry: AccessEntry, form: str) -> str:
    """The entry's line, with its end."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.time_s))
    if form == "json":
        document = {
            "time": moment,
            "client": entry.client,
            "user": entry.user,
            "method": entry.method,
            "path": entry.path,
            "status": entry.status,
            "received_bytes": entry.received_bytes,
            "sent_bytes": entry.sent_bytes,
            "ms": round(entry.seconds * 1000, 3),
            "agent": entry.agent,
        }
        return jsontext.format_compact(document) + "\n"
    words = (moment, entry.client, entry.user or "-", entry.method, entry.path, str(entry.status))
    sizes = f"received={entry.received_bytes} sent={entry.sent_bytes}"
    return f"{' '.join(_printable(word) for word in words)} {sizes} {entry.seconds * 1000:.1f} ms\n"


def _printable(word: str) -> str:
    """A client's text makes no line of its own, and no column."""
    return "".join(c if c.isprintable() and not c.isspace() else "\ufffd" for c in word) or "-"


class AccessLog:
    """Writes lines to a file, or to standard error.  The file may be renamed and made anew (``reopen``)."""

    def __init__(self, path: str, form: str = "text") -> None:
        """``-`` is standard error.

        Raises:
            InvalidInput: no such form.
            OperationFailed: the file cannot be opened.
        """
        if form not in FORMATS:
            raise InvalidInput(
                f"{form!r} is no format of an access log", hint=f"it may be {' or '.join(FORMATS)}"
            )
        self._path = path
        self._form = form
        self._fd = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._path == "-":
            return os.dup(sys.stderr.fileno())
        try:
            return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            message = f"cannot open the access log {self._path}: {reason}"
            raise OperationFailed(message, errno=error.errno or 0) from error

    def write(self, entry: AccessEntry) -> None:
        """The line is written; on a full disk it is not, and the registry goes on."""
        try:
            write_all(self._fd, format_entry(entry, self._form).encode(errors="replace"))
        except OSError:
            return

    def reopen(self) -> None:
        """Lines go to the file that has the name now."""
        old, self._fd = self._fd, self._open()
        os.close(old)

    def close(self) -> None:
        """The file is closed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
