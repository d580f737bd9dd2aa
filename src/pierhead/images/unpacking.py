"""Layers of an image to snapshots, each in a process of its own, as many at once as there are processors.

    layer ─▶ a process unpacks it as it comes ─▶ it was verified, and so is its diff id ─▶ committed

With a snapshotter that rebases, layers are unpacked while they arrive, in any order, and committed in theirs;
with one that does not, each waits for the one below.  Few layers mean something only together with those
below: a hard link to a file there, a path through a link there.  These are unpacked once more, upon them.
Whoever else unpacks the same image at the same time does the same work, and the first to commit a layer has
done it for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat

from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.arriving import ArrivingLayer
from pierhead.images.library import Layer
from pierhead.images.remote.progress import Arrivals
from pierhead.images.remote.tasks import offload, parallel
from pierhead.images.snapshots import open_mounts
from pierhead.images.unpackprogress import UnpackProgress
from pierhead.images.unpackworker import start_unpack
from pierhead.images.walk import chain_ids
from pierhead.linux.facts import in_user_namespace
from pierhead.oci.image import CONFIG_TYPES, DOCUMENT_BYTES_MAX, artifact_refused, decode_config
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from pierhead.images.arriving import Part
    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.library import Lease
    from pierhead.images.service import ImageService
    from pierhead.images.unpack import Unpacked, Whiteouts
    from pierhead.oci.image import Descriptor, Manifest


_IMPLIED_MODE = 0o755
_NEEDS_BELOW = "invalid-link"
"""Code of the error for a hard link to a file that the layer does not have: one below may have it."""


class _Filled(Value):
    """A layer that was unpacked.

    Fields:
        key: of the active snapshot that has its files; "" if it could not be unpacked alone.
        implied: directories that it has no entry for, but something in them.
    """

    key: str = ""
    implied: tuple[str, ...] = ()


class Stack:
    """The layers of one image on their way."""

    def __init__(
        self,
        service: ImageService,
        lease: Lease,
        manifest: Manifest,
        diff_ids: tuple[str, ...],
        progress: UnpackProgress,
    ) -> None:
        if len(diff_ids) != len(manifest.layers):
            message = f"the image has {len(manifest.layers)} layers and tells of {len(diff_ids)}"
            raise InvalidInput(message, code="layers-differ", hint="it was not made as images are")
        self._service = service
        self._snapshotter = service.snapshotter
        self._lease = lease
        self._layers = manifest.layers
        self._diff_ids = diff_ids
        self._progress = progress
        self._names = chain_ids(diff_ids)
        self._places = asyncio.Semaphore(os.cpu_count() or 1)
        self._active: set[str] = set()
        """Keys of snapshots that are not committed yet."""
        self.arriving = [ArrivingLayer(layer.size) for layer in self._layers]

    @property
    def name(self) -> str:
        """The chain id of the whole; "" for an image without layers."""
        return self._names[-1] if self._names else ""

    def finish(self, number: int) -> None:
        """The layer of this number is in the store."""
        if self.arriving[number].finish():
            self._progress.unpacking(self._layers[number])

    async def run(self) -> None:
        """Every layer is a committed snapshot; or nothing is left of those that are none.

        Raises:
            InvalidInput: a layer is not what the configuration says, or no archive that may be unpacked.
            OperationFailed: the disk is full.
        """
        await offload(self._lease.pin, *self._names)
        first = await offload(self._count_present)
        for content in self._layers[:first]:
            self._progress.unpacked(content)
        try:
            await self._unpack_from(first)
        except BaseException:
            for key in tuple(self._active):
                await self._discard(key)
            raise

    async def _unpack_from(self, first: int) -> None:
        if self._snapshotter.rebases:
            async with parallel() as group:
                numbers = range(first, len(self._layers))
                tasks = [group.create_task(self._unpack(number)) for number in numbers]
                group.create_task(self._commit_in_order(first, tasks))
        else:
            for number in range(first, len(self._layers)):
                below = self._names[number - 1] if number else ""
                await self._commit(number, (await self._unpack(number, upon=below)).key)

    def _count_present(self) -> int:
        """How many layers, from the lowest on, the snapshotter has."""
        for number, name in enumerate(self._names):
            try:
                self._snapshotter.stat(name)
            except NotFound:
                return number
            self._record(number)
        return len(self._names)

    async def _commit_in_order(self, first: int, tasks: list[asyncio.Task[_Filled]]) -> None:
        for number, task in enumerate(tasks, first):
            filled = await task
            if number and filled.implied and await offload(self._differs_below, number, filled.implied):
                await self._discard(filled.key)
                filled = _Filled()
            if not filled.key:
                filled = await self._unpack(number, upon=self._names[number - 1])
            await self._commit(number, filled.key)

    async def _unpack(self, number: int, *, upon: str = "") -> _Filled:
        """The layer is verified, and its files are in an active snapshot, alone or upon what is below."""
        layer, arriving = self._layers[number], self.arriving[number]
        key = self._lease.snapshot_key(f"layer-{number}-{self._names[number]}")
        while True:
            await arriving.ready.wait()
            with arriving.take() as part:
                outcome = await self._attempt(number, key, upon, part)
                if part is not None:
                    await part.settled.wait()
            if part is None or not part.lost.is_set():
                break
            await self._discard(key)
        if isinstance(outcome, InvalidInput):
            await self._discard(key)
            if self._snapshotter.rebases and not upon and number and outcome.code == _NEEDS_BELOW:
                return _Filled()
            raise outcome
        if outcome.diff_id != self._diff_ids[number]:
            message = (
                f"the layer {layer.digest} unpacks to {outcome.diff_id}, not to {self._diff_ids[number]}"
            )
            hint = "the image is not what it says: do not use it"
            raise InvalidInput(message, code="wrong-diff-id", hint=hint)
        await offload(self._service.library.record_compressed, outcome.diff_id, layer)
        return _Filled(key=key, implied=outcome.implied)

    async def _attempt(self, number: int, key: str, upon: str, part: Part | None) -> Unpacked | InvalidInput:
        """What the layer was, when it is unpacked; or why it cannot be.

        Args:
            number: of the layer.
            key: of the active snapshot that gets its files.
            upon: chain id of what is below; "" if it is unpacked alone.
            part: what has come of it; None if it is in the store.

        Raises:
            OperationFailed: something else is wrong than the layer.
        """
        async with self._places:
            if part is None:
                self._progress.unpacking(self._layers[number])
            self._active.add(key)
            mounts = await offload(self._snapshotter.prepare, key, upon)
            directory_fd = await offload(open_mounts, mounts, undo=os.close)
            try:
                whiteouts: Whiteouts = _whiteouts() if self._snapshotter.rebases and not upon else "apply"
                return await self._run_worker(self._layers[number], directory_fd, whiteouts, part)
            except InvalidInput as error:
                return error
            finally:
                os.close(directory_fd)

    async def _discard(self, key: str) -> None:
        """There is no active snapshot of this key."""
        with contextlib.suppress(NotFound):
            await offload(self._snapshotter.remove, key)
        self._active.discard(key)

    def _differs_below(self, number: int, implied: tuple[str, ...]) -> bool:
        """Whether a directory that a layer only implies is something particular in the layers below: a link
        to another place, or a directory with an owner, a mode or attributes of its own.
        """
        key = self._lease.snapshot_key(f"below-{number}")
        directory_fd = open_mounts(self._snapshotter.view(key, self._names[number - 1]))
        try:
            return any(_is_particular(directory_fd, path) for path in implied)
        finally:
            os.close(directory_fd)
            self._snapshotter.remove(key)

    async def _run_worker(
        self, layer: Descriptor, directory_fd: int, whiteouts: Whiteouts, part: Part | None
    ) -> Unpacked:
        source_fd = os.dup(part.fd) if part else self._service.content.open(layer.digest)
        try:
            worker = start_unpack(
                source_fd,
                directory_fd,
                whiteouts=whiteouts,
                owners=keeps_owners(),
                digest="" if part else layer.digest,  # the store has hashed what is whole
                growth=part.growth if part else None,
            )
        finally:
            os.close(source_fd)
        with worker:
            await _ended(worker.pidfd, part.lost if part else asyncio.Event())
            if part is not None and part.lost.is_set():
                raise InvalidInput(f"what came of the layer {layer.digest} was wrong", code="wrong-digest")
            return worker.wait()

    async def _commit(self, number: int, key: str) -> None:
        below = self._names[number - 1] if number else ""
        try:
            await offload(lambda: self._snapshotter.commit(self._names[number], key, parent=below))
        except Conflict:
            await self._discard(key)  # somebody else has been quicker
        self._active.discard(key)
        await offload(self._record, number)
        self._progress.unpacked(self._layers[number])

    def _record(self, number: int) -> None:
        self._service.library.record_layer(
            Layer(
                snapshotter=self._snapshotter.name,
                chain_id=self._names[number],
                diff_id=self._diff_ids[number],
                parent=self._names[number - 1] if number else "",
                size_bytes=self._snapshotter.usage(self._names[number]).size_bytes,
                compressed_bytes=self._layers[number].size,
            )
        )


def _is_particular(root_fd: int, path: str) -> bool:
    """Whether the path beneath the root is there, and is no plain directory of root's.

    Only looked at: at worst a link on the way has a layer unpacked upon those below for nothing.
    """
    try:
        about = os.stat(path, dir_fd=root_fd, follow_symlinks=False)
    except OSError:
        return False
    plain = stat.S_ISDIR(about.st_mode) and stat.S_IMODE(about.st_mode) == _IMPLIED_MODE
    return not (plain and about.st_uid == 0 and about.st_gid == 0)


async def _ended(pidfd: int, lost: asyncio.Event) -> None:
    """The process behind the descriptor has ended, or what it does is worth nothing any more."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await _first_of(ended, lost)
    finally:
        loop.remove_reader(pidfd)


