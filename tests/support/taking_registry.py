"""A registry that takes contents too, and can be told to fail at it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from aiohttp import web

from pierhead.digests import compute_digest
from tests.support.misbehaving import MisbehavingRegistry

if TYPE_CHECKING:
    from tests.support.misbehaving import Misbehaviour


class TakingRegistry(MisbehavingRegistry):
    """Keeps what it is given in its store; ``started`` has the beginnings of contents, by upload."""

    started: dict[str, bytes]
    chunk_bytes_min = 0
    mounts = False

    async def serve(self, request: web.Request, data: bytes) -> web.StreamResponse:
        """The answer as it should be."""
        self.__dict__.setdefault("started", {})
        name = request.path.rpartition("/")[2]
        if request.method == "POST":
            return self._start(request)
        if "/blobs/uploads/" in request.path:
            if name not in self.started:
                return web.json_response({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}, status=404)
            return await self._continue(request, name)
        if request.method == "PUT":
            raw = await request.read()
            digest = self.store.write(raw)
            self.tags[f"{request.path.split('/')[2]}/{request.path.split('/')[3]}:{name}"] = digest
            return web.Response(status=201, headers={"Docker-Content-Digest": digest})
        return await super().serve(request, data)

    def _start(self, request: web.Request) -> web.StreamResponse:
        if self.mounts and self.store.find_size(request.query.get("mount", "")) is not None:
            return web.Response(status=201)
        name = f"u{len(self.started)}"
        self.started[name] = b""
        headers = {"Location": f"/v2/any/blobs/uploads/{name}?state=x"}
        if self.chunk_bytes_min:
            headers["OCI-Chunk-Min-Length"] = str(self.chunk_bytes_min)
        return web.Response(status=202, headers=headers)

    async def _continue(self, request: web.Request, name: str) -> web.StreamResponse:
        headers = {
            "Location": request.path_qs.partition("&")[0],
            "Range": f"0-{max(0, len(self.started[name]) - 1)}",
        }
        if request.method == "GET":
            return web.Response(status=204, headers=headers)
        wanted = re.match(r"(\d+)-", request.headers.get("Content-Range", ""))
        if wanted and int(wanted[1]) != len(self.started[name]):
            return web.Response(status=416, headers=headers)
        self.started[name] += await request.read()
        if request.method == "PATCH":
            return web.Response(status=202, headers=headers)
        if compute_digest(self.started[name]) != request.query["digest"]:
            return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "no"}]}, status=400)
        self.store.write(self.started.pop(name))
        return web.Response(status=201)


def takes_half(registry: TakingRegistry, count: int) -> Misbehaviour:
    """Takes so many bytes of what is sent, and breaks the connection."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        registry.started[name] += await request.content.readexactly(count)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    return act
