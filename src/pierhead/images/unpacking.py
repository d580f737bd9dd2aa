"""Layers of an image to snapshots, each in a process of its own, as many at once as there are processors.

    layer in the store ─▶ a process unpacks it ─▶ diff id checked ─▶ committed upon the one below

With a snapshotter that rebases, layers are unpacked as they arrive, in any order, and committed in theirs;
with one that does not, each waits for the one below.  Few layers mean something only together with those
below: a hard link to a file there, a path through a link there.  These are unpacked once more, upon them.
Whoever else unpacks the same image at the same time does the same work, and the first to commit a layer has
done it for both.
"""

from __future__ import annotations

import asyncio
import os
import stat

from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.library import Layer
from pierhead.images.remote.progress import Arrivals
from pierhead.images.remote.tasks import offload, parallel
from pierhead.images.snapshots import open_mounts
from pierhead.images.unpackprogress import UnpackProgress
from pierhead.images.unpackworker import start_unpack
from pierhead.images.walk import chain_ids
from pierhead.oci.image import CONFIG_TYPES, DOCUMENT_BYTES_MAX, decode_config
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        self.arrived = [asyncio.Event() for _ in self._layers]
        """Set when the layer is in the store."""

    @property
    def name(self) -> str:
        """The chain id of the whole; "" for an image without layers."""
        return self._names[-1] if self._names else ""

    async def run(self) -> None:
        """Every layer is a committed snapshot.

        Raises:
            InvalidInput: a layer is not what the configuration says, or no archive that may be unpacked.
            OperationFailed: the disk is full.
        """
        await offload(self._lease.pin, *self._names)
        first = await offload(self._count_present)
        for content in self._layers[:first]:
            self._progress.unpacked(content)
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
                await offload(self._snapshotter.remove, filled.key)
                filled = _Filled()
            if not filled.key:
                filled = await self._unpack(number, upon=self._names[number - 1])
            await self._commit(number, filled.key)

    async def _unpack(self, number: int, *, upon: str = "") -> _Filled:
        """The layer's files are in an active snapshot, alone or upon what is below."""
        await self.arrived[number].wait()
        layer = self._layers[number]
        key = self._lease.snapshot_key(f"layer-{number}-{self._names[number]}")
        async with self._places:
            self._progress.unpacking(layer)
            mounts = await offload(self._snapshotter.prepare, key, upon)
            directory_fd = await offload(open_mounts, mounts, undo=os.close)
            alone = self._snapshotter.rebases and not upon
            try:
                unpacked = await self._run_worker(layer, directory_fd, "overlay" if alone else "apply")
            except BaseException as error:
                await offload(self._snapshotter.remove, key)
                if alone and number and isinstance(error, InvalidInput) and error.code == _NEEDS_BELOW:
                    return _Filled()
                raise
            finally:
                os.close(directory_fd)
        if unpacked.diff_id != self._diff_ids[number]:
            await offload(self._snapshotter.remove, key)
            message = (
                f"the layer {layer.digest} unpacks to {unpacked.diff_id}, not to {self._diff_ids[number]}"
            )
            raise InvalidInput(
                message, code="wrong-diff-id", hint="the image is not what it says: do not use it"
            )
        await offload(self._service.library.record_compressed, unpacked.diff_id, layer)
        return _Filled(key=key, implied=unpacked.implied)

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

    async def _run_worker(self, layer: Descriptor, directory_fd: int, whiteouts: Whiteouts) -> Unpacked:
        source_fd = self._service.content.open(layer.digest)
        try:
            worker = start_unpack(
                source_fd,
                directory_fd,
                whiteouts=whiteouts,
                owners=os.geteuid() == 0,
                digest=layer.digest,  # the store has hashed it when it came
            )
        finally:
            os.close(source_fd)
        with worker:
            await _ended(worker.pidfd)
            return worker.wait()

    async def _commit(self, number: int, key: str) -> None:
        below = self._names[number - 1] if number else ""
        try:
            await offload(lambda: self._snapshotter.commit(self._names[number], key, parent=below))
        except Conflict:
            await offload(self._snapshotter.remove, key)  # somebody else has been quicker
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


async def _ended(pidfd: int) -> None:
    """The process behind the descriptor has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)


class UnpackArrivals(Arrivals):
    """Unpacks an image while it is pulled: the first one that comes, of those that were asked for."""

    def __init__(
        self, service: ImageService, lease: Lease, group: asyncio.TaskGroup, progress: UnpackProgress
    ) -> None:
        self._service = service
        self._lease = lease
        self._group = group
        self._progress = progress
        self._digest = ""
        self._stack: Stack | None = None

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
        self._group.create_task(self._stack.run())

    def layer(self, descriptor: Descriptor, position: int) -> None:
        """See ``Arrivals``."""
        if self._stack is not None and descriptor.digest == self._digest:
            self._stack.arrived[position].set()


async def unpack_image(
    service: ImageService, lease: Lease, image: PlatformImage, progress: UnpackProgress | None = None
) -> str:
    """The image's layers are snapshots; returns the chain id of the topmost, "" if there is none.

    Raises:
        InvalidInput: it is an artifact without files, or not what it says.
    """
    if image.config is None:
        message = f"{image.descriptor.digest} is an artifact and has no files"
        raise InvalidInput(message, code="not-an-image")
    diff_ids = image.config.rootfs.diff_ids
    stack = Stack(service, lease, image.manifest, diff_ids, progress or UnpackProgress())
    for event in stack.arrived:
        event.set()
    await stack.run()
    return stack.name
