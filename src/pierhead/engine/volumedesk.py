"""Volumes as the API's documents have them.  What waits for the disk runs in threads."""

from __future__ import annotations

from pierhead.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pierhead.engine.documents import VolumeCreate
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.volumes import VolumeStore

    Document = dict[str, Any]
    Filters = dict[str, list[str]]
    Publish = Callable[[str, str, str, dict[str, str]], None]

_DRIVER = {"driver": "local"}


class VolumeDesk:
    """See ``api.ports.Volumes``."""

    def __init__(self, store: VolumeStore, jobs: Jobs, publish: Publish) -> None:
        """Args: publish takes an event's kind, action, actor and attributes."""
        self._store = store
        self._jobs = jobs
        self._publish = publish

    async def create_volume(self, wanted: VolumeCreate) -> Document:
        """It is there, perhaps since before."""
        volume, is_new = await self._jobs.finish(self._jobs.thread(self._store.ensure, wanted))
        if is_new:
            self._publish("volume", "create", volume.name, _DRIVER)
        return volume.document()

    async def list_volumes(self, filters: Filters) -> Document:
        """``{"Volumes", "Warnings"}``."""
        found = await self._jobs.thread(self._store.list_volumes, filters)
        return {"Volumes": [volume.document() for volume in found], "Warnings": None}

    async def inspect_volume(self, name: str) -> Document:
        """One.

        Raises:
            NotFound: there is none.
        """
        volume = await self._jobs.thread(self._store.get, name)
        return volume.document()

    async def remove_volume(self, name: str, *, force: bool) -> None:
        """It is gone, with its files.

        Raises:
            Conflict: a container has it.
        """
        if await self._jobs.finish(self._jobs.thread(lambda: self._store.remove(name, force=force))):
            self._publish("volume", "destroy", name, _DRIVER)

    async def prune_volumes(self, filters: Filters) -> Document:
        """Those that no container has are gone; returns ``{"VolumesDeleted", "SpaceReclaimed"}``."""
        names, freed_bytes = await self._jobs.finish(self._jobs.thread(self._store.prune, filters))
        for name in names:
            self._publish("volume", "destroy", name, _DRIVER)
        self._publish("volume", "prune", "", {"reclaimed": str(freed_bytes)})
        return {"VolumesDeleted": list(names) or None, "SpaceReclaimed": freed_bytes}

    def usage(self) -> list[Document]:
        """All, with what they take; blocks."""
        found = []
        for volume in self._store.list_volumes({}):
            try:
                size_bytes = self._store.size_bytes(volume.name)
            except (NotFound, OSError):  # it has just gone
                continue
            usage = {"Size": size_bytes, "RefCount": len(self._store.users(volume.name))}
            found.append({**volume.document(), "UsageData": usage})
        return found
