"""Roots of containers: a snapshot upon an image's layers, or a view of the running machine.

A container's snapshot has the key ``container-ID``, which no lease stands for: it stays until the container
is removed, and keeps the layers below it.
"""

from __future__ import annotations

import contextlib
import os

from pierhead.engine.changes import MARK
from pierhead.engine.imagedocuments import no_such_image
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.platforms import find_rank, format_platform, host_platform, parse_platform
from pierhead.images.removal import remove_or_say
from pierhead.images.unpacking import unpack_image
from pierhead.images.walk import chain_ids
from pierhead.oci.image import Execution, artifact_refused
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.engine.jobs import Jobs
    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.service import ImageService
    from pierhead.images.snapshots import Mount
    from pierhead.oci.image import Platform

HOST_IMAGE = "pierhead/host"
"""The image that is the running machine, copy-on-write."""
_HOST_NAMES = frozenset((HOST_IMAGE, f"{HOST_IMAGE}:latest", "@host"))
_KEY, _MOUNT = "container-", "-mount-"


def mount_key(container_id: str, number: int) -> str:
    """Of the snapshot that is one of a container's mounts."""
    return f"{_KEY}{container_id}{_MOUNT}{number}"


class Origin(Value):
    """What a container is made of.

    Fields:
        image_id: digest of the image's configuration; "" for the host.
        execution: what the image runs.
        shown: the image's documents; None for the host.
        warnings: what whoever makes the container should know of the image.
    """

    image_id: str = ""
    execution: Execution | None = None
    shown: PlatformImage | None = None
    warnings: tuple[str, ...] = ()


