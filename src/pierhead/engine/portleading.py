"""What comes to a port of the machine is led to the same port inside: connections of TCP, datagrams of UDP.

    a client ─▶ a socket of the machine's ─▶ this process ─▶ a socket of its own for each client ─▶ inside

Every port shares the process's time and descriptors with all others, and anybody may come to it: so what is
done for one client ends with that client, the others have their turn, and each port leaves room for the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import ExitStack, suppress
from functools import partial
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PART_BYTES = 1 << 17
_PARTS_MOST = 8
"""After that many it is others' turn."""
_DATAGRAM_BYTES = 65535
_PAUSE_S = 0.2
_FLOW_IDLE_S, _SWEEP_S = 120.0, 10.0
"""As long as the kernel remembers a flow of UDP that was answered: nf_conntrack_udp_timeout_stream."""
_TURN_MOST = 64
_PKTINFO = 8
"""ip(7), IP_PKTINFO: a datagram's address here, which is then the answer's; socket has no name for it."""
_PKTINFO_FORM = "i4s4s"
_PKTINFO_BYTES = 12
_RESET = pack("ii", 1, 0)
"""socket(7), SO_LINGER without a time: the other side learns that it did not end well."""

_Client = tuple[tuple[str, int], bytes]
"""Somebody's address and port, and the address of ours that was meant."""
_log = logging.getLogger(__name__)


class ClientPlaces:
    """Places for clients, which ports share."""

    def __init__(self, count: int) -> None:
        """All are free."""
        self.free = count
        self._freed = asyncio.Event()

    def take(self) -> None:
        """One fewer is free."""
        self.free -= 1

    def give_back(self) -> None:
        """One more is free, and who waits for one looks again."""
        self.free += 1
        self._freed.set()
        self._freed.clear()

    async def wait(self) -> None:
        """One has become free, which another may have taken."""
        await self._freed.wait()


class Share:
    """The places of one port: it may have another while more are free than it has, so it never takes all."""

    def __init__(self, places: ClientPlaces) -> None:
        """None yet."""
        self._places = places
        self._taken = 0

    @property
    def may_grow(self) -> bool:
        """Whether it may have another."""
        return self._taken < self._places.free

    async def wait(self) -> None:
        """It may have another."""
        while not self.may_grow:
            await self._places.wait()

    def take(self) -> None:
        """It has another."""
        self._taken += 1
        self._places.take()

    def give_back(self) -> None:
        """It has one fewer."""
        self._taken -= 1
        self._places.give_back()


async def contain(what: str, work: Callable[..., Awaitable[None]], *arguments: object) -> None:
    """The work has ended; if it failed, it is told to the log and to nobody else.

    Args:
        what: failed then.
        work: with these arguments.
        arguments: the work's.
    """
    try:
        await work(*arguments)
    except Exception:  # noqa: BLE001 - the edge of a client: nobody else's connections end with it
        _log.exception("%s failed", what)


async def await_readable(source: socket) -> None:
    """There is something to read, or somebody to accept."""
    readable = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(source, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(source)


async def accept(listener: socket) -> socket:
    """Who connects next.  ``loop.sock_accept`` of Python 3.11 loses one if it is cancelled at that moment."""
    while True:
        try:
            try:
                accepted, _ = listener.accept()
            except BlockingIOError:
                await await_readable(listener)
            else:
                accepted.setblocking(False)
                return accepted
        except ConnectionAbortedError:  # by who wanted to connect
            await asyncio.sleep(0)
        except OSError:  # there are no descriptors, or no memory: whoever connects waits
            await asyncio.sleep(_PAUSE_S)


# TCP


async def lead_connections(listener: socket, inside: tuple[str, int], share: Share) -> None:
    """Whoever connects speaks with who listens inside, until this is cancelled.

    Args:
        listener: at the machine; stays the caller's.
        inside: where to.
        share: of places for connections; while it may not grow, whoever connects waits.
    """
    async with asyncio.TaskGroup() as connections:
        while True:
            await share.wait()
            client = await accept(listener)
            share.take()
            joining = connections.create_task(contain("a connection", _join, client, inside))
            joining.add_done_callback(partial(_part, client, share))
            await asyncio.sleep(0)  # however many wait, others have their turn


def _part(client: socket, share: Share, _: asyncio.Task[None]) -> None:
    """What was had for the client is given back, also if its task was cancelled before it began."""
    client.close()
    share.give_back()


async def _join(client: socket, inside: tuple[str, int]) -> None:
    with ExitStack() as both:
        ends = [both.enter_context(client)]
        try:
            server = both.enter_context(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK))
            ends.append(server)
            for each in ends:
                each.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
            await asyncio.get_running_loop().sock_connect(server, inside)
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pass(client, server))
                directions.create_task(_pass(server, client))
        except* OSError:
            for each in ends:
                with suppress(OSError):
                    each.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)


