"""The server: which request goes where, what becomes of errors, and how it ends.

listener ─▶ Connection ─▶ Server.accept ─▶ a task for each client
                             read_head ─▶ route ─▶ answer ─▶ Sender
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Literal

from pierhead.api.call import Call
from pierhead.api.connection import Body, ClientGone
from pierhead.api.dialects import Dialect, choose
from pierhead.api.replies import Hijack, Reply, Socket, Stream, reply_error
from pierhead.api.routing import split_version
from pierhead.api.sending import Sender
from pierhead.api.versions import NEWEST, format_version
from pierhead.errors import Forbidden, OperationFailed, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.connection import Connection
    from pierhead.api.head import Head
    from pierhead.api.metrics import Metrics
    from pierhead.api.ports import Backend
    from pierhead.api.routing import Answer, Route, Table

    Doing = Literal["waiting", "answering", "lasting"]

_log = logging.getLogger(__name__)

_SILENCE_S = 300.0
"""A client that says nothing for so long is hung up on; Docker waits as long."""
_LOOKS = 10
"""How often clients are looked at in that time."""
_LINGER_S = 5.0
_LINGER_BYTES = 1 << 16


def common_headers(version: str) -> dict[str, str]:
    """What every answer has.

    Clients read the operating system from ``Server``, which has to be of this form.
    """
    return {
        "Api-Version": format_version(NEWEST),
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Server": f"Docker/{version} (linux)",
    }


class Server:
    """Answers clients; ``accept`` is what listeners tell of each.

    Its tasks are in the caller's group, which is not left before ``stop`` has ended them.
    """

    def __init__(
        self,
        backend: Backend,
        table: Table,
        tasks: asyncio.TaskGroup,
        *,
        metrics: Metrics,
        version: str,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """What is given stays the caller's; who says nothing for ``silence_s`` is hung up on."""
        self._backend = backend
        self._docker = Dialect(table=table)
        self._tasks = tasks
        self._metrics = metrics
        self._sender = Sender(common_headers(version))
        self._clients: dict[asyncio.Task[None], _Client] = {}
        self._stopping = False
        self._silence_s = silence_s
        self._look: asyncio.TimerHandle | None = None
        self.active_s = time.monotonic()
        """When somebody last wanted something, on the monotonic clock."""

    @property
    def busy(self) -> bool:
        """Whether anybody is being answered."""
        return any(client.doing != "waiting" for client in self._clients.values())

    def accept(self, connection: Connection) -> None:
        """The client is answered from now on."""
        client = _Client(connection)
        task = self._tasks.create_task(self._converse(client))
        self._clients[task] = client
        task.add_done_callback(self._forget)
        self._metrics.connections = len(self._clients)
        if self._look is None:
            self._look_later()

    def _look_later(self) -> None:
        """One timer for all clients: one for each request would cost a tenth of a short one."""
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(self._silence_s / _LOOKS, self._hang_up) if self._clients else None

    def _hang_up(self) -> None:
        latest_s = time.monotonic() - self._silence_s
        for client in self._clients.values():
            if client.doing == "waiting" and client.heard_s < latest_s:
                client.connection.writer.close()
        self._look_later()

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._clients.pop(task, None)
        self._metrics.connections = len(self._clients)

    async def stop(self, patience_s: float) -> None:
        """Nobody is connected any more; requests that end by themselves had time for it."""
        self._stopping = True
        if self._look is not None:
            self._look.cancel()
        for task, client in list(self._clients.items()):
            if client.doing != "answering":
                task.cancel()
        if self._clients:
            _, late = await asyncio.wait(list(self._clients), timeout=patience_s)
            for task in late:
                task.cancel()
            if late:
                _log.warning("%d requests did not end within %g s", len(late), patience_s)
                await asyncio.wait(late)

    async def _converse(self, client: _Client) -> None:
        """All that one client wants."""
        connection = client.connection
        try:
            while await self._serve_one(client):
                client.doing = "waiting"
        except ConnectionError:
            pass  # it went, and nobody is left to tell
        except Exception:  # noqa: BLE001 - the edge of a connection: nobody else's ends with it
            _log.exception("a connection has failed")
        finally:
            connection.writer.close()

    async def _serve_one(self, client: _Client) -> bool:
        """The next request is answered; returns whether another may come."""
        connection = client.connection
        try:
            head = await connection.read_head()
        except PierheadError as error:
            await self._sender.reply(connection, None, reply_error(error), close=True)
            return False
        if head is None or self._stopping:
            return False
        client.doing = "answering"
        self.active_s = begun_s = time.monotonic()
        noted = _Noted()
        self._metrics.in_flight += 1
        try:
            return await self._answer(client, head, noted)
        finally:
            self.active_s = client.heard_s = time.monotonic()
            self._metrics.in_flight -= 1
            self._metrics.count_request(head.method, noted.route, noted.status, self.active_s - begun_s)
            _log.debug(
                "%s %s: %d, %.1f ms", head.method, head.path, noted.status, (self.active_s - begun_s) * 1e3
            )

    async def _answer(self, client: _Client, head: Head, noted: _Noted) -> bool:
        connection = client.connection
        waits = head.headers.get("expect", "").lower() == "100-continue"
        body = Body(connection, head.length, waits=waits)
        answer = await self._perform(connection, head, body, noted)
        noted.status = answer.status if isinstance(answer, Reply | Stream) else 101
        if isinstance(answer, Hijack | Socket):
            client.doing = "lasting"
            await self._sender.take_over(connection, head, answer)
            return False
        close = not head.stays or self._stopping or body.awaited
        if isinstance(answer, Stream):
            if answer.lasting:
                client.doing = "lasting"
            return await self._send_stream(connection, head, answer, close=close) and body.ended
        close = close or not body.ended
        await self._sender.reply(connection, head, answer, close=close)
        if not body.ended and not body.awaited:
            await _linger(connection)
        return not close

    async def _send_stream(self, connection: Connection, head: Head, stream: Stream, *, close: bool) -> bool:
        try:
            await self._sender.stream(connection, head, stream, close=close)
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - the edge of a request
            # The headers are gone: that the end is missing is all that can still be said.
            _log.exception("%s %s failed on the way", head.method, head.path)
            connection.writer.transport.abort()
            raise ClientGone("the answer could not be ended") from None
        return not close and head.minor == 1

    async def _perform(self, connection: Connection, head: Head, body: Body, noted: _Noted) -> Answer:
        """What is to be sent, whatever happens."""
        dialect = choose(head.path, self._docker)
        try:
            text, path = split_version(head.path)
            version = dialect.parse_version(text) if text else dialect.newest
            route, names = dialect.table.find(head.method, path)
            noted.route = route.pattern
            _check_role(connection, route)
            return await route.perform(Call(head, body, self._backend, version, names))
        except PierheadError as error:
            if isinstance(error, OperationFailed):
                _log.error("%s %s: %s", head.method, head.path, error.message)
            return dialect.reply_error(error)
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - the edge of a request
            # What nobody foresaw becomes an answer, and the log has the details.
            _log.exception("%s %s failed", head.method, head.path)
            hint = "this is a bug; the daemon's log says more"
            return dialect.reply_error(PierheadError("the engine failed to answer", hint=hint))


class _Client:
    """One client, and what is being done for it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.doing: Doing = "waiting"
        self.heard_s = time.monotonic()


class _Noted:
    """What becomes known of a request while it is answered."""

    def __init__(self) -> None:
        self.route = "none"
        self.status = 499
        """Web servers' word for a client that went; never sent."""


def _check_role(connection: Connection, route: Route) -> None:
    if route.writes and connection.role == "read-only":
        message = f"{route.method} {route.pattern} is not for this client: its certificate may only read"
        raise Forbidden(message, code="read-only-client")


async def _linger(connection: Connection) -> None:
    """The client has time to read the answer before its connection is cut, although it still sends."""
    writer = connection.writer
    if writer.can_write_eof():
        writer.write_eof()
    try:
        async with asyncio.timeout(_LINGER_S):
            while await connection.reader.read(_LINGER_BYTES):
                pass
    except (TimeoutError, ConnectionError):
        pass
