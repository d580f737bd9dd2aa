"""Containers come to be, and go: their files and their record, with a death of the engine in mind.

create   files first, then the record: files without a record are nobody's, and go at the next start
remove   the status ``removing`` first, then its volumes, then the record: the next start goes on with it;
         its files are then nobody's, and go at last
"""

from __future__ import annotations

import contextlib
import logging
import os

from pierhead.engine import lifecycle
from pierhead.engine.happenings import container_event, volume_event
from pierhead.engine.joining import with_hostname, with_ids
from pierhead.engine.naming import no_such_container
from pierhead.engine.networknames import DEFAULT_NETWORK
from pierhead.engine.record import Record
from pierhead.engine.volumemounts import unmount_all
from pierhead.errors import InvalidInput, NotFound, PierheadError
from pierhead.images.removal import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pierhead.engine.documents import ContainerConfig, HostConfig, NetworkingConfig
    from pierhead.engine.ending import Ender
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.places import Places
    from pierhead.engine.planning import Planner
    from pierhead.engine.roots import Origin, Roots
    from pierhead.engine.roster import Roster
    from pierhead.engine.settings import Paths
    from pierhead.engine.supervise import Supervisor

_ID_BYTES = 32
_LEFT = "what is left of container %s cannot be removed: %s"
_log = logging.getLogger(__name__)


class Maker:
    """Makes containers and removes them."""

    def __init__(
        self,
        roster: Roster,
        jobs: Jobs,
        roots: Roots,
        planner: Planner,
        places: Places,
        supervisor: Supervisor,
        ender: Ender,
        paths: Paths,
    ) -> None:
        self._roster = roster
        self._jobs = jobs
        self._roots = roots
        self._planner = planner
        self._places = places
        self._supervisor = supervisor
        self._ender = ender
        self._paths = paths
        self.on_removal: list[Callable[[str], None]] = []
        """Called with the id of each container that is gone."""

    # Coming to be

    async def create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
    ) -> Record:
        """The container is there, and does not run yet.

        Raises:
            NotFound: there is no such image.
            Conflict: the name is taken.
            InvalidInput: something in the documents cannot be.
        """
        return await self._jobs.finish(self._create(name, config, host, networking, platform))

    async def _create(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
    ) -> Record:
        name = self._roster.reserve(name)
        try:
            origin = await self._roots.find(config.image, platform)
            config, host, warnings = self._planner.fill(config, origin.execution, host)
            container_id = os.urandom(_ID_BYTES).hex()
            host = with_ids(host, self._seek)
            record = Record(
                id=container_id,
                name=name,
                created_ns=self._roster.now_ns(),
                image=config.image,
                image_id=origin.image_id,
                config=with_hostname(config, host, container_id, self._seek),
                host=host,
                networking=_with_default_named(networking),
                warnings=(*origin.warnings, *warnings),
            )
            return await self._lay_down(record, origin)
        finally:
            self._roster.release(name)

    async def _lay_down(self, record: Record, origin: Origin) -> Record:
        """Its files are there, then its record."""
        try:
            record = record.replace(root=await self._roots.prepare(record.id, origin))
            with _as_refusal():
                record, new_volumes = await self._places.decide(record)
                await self._show_images(record)
            now_ns = self._roster.now_ns()
            made = [volume_event(volume, "create", now_ns) for volume in new_volumes]
            return self._roster.put(record, *made, container_event(record, "create", now_ns))
        except BaseException:
            await self._jobs.thread(self._take_back, record)
            raise

    async def _show_images(self, record: Record) -> None:
        """The images that it mounts are there to be read."""
        for number, point in enumerate(record.mounts):
            if point.type == "image":
                await self._roots.show(record.id, number, point.name)

    def _take_back(self, record: Record) -> None:
        self._roots.hide(record.id, len(record.mounts))
        self._places.release(record, volumes=True)
        self._roots.remove(record.root)
        remove_files(self._paths, record.id)

    # Going

    async def remove(self, reference: str, *, force: bool, volumes: bool) -> None:
        """Nothing of the container is left.

        Args:
            reference: names it.
            force: it is killed first if it runs.
            volumes: its nameless volumes go too.

        Raises:
            Conflict: it runs, or somebody removes it at this moment.
            OperationFailed: what it has cannot be given back; it is dead, and can be removed again.
        """
        await self._jobs.finish(self._remove(self._roster.get(reference).id, force=force, volumes=volumes))

    async def _remove(self, container_id: str, *, force: bool, volumes: bool) -> None:
        with self._supervisor.keeping(container_id):
            if not force:
                lifecycle.check_removal(self._need(container_id))
                await self._remove_ended(container_id, volumes=volumes)
                return
            record = self._need(container_id)
            with self._root_held(record):
                await self._ender.end_now(record)
                await self._remove_ended(container_id, volumes=volumes)

    @contextlib.contextmanager
    def _root_held(self, record: Record) -> Iterator[None]:
        """Its end inside does not wait for the disk, which files that go at once do not need.

        The last who has an overlay open flushes the whole file system below it (overlayfs's sync_fs, at
        umount(2)): that is us then, in a thread, when the container is gone.
        """
        try:
            fd = os.open(f"/proc/{record.state.pid}/root", os.O_PATH | os.O_CLOEXEC)
        except OSError:  # it does not run
            yield
            return
        try:
            yield
        finally:
            self._jobs.begin(self._jobs.thread(os.close, fd))

    async def _remove_ended(self, container_id: str, *, volumes: bool) -> None:
        async with self._roster.lock(container_id):
            record = self._need(container_id)
            lifecycle.check_removal(record)
            await self._remove_held(record, volumes=volumes)

    async def remove_at_end(self, container_id: str) -> None:
        """It asked to be removed at its end, with its nameless volumes."""
        await self._remove(container_id, force=False, volumes=True)

    async def _remove_held(self, record: Record, *, volumes: bool) -> None:
        """The same, of a container that does not run; the caller holds its lock."""
        state = lifecycle.after(record, "remove").replace(volumes_go=volumes)
        await self._finish_removal(self._roster.put(record.replace(state=state)))

    async def _finish_removal(self, record: Record) -> None:
        self._supervisor.forget(record.id)
        try:
            root, gone_volumes = await self._jobs.thread(self._give_back, record)
        except (PierheadError, OSError) as error:
            state = lifecycle.after(record, "fail-removal").replace(error=str(error))
            self._roster.observe(record.replace(state=state))
            raise
        now_ns = self._roster.now_ns()
        gone = [volume_event(volume, "destroy", now_ns) for volume in gone_volumes]
        self._roster.drop(record, *gone, container_event(record, "destroy", now_ns))
        self._supervisor.waiting.gone(record)
        for tell in self.on_removal:
            tell(record.id)
        self._jobs.begin(self._jobs.thread(self._remove_left, record.id, root))

    def _give_back(self, record: Record) -> tuple[str, tuple[str, ...]]:
        """Returns where its own files are, which nobody knows any more, and which volumes are gone."""
        self._roots.hide(record.id, len(record.mounts))
        root = self._roots.detach(record.root)
        return root, self._places.release(record, volumes=record.state.volumes_go)

    def _remove_left(self, container_id: str, root: str) -> None:
        """Its files are gone.  Nobody waits for that: it takes as long as everything before it."""
        try:
            if root:
                remove_tree(root)
            remove_files(self._paths, container_id)
        except (PierheadError, OSError) as error:
            _log.warning(_LEFT, container_id, error)

    def _seek(self, reference: str) -> Record | None:
        try:
            return self._roster.get(reference)
        except PierheadError:
            return None

    def _need(self, container_id: str) -> Record:
        record = self._roster.find(container_id)
        if record is None:
            raise no_such_container(container_id)
        return record

    # What was left half-way

    async def settle(self) -> None:
        """What an engine that was killed had begun to remove is gone, and so is what never came to be.

        One that ends at this moment is not waited for: whoever cleans up after it removes it.
        """
        for record in self._roster.all():
            if _is_half_gone(record) and not self._supervisor.is_ending(record.id):
                async with self._roster.lock(record.id):
                    with contextlib.suppress(PierheadError, OSError):  # the record says why
                        await self._settle(record.id)
        records = self._roster.all()
        ids = frozenset(record.id for record in records)
        await self._jobs.thread(self._roots.remove_others, ids)
        await self._jobs.thread(remove_other_files, self._paths, ids)

    async def _settle(self, container_id: str) -> None:
        record = self._need(container_id)
        if record.state.status == "removing":
            await self._finish_removal(record)
        elif _is_half_gone(record):
            await self._remove_held(record, volumes=True)


