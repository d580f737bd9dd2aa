"""A whole engine: its parts, put together, with what begins and ends them.

    async with Engine(settings) as engine:
        await engine.create_container(…)

It is what ``api.ports.Backend`` describes.  Everything it does is some part's doing:

    roster        the containers that there are, in memory and in ``engine.db``
    journal       events
    maker         create, remove            ender        stop, kill, restart, pause
    supervisor    start, ends, restarts     desk         lists, inspections, rename, update, wait, attach
    execs         further processes         roots        images, as far as containers need them
    pictures      images for clients        files        copies, changes, exports of containers' files
    shippers      output for the machine's logs
    logs, stats   output, figures           health       whether containers are well
    volumes       for clients               networks     for clients
    places        networks, volumes and namespaces of containers that run
"""

from __future__ import annotations

import contextlib
import logging
import os

from pierhead.engine.about import info_document, version_document
from pierhead.engine.cgroupparent import note_parent, remove_parent
from pierhead.engine.commit import CommitRequest, commit
from pierhead.engine.containers import ContainerDesk
from pierhead.engine.containertree import ContainerTrees
from pierhead.engine.ending import Ender
from pierhead.engine.execnotes import ExecNotes
from pierhead.engine.execs import Execs
from pierhead.engine.files import ContainerFiles
from pierhead.engine.happenings import container_event
from pierhead.engine.healthwatch import HealthWatches
from pierhead.engine.imagedocuments import shared_sizes
from pierhead.engine.images import EngineImages
from pierhead.engine.jobs import Jobs
from pierhead.engine.journal import Journal
from pierhead.engine.launching import Launcher
from pierhead.engine.lifecycle import is_alive
from pierhead.engine.logs import ContainerLogs
from pierhead.engine.logship.shipping import Shippers
from pierhead.engine.making import Maker
from pierhead.engine.networks import NetworkDesk
from pierhead.engine.places import Places
from pierhead.engine.planning import Planner
from pierhead.engine.record import Event
from pierhead.engine.roots import Roots
from pierhead.engine.roster import Roster
from pierhead.engine.settings import Paths
from pierhead.engine.stats import ContainerStats
from pierhead.engine.store import Store
from pierhead.engine.supervise import Supervisor
from pierhead.engine.usermapping import read_user_maps
from pierhead.engine.userports import port_keeper
from pierhead.engine.volumedesk import VolumeDesk
from pierhead.engine.volumes import VolumeStore
from pierhead.errors import Conflict, NotFound, PierheadError
from pierhead.images.service import ImageService
from pierhead.linux.files import lock_soon
from pierhead.net import NetworkService, NetworkSettings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any, Self

    from pierhead.engine.documents import (
        ContainerConfig,
        ExecConfig,
        HostConfig,
        NetworkingConfig,
        UpdateConfig,
        VolumeCreate,
    )
    from pierhead.engine.queries import AttachQuery, LogQuery
    from pierhead.engine.record import Record
    from pierhead.engine.settings import Settings
    from pierhead.engine.streams import Attachment
    from pierhead.runtime.stats import Stats

    Document = dict[str, Any]
    Documents = AsyncIterator[Document]
    Bytes = AsyncIterator[bytes]
    Filters = dict[str, list[str]]

_log = logging.getLogger(__name__)


