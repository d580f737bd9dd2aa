"""Repositories that are copies of another registry's: what is missing is fetched when it is asked for.

A digest never changes its meaning, so what is here is not asked for again.  What a tag means is asked of the
upstream again after a while; if that does not answer, the old meaning is better than none.  Clients that
want the same blob at the same time share one download.  What is evicted (``evict``) is fetched again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from pierhead.digests import is_digest
from pierhead.errors import InvalidInput, NotFound, PierheadError
from pierhead.images.remote.client import Client, Repository
from pierhead.images.remote.hosts import Endpoint, Hosts
from pierhead.registry.call import UploadLocks
from pierhead.registry.download import Download
from pierhead.registry.faults import Fault
from pierhead.registry.names import is_name
from pierhead.registry.storage import ManifestRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from pierhead.images.remote.connection import Connection
    from pierhead.oci.image import Descriptor
    from pierhead.registry.metrics import Metrics
    from pierhead.registry.settings import Settings, Upstream
    from pierhead.registry.storage import Storage

_log = logging.getLogger(__name__)

_CHECKED_MOST = 10_000


def find_upstream(upstreams: tuple[Upstream, ...], name: str) -> tuple[Upstream, str] | None:
    """The upstream of a repository, and what that is called there; None: the repository is our own.

    The longest prefix counts, and a prefix ends where a part of the name does.
    """
    fitting = [
        each for each in upstreams if not each.prefix or name.startswith(f"{each.prefix.rstrip('/')}/")
    ]
    if not fitting:
        return None
    found = max(fitting, key=lambda each: len(each.prefix))
    rest = name if found.keep_prefix or not found.prefix else name[len(found.prefix.rstrip("/")) + 1 :]
    return found, rest


def parse_upstream(url: str, ca_path: str = "") -> Endpoint:
    """How the server of the URL is spoken to; ``ca_path`` has further authorities that vouch for it.

    Raises:
        InvalidInput: it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or "@" in parts.netloc:
        hint = "an upstream is https://HOST[:PORT][/PATH]; credentials come from a file"
        raise InvalidInput(f"{url[:200]!r} is not an upstream", code="invalid-settings", hint=hint)
    prefix = parts.path.strip("/")
    if prefix and not is_name(prefix):
        raise InvalidInput(f"{url[:200]!r}: {prefix!r} is no name for repositories", code="invalid-settings")
    address = parts.netloc
    return Endpoint(
        registry=address, address=address, schemes=(parts.scheme,), prefix=prefix, ca_path=ca_path
    )


