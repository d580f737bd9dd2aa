"""What leads an ordinary user's ports inside has bounds; what reaches one is one client or one request."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.machinesockets import format_question, receive_answer
from pierhead.engine.portleading import ClientPlaces, Share, lead_connections
from pierhead.engine.usernet import noted_pid
from pierhead.engine.userports import ForwardedPorts
from pierhead.errors import Unavailable
from pierhead.net.model import PublishedPort
from tests.support.containers import wait_until
from tests.support.leading import (
    INNER,
    OUTER,
    PATIENCE_S,
    Leading,
    ask_outside,
    listening,
    number_of,
    read_all,
    say,
)
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

_FEW = 64
_MANY = 100
_MANY_BYTES = 64 << 10
_MOMENT_S = 0.3


@contextmanager
def leading(directory: Path, descriptors: int = 1024) -> Iterator[Leading]:
    """One with so many descriptors, which has ended by itself at the end, as it should."""
    it = Leading(directory, descriptors)
    try:
        yield it
    finally:
        status = it.end()
    assert status == 0


def connect(number: int) -> socket.socket:
    """A client of the port."""
    return socket.create_connection((OUTER, number), PATIENCE_S)


def is_led(inner: socket.socket) -> bool:
    """Whether what a client says arrives, after whoever came before it."""
    with connect(number_of(inner)) as client:
        say(client, b"here")
        while True:
            server, _ = inner.accept()
            with server:
                server.settimeout(PATIENCE_S)
                if read_all(server) == b"here":
                    return True


def test_many_connections(tmp_path: Path) -> None:
    """However many connect to a port and are silent, others have room, and it goes on when they have gone."""
    with leading(tmp_path, _FEW) as it, listening() as inner, listening() as other:
        it.publish(number_of(inner))
        it.publish(number_of(other))
        with ExitStack() as clients:
            for _ in range(_MANY):
                clients.enter_context(connect(number_of(inner)))
            assert is_led(other)
        assert is_led(inner)


def test_many_senders(tmp_path: Path) -> None:
    """However many send datagrams to a port, the last one has its answer, and connections have room."""
    with leading(tmp_path, _FEW) as it, listening(socket.SOCK_DGRAM) as inner, listening() as other:
        it.publish(number_of(inner), "udp")
        it.publish(number_of(other))
        with ExitStack() as clients:
            for _ in range(_MANY):
                client = clients.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                client.settimeout(PATIENCE_S)
                client.connect((OUTER, number_of(inner)))
                client.send(b"asked")
                text, address = inner.recvfrom(100)
                inner.sendto(text, address)
                assert client.recv(100) == b"asked"
            assert is_led(other)


def leave_descriptors(pid: int, count: int) -> tuple[int, int]:
    """The process can open so many more; the limit that it had."""
    taken = {int(name) for name in os.listdir(f"/proc/{pid}/fd")}
    free = [fd for fd in range(max(taken) + count + 2) if fd not in taken]
    limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[count], limit[1]))
    return limit


def test_no_descriptor_for_a_connection(tmp_path: Path) -> None:
    """Who cannot be led, because there is no descriptor, learns that it did not end well; others are led."""
    with leading(tmp_path) as it, listening() as inner:
        it.publish(number_of(inner))
        limit = leave_descriptors(it.pid, 1)
        with pytest.raises(ConnectionResetError), connect(number_of(inner)) as client:
            client.recv(1)
        resource.prlimit(it.pid, resource.RLIMIT_NOFILE, limit)
        assert is_led(inner)


def anonymous_bytes(pid: int) -> int:
    """Of the process's own memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def test_memory_of_the_silent(tmp_path: Path) -> None:
    """A connection on which nobody says anything takes no room for what could be said."""
    with leading(tmp_path) as it, listening() as inner, ExitStack() as ends:
        it.publish(number_of(inner))
        assert is_led(inner)
        before = anonymous_bytes(it.pid)
        for _ in range(_MANY):
            ends.enter_context(connect(number_of(inner)))
            ends.enter_context(inner.accept()[0])
        assert anonymous_bytes(it.pid) - before < _MANY * _MANY_BYTES


class Noted(Share):
    """Notes in which turn each place was taken."""

    def __init__(self) -> None:
        super().__init__(ClientPlaces(10 * _MANY))
        self.turn = 0
        self.turns: list[int] = []

    def take(self) -> None:
        """It is noted."""
        super().take()
        self.turns.append(self.turn)


def test_turns() -> None:
    """However many wait to be accepted, others have a turn after each."""
    share = Noted()

    async def lead(listener: socket.socket) -> None:
        async with asyncio.TaskGroup() as group:
            leading = group.create_task(lead_connections(listener, (INNER, 1), share))
            while len(share.turns) < _MANY:
                share.turn += 1
                await asyncio.sleep(0)
            leading.cancel()

    with socket.create_server((OUTER, 0), backlog=_MANY) as listener, ExitStack() as clients:
        for _ in range(_MANY):
            clients.enter_context(connect(number_of(listener)))
        listener.setblocking(False)
        asyncio.run(lead(listener))
    assert len(set(share.turns)) == _MANY


