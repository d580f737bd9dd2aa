"""Output, input, ends and figures of a libpod client's containers: attach, logs, wait, exec, stats."""

from __future__ import annotations

import asyncio
import time

from pierhead.api import routes_streams
from pierhead.api.bodies import ExecStart
from pierhead.api.libpod.container_documents import stats_entry
from pierhead.api.libpod.ends import Condition, find_end, meets, parse_condition
from pierhead.api.libpod.moments import moment_ns
from pierhead.api.libpod.spec import ExecBegin
from pierhead.api.ports import LogQuery
from pierhead.api.replies import Hijack, Reply, Stream, encode_json, reply_json, reply_nothing
from pierhead.api.streams import closing, framed
from pierhead.engine.documents import ContainerConfig, ExecConfig
from pierhead.engine.health import check_of
from pierhead.engine.moments import NEVER, format_moment, parse_moment
from pierhead.errors import Conflict, NotFound, PierheadError
from pierhead.oci.document import decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Any

    from pierhead.api.call import Call

    Document = dict[str, Any]

_JSON = {"Content-Type": "application/json"}
_INTERVAL_MS = 250
_EVERY_S = 5
_OUTPUT_BYTES = 500
_ALIVE = ("running", "paused")


async def attach(call: Call) -> Hijack:
    """``POST /libpod/containers/{id}/attach``."""
    return await routes_streams.attach(call)


async def logs(call: Call) -> Stream:
    """``GET /libpod/containers/{id}/logs``: every piece has a head, also a terminal's."""
    tail, now_ns = call.text("tail"), time.time_ns()
    query = LogQuery(
        stdout=call.boolean("stdout"),
        stderr=call.boolean("stderr"),
        follow=call.boolean("follow"),
        since_ns=moment_ns(call.text("since"), now_ns),
        until_ns=moment_ns(call.text("until"), now_ns),
        tail=int(tail) if tail.isascii() and tail.isdecimal() and len(tail) < 19 else None,
        timestamps=call.boolean("timestamps"),
    )
    _, pieces = await call.backend.container_logs(call.reference, query)
    return Stream(
        pieces=framed(pieces, terminal=False),
        headers={"Content-Type": "application/octet-stream"},
        lasting=query.follow,
    )


# Ends


async def wait(call: Call) -> Stream:
    """``POST /libpod/containers/{id}/wait``: a number alone, the exit code; -1 where it did not end.

    Clients wait when they have started the container, so its end may be past, and the container gone.

    Raises:
        NotFound: there is no such container, and was none.
    """
    conditions = tuple(parse_condition(word) for word in call.all("condition"))
    interval_s = _milliseconds(call.text("interval")) / 1000
    try:
        known = await call.backend.inspect_container(call.reference, size=False)
    except NotFound:
        code = await find_end(call.backend, call.reference, time.time_ns())
        if code is None:
            raise
        return _number(_one(code))
    identity = known["Id"]
    if any(each in ("other", "running") for each in conditions):
        words = tuple(call.all("condition"))
        return _number(_poll(call, identity, words, interval_s))
    condition = "removed" if conditions and all(each == "removed" for each in conditions) else "not-running"
    if condition == "not-running" and known["State"]["Status"] == "created":
        condition = "next-exit"
    waiting = await call.backend.wait_container(identity, condition)
    await anext(waiting, None)
    return _number(_end_of(waiting))


def _milliseconds(text: str) -> int:
    """``250ms``, ``1s``, or a number."""
    number = text.removesuffix("ms").removesuffix("s")
    if not (number.isascii() and number.isdecimal() and len(number) < 9):
        return _INTERVAL_MS
    seconds = text.endswith("s") and not text.endswith("ms")
    return max(1, int(number) * (1000 if seconds else 1))


def _number(pieces: AsyncIterator[bytes]) -> Stream:
    return Stream(pieces=pieces, headers=_JSON, lasting=True)


async def _one(code: int) -> AsyncGenerator[bytes, None]:
    yield encode_json(code)


async def _end_of(waiting: AsyncIterator[Document | None]) -> AsyncGenerator[bytes, None]:
    async with closing(waiting):
        async for document in waiting:
            if document is not None:
                yield encode_json(document["StatusCode"])


async def _poll(
    call: Call, identity: str, words: tuple[str, ...], interval_s: float
) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            state = (await call.backend.inspect_container(identity, size=False))["State"]
        except NotFound:
            state = {"Status": "removed"}
        for word in words:
            if meets(word, state):
                exited: Condition = parse_condition(word)
                yield encode_json(state.get("ExitCode", -1) if exited == "exited" else -1)
                return
        if state["Status"] == "removed":
            yield encode_json(-1)  # none of the others can come any more
            return
        await asyncio.sleep(interval_s)