class Roots:
    """Images, as far as containers need them.  Methods that wait do so in threads."""

    def __init__(self, service: ImageService, jobs: Jobs) -> None:
        """Over a store of images."""
        self.service = service
        self._jobs = jobs
        self._described: dict[str, dict[str, object]] = {}

    async def find(self, image: str, platform: str) -> Origin:
        """What the name means.

        Raises:
            NotFound: there is no such image, or nothing of it for the platform.
            InvalidInput: it is no name, or no image that can be run.
        """
        if image in _HOST_NAMES:
            return Origin()
        wanted = parse_platform(platform) if platform else None
        return await self._jobs.thread(self._look_up, image, wanted)

    def _look_up(self, image: str, platform: Platform | None) -> Origin:
        if not image:
            raise InvalidInput("no image is named", code="no-image", hint='give "Image" a name')
        try:
            found = self.service.catalogue.get(image)
        except NotFound as error:
            raise no_such_image(image, hint=error.hint) from None
        shown = self.service.catalogue.open(found, platform)
        if shown.config is None:
            raise artifact_refused(image)
        return Origin(
            image_id=shown.id,
            execution=shown.config.config or Execution(),
            shown=shown,
            warnings=() if platform else _warn_of(shown.config.platform),
        )

    async def prepare(self, container_id: str, origin: Origin) -> str:
        """The container has its own files upon the image's; returns the snapshot's key, "" for the host.

        Raises:
            InvalidInput: the image is not what it says.
            OperationFailed: the disk is full.
        """
        if origin.shown is None:
            return ""
        key = f"{_KEY}{container_id}"
        await self._stand_on(origin.shown, lambda name: self._begin(key, name))
        return key

    def _begin(self, key: str, parent: str) -> None:
        self.service.snapshotter.prepare(key, parent)
        mark(self.mount(key))

    async def show(self, container_id: str, number: int, image: str) -> None:
        """The container has the image's files to read, as its mount of this number.

        Raises:
            NotFound: there is no such image.
            InvalidInput: it is this machine, or has no files.
        """
        shown = (await self.find(image, "")).shown
        if shown is None or shown.config is None or not shown.config.rootfs.diff_ids:
            raise InvalidInput(f"{image} has no files that can be mounted", code="not-an-image")
        key = mount_key(container_id, number)
        await self._stand_on(shown, lambda name: self.service.snapshotter.view(key, name))

    async def _stand_on(self, shown: PlatformImage, begin: Callable[[str], object]) -> None:
        """A layer that is there stays from the moment in which something stands on it."""
        assert shown.config is not None
        names = chain_ids(shown.config.rootfs.diff_ids)
        try:
            await self._jobs.thread(begin, names[-1] if names else "")
        except NotFound:
            await self._unpack(shown, begin)

    async def _unpack(self, shown: PlatformImage, begin: Callable[[str], object]) -> None:
        lease = await self._jobs.thread(lambda: self.service.library.lease(purpose="a new container"))
        try:
            await self._jobs.thread(lease.pin_graph, shown.descriptor)
            chain_id = await unpack_image(self.service, lease, shown)
            await self._jobs.thread(begin, chain_id)
        finally:
            await self._jobs.thread(lease.close)

    # What blocks

    def mount(self, key: str) -> Mount:
        """How the container's files come to be seen.

        Raises:
            NotFound: they are gone.
        """
        return self.service.snapshotter.mounts(key)[-1]

    def remove(self, key: str) -> None:
        """The container's files are nobody's any more, and gone if they can be."""
        directory = self.detach(key)
        if directory:
            remove_or_say(directory)

    def detach(self, key: str) -> str:
        """Nobody knows the container's files any more; returns their directory, "" for none."""
        self._described.pop(key, None)
        with contextlib.suppress(NotFound):
            return self.service.snapshotter.detach(key) if key else ""
        return ""

    def hide(self, container_id: str, count: int) -> None:
        """The container has no image's files to read any more, of which it had at most so many."""
        for number in range(count):
            self.remove(mount_key(container_id, number))

    def remove_others(self, kept: frozenset[str]) -> None:
        """Files of containers that never came to be are gone.

        Args:
            kept: ids of those that there are.
        """
        keys = [each.name for each in self.service.snapshotter.walk() if each.kind != "committed"]
        for key in keys:
            container_id = key.removeprefix(_KEY).partition(_MOUNT)[0]
            if key.startswith(_KEY) and container_id not in kept:
                self.remove(key)

    def sizes(self, key: str) -> tuple[int, int]:
        """Bytes of the container's own files, and of all that it sees."""
        if not key:
            return 0, 0
        snapshotter = self.service.snapshotter
        try:
            own = total = snapshotter.usage(key).size_bytes
            parent = snapshotter.stat(key).parent
            while parent:
                total += snapshotter.usage(parent).size_bytes
                parent = snapshotter.stat(parent).parent
        except NotFound:
            return 0, 0
        return own, total

    def describe(self, key: str) -> dict[str, object]:
        """``GraphDriver`` of an inspection; looked up once for each container."""
        if key not in self._described:
            self._described[key] = self._describe(key)
        return self._described[key]

    def _describe(self, key: str) -> dict[str, object]:
        name = self.service.snapshotter.name
        data: dict[str, str] = {}
        if key:
            with contextlib.suppress(NotFound):
                mount = self.mount(key)
                data = {
                    "LowerDir": ":".join(mount.lower),
                    "UpperDir": mount.upper or mount.source,
                    "WorkDir": mount.work,
                }
        return {"Name": "overlay2" if name == "overlay" else "vfs", "Data": data}


def mark(mount: Mount) -> None:
    """Programs can tell by the file ``/.dockerenv`` that they are in a container, as many do.

    It is in the container's own files and no mount; what a container has changed does not tell of it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):  # the image has one, or the disk is full: no reason for no container
        os.close(os.open(f"{mount.upper or mount.source}/{MARK}", flags, 0o755))


def _warn_of(platform: Platform) -> tuple[str, ...]:
    """Docker's sentence, where an image is for other machines and nobody has asked for that."""
    machine = host_platform()
    if not platform.architecture or find_rank(machine, platform) is not None:
        return ()
    found, expected = format_platform(platform), format_platform(machine)
    differs = (
        f"The requested image's platform ({found}) does not match the detected host platform ({expected})"
    )
    return (f"{differs} and no specific platform was requested",)
