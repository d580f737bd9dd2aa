"""One content from a registry into the store: in ranges, over failures, from where it was left.

    claim ─▶ what a former fetch left counts ─▶ one stream, or ranges side by side ─▶ size, digest ─▶ there

A server that gives the beginning quickly gives the rest in one stream: ranges would not be quicker.  A part
only grows at its end, so ranges that come early wait in memory for their turn; all downloads of a transfer
share the places for them, and one that fails is gone on with while the others wait.  What comes is cut where
the content has to end, and gone on with where it broke off.  If the digest is wrong and some of it was here
before, all of it is fetched once more.
"""

from __future__ import annotations

import asyncio
import collections
import re

from pierhead.errors import InvalidInput, PierheadError, Unavailable
from pierhead.images.remote.connection import FAILURES, Request, retryable
from pierhead.images.remote.progress import Arrivals, Progress
from pierhead.images.remote.refusals import describe_endpoint, failure
from pierhead.images.remote.tasks import offload, parallel
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import ClientResponse

    from pierhead.images.content import ContentStore, Ingest
    from pierhead.images.remote.client import Repository
    from pierhead.images.remote.hosts import Endpoint
    from pierhead.oci.image import Descriptor

_BLOCK_BYTES = 1 << 20
_LOOK_S = (0.02, 0.5)
"""How soon to look again whether somebody else has finished, first and at most.  A lock of flock(2) tells
nobody when it is free, and a thread that waits for it could not be called back.
"""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class DownloadSettings(Value):
    """How contents are fetched.

    Fields:
        layers_at_once: contents that are fetched side by side.
        ranges_above_bytes: contents with more left than this are asked for in ranges.
        range_bytes: of one range.
        ranges_per_content: asked for side by side.
        ranges_at_once: places for ranges in memory, for all contents together.
        quick_bytes_per_s: a server that gives the first range so quickly is asked for the rest at once.
        failures_in_a_row: without a single byte in between, after which a server is given up.
    """

    layers_at_once: int = 4
    ranges_above_bytes: int = 8 << 20
    range_bytes: int = 4 << 20
    ranges_per_content: int = 3
    ranges_at_once: int = 8
    quick_bytes_per_s: int = 48 << 20
    failures_in_a_row: int = 5


class Downloads:
    """What the downloads of one transfer share."""

    def __init__(
        self,
        store: ContentStore,
        repository: Repository,
        *,
        settings: DownloadSettings | None = None,
        progress: Progress | None = None,
        arrivals: Arrivals | None = None,
        pin: Callable[[str], object] | None = None,
    ) -> None:
        """``pin`` is called with a digest before anybody asks whether the content is there."""
        self.store = store
        self.repository = repository
        self.settings = settings or DownloadSettings()
        self.progress = progress or Progress()
        self.arrivals = arrivals or Arrivals()
        self._pin = pin or (lambda _: None)
        self._contents = asyncio.Semaphore(self.settings.layers_at_once)
        self.places = _Places(self.settings.ranges_at_once, self.settings.range_bytes)

    def pin(self, digest: str) -> None:
        """The content will not be removed while we need it."""
        self._pin(digest)

    async def has(self, content: Descriptor) -> bool:
        """Whether the content is in the store.

        Raises:
            InvalidInput: it is, and has not the size that the descriptor says.
        """
        size = await offload(self.store.find_size, content.digest)
        if size not in (None, content.size):
            message = (
                f"the content {content.digest} has {size} bytes, and {self.repository} says {content.size}"
            )
            raise InvalidInput(message, code="wrong-size")
        return size is not None

    async def fetch(self, content: Descriptor) -> None:
        """The content is in the store, whole and verified.

        Raises:
            PierheadError: nobody gives it as it has to be, or it cannot be written.
        """
        self.pin(content.digest)
        if await self.has(content):
            self.progress.exists(content)
            return
        self.progress.waiting(content)
        async with self._contents:
            ingest = await self._claim(content)
            if ingest is None:
                self.progress.exists(content)
                return
            try:
                await _Download(self, content, ingest).run()
            finally:
                await offload(ingest.close)
        self.progress.complete(content)

    async def _claim(self, content: Descriptor) -> Ingest | None:
        """The only right to write the content; None if somebody else has finished it meanwhile."""
        look_s = _LOOK_S[0]
        while True:
            ingest = await offload(self.store.find_ingest, content.digest, undo=_close)
            if ingest is not None:
                if not await self._is_finished(content, ingest):
                    return ingest
                return None
            await asyncio.sleep(look_s)
            look_s = min(2 * look_s, _LOOK_S[1])

    async def _is_finished(self, content: Descriptor, ingest: Ingest) -> bool:
        finished = True
        try:
            finished = await self.has(content)
        finally:
            if finished:
                await offload(ingest.close)
        return finished


