"""Lines as servers of syslog read them, and where these are.  Pure.

::

    ""            <30>Nov 26 08:00:00 TAG[PID]: text                     on this machine
    rfc3164       <30>Nov 26 08:00:00 HOST TAG[PID]: text
    rfc5424       <30>1 2026-11-26T08:00:00Z HOST TAG PID TAG - text
    rfc5424micro  the same with millionths of seconds

Source: RFC 3164, RFC 5424, RFC 5425; docker's documentation of its driver.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pierhead.engine.moments import parse_moment
from pierhead.errors import InvalidInput
from pierhead.values import Value

if TYPE_CHECKING:
    from pierhead.runtime.logs import LogEntry

FORMATS = ("", "rfc3164", "rfc5424", "rfc5424micro")
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("", "", "", ""),
    *(f"local{number}" for number in range(8)),
)
"""By number; those without a name have no name with docker either."""
_DAEMON = 3
_SEVERITIES = {"stdout": 6, "stderr": 3}
_PORT = 514
_SCHEMES = ("unix", "unixgram", "udp", "tcp", "tcp+tls")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class SyslogAddress(Value):
    """Where a server is: ``scheme`` is "" for this machine's own; unix sockets have a path, others a host."""

    scheme: str = ""
    path: str = ""
    host: str = ""
    port: int = 0


def parse_address(text: str) -> SyslogAddress:
    """The option ``syslog-address``; "" is the machine's own server.

    Raises:
        InvalidInput: it is no address.
    """
    if not text:
        return SyslogAddress()
    hint = "as unix:///dev/log, udp://192.0.2.1:514, tcp://HOST:514 or tcp+tls://HOST:6514"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError:
        raise InvalidInput(
            f"syslog-address is no address: {text}", code="bad-log-option", hint=hint
        ) from None
    if parts.scheme not in _SCHEMES:
        message = f"syslog-address must be in form proto://address, got {text}"
        raise InvalidInput(message, code="bad-log-option", hint=hint)
    if parts.scheme.startswith("unix"):
        if not parts.path.startswith("/") or host:
            message = f"syslog-address names no socket: {text}"
            raise InvalidInput(message, code="bad-log-option", hint=hint)
        return SyslogAddress(scheme=parts.scheme, path=parts.path)
    if not host:
        raise InvalidInput(f"syslog-address names no host: {text}", code="bad-log-option", hint=hint)
    return SyslogAddress(scheme=parts.scheme, host=host, port=port)


def parse_facility(text: str) -> int:
    """The number of the option ``syslog-facility``, by name or number; that of daemons for "".

    Raises:
        InvalidInput: there is no such facility.
    """
    if not text:
        return _DAEMON
    if text in _FACILITIES:
        return _FACILITIES.index(text)
    if text.isascii() and text.isdecimal() and int(text) < len(_FACILITIES):
        return int(text)
    raise InvalidInput(
        f"invalid syslog facility: {text}",
        code="bad-log-option",
        hint=f"there are {', '.join(filter(None, _FACILITIES))}, and 0 to 23",
    )


class SyslogForm(Value):
    """How lines of one container are written.

    Fields:
        format: one of ``FORMATS``.
        facility: its number.
        tag: see ``tags.tag_of``.
        hostname: this machine's.
        pid: who sends.
        counted: whether each message begins with its length, as TLS has it (RFC 5425, section 4.3).
    """

    format: str = ""
    facility: int = _DAEMON
    tag: str
    hostname: str
    pid: int
    counted: bool = False

    def message(self, entry: LogEntry) -> bytes:
        """What is sent for a line, or for a part of one: it ends with a line end."""
        priority = self.facility << 3 | _SEVERITIES[entry.stream]
        moment_ns = parse_moment(entry.time)
        tag, pid = self.tag, self.pid
        if self.format.startswith("rfc5424"):
            micro = self.format == "rfc5424micro"
            head = f"<{priority}>1 {_long_time(moment_ns, micro=micro)} {self.hostname} {tag} {pid} {tag} - "
        elif self.format == "rfc3164":
            head = f"<{priority}>{_short_time(moment_ns)} {self.hostname} {tag}[{pid}]: "
        else:
            head = f"<{priority}>{_short_time(moment_ns)} {tag}[{pid}]: "
        text = head.encode() + entry.data.removesuffix(b"\n") + b"\n"
        return b"%d %s" % (len(text), text) if self.counted else text


def _short_time(moment_ns: int) -> str:
    """Of this machine's zone (RFC 3164, section 4.1.2); months are English in any locale."""
    at = time.localtime(moment_ns // 1_000_000_000)
    return f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"


def _long_time(moment_ns: int, *, micro: bool) -> str:
    seconds, rest = divmod(moment_ns, 1_000_000_000)
    fraction = f".{rest // 1000:06}" if micro else ""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f"{fraction}Z"
