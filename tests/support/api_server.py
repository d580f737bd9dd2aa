"""The API's server in a thread, and clients that speak plain HTTP over its sockets.

with served(FakeEngine(), tmp_path) as api:
api.get("/v1.51/containers/json").json()
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pierhead.api.listeners import Address, listening
from pierhead.api.metrics import Metrics
from pierhead.api.routes import TABLE
from pierhead.api.server import Server

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pierhead.api.ports import Backend
    from tests.support.fake_engine import FakeEngine

_PATIENCE_S = 5.0
_DEADLINE_S = 60.0


@dataclass
class Answer:
    """What was answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """The body's document."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The error's sentence."""
        return str(self.json()["message"])


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("docker", timeout=_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = connect(self._path)


def connect(path: str) -> socket.socket:
    """A connection to a unix socket."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_DEADLINE_S)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


@dataclass
class Client:
    """Requests to a server that runs; each has a connection of its own."""

    path: str
    port: int = 0
    server: Server | None = None
    loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request; a dictionary or a list is sent as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict | list):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        connection = _UnixConnection(self.path)
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        """POST."""
        return self("POST", path, body, **headers)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self("DELETE", path)

    def raw(self, text: str, *, end: bool = True) -> bytes:
        """Everything that is answered to these bytes, until the server closes the connection."""
        with connect(self.path) as connection:
            connection.sendall(text.replace("\n", "\r\n").encode())
            if end:
                connection.shutdown(socket.SHUT_WR)
            return receive_all(connection)

    def in_loop(self, function: Callable[[], object]) -> None:
        """The function was called where the server runs."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(function)


class Readable(Protocol):
    """A socket, as far as one reads from it."""

    def recv(self, size: int, /) -> bytes:
        """What comes; b"" at the end."""


def receive_all(connection: Readable) -> bytes:
    """What comes until the end."""
    found = b""
    while piece := connection.recv(1 << 16):
        found += piece
    return found


def receive_until(connection: Readable, end: bytes) -> bytes:
    """What comes up to and with these bytes."""
    found = b""
    while end not in found:
        piece = connection.recv(1 << 16)
        assert piece, f"the connection ended after {found!r}"
        found += piece
    return found


@contextmanager
def served(
    engine: FakeEngine | Backend,
    directory: Path,
    *,
    tls: ssl.SSLContext | None = None,
    silence_s: float = 300.0,
) -> Iterator[Client]:
    """The API of this engine is served inside; with a context also over TCP."""
    client = Client(str(directory / "api.sock"))
    ready, stop = threading.Event(), asyncio.Event()
    failures: list[BaseException] = []

    async def serve() -> None:
        client.loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
            server = Server(engine, TABLE, tasks, metrics=Metrics(), version="0.1", silence_s=silence_s)
            client.server = server
            stack.push_async_callback(server.stop, _PATIENCE_S)
            await stack.enter_async_context(listening(Address(kind="unix", path=client.path), server.accept))
            if tls is not None:
                where = Address(kind="tcp", host="127.0.0.1")
                found = await stack.enter_async_context(listening(where, server.accept, tls=tls))
                client.port = found[0].port
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # noqa: BLE001 - the test's thread raises it
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        if failures:
            raise failures[0]
        yield client
    finally:
        if client.loop is not None and thread.is_alive():
            client.loop.call_soon_threadsafe(stop.set)
        thread.join()
    if failures:
        raise failures[0]
