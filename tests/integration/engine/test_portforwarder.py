"""What leads an ordinary user's ports inside, without the namespaces: it listens at 127.0.0.2, and those whom
it leads to are at 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.machinesockets import MachineSockets, format_question, receive_answer
from pierhead.engine.portforwarder import serve
from pierhead.engine.userports import ForwardedPorts
from pierhead.errors import Unavailable
from pierhead.net.model import PublishedPort
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OUTER, _INNER = "127.0.0.2", "127.0.0.1"
_MUCH = bytes(range(256)) * 20_000
_PATIENCE_S = 30
_DESCRIPTORS = 1024


class Leading:
    """A forwarder that serves, and what opens sockets for it."""

    def __init__(self, directory: Path) -> None:
        self.api_path = str(directory / "ports.sock")
        self.sockets = MachineSockets(str(directory))
        self.ports = ForwardedPorts(self.api_path, self.sockets.path)
        self._keeper = subprocess.Popen(["sleep", "infinity"])
        self._keeper_fd = os.pidfd_open(self._keeper.pid)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.api_path)
        self._listener.listen()
        self._listener.setblocking(False)
        self._threads = (
            threading.Thread(
                target=lambda: asyncio.run(serve(self._listener, self._keeper_fd, _DESCRIPTORS))
            ),
            threading.Thread(target=lambda: self.sockets.serve_until(self._keeper_fd)),
        )
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """The keeper has ended, and so they have."""
        self._keeper.kill()
        self._keeper.wait()
        for thread in self._threads:
            thread.join()
        self.sockets.close()
        self._listener.close()
        os.close(self._keeper_fd)

    def publish(self, number: int, protocol: str = "tcp") -> int:
        """A port outside leads to the same inside."""
        return self.ports.publish(
            PublishedPort(container_port=1, protocol=protocol, host_ip=_OUTER, host_port=number)
        )

    def ask(self, request: bytes) -> Any:
        """What is answered to these bytes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(self.api_path)
            asking.sendall(request)
            asking.shutdown(socket.SHUT_WR)
            return json.loads(asking.recv(65536))


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[Leading]:
    """One that serves, and has ended by itself at the end."""
    it = Leading(tmp_path)
    try:
        yield it
    finally:
        it.end()


@contextmanager
def listening(kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """Somebody inside."""
    with socket.socket(socket.AF_INET, kind) as it:
        it.bind((_INNER, 0))
        it.settimeout(_PATIENCE_S)
        if kind == socket.SOCK_STREAM:
            it.listen()
        yield it


def ask_outside(leading: Leading, question: bytes) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    """What is answered to the packet by what opens sockets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(_PATIENCE_S)
        asking.connect(leading.sockets.path)
        asking.send(question)
        return asking.recvmsg(100, 100)[:3]


def number_of(it: socket.socket) -> int:
    """Its port."""
    return int(it.getsockname()[1])


def say(connection: socket.socket, text: bytes) -> None:
    """That, and that it is all."""
    connection.sendall(text)
    connection.shutdown(socket.SHUT_WR)


def read_all(connection: socket.socket) -> bytes:
    """All that comes, until its end."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_connections(leading: Leading) -> None:
    """Either side says as much as it likes, and that it has said all, and still hears the other."""
    with listening() as inner:
        leading.publish(number_of(inner))
        with socket.create_connection((_OUTER, number_of(inner)), _PATIENCE_S) as client:
            server, _ = inner.accept()
            with server:
                writing = threading.Thread(target=say, args=(client, _MUCH))
                writing.start()
                assert read_all(server) == _MUCH
                writing.join()
                say(server, b"heard")
                assert read_all(client) == b"heard"


def test_nobody_inside(leading: Leading) -> None:
    """Who connects while nobody listens inside learns that it did not end well."""
    with listening() as inner:
        number = number_of(inner)
    leading.publish(number)
    with (
        socket.create_connection((_OUTER, number), _PATIENCE_S) as client,
        pytest.raises(ConnectionResetError),
    ):
        client.recv(1)


def test_datagrams(leading: Leading) -> None:
    """Each client has its answers, from the address that it has asked, however large they are."""
    with listening(socket.SOCK_DGRAM) as inner:
        leading.publish(number_of(inner), "udp")
        said = {socket.socket(socket.AF_INET, socket.SOCK_DGRAM): b"a" * size for size in (0, 1, 60_000)}
        for client, text in said.items():
            client.settimeout(_PATIENCE_S)
            client.connect((_OUTER, number_of(inner)))  # nobody else's answers arrive
            client.send(text)
        for _ in said:
            heard, address = inner.recvfrom(65535)
            inner.sendto(b"heard " + heard, address)
        for client, text in said.items():
            assert client.recv(65535) == b"heard " + text
            client.close()


def test_withdrawn(leading: Leading) -> None:
    """A port that leads nowhere any more is free at once, and its connections have ended."""
    with listening() as inner:
        number = number_of(inner)
        published = leading.publish(number)
        assert leading.publish(number) == published
        with socket.create_connection((_OUTER, number), _PATIENCE_S) as client:
            server, _ = inner.accept()
            with server:
                leading.ports.withdraw(published)
                assert server.recv(1) == b""
                assert client.recv(1) == b""
        again = leading.publish(number)
        leading.ports.keep({again})
        assert leading.publish(number) == again
        leading.ports.keep(set())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((_OUTER, number), _PATIENCE_S)


def test_refusals(leading: Leading) -> None:
    """Why the machine refuses a port is said on; what is no request harms nobody."""
    with socket.create_server((_OUTER, 0)) as other:
        with pytest.raises(OSError, match="use") as caught:
            leading.publish(number_of(other))
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="assign") as caught:
            receive_answer(*ask_outside(leading, format_question("udp", "203.0.113.9", number_of(other))))
        assert caught.value.errno == errno.EADDRNOTAVAIL
    for request in (b"no", b"[]", b"{}", b'{"execute":"dance"}', b'{"execute":"add_hostfwd","arguments":{}}'):
        assert "bad request" in leading.ask(request)["error"]["desc"]
    for question in (b"no", *(format_question("tcp", _OUTER, number) for number in (-1, 0, 65536, 1 << 40))):
        with pytest.raises(ValueError, match="no question"):
            receive_answer(*ask_outside(leading, question))
        with pytest.raises(Unavailable, match="bad request"):
            leading.publish(65536)
    with listening() as inner:
        assert leading.publish(number_of(inner)) > 0


def test_sockets_of_the_killed(tmp_path: Path) -> None:
    """What somebody who was killed has left is removed by the next; what another still serves is not."""
    code = "import os, signal; from pierhead.engine.machinesockets import MachineSockets; "
    code += f"it = MachineSockets({str(tmp_path)!r}); os.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with MachineSockets(str(tmp_path)) as it:
        assert [str(path) for path in tmp_path.iterdir()] == [it.path]
        subprocess.run([sys.executable, "-c", code], env=environment, check=False)
        assert os.path.exists(it.path)
    assert len(list(tmp_path.iterdir())) == 1
