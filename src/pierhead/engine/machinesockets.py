"""Sockets of the machine for an ordinary user's namespaces, in which nobody could open them.

    inside: who leads ports ── {"protocol","host","port"} ─▶ outside: pierd, which waits for the one inside
                            ◀─ {"errno"} and a descriptor ──

The socket stays in the machine's network namespace, whoever holds it: so a port goes on when pierd ends.
"""

from __future__ import annotations

import os
import select
from contextlib import suppress
from socket import AF_UNIX, SO_REUSEADDR, SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET, recv_fds, send_fds, socket

from pierhead.errors import PierheadError
from pierhead.jsontext import format_compact, parse
from pierhead.net.ports import bind_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

_PREFIX = "sockets-"
_PACKET_BYTES = 4096
_PATIENCE_S = 10.0
_BACKLOG = 16
_WAITING_CONNECTIONS = 512


class MachineSockets:
    """What opens them.  A context manager: nobody finds it any more at the end."""

    def __init__(self, directory: str) -> None:
        """It can be asked, and answers from ``serve_until`` on.

        Args:
            directory: for its socket; sockets there of those who were killed are removed.
        """
        _sweep(directory)
        self.path = f"{directory}/{_PREFIX}{os.getpid()}.sock"
        self._listener = socket(AF_UNIX, SOCK_SEQPACKET)
        try:
            self._listener.bind(self.path)
            self._listener.listen(_BACKLOG)
        except BaseException:
            self._listener.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Nobody finds it any more."""
        self._listener.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def serve_until(self, pidfd: int) -> None:
        """Whoever asked has been answered, until this process has ended."""
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while pidfd not in (ready := [fd for fd, _ in poll.poll()]):
            if self._listener.fileno() in ready:
                asking, _ = self._listener.accept()
                with asking, suppress(OSError):  # who does not wait for the answer does not get it
                    asking.settimeout(_PATIENCE_S)
                    _answer(asking)


def _sweep(directory: str) -> None:
    for name in os.listdir(directory):
        if name.startswith(_PREFIX):
            path = f"{directory}/{name}"
            with socket(AF_UNIX, SOCK_SEQPACKET) as asking:
                try:
                    asking.connect(path)
                except ConnectionRefusedError:
                    os.unlink(path)
                except OSError:
                    continue


def _answer(asking: socket) -> None:
    try:
        opened = _open(parse(asking.recv(_PACKET_BYTES).decode(errors="replace"), name="a question"))
    except OSError as error:
        asking.send(_failure(error.errno or 0))
        return
    except (PierheadError, KeyError, TypeError, ValueError):
        return  # it is no question: the connection's end is the answer
    with opened:
        send_fds(asking, [format_compact({"errno": 0}).encode()], [opened.fileno()])


def _open(asked: Any) -> socket:
    opened = bind_port(str(asked["protocol"]), str(asked["host"]), int(asked["port"]))
    if opened is None:
        raise ValueError(asked)
    if opened.type == SOCK_STREAM:
        try:
            opened.listen(_WAITING_CONNECTIONS)
            # Its connections have it from now on, so that those of the last minute (TIME_WAIT) do not keep
            # the port from us the next time; nobody else gets it, because we listen.
            opened.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        except BaseException:
            opened.close()
            raise
    return opened


def _failure(number: int) -> bytes:
    return format_compact({"errno": number}).encode()


def open_outside(path: str, protocol: str, host: str, port: int) -> socket:
    """The machine's socket is bound there, and listens if it is one of TCP; the caller closes it.

    Args:
        path: where somebody outside can be asked.
        protocol: tcp or udp.
        host: an address of the machine.
        port: of the machine.

    Raises:
        OSError: the machine refuses, or nobody answers.
    """
    question = format_compact({"protocol": protocol, "host": host, "port": port})
    with socket(AF_UNIX, SOCK_SEQPACKET) as asking:
        asking.settimeout(_PATIENCE_S)
        asking.connect(path)
        asking.send(question.encode())
        answer, fds, _, _ = recv_fds(asking, _PACKET_BYTES, 1)
    if fds:
        return socket(fileno=fds[0])
    number = int(parse(answer.decode(), name="the answer from outside")["errno"]) if answer else 0
    raise OSError(number, os.strerror(number) if number else "nobody answers")
