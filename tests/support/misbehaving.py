"""A small registry for tests, which misbehaves as it is told.

async with MisbehavingRegistry(store) as registry:       contents of the store, below any name
    registry.tags["app:1"] = descriptor
    registry.fault("GET", "blobs/", cut_after(1000), times=2)
    … registry.address …
    registry.seen       requests: method, path, headers
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import TYPE_CHECKING

from aiohttp import web

from pierhead.digests import compute_digest
from pierhead.oci.image import DOCUMENT_BYTES_MAX, media_type_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Self

    from pierhead.images.content import ContentStore

    Misbehaviour = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclasses.dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclasses.dataclass
class _Fault:
    method: str
    part: str
    act: Misbehaviour
    times: int


class MisbehavingRegistry:
    """Gives the contents of a store; unless it is told otherwise, as it should."""

    def __init__(self, store: ContentStore, tls: ssl.SSLContext | None = None) -> None:
        self.store = store
        self._tls = tls
        self.tags: dict[str, str] = {}
        self.seen: list[Seen] = []
        self.ranges = True
        self.pace: float = 0
        """Seconds for each 64 KiB."""
        self.sent_bytes = 0
        """Of contents."""
        self.guard: Callable[[web.Request], web.StreamResponse | None] = lambda _: None
        """Answers those who may not come in."""
        self._faults: list[_Fault] = []
        self._runner: web.AppRunner | None = None
        self.address = ""

    def fault(self, method: str, part: str, act: Misbehaviour, *, times: int = 1) -> None:
        """Requests of the method whose path has the part are answered so, that many times."""
        self._faults.append(_Fault(method, part, act, times))

    def count(self, method: str, part: str) -> int:
        """How many such requests came."""
        return sum(1 for each in self.seen if each.method == method and part in each.path)

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.path_qs, dict(request.headers)))
        stopped = self.guard(request)
        if stopped is not None:
            return stopped
        data = self._find(request.path)
        for fault in self._faults:
            if fault.times and fault.method == request.method and fault.part in request.path:
                fault.times -= 1
                return await fault.act(request, data)
        return await self.serve(request, data)

    def _find(self, path: str) -> bytes:
        """The bytes that a path stands for; none if there are none."""
        match = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if match is None:
            return b""
        digest = self.tags.get(f"{match[1]}:{match[3]}", match[3])
        if ":" not in digest or self.store.find_size(digest) is None:
            return b""
        return self.store.read(digest, limit_bytes=1 << 30)

    async def serve(self, request: web.Request, data: bytes) -> web.StreamResponse:
        """The answer as it should be."""
        if request.path == "/v2/":
            return web.json_response({})
        if not data:
            kind = "MANIFEST" if "/manifests/" in request.path else "BLOB"
            error = {"code": f"{kind}_UNKNOWN", "message": f"{kind.lower()} unknown"}
            return web.json_response({"errors": [error]}, status=404)
        headers = {"Docker-Content-Digest": compute_digest(data)}
        if "/manifests/" in request.path:
            assert len(data) <= DOCUMENT_BYTES_MAX
            return web.Response(body=data, content_type=media_type_of(data), headers=headers)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted is None or not self.ranges:
            return await self._stream(request, data, web.StreamResponse(headers=headers))
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if start >= len(data):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return await self._stream(request, data[start:end], web.StreamResponse(status=206, headers=headers))

    async def _stream(
        self, request: web.Request, data: bytes, response: web.StreamResponse
    ) -> web.StreamResponse:
        response.content_length = len(data)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        for start in range(0, len(data), 1 << 16):
            await response.write(data[start : start + (1 << 16)])
            self.sent_bytes += min(1 << 16, len(data) - start)
            if self.pace:
                await asyncio.sleep(self.pace)
        return response


def answers(status: int, *, headers: dict[str, str] | None = None, text: str = "") -> Misbehaviour:
    """Answers with a status."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        return web.Response(status=status, headers=headers, text=text)

    return act


def gives(
    other: bytes, *, content_type: str = "application/octet-stream", headers: dict[str, str] | None = None
) -> Misbehaviour:
    """Gives other bytes."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        return web.Response(body=other, content_type=content_type, headers=headers)

    return act


def drops(after: int = 0) -> Misbehaviour:
    """Announces all of what was asked for, and breaks the connection after so many bytes of it."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        assert request.transport is not None
        if after:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
            start, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (0, len(data))
            response = web.StreamResponse(status=206 if wanted else 200)
            if wanted:
                response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
            response.content_length = end - start
            await response.prepare(request)
            await response.write(data[start:end][:after])
        request.transport.abort() if not after else request.transport.close()
        return web.Response()

    return act


def ends_early(after: int) -> Misbehaviour:
    """Says nothing of the length, and ends in good order after so many bytes."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        return await _chunked(request, _once(data[:after]))

    return act


def never_ends() -> Misbehaviour:
    """Says nothing of the length, and goes on for ever."""

    async def more(data: bytes) -> AsyncIterator[bytes]:
        while True:
            yield data

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        return await _chunked(request, more(data))

    return act


def redirects(url: str, status: int = 307) -> Misbehaviour:
    """Sends elsewhere, with the same path."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": url + request.path_qs})

    return act


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _chunked(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    return response
