"""An engine, asked by the Docker API.

    engine = Engine(parse_address("unix:///run/pierhead/pierd.sock"))
    engine.get("/containers/json", all=True)
    for document in engine.documents("POST", "/images/create", fromImage="busybox"):
        …
    with engine.hijack("POST", f"/containers/{container_id}/attach", stream=True, stdout=True) as streams:
        …

Each request has a connection of its own.  Errors of the engine come back as the errors they were there.  An
engine that is older than our version of the API is spoken to in its newest.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, getaddrinfo, socket

from pierhead import errors, jsontext
from pierhead.client.streams import Streams
from pierhead.client.wire import Answer, encode_chunk, encode_head
from pierhead.errors import InvalidInput, OperationFailed, PierheadError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator
    from typing import Any, Self

    from pierhead.client.address import Address
    from pierhead.client.tls import TlsSocket

    Document = dict[str, Any]

API_VERSION = "1.51"
_TOO_NEW = "Maximum supported API version is "
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@,")
_KINDS = {
    kind.status: kind
    for kind in (
        errors.NotModified,
        errors.InvalidInput,
        errors.Unauthorized,
        errors.Forbidden,
        errors.NotFound,
        errors.Conflict,
        errors.Unsupported,
        errors.Unavailable,
        errors.TimedOut,
    )
}


class Engine:
    """One engine."""

    def __init__(self, address: Address, *, tls: ssl.SSLContext | None = None) -> None:
        """Asks nothing yet.

        Args:
            address: where it listens.
            tls: how it is spoken to over TCP; None is without TLS.
        """
        self.address = address
        self._tls = tls
        self._version = API_VERSION
        self._is_settled = False

    # Requests

    def get(self, path: str, /, **query: Any) -> Any:
        """What a GET of the path answers."""
        return self.ask("GET", path, **query)

    def post(self, path: str, body: object = None, /, **query: Any) -> Any:
        """What a POST to the path answers; None where that is nothing."""
        return self.ask("POST", path, body, **query)

    def delete(self, path: str, /, **query: Any) -> Any:
        """What a DELETE of the path answers."""
        return self.ask("DELETE", path, **query)

    def ask(self, method: str, path: str, body: object = None, /, **query: Any) -> Any:
        """The document that is the answer; None where there is none.

        A GET during which the engine dies is asked once more: the next engine answers it.

        Raises:
            PierheadError: as the engine raised it.
            Unavailable: nobody answers.
        """
        try:
            raw = self._read(method, path, body, query)
        except Unavailable as error:
            if method != "GET" or error.code != "engine-hung-up":
                raise
            raw = self._read(method, path, body, query)
        return jsontext.parse(raw, name="the engine's answer") if raw.strip() else None

    def _read(self, method: str, path: str, body: object, query: Document) -> bytes:
        with self.open(method, path, body, **query) as reply:
            return b"".join(reply.body())

    def documents(self, method: str, path: str, body: object = None, /, **query: Any) -> Iterator[Document]:
        """The documents of which the answer is a stream, as they come.

        Raises:
            PierheadError, Unavailable: as ``ask``.
        """
        with self.open(method, path, body, **query) as reply:
            yield from split_documents(reply.body())

    def open(
        self,
        method: str,
        path: str,
        body: object = None,
        /,
        *,
        headers: Document | None = None,
        **query: Any,
    ) -> Reply:
        """The answer, of which the head is read; a context manager.

        Args:
            method: of HTTP.
            path: without the version.
            body: a document; pieces of an archive, where it is an iterable of bytes; None for nothing.
            headers: further ones.
            query: members of the query; None and False are left out, documents are written as JSON.

        Raises:
            PierheadError, Unavailable: as ``ask``.
        """
        once = method == "HEAD" or (body is not None and not isinstance(body, dict))
        if once and not self._is_settled:  # a refusal would come without its words, or too late to try again
            self.get("/version")
        try:
            return self._open(method, path, body, headers or {}, query)
        except InvalidInput as error:
            found = error.message.partition(_TOO_NEW)[2].strip()
            if not found or found == self._version:
                raise
            self._version = found
        return self._open(method, path, body, headers or {}, query)

    def _open(self, method: str, path: str, body: object, headers: Document, query: Document) -> Reply:
        connection = self._connect()
        try:
            reply = self._send(connection, method, path, body, headers, query)
        except BaseException:
            connection.close()
            raise
        self._is_settled = True
        return reply

    def _send(
        self,
        connection: Connection,
        method: str,
        path: str,
        body: object,
        headers: Document,
        query: Document,
    ) -> Reply:
        raw, pieces = _encode_body(body)
        given = {"Host": "pierhead", "User-Agent": "pier", **headers}
        if pieces is not None:
            given |= {"Transfer-Encoding": "chunked", "Content-Type": "application/x-tar"}
        elif raw or method == "POST":
            given |= {"Content-Length": str(len(raw)), "Content-Type": "application/json"}
        target = f"/v{self._version}{quote(path)}{encode_query(query)}"
        connection.send(encode_head(method, target, given) + raw)
        for piece in pieces or ():
            if piece:
                connection.send(encode_chunk(piece))
        if pieces is not None:
            connection.send(encode_chunk(b""))
        reply = Reply(connection, Answer(connection.receive, method=method))
        if reply.status >= 300:
            raise _error_of(reply)
        return reply

    def hijack(
        self, method: str, path: str, body: object = None, /, *, terminal: bool = False, **query: Any
    ) -> Streams:
        """The connection, which from now on carries a process's streams; a context manager.

        Args:
            method: of HTTP.
            path: without the version.
            body: a document; None for nothing.
            terminal: whether the process has a terminal, and so one stream.
            query: as of ``open``.

        Raises:
            PierheadError, Unavailable: as ``ask``.
        """
        upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
        reply = self.open(method, path, body, headers=upgrade, **query)
        return Streams(reply.connection.socket, reply.answer, raw=terminal)

    def _connect(self) -> Connection:
        try:
            return Connection(_open_socket(self.address, self._tls))
        except OSError as error:
            raise connection_failure(self.address, error) from None


class Connection:
    """A socket; its errors are sentences."""

    def __init__(self, made: socket | TlsSocket) -> None:
        self.socket = made

    def send(self, data: bytes) -> None:
        """All of it is on its way.  A peer that does not want it may have answered why."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            raise _broken(error) from None

    def receive(self, size: int) -> bytes:
        """At most so many bytes; b"" at the end."""
        try:
            return self.socket.recv(size)
        except ConnectionResetError:
            return b""
        except OSError as error:
            raise _broken(error) from None

    def close(self) -> None:
        """The connection is given up."""
        self.socket.close()


