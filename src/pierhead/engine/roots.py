"""Roots of containers: a snapshot upon an image's layers, or a view of the running machine.

A container's snapshot has the key ``container-ID``, which no lease stands for: it stays until the container
is removed, and keeps the layers below it.
"""

from __future__ import annotations

import contextlib

from pierhead.errors import InvalidInput, NotFound
from pierhead.images.platforms import parse_platform
from pierhead.images.unpacking import unpack_image
from pierhead.images.walk import chain_ids
from pierhead.oci.image import Execution
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.jobs import Jobs
    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.service import ImageService
    from pierhead.images.snapshots import Mount
    from pierhead.oci.image import Platform

HOST_IMAGE = "pierhead/host"
"""The image that is the running machine, copy-on-write."""
_HOST_NAMES = frozenset((HOST_IMAGE, f"{HOST_IMAGE}:latest", "@host"))
_KEY = "container-"


class Origin(Value):
    """What a container is made of.

    Fields:
        image_id: digest of the image's configuration; "" for the host.
        execution: what the image runs.
        shown: the image's documents; None for the host.
    """

    image_id: str = ""
    execution: Execution | None = None
    shown: PlatformImage | None = None


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
            raise NotFound(f"No such image: {image}", code="image-not-found", hint=error.hint) from None
        shown = self.service.catalogue.open(found, platform)
        if shown.config is None:
            message = f"{image} is an artifact and has no files"
            raise InvalidInput(message, code="not-an-image")
        return Origin(image_id=shown.id, execution=shown.config.config or Execution(), shown=shown)

    async def prepare(self, container_id: str, origin: Origin) -> str:
        """The container has its own files upon the image's; returns the snapshot's key, "" for the host.

        Raises:
            InvalidInput: the image is not what it says.
            OperationFailed: the disk is full.
        """
        if origin.shown is None:
            return ""
        key = f"{_KEY}{container_id}"
        assert origin.shown.config is not None
        names = chain_ids(origin.shown.config.rootfs.diff_ids)
        try:  # a layer that is there stays from the moment in which something stands on it
            await self._jobs.thread(self.service.snapshotter.prepare, key, names[-1] if names else "")
        except NotFound:
            await self._unpack(key, origin.shown)
        return key

    async def _unpack(self, key: str, shown: PlatformImage) -> None:
        lease = await self._jobs.thread(lambda: self.service.library.lease(purpose="a new container"))
        try:
            await self._jobs.thread(lease.pin_graph, shown.descriptor)
            chain_id = await unpack_image(self.service, lease, shown)
            await self._jobs.thread(self.service.snapshotter.prepare, key, chain_id)
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
        """The container's files are gone."""
        self._described.pop(key, None)
        if key:
            with contextlib.suppress(NotFound):
                self.service.snapshotter.remove(key)

    def detach(self, key: str) -> str:
        """Nobody knows the container's files any more; returns their directory, "" for none."""
        self._described.pop(key, None)
        with contextlib.suppress(NotFound):
            return self.service.snapshotter.detach(key) if key else ""
        return ""

    def remove_others(self, kept: frozenset[str]) -> None:
        """Files of containers that never came to be are gone.

        Args:
            kept: keys of those that there are.
        """
        keys = [each.name for each in self.service.snapshotter.walk() if each.kind != "committed"]
        for key in keys:
            if key.startswith(_KEY) and key not in kept:
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
