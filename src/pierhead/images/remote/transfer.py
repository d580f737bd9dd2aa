"""Images from a registry into the store, and from the store to a registry.

    pull    name ─▶ index ─▶ manifests of the platforms ─▶ configuration ─▶ layers, side by side
    push    configuration and layers, side by side ─▶ manifests ─▶ index ─▶ name

What is a document's is kept as it came, byte by byte, and sent as it is kept: nothing is compressed anew.
"""

from __future__ import annotations

from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.platforms import find_rank, format_platform, host_platform, normalise, select
from pierhead.images.remote import schema1
from pierhead.images.remote.client import contradicts
from pierhead.images.remote.download import Downloads
from pierhead.images.remote.progress import Progress
from pierhead.images.remote.tasks import offload, parallel
from pierhead.images.remote.upload import Uploads
from pierhead.oci.image import (
    CONFIG_TYPES,
    DOCUMENT_BYTES_MAX,
    INDEX_TYPES,
    MANIFEST_TYPES,
    SCHEMA1_TYPES,
    Descriptor,
    Index,
    Manifest,
    decode_config,
    decode_index,
    decode_manifest,
    media_type_of,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.images.content import ContentStore
    from pierhead.images.reference import Reference
    from pierhead.images.remote.client import Client, Repository
    from pierhead.images.remote.download import DownloadSettings
    from pierhead.images.remote.progress import Arrivals
    from pierhead.images.remote.upload import UploadSettings
    from pierhead.oci.image import Platform

_DEPTH_MAX = 4
_MANIFESTS_AT_ONCE = 8
_DOCUMENTS_BYTES_MAX = 16 << 20
"""Of all manifests of one pull: they are in memory until its end."""
_CONFIG_BYTES_MAX = 16 << 20


class Pulled(Value):
    """An image that is in the store.

    Fields:
        reference: under which it was asked for.
        descriptor: what the name means: an index, kept whole, or a manifest.
        manifests: the images of it that are here with all that belongs to them.
        answered_by: the address of the server that said what the name means; "" if nobody had to be asked.
    """

    reference: Reference
    descriptor: Descriptor
    manifests: tuple[Descriptor, ...]
    answered_by: str


async def pull(
    client: Client,
    store: ContentStore,
    reference: Reference,
    *,
    platforms: tuple[Platform, ...] | None,
    settings: DownloadSettings | None = None,
    progress: Progress | None = None,
    arrivals: Arrivals | None = None,
    pin: Callable[[str], object] | None = None,
) -> Pulled:
    """The image is in the store: every document and layer that the platforms need.

    Args:
        client: to ask.
        store: where contents go; nothing here says that they are needed.
        reference: the image's name.
        platforms: what is wanted of an index, each of which must be there; None is all that there is.  () is
            this machine's, and of an image that is no index whatever it is for, as long as that is of this
            machine's system: who has the means runs another processor's programs (binfmt_misc).
        settings: how contents are fetched.
        progress: is told.
        arrivals: is told what it can go on with.
        pin: is called with each digest before anybody asks whether the content is there, so that it stays.

    Raises:
        NotFound: there is no such image, or none for one of the platforms.
        InvalidInput: what came is not what it has to be.
        Forbidden: the registry does not let us have it.
        Unavailable: it does not answer.
        OperationFailed: the disk is full.
    """
    progress = progress or Progress()
    downloads = Downloads(
        store,
        client.repository(reference),
        settings=settings,
        progress=progress,
        arrivals=arrivals,
        pin=pin,
    )
    return await _Pull(downloads, reference, platforms).run()


class _Pull:
    def __init__(
        self,
        downloads: Downloads,
        reference: Reference,
        platforms: tuple[Platform, ...] | None,
    ) -> None:
        self._downloads = downloads
        self._repository: Repository = downloads.repository
        self._store = downloads.store
        self._reference = reference
        self._unasked = platforms == ()
        self._platforms = (host_platform(),) if platforms == () else platforms
        self._arrivals = downloads.arrivals
        self._images: dict[str, tuple[Descriptor, Manifest]] = {}
        self._documents_bytes = 0

    async def run(self) -> Pulled:
        descriptor, raw, answered_by = await self._resolve()
        self._downloads.progress.resolved(str(self._reference), descriptor, answered_by)
        if descriptor.media_type in SCHEMA1_TYPES:
            descriptor = await self._convert(raw)
        else:
            await self._keep(descriptor, raw)
            await self._walk(descriptor, raw, depth=0)
            await self._fetch()
        manifests = tuple(found for found, _ in self._images.values())
        return Pulled(
            reference=self._reference, descriptor=descriptor, manifests=manifests, answered_by=answered_by
        )

    # Documents

    async def _resolve(self) -> tuple[Descriptor, bytes, str]:
        """What the name means, and who says so."""
        identifier = self._reference.identifier
        if self._reference.digest:
            raw = await self._find(identifier)
            if raw is not None:
                media_type = media_type_of(raw)
                return Descriptor(media_type=media_type, digest=identifier, size=len(raw)), raw, ""
            received = await self._repository.get_manifest(identifier)
            return received.descriptor, received.raw, received.answered_by
        resolved = await self._repository.resolve(identifier)
        if resolved.descriptor.media_type in SCHEMA1_TYPES:
            received = await self._repository.get_manifest(identifier)
            return received.descriptor, received.raw, received.answered_by
        raw = await self._find(resolved.descriptor.digest)
        if raw is None:
            received = await self._repository.get_manifest(resolved.descriptor.digest)
            return received.descriptor, received.raw, resolved.answered_by
        return resolved.descriptor.replace(size=len(raw)), raw, resolved.answered_by

    async def _find(self, digest: str) -> bytes | None:
        """A document that is in the store."""
        self._downloads.pin(digest)
        try:
            return await offload(lambda: self._store.read(digest, limit_bytes=DOCUMENT_BYTES_MAX))
        except NotFound:
            return None

    async def _keep(self, descriptor: Descriptor, raw: bytes) -> None:
        self._downloads.pin(descriptor.digest)
        await offload(self._store.write, raw, descriptor.digest)

    async def _get(self, descriptor: Descriptor) -> bytes:
        """A document that another one points at."""
        raw = await self._find(descriptor.digest)
        if raw is None:
            received = await self._repository.get_manifest(descriptor.digest)
            raw = received.raw
            await self._keep(received.descriptor, raw)
        if len(raw) != descriptor.size or contradicts(raw, descriptor.media_type):
            said = f"{descriptor.media_type} of {descriptor.size} bytes"
            message = f"the manifest {descriptor.digest} of {self._reference} was to be {said}"
            found = f"{media_type_of(raw)[:200]} of {len(raw)}"
            raise InvalidInput(f"{message} and is {found}", code="wrong-manifest")
        return raw

    async def _walk(self, descriptor: Descriptor, raw: bytes, *, depth: int) -> None:
        """The images below the document that are wanted are known."""
        name = f"{descriptor.digest} of {self._reference}"
        self._documents_bytes += len(raw)
        if depth > _DEPTH_MAX or self._documents_bytes > _DOCUMENTS_BYTES_MAX:
            raise InvalidInput(
                f"the image {self._reference} has too many manifests", code="too-many-manifests"
            )
        if descriptor.media_type in MANIFEST_TYPES:
            self._images[descriptor.digest] = descriptor, decode_manifest(raw, name=f"the manifest {name}")
            return
        index = decode_index(raw, name=f"the index {name}")
        chosen = select(index, self._platforms, name=str(self._reference))
        known = [
            each for each in chosen if each.media_type in INDEX_TYPES or each.media_type in MANIFEST_TYPES
        ]
        for start in range(0, len(known), _MANIFESTS_AT_ONCE):
            children = known[start : start + _MANIFESTS_AT_ONCE]
            async with parallel() as group:
                tasks = [group.create_task(self._get(child)) for child in children]
            for child, task in zip(children, tasks, strict=True):
                await self._walk(child, task.result(), depth=depth + 1)

    # Contents

    async def _fetch(self) -> None:
        """Configurations first, then every layer once, the largest first: it takes longest to unpack."""
        if not self._images:
            wanted = ", ".join(format_platform(each) for each in self._platforms or ())
            message = f"the image {self._reference} has nothing for {wanted or 'any platform'}"
            raise NotFound(message, code="platform-not-found")
        users: dict[str, list[tuple[Descriptor, int]]] = {}
        layers: dict[str, Descriptor] = {}
        for descriptor, manifest in self._images.values():
            for position, layer in enumerate(manifest.layers):
                users.setdefault(layer.digest, []).append((descriptor, position))
                layers.setdefault(layer.digest, layer)
        configs = {manifest.config.digest: manifest.config for _, manifest in self._images.values()}
        self._downloads.progress.planned((*configs.values(), *layers.values()))
        async with parallel() as group:
            for config in configs.values():
                group.create_task(self._downloads.fetch(config))
        for descriptor, manifest in self._images.values():
            if descriptor.platform is None:
                await self._check_platform(manifest)
            self._arrivals.image(descriptor, manifest)
        async with parallel() as group:
            for layer in sorted(layers.values(), key=lambda layer: -layer.size):
                group.create_task(self._fetch_layer(layer, users[layer.digest]))

    async def _fetch_layer(self, layer: Descriptor, users: list[tuple[Descriptor, int]]) -> None:
        await self._downloads.fetch(layer)
        for descriptor, position in users:
            self._arrivals.layer(descriptor, position)

    async def _check_platform(self, manifest: Manifest) -> None:
        """An image that no index speaks for is for one of the platforms that are wanted."""
        if self._platforms is None or manifest.config.media_type not in CONFIG_TYPES:
            return
        digest = manifest.config.digest
        raw = await offload(lambda: self._store.read(digest, limit_bytes=_CONFIG_BYTES_MAX))
        platform = decode_config(raw, name=f"the configuration {digest} of {self._reference}").platform
        if not platform.architecture or any(
            find_rank(wanted, platform) is not None for wanted in self._platforms
        ):
            return  # as in an index, what does not say what it is for is taken
        wanted = ", ".join(format_platform(each) for each in self._platforms)
        if self._unasked and normalise(platform).os == self._platforms[0].os:
            self._downloads.progress.foreign(format_platform(platform), wanted)
        else:
            message = f"the image {self._reference} is for {format_platform(platform)} and not for {wanted}"
            hint = f"ask for it: --platform {format_platform(platform)}"
            raise NotFound(message, code="platform-not-found", hint=hint)

    async def _convert(self, raw: bytes) -> Descriptor:
        """A manifest of schema 1, and what it names, is in the store in today's form."""
        old = schema1.decode_schema1(raw)
        sizes: dict[str, int] = {}
        for digest in dict.fromkeys(old.digests):
            size = await self._repository.find_blob_size(digest)
            if size is None:
                message = f"the layer {digest} of {self._reference} is not in the registry"
                raise NotFound(message, code="not-in-registry")
            sizes[digest] = size
        layers = [Descriptor(digest=digest, size=size) for digest, size in sizes.items()]
        self._downloads.progress.planned(tuple(layers))
        async with parallel() as group:
            for layer in layers:
                group.create_task(self._downloads.fetch(layer))
        diff_ids = {
            layer.digest: await offload(schema1.compute_diff_id, self._store, layer.digest)
            for layer in layers
        }
        raw_manifest, config = schema1.convert(old, sizes, diff_ids)
        self._downloads.pin(compute_digest(config))
        await offload(self._store.write, config)
        descriptor = schema1.describe(raw_manifest)
        await self._keep(descriptor, raw_manifest)
        manifest = decode_manifest(raw_manifest)
        await self._check_platform(manifest)
        self._images[descriptor.digest] = descriptor, manifest
        self._arrivals.image(descriptor, manifest)
        for position in range(len(manifest.layers)):
            self._arrivals.layer(descriptor, position)
        return descriptor


async def push(
    client: Client,
    store: ContentStore,
    reference: Reference,
    descriptor: Descriptor,
    *,
    settings: UploadSettings | None = None,
    progress: Progress | None = None,
    sources: Callable[[str], tuple[str, ...]] | None = None,
) -> None:
    """The registry has the image under the name, with all that belongs to it.

    Args:
        client: to ask.
        store: where the image is.
        reference: the name, with a tag or a digest, or else ``latest``.
        descriptor: the index or manifest.
        settings: how contents are sent.
        progress: is told.
        sources: tells the repositories from which a content came, or to which it went: with luck the
            registry mounts it from there.

    Raises:
        NotFound: something of the image is neither in the store nor in the registry.
        Forbidden: the registry does not let us write.
        PierheadError: it does not take something.
    """
    repository = client.repository(reference)
    uploads = Uploads(store, repository, settings=settings, progress=progress, sources=sources)
    await _Push(store, repository, uploads, progress or Progress()).run(reference, descriptor)


class _Push:
    def __init__(
        self, store: ContentStore, repository: Repository, uploads: Uploads, progress: Progress
    ) -> None:
        self._store = store
        self._repository = repository
        self._uploads = uploads
        self._progress = progress
        self._contents: dict[str, Descriptor] = {}
        self._documents: dict[str, tuple[Descriptor, bytes, Manifest | Index]] = {}
        """What to put, each after what it points at."""

    async def run(self, reference: Reference, descriptor: Descriptor) -> None:
        await self._collect(descriptor, depth=0)
        self._progress.planned(tuple(self._contents.values()))
        async with parallel() as group:
            for content in self._contents.values():
                group.create_task(self._uploads.send(content))
        for found, raw, document in self._documents.values():
            is_root = found.digest == descriptor.digest
            identifier = reference.identifier if is_root else found.digest
            answer = await self._repository.put_manifest(raw, found.media_type, identifier)
            if document.subject is not None and "oci-subject" not in answer.headers:
                await self._repository.tag_referrer(document.subject.digest, _as_referrer(found, document))
            self._progress.complete(found)

    async def _collect(self, descriptor: Descriptor, *, depth: int) -> None:
        """All that belongs to the document is known, its own last."""
        if depth > _DEPTH_MAX:
            raise InvalidInput(
                f"the index {descriptor.digest} is nested too deeply", code="too-many-manifests"
            )
        digest = descriptor.digest
        try:
            raw = await offload(lambda: self._store.read(digest, limit_bytes=DOCUMENT_BYTES_MAX))
        except NotFound:
            if depth and await self._repository.has_manifest(digest):
                return
            raise _lacking(self._repository, descriptor) from None
        media_type = descriptor.media_type or media_type_of(raw)
        if media_type in INDEX_TYPES:
            index = decode_index(raw, name=f"the index {digest}")
            for child in index.manifests:
                await self._collect(child, depth=depth + 1)
            self._documents[digest] = descriptor.replace(media_type=media_type), raw, index
        elif media_type in MANIFEST_TYPES:
            manifest = decode_manifest(raw, name=f"the manifest {digest}")
            for content in (manifest.config, *manifest.layers):
                if not _is_foreign(content):
                    self._contents[content.digest] = content
            self._documents[digest] = descriptor.replace(media_type=media_type), raw, manifest


def _lacking(repository: Repository, descriptor: Descriptor) -> NotFound:
    platform = f" for {format_platform(descriptor.platform)}" if descriptor.platform else ""
    message = f"the manifest {descriptor.digest}{platform} is neither here nor in {repository}"
    return NotFound(message, code="incomplete-image", hint="pull the image for all its platforms first")


def _is_foreign(content: Descriptor) -> bool:
    """Whether the content is not for registries: Docker's foreign layers, and OCI's nondistributable ones."""
    return bool(content.urls) and (
        "foreign" in content.media_type or "nondistributable" in content.media_type
    )


def _as_referrer(descriptor: Descriptor, document: Manifest | Index) -> Descriptor:
    """As the referrers API lists it.

    Source: distribution-spec, "Listing Referrers".
    """
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    return Descriptor(
        media_type=descriptor.media_type,
        digest=descriptor.digest,
        size=descriptor.size,
        artifact_type=artifact_type,
        annotations=document.annotations,
    )
