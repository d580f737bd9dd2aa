"""Blobs: read, asked for, removed (distribution-spec "Pulling blobs", "Deleting Blobs")."""

from __future__ import annotations

import asyncio
import os

from pierhead.registry.names import check_digest_of_path
from pierhead.registry.ranges import parse_range
from pierhead.registry.replies import reply, reply_head, send_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import web

    from pierhead.registry.call import Call

_UNCHANGING = "max-age=31536000, immutable"


def _headers(digest: str) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "Cache-Control": _UNCHANGING,
        "Content-Type": "application/octet-stream",
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }


async def get_blob(call: Call) -> web.StreamResponse:
    """The blob, or a range of it, is sent; of HEAD only what it would be."""
    digest = call.reference
    check_digest_of_path(digest)
    fd, size = await asyncio.to_thread(call.storage.open_blob, call.name, digest)
    try:
        headers, request = _headers(digest), call.request
        if request.headers.get("If-None-Match", "") in ("*", headers["ETag"]):
            return reply(304, {"ETag": headers["ETag"]})
        if request.method == "HEAD":
            return reply_head(headers, size)
        wanted = request.headers.get("Range", "")
        if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
            wanted = ""
        part = parse_range(wanted, size)
        if part is None:
            return await send_file(request, fd, 0, size, 200, headers)
        first, end = part
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        return await send_file(request, fd, first, end, 206, headers)
    finally:
        os.close(fd)


async def delete_blob(call: Call) -> web.StreamResponse:
    """The repository does not have the blob."""
    check_digest_of_path(call.reference)
    await asyncio.to_thread(call.storage.remove_blob, call.name, call.reference)
    return reply(202, {"Docker-Content-Digest": call.reference})
