"""Ports of the machine that lead into an ordinary user's namespaces: one process for all of them, inside.

    a client ─▶ a port of the machine ─▶ this process ─▶ 127.0.0.1 inside ─▶ (firewall) ─▶ a container

    engine ── add_hostfwd, list_hostfwd, remove_hostfwd ─▶ this process ── which socket? ─▶ pierd outside

It is asked as slirp4netns is, whose network leads its ports itself.  It holds sockets of the machine that
were opened outside, and connects from inside, so a container sees its gateway as the client.  It goes on when
engines end, and ends with the namespaces' keeper.

Source: slirp4netns(1), "API socket".
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from contextlib import suppress
from functools import partial
from socket import (
    AF_UNIX,
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    socket,
)

from pierhead.engine.machinesockets import PACKET_BYTES, format_question, receive_answer
from pierhead.engine.portleading import (
    ClientPlaces,
    Share,
    accept,
    await_readable,
    contain,
    lead_connections,
    lead_datagrams,
)
from pierhead.errors import PierheadError, Unavailable
from pierhead.jsontext import format_compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pierhead.engine.machinesockets import Ancillary

_LISTENER_FD = 3
_REQUEST_BYTES = 1 << 16
_PATIENCE_S = 8.0
"""Shorter than an engine's (``userports``): a port that it does not hear of does not stay."""
_OPENER_S, _BACKLOG_S = 3.0, 0.02
_DESCRIPTOR_BYTES = 4
_INSIDE = "127.0.0.1"
_CONNECTIONS_MOST, _FLOWS_MOST = 16384, 8192
_log = logging.getLogger(__name__)