class Engine:
    """Containers on one machine, in directories of its own; an asynchronous context manager.

    Attributes:
        settings: how it is set up.
        paths: where it keeps what.
        jobs, journal, roster, roots, places, supervisor, ender, maker, desk, execs, pictures, files, logs,
            stats, volumes, networks: its parts; see the module.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is opened before the engine is entered."""
        self.settings = settings
        self.paths = Paths(data_root=settings.data_root, exec_root=settings.exec_root)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """It works: what ran is watched again, what was left half-way is settled.

        Raises:
            Conflict: another engine works in these directories.
            OperationFailed: its database is damaged.
        """
        async with contextlib.AsyncExitStack() as stack:
            self._open(stack)
            self.jobs = Jobs()
            self._put_together()
            stack.callback(self.supervisor.close)
            await stack.enter_async_context(self.jobs)
            stack.callback(self.execs.rest)
            stack.callback(self.supervisor.rest)
            await self.supervisor.restore()
            for warning in await self.jobs.thread(self.places.restore, self.roster.all()):
                _log.warning("%s", warning)
            await self.maker.settle()
            self.shippers.restore(self.roster.all())
            self.jobs.begin(self.supervisor.start_at_boot())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Nothing is open any more; containers go on."""
        await self._stack.aclose()

    def _open(self, stack: contextlib.AsyncExitStack) -> None:
        for directory in (self.paths.data_root, self.paths.exec_root):
            os.makedirs(directory, mode=0o711, exist_ok=True)
        for name in ("containers",):
            os.makedirs(f"{self.paths.data_root}/{name}", mode=0o710, exist_ok=True)
        lock_fd = os.open(f"{self.paths.exec_root}/engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        stack.callback(os.close, lock_fd)
        if not lock_soon(lock_fd):
            raise Conflict(
                f"another engine works in {self.paths.exec_root}",
                code="engine-runs",
                hint="stop it, or give this one an --exec-root and a --data-root of its own",
            )
        if self.settings.cgroup_manager == "cgroupfs":
            note_parent(self.paths.exec_root, self.settings.cgroup_parent)
            stack.callback(remove_parent, self.paths.exec_root)
        self._store = stack.enter_context(Store(self.paths.database))
        self.images = stack.enter_context(
            ImageService(self.paths.data_root, snapshotter=self.settings.storage)
        )
        self._users = read_user_maps(self.settings.userns_remap, self.paths.data_root)
        self._store_of_volumes = stack.enter_context(
            VolumeStore(
                self.paths.database,
                self.paths.volumes,
                f"{self.paths.exec_root}/containers",
                owner=self._users.root if self._users else None,
            )
        )
        self._network = self._open_network(stack)

    def _put_together(self) -> None:
        jobs = self.jobs
        self.journal = Journal(self._store, jobs)
        self.roster = Roster(self._store, self.journal)
        self.roots = Roots(self.images, jobs)
        self.places = Places(
            self.roster,
            jobs,
            self.roots,
            self._store_of_volumes,
            self._network,
            self.paths,
            self._users,
        )
        self.volumes = VolumeDesk(self._store_of_volumes, jobs, self.publish)
        self.networks = NetworkDesk(self._network, self.roster.all, self.publish)
        self.planner = Planner(self.settings, self.paths, self.roots, self._users)
        launcher = Launcher(self.paths, self.planner)
        self.supervisor = Supervisor(self.roster, jobs, launcher, self.places)
        self.ender = Ender(self.roster, jobs, self.supervisor, self.settings)
        self.execs = Execs(self.roster, jobs, self.supervisor, self.planner, ExecNotes(self.paths))
        self.maker = Maker(
            self.roster,
            jobs,
            self.roots,
            self.planner,
            self.places,
            self.supervisor,
            self.ender,
            self.paths,
        )
        self.maker.on_removal.append(self.execs.forget)
        self.supervisor.companions.append(self.execs)
        self.supervisor.remove = self.maker.remove_at_end
        self.supervisor.companions.append(HealthWatches(self.roster, jobs, self.execs))
        self.shippers = Shippers(jobs, self.paths)
        self.supervisor.companions.append(self.shippers)
        self.supervisor.checks.append(self.shippers.check)
        self.maker.on_removal.append(self.shippers.forget)
        self._add_reading_parts()
        self.desk = ContainerDesk(
            self.roster,
            jobs,
            self.roots,
            self.planner,
            self.supervisor,
            self.maker,
            self.paths,
            self.execs.ids_of,
        )

    def _open_network(self, stack: contextlib.AsyncExitStack) -> NetworkService | None:
        """The default network, if there is to be one.

        Raises:
            PierheadError: it cannot be made.
        """
        wanted = self.settings.bridge
        if wanted is None:
            return None
        settings = NetworkSettings(
            bridge=wanted.name,
            subnet=wanted.subnet,
            gateway=wanted.gateway,
            ipv6_subnet=wanted.ipv6_subnet,
            mtu=wanted.mtu,
            masquerade=wanted.masquerade,
            host_ip=wanted.host_ip,
        )
        rootless = self.settings.rootless
        ports = port_keeper(rootless.network if rootless is not None else None)
        network = NetworkService(f"{self.paths.exec_root}/network", settings, ports)
        stack.callback(_rest, network)
        for warning in network.ensure():
            _log.warning("%s", warning)
        return network

    def _add_reading_parts(self) -> None:
        """What clients see of images, files, output and figures."""
        self.pictures = EngineImages(
            self.images,
            self.settings,
            records=self.roster.all,
            publish=lambda action, actor, what: self.publish("image", action, actor, what),
        )
        volumes = self._store_of_volumes
        self._trees = ContainerTrees(
            self.roots.mount,
            self._users,
            is_seen=lambda record, point: volumes.is_seen(record.config, record.host, point),
        )
        self.files = ContainerFiles(self._trees, self.roster.get, self.roster.lock)
        self.logs = ContainerLogs(path=lambda record: self.paths.log(record.id), wait_end=self._wait_end)
        self.stats = ContainerStats(find_record=self.roster.get, read=self._read_stats)

    async def _wait_end(self, record: Record) -> None:
        await self.supervisor.waiting.expect(self.roster.get(record.id), "not-running")

    async def _read_stats(self, record: Record) -> Stats:
        return await self.jobs.thread(self.supervisor.get(record).stats)

    # Containers

    async def create_container(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
    ) -> Document:
        """See ``api.ports.Containers``; so for all that follow."""
        record = await self.maker.create(name, config, host, networking, platform)
        return {"Id": record.id, "Warnings": list(record.warnings)}

    async def list_containers(
        self, *, stopped: bool, limit: int, size: bool, filters: Filters
    ) -> list[Document]:
        return await self.desk.summaries(stopped=stopped, limit=limit, size=size, filters=filters)

    async def inspect_container(self, reference: str, *, size: bool) -> Document:
        return await self.desk.inspect(reference, size=size)

    async def start_container(self, reference: str) -> None:
        await self.supervisor.start_by_hand(reference)

    async def stop_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        await self.ender.stop(reference, timeout_s=timeout_s, signal=signal)

    async def restart_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        await self.ender.restart(reference, timeout_s=timeout_s, signal=signal)

    async def kill_container(self, reference: str, *, signal: str) -> None:
        await self.ender.kill(reference, signal=signal)

    async def pause_container(self, reference: str) -> None:
        await self.ender.pause(reference)

    async def unpause_container(self, reference: str) -> None:
        await self.ender.unpause(reference)

    async def rename_container(self, reference: str, name: str) -> None:
        await self.desk.rename(reference, name)

    async def update_container(self, reference: str, update: UpdateConfig) -> Document:
        return await self.desk.update(reference, update)

    async def remove_container(self, reference: str, *, force: bool, volumes: bool) -> None:
        await self.maker.remove(reference, force=force, volumes=volumes)

    async def prune_containers(self, filters: Filters) -> Document:
        return await self.desk.prune(filters)

    async def wait_container(self, reference: str, condition: str) -> AsyncIterator[Document | None]:
        return await self.desk.wait(reference, condition)

    async def attach_container(self, reference: str, query: AttachQuery) -> Attachment:
        before_ns = self.roster.now_ns()
        attachment = await self.desk.attach(reference, query)
        if query.logs:
            attachment.begin_with(self.logs.past(self.roster.get(reference), query, before_ns))
        return attachment

    async def resize_container(self, reference: str, *, rows: int, columns: int) -> None:
        await self.desk.resize(reference, rows=rows, columns=columns)

    async def container_top(self, reference: str, ps_arguments: str) -> Document:
        return await self.desk.top(reference, ps_arguments)

    async def container_logs(
        self, reference: str, query: LogQuery
    ) -> tuple[bool, AsyncIterator[tuple[str, bytes]]]:
        record = self.roster.get(reference)
        return record.config.tty, await self.logs.read(record, query)

    async def container_stats(self, reference: str, *, stream: bool, one_shot: bool) -> Documents:
        return await self.stats.container_stats(reference, stream=stream, one_shot=one_shot)

    # Their files

    async def container_changes(self, reference: str) -> list[Document]:
        return await self.files.container_changes(reference)

    async def export_container(self, reference: str) -> Bytes:
        record = self.roster.get(reference)
        found = await self.files.export_container(record.id)
        self._tell_of(record, "export")
        return found

    async def stat_archive(self, reference: str, path: str) -> Document:
        return await self.files.stat_archive(reference, path)

    async def get_archive(self, reference: str, path: str) -> tuple[Document, Bytes]:
        record = self.roster.get(reference)
        found = await self.files.get_archive(record.id, path)
        self._tell_of(record, "archive-path")
        return found

    async def put_archive(
        self, reference: str, path: str, archive: Bytes, *, no_overwrite: bool, copy_owners: bool
    ) -> None:
        record = self.roster.get(reference)
        await self.files.put_archive(
            record.id, path, archive, no_overwrite=no_overwrite, copy_owners=copy_owners
        )
        self._tell_of(record, "extract-to-dir")

    async def commit_container(
        self,
        reference: str,
        *,
        repository: str,
        tag: str,
        comment: str,
        author: str,
        pause: bool,
        changes: list[str],
        config: ContainerConfig | None,
    ) -> Document:
        record = self.roster.get(reference)
        request = CommitRequest(
            name=f"{repository}:{tag}" if repository and tag else repository,
            comment=comment,
            author=author,
            changes=tuple(changes),
            config=config,
        )
        pauses = pause and is_alive(record) and record.state.status != "paused"
        if pauses:
            await self.ender.pause(record.id)
        try:
            mount = self._trees.mount_of(record)
            identity = await self.jobs.thread(commit, self.images, record, mount, request)
        finally:
            if pauses:
                with contextlib.suppress(Conflict, NotFound):  # it has ended meanwhile, or is gone
                    await self.ender.unpause(record.id)
        if request.name:
            self.pictures.tell_tag(identity, request.name)
        self._tell_of(record, "commit", comment=comment, imageID=identity, imageRef=request.name)
        return {"Id": identity}

    # Further processes

    async def create_exec(self, reference: str, config: ExecConfig) -> Document:
        return await self.execs.create(reference, config)

    async def start_exec(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, ...]
    ) -> Attachment | None:
        return await self.execs.start(exec_id, detach=detach, console_size=console_size)

    async def run_exec(self, reference: str, config: ExecConfig, *, timeout_s: float) -> tuple[int, bytes]:
        return await self.execs.run(reference, config, timeout_s=timeout_s)

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        await self.execs.resize(exec_id, rows=rows, columns=columns)

    async def inspect_exec(self, exec_id: str) -> Document:
        return await self.execs.inspect(exec_id)

    # Images

    async def list_images(self, *, intermediate: bool, filters: Filters, manifests: bool) -> list[Document]:
        return await self.pictures.list_images(
            intermediate=intermediate, filters=filters, manifests=manifests
        )

    async def inspect_image(self, reference: str, platform: str) -> Document:
        return await self.pictures.inspect_image(reference, platform)

    async def image_history(self, reference: str, platform: str) -> list[Document]:
        return await self.pictures.image_history(reference, platform)

    async def pull_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents:
        return await self.pictures.pull_image(reference, platform, credentials, all_tags=all_tags)

    async def import_image(
        self,
        archive: Bytes,
        *,
        repository: str,
        tag: str,
        message: str,
        changes: list[str],
        platform: str,
    ) -> Documents:
        return await self.pictures.import_image(
            archive, repository=repository, tag=tag, message=message, changes=changes, platform=platform
        )

    async def push_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents:
        return await self.pictures.push_image(reference, platform, credentials, all_tags=all_tags)

    async def tag_image(self, reference: str, repository: str, tag: str) -> None:
        await self.pictures.tag_image(reference, repository, tag)

    async def remove_image(self, reference: str, *, force: bool, no_prune: bool) -> list[Document]:
        return await self.pictures.remove_image(reference, force=force, no_prune=no_prune)

    async def prune_images(self, filters: Filters) -> Document:
        return await self.pictures.prune_images(filters)

    async def save_images(self, references: list[str], platform: str) -> Bytes:
        return await self.pictures.save_images(references, platform)

    async def load_images(self, archive: Bytes, *, quiet: bool, platform: str) -> Documents:
        return await self.pictures.load_images(archive, quiet=quiet, platform=platform)

    async def distribution(self, reference: str, credentials: Document) -> Document:
        return await self.pictures.distribution(reference, credentials)

    async def check_login(self, credentials: Document) -> Document:
        return await self.pictures.check_login(credentials)

    # Volumes and networks

    async def create_volume(self, wanted: VolumeCreate) -> Document:
        return await self.volumes.create_volume(wanted)

    async def list_volumes(self, filters: Filters) -> Document:
        return await self.volumes.list_volumes(filters)

    async def inspect_volume(self, name: str) -> Document:
        return await self.volumes.inspect_volume(name)

    async def remove_volume(self, name: str, *, force: bool) -> None:
        await self.volumes.remove_volume(name, force=force)

    async def prune_volumes(self, filters: Filters) -> Document:
        return await self.volumes.prune_volumes(filters)

    async def list_networks(self, filters: Filters) -> list[Document]:
        return await self.networks.list_networks(filters)

    async def inspect_network(self, reference: str) -> Document:
        return await self.networks.inspect_network(reference)

    async def prune_networks(self, filters: Filters) -> Document:
        return await self.networks.prune_networks(filters)

    # The engine

    async def disk_usage(self, kinds: list[str]) -> Document:
        """Sizes of what there is: of ``container``, ``image``, ``volume``; all if none is named."""
        found: Document = {"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": []}
        if not kinds or "image" in kinds:
            shared, once_bytes = await self.jobs.thread(shared_sizes, self.images)
            images = await self.list_images(intermediate=False, filters={}, manifests=False)
            found["Images"] = [each | {"SharedSize": shared.get(each["Id"], 0)} for each in images]
            own_bytes = sum(each["Size"] - each["SharedSize"] for each in found["Images"])
            found["LayersSize"] = own_bytes + once_bytes
        if not kinds or "container" in kinds:
            found["Containers"] = await self.desk.summaries(stopped=True, limit=0, size=True, filters={})
        if not kinds or "volume" in kinds:
            found["Volumes"] = await self.jobs.thread(self.volumes.usage)
        return found

    async def info(self) -> Document:
        images = await self.jobs.thread(lambda: len(self.images.library.images()))
        return info_document(
            self.settings,
            self.planner.machine,
            self.roster.all(),
            images,
            self.journal.followers,
            self.roster.now_ns(),
        )

    async def version(self) -> Document:
        return version_document()

    def events(self, *, since_ns: int, until_ns: int, filters: Filters) -> AsyncIterator[Event]:
        return self.journal.follow(since_ns=since_ns, until_ns=until_ns, filters=filters)

    def _tell_of(self, record: Record, action: str, **what: str) -> None:
        self.roster.tell(container_event(record, action, self.roster.now_ns(), **what))

    def publish(self, kind: str, action: str, actor: str, attributes: dict[str, str]) -> None:
        """Something happened to an image, a volume or a network."""
        now_ns = self.roster.now_ns()
        self.roster.tell(Event(kind=kind, action=action, actor=actor, attributes=attributes, time_ns=now_ns))


def _rest(network: NetworkService) -> None:
    """Nothing of the network is open; it is gone if no container is in it."""
    try:
        network.remove()
    except PierheadError:
        network.close()