class _Places:
    """Memory for ranges, used again and again: fresh memory costs as much as what comes into it."""

    def __init__(self, count: int, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._free = asyncio.Semaphore(count)
        self._used: list[bytearray] = []

    async def take(self) -> bytearray:
        """A place, the caller's until it gives it back."""
        await self._free.acquire()
        return self._used.pop() if self._used else bytearray(self._size_bytes)

    def give(self, place: bytearray) -> None:
        """The place is free again."""
        self._used.append(place)
        self._free.release()


def _close(ingest: Ingest | None) -> None:
    if ingest is not None:
        ingest.close()


class _Source(Value):
    """One place that may have the content."""

    endpoint: Endpoint
    request: Request


class _Download:
    """The download of one content."""

    def __init__(self, downloads: Downloads, content: Descriptor, ingest: Ingest) -> None:
        self._downloads = downloads
        self._settings = downloads.settings
        self._content = content
        self._ingest = ingest
        self._rewound = False

    async def run(self) -> None:
        """The content is in the store."""
        content, ingest = self._content, self._ingest
        if ingest.size > content.size:
            await offload(ingest.rewind)
        kept_bytes = ingest.size
        self._downloads.arrivals.begun(content, ingest.open_reader)
        self._downloads.arrivals.grown(content, ingest.size)
        sources = self._sources()
        while True:
            givers = await self._fill(sources)
            self._downloads.progress.verifying(content)
            try:
                await offload(lambda: ingest.commit(size=content.size))
            except InvalidInput as error:
                self._downloads.arrivals.grown(content, ingest.size)
                if error.code != "wrong-digest" or not (kept_bytes or givers):
                    raise
                reason = "what was here from before is not part of it"
                if not kept_bytes:
                    sources = [each for each in sources if each not in givers]
                    wrong = _wrong(givers[-1], error.message, code="wrong-digest")
                    if not sources:
                        raise wrong from None
                    reason = wrong.message
                self._downloads.progress.retrying(content, reason)
                kept_bytes = 0
            else:
                return

    def _sources(self) -> list[_Source]:
        """Where the content may be: elsewhere, if it may not be in registries; mirrors; the registry."""
        repository, content = self._downloads.repository, self._content
        about = f"give the content {content.digest}"
        found = [
            _Source(
                endpoint=repository.origin,
                request=Request(
                    method="GET",
                    path=url,
                    about=f"{about} of {repository.path} from {url[:200]}",
                    foreign=True,
                ),
            )
            for url in content.urls
            if url.startswith(("https://", "http://"))
        ]
        for endpoint in repository.sources():
            request = repository.request(endpoint, "GET", f"blobs/{content.digest}", about)
            found.append(_Source(endpoint=endpoint, request=request))
        awake = [
            each for each in found[:-1] if each.request.foreign or not repository.client.rests(each.endpoint)
        ]
        return [*awake, found[-1]]

    async def _fill(self, sources: list[_Source]) -> list[_Source]:
        """All bytes are in the part; returns who gave some of them.

        Args:
            sources: where to ask, in this order; those that do not give are taken out.

        Raises:
            PierheadError: nobody gives them; the last one's error, with notes of what the others said.
        """
        said: list[str] = []
        givers: list[_Source] = []
        failures = 0
        while self._ingest.size < self._content.size:
            source, before_bytes = sources[0], self._ingest.size
            try:
                await self._get(source)
            except PierheadError as error:
                if error.code in ("disk-full", "cannot-write"):
                    raise
                failures = failures + 1 if self._ingest.size == before_bytes else 1
                if self._is_last(source, error, failures):
                    sources.pop(0)
                    failures = 0
                    if not sources:
                        for message in said:
                            error.add_note(message)
                        raise
                    said.append(error.message)
                else:
                    await self._downloads.repository.client.connection.pause(failures)
                self._downloads.progress.retrying(self._content, error.message)
            finally:
                if self._ingest.size > before_bytes and source not in givers:
                    givers.append(source)
        return givers

    def _is_last(self, source: _Source, error: PierheadError, failures: int) -> bool:
        """Whether this error of the source is the last: others may have what it has not."""
        self._downloads.repository.client.note(source.endpoint, error)
        patient = retryable(error) and not source.endpoint.is_mirror
        return not patient or failures >= self._settings.failures_in_a_row

    async def _get(self, source: _Source) -> None:
        """More of the content is in the part: all of it, unless something fails."""
        start, size = self._ingest.size, self._content.size
        in_ranges = size - start > self._settings.ranges_above_bytes
        end = min(size, start + self._settings.range_bytes) if in_ranges else size
        request = source.request
        if start or in_ranges:
            request = _ranged(request, start, end).replace(accepts=(200, 206, 416))
        connection = self._downloads.repository.client.connection
        clock_s = asyncio.get_running_loop().time
        began_s = clock_s()
        async with connection.stream(source.endpoint, request) as response:
            if response.status == 416:
                await self._refuse_kept(source)
            if response.status == 206:
                _check_range(source, response, start, end, size)
                await self._append(source, response, skip=0, left=end - start)
            else:
                _check_length(source, response, size)
                await self._append(source, response, skip=start, left=size - start)
        if self._ingest.size == size:
            return
        if self._ingest.size - start > (clock_s() - began_s) * self._settings.quick_bytes_per_s:
            await self._append_rest(source)
        else:
            await self._append_ranges(source)

    async def _append_rest(self, source: _Source) -> None:
        """The rest is in the part, fetched in one stream."""
        start, size = self._ingest.size, self._content.size
        request = _ranged(source.request, start, size).replace(accepts=(206,))
        connection = self._downloads.repository.client.connection
        async with connection.stream(source.endpoint, request) as response:
            _check_range(source, response, start, size, size)
            await self._append(source, response, skip=0, left=size - start)

    async def _refuse_kept(self, source: _Source) -> None:
        """What the server has ends before what is here does: one of the two is something else."""
        reason = f"it has less than the {self._ingest.size} bytes that were here"
        error = _wrong(source, reason, code="wrong-size")
        if self._rewound:
            raise error
        self._rewound = True
        await offload(self._ingest.rewind)
        self._downloads.arrivals.grown(self._content, 0)
        raise Unavailable(error.message, code="registry-unavailable")

    async def _append(self, source: _Source, response: ClientResponse, *, skip: int, left: int) -> None:
        """What the stream gives is in the part: ``left`` bytes after the first ``skip``."""
        pieces: list[memoryview] = []
        waiting_bytes = 0
        try:
            async for piece in _pieces(source, response, skip + left):
                dropped = min(skip, len(piece))
                skip -= dropped
                pieces.append(memoryview(piece)[dropped:])
                waiting_bytes += len(piece) - dropped
                if waiting_bytes >= _BLOCK_BYTES:
                    full, pieces, waiting_bytes = pieces, [], 0
                    await self._write(full)
        finally:
            await self._write(pieces)

    async def _write(self, pieces: list[memoryview]) -> None:
        if not pieces:
            return

        def append() -> None:
            for piece in pieces:
                self._ingest.append(piece)

        await offload(append)
        self._downloads.arrivals.grown(self._content, self._ingest.size)
        self._downloads.progress.downloading(self._content, self._ingest.size)

    # Ranges side by side

    async def _append_ranges(self, source: _Source) -> None:
        """The rest is in the part, fetched in ranges; a failed one ends it, what came before stays."""
        size, step = self._content.size, self._settings.range_bytes
        starts = iter(range(self._ingest.size, size, step))
        window: collections.deque[asyncio.Task[_Range | PierheadError]] = collections.deque()
        async with parallel() as group:
            try:
                while True:
                    while len(window) < self._settings.ranges_per_content:
                        start = next(starts, size)
                        if start == size:
                            break
                        window.append(group.create_task(self._range(source, start, min(size, start + step))))
                    if not window:
                        return
                    fetched = await window.popleft()
                    if isinstance(fetched, PierheadError):
                        raise fetched
                    try:
                        await self._write([memoryview(fetched.place)[: fetched.size]])
                    finally:
                        self._downloads.places.give(fetched.place)
            finally:
                self._give_up(window)

    def _give_up(self, window: collections.deque[asyncio.Task[_Range | PierheadError]]) -> None:
        """Ranges that nobody waits for any more give their places back."""
        for task in window:
            task.cancel()
            task.add_done_callback(self._release)

    def _release(self, task: asyncio.Task[_Range | PierheadError]) -> None:
        if not task.cancelled() and task.exception() is None:
            found = task.result()
            if isinstance(found, _Range):
                self._downloads.places.give(found.place)

    async def _range(self, source: _Source, start: int, end: int) -> _Range | PierheadError:
        """The bytes from start to end, in a place in memory that is theirs; or what prevented it.

        Places are given in the order in which they were asked for, and every content asks in its order:
        the range whose turn it is never waits for one that comes after it.  So a range that breaks off is
        gone on with in its place, once.
        """
        found = _Range(await self._downloads.places.take())
        try:
            try:
                await self._fetch_range(source, start, end, found)
            except PierheadError as error:
                if not retryable(error) or source.endpoint.is_mirror:
                    raise
                self._downloads.progress.retrying(self._content, error.message)
                await self._downloads.repository.client.connection.pause(1)
                await self._fetch_range(source, start, end, found)
        except PierheadError as error:
            self._downloads.places.give(found.place)
            return error
        except BaseException:
            self._downloads.places.give(found.place)
            raise
        return found

    async def _fetch_range(self, source: _Source, start: int, end: int, found: _Range) -> None:
        """What the range has not yet of the bytes from start to end has come."""
        at = start + found.size
        request = _ranged(source.request, at, end).replace(accepts=(206,))
        connection = self._downloads.repository.client.connection
        async with connection.stream(source.endpoint, request) as response:
            _check_range(source, response, at, end, self._content.size)
            async for piece in _pieces(source, response, end - at):
                found.place[found.size : found.size + len(piece)] = piece
                found.size += len(piece)


class _Range:
    """Bytes of a content at the beginning of a place."""

    def __init__(self, place: bytearray) -> None:
        self.place = place
        self.size = 0


async def _pieces(source: _Source, response: ClientResponse, expected: int) -> AsyncIterator[bytes]:
    """The body, which is of this length.

    Raises:
        InvalidInput: it is longer.
        Unavailable: it broke off.
    """
    left = expected
    try:
        while left:
            piece, is_chunk_end = await response.content.readchunk()
            if not piece:
                if is_chunk_end:
                    continue
                break
            if len(piece) > left:
                raise _wrong(source, f"it goes on after {expected} bytes", code="wrong-size")
            left -= len(piece)
            yield piece
        if not left and await response.content.readany():
            raise _wrong(source, f"it goes on after {expected} bytes", code="wrong-size")
    except FAILURES as error:
        raise failure(source.endpoint, source.request.about, error) from error
    if left:
        short = _wrong(source, f"it ended {left} bytes early", code="")
        raise Unavailable(short.message, code="registry-unavailable")


def _ranged(request: Request, start: int, end: int) -> Request:
    return request.replace(headers=(*request.headers, ("Range", f"bytes={start}-{end - 1}")))


def _check_length(source: _Source, response: ClientResponse, size: int) -> None:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != size:
        raise _wrong(source, f"it has {length} bytes and was to have {size}", code="wrong-size")


def _check_range(source: _Source, response: ClientResponse, start: int, end: int, size: int) -> None:
    said = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(said)
    if match is None:
        raise _wrong(source, f"asked for a range it gives {said[:100]!r}", code="wrong-range")
    if match[3] not in ("*", str(size)):
        raise _wrong(source, f"it has {match[3]} bytes and was to have {size}", code="wrong-size")
    if int(match[1]) != start or int(match[2]) >= end:  # it may end earlier: then the rest is asked for
        raise _wrong(source, f"asked for {start}-{end - 1} it gives {said[:100]}", code="wrong-range")


def _wrong(source: _Source, reason: str, *, code: str) -> InvalidInput:
    return InvalidInput(
        f"{describe_endpoint(source.endpoint)} did not {source.request.about}: {reason}", code=code
    )
