"""Output and input of containers and their further processes: attach, logs, exec."""

from __future__ import annotations

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
from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.call import Call
    from pierhead.api.duplex import Duplex

_MULTIPLEXED_SINCE = (1, 42)


def _content_type(call: Call, *, terminal: bool) -> str:
    return MULTIPLEXED_STREAM if not terminal and call.version >= _MULTIPLEXED_SINCE else RAW_STREAM


def _attach_query(call: Call) -> AttachQuery:
    return AttachQuery(**{name: call.boolean(name) for name in AttachQuery.fields})


async def attach(call: Call) -> Hijack:
    """``POST /containers/{id}/attach``."""
    keys = parse_detach_keys(call.text("detachKeys"))
    query = _attach_query(call)
    attachment = await call.backend.attach_container(call.reference, query)
    terminal = attachment.terminal
    speak = partial(talk, attachment, stdin=query.stdin, detach_keys=keys, framed=not terminal)
    return Hijack(content_type=_content_type(call, terminal=terminal), talk=speak)


async def attach_socket(call: Call) -> Socket:
    """``GET /containers/{id}/attach/ws``: one stream, as browsers' terminals want it."""
    keys = parse_detach_keys(call.text("detachKeys"))
    if call.head.upgrade != "websocket" or not call.head.headers.get("sec-websocket-key"):
        raise InvalidInput("this needs a web socket", code="no-web-socket")
    query = _attach_query(call)
    if not (query.stdin or query.stdout or query.stderr):
        query = query.replace(stdin=True, stdout=True, stderr=True)
    attachment = await call.backend.attach_container(call.reference, query)
    return Socket(talk=partial(talk, attachment, stdin=query.stdin, detach_keys=keys, framed=False))


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
    return reply_json(await call.backend.create_exec(call.reference, config), 201)


async def start_exec(call: Call) -> Hijack | Reply:
    """``POST /exec/{id}/start``.

    What goes wrong with the command itself is said on the stream: that is where clients look for it.
    """
    asked = await call.decoded(ExecStart, optional=True)
    exec_id = call.reference
    known = await call.backend.inspect_exec(exec_id)
    try:
        attachment = await call.backend.start_exec(
            exec_id, detach=asked.detach, console_size=asked.console_size
        )
    except (NotFound, Conflict, InvalidInput):
        raise
    except PierheadError as error:
        if asked.detach:
            raise
        content_type = _content_type(call, terminal=asked.tty)
        return Hijack(content_type=content_type, talk=partial(_tell, error, terminal=asked.tty))
    if attachment is None:
        return reply_nothing(200)
    terminal = attachment.terminal
    speak = partial(
        talk,
        attachment,
        stdin=bool(known.get("OpenStdin")),
        detach_keys=parse_detach_keys(str(known.get("DetachKeys") or "")),
        framed=not terminal,
    )
    return Hijack(content_type=_content_type(call, terminal=terminal), talk=speak)


async def _tell(error: PierheadError, duplex: Duplex, *, terminal: bool) -> None:
    await duplex.write(show("stderr", f"{error.message}\r\n".encode(), terminal=terminal))
    await duplex.end()


async def resize_exec(call: Call) -> Reply:
    """``POST /exec/{id}/resize``."""
    rows, columns = (queries.needed_number(call.head.query, name) for name in ("h", "w"))
    await call.backend.resize_exec(call.reference, rows=rows, columns=columns)
    return reply_nothing(200)


async def inspect_exec(call: Call) -> Reply:
    """``GET /exec/{id}/json``."""
    return reply_json(await call.backend.inspect_exec(call.reference))
