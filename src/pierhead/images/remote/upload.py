"""One content from the store into a repository: known there, mounted, or sent.

    HEAD            it is there
    POST ?mount     the registry has it in another repository: nothing is sent
    POST, PUT       sent whole, read from its file as it goes
    POST, PATCH …, PUT     in chunks, where that is asked for, or after a failure in the middle:
    GET             how much has come there; it goes on from where that ends

Source: distribution-spec, "Pushing Blobs".
"""

from __future__ import annotations

import asyncio
import os
import re
import urllib.parse

from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError
from pierhead.images.remote.connection import Request, retryable
from pierhead.images.remote.progress import Progress
from pierhead.images.remote.refusals import describe_endpoint
from pierhead.images.remote.tasks import offload
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pierhead.images.content import ContentStore
    from pierhead.images.remote.client import Repository
    from pierhead.images.remote.connection import Answer
    from pierhead.oci.image import Descriptor

_BLOCK_BYTES = 1 << 20
_SOURCES_MAX = 3
_RANGE = re.compile(r"(?:bytes=)?(\d+)-(\d+)")
_OUT_OF_ORDER = "out-of-order"


class UploadSettings(Value):
    """How contents are sent.

    Fields:
        contents_at_once: side by side.
        chunk_bytes: of one PATCH; 0 sends a content whole, which every registry takes.
        failures_max: of one content, after which it is given up.
    """

    contents_at_once: int = 4
    chunk_bytes: int = 0
    failures_max: int = 5


class _Upload(Value):
    """An upload that a registry has opened: where it is, what has come there, and its least chunk."""

    url: str
    done_bytes: int = 0
    chunk_bytes_min: int = 0


