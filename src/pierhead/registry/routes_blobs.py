"""Blobs: read, asked for, removed (distribution-spec "Pulling blobs", "Deleting Blobs")."""

from __future__ import annotations

import asyncio
import os

from pierhead.registry.evict import hold
from pierhead.registry.faults import Fault
from pierhead.registry.names import check_digest_of_path
from pierhead.registry.ranges import parse_range
from pierhead.registry.replies import is_known, reply, reply_head, send_blocks, send_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import web

    from pierhead.registry.cache import Cache
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
    if call.cache is not None:
        return await _get_copy(call, call.cache)
    fd, size = await asyncio.to_thread(call.storage.open_blob, call.name, digest)
    return await _send(call, fd, size)


async def _send(call: Call, fd: int, size: int) -> web.StreamResponse:
    """What is asked for of this file is sent; the descriptor is taken over."""
    digest = call.reference
    try:
        headers, request = _headers(digest), call.request
        if is_known(request, digest):
            return reply(304, {"ETag": headers["ETag"]})
        if request.method == "HEAD":
            return reply_head(headers, size)
        status, first, end = _part(request, headers, size)
        return await send_file(request, fd, first, end, status, headers)
    finally:
        os.close(fd)


def _part(request: web.BaseRequest, headers: dict[str, str], size: int) -> tuple[int, int, int]:
    """The status, the first byte and the one after the last of what is asked for; headers get its range."""
    wanted = request.headers.get("Range", "")
    if request.headers.get("If-Range", headers["ETag"]) != headers["ETag"]:
        wanted = ""
    part = parse_range(wanted, size)
    if part is None:
        return 200, 0, size
    headers["Content-Range"] = f"bytes {part[0]}-{part[1] - 1}/{size}"
    return 206, *part


async def _get_copy(call: Call, cache: Cache) -> web.StreamResponse:
    """The blob is sent from here, or from the upstream."""
    while True:
        try:
            fd, size = await asyncio.to_thread(_open_held, call)
        except Fault:
            answer = await _get_from_upstream(call, cache)
            if answer is not None:
                return answer
        else:
            return await _send(call, fd, size)


def _open_held(call: Call) -> tuple[int, int]:
    fd, size = call.storage.open_blob(call.name, call.reference)
    hold(fd)
    return fd, size


async def _get_from_upstream(call: Call, cache: Cache) -> web.StreamResponse | None:
    """The blob is sent while it comes; None if it is here by now."""
    request, digest, headers = call.request, call.reference, _headers(call.reference)
    if request.method == "HEAD":
        size = await cache.find_blob_size(call.name, digest)
        if size is None:
            raise Fault("BLOB_UNKNOWN", f"the upstream of {call.name} has no blob {digest}")
        return reply_head(headers, size)
    async with cache.blob(call.name, digest) as download:
        if download is None:
            return None
        status, first, end = _part(request, headers, download.size)
        return await send_blocks(request, download.read(first, end), end - first, status, headers)


async def delete_blob(call: Call) -> web.StreamResponse:
    """The repository does not have the blob."""
    check_digest_of_path(call.reference)
    await asyncio.to_thread(call.storage.remove_blob, call.name, call.reference)
    return reply(202, {"Docker-Content-Digest": call.reference})