def test_it_is_noted(tmp_path: Path) -> None:
    """Whoever has an answer finds the forwarder noted by itself; and it needs no threads."""
    with leading(tmp_path) as it, listening() as inner:
        it.publish(number_of(inner))
        assert noted_pid(it.pid_path) == it.pid
        assert len(os.listdir(f"/proc/{it.pid}/task")) == 1


@contextmanager
def opener(directory: Path) -> Iterator[tuple[str, socket.socket]]:
    """Where somebody could open sockets of the machine: its path, and who listens there."""
    path = str(directory / "opener.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as it:
        it.bind(path)
        it.listen()
        it.settimeout(PATIENCE_S)
        yield path, it


def request(number: int, path: str) -> bytes:
    """For a port, which is to be opened by who is at the path."""
    wanted = {"proto": "tcp", "host_addr": OUTER, "host_port": number, "opener": path}
    return json.dumps({"execute": "add_hostfwd", "arguments": wanted}).encode()


def is_open(number: int) -> bool:
    """Whether somebody listens at the port."""
    with socket.socket() as client:
        return client.connect_ex((OUTER, number)) == 0


def test_who_opens_sockets_is_silent(tmp_path: Path) -> None:
    """An engine is told so before it loses its patience; and who asks nothing keeps nobody from an answer."""
    with leading(tmp_path) as it, opener(tmp_path) as (path, _), listening() as inner:
        port = PublishedPort(container_port=1, protocol="tcp", host_ip=OUTER, host_port=number_of(inner))
        with pytest.raises(Unavailable, match=f"cannot publish .*nobody opens sockets .* {path}: timed out"):
            ForwardedPorts(it.api_path, path).publish(port)
        with pytest.raises(Unavailable, match=r"nobody opens sockets .* at /nowhere: no such file"):
            ForwardedPorts(it.api_path, "/nowhere").publish(port)
        with ExitStack() as mute:
            for _ in range(_MANY):
                mute.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)).connect(
                    it.sockets.path
                )
            it.publish(number_of(inner))
            assert is_led(inner)


def test_nobody_hears_of_the_port(tmp_path: Path) -> None:
    """A port whose engine has gone before it had the answer is closed."""
    with leading(tmp_path) as it, opener(tmp_path) as (path, listener):
        with socket.create_server((OUTER, 0)) as outer:
            number = number_of(outer)
            with it.asking(request(number, path)):
                asked, _ = listener.accept()
            with asked:
                asked.recv(1000)
                socket.send_fds(asked, [b'{"errno":0}'], [outer.fileno()])
        wait_until("the port is closed", lambda: not is_open(number))
        assert it.ask(b'{"execute":"list_hostfwd"}') == {"return": {"entries": []}}


def test_end_while_a_port_is_asked_for(tmp_path: Path) -> None:
    """The keeper's end is the forwarder's, whatever it waits for."""
    with opener(tmp_path) as (path, listener), socket.create_server((OUTER, 0)) as outer:
        with leading(tmp_path) as it, it.asking(request(number_of(outer), path)):
            asked, _ = listener.accept()
            with asked, it.asking(b""):
                asked.recv(1000)
                it.end_keeper()
                time.sleep(_MOMENT_S)  # it is about to end
                with suppress(BrokenPipeError):
                    socket.send_fds(asked, [b'{"errno":0}'], [outer.fileno()])
        assert not noted_pid(it.pid_path)


_OPENING = """
import os, sys
from pierhead.engine.machinesockets import MachineSockets
with MachineSockets(sys.argv[1]) as it:
    print(it.path, flush=True)
    it.serve_until(os.pidfd_open(int(sys.argv[2])))
"""


def test_no_descriptor_for_who_asks(tmp_path: Path) -> None:
    """Who asks for a socket of the machine while there are no descriptors is answered when there are some."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    words = [sys.executable, "-c", _OPENING, str(tmp_path), str(os.getpid())]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as opening:
        try:
            assert opening.stdout is not None
            path = opening.stdout.readline().strip()
            question = format_question("udp", OUTER, 0)
            assert ask_outside(path, question)[0] == b""  # it serves: all is open that it needs
            limit = leave_descriptors(opening.pid, 0)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
                asking.connect(path)
                asking.settimeout(0.5)
                with listening(socket.SOCK_DGRAM) as free:
                    number = number_of(free)
                asking.send(format_question("udp", OUTER, number))
                with pytest.raises(TimeoutError):
                    asking.recv(1)
                resource.prlimit(opening.pid, resource.RLIMIT_NOFILE, limit)
                asking.settimeout(PATIENCE_S)
                with receive_answer(*asking.recvmsg(100, 100)[:3]) as opened:
                    assert opened.getsockname() == (OUTER, number)
        finally:
            opening.kill()
