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
import errno
import os
import resource
from contextlib import suppress
from socket import (
    AF_INET,
    CMSG_SPACE,
    IPPROTO_IP,
    SHUT_WR,
    SO_KEEPALIVE,
    SO_LINGER,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from struct import pack, unpack

from pierhead.engine.machinesockets import open_outside
from pierhead.errors import PierheadError
from pierhead.jsontext import format_compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_LISTENER_FD = 3
_REQUEST_BYTES = 1 << 16
_PART_BYTES = 1 << 17
_PATIENCE_S = 20.0
_DATAGRAM_BYTES = 65535
_INSIDE = "127.0.0.1"
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_FULL_S = 0.2
_FLOW_IDLE_S, _SWEEP_S = 120.0, 10.0
"""As long as the kernel remembers a flow of UDP that was answered: nf_conntrack_udp_timeout_stream."""
_FLOWS_MOST = 4096
_TURN_MOST = 64
_PKTINFO = 8
"""ip(7), IP_PKTINFO: a datagram's address here, which is then the answer's; socket has no name for it."""
_PKTINFO_FORM = "i4s4s"
_PKTINFO_BYTES = 12
_RESET = pack("ii", 1, 0)
"""socket(7), SO_LINGER without a time: the other side learns that it did not end well."""

_Client = tuple[tuple[str, int], bytes]
"""Somebody's address and port, and the address of ours that was meant."""


# TCP


async def lead_connections(listener: socket, inside: tuple[str, int]) -> None:
    """Whoever connects speaks with who listens inside, until this is cancelled."""
    async with asyncio.TaskGroup() as connections:
        while True:
            connections.create_task(_join(await _accept(listener), inside))


async def _accept(listener: socket) -> socket:
    """Who connects next.  ``loop.sock_accept`` of Python 3.11 loses one if it is cancelled at that moment."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            accepted, _ = listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                await asyncio.sleep(_FULL_S)
                continue
        else:
            accepted.setblocking(False)
            return accepted
        readable = asyncio.Event()
        loop.add_reader(listener, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(listener)


async def _join(client: socket, inside: tuple[str, int]) -> None:
    with client, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK) as server:
        try:
            for each in (client, server):
                each.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            await asyncio.get_running_loop().sock_connect(server, inside)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pass(client, server))
                directions.create_task(_pass(server, client))
        except* OSError:
            for each in (client, server):
                with suppress(OSError):
                    each.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)


async def _pass(source: socket, target: socket) -> None:
    """What comes goes to the other, and so does its end."""
    loop = asyncio.get_running_loop()
    part = memoryview(bytearray(_PART_BYTES))
    while count := await loop.sock_recv_into(source, part):
        await loop.sock_sendall(target, part[:count])
    with suppress(OSError):  # the other has hung up altogether
        target.shutdown(SHUT_WR)


# UDP


class Datagrams:
    """Datagrams of a port, each client with a socket of its own inside, by which answers find back."""

    def __init__(self, outer: socket, inside: tuple[str, int]) -> None:
        """They come and go from now on; the socket stays the caller's."""
        self._loop = asyncio.get_running_loop()
        self._outer = outer
        self._inside = inside
        self._flows: dict[_Client, tuple[socket, list[float]]] = {}
        outer.setsockopt(IPPROTO_IP, _PKTINFO, 1)
        self._loop.add_reader(outer, self._receive)

    def sweep(self) -> None:
        """Nobody is remembered who has been silent for long."""
        for client, (_, last_s) in tuple(self._flows.items()):
            if self._loop.time() - last_s[0] > _FLOW_IDLE_S:
                self._forget(client)

    def close(self) -> None:
        """None come and go."""
        self._loop.remove_reader(self._outer)
        for client in tuple(self._flows):
            self._forget(client)

    def _receive(self) -> None:
        for _ in range(_TURN_MOST):
            try:
                text, control, _, address = self._outer.recvmsg(_DATAGRAM_BYTES, CMSG_SPACE(_PKTINFO_BYTES))
            except OSError:  # there are no more for now, or an answer of ours was refused
                return
            meant = next((unpack(_PKTINFO_FORM, raw)[1] for _, kind, raw in control if kind == _PKTINFO), b"")
            with suppress(OSError):  # nobody listens inside, or there are too many: datagrams may be lost
                self._flow((address, meant)).send(text)

    def _flow(self, client: _Client) -> socket:
        found = self._flows.get(client)
        if found is not None:
            found[1][0] = self._loop.time()
            return found[0]
        if len(self._flows) >= _FLOWS_MOST:
            self._forget(min(self._flows, key=lambda each: self._flows[each][1][0]))
        inner = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK)
        try:
            inner.connect(self._inside)
        except OSError:
            inner.close()
            raise
        self._flows[client] = inner, [self._loop.time()]
        self._loop.add_reader(inner, self._answer, inner, client)
        return inner

    def _answer(self, inner: socket, client: _Client) -> None:
        address, meant = client
        known = any(meant)  # not of what came before we wanted to know
        from_there = [(IPPROTO_IP, _PKTINFO, pack(_PKTINFO_FORM, 0, meant, bytes(4)))] if known else []
        for _ in range(_TURN_MOST):
            try:
                text = inner.recv(_DATAGRAM_BYTES)
            except OSError:  # there are no more, or nobody listens inside
                return
            self._flows[client][1][0] = self._loop.time()
            with suppress(OSError):
                self._outer.sendmsg([text], from_there, 0, address)

    def _forget(self, client: _Client) -> None:
        inner, _ = self._flows.pop(client)
        self._loop.remove_reader(inner)
        inner.close()


