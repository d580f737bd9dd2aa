"""A blob on its way from an upstream: one download, read by any number of clients while it comes.

    upstream ──▶ part of the store ──▶ digest verified ──▶ blob of the repositories
                   └──▶ clients, who are given the last byte only when the digest is right

A download goes on when its clients leave, and begins where an earlier one was broken off.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import contextmanager

from pierhead.errors import PierheadError, Unavailable
from pierhead.images.content import Ingest
from pierhead.images.remote.connection import FAILURES
from pierhead.images.remote.tasks import offload
from pierhead.registry.evict import hold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import ClientResponse

    from pierhead.images.remote.client import Repository
    from pierhead.registry.storage import Storage

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 1 << 19
_READ_BYTES = 1 << 18
_FAILURES_MOST = 5


class Download:
    """One blob's download."""

    def __init__(self, storage: Storage, repository: Repository, digest: str, name: str) -> None:
        """``name`` is the repository here that gets the blob."""
        self.names = {name}
        self.size = -1
        """In bytes, as the upstream says; negative until it has answered."""
        self._storage = storage
        self._repository = repository
        self._digest = digest
        self._have = 0
        self._fd = -1
        self._error: PierheadError | None = None
        self._done = False
        self._ended = False
        self._users = 0
        self._moved = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more becomes of it: the blob belongs to all of ``names``, or it has failed."""
        return self._ended

    @property
    def is_here(self) -> bool:
        """Whether the blob is in the store now."""
        return self._done

    @contextmanager
    def held(self) -> Iterator[None]:
        """What has come can be read inside, also after the end."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._ended and not self._users and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _tell(self) -> None:
        """Whoever waits looks again."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def started(self) -> None:
        """The size is known.

        Raises:
            PierheadError: the upstream does not give the blob.
        """
        while self.size < 0 and not self._error:
            await self._moved.wait()
        if self._error:
            raise self._error

    async def read(self, first: int, end: int) -> AsyncIterator[bytes]:
        """The bytes of this range, as they come; while the download is held.

        Raises:
            ConnectionError: the download failed; what was given is not to be used.
        """
        while first < end:
            moved = self._moved  # the one of before we look: what comes meanwhile is not missed
            if self._error:
                raise ConnectionAbortedError(self._error.message)
            there = min(end, self._have if self._done else min(self._have, self.size - 1))
            if first >= there:
                await moved.wait()
                continue
            block = await offload(os.pread, self._fd, min(_READ_BYTES, there - first), first)
            if block:
                first += len(block)
                yield block
            elif not self._error:  # it has begun anew, from a server that knows no ranges
                await moved.wait()

    async def run(self) -> None:
        """The blob is here, or the clients know why not."""
        ingest: Ingest | None = None
        try:
            ingest = await offload(self._storage.content.ingest, self._digest, undo=Ingest.close)
            await self._fetch(ingest)
            owners = frozenset(self.names)
            await offload(self._commit, ingest, owners)
            while late := frozenset(self.names) - owners:
                await offload(self._share, late)
                owners |= late
            # Nobody comes in between: whoever looks for a download now finds that it has ended.
            self._done = self._ended = True
        except PierheadError as error:
            _log.warning("the copy of %s in %s failed: %s", self._digest, self._repository, error.message)
            self._error = error
        finally:
            if not self._done and self._error is None:  # cancelled
                self._error = Unavailable(f"the download of {self._digest} was given up")
            self._ended = True
            self._tell()
            self._close_if_unused()
            if ingest is not None:
                ingest.close()

    async def _fetch(self, ingest: Ingest) -> None:
        """All that the upstream says there is has come."""
        failures = 0
        while self.size < 0 or ingest.size < self.size:
            before = ingest.size
            endpoint = self._repository.origin
            about = f"give the content {self._digest}"
            request = self._repository.request(endpoint, "GET", f"blobs/{self._digest}", about)
            request = request.replace(accepts=(200, 206))
            if ingest.size:
                request = request.replace(headers=(("Range", f"bytes={ingest.size}-"),))
            connection = self._repository.client.connection
            try:
                async with connection.stream(endpoint, request) as response:
                    await self._take(ingest, response)
            except FAILURES as error:
                failures = failures + 1 if ingest.size == before else 1
                if failures >= _FAILURES_MOST:
                    message = f"{endpoint.address} breaks off when it is to {about}"
                    raise Unavailable(message, code="upstream-broken") from error
                await connection.pause(failures)

    async def _take(self, ingest: Ingest, response: ClientResponse) -> None:
        if response.status == 200 and ingest.size:  # it knows no ranges: from the beginning
            await offload(ingest.rewind)
            self._have = 0
        length = response.content_length
        if length is None:
            raise Unavailable(
                f"the upstream does not say how large {self._digest} is", code="upstream-broken"
            )
        self.size = ingest.size + length
        self._have = ingest.size
        if self._fd < 0:
            self._fd = ingest.open_reader()
            hold(self._fd)
        self._tell()
        parts: list[bytes] = []
        waiting = 0
        while True:
            part = await response.content.readany()
            parts.append(part)
            waiting += len(part)
            if waiting >= _BLOCK_BYTES or (not part and waiting):
                block, parts, waiting = b"".join(parts), [], 0
                await offload(ingest.append, block)
                self._have = ingest.size
                self._tell()
            if not part:
                return

    def _share(self, names: frozenset[str]) -> None:
        """More repositories have the blob."""
        with self._storage.index.change() as change:
            for name in names:
                change.add_blob(name, self._digest, self.size, copied=True)

    def _commit(self, ingest: Ingest, names: frozenset[str]) -> None:
        """In one change, as all contents appear (``collect``)."""
        ingest.flush()
        with self._storage.index.change() as change:
            ingest.commit(size=self.size)
            for name in names:
                change.add_blob(name, self._digest, self.size, copied=True)