# Further processes


async def create_exec(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/exec``."""
    return await routes_streams.create_exec(call)


async def start_exec(call: Call) -> Hijack | Reply:
    """``POST /libpod/exec/{id}/start``."""
    asked = await call.decoded(ExecBegin, optional=True)
    size = (asked.h, asked.w) if asked.h and asked.w else ()
    return await routes_streams.begin_exec(
        call, ExecStart(detach=asked.detach, tty=asked.tty, console_size=size)
    )


async def resize_exec(call: Call) -> Reply:
    """``POST /libpod/exec/{id}/resize``."""
    return await routes_streams.resize_exec(call)


async def inspect_exec(call: Call) -> Reply:
    """``GET /libpod/exec/{id}/json``."""
    return await routes_streams.inspect_exec(call)


async def remove_exec(call: Call) -> Reply:
    """``POST /libpod/exec/{id}/remove``: the engine forgets those that have ended by itself."""
    known = await call.backend.inspect_exec(call.reference)
    if known["Running"]:
        message = f"the process {call.reference} runs: it cannot be removed"
        raise Conflict(message, code="exec-runs", hint="end it first")
    return reply_nothing(200)


async def check_health(call: Call) -> Reply:
    """``GET /libpod/containers/{id}/healthcheck``: its command has run once more."""
    document = await call.backend.inspect_container(call.reference, size=False)
    check = check_of(decode(ContainerConfig, document["Config"], unknown=[]))
    if check is None:
        message = f"container {document['Id']} has no defined healthcheck"
        raise Conflict(message, code="no-healthcheck", hint="give it one with --health-cmd")
    config = ExecConfig(cmd=check.command, attach_stdout=True, attach_stderr=True)
    began = format_moment(time.time_ns())
    try:
        code, raw = await call.backend.run_exec(document["Id"], config, timeout_s=check.timeout_s)
        output = raw[:_OUTPUT_BYTES].decode(errors="replace")
    except TimeoutError:
        code, output = -1, f"it took longer than {check.timeout_s:g} s"
    except Conflict:  # the container does not run, and nobody knows how it would do
        raise
    except PierheadError as error:
        code, output = -1, error.message
    result = {"Start": began, "End": format_moment(time.time_ns()), "ExitCode": code, "Output": output}
    streak = 0 if code == 0 else 1
    status = "healthy" if code == 0 else "unhealthy"
    return reply_json({"Status": status, "FailingStreak": streak, "Log": [result]})


# Figures


async def stats(call: Call) -> Stream:
    """``GET /libpod/containers/stats``: of those that are named, else of all that run."""
    stream = call.boolean("stream", default=True)
    names = [name for each in call.all("containers") for name in each.split(",") if name]
    for name in names:
        await call.backend.inspect_container(name, size=False)
    every_s = call.number("interval") or _EVERY_S
    return Stream(
        pieces=_reports(call, names, stream=stream, every_s=max(1, every_s)), headers=_JSON, lasting=stream
    )


async def _reports(
    call: Call, names: list[str], *, stream: bool, every_s: int
) -> AsyncGenerator[bytes, None]:
    before: dict[str, Document] = {}
    while True:
        found = await _samples(call, names, stopped=call.boolean("all"))
        entries = [stats_entry(now, before.get(now["id"]), up_ns) for now, up_ns in found]
        yield encode_json({"Error": None, "Stats": entries})
        if not stream:
            return
        before = {now["id"]: now for now, _ in found}
        await asyncio.sleep(every_s)


async def _samples(call: Call, names: list[str], *, stopped: bool) -> list[tuple[Document, int]]:
    """What each uses, and for how long it has run."""
    if not names:
        listed = await call.backend.list_containers(stopped=stopped, limit=0, size=False, filters={})
        names = [each["Id"] for each in listed]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_sample(call, name)) for name in names]
    return [found for task in tasks if (found := task.result()) is not None]


async def _sample(call: Call, name: str) -> tuple[Document, int] | None:
    try:
        documents = await call.backend.container_stats(name, stream=False, one_shot=True)
        async with closing(documents):
            now = await anext(documents)
        state = (await call.backend.inspect_container(name, size=False))["State"]
    except (PierheadError, StopAsyncIteration):
        return None  # it went meanwhile
    started = state["StartedAt"]
    alive = state["Status"] in _ALIVE and started != NEVER
    return now, time.time_ns() - parse_moment(started) if alive else 0
