"""Volumes: files that outlive their containers; and where all of a container's mounts come from.

    with VolumeStore(paths.database, paths.volumes, running_root) as volumes:
        volumes.reconcile(container_ids, running_ids)             when the engine starts
        decided = volumes.resolve(container_id, config, host, others)
        for point in decided.to_fill:
            volumes.copy_up(root_fd, point)                       what the image has there
        sources = volumes.mount(container_id, config, host, decided.mounts)   for Ground.sources
        volumes.unmount(container_id)                             when it has ended
        volumes.release(container_id, anonymous=True)             when it is removed

On disk (docker's tree)::

    volumes/NAME/_data             the files; owner, mode as the image's directory if it was filled from one
                _data.filling      being filled: not yet there for anybody
            .removing-…            nobody's any more

A volume is made with its directory before its row, and removed row first (``removing``), so a directory that
is empty and has no row is a making that was cut off, and a row that says ``removing`` a removal.

One thread at a time mounts, fills or removes one volume; the database is never held while files are copied.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING

from pierhead.engine.documents import VolumeCreate, VolumeOptions
from pierhead.engine.record import MountPoint
from pierhead.engine.specgen.mountwords import parse_volumes_from, wanted_mounts
from pierhead.engine.volumemounts import (
    check_bind_source,
    check_propagation,
    make_bind_source,
    mount_part,
    mount_volume,
    remove_places,
    unmount_all,
)
from pierhead.engine.volumetable import VolumeTable
from pierhead.engine.volumewords import (
    ANONYMOUS_LABEL,
    LOCAL,
    Volume,
    VolumeFilter,
    check_driver,
    check_volume,
    driver_mount,
    list_filter,
    prune_filter,
)
from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed
from pierhead.images.filetrees import copy_tree, count_tree
from pierhead.images.removal import remove_or_say, remove_tree
from pierhead.linux import files
from pierhead.values import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import Self

    from pierhead.engine.documents import ContainerConfig, HostConfig, Mount
    from pierhead.engine.specgen.mountwords import WantedMount
    from pierhead.images.snapshots import Owners

_log = logging.getLogger(__name__)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILLING = "_data.filling"
_REMOVING = ".removing-"
"""No volume's name begins with a dot."""


class Decided(Value):
    """What a container's mounts have become.

    Fields:
        mounts: for its record.
        created: volumes that were made for it.
        to_fill: volumes that get what the image has at their place, if they are empty.
    """

    mounts: tuple[MountPoint, ...]
    created: tuple[Volume, ...] = ()
    to_fill: tuple[MountPoint, ...] = ()


