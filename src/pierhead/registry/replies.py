"""Answers of the registry: those without a body, documents, and files by sendfile.

Every answer says that this is a registry (Docker-Distribution-Api-Version): old clients look for it.
"""

from __future__ import annotations

import asyncio
import os

from aiohttp import web

from pierhead import __version__, jsontext
from pierhead.registry.faults import fault_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import Any

    from pierhead.errors import PierheadError

_API = {"Docker-Distribution-Api-Version": "registry/2.0", "Server": f"pierhead/{__version__}"}
_BLOCK_BYTES = 1 << 18


def reply(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> web.Response:
    """An answer with these headers and body."""
    return web.Response(status=status, headers={**_API, **(headers or {})}, body=body)


def reply_document(
    document: Any, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> web.Response:
    """An answer that is JSON."""
    body = jsontext.format_compact(document).encode()
    return reply(status, {"Content-Type": "application/json", **(headers or {})}, body)


def reply_fault(error: PierheadError) -> web.Response:
    """The answer to a request that failed."""
    headers: dict[str, str] = getattr(error, "headers", {})
    return reply_document(fault_document(error), headers, status=error.status)


def reply_head(headers: Mapping[str, str], size: int) -> web.Response:
    """The answer to HEAD: what GET would say of a content of this size."""
    return web.Response(headers={**_API, **headers, "Content-Length": str(size)})


def is_known(request: web.BaseRequest, digest: str) -> bool:
    """Whether the client has what it asks for already (RFC 9110 section 13.1.2)."""
    return any(tag.value in (digest, "*") for tag in request.if_none_match or ())


async def send_file(
    request: web.BaseRequest, fd: int, first: int, end: int, status: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The bytes of a file were sent; the descriptor stays the caller's.

    The kernel moves them without their coming through here, except under TLS.

    Raises:
        ConnectionError: the client went away.
    """
    response = web.StreamResponse(status=status, headers={**_API, **headers})
    response.content_length = end - first
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client went away")
    if transport.get_extra_info("sslcontext") is None:
        with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
            if first < end:
                await asyncio.get_running_loop().sendfile(transport, file, first, end - first)
    else:
        while first < end:
            block = await asyncio.to_thread(os.pread, fd, min(_BLOCK_BYTES, end - first), first)
            await response.write(block)
            first += len(block)
    await response.write_eof()
    return response


async def send_blocks(
    request: web.BaseRequest, blocks: AsyncIterator[bytes], size: int, status: int, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The blocks were sent as they came; ``size`` is of all of them, in bytes.

    Raises:
        ConnectionError: the client went away, or the blocks ended too early.
    """
    response = web.StreamResponse(status=status, headers={**_API, **headers})
    response.content_length = size
    await response.prepare(request)
    async for block in blocks:
        await response.write(block)
    await response.write_eof()
    return response
