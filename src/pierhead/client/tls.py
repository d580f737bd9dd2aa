"""TLS over a socket of which each side closes its own half, as the engine's own does (RFC 8446 section 6.1).

Python's SSLSocket cannot: its ``shutdown`` forgets TLS, its ``unwrap`` waits for the other side's end, and
fails where that one still speaks.
"""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

_RECORDS_BYTES = 1 << 16


class TlsSocket:
    """A connection, with as much of a socket as clients use."""

    def __init__(self, raw: socket, context: ssl.SSLContext, server: str) -> None:
        """The other side has shown who it is.

        Args:
            raw: connected; becomes ours.
            context: how it is spoken to.
            server: the name that its certificate must have, if any must.

        Raises:
            OSError: it is not whom we want, or wants somebody else; the socket is closed.
        """
        self._raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server)
        try:
            self._shake_hands()
        except BaseException:
            raw.close()
            raise

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._receive(_RECORDS_BYTES)
            except ssl.SSLError:
                self._flush()  # the other side is told why
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._raw.sendall(self._outgoing.read())

    def _receive(self, size: int) -> bool:
        data = self._raw.recv(size)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return bool(data)

    def fileno(self) -> int:
        """The descriptor, to poll: what has been received is never left here."""
        return self._raw.fileno()

    def sendall(self, data: bytes) -> None:
        """The other side will get it."""
        self._tls.write(data)
        self._flush()

    def send(self, data: bytes, _flags: int = 0) -> int:
        """The other side will get all of it; waits, whatever the flags: half a record is of no use."""
        self.sendall(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """What came, all of it; b"" at the end.

        ``size`` is how much is received at once, and not how much that is without TLS.
        """
        while True:
            found, ended = self._read()
            if found or ended or not self._receive(size):
                return found

    def _read(self) -> tuple[bytes, bool]:
        """What has been received, and whether it was the last."""
        found = b""
        while True:
            try:
                data = self._tls.read(_RECORDS_BYTES)
            except ssl.SSLWantReadError:
                self._flush()
                return found, False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return found, True
            if not data:
                return found, True
            found += data

    def shutdown(self, _how: int) -> None:
        """The other side reads our end, and may go on."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other side's end is still to come
        self._flush()

    def close(self) -> None:
        """The connection is given up."""
        self._raw.close()
