"""Pierhead's library as a contender: containers started in this process, which is warm after the first."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pierhead.oci.document import decode
from pierhead.oci.runtime import Spec
from pierhead.runtime.config import Config, ProcessSpec, config_from_spec
from pierhead.runtime.factory import run
from pierhead.runtime.stdio import Stdio
from tests.bench.measure import Contender, timed_us
from tests.bench.workload import IDLE, TRUE, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.runtime.container import Container


class Library:
    """Starts containers of the workload under a root of its own."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._root = workload.state_directory("library")

    def config(self, name: str, args: tuple[str, ...]) -> Config:
        """The configuration that the bundle of this name describes."""
        bundle = self._workload.bundle(name, args)
        spec = decode(Spec, json.loads((bundle / "config.json").read_text()))
        return config_from_spec(spec, bundle)

    def contend_run(self) -> Contender:
        """Start of a full container, its wait, its removal."""
        config = self.config("library-run", TRUE)

        def once() -> None:
            container = run(self._root, "library-run", config, stdio=Stdio.null())
            ended = container.wait()
            container.delete()
            assert ended.code == 0, ended

        return Contender("library", lambda: timed_us(once))

    def contend_exec(self, container: Container) -> Contender:
        """A process more in a running container, and its wait."""
        process = ProcessSpec(args=TRUE)

        def once() -> None:
            ended = container.exec(process, stdio=Stdio.null()).wait()
            assert ended.code == 0, ended

        return Contender("library", lambda: timed_us(once))

    @contextmanager
    def idle_container(self, name: str = "library-idle", *, supervise: bool = False) -> Iterator[Container]:
        """A container that sleeps until the end of the block."""
        container = self.start_idle(name, self.config(name, IDLE), supervise=supervise)
        try:
            yield container
        finally:
            container.delete(force=True)

    def start_idle(self, name: str, config: Config, *, supervise: bool) -> Container:
        """A container that sleeps; the caller deletes it."""
        return run(self._root, name, config, stdio=Stdio.null(), supervise=supervise)
