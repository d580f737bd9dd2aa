"""What leads an ordinary user's ports inside: who comes to them, and who asks for them."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.machinesockets import MachineSockets, format_question, receive_answer
from pierhead.errors import Unavailable
from tests.support.leading import OUTER, PATIENCE_S, Leading, ask_outside, listening, number_of, read_all, say
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MUCH = bytes(range(256)) * 20_000


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[Leading]:
    """One that serves, and has ended by itself at the end, as it should."""
    it = Leading(tmp_path)
    try:
        yield it
    finally:
        status = it.end()
    assert status == 0


def test_connections(leading: Leading) -> None:
    """Either side says as much as it likes, and that it has said all, and still hears the other."""
    with listening() as inner:
        leading.publish(number_of(inner))
        with socket.create_connection((OUTER, number_of(inner)), PATIENCE_S) as client:
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
        pytest.raises(ConnectionResetError),  # which may come as soon as it is connected
        socket.create_connection((OUTER, number), PATIENCE_S) as client,
    ):
        client.recv(1)


def test_datagrams(leading: Leading) -> None:
    """Each client has its answers, from the address that it has asked, however large they are."""
    with listening(socket.SOCK_DGRAM) as inner:
        leading.publish(number_of(inner), "udp")
        said = {socket.socket(socket.AF_INET, socket.SOCK_DGRAM): b"a" * size for size in (0, 1, 60_000)}
        for client, text in said.items():
            client.settimeout(PATIENCE_S)
            client.connect((OUTER, number_of(inner)))  # nobody else's answers arrive
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
        with socket.create_connection((OUTER, number), PATIENCE_S) as client:
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
            socket.create_connection((OUTER, number), PATIENCE_S)


def test_refusals(leading: Leading) -> None:
    """Why the machine refuses a port is said on; what is no request harms nobody."""
    with socket.create_server((OUTER, 0)) as other:
        with pytest.raises(OSError, match="use") as caught:
            leading.publish(number_of(other))
        assert caught.value.errno == errno.EADDRINUSE
        with pytest.raises(OSError, match="assign") as caught:
            receive_answer(
                *ask_outside(leading.sockets.path, format_question("udp", "203.0.113.9", number_of(other)))
            )
        assert caught.value.errno == errno.EADDRNOTAVAIL
    for request in (b"no", b"[]", b"{}", b'{"execute":"dance"}', b'{"execute":"add_hostfwd","arguments":{}}'):
        assert "bad request" in leading.ask(request)["error"]["desc"]
    for question in (b"no", *(format_question("tcp", OUTER, number) for number in (-1, 0, 65536, 1 << 40))):
        with pytest.raises(ValueError, match="no question"):
            receive_answer(*ask_outside(leading.sockets.path, question))
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
