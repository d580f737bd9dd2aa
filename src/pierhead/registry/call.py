"""One request and what it needs: the place in its path, who asks, the registry that it was sent to."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager

from pierhead.images.remote.tasks import offload
from pierhead.registry.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from pierhead.registry.cache import Cache
    from pierhead.registry.names import Place
    from pierhead.registry.settings import Settings
    from pierhead.registry.storage import Storage

_BLOCK_BYTES = 1 << 19
"""What is hashed and written at once: large enough for a thread's while, small enough for many clients."""


class UploadLocks:
    """One request at a time for each upload: a client that comes back waits for what it left to end."""

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._users: defaultdict[str, int] = defaultdict(int)

    @asynccontextmanager
    async def hold(self, upload_id: str) -> AsyncIterator[None]:
        """Nobody else has the upload inside."""
        self._users[upload_id] += 1
        try:
            async with self._locks[upload_id]:
                yield
        finally:
            self._users[upload_id] -= 1
            if not self._users[upload_id]:
                del self._users[upload_id], self._locks[upload_id]


class Call:
    """A request on its way through the registry."""

    def __init__(
        self,
        request: web.BaseRequest,
        place: Place,
        storage: Storage,
        settings: Settings,
        locks: UploadLocks,
        may: Callable[[str, str], bool],
        cache: Cache | None = None,
    ) -> None:
        """``may`` says whether who asks may do an action (pull, push, delete) to a repository; ``cache`` is
        there where the repository is an upstream's.
        """
        self.request = request
        self.name = place.name
        self.reference = place.reference
        self.storage = storage
        self.settings = settings
        self.locks = locks
        self.may = may
        self.cache = cache

    def parameter(self, name: str) -> str:
        """A parameter of the query; "" if it is not there."""
        return self.request.query.get(name, "")

    async def receive(self, take: Callable[[bytes], None]) -> None:
        """``take`` was called with all of the request's body, in order, block by block, in threads.

        What came before the client went away was taken too.

        Raises:
            ConnectionError: it went away.
            Fault: it sent nothing for too long.
        """
        await _receive(self.request, take, self.settings.idle_s)

    async def receive_document(self, limit_bytes: int) -> bytes:
        """The request's body, whole.

        Raises:
            Fault: it is larger than the limit.
        """
        message = f"a manifest of more than {limit_bytes} bytes is not taken"
        too_large = Fault("MANIFEST_INVALID", message, status=413)
        return await receive_whole(self.request, limit_bytes, self.settings.idle_s, too_large)


async def receive_whole(request: web.BaseRequest, limit_bytes: int, idle_s: float, too_large: Fault) -> bytes:
    """The request's body.

    Args:
        request: it.
        limit_bytes: how much of it is taken.
        idle_s: how long the client may send nothing.
        too_large: raised if there is more.

    Raises:
        ConnectionError: the client went away.
        Fault: it sent nothing for too long.
    """
    parts: list[bytes] = []
    size = 0

    def take(block: bytes) -> None:
        nonlocal size
        size += len(block)
        if size > limit_bytes:
            raise too_large
        parts.append(block)

    await _receive(request, take, idle_s)
    return b"".join(parts)


async def _receive(request: web.BaseRequest, take: Callable[[bytes], None], idle_s: float) -> None:
    """See ``Call.receive``."""
    await _say_continue(request)
    content = request.content
    parts: list[bytes] = []
    size = 0
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_s) as patience:
            while part := await content.readany():
                parts.append(part)
                size += len(part)
                if size >= _BLOCK_BYTES:
                    block, parts, size = b"".join(parts), [], 0
                    patience.reschedule(None)
                    await offload(take, block)
                patience.reschedule(loop.time() + idle_s)
    except TimeoutError:
        message = f"nothing came for {idle_s:g} s"
        raise Fault("BLOB_UPLOAD_INVALID", message, status=408) from None
    finally:
        if parts:
            await offload(take, b"".join(parts))


async def _say_continue(request: web.BaseRequest) -> None:
    """The client that waits for it is told to send (RFC 9110 section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