class VolumeStore:
    """All volumes of an engine.  Safe for threads; every method waits for the disk."""

    def __init__(
        self, database: str, directory: str, running_root: str, *, owner: tuple[int, int] | None = None
    ) -> None:
        """The store is open.

        Args:
            database: path of ``engine.db``.
            directory: of volumes; made where it is missing.
            running_root: directory that has one for each running container: ``EXEC_ROOT/containers``.
            owner: user and group of new volumes: the host's ids of containers' root, where they are mapped;
                None is the engine itself.
        """
        os.makedirs(directory, mode=0o711, exist_ok=True)
        self._directory = directory
        self._running_root = running_root
        self._owner = owner
        self._table = VolumeTable(database, directory)
        self._guard = threading.Lock()
        self._locks: dict[str, threading.RLock] = {}

    def _lock(self, name: str) -> threading.RLock:
        """What is held while the volume's files or mounts are changed; before the table's, never within."""
        with self._guard:
            return self._locks.setdefault(name, threading.RLock())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The database is closed."""
        self._table.close()

    def reconcile(self, there: Collection[str], running: Collection[str]) -> tuple[str, ...]:
        """What was cut off is completed or undone, and nothing is mounted that no container needs.

        Args:
            there: ids of the containers that there are.
            running: of those, which run.

        Returns:
            Directories that have files and no volume: nobody knows of them, and they are left alone.
        """
        self._table.settle(there, running)
        for name in self._table.being_removed():
            with _said(name):
                remove_or_say(self._finish_removal(name))
        being_removed = self._table.being_removed()  # what could not be, now
        known = {volume.name for volume in self._table.all()}.union(being_removed)
        for volume in self._table.all():
            with _said(volume.name):
                if not self._table.is_mounted(volume.name):
                    unmount_all(volume.mountpoint)
            remove_or_say(f"{self._directory}/{volume.name}/{_FILLING}")
        strangers = [
            name
            for name in sorted(os.listdir(self._directory))
            if name not in known and not self._remove_remains(name)
        ]
        return tuple(strangers)

    def _remove_remains(self, name: str) -> bool:
        """Whether the directory was a volume that was being made or removed, and is gone if it can be."""
        path = f"{self._directory}/{name}"
        if name.startswith(_REMOVING):
            remove_or_say(path)
            return True
        for each in (f"{path}/_data", path):
            try:
                os.rmdir(each)
            except FileNotFoundError:
                continue
            except OSError:
                return False
        return True

    # By name

    def ensure(self, wanted: VolumeCreate) -> tuple[Volume, bool]:
        """A volume of this name, and whether it is new: else it is the one that there is, as Docker has it.

        Raises:
            InvalidInput, NotFound, Unsupported: see ``check_volume``.
        """
        check_volume(wanted)
        return self._ensure(wanted)

    def _ensure(self, wanted: VolumeCreate, container_id: str = "") -> tuple[Volume, bool]:
        """The volume, which the container has from now on, and whether it is new."""
        name, labels = wanted.name, wanted.labels
        if not name:
            name, labels = secrets.token_hex(32), {**labels, ANONYMOUS_LABEL: ""}
        with self._lock(name), self._table.writing():
            if container_id:
                self._table.use((name,), container_id)
            found = self._table.find(name)
            if found is not None:
                return found, False
            mountpoint = f"{self._directory}/{name}/_data"
            os.makedirs(os.path.dirname(mountpoint), mode=0o701, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(mountpoint)
                os.chmod(mountpoint, 0o755)  # whatever the engine's umask
                if self._owner:
                    os.chown(mountpoint, *self._owner)
            volume = Volume(
                name=name,
                options=wanted.driver_opts,
                labels=labels,
                created_ns=time.time_ns(),
                mountpoint=mountpoint,
            )
            self._table.add(volume)
        return volume, True

    def get(self, name: str) -> Volume:
        """The volume.

        Raises:
            NotFound: there is none.
        """
        return self._table.get(name)

    def list_volumes(self, filters: dict[str, list[str]]) -> tuple[Volume, ...]:
        """Volumes by name; ``filters`` as in ``GET /volumes``.

        Raises:
            InvalidInput: there is no such filter.
        """
        return self._matching(list_filter(filters))

    def _matching(self, wanted: VolumeFilter) -> tuple[Volume, ...]:
        used = self._table.used()
        return tuple(each for each in self._table.all() if wanted.matches(each, used=each.name in used))

    def users(self, name: str) -> tuple[str, ...]:
        """Ids of containers that have the volume."""
        return tuple(self._table.users(name))

    def size_bytes(self, name: str) -> int:
        """What its files take on the disk.

        Raises:
            NotFound: there is no such volume.
        """
        fd = os.open(self.get(name).mountpoint, _DIRECTORY)
        try:
            return count_tree(fd).size_bytes
        finally:
            os.close(fd)

    def remove(self, name: str, *, force: bool = False) -> bool:
        """The volume and its files are gone; whether there was one.

        Args:
            name: its name.
            force: whether it may be missing.

        Raises:
            NotFound: there is none.
            Conflict: a container has it, running or not.
        """
        with self._lock(name):
            try:
                self._table.begin_removal(name)
            except NotFound:
                if force:
                    return False
                raise
            remains = self._finish_removal(name)
        remove_or_say(remains)
        return True

    def _finish_removal(self, name: str) -> str:
        """The name can be given anew; returns the directory of what is still to be removed."""
        path = f"{self._directory}/{name}"
        remains = f"{self._directory}/{_REMOVING}{secrets.token_hex(8)}"
        unmount_all(f"{path}/_data")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, remains)
        self._table.end_removal(name)
        return remains

    def prune(self, filters: dict[str, list[str]]) -> tuple[tuple[str, ...], int]:
        """Volumes that no container has are gone; their names, and the bytes that they took.

        Those with options stay, as with Docker: they say where files are that are not the engine's.

        Raises:
            InvalidInput: there is no such filter.
        """
        names, reclaimed_bytes = [], 0
        for volume in self._matching(prune_filter(filters)):
            if volume.options:
                continue
            size_bytes = self.size_bytes(volume.name)
            with contextlib.suppress(Conflict):
                self.remove(volume.name, force=True)
                names.append(volume.name)
                reclaimed_bytes += size_bytes
        return tuple(names), reclaimed_bytes

    # Of a container

    def resolve(
        self,
        container_id: str,
        config: ContainerConfig,
        host: HostConfig,
        others: Mapping[str, tuple[MountPoint, ...]],
    ) -> Decided:
        """What the container's mounts are; volumes are made where they are missing, and are now its own.

        What is asked for goes before what ``VolumesFrom`` brings, and that before what the image wants.

        Args:
            container_id: whose they are; ``release`` gives them back, also where its making fails.
            config: with the image's volumes merged in.
            host: filled in.
            others: mounts of the containers of ``VolumesFrom``, by the names given there.

        Raises:
            InvalidInput, NotFound, Unsupported: a mount cannot be; nothing is left behind.
        """
        asked = wanted_mounts(config, host)
        from_image = {each.mount.target for each in asked} - {
            each.mount.target for each in wanted_mounts(config.replace(volumes={}), host)
        }
        taken = _taken_mounts(host, others)
        from_image &= set(taken)
        kept = [each for each in asked if each.mount.target not in from_image]
        places = {each.mount.target for each in kept}
        for each in kept:
            self._check_source(each, host)
        created: list[Volume] = []
        points: list[MountPoint] = []
        to_fill: list[MountPoint] = []
        try:
            for each in kept:
                point = self._decide(container_id, each, host, created)
                points.append(point)
                if point.type == "volume" and not _volume_options(each.mount).no_copy:
                    to_fill.append(point)
            others_own = [point for target, point in taken.items() if target not in places]
            points += others_own
            self._table.use({point.name for point in others_own if point.type == "volume"}, container_id)
        except BaseException:
            self.release(container_id, anonymous=True)
            raise
        for number, point in enumerate(points):
            if point.type == "image":
                points[number] = point.replace(source=f"{self._places(container_id)}/{number}")
        return Decided(mounts=tuple(points), created=tuple(created), to_fill=tuple(to_fill))

    def _check_source(self, wanted: WantedMount, host: HostConfig) -> None:
        """Everything that can be said against the mount, before anything is made."""
        mount = wanted.mount
        if mount.type == "bind" and not wanted.makes_source:
            if not (mount.bind_options and mount.bind_options.create_mountpoint):
                check_bind_source(mount.source)
        elif mount.type == "volume":
            check_volume(_volume_request(mount, host))

    def _decide(
        self, container_id: str, wanted: WantedMount, host: HostConfig, created: list[Volume]
    ) -> MountPoint:
        mount = wanted.mount
        point = MountPoint(
            type=mount.type, destination=mount.target, mode=wanted.mode, rw=not mount.read_only
        )
        if mount.type == "bind":
            propagation = mount.bind_options.propagation if mount.bind_options else ""
            return point.replace(source=mount.source, propagation=propagation or "rprivate")
        if mount.type == "volume":
            volume, new = self._ensure(_volume_request(mount, host), container_id)
            if new:
                created.append(volume)
            mode = wanted.mode or ("z" if mount.source else "")  # Docker's, whether SELinux is there or not
            return point.replace(name=volume.name, source=volume.mountpoint, driver=LOCAL, mode=mode)
        if mount.type == "image":
            return point.replace(name=mount.source, rw=False)
        return point

    def mount(
        self, container_id: str, config: ContainerConfig, host: HostConfig, points: Sequence[MountPoint]
    ) -> dict[str, str]:
        """Everything that the container's mounts come from is there; call ``unmount`` when it has ended.

        Returns:
            Sources that are not at ``MountPoint.source``, by destination, as ``Ground.sources`` takes them.

        Raises:
            InvalidInput, NotFound, OperationFailed: something cannot be made ready; nothing is left mounted.
        """
        wanted = {each.mount.target: each for each in wanted_mounts(config, host)}
        sources: dict[str, str] = {}
        if any(point.type == "volume" for point in points):
            self._table.mark_mounted(container_id, mounted=True)
        try:
            for number, point in enumerate(points):
                asked = wanted.get(point.destination)
                if point.type == "bind":
                    self._ready_bind(point, asked)
                elif point.type == "volume":
                    self._ready_volume(point.name)
                    subpath = _volume_options(asked.mount).subpath if asked else ""
                    if subpath:
                        place = f"{self._places(container_id)}/{number}"
                        mount_part(point.source, subpath, place)
                        sources[point.destination] = place
        except BaseException:
            self.unmount(container_id)
            raise
        return sources

    def is_seen(self, config: ContainerConfig, host: HostConfig, point: MountPoint) -> bool:
        """Whether the point's files lie at its source now, and are all that the container sees of it: images,
        parts of volumes, and volumes with options of their driver are there only while somebody has them.
        """
        if point.type != "volume":
            return point.type != "image"
        asked = [each.mount for each in wanted_mounts(config, host) if each.mount.target == point.destination]
        if asked and _volume_options(asked[0]).subpath:
            return False
        volume = self._table.get(point.name)
        return driver_mount(volume.options) is None or self._table.is_mounted(point.name)

    def _places(self, container_id: str) -> str:
        return f"{self._running_root}/{container_id}/sources"

    def _ready_bind(self, point: MountPoint, asked: WantedMount | None) -> None:
        options = asked.mount.bind_options if asked else None
        if asked is None or asked.makes_source or (options and options.create_mountpoint):
            make_bind_source(point.source)
        else:
            check_bind_source(point.source)
        check_propagation(point.source, point.propagation)

    def _ready_volume(self, name: str) -> None:
        volume = self._table.get(name)
        wanted = driver_mount(volume.options)
        if wanted is not None:
            with self._lock(name):
                mount_volume(volume, wanted)
        elif not os.path.isdir(volume.mountpoint):
            raise NotFound(
                f"the directory of volume {name} is not there: {volume.mountpoint}",
                code="volume-without-files",
                hint=f"remove the volume: docker volume rm {name}",
            )

    def unmount(self, container_id: str) -> None:
        """Nothing is mounted that only this container needed.  Says nothing where nothing is."""
        remove_places(self._places(container_id))
        names = self._table.volumes_of(container_id)
        if names:
            self._table.mark_mounted(container_id, mounted=False)
        for name in names:
            volume = self._table.find(name)
            with self._lock(name):
                if volume is not None and volume.options and not self._table.is_mounted(name):
                    unmount_all(volume.mountpoint)

    def release(self, container_id: str, *, anonymous: bool) -> tuple[str, ...]:
        """The container has no volumes any more.

        Args:
            container_id: whose they were.
            anonymous: whether those go that nobody has named and nobody else has.

        Returns:
            Names of volumes that are gone.
        """
        self.unmount(container_id)
        gone = self._table.drop(container_id, anonymous=anonymous)
        for name in gone:
            with self._lock(name):
                remains = self._finish_removal(name)
            remove_or_say(remains)
        return tuple(gone)

    def copy_up(self, root_fd: int, point: MountPoint, owners: Owners | None = None) -> bool:
        """An empty volume has what the image has at its place: files, owners, modes, attributes.

        It has all of it, or nothing: a copy that is cut off is begun anew at the next call.

        Args:
            root_fd: the image's root, in which nobody changes anything.
            point: one of ``Decided.to_fill``.
            owners: gives the copy others: in a user namespace.

        Returns:
            Whether something was copied.
        """
        volume = self._table.get(point.name)
        try:
            found = files.open_in_root(root_fd, point.destination)
        except OSError:  # the image has nothing there
            return False
        try:
            try:
                source = os.open(f"/proc/self/fd/{found}/.", _DIRECTORY)
            except NotADirectoryError:
                return False
        finally:
            os.close(found)
        try:
            with self._lock(point.name):
                return self._fill(source, volume, owners)
        finally:
            os.close(source)

    def _fill(self, source_fd: int, volume: Volume, owners: Owners | None) -> bool:
        wanted = driver_mount(volume.options)
        if wanted is not None:
            mount_volume(volume, wanted)
        if os.listdir(volume.mountpoint):
            return False
        if wanted is not None:  # what is mounted cannot be exchanged
            _copy(source_fd, volume.mountpoint, owners)
            return True
        filling = f"{os.path.dirname(volume.mountpoint)}/{_FILLING}"
        remove_tree(filling)
        os.mkdir(filling, 0o700)
        _copy(source_fd, filling, owners)
        os.rename(filling, volume.mountpoint)  # onto an empty directory (rename(2))
        return True


@contextlib.contextmanager
def _said(name: str) -> Iterator[None]:
    """What goes wrong with one volume is in the log, and the others are seen to."""
    try:
        yield
    except (OperationFailed, OSError) as error:
        _log.warning("volume %s: %s", name, error)


def _copy(source_fd: int, target: str, owners: Owners | None) -> None:
    target_fd = os.open(target, _DIRECTORY)
    try:
        copy_tree(source_fd, target_fd, owners)
    finally:
        os.close(target_fd)


def _volume_options(mount: Mount) -> VolumeOptions:
    return mount.volume_options or VolumeOptions()


def _volume_request(mount: Mount, host: HostConfig) -> VolumeCreate:
    options = _volume_options(mount)
    driver = options.driver_config
    check_driver(driver.name if driver and driver.name else host.volume_driver)
    return VolumeCreate(
        name=mount.source,
        driver=LOCAL,
        driver_opts=driver.options if driver else {},
        labels=options.labels,
    )


def _taken_mounts(host: HostConfig, others: Mapping[str, tuple[MountPoint, ...]]) -> dict[str, MountPoint]:
    """Mounts of other containers, by their places; of one place the last one."""
    found: dict[str, MountPoint] = {}
    for text in host.volumes_from:
        name, mode = parse_volumes_from(text)
        if name not in others:
            raise InvalidInput(f"No such container: {name}", code="no-such-container")
        for point in others[name]:
            if point.type in ("bind", "volume"):
                found[point.destination] = point.replace(rw=point.rw and "ro" not in mode.split(","))
    return found