async def _pass(source: socket, target: socket) -> None:
    """What comes goes to the other, and so does its end.  Who is silent costs no memory for what may come."""
    loop = asyncio.get_running_loop()
    parts = 0
    while part := await loop.sock_recv(source, _PART_BYTES):
        await loop.sock_sendall(target, part)
        del part
        parts += 1
        if parts % _PARTS_MOST == 0:
            await asyncio.sleep(0)  # neither waits while there are data and room
    with suppress(OSError):  # the other has hung up altogether
        target.shutdown(SHUT_WR)


# UDP


class Datagrams:
    """Datagrams of a port, each client with a socket of its own inside, by which answers find back."""

    def __init__(self, outer: socket, inside: tuple[str, int], share: Share) -> None:
        """They come and go from now on; the socket stays the caller's.

        Args:
            outer: at the machine.
            inside: where to.
            share: of places for clients; while it may not grow, a new one has that of the longest silent.
        """
        self._loop = asyncio.get_running_loop()
        self._outer = outer
        self._inside = inside
        self._share = share
        self._flows: OrderedDict[_Client, tuple[socket, list[float]]] = OrderedDict()
        """The longest silent first."""
        outer.setsockopt(IPPROTO_IP, _PKTINFO, 1)
        self._loop.add_reader(outer, self._receive)

    def sweep(self) -> None:
        """Nobody is remembered who has been silent for long."""
        for client, (_, last_s) in tuple(self._flows.items()):
            if self._loop.time() - last_s[0] <= _FLOW_IDLE_S:
                return
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
        if client in self._flows:
            return self._heard(client)
        if self._flows and not self._share.may_grow:
            self._forget(next(iter(self._flows)))
        inner = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK)
        try:
            inner.connect(self._inside)
            self._loop.add_reader(inner, self._answer, inner, client)
        except OSError:
            inner.close()
            raise
        self._flows[client] = inner, [self._loop.time()]
        self._share.take()
        return inner

    def _heard(self, client: _Client) -> socket:
        """Its socket; it is now the last that would be forgotten."""
        inner, last_s = self._flows[client]
        last_s[0] = self._loop.time()
        self._flows.move_to_end(client)
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
            self._heard(client)
            with suppress(OSError):
                self._outer.sendmsg([text], from_there, 0, address)

    def _forget(self, client: _Client) -> None:
        inner, _ = self._flows.pop(client)
        self._loop.remove_reader(inner)
        inner.close()
        self._share.give_back()


async def lead_datagrams(outer: socket, inside: tuple[str, int], share: Share) -> None:
    """Whoever sends datagrams there speaks with who is inside, until this is cancelled.

    Args:
        outer: at the machine; stays the caller's.
        inside: where to.
        share: of places for clients.
    """
    datagrams = Datagrams(outer, inside, share)
    try:
        while True:
            await asyncio.sleep(_SWEEP_S)
            datagrams.sweep()
    finally:
        datagrams.close()
