"""Output and input of containers and their further processes: attach, logs, exec."""

from __future__ import annotations

import asyncio
from functools import partial

from pierhead.api import queries
from pierhead.api.bodies import ExecStart
from pierhead.api.ports import AttachQuery, LogQuery
from pierhead.api.replies import (
    MULTIPLEXED_STREAM,
    RAW_STREAM,
    Hijack,
    Reply,
    Socket,
    Stream,
    reply_json,
    reply_nothing,
)
from pierhead.api.streams import framed, parse_detach_keys, show, talk
from pierhead.engine.documents import ExecConfig
from pierhead.errors import Conflict, InvalidInput, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call
    from pierhead.api.duplex import Duplex
    from pierhead.api.replies import Talk

_MULTIPLEXED_SINCE = (1, 42)
_HEADERS_READ_S = 0.05


def _content_type(call: Call, *, terminal: bool) -> str:
    return MULTIPLEXED_STREAM if not terminal and call.version >= _MULTIPLEXED_SINCE else RAW_STREAM


def _hijacked_type(call: Call, *, terminal: bool) -> str:
    """Of a connection that is taken over: who did not ask for that hears of a raw stream, as with Docker."""
    return _content_type(call, terminal=terminal) if call.head.upgrade else RAW_STREAM


def _attach_query(call: Call) -> AttachQuery:
    return AttachQuery(**{name: call.boolean(name) for name in AttachQuery.fields})


async def attach(call: Call) -> Hijack:
    """``POST /containers/{id}/attach``."""
    await call.body.whole()  # what comes behind it is input
    keys = parse_detach_keys(call.text("detachKeys"))
    query = _attach_query(call)
    attachment = await call.backend.attach_container(call.reference, query)
    terminal = attachment.terminal
    speak = partial(talk, attachment, stdin=query.stdin, detach_keys=keys, framed=not terminal)
    kind, later = _hijacked_type(call, terminal=terminal), _after_headers(call, speak)
    return Hijack(content_type=kind, talk=later, attachment=attachment)


def _after_headers(call: Call, speak: Talk) -> Talk:
    """The same talk, begun when the client has read the headers, if it is one that needs it.

    docker-py reads what comes after the headers from the bare socket, past the buffer of its HTTP reader:
    it loses what comes together with them.
    """
    if not call.head.headers.get("user-agent", "").startswith("docker-sdk-python"):
        return speak

    async def later(duplex: Duplex) -> None:
        await asyncio.sleep(_HEADERS_READ_S)
        await speak(duplex)

    return later


async def attach_socket(call: Call) -> Socket:
    """``GET /containers/{id}/attach/ws``: one stream, as browsers' terminals want it."""
    await call.body.whole()
    keys = parse_detach_keys(call.text("detachKeys"))
    if call.head.upgrade != "websocket" or not call.head.headers.get("sec-websocket-key"):
        raise InvalidInput("this needs a web socket", code="no-web-socket")
    query = _attach_query(call)
    if not (query.stdin or query.stdout or query.stderr):
        query = query.replace(stdin=True, stdout=True, stderr=True)
    attachment = await call.backend.attach_container(call.reference, query)
    speak = partial(talk, attachment, stdin=query.stdin, detach_keys=keys, framed=False)
    return Socket(talk=speak, attachment=attachment)


async def logs(call: Call) -> Stream:
    """``GET /containers/{id}/logs``."""
    stdout, stderr = call.boolean("stdout"), call.boolean("stderr")
    if not (stdout or stderr):
        message = "Bad parameters: you must choose at least one stream"
        raise InvalidInput(message, code="no-stream", hint="ask with stdout=1 or stderr=1")
    query = LogQuery(
        stdout=stdout,
        stderr=stderr,
        follow=call.boolean("follow"),
        since_ns=queries.moment_ns(call.head.query, "since"),
        until_ns=queries.moment_ns(call.head.query, "until"),
        tail=_tail(call.text("tail")),
        timestamps=call.boolean("timestamps"),
        details=call.boolean("details"),
    )
    terminal, pieces = await call.backend.container_logs(call.reference, query)
    return Stream(
        pieces=framed(pieces, terminal=terminal),
        headers={"Content-Type": _content_type(call, terminal=terminal)},
        lasting=query.follow,
    )


def _tail(value: str) -> int | None:
    """How many lines; what is no such number is all of them, as for Docker."""
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else None


# Further processes


async def create_exec(call: Call) -> Reply:
    """``POST /containers/{id}/exec``."""
    config = await call.decoded(ExecConfig)
    if not config.cmd:
        raise InvalidInput("No exec command specified", code="no-command")
    parse_detach_keys(config.detach_keys)  # whoever starts it has gone over to another protocol by then
    return reply_json(await call.backend.create_exec(call.reference, config), 201)


async def start_exec(call: Call) -> Hijack | Reply:
    """``POST /exec/{id}/start``.

    The headers go before the process begins, as with Docker: what goes wrong with the command is said on the
    stream, where clients look for it.
    """
    return await begin_exec(call, await call.decoded(ExecStart, optional=True))


async def begin_exec(call: Call, asked: ExecStart) -> Hijack | Reply:
    """The process that the path names begins, and the client talks with it, unless it is detached."""
    known = await call.backend.inspect_exec(call.reference)
    if asked.detach:
        await call.backend.start_exec(call.reference, detach=True, console_size=asked.console_size)
        return reply_nothing(200)
    if known["Running"] or known["CanRemove"]:
        message = f"Error: Exec command {call.reference} has already run"
        raise Conflict(message, code="exec-has-run")
    terminal = bool(known["ProcessConfig"]["tty"])
    keys = parse_detach_keys(str(known["DetachKeys"] or ""))
    speak = partial(_run_exec, call, asked, stdin=bool(known["OpenStdin"]), detach_keys=keys)
    return Hijack(content_type=_hijacked_type(call, terminal=terminal), talk=_after_headers(call, speak))


async def _run_exec(call: Call, asked: ExecStart, duplex: Duplex, *, stdin: bool, detach_keys: bytes) -> None:
    try:
        attachment = await call.backend.start_exec(
            call.reference, detach=False, console_size=asked.console_size
        )
    except PierheadError as error:
        await _tell(error, duplex, terminal=asked.tty)
        return
    assert attachment is not None
    await talk(attachment, duplex, stdin=stdin, detach_keys=detach_keys, framed=not attachment.terminal)


async def _tell(error: PierheadError, duplex: Duplex, *, terminal: bool) -> None:
    await duplex.write(show("stderr", f"{error.message}\r\n".encode(), terminal=terminal))
    await duplex.end()


async def resize_exec(call: Call) -> Reply:
    """``POST /exec/{id}/resize``."""
    rows, columns = queries.size(call.head.query)
    await call.backend.resize_exec(call.reference, rows=rows, columns=columns)
    return reply_nothing(200)


async def inspect_exec(call: Call) -> Reply:
    """``GET /exec/{id}/json``."""
    return reply_json(await call.backend.inspect_exec(call.reference))
