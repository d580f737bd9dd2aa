"""Sockets of the machine for an ordinary user's namespaces, in which nobody could open them.

    inside: who leads ports ── {"protocol","host","port"} ─▶ outside: pierd, which waits for the one inside
                            ◀─ {"errno"} and a descriptor ──

The socket stays in the machine's network namespace, whoever holds it: so a port goes on when pierd ends.
"""

from __future__ import annotations

import os
import select
from array import array
from contextlib import suppress
from errno import EMFILE
from socket import (
    AF_UNIX,
    MSG_CTRUNC,
    SO_REUSEADDR,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    send_fds,
    socket,
)

from pierhead.errors import PierheadError
from pierhead.jsontext import format_compact, parse
from pierhead.net.ports import bind_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    Ancillary = list[tuple[int, int, bytes]]

PACKET_BYTES = 4096
_PREFIX = "sockets-"
_BACKLOG = 16
_SILENT_MOST = 16
_PAUSE_MS = 200
_LAST_PORT = 65535
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
        silent: dict[int, socket] = {}  # who has not asked yet keeps nobody waiting
        try:
            while pidfd not in (ready := [fd for fd, _ in poll.poll()]):
                for fd in ready:
                    if fd in silent:
                        poll.unregister(fd)
                        with silent.pop(fd) as asking, suppress(OSError):  # who does not wait gets no answer
                            _answer(asking)
                if self._listener.fileno() in ready:
                    accepted = self._accept(pidfd)
                    if accepted is not None:
                        poll.register(accepted, select.POLLIN)
                        silent[accepted.fileno()] = accepted
                if len(silent) > _SILENT_MOST:
                    first = next(iter(silent))
                    poll.unregister(first)
                    silent.pop(first).close()
        finally:
            for each in silent.values():
                each.close()

    def _accept(self, pidfd: int) -> socket | None:
        """Who connects; None after a moment if that cannot be now: there are no descriptors, or no memory."""
        try:
            asking, _ = self._listener.accept()
        except OSError:  # not to be heard of again at once, for ever
            pause = select.poll()
            pause.register(pidfd, select.POLLIN)
            pause.poll(_PAUSE_MS)
            return None
        asking.setblocking(False)
        return asking


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
        opened = _open(parse(asking.recv(PACKET_BYTES).decode(errors="replace"), name="a question"))
    except OSError as error:
        asking.send(_failure(error.errno or 0))
        return
    except (PierheadError, KeyError, TypeError, ValueError):
        return  # it is no question: the connection's end is the answer
    with opened:
        send_fds(asking, [format_compact({"errno": 0}).encode()], [opened.fileno()])


def _open(asked: Any) -> socket:
    port = asked["port"]
    if not isinstance(port, int) or not 0 < port <= _LAST_PORT:
        raise ValueError(asked)
    opened = bind_port(str(asked["protocol"]), str(asked["host"]), port)
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


# For who asks


def format_question(protocol: str, host: str, port: int) -> bytes:
    """A packet that asks for a socket.  Pure.

    Args:
        protocol: tcp or udp.
        host: an address of the machine.
        port: of the machine.
    """
    return format_compact({"protocol": protocol, "host": host, "port": port}).encode()


def receive_answer(answer: bytes, control: Ancillary, flags: int) -> socket:
    """The socket that came with the packet: bound, and listening if it is one of TCP; the caller closes it.

    Args:
        answer: the packet.
        control: what came beside it.
        flags: the kernel's about both.

    Raises:
        OSError: the machine refuses, or we may have no more descriptors.
        ValueError: it was no question.
    """
    fds = array("i")
    for _, _, raw in control:
        fds.frombytes(raw)
    if fds:
        return socket(fileno=fds[0])
    if not answer:
        raise ValueError("it was no question")
    number = EMFILE if flags & MSG_CTRUNC else int(parse(answer.decode(), name="the answer")["errno"])
    raise OSError(number, os.strerror(number))
