"""What the API needs of an engine, a port for each router; ``pierhead.engine.engine.Engine`` is all of them.

What is asked comes as values of ``pierhead.engine.documents``, what is answered are documents in the newest
version's shape (``api.versions`` makes older ones of them).  ``reference`` is an id, the beginning of one, or
a name.  Every verb raises the kinds of ``pierhead.errors``; one without a description does what the route of
its name does.  Filters are as ``GET …?filters=`` has them: names to lists of values.

Iterators of bytes and of documents are closed by whoever reads them, at the latest when the client is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pierhead.engine.queries import AttachQuery, LogQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from pierhead.engine.documents import (
        ContainerConfig,
        ExecConfig,
        HostConfig,
        NetworkingConfig,
        UpdateConfig,
        VolumeCreate,
    )
    from pierhead.engine.record import Event

    Document = dict[str, Any]
    Filters = dict[str, list[str]]
    Documents = AsyncIterator[Document]
    Bytes = AsyncIterator[bytes]
    """An archive, or what a client sends as one."""


__all__ = [
    "AttachQuery",
    "Attachment",
    "Backend",
    "Bytes",
    "Containers",
    "Document",
    "Documents",
    "Execs",
    "Filters",
    "Images",
    "LogQuery",
    "Networks",
    "System",
    "Volumes",
]


class Attachment(Protocol):
    """A connection with a process's streams.  Its end, or ours, is not the process's."""

    @property
    def terminal(self) -> bool:
        """Whether it is one stream, of a terminal."""

    def output(self) -> AsyncIterator[tuple[str, bytes]]:
        """Pieces, each with its stream (``stdout``, ``stderr``), until the process has ended."""

    async def write(self, data: bytes) -> None:
        """The process will read it; waits while it does not."""

    async def close_input(self) -> None:
        """The process reads end-of-file after what was written."""

    def detached(self) -> None:
        """The client has typed the keys by which it leaves."""

    async def close(self) -> None:
        """The connection is given up."""


class Containers(Protocol):
    """``/containers``."""

    async def create_container(
        self,
        name: str,
        config: ContainerConfig,
        host: HostConfig,
        networking: NetworkingConfig,
        platform: str,
    ) -> Document:
        """``{"Id", "Warnings"}``."""

    async def list_containers(
        self, *, stopped: bool, limit: int, size: bool, filters: Filters
    ) -> list[Document]: ...

    async def inspect_container(self, reference: str, *, size: bool) -> Document: ...

    async def start_container(self, reference: str) -> None:
        """Raises NotModified where it runs already."""

    async def stop_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None:
        """Raises NotModified where it does not run.

        ``timeout_s`` None is the container's own, -1 for ever; ``signal`` "" is the container's own.
        """

    async def restart_container(self, reference: str, *, timeout_s: int | None, signal: str) -> None: ...

    async def kill_container(self, reference: str, *, signal: str) -> None: ...

    async def pause_container(self, reference: str) -> None: ...

    async def unpause_container(self, reference: str) -> None: ...

    async def rename_container(self, reference: str, name: str) -> None: ...

    async def update_container(self, reference: str, update: UpdateConfig) -> Document:
        """``{"Warnings"}``."""

    async def remove_container(self, reference: str, *, force: bool, volumes: bool) -> None: ...

    async def prune_containers(self, filters: Filters) -> Document: ...

    async def wait_container(self, reference: str, condition: str) -> AsyncIterator[Document | None]:
        """First None, when the wait has begun, then ``{"StatusCode", "Error"}``.

        ``condition`` is ``not-running``, ``next-exit`` or ``removed``.
        """

    async def attach_container(self, reference: str, query: AttachQuery) -> Attachment: ...

    async def resize_container(self, reference: str, *, rows: int, columns: int) -> None: ...

    async def container_logs(
        self, reference: str, query: LogQuery
    ) -> tuple[bool, AsyncIterator[tuple[str, bytes]]]:
        """Whether it has a terminal (its lines are then not framed), and the pieces with their streams."""

    async def container_stats(self, reference: str, *, stream: bool, one_shot: bool) -> Documents: ...

    async def container_top(self, reference: str, ps_arguments: str) -> Document: ...

    async def container_changes(self, reference: str) -> list[Document]: ...

    async def export_container(self, reference: str) -> Bytes: ...

    async def stat_archive(self, reference: str, path: str) -> Document:
        """``{"name", "size", "mode", "mtime", "linkTarget"}``, mode as Go's os.FileMode."""

    async def get_archive(self, reference: str, path: str) -> tuple[Document, Bytes]: ...

    async def put_archive(
        self, reference: str, path: str, archive: Bytes, *, no_overwrite: bool, copy_owners: bool
    ) -> None: ...


