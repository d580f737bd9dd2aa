"""The client against a server that answers as it is told to."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.client.address import Address
from pierhead.client.engine import Engine, connection_failure
from pierhead.errors import Conflict, NotFound, OperationFailed, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Server:
    """Answers a request with what it was given, after those before it with theirs; keeps what was asked.

    What is to come later comes when it may go on.
    """

    def __init__(self, path: Path, *before: bytes) -> None:
        self.address = Address(path=str(path))
        self.before = before
        self.answer = b""
        self.asked = b""
        self.wants = b"\r\n\r\n"
        self.later = b""
        self.goes_on = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for answer in self.before:
            connection, _ = self._listener.accept()
            with connection:
                self.asked += connection.recv(65536)
                connection.sendall(answer)
        connection, _ = self._listener.accept()
        with connection:
            while self.wants not in self.asked and (data := connection.recv(65536)):
                self.asked += data
            connection.sendall(self.answer)
            if self.later and self.goes_on.wait(60):
                connection.sendall(self.later)
            while data := connection.recv(65536):
                self.asked += data

    def close(self) -> None:
        """It has served its one request."""
        self._thread.join(30)
        self._listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that has to be asked once."""
    made = Server(tmp_path / "s")
    yield made
    made.close()


def reply(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """An answer of a length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def test_a_question(server: Server) -> None:
    """Path with version, query, and the document that comes back."""
    server.answer = reply(b'[{"Id": "x"}]')
    assert Engine(server.address).get("/containers/json", all=True, filters={"status": ["exited"]}) == [
        {"Id": "x"}
    ]
    assert server.asked.startswith(b"GET /v1.51/containers/json?all=1&filters=%7B%22status%22")


def test_a_document_is_sent(server: Server) -> None:
    """As JSON, with its length."""
    server.answer, server.wants = reply(status="204 No Content"), b"}"
    assert Engine(server.address).post("/containers/create", {"Image": "box"}, name="web") is None
    assert b"Content-Length: 15\r\n" in server.asked
    assert server.asked.endswith(b'{"Image":"box"}')


def test_an_archive_is_sent_in_chunks(tmp_path: Path) -> None:
    """Of which nobody knows the length before; first it is asked which version is spoken."""
    server = Server(tmp_path / "s", reply(b"{}"))
    server.answer, server.wants = reply(), b"0\r\n\r\n"
    with Engine(server.address).open("PUT", "/containers/web/archive", iter([b"abc", b"", b"de"]), path="/"):
        pass
    server.close()
    assert server.asked.startswith(b"GET /v1.51/version")
    assert server.asked.endswith(b"\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("status", "kind"), [("404 X", NotFound), ("409 X", Conflict), ("500 X", OperationFailed)]
)
def test_errors(server: Server, status: str, kind: Any) -> None:
    """An error of the engine is the same error here, in the engine's words."""
    server.answer = reply(b'{"message": "No such container: web"}', status)
    with pytest.raises(kind, match="No such container: web"):
        Engine(server.address).get("/containers/web/json")


def test_another_server(server: Server) -> None:
    """What listens there may be no engine: that it says no word of an engine's is told, and where to look."""
    server.answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"
    with pytest.raises(NotFound, match="no engine answers so: status 404") as caught:
        Engine(server.address).get("/containers/json")
    assert "does another server listen" in caught.value.hint


def test_a_stream_of_documents(server: Server) -> None:
    """They come one by one, each as soon as it has been sent."""
    server.later = b'{"status":"b"}\n'
    server.answer = reply(b'{"status":"a"}\n' + server.later)[: -len(server.later)]
    documents = iter(Engine(server.address).documents("POST", "/images/create"))
    assert next(documents) == {"status": "a"}
    server.goes_on.set()
    assert list(documents) == [{"status": "b"}]


def test_streams(server: Server) -> None:
    """After the upgrade: frames both ways, what came with the head too, and half of it closed."""
    server.answer = (
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n\1\0\0\0\0\0\0\2hi"
    )
    with Engine(server.address).hijack("POST", "/containers/web/attach", stream=True) as streams:
        assert not streams.raw
        got: list[tuple[str, bytes]] = []
        while not got:
            got += streams.read() or []
        streams.write(b"typed")
        streams.close_input()
        assert streams.read() is None
    assert got == [("stdout", b"hi")]
    assert server.asked.endswith(b"typed")
    assert b"Upgrade: tcp\r\n" in server.asked


def test_an_older_engine(tmp_path: Path) -> None:
    """It is asked again in the version that it knows, and from then on; any other refusal stands."""
    refusal = b'{"message": "client version 1.51 is too new. Maximum supported API version is 1.41"}'
    made = Server(tmp_path / "s", reply(refusal, status="400 Bad Request"), reply(b"[1]"))
    made.wants, made.answer = b"/v1.41/volumes", reply(b"[2]")
    engine = Engine(made.address)
    assert (engine.get("/images/json"), engine.get("/volumes")) == ([1], [2])
    made.close()
    asked = [line.split()[1] for line in made.asked.splitlines() if line.startswith(b"GET ")]
    assert asked == [b"/v1.51/images/json", b"/v1.41/images/json", b"/v1.41/volumes"]


@pytest.mark.parametrize("half", [b"", b"HTTP/1.1 200 OK\r\n", reply(b'{"a": 1}')[:-3]])
def test_an_engine_that_dies_over_a_question(tmp_path: Path, half: bytes) -> None:
    """A GET is asked again, of whoever answers now."""
    server = Server(tmp_path / "s", half)
    server.answer = reply(b'{"a": 1}')
    assert Engine(server.address).get("/x") == {"a": 1}
    server.close()
    assert server.asked.count(b"GET /v1.51/x") == 2


def test_an_order_is_given_once(tmp_path: Path) -> None:
    """Whether it was carried out nobody knows, so it is not given again."""
    server = Server(tmp_path / "s", b"HTTP/1.1 20")
    server.answer = reply(b"{}")
    engine = Engine(server.address)
    with pytest.raises(Unavailable, match="hung up"):
        engine.post("/x", {})
    assert engine.get("/y") == {}
    server.close()
    assert server.asked.count(b"POST ") == 1


def test_a_socket_of_others(tmp_path: Path) -> None:
    """Whoever may not use it is told so, and not asked whether there is an engine."""
    failed = PermissionError(13, "Permission denied")
    assert "is for root and its own group" in connection_failure(Address(path="/s"), failed).hint
    gone = FileNotFoundError(2, "No such file or directory")
    assert connection_failure(Address(path="/s"), gone).hint == "is pierd running there?"


def test_nobody_there(tmp_path: Path) -> None:
    """The error names the place."""
    with pytest.raises(Unavailable, match=f"unix://{tmp_path}/none"):
        Engine(Address(path=f"{tmp_path}/none")).get("/_ping")
