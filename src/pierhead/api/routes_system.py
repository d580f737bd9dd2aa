"""``/_ping``, ``/version``, ``/info``, ``/events``, ``/system/df``, ``/auth``."""

from __future__ import annotations

from pierhead.api import queries
from pierhead.api.replies import JSON, Reply, Stream, encode_json, reply_json
from pierhead.api.streams import closing
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Any

    from pierhead.api.call import Call
    from pierhead.engine.record import Event

_NS = 1_000_000_000
_PING_HEADERS = {
    "Content-Type": "text/plain; charset=utf-8",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    # 2 would be BuildKit.
    "Builder-Version": "1",
    "Swarm": "inactive",
}
_KINDS = ("container", "image", "volume", "build-cache")
_KINDS_HINT = f"one of {', '.join(_KINDS)}"
_SEQUENCE = "application/json-seq"
_LINES = "application/x-ndjson"


async def ping(call: Call) -> Reply:
    """``GET`` and ``HEAD /_ping``."""
    return Reply(body=b"OK" if call.head.method == "GET" else b"", headers=_PING_HEADERS)


async def version(call: Call) -> Reply:
    """``GET /version``."""
    return reply_json(await call.backend.version())


async def info(call: Call) -> Reply:
    """``GET /info``."""
    return call.reply("info", await call.backend.info())


async def disk_usage(call: Call) -> Reply:
    """``GET /system/df``."""
    kinds = call.all("type") if call.version >= (1, 42) else []
    for kind in kinds:
        if kind not in _KINDS:
            raise InvalidInput(f"unknown object type: {kind}", code="bad-parameter", hint=_KINDS_HINT)
    return call.reply("disk-usage", await call.backend.disk_usage(kinds))


async def check_login(call: Call) -> Reply:
    """``POST /auth``."""
    return reply_json(await call.backend.check_login(await call.document()))


async def events(call: Call) -> Stream:
    """``GET /events``: the headers come before anything has happened."""
    query = call.head.query
    since_ns, until_ns = queries.moment_ns(query, "since"), queries.moment_ns(query, "until")
    if 0 < until_ns < since_ns:
        since, until = queries.text(query, "since"), queries.text(query, "until")
        message = f"`since` time ({since}) cannot be after `until` time ({until})"
        raise InvalidInput(message, code="bad-parameter")
    found = call.backend.events(since_ns=since_ns, until_ns=until_ns, filters=call.filters())
    kind = _negotiate(call.head.headers.get("accept", ""))
    return Stream(pieces=_lines(found, kind), headers={"Content-Type": kind}, lasting=True)


def _negotiate(accept: str) -> str:
    """What the client names first; who names nothing reads the objects one after the other."""
    for word in accept.split(","):
        kind = word.partition(";")[0].strip().lower()
        if kind in (_SEQUENCE, _LINES):
            return kind
        if kind == JSON:
            break
    return JSON


async def _lines(found: AsyncIterator[Event], kind: str) -> AsyncGenerator[bytes, None]:
    begin = b"\x1e" if kind == _SEQUENCE else b""  # RFC 7464
    async with closing(found):
        async for event in found:
            yield begin + encode_json(event_document(event))


def event_document(event: Event) -> dict[str, Any]:
    """The event with the three fields of old, which versions below 1.52 have beside the new ones."""
    document: dict[str, Any] = {
        "Type": event.kind,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time_ns // _NS,
        "timeNano": event.time_ns,
    }
    if event.kind in ("container", "image"):
        document = {"status": event.action, "id": event.actor, **document}
        if event.kind == "container" and event.attributes.get("image"):
            document["from"] = event.attributes["image"]
    return document