class Forwarder:
    """The ports that lead inside."""

    def __init__(self, group: asyncio.TaskGroup, descriptors: int) -> None:
        """None yet.

        Args:
            group: each port will be a task of it.
            descriptors: how many we may have: half are for connections, of which each has two, and a quarter
                for clients of UDP.
        """
        self._group = group
        self._connections = ClientPlaces(min(_CONNECTIONS_MOST, descriptors // 4))
        self._flows = ClientPlaces(min(_FLOWS_MOST, descriptors // 4))
        self._ports: dict[int, tuple[dict[str, Any], asyncio.Task[None]]] = {}
        self._last = 0

    async def answer(self, raw: bytes) -> dict[str, Any]:
        """What is to be said to a request, which was done."""
        try:
            return await self._do(parse(raw.decode(errors="replace"), name="a request"))
        except Unavailable as error:
            return {"error": {"desc": str(error)}}
        except OSError as error:
            return {"error": {"desc": error.strerror or str(error), "errno": error.errno or 0}}
        except (PierheadError, KeyError, TypeError, ValueError):
            return {"error": {"desc": "bad request"}}
        except Exception as error:  # noqa: BLE001 - the edge of a request
            _log.exception("a request failed")
            return {"error": {"desc": f"it failed: {error!r}"}}

    async def _do(self, asked: Any) -> dict[str, Any]:
        verb, arguments = asked["execute"], asked.get("arguments", {})
        if verb == "list_hostfwd":
            return {"return": {"entries": [{**port, "id": each} for each, (port, _) in self._ports.items()]}}
        if verb == "add_hostfwd":
            return {"return": {"id": await self._add(arguments)}}
        if verb == "remove_hostfwd" and arguments["id"] in self._ports:
            await asyncio.wait((self._withdraw(arguments["id"]),))  # the port is free then
            return {"return": {}}
        return {"error": {"desc": f"bad request: {verb}"}}

    def take_back(self, reply: dict[str, Any]) -> None:
        """Nobody has heard the reply: a port that is new by it leads nowhere."""
        number = reply.get("return", {}).get("id")
        if number in self._ports:
            self._withdraw(number)

    def _withdraw(self, number: int) -> asyncio.Task[None]:
        _, leading = self._ports.pop(number)
        leading.cancel()
        return leading

    async def _add(self, arguments: dict[str, Any]) -> int:
        protocol, host, number = arguments["proto"], arguments["host_addr"], arguments["host_port"]
        opened = await _open_outside(arguments["opener"], format_question(protocol, host, number))
        self._last += 1
        name = f"port {host}:{number}/{protocol}"
        leading = self._group.create_task(contain(name, self._lead, self._last, opened, number))
        leading.add_done_callback(partial(_close, opened))
        self._ports[self._last] = {"proto": protocol, "host_addr": host, "host_port": number}, leading
        return self._last

    async def _lead(self, identity: int, opened: socket, number: int) -> None:
        try:
            opened.setblocking(False)
            if opened.type == SOCK_STREAM:
                await lead_connections(opened, (_INSIDE, number), Share(self._connections))
            else:
                await lead_datagrams(opened, (_INSIDE, number), Share(self._flows))
        finally:
            self._ports.pop(identity, None)


async def _open_outside(path: str, question: bytes) -> socket:
    """The machine's socket that is asked for, of the caller's to close.

    Raises:
        OSError: the machine refuses.
        Unavailable: nobody answers.
    """
    try:
        async with asyncio.timeout(_OPENER_S):
            answer, control, flags = await _ask_outside(path, question)
    except OSError as error:
        reason = (error.strerror or "timed out").lower()
        raise Unavailable(f"nobody opens sockets of the machine at {path}: {reason}") from error
    return receive_answer(answer, control, flags)


async def _ask_outside(path: str, question: bytes) -> tuple[bytes, Ancillary, int]:
    with socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK) as asking:
        while True:
            try:
                asking.connect(path)
                break
            except BlockingIOError:  # too many wait (unix(7)); loop.sock_connect takes it for a beginning
                await asyncio.sleep(_BACKLOG_S)
        await asyncio.get_running_loop().sock_sendall(asking, question)
        await await_readable(asking)
        answer, control, flags, _ = asking.recvmsg(
            PACKET_BYTES, CMSG_SPACE(_DESCRIPTOR_BYTES), MSG_CMSG_CLOEXEC
        )
        return answer, control, flags


async def _converse(forwarder: Forwarder, asking: socket) -> None:
    loop = asyncio.get_running_loop()
    with asking, suppress(OSError):
        async with asyncio.timeout(_PATIENCE_S):
            raw = b""
            while len(raw) < _REQUEST_BYTES and (part := await loop.sock_recv(asking, _REQUEST_BYTES)):
                raw += part
            if not raw:
                return  # it wanted to know whether we are here
            reply = await forwarder.answer(raw)
            try:
                await loop.sock_sendall(asking, format_compact(reply).encode())
            except BaseException:
                forwarder.take_back(reply)
                raise


async def serve(listener: socket, keeper_fd: int, descriptors: int) -> None:
    """Requests have been answered and ports led inside, until the process behind the pidfd has ended.

    Args:
        listener: where we are asked.
        keeper_fd: the pidfd.
        descriptors: how many we may have.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(keeper_fd, ended.set)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(_serve_all(listener, descriptors))
        await ended.wait()
        loop.remove_reader(keeper_fd)
        serving.cancel()  # with all that is under way: what is asked now is not done


async def _serve_all(listener: socket, descriptors: int) -> None:
    async with asyncio.TaskGroup() as group:
        forwarder = Forwarder(group, descriptors)
        while True:
            asking = await accept(listener)
            conversing = group.create_task(contain("a conversation", _converse, forwarder, asking))
            conversing.add_done_callback(partial(_close, asking))


def _close(asking: socket, _: asyncio.Task[None]) -> None:
    """Also of a task that was cancelled before it began."""
    asking.close()


def main(words: Sequence[str]) -> None:
    """The keeper has ended; until then ports led inside.

    Args:
        words: the keeper's pid, and the file that notes who we are; by the latter we are recognised.
    """
    keeper_pid, pid_path = words
    keeper_fd = os.pidfd_open(int(keeper_pid))
    with open(pid_path, "w", encoding="ascii") as file:  # before anybody is answered, and whoever is killed
        file.write(f"{os.getpid()}\n")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors for each connection
    with socket(fileno=_LISTENER_FD) as listener:
        listener.setblocking(False)
        asyncio.run(serve(listener, keeper_fd, most))