class Cache:
    """The upstreams of one registry.  A context manager: downloads end with it, and go on with the next."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        connection: Connection,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """What is given stays the caller's; ``clock`` gives seconds that only grow.

        Raises:
            InvalidInput: an upstream's URL is none.
        """
        self._storage = storage
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self.grown = asyncio.Event()
        """Set when more came from an upstream; whoever waits for it clears it."""
        self._clients = {}
        for each in settings.upstreams:
            endpoint = parse_upstream(each.url, settings.upstream_ca)
            self._clients[each] = (
                Client(connection, Hosts({endpoint.registry: (endpoint,)})),
                endpoint.registry,
            )
        self._checked: dict[tuple[str, str], float] = {}
        self._locks = UploadLocks()
        self._downloads: dict[str, Download] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def covers(self, name: str) -> bool:
        """Whether the repository is a copy of an upstream's."""
        return find_upstream(self._settings.upstreams, name) is not None

    def _repository(self, name: str) -> Repository:
        found = find_upstream(self._settings.upstreams, name)
        assert found is not None, "asked for a repository that is our own"
        upstream, rest = found
        client, domain = self._clients[upstream]
        return Repository(client, domain, rest)

    # Manifests

    async def get_manifest(self, name: str, reference: str) -> ManifestRecord:
        """The manifest, from here or from the upstream.

        Raises:
            Fault: MANIFEST_UNKNOWN: neither has it; UNKNOWN: the upstream does not answer.
        """
        async with self._locks.hold(f"{name}:{reference}"):
            if is_digest(reference):
                wanted = reference
            else:
                wanted = await self._resolve(name, reference)
            try:
                record = await asyncio.to_thread(self._storage.get_manifest, name, wanted)
            except Fault:
                record = await self._fetch_manifest(name, wanted)
            else:
                await asyncio.to_thread(self._storage.use_manifest, name, wanted)
            if wanted != reference:
                await asyncio.to_thread(self._storage.set_tag, name, reference, wanted)
            return record

    async def _resolve(self, name: str, tag: str) -> str:
        """What the tag means, here if that was asked a short while ago."""
        here = await asyncio.to_thread(self._storage.index.find_tag, name, tag)
        now_s = self._clock()
        if here and now_s - self._checked.get((name, tag), -1e9) < self._settings.upstream_fresh_s:
            return here
        try:
            found = (await self._repository(name).resolve(tag)).descriptor.digest
        except NotFound:
            raise Fault("MANIFEST_UNKNOWN", f"the upstream of {name} has no manifest {tag[:160]}") from None
        except PierheadError as error:
            if not here:
                raise _upstream_failed(error) from error
            found = here  # and it is not asked at every turn while it is away
        if len(self._checked) >= _CHECKED_MOST:
            self._checked.clear()
        self._checked[name, tag] = now_s
        return found

    async def _fetch_manifest(self, name: str, digest: str) -> ManifestRecord:
        try:
            received = await self._repository(name).get_manifest(digest)
        except NotFound:
            raise Fault("MANIFEST_UNKNOWN", f"the upstream of {name} has no manifest {digest}") from None
        except PierheadError as error:
            raise _upstream_failed(error) from error
        await asyncio.to_thread(
            self._storage.put_manifest,
            name,
            received.raw,
            content_type=received.descriptor.media_type,
            digest=digest,
            copied=True,
        )
        self._metrics.count("upstream_manifests")
        self.grown.set()
        return ManifestRecord(digest=digest, media_type=received.descriptor.media_type, raw=received.raw)

    # Blobs

    async def find_blob_size(self, name: str, digest: str) -> int | None:
        """The size in bytes of a blob that the upstream has.

        Raises:
            Fault: UNKNOWN: it does not answer.
        """
        try:
            return await self._repository(name).find_blob_size(digest)
        except PierheadError as error:
            raise _upstream_failed(error) from error

    @asynccontextmanager
    async def blob(self, name: str, digest: str) -> AsyncIterator[Download | None]:
        """The blob's download, begun, and held inside; None: the blob is here now.

        Raises:
            Fault: BLOB_UNKNOWN: the upstream has none; UNKNOWN: it does not answer.
        """
        download = self._find_download(digest)
        if download is None or name not in download.names:
            await self._check_right(name, digest)
            owners = await asyncio.to_thread(self._storage.index.repositories_of_blob, digest)
            if await asyncio.to_thread(self._mount, name, digest, owners):
                yield None
                return
            download = self._find_download(digest) or self._begin(name, digest)
        download.names.add(name)
        with download.held():
            try:
                await download.started()
            except NotFound:
                raise Fault("BLOB_UNKNOWN", f"the upstream of {name} has no blob {digest}") from None
            except PierheadError as error:
                raise _upstream_failed(error) from error
            yield download

    def _find_download(self, digest: str) -> Download | None:
        found = self._downloads.get(digest)
        return None if found is None or found.has_ended else found

    async def _check_right(self, name: str, digest: str) -> None:
        """The upstream has the blob in this repository: that another has it here is no reason to give it."""
        if await self.find_blob_size(name, digest) is None:
            raise Fault("BLOB_UNKNOWN", f"the upstream of {name} has no blob {digest}")

    def _mount(self, name: str, digest: str, owners: list[str]) -> bool:
        return self._storage.mount(name, digest, owners, copied=True)

    def _begin(self, name: str, digest: str) -> Download:
        download = Download(self._storage, self._repository(name), digest, name)
        self._downloads[digest] = download
        task = self._tasks.create_task(download.run())
        self._running.add(task)

        def end(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            if download.is_here:
                self._metrics.count("upstream_blobs")
                self._metrics.count("upstream_bytes", download.size)
                self.grown.set()
            if self._downloads.get(digest) is download:
                del self._downloads[digest]

        task.add_done_callback(end)
        return download

    # Lists

    async def tags(self, name: str) -> list[str] | None:
        """The upstream's tags in their order; None if it does not answer."""
        try:
            return sorted([tag async for tag in self._repository(name).tags()])
        except NotFound:
            raise Fault("NAME_UNKNOWN", f"the upstream has no repository {name}") from None
        except PierheadError:
            return None

    async def referrers(self, name: str, subject: str) -> tuple[Descriptor, ...] | None:
        """What refers to the subject at the upstream; None if it does not answer."""
        try:
            return await self._repository(name).referrers(subject)
        except PierheadError:
            return None


def _upstream_failed(error: PierheadError) -> Fault:
    """Its trouble is not the client's mistake."""
    _log.warning("an upstream failed: %s", error.message)
    status = error.status if error.status in (429, 503, 504) else 502
    return Fault("UNKNOWN", error.message, status=status, hint=error.hint)