class Uploads:
    """What the uploads of one transfer share."""

    def __init__(
        self,
        store: ContentStore,
        repository: Repository,
        *,
        settings: UploadSettings | None = None,
        progress: Progress | None = None,
        sources: Callable[[str], tuple[str, ...]] | None = None,
    ) -> None:
        """``sources`` tells repositories ("docker.io/library/busybox") that have, or had, a content."""
        self._store = store
        self._repository = repository
        self._settings = settings or UploadSettings()
        self._progress = progress or Progress()
        self._sources = sources or (lambda _: ())
        self._contents = asyncio.Semaphore(self._settings.contents_at_once)

    async def send(self, content: Descriptor) -> None:
        """The content is in the repository.

        Raises:
            NotFound: it is not in the store.
            PierheadError: the registry does not take it.
        """
        self._progress.waiting(content)
        async with self._contents:
            if await self._repository.find_blob_size(content.digest) is not None:
                self._progress.exists(content)
                return
            if await offload(self._store.find_size, content.digest) != content.size:
                message = f"the content {content.digest} is neither here, whole, nor in {self._repository}"
                raise NotFound(message, code="incomplete-image", hint="pull the image anew")
            upload, source = await self._mount(content)
            if source:
                self._progress.mounted(content, source)
            else:
                await self._send(content, upload or await self._start(content))
        self._progress.complete(content)

    # Opening

    async def _mount(self, content: Descriptor) -> tuple[_Upload | None, str]:
        """The repository from which it was mounted, or an upload that the registry has opened instead."""
        repository = self._repository
        upload = None
        paths = [
            path
            for domain, _, path in (name.partition("/") for name in self._sources(content.digest))
            if domain == repository.domain and path not in ("", repository.path)
        ]
        for path in paths[:_SOURCES_MAX]:
            request = self._request(content, "POST", "blobs/uploads/")
            query = urllib.parse.urlencode({"mount": content.digest, "from": path})
            scopes = (*request.scopes, f"repository:{path}:pull")
            mounting = request.replace(
                path=f"{request.path}?{query}", scopes=scopes, accepts=(201, 202, 400, 403, 404, 405)
            )
            try:
                answer = await repository.client.connection.perform(repository.origin, mounting)
            except PierheadError:  # no right to read there, say: then it is sent
                continue
            if answer.status == 201:
                return None, path
            if answer.status == 202 and upload is None:
                upload = self._opened(mounting, answer)
        return upload, ""

    async def _start(self, content: Descriptor) -> _Upload:
        request = self._request(content, "POST", "blobs/uploads/").replace(accepts=(202,))
        answer = await self._repository.client.connection.perform(self._repository.origin, request)
        return self._opened(request, answer)

    def _opened(self, request: Request, answer: Answer) -> _Upload:
        least = answer.headers.get("oci-chunk-min-length", "")
        url = _location(answer)
        if not url:
            who = describe_endpoint(self._repository.origin)
            raise InvalidInput(f"{who} did not {request.about}: it does not say where to", code="no-location")
        return _Upload(url=url, chunk_bytes_min=int(least) if least.isdecimal() else 0)

    def _request(self, content: Descriptor, method: str, rest: str) -> Request:
        repository = self._repository
        about = f"take the content {content.digest}"
        return repository.request(repository.origin, method, rest, about, write=True)

    # Sending

    async def _send(self, content: Descriptor, upload: _Upload) -> None:
        failures = 0
        while True:
            try:
                upload = await self._send_chunks(content, upload)
                await self._finish(content, upload)
            except PierheadError as error:
                failures += 1
                if failures >= self._settings.failures_max or not (
                    retryable(error) or error.code == _OUT_OF_ORDER
                ):
                    raise
                self._progress.retrying(content, error.message)
                await self._repository.client.connection.pause(failures)
                upload = await self._resume(content, upload) or await self._start(content)
            else:
                return

    async def _send_chunks(self, content: Descriptor, upload: _Upload) -> _Upload:
        """All has come there, if it goes by chunks, or by now has to."""
        step = max(self._settings.chunk_bytes, upload.chunk_bytes_min) if self._settings.chunk_bytes else 0
        while content.size > upload.done_bytes and (step or upload.done_bytes):
            start = upload.done_bytes
            end = min(content.size, start + step) if step else content.size
            request = self._sending(content, "PATCH", upload.url, start, end)
            request = request.replace(
                headers=(*request.headers, ("Content-Range", f"{start}-{end - 1}")), accepts=(202, 204, 416)
            )
            answer = await self._repository.client.connection.perform(self._repository.origin, request)
            if answer.status == 416:
                who = describe_endpoint(self._repository.origin)
                message = f"{who} did not {request.about}: other bytes are to come first"
                raise Conflict(message, code=_OUT_OF_ORDER)
            upload = upload.replace(url=_location(answer) or upload.url, done_bytes=end)
        return upload

    async def _finish(self, content: Descriptor, upload: _Upload) -> None:
        """The upload is the content; what has not come there is sent along."""
        mark = "&" if "?" in upload.url else "?"
        url = f"{upload.url}{mark}digest={urllib.parse.quote(content.digest, safe='')}"
        request = self._sending(content, "PUT", url, upload.done_bytes, content.size)
        request = request.replace(accepts=(201, 204))
        await self._repository.client.connection.perform(self._repository.origin, request)

    def _sending(self, content: Descriptor, method: str, url: str, start: int, end: int) -> Request:
        headers = (("Content-Type", "application/octet-stream"), ("Content-Length", str(end - start)))
        request = self._request(content, method, "").replace(path=url, headers=headers, repeats=False)
        if start == end:
            return request
        return request.replace(body=lambda: self._read(content, start, end))

    async def _read(self, content: Descriptor, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from start to end; whoever stops reading gives the file back."""
        fd = await offload(self._store.open, content.digest, undo=os.close)
        try:
            while start < end:
                block = await offload(os.pread, fd, min(_BLOCK_BYTES, end - start), start)
                if not block:
                    raise NotFound(f"the content {content.digest} has become shorter", code="damaged-content")
                yield block
                start += len(block)
                self._progress.uploading(content, start)
        finally:
            os.close(fd)

    async def _resume(self, content: Descriptor, upload: _Upload) -> _Upload | None:
        """The upload as the registry has it; None if it has it no more."""
        request = self._request(content, "GET", "").replace(
            path=upload.url, accepts=(200, 204, 400, 404, 405), repeats=False
        )
        try:
            answer = await self._repository.client.connection.perform(self._repository.origin, request)
        except PierheadError:
            return None
        match = _RANGE.fullmatch(answer.headers.get("range", ""))
        if answer.status not in (200, 204) or match is None:
            return None
        last = int(match[2])  # Docker's registry says 0-0 of nothing
        if last >= content.size:
            return None
        return upload.replace(url=_location(answer) or upload.url, done_bytes=last + 1 if last else 0)


def _location(answer: Answer) -> str:
    location = answer.headers.get("location", "")
    return urllib.parse.urljoin(answer.url, location) if location else ""