class Reply:
    """An answer; leaving its block closes the connection."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self.connection = connection
        self.answer = answer
        self.status = answer.status
        self.headers = answer.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def body(self) -> Iterator[bytes]:
        """Pieces of the body as they come."""
        return self.answer.body()


def split_documents(pieces: Iterable[bytes]) -> Iterator[Document]:
    """Documents that follow one another, each on a line of its own."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield jsontext.parse(line, name="the engine's answer")
    if rest.strip():
        yield jsontext.parse(rest, name="the engine's answer")


def quote(text: str) -> str:
    """The text as a URL's path has it."""
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


def encode_query(query: Document) -> str:
    """``?all=1&filters=…``; "" for nothing."""
    members = []
    for name, value in query.items():
        if value is None or value is False or value == "":
            continue
        values = value if isinstance(value, list) else [value]
        for each in values:
            if each is True:
                text = "1"
            else:
                text = jsontext.format_compact(each) if isinstance(each, dict) else str(each)
            members.append(f"{name}={quote(text)}")
    return "?" + "&".join(members) if members else ""


def _encode_body(body: object) -> tuple[bytes, Iterable[bytes] | None]:
    if body is None:
        return b"", None
    if isinstance(body, dict):
        return jsontext.format_compact(body).encode(), None
    return b"", body  # type: ignore[return-value]


def _open_socket(address: Address, tls: ssl.SSLContext | None) -> socket | TlsSocket:
    if address.path:
        made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            made.connect(address.path)
        except BaseException:
            made.close()
            raise
        return made
    found = getaddrinfo(address.host, address.port, 0, SOCK_STREAM)
    failure: OSError = OSError(0, "no address")
    for family, kind, protocol, _, place in found:
        if family not in (AF_INET, AF_INET6):
            continue
        made = socket(family, kind | SOCK_CLOEXEC, protocol)
        try:
            made.connect(place)
        except OSError as error:
            made.close()
            failure = error
            continue
        if tls is None:
            return made
        from pierhead.client.tls import TlsSocket

        return TlsSocket(made, tls, address.host)
    raise failure


def connection_failure(address: Address, error: OSError) -> Unavailable:
    """The error that nobody was reached there."""
    reason = (error.strerror or str(error)).lower()
    hint = "is pierd running there?"
    if isinstance(error, PermissionError):
        hint = "its socket is for root and its own group (ls -l shows which): call it as one of them"
    return Unavailable(f"cannot connect to the engine at {address}: {reason}", code="no-engine", hint=hint)


def _error_of(reply: Reply) -> PierheadError:
    """The error that the engine has answered with."""
    with reply:
        raw = b"".join(reply.body())
    try:
        document = jsontext.parse(raw)
    except PierheadError:
        document = {}
    found = document if isinstance(document, dict) else {}
    message, _, told = str(found.get("message", "")).partition("\nhint: ")  # for clients who know of no hints
    if not message:
        message = f"no engine answers so: status {reply.status}, without a message"
        told = "does another server listen at that address? pier context show, PIER_HOST, DOCKER_HOST"
    code, hint = str(found.get("code") or ""), str(found.get("hint") or told)
    kind = _KINDS.get(reply.status)
    return kind(message, code=code, hint=hint) if kind else OperationFailed(message, code=code, hint=hint)


def _broken(error: OSError) -> Unavailable:
    reason = os.strerror(error.errno or 0).lower()
    return Unavailable(f"the connection with the engine is broken: {reason}", code="engine-hung-up")
