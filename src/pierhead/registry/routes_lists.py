"""Lists of tags and repositories, in pages (distribution-spec "Listing Tags"; Docker's "Listing
Repositories").
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from pierhead.registry.faults import Fault
from pierhead.registry.replies import reply, reply_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import web

    from pierhead.registry.call import Call

_REPOSITORIES_AT_ONCE = 1000


async def ping(call: Call) -> web.StreamResponse:  # noqa: ARG001 - as all routes
    """Yes, this is a registry, and you may use it."""
    return reply(200, {"Content-Type": "application/json"}, b"{}")


async def list_tags(call: Call) -> web.StreamResponse:
    """The repository's tags."""
    count = _count(call, -1)
    asked = count + 1 if count > 0 else count
    after = call.parameter("last")
    known = await call.cache.tags(call.name) if call.cache is not None else None
    if known is None:
        tags = await asyncio.to_thread(call.storage.tags, call.name, after=after, count=asked)
    else:
        tags = [tag for tag in known if tag > after][: asked if asked >= 0 else None]
    tags, headers = _page(tags, count, f"/v2/{call.name}/tags/list")
    return reply_document({"name": call.name, "tags": tags}, headers)


async def list_repositories(call: Call) -> web.StreamResponse:
    """Names of repositories."""
    count = min(_count(call, _REPOSITORIES_AT_ONCE), _REPOSITORIES_AT_ONCE)
    after = call.parameter("last")
    asked = count + 1 if count else 0
    names = await asyncio.to_thread(call.storage.index.repositories, after=after, count=asked)
    names, headers = _page(names, count, "/v2/_catalog")
    return reply_document({"repositories": names}, headers)


def _count(call: Call, otherwise: int) -> int:
    text = call.parameter("n")
    if not text:
        return otherwise
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise Fault("PAGINATION_NUMBER_INVALID", f"n={text[:80]} is not a number of entries")
    return int(text)


def _page(entries: list[str], count: int, path: str) -> tuple[list[str], dict[str, str]]:
    """At most ``count`` entries if it is not negative, and a link to the rest if there is one (RFC 5988)."""
    if count < 0 or len(entries) <= count:
        return entries, {}
    shown = entries[:count]
    query = urlencode({"last": shown[-1], "n": count})
    return shown, {"Link": f'<{path}?{query}>; rel="next"'}