class Execs(Protocol):
    """``/exec``."""

    async def create_exec(self, reference: str, config: ExecConfig) -> Document:
        """``{"Id"}``."""

    async def start_exec(
        self, exec_id: str, *, detach: bool, console_size: tuple[int, ...]
    ) -> Attachment | None:
        """None where it is detached."""

    async def run_exec(self, reference: str, config: ExecConfig, *, timeout_s: float) -> tuple[int, bytes]:
        """It has run to its end; its exit code and the beginning of what it wrote.

        Raises TimeoutError where it took longer, and has been killed.
        """

    async def resize_exec(self, exec_id: str, *, rows: int, columns: int) -> None: ...

    async def inspect_exec(self, exec_id: str) -> Document: ...


class Images(Protocol):
    """``/images``, ``/commit``.  Documents of progress are as ``POST /images/create`` streams them.

    ``credentials`` is the decoded ``X-Registry-Auth``; with ``all_tags`` the reference is a repository.  A
    failure before the first document is raised by the call, a later one is a document with ``errorDetail``.
    """

    async def list_images(
        self, *, intermediate: bool, filters: Filters, manifests: bool
    ) -> list[Document]: ...

    async def inspect_image(self, reference: str, platform: str) -> Document: ...

    async def image_history(self, reference: str, platform: str) -> list[Document]: ...

    async def pull_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents: ...

    async def import_image(
        self, archive: Bytes, *, repository: str, tag: str, message: str, changes: list[str], platform: str
    ) -> Documents: ...

    async def push_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents: ...

    async def tag_image(self, reference: str, repository: str, tag: str) -> None: ...

    async def remove_image(self, reference: str, *, force: bool, no_prune: bool) -> list[Document]: ...

    async def prune_images(self, filters: Filters) -> Document: ...

    async def save_images(self, references: list[str], platform: str) -> Bytes: ...

    async def load_images(self, archive: Bytes, *, quiet: bool, platform: str) -> Documents: ...

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
        """``{"Id"}``."""

    async def distribution(self, reference: str, credentials: Document) -> Document: ...


class Volumes(Protocol):
    """``/volumes``."""

    async def create_volume(self, wanted: VolumeCreate) -> Document: ...

    async def list_volumes(self, filters: Filters) -> Document: ...

    async def inspect_volume(self, name: str) -> Document: ...

    async def remove_volume(self, name: str, *, force: bool) -> None: ...

    async def prune_volumes(self, filters: Filters) -> Document: ...


class Networks(Protocol):
    """``/networks``: those that there are; making more is refused so far."""

    async def list_networks(self, filters: Filters) -> list[Document]: ...

    async def inspect_network(self, reference: str) -> Document: ...

    async def prune_networks(self, filters: Filters) -> Document: ...


class System(Protocol):
    """``/info``, ``/version``, ``/events``, ``/system/df``, ``/auth``."""

    async def info(self) -> Document: ...

    async def version(self) -> Document: ...

    async def disk_usage(self, kinds: list[str]) -> Document: ...

    async def check_login(self, credentials: Document) -> Document: ...

    def events(self, *, since_ns: int, until_ns: int, filters: Filters) -> AsyncIterator[Event]:
        """Those of the past that ``since_ns`` names, then those that come; ends at ``until_ns``, if not 0."""


class Backend(Containers, Execs, Images, Volumes, Networks, System, Protocol):
    """A whole engine."""
