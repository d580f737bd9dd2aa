"""Logs kept by the machine: the journal and syslog, each told by datagrams on a socket.

Source: systemd's "Native Journal Protocol"; RFC 3164 in the form that /dev/log takes.
"""

from __future__ import annotations

import _socket
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.output import Level

_JOURNAL = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"
_DAEMON = 3 << 3  # the facility for system daemons
_SEVERITIES = {"error": 3, "warning": 4, "debug": 7}


def _connect(path: str) -> _socket.socket:
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    socket.connect(path)
    return socket


class JournalLog:
    """The systemd journal."""

    def __init__(self, name: str, path: str = _JOURNAL) -> None:
        """Connects; entries are found by ``journalctl -t NAME``."""
        self._name = name or "pier-runtime"
        self._socket = _connect(path)

    def add(self, level: Level, message: str) -> None:
        """The journal has the entry."""
        fields = {"PRIORITY": str(_SEVERITIES[level]), "SYSLOG_IDENTIFIER": self._name, "MESSAGE": message}
        self._socket.send(b"".join(_journal_field(name, text) for name, text in fields.items()))

    def close(self) -> None:
        """The connection is given up."""
        self._socket.close()


def _journal_field(name: str, text: str) -> bytes:
    """``NAME=text``, or, for text of several lines, name and length and bytes."""
    data = text.encode(errors="surrogateescape")
    if b"\n" not in data:
        return b"%s=%s\n" % (name.encode(), data)
    return b"%s\n%s%s\n" % (name.encode(), len(data).to_bytes(8, "little"), data)


class SyslogLog:
    """The syslog daemon."""

    def __init__(self, name: str, path: str = _SYSLOG) -> None:
        """Connects; entries begin with the name."""
        self._name = name or "pier-runtime"
        self._socket = _connect(path)

    def add(self, level: Level, message: str) -> None:
        """The daemon has the entry; a line break would end it."""
        text = f"<{_DAEMON | _SEVERITIES[level]}>{self._name}[{os.getpid()}]: {message}".replace("\n", " ")
        self._socket.send(text.encode(errors="surrogateescape"))

    def close(self) -> None:
        """The connection is given up."""
        self._socket.close()
