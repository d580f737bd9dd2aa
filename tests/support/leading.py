"""What leads an ordinary user's ports inside, as a process without the namespaces: it listens at 127.0.0.2,
and those whom it leads to are at 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pierhead.engine.machinesockets import MachineSockets
from pierhead.engine.userports import ForwardedPorts
from pierhead.linux.process import kill_pidfd, python_words, reap, spawn_beside, wait_pidfd
from pierhead.net.model import PublishedPort

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OUTER, INNER = "127.0.0.2", "127.0.0.1"
PATIENCE_S = 30.0
_MODULE = "pierhead.engine.portforwarder"
_LIMITED = 'ulimit -n "$0" && exec "$@"'


class Leading:
    """A forwarder that serves, and what opens sockets for it."""

    def __init__(self, directory: Path, descriptors: int = 1024) -> None:
        self.api_path = str(directory / "ports.sock")
        self.pid_path = str(directory / "ports.pid")
        self.sockets = MachineSockets(str(directory))
        self.ports = ForwardedPorts(self.api_path, self.sockets.path)
        self._keeper = subprocess.Popen(["sleep", "infinity"])
        self._keeper_fd = os.pidfd_open(self._keeper.pid)
        words = python_words(_MODULE, (str(self._keeper.pid), self.pid_path))
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
            (directory / "log").open("wb") as log,
        ):
            listener.bind(self.api_path)
            listener.listen()
            self.pid, self._pidfd = spawn_beside(
                ("/bin/sh", "-c", _LIMITED, str(descriptors), *words),
                fds=(listener.fileno(),),
                output_fd=log.fileno(),
            )
        self._opening = threading.Thread(target=lambda: self.sockets.serve_until(self._keeper_fd))
        self._opening.start()

    def end_keeper(self) -> None:
        """The keeper has ended."""
        self._keeper.kill()
        self._keeper.wait()

    def end(self) -> int:
        """The keeper has ended, and so they have by themselves; the forwarder's status: -9 if it had not."""
        self.end_keeper()
        self._opening.join()
        if not wait_pidfd(self._pidfd, PATIENCE_S):
            kill_pidfd(self._pidfd)
        status = os.waitstatus_to_exitcode(reap(self.pid) or 0)
        self.sockets.close()
        os.close(self._pidfd)
        os.close(self._keeper_fd)
        return status

    def publish(self, number: int, protocol: str = "tcp") -> int:
        """A port outside leads to the same inside."""
        return self.ports.publish(
            PublishedPort(container_port=1, protocol=protocol, host_ip=OUTER, host_port=number)
        )

    def ask(self, request: bytes) -> Any:
        """What is answered to these bytes."""
        with self.asking(request) as asking:
            return json.loads(asking.recv(65536))

    def asking(self, request: bytes) -> socket.socket:
        """Who has asked this, and waits for the answer."""
        asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        asking.settimeout(PATIENCE_S)
        asking.connect(self.api_path)
        say(asking, request)
        return asking


def ask_outside(path: str, question: bytes) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
    """What is answered to the packet by what opens sockets at the path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asking:
        asking.settimeout(PATIENCE_S)
        asking.connect(path)
        asking.send(question)
        return asking.recvmsg(100, 100)[:3]


@contextmanager
def listening(kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """Somebody inside."""
    with socket.socket(socket.AF_INET, kind) as it:
        it.bind((INNER, 0))
        it.settimeout(PATIENCE_S)
        if kind == socket.SOCK_STREAM:
            it.listen()
        yield it


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
