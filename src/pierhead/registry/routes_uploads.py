"""Uploads: begun, mounted, sent in one or in chunks, finished, cancelled (distribution-spec "Push").

POST .../uploads/                  202 where to send it
POST .../uploads/?digest=D         201 sent at once
POST .../uploads/?mount=D[&from=R] 201 another repository has it; else 202
PATCH .../uploads/ID               202 a chunk more; 416 a chunk from elsewhere: the upload goes on
GET .../uploads/ID                 204 how much is there
PUT .../uploads/ID?digest=D        201 that was it, with or without a last chunk
DELETE .../uploads/ID              204
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

from pierhead.digests import DEFAULT_ALGORITHM, algorithm_of
from pierhead.images.content import Ingest
from pierhead.images.remote.tasks import offload
from pierhead.registry.faults import Fault
from pierhead.registry.names import check_digest_of_path, is_name
from pierhead.registry.ranges import format_received, parse_chunk
from pierhead.registry.replies import reply

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from pierhead.registry.call import Call

_ALGORITHMS = ("sha256", "sha512")


async def start_upload(call: Call) -> web.StreamResponse:
    """An upload has begun, or is over already: mounted or sent with it."""
    mounted, digest = call.parameter("mount"), call.parameter("digest")
    if mounted:
        check_digest_of_path(mounted)
        if await asyncio.to_thread(_mount, call, mounted):
            return _created(call, mounted)
    if digest:
        check_digest_of_path(digest)
        upload_id = await asyncio.to_thread(call.storage.uploads.start, call.name, algorithm_of(digest))
        return await _receive_last(call, upload_id, digest)
    algorithm = call.parameter("digest-algorithm") or algorithm_of(mounted) or DEFAULT_ALGORITHM
    if algorithm not in _ALGORITHMS:
        raise Fault("DIGEST_INVALID", f"{algorithm[:80]!r} is no algorithm for digests here")
    upload_id = await asyncio.to_thread(call.storage.uploads.start, call.name, algorithm)
    headers = _upload_headers(call, upload_id, 0)
    if call.settings.chunk_least_bytes:
        headers["OCI-Chunk-Min-Length"] = str(call.settings.chunk_least_bytes)
    return reply(202, headers)


def _mount(call: Call, digest: str) -> bool:
    """A client may mount what it may read, from where it says or from anywhere."""
    source = call.parameter("from")
    if source and not is_name(source):
        return False
    sources = [source] if source else call.storage.index.repositories_of_blob(digest)
    return call.storage.mount(call.name, digest, [each for each in sources if call.may("pull", each)])


def _upload_headers(call: Call, upload_id: str, size: int) -> dict[str, str]:
    return {
        "Docker-Upload-UUID": upload_id,
        "Location": f"/v2/{call.name}/blobs/uploads/{upload_id}",
        "Range": format_received(size),
    }


def _created(call: Call, digest: str) -> web.StreamResponse:
    return reply(201, {"Docker-Content-Digest": digest, "Location": f"/v2/{call.name}/blobs/{digest}"})


@asynccontextmanager
async def _resumed(call: Call, upload_id: str) -> AsyncIterator[Ingest]:
    """The upload, to append to; it stays for the next request unless it is finished inside."""
    uploads = call.storage.uploads
    async with call.locks.hold(upload_id):
        ingest = await offload(uploads.resume, call.name, upload_id, undo=Ingest.close)
        try:
            yield ingest
        finally:
            if ingest.is_open:
                await offload(uploads.leave, upload_id, ingest)


def _check_chunk(call: Call, upload_id: str, size: int) -> None:
    """The request's chunk goes on where the upload is.

    Raises:
        Fault: RANGE_INVALID with what is there; BLOB_UPLOAD_INVALID, SIZE_INVALID: the chunk is none.
    """
    header = call.request.headers.get("Content-Range", "")
    if not header:
        return
    first, end = parse_chunk(header)
    length = call.request.content_length
    if length is not None and length != end - first:
        message = f"the chunk {header[:80]} has {length} bytes"
        raise Fault("SIZE_INVALID", message)
    if first != size:
        message = f"the chunk begins at {first}, and {size} bytes of the upload {upload_id} are here"
        headers = _upload_headers(call, upload_id, size)
        raise Fault("RANGE_INVALID", message, headers=headers, hint=f"go on at {size}")


async def append_chunk(call: Call) -> web.StreamResponse:
    """The body is at the upload's end."""
    upload_id = call.reference
    async with _resumed(call, upload_id) as ingest:
        _check_chunk(call, upload_id, ingest.size)
        await call.receive(ingest.append)
        size = ingest.size
    return reply(202, _upload_headers(call, upload_id, size))


async def finish_upload(call: Call) -> web.StreamResponse:
    """The body is at the upload's end, and the repository has the blob."""
    digest = call.parameter("digest")
    if not digest:
        raise Fault("DIGEST_INVALID", "an upload ends with ?digest=, what it has to be")
    check_digest_of_path(digest)
    return await _receive_last(call, call.reference, digest)


async def _receive_last(call: Call, upload_id: str, digest: str) -> web.StreamResponse:
    async with _resumed(call, upload_id) as ingest:
        _check_chunk(call, upload_id, ingest.size)
        if not ingest.size:
            ingest.rehash(algorithm_of(digest))
        await call.receive(ingest.append)
        await offload(call.storage.uploads.finish, call.name, upload_id, ingest, digest)
    return _created(call, digest)


async def get_upload(call: Call) -> web.StreamResponse:
    """How much of the upload is there."""
    size = await asyncio.to_thread(call.storage.uploads.get_size, call.name, call.reference)
    return reply(204, _upload_headers(call, call.reference, size))


async def cancel_upload(call: Call) -> web.StreamResponse:
    """The upload is gone."""
    async with call.locks.hold(call.reference):
        await asyncio.to_thread(call.storage.uploads.cancel, call.name, call.reference)
    return reply(204)
