"""An engine that runs nothing: it remembers what it was asked and answers what a test gave it."""

# ruff: noqa: D102 - verbs are described by the ports

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pierhead.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from pierhead.api.ports import AttachQuery, Document, Filters, LogQuery
    from pierhead.engine.documents import (
        ContainerConfig,
        ExecConfig,
        HostConfig,
        NetworkingConfig,
        UpdateConfig,
        VolumeCreate,
    )
    from pierhead.engine.record import Event

ID = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2"


class FakeAttachment:
    """A process that says what it was given, then what it reads, in capitals, until that ends."""

    def __init__(
        self, *, terminal: bool, says: Iterable[tuple[str, bytes]] = (), echoes: bool = True
    ) -> None:
        self.terminal = terminal
        self.read = bytearray()
        self.closed = False
        self.left_by_keys = False
        self._says = list(says)
        self._input: asyncio.Queue[bytes] = asyncio.Queue()

    async def output(self) -> AsyncIterator[tuple[str, bytes]]:
        for piece in self._says:
            yield piece
        while data := await self._input.get():
            yield "stdout", data.upper()

    async def write(self, data: bytes) -> None:
        self.read += data
        self._input.put_nowait(data)

    async def close_input(self) -> None:
        self._input.put_nowait(b"")

    def detached(self) -> None:
        self.left_by_keys = True

    async def close(self) -> None:
        self.closed = True


