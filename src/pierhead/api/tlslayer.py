"""TLS between a transport and a protocol, which lets a client close its half and still read.

asyncio's own ends the connection as soon as the client says that it sends no more (close_notify): what a
container still has to say would be lost (``echo hello | docker run -i … cat``).  RFC 8446 section 6.1 lets
each side close its own half.

    raw transport ─▶ TlsLayer.data_received ─▶ incoming ─▶ SSLObject ─▶ Connection.data_received
    raw transport ◀─ outgoing ◀─ SSLObject ◀─ TlsTransport.write ◀─ Connection
"""

from __future__ import annotations

import asyncio
import logging
import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_log = logging.getLogger(__name__)

_HANDSHAKE_S = 30.0
_READ_BYTES = 1 << 16


class TlsLayer(asyncio.Protocol):
    """Speaks TLS with a client for a protocol that knows nothing of it."""

    def __init__(self, context: ssl.SSLContext, inner: asyncio.Protocol) -> None:
        """The inner protocol is told of the connection when the client has shown who it is."""
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.raw: asyncio.Transport
        self._established = False
        self._ended = False
        self._unsent = bytearray()
        self._patience: asyncio.TimerHandle | None = None

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client has some time for its part of the handshake."""
        assert isinstance(transport, asyncio.Transport)
        self.raw = transport
        self._patience = asyncio.get_running_loop().call_later(_HANDSHAKE_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """What it means is handed on."""
        self._incoming.write(data)
        try:
            self._advance()
        except ssl.SSLError as error:
            _log.info("a client spoke no TLS as it should: %s", error.reason or error)
            self.flush()
            self.raw.close()

    def eof_received(self) -> bool:
        """A client that ends without a word has gone."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """The inner protocol learns it, if it knew of the connection."""
        if self._patience is not None:
            self._patience.cancel()
        if self._established:
            self._inner.connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read."""
        if self._established:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._established:
            self._inner.resume_writing()

    # The engine

    def _advance(self) -> None:
        if not self._established and not self._shake_hands():
            return
        if self._unsent:
            self.write(b"")
        while not self._ended:
            try:
                data = self.tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                self._ended = True
                self._inner.eof_received()
                break
            self._inner.data_received(data)
        self.flush()

    def _shake_hands(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self.flush()
            return False
        self.flush()
        assert self._patience is not None
        self._patience.cancel()
        self._established = True
        self._inner.connection_made(TlsTransport(self))
        return True

    def flush(self) -> None:
        """What TLS has to say is on its way."""
        if self._outgoing.pending and not self.raw.is_closing():
            self.raw.write(self._outgoing.read())

    def write(self, data: bytes) -> None:
        """The client will get it, when TLS has what it waits for."""
        self._unsent += data
        while self._unsent:
            try:
                sent = self.tls.write(memoryview(self._unsent)[:_READ_BYTES].tobytes())
            except ssl.SSLWantReadError:
                break
            del self._unsent[:sent]
        self.flush()

    def end(self) -> None:
        """The client is told that nothing more comes."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass  # the client's own end is still to come, or it is in no state for any
        self.flush()


class TlsTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, layer: TlsLayer) -> None:
        """Writes through the layer."""
        super().__init__()
        self._layer = layer
        self._ended = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As other transports; ``sslcontext`` is None, for the stream behaves as one without TLS."""
        if name == "ssl_object":
            return self._layer.tls
        return default if name == "sslcontext" else self._layer.raw.get_extra_info(name, default)

    def write(self, data: Any) -> None:
        """The client will get it."""
        if not self.is_closing():
            self._layer.write(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        """The client will get all of it."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """The client reads the end, and may still send."""
        if not self._ended and not self.is_closing():
            self._ended = True
            self._layer.end()

    def close(self) -> None:
        """The end, after what was written."""
        self.write_eof()
        self._layer.raw.close()

    def abort(self) -> None:
        """The end, at once."""
        self._layer.raw.abort()

    def is_closing(self) -> bool:
        """Whether it is or will be closed."""
        return self._layer.raw.is_closing()

    def pause_reading(self) -> None:
        """Nothing more is taken from the client."""
        self._layer.raw.pause_reading()

    def resume_reading(self) -> None:
        """Something is."""
        self._layer.raw.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the client."""
        return self._layer.raw.get_write_buffer_size()
