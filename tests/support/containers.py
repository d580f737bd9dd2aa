r"""Containers of the library for tests: short to make, and gone when the test ends.

    def test_hostname(containers: Containers) -> None:
        assert containers.run("hostname", hostname="box").output == "box\\n"

    container = containers.running()                    # its process sleeps
    assert containers.exec(container, "id -u").output == "0\\n"

The process is a shell of busybox unless ``args`` says otherwise; what is not said is ``Config``'s default.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pierhead.errors import PierheadError
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Namespace
from pierhead.runtime import Config, Container, ProcessSpec, Stdio, create, list_ids, load, run
from tests.support.bundles import PATH, make_rootfs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pierhead.runtime import ExitStatus

ENV = (PATH,)
SLEEP = ("/bin/sleep", "1000")
PATIENCE_S = 60.0
_numbers = count()


@dataclass(frozen=True)
class Finished:
    """What a process that has ended wrote, and how it ended."""

    output: str
    status: ExitStatus

    @property
    def words(self) -> list[str]:
        """The output's words."""
        return self.output.split()

    @property
    def lines(self) -> list[str]:
        """The output's lines."""
        return self.output.splitlines()


def read_to_end(fd: int, timeout_s: float = PATIENCE_S) -> str:
    """Everything until the last writer closes; the descriptor is closed.

    Raises:
        TimeoutError: somebody still holds the other end.
    """
    parts: list[bytes] = []
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"read only {b''.join(parts)!r}")
            part = os.read(fd, 65536)
            if not part:
                return b"".join(parts).decode(errors="replace")
            parts.append(part)
    finally:
        os.close(fd)


def namespaces(*kinds: str, **joined: str) -> tuple[Namespace, ...]:
    """New namespaces of these kinds, and joined ones by path."""
    new = tuple(Namespace(type=kind) for kind in kinds)
    return (*new, *(Namespace(type=kind, path=path) for kind, path in joined.items()))


def wait_until(what: str, condition: Any, timeout_s: float = 60.0) -> None:
    """The condition holds, or the test fails with what it waited for."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.01)


def cgroups_of_ours() -> list[str]:
    """Cgroups of containers that this process has made; those of others may come and go meanwhile."""
    return [
        f"{directory}/{name}"
        for tree in discover().trees
        for directory, names, _ in os.walk(tree.mountpoint)
        for name in names
        if name.startswith(_prefix())
    ]


def _prefix() -> str:
    return f"pierhead-test-{os.getpid()}-"


class Containers:
    """Makes containers under a state root of its own."""

    def __init__(self, root: Path, rootfs: Path) -> None:
        """Args: rootfs is shared by all tests: nobody writes there."""
        self.root = str(root)
        self.rootfs = str(rootfs)
        self._directories: list[str] = []

    def id(self) -> str:
        """An id that no other test uses."""
        return f"{_prefix()}{next(_numbers)}"

    def directory(self) -> Path:
        """An empty directory that anybody may enter."""
        made = Path(tempfile.mkdtemp(prefix="pierhead-test-"))
        self._directories.append(str(made))
        made.chmod(0o755)
        return made

    def own_rootfs(self) -> Path:
        """A root file system that the test may write to, in a directory that anybody may enter."""
        return make_rootfs(self.directory() / "rootfs")

    def config(
        self,
        script: str = "",
        *,
        args: Sequence[str] = (),
        process: dict[str, Any] | None = None,
        **changes: Any,
    ) -> Config:
        """A configuration: ``process`` has fields of its ProcessSpec, the rest are Config's own."""
        chosen = tuple(args) or ("/bin/sh", "-c", script)
        spec = ProcessSpec(**{"args": chosen, "env": ENV, **(process or {})})
        return Config(**{"rootfs": self.rootfs, "process": spec, **changes})

    def create(self, script: str = "", *, options: dict[str, Any] | None = None, **what: Any) -> Container:
        """A container at its gate; ``options`` are of ``create``."""
        options = {"stdio": Stdio.null(), **(options or {})}
        return create(self.root, self.id(), self.config(script, **what), **options)

    def start(self, script: str = "", *, options: dict[str, Any] | None = None, **what: Any) -> Container:
        """A container that runs; ``options`` are of ``run``."""
        options = {"stdio": Stdio.null(), **(options or {})}
        return run(self.root, self.id(), self.config(script, **what), **options)

    def running(self, **what: Any) -> Container:
        """A container whose process sleeps."""
        return self.start(args=SLEEP, **what)

    def run(
        self,
        script: str = "",
        *,
        input: str = "",  # noqa: A002
        options: dict[str, Any] | None = None,
        **what: Any,
    ) -> Finished:
        """Runs to the end, then deletes the container; what it wrote to both streams."""
        with self._stream(input) as (stdio, reader):
            container = self.start(script, options={"stdio": stdio, **(options or {})}, **what)
            os.close(stdio.output)
        try:
            output = read_to_end(reader)
            status = container.wait(PATIENCE_S)
        finally:
            container.delete(force=True)
        return Finished(output, status)

    def exec(
        self,
        container: Container,
        script: str = "",
        *,
        args: Sequence[str] = (),
        input: str = "",  # noqa: A002
        options: dict[str, Any] | None = None,
        **process: Any,
    ) -> Finished:
        """Runs a further process to its end."""
        spec = ProcessSpec(**{"args": tuple(args) or ("/bin/sh", "-c", script), "env": ENV, **process})
        with self._stream(input) as (stdio, reader):
            further = container.exec(spec, stdio=stdio, **(options or {}))
            os.close(stdio.output)
        output = read_to_end(reader)
        return Finished(output, further.wait(PATIENCE_S))

    @contextlib.contextmanager
    def _stream(self, text: str) -> Iterator[tuple[Any, int]]:
        """Streams for a process, and the end to read its output from; the block closes the output."""
        reader, writer = os.pipe2(os.O_CLOEXEC)
        given, feeder = os.pipe2(os.O_CLOEXEC)
        os.write(feeder, text.encode())
        os.close(feeder)
        try:
            yield Stdio(input=given, output=writer, error=writer), reader
        except BaseException:
            os.close(reader)
            os.close(writer)
            raise
        finally:
            os.close(given)

    def close(self) -> None:
        """All containers and directories are gone."""
        for container_id in list_ids(self.root):
            with contextlib.suppress(PierheadError):
                load(self.root, container_id).delete(force=True)
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)


def status_of(container: Container) -> str:
    """The container's status at this moment (which a type checker would think to be the last one seen)."""
    return container.status
