"""A server of syslog, on this machine or on another one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from typing import TYPE_CHECKING

from pierhead.engine.logship.tags import tag_of
from pierhead.engine.specgen.syslogwords import SyslogForm, parse_address, parse_facility
from pierhead.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    import ssl

    from pierhead.engine.record import Record
    from pierhead.engine.specgen.syslogwords import SyslogAddress
    from pierhead.runtime.logs import LogEntry

_LOCAL = ("/dev/log", "/var/run/syslog", "/var/run/log")
"""Where the machine's own server may listen."""
_CONNECT_S = 10.0


class SyslogSink:
    """A connection with a server."""

    def __init__(self, record: Record) -> None:
        """Not connected yet.

        Raises:
            InvalidInput: an option of the container is none.
        """
        options = record.host.log_config.config
        self._options = options
        self._address = parse_address(options.get("syslog-address", ""))
        secure = self._address.scheme == "tcp+tls"
        wanted = options.get("syslog-format", "")
        self._form = SyslogForm(
            format=wanted,
            facility=parse_facility(options.get("syslog-facility", "")),
            tag=tag_of(record),
            hostname=os.uname().nodename,
            pid=os.getpid(),
            counted=secure and wanted.startswith("rfc5424"),
        )
        self._socket: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def open(self) -> None:
        """It can be sent to.

        Raises:
            Unavailable: nobody is there.
            InvalidInput: a certificate is none.
        """
        try:
            async with asyncio.timeout(_CONNECT_S):
                await self._connect(self._address)
        except OSError as error:  # TimeoutError is one
            shown = self._options.get("syslog-address", "") or " or ".join(_LOCAL)
            reason = _REASONS.get(error.errno or 0) or (error.strerror or str(error) or "no answer").lower()
            raise Unavailable(
                f"syslog cannot be reached: {shown}: {reason}",
                code="no-syslog",
                hint="start the server, or choose another log driver",
            ) from None

    async def _connect(self, address: SyslogAddress) -> None:
        if address.scheme == "tcp+tls":
            context = tls_context(self._options)
            _, self._writer = await asyncio.open_connection(address.host, address.port, ssl=context)
        elif not address.scheme:
            self._socket = _connect_local()
        elif address.path:
            self._socket = _connect_path(address.path, stream=address.scheme == "unix")
        else:
            kind = socket.SOCK_STREAM if address.scheme == "tcp" else socket.SOCK_DGRAM
            self._socket = await _connect_inet(address.host, address.port, kind)

    async def send(self, entry: LogEntry) -> None:
        """The line is on its way; waits while the server reads nothing.

        Raises:
            OSError: the server is gone.
        """
        message = self._form.message(entry)
        if self._writer is not None:
            self._writer.write(message)
            await self._writer.drain()
            return
        assert self._socket is not None
        if self._socket.type == socket.SOCK_STREAM:
            _check_there(self._socket)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, message)
        except ConnectionRefusedError:
            if self._address.scheme != "udp":
                raise
            with contextlib.suppress(ConnectionRefusedError):  # it was said of an earlier packet (udp(7))
                await loop.sock_sendall(self._socket, message)

    def close(self) -> None:
        """The connection is given up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None


_REASONS = {
    errno.ENOENT: "there is no such socket",  # docker's clients take "no such file" for a missing program
    errno.ECONNREFUSED: "nobody listens there",
}


def _check_there(channel: socket.socket) -> None:
    """A server that has hung up takes the next write without a word, and what was in it is lost.

    Raises:
        OSError: it has.
    """
    with contextlib.suppress(BlockingIOError):
        if not channel.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError(errno.ECONNRESET, "the server has hung up")


def _connect_local() -> socket.socket:
    """Raises what the last place says."""
    for path in _LOCAL[:-1]:
        if os.path.exists(path):
            return _connect_path(path, stream=False)
    return _connect_path(_LOCAL[-1], stream=False)


def _connect_path(path: str, *, stream: bool) -> socket.socket:
    """A server's socket has one of two kinds, and one that was meant to be of the other is taken as it is."""
    kinds = [socket.SOCK_STREAM, socket.SOCK_DGRAM]
    for kind in kinds if stream else reversed(kinds):
        channel = socket.socket(socket.AF_UNIX, kind)
        channel.setblocking(False)
        try:
            channel.connect(path)
        except OSError as error:
            channel.close()
            if error.errno != errno.EPROTOTYPE:
                raise
        else:
            return channel
    raise OSError(errno.EPROTOTYPE, "it is no socket of syslog")


async def _connect_inet(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=kind)
    except UnicodeError:  # a part of the name is empty, or too long
        raise OSError("nobody knows the name") from None
    for place, (family, _, _, _, where) in enumerate(found):
        channel = socket.socket(family, kind)
        channel.setblocking(False)
        try:
            await loop.sock_connect(channel, where)
        except OSError:
            channel.close()
            if place == len(found) - 1:
                raise
        except BaseException:
            channel.close()
            raise
        else:
            return channel
    raise OSError(errno.ENOENT, "nobody knows the name")


def tls_context(options: dict[str, str]) -> ssl.SSLContext:
    """How a server is asked who it is, and how we say who we are.

    Raises:
        InvalidInput: a file is no certificate or key.
    """
    import ssl

    skip = options.get("syslog-tls-skip-verify", "")
    authority = options.get("syslog-tls-ca-cert", "")
    certificate, key = options.get("syslog-tls-cert", ""), options.get("syslog-tls-key", "")
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if certificate or key:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        message = f"the certificates of syslog cannot be used: {reason}"
        hint = "look at syslog-tls-ca-cert, syslog-tls-cert and syslog-tls-key"
        raise InvalidInput(message, code="bad-log-option", hint=hint) from None
    if skip:  # docker looks at whether the option is there, whatever it says
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