async def _first_of(*events: asyncio.Event) -> None:
    """One of the events is set."""
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(event.wait()) for event in events]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


class UnpackArrivals(Arrivals):
    """Unpacks an image while it is pulled: the first one that comes, of those that were asked for.

    A context manager: leaving it leaves nothing open.
    """

    def __init__(
        self, service: ImageService, lease: Lease, group: asyncio.TaskGroup, progress: UnpackProgress
    ) -> None:
        self._service = service
        self._lease = lease
        self._group = group
        self._progress = progress
        self._digest = ""
        self._stack: Stack | None = None
        self._coming: dict[str, ArrivingLayer] = {}
        """By digest; of a layer that an image has several times, the first one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for layer in self._coming.values():
            layer.close()

    def image(self, descriptor: Descriptor, manifest: Manifest) -> None:
        """See ``Arrivals``."""
        if self._digest:
            return
        self._digest = descriptor.digest
        if manifest.config.media_type not in CONFIG_TYPES:
            return  # an artifact has no files
        raw = self._service.content.read(manifest.config.digest, limit_bytes=DOCUMENT_BYTES_MAX)
        diff_ids = decode_config(raw).rootfs.diff_ids
        self._stack = Stack(self._service, self._lease, manifest, diff_ids, self._progress)
        for layer, arriving in zip(manifest.layers, self._stack.arriving, strict=True):
            self._coming.setdefault(layer.digest, arriving)
        self._group.create_task(self._stack.run())

    def begun(self, content: Descriptor, open_reader: Callable[[], int]) -> None:
        """See ``Arrivals``."""
        if content.digest in self._coming:
            self._coming[content.digest].begin(open_reader)

    def grown(self, content: Descriptor, done_bytes: int) -> None:
        """See ``Arrivals``."""
        if content.digest in self._coming:
            self._coming[content.digest].grow(done_bytes)

    def layer(self, descriptor: Descriptor, position: int) -> None:
        """See ``Arrivals``."""
        if self._stack is not None and descriptor.digest == self._digest:
            self._stack.finish(position)


def keeps_owners() -> bool:
    """Whether what we unpack gets its owners: an ordinary user leaves it to its engine, which is root in a
    user namespace, and unpacks when a container is made.
    """
    return os.geteuid() == 0


def _whiteouts() -> Whiteouts:
    """As the overlay will be mounted: in a user namespace nobody may write ``trusted.*`` (xattr(7))."""
    return "overlay-user" if in_user_namespace() else "overlay"


async def unpack_image(
    service: ImageService, lease: Lease, image: PlatformImage, progress: UnpackProgress | None = None
) -> str:
    """The image's layers are snapshots; returns the chain id of the topmost, "" if there is none.

    Raises:
        InvalidInput: it is an artifact without files, or not what it says.
    """
    if image.config is None:
        raise artifact_refused(image.descriptor.digest)
    diff_ids = image.config.rootfs.diff_ids
    stack = Stack(service, lease, image.manifest, diff_ids, progress or UnpackProgress())
    for number in range(len(diff_ids)):
        stack.finish(number)
    await stack.run()
    return stack.name