def _is_half_gone(record: Record) -> bool:
    return record.state.status == "removing" or (record.host.auto_remove and record.state.status == "exited")


@contextlib.contextmanager
def _as_refusal() -> Iterator[None]:
    """What mounts need and is not there is a fault of the request: clients take a NotFound for an image that
    is to be pulled.

    Raises:
        InvalidInput: in the place of NotFound.
    """
    try:
        yield
    except NotFound as error:
        raise InvalidInput(error.message, code=error.code, hint=error.hint) from None


def _with_default_named(networking: NetworkingConfig) -> NetworkingConfig:
    """Docker's command line calls the default network ``default`` where it names none."""
    endpoints = dict(networking.endpoints_config)
    wanted = endpoints.pop("default", None)
    if wanted is None:
        return networking
    return networking.replace(endpoints_config={DEFAULT_NETWORK: wanted} | endpoints)


def remove_files(paths: Paths, container_id: str) -> None:
    """Directories of the container are gone.

    Raises:
        OSError, OperationFailed: something in them cannot be removed.
    """
    unmount_all(paths.changes(container_id))
    remove_tree(paths.container(container_id))
    remove_tree(paths.running(container_id))


def remove_other_files(paths: Paths, kept: frozenset[str]) -> None:
    """Directories of containers that never came to be are gone.

    Args:
        paths: the engine's.
        kept: ids of those that there are.
    """
    for directory in (f"{paths.data_root}/containers", f"{paths.exec_root}/containers"):
        names = os.listdir(directory) if os.path.isdir(directory) else []
        for name in names:
            if name not in kept and len(name) == 2 * _ID_BYTES:
                try:
                    remove_files(paths, name)
                except (PierheadError, OSError) as error:
                    _log.warning(_LEFT, name, error)