class FakeEngine:
    """All ports.  ``asked`` has the calls in their order, ``fails`` what a call is to raise."""

    def __init__(self, documents: dict[str, Any] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails: dict[str, Exception] = {}
        self.documents: dict[str, Any] = documents or {}
        self.attachment = FakeAttachment(terminal=False)
        self.pieces: list[tuple[str, bytes]] = [("stdout", b"out\n"), ("stderr", b"err\n")]
        self.terminal = False
        self.received = b""
        self.going_on = asyncio.Event()
        self.closed: list[str] = []
        self.happened: list[Event] = []

    def _note(self, verb: str, **given: Any) -> Any:
        self.asked.append((verb, given))
        if verb in self.fails:
            raise self.fails[verb]
        if given.get("reference") == "missing":
            raise NotFound("No such container: missing", code="container-not-found")
        return self.documents.get(verb, {})

    def last(self) -> tuple[str, dict[str, Any]]:
        """The last call."""
        return self.asked[-1]

    async def _pieces(self, *pieces: Any, name: str = "", last: bool = True) -> AsyncIterator[Any]:
        """The pieces; those that do not last wait for ``going_on`` before their end."""
        try:
            for piece in pieces:
                if isinstance(piece, Exception):
                    raise piece
                yield piece
            if not last:
                await self.going_on.wait()
        finally:
            self.closed.append(name)

    # Containers

    async def create_container(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
    ) -> Document:
        self._note(
            "create_container",
            name=name,
            config=config,
            host=host,
            networking=networking,
            platform=platform,
        )
        return {"Id": ID, "Warnings": []}

    async def list_containers(
        self, *, stopped: bool, limit: int, size: bool, filters: Filters
    ) -> list[Document]:
        return list(
            self._note("list_containers", stopped=stopped, limit=limit, size=size, filters=filters) or []
        )

    async def inspect_container(self, reference: str, *, size: bool) -> Document:
        return dict(self._note("inspect_container", reference=reference, size=size))

    async def start_container(self, reference: str) -> None:
        self._note("start_container", reference=reference)

    async def stop_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        self._note("stop_container", reference=reference, timeout_s=timeout_s, signal=signal)

    async def restart_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        self._note("restart_container", reference=reference, timeout_s=timeout_s, signal=signal)

    async def kill_container(self, reference: str, *, signal: str) -> None:
        self._note("kill_container", reference=reference, signal=signal)

    async def pause_container(self, reference: str) -> None:
        self._note("pause_container", reference=reference)

    async def unpause_container(self, reference: str) -> None:
        self._note("unpause_container", reference=reference)

    async def rename_container(self, reference: str, name: str) -> None:
        self._note("rename_container", reference=reference, name=name)

    async def update_container(self, reference: str, update: UpdateConfig) -> Document:
        self._note("update_container", reference=reference, update=update)
        return {"Warnings": []}

    async def remove_container(self, reference: str, *, force: bool, volumes: bool) -> None:
        self._note("remove_container", reference=reference, force=force, volumes=volumes)

    async def prune_containers(self, filters: Filters) -> Document:
        self._note("prune_containers", filters=filters)
        return {"ContainersDeleted": [], "SpaceReclaimed": 0}

    async def wait_container(self, reference: str, condition: str) -> AsyncIterator[Document | None]:
        self._note("wait_container", reference=reference, condition=condition)
        return self._waiting()

    async def _waiting(self) -> AsyncIterator[Document | None]:
        try:
            yield None
            await self.going_on.wait()
            yield {"StatusCode": 3, "Error": None}
        finally:
            self.closed.append("wait")

    async def attach_container(self, reference: str, query: AttachQuery) -> FakeAttachment:
        self._note("attach_container", reference=reference, query=query)
        return self.attachment

    async def resize_container(self, reference: str, *, rows: int, columns: int) -> None:
        self._note("resize_container", reference=reference, rows=rows, columns=columns)

    async def container_logs(
        self, reference: str, query: LogQuery
    ) -> tuple[bool, AsyncIterator[tuple[str, bytes]]]:
        self._note("container_logs", reference=reference, query=query)
        return self.terminal, self._pieces(*self.pieces, name="logs", last=not query.follow)

    async def container_stats(
        self, reference: str, *, stream: bool, one_shot: bool
    ) -> AsyncIterator[Document]:
        self._note("container_stats", reference=reference, stream=stream, one_shot=one_shot)
        return self._pieces({"id": ID, "name": "/web"}, name="stats", last=not stream)

    async def container_top(self, reference: str, ps_arguments: str) -> Document:
        self._note("container_top", reference=reference, ps_arguments=ps_arguments)
        return {"Titles": ["PID", "CMD"], "Processes": [["7", "sh"]]}

    async def container_changes(self, reference: str) -> list[Document]:
        self._note("container_changes", reference=reference)
        return [{"Path": "/etc", "Kind": 0}]

    async def export_container(self, reference: str) -> AsyncIterator[bytes]:
        self._note("export_container", reference=reference)
        return self._pieces(b"tar", b"ball", name="export")

    async def stat_archive(self, reference: str, path: str) -> Document:
        self._note("stat_archive", reference=reference, path=path)
        return {"name": "hosts", "size": 7, "mode": 420, "mtime": "2026-11-26T08:00:00Z", "linkTarget": ""}

    async def get_archive(self, reference: str, path: str) -> tuple[Document, AsyncIterator[bytes]]:
        stat = await self.stat_archive(reference, path)
        return stat, self._pieces(b"archive", name="archive")

    async def put_archive(
        self,
        reference: str,
        path: str,
        archive: AsyncIterator[bytes],
        *,
        no_overwrite: bool,
        copy_owners: bool,
    ) -> None:
        self._note(
            "put_archive", reference=reference, path=path, no_overwrite=no_overwrite, copy_owners=copy_owners
        )
        self.received = b"".join([piece async for piece in archive])

    # Further processes

    async def create_exec(self, reference: str, config: ExecConfig) -> Document:
        self._note("create_exec", reference=reference, config=config)
        return {"Id": "e" * 64}

    async def start_exec(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, ...]
    ) -> FakeAttachment | None:
        self._note("start_exec", exec_id=exec_id, detach=detach, console_size=console_size)
        return None if detach else self.attachment

    async def run_exec(self, reference: str, config: ExecConfig, *, timeout_s: float) -> tuple[int, bytes]:
        self._note("run_exec", reference=reference, config=config, timeout_s=timeout_s)
        return 0, b"ran\n"

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None:
        self._note("resize_exec", exec_id=exec_id, rows=rows, columns=columns)

    async def inspect_exec(self, exec_id: str) -> Document:
        ended = any(name == "start_exec" for name, _ in self.asked)
        return {
            "ID": exec_id,
            "OpenStdin": True,
            "Running": False,
            "ExitCode": 0 if ended else None,
            "CanRemove": ended,
            "DetachKeys": "",
            "ProcessConfig": {"tty": False},
        }

    # Images

    async def list_images(self, *, intermediate: bool, filters: Filters, manifests: bool) -> list[Document]:
        return list(
            self._note("list_images", intermediate=intermediate, filters=filters, manifests=manifests) or []
        )

    async def inspect_image(self, reference: str, platform: str) -> Document:
        return dict(self._note("inspect_image", reference=reference, platform=platform))

    async def image_history(self, reference: str, platform: str) -> list[Document]:
        self._note("image_history", reference=reference, platform=platform)
        return []

    async def pull_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> AsyncIterator[Document]:
        given = {"platform": platform, "credentials": credentials, "all_tags": all_tags}
        self._note("pull_image", reference=reference, **given)
        return self._pieces({"status": "Pulling"}, {"status": "Done"}, name="pull")

    async def import_image(
        self,
        archive: AsyncIterator[bytes],
        *,
        repository: str,
        tag: str,
        message: str,
        changes: list[str],
        platform: str,
    ) -> AsyncIterator[Document]:
        self._note("import_image", repository=repository, tag=tag, message=message, changes=changes)
        self.received = b"".join([piece async for piece in archive])
        return self._pieces({"status": "sha256:0"}, name="import")

    async def push_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> AsyncIterator[Document]:
        given = {"platform": platform, "credentials": credentials, "all_tags": all_tags}
        self._note("push_image", reference=reference, **given)
        return self._pieces({"status": "Pushed"}, name="push")

    async def tag_image(self, reference: str, repository: str, tag: str) -> None:
        self._note("tag_image", reference=reference, repository=repository, tag=tag)

    async def remove_image(self, reference: str, *, force: bool, no_prune: bool) -> list[Document]:
        self._note("remove_image", reference=reference, force=force, no_prune=no_prune)
        return [{"Untagged": reference}]

    async def prune_images(self, filters: Filters) -> Document:
        self._note("prune_images", filters=filters)
        return {"ImagesDeleted": [], "SpaceReclaimed": 0}

    async def save_images(self, references: list[str], platform: str) -> AsyncIterator[bytes]:
        self._note("save_images", references=references, platform=platform)
        return self._pieces(b"images", name="save")

    async def load_images(
        self, archive: AsyncIterator[bytes], *, quiet: bool, platform: str
    ) -> AsyncIterator[Document]:
        self._note("load_images", quiet=quiet, platform=platform)
        return self._loading(archive)

    async def _loading(self, archive: AsyncIterator[bytes]) -> AsyncIterator[Document]:
        self.received = b"".join([piece async for piece in archive])
        yield {"stream": f"Loaded {len(self.received)} bytes\n"}

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
        self._note(
            "commit_container", reference=reference, repository=repository, pause=pause, changes=changes
        )
        return {"Id": "sha256:1"}

    async def distribution(self, reference: str, credentials: Document) -> Document:
        return dict(self._note("distribution", reference=reference, credentials=credentials))

    # Volumes, networks

    async def create_volume(self, wanted: VolumeCreate) -> Document:
        return dict(self._note("create_volume", wanted=wanted))

    async def list_volumes(self, filters: Filters) -> Document:
        self._note("list_volumes", filters=filters)
        return {"Volumes": [], "Warnings": []}

    async def inspect_volume(self, name: str) -> Document:
        return dict(self._note("inspect_volume", reference=name))

    async def remove_volume(self, name: str, *, force: bool) -> None:
        self._note("remove_volume", reference=name, force=force)

    async def prune_volumes(self, filters: Filters) -> Document:
        self._note("prune_volumes", filters=filters)
        return {"VolumesDeleted": [], "SpaceReclaimed": 0}

    async def list_networks(self, filters: Filters) -> list[Document]:
        return list(self._note("list_networks", filters=filters) or [])

    async def inspect_network(self, reference: str) -> Document:
        return dict(self._note("inspect_network", reference=reference))

    async def prune_networks(self, filters: Filters) -> Document:
        self._note("prune_networks", filters=filters)
        return {"NetworksDeleted": []}

    # System

    async def info(self) -> Document:
        return dict(self._note("info"))

    async def version(self) -> Document:
        return dict(self._note("version"))

    async def disk_usage(self, kinds: list[str]) -> Document:
        return dict(self._note("disk_usage", kinds=kinds))

    async def check_login(self, credentials: Document) -> Document:
        self._note("check_login", credentials=credentials)
        return {"Status": "Login Succeeded", "IdentityToken": ""}

    def events(self, *, since_ns: int, until_ns: int, filters: Filters) -> AsyncIterator[Event]:
        self._note("events", since_ns=since_ns, until_ns=until_ns, filters=filters)
        return self._pieces(*self.happened, name="events", last=bool(until_ns))