async def lead_datagrams(outer: socket, inside: tuple[str, int]) -> None:
    """Whoever sends datagrams there speaks with who is inside, until this is cancelled."""
    datagrams = Datagrams(outer, inside)
    try:
        while True:
            await asyncio.sleep(_SWEEP_S)
            datagrams.sweep()
    finally:
        datagrams.close()


# Being asked


class Forwarder:
    """The ports that lead inside."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        """None yet; each will be a task of the group's."""
        self._group = group
        self._ports: dict[int, tuple[dict[str, Any], asyncio.Task[None]]] = {}
        self._last = 0

    async def answer(self, asked: Any) -> dict[str, Any]:
        """What is to be said to a request, which was done."""
        verb, arguments = asked["execute"], asked.get("arguments", {})
        if verb == "list_hostfwd":
            return {"return": {"entries": [{**port, "id": each} for each, (port, _) in self._ports.items()]}}
        if verb == "add_hostfwd":
            return await self._add(arguments)
        if verb == "remove_hostfwd" and arguments["id"] in self._ports:
            _, leading = self._ports.pop(arguments["id"])
            leading.cancel()
            await asyncio.wait((leading,))  # the port is free then
            return {"return": {}}
        return {"error": {"desc": f"bad request: {verb}"}}

    def end(self) -> None:
        """None leads anywhere; their tasks are about to end."""
        for _, leading in self._ports.values():
            leading.cancel()

    async def _add(self, arguments: dict[str, Any]) -> dict[str, Any]:
        protocol, host, number = arguments["proto"], arguments["host_addr"], arguments["host_port"]
        try:
            opened = await asyncio.to_thread(open_outside, arguments["opener"], protocol, host, number)
        except OSError as error:
            return {"error": {"desc": error.strerror or str(error), "errno": error.errno or 0}}
        port = {"proto": protocol, "host_addr": host, "host_port": number}
        self._last += 1
        self._ports[self._last] = port, self._group.create_task(_lead(opened, number))
        return {"return": {"id": self._last}}


async def _lead(opened: socket, number: int) -> None:
    lead = lead_connections if opened.type == SOCK_STREAM else lead_datagrams
    with opened:
        opened.setblocking(False)
        await lead(opened, (_INSIDE, number))


async def _converse(forwarder: Forwarder, asking: socket) -> None:
    loop = asyncio.get_running_loop()
    with asking, suppress(OSError):
        async with asyncio.timeout(_PATIENCE_S):
            raw = b""
            while len(raw) < _REQUEST_BYTES and (part := await loop.sock_recv(asking, _REQUEST_BYTES)):
                raw += part
            if not raw:
                return  # it wanted to know whether we are here
            try:
                reply = await forwarder.answer(parse(raw.decode(errors="replace"), name="a request"))
            except (PierheadError, KeyError, TypeError):
                reply = {"error": {"desc": "bad request"}}
            await loop.sock_sendall(asking, format_compact(reply).encode())


async def serve(listener: socket, keeper_fd: int) -> None:
    """Requests have been answered and ports led inside, until the process behind the pidfd has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(keeper_fd, ended.set)
    async with asyncio.TaskGroup() as group:
        forwarder = Forwarder(group)
        accepting = group.create_task(_serve_all(group, forwarder, listener))
        await ended.wait()
        loop.remove_reader(keeper_fd)
        accepting.cancel()
        forwarder.end()


async def _serve_all(group: asyncio.TaskGroup, forwarder: Forwarder, listener: socket) -> None:
    while True:
        group.create_task(_converse(forwarder, await _accept(listener)))


def main(words: Sequence[str]) -> None:
    """The keeper has ended; until then ports led inside.

    Args:
        words: the keeper's pid, and the file that notes who we are; by the latter we are recognised.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # two descriptors for each connection
    keeper_fd = os.pidfd_open(int(words[0]))
    with socket(fileno=_LISTENER_FD) as listener:
        listener.setblocking(False)
        asyncio.run(serve(listener, keeper_fd))
