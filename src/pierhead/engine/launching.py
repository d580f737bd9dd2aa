"""From a record to a container of the runtime library, and back.  Blocks; it runs in threads."""

from __future__ import annotations

import os
from contextlib import suppress

from pierhead.engine.specgen.logwords import log_files
from pierhead.errors import NotFound, PierheadError
from pierhead.linux.files import lock_soon
from pierhead.runtime import Stdio, create, list_ids, load, run
from pierhead.runtime.exitrecord import read_exit_record
from pierhead.runtime.leftovers import remove_leftovers
from pierhead.runtime.programs import creation as programs
from pierhead.runtime.programs.creation import sweep_bundles
from pierhead.runtime.programs.program import Program
from pierhead.runtime.state import EXIT_RECORD, open_state
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.planning import Place, Planner
    from pierhead.engine.record import Record
    from pierhead.engine.settings import Paths
    from pierhead.runtime import Container

UNKNOWN_EXIT_CODE = 255
"""Of a container whose end nobody has seen: the machine went down with it, or its monitor was killed."""
_RECORD_WAIT_S = 10.0
_UNDONE_S = 5.0
"""How long the helper may take to undo a launch whose engine was killed."""


class Ending(Value):
    """How a container's first process ended; ``finished`` is RFC 3339, "" where nobody knows."""

    exit_code: int
    oom_killed: bool = False
    finished: str = ""


class Launcher:
    """Makes containers of records, in one directory of the runtime's."""

    def __init__(self, paths: Paths, planner: Planner) -> None:
        """Args: the planner knows what each is to be."""
        self._paths = paths
        self._planner = planner

    def launch(self, record: Record, place: Place, *, gated: bool) -> Container:
        """The container runs; with ``gated`` it waits at its gate for ``Container.start``.

        Raises:
            PierheadError: as ``runtime.run``; nothing is left behind.
        """
        os.makedirs(os.path.dirname(self._paths.log(record.id)), mode=0o710, exist_ok=True)
        config = self._planner.plan(record, place)
        command = self._planner.find_program(record.host.runtime)
        self._remove_ended(record.id)
        root, stdio = self._paths.runtime_root, self.stdio(record)
        if command:
            program = Program(command=command, bundle=f"{self._paths.programs}/{record.id}")
            make = programs.create if gated else programs.run
            return make(root, record.id, config, program, stdio=stdio)
        begin = create if gated else run
        return begin(root, record.id, config, stdio=stdio, supervise=True)

    def _remove_ended(self, container_id: str) -> None:
        """What an earlier run has left, whose engine was killed while it cleaned up; or while it launched:
        then somebody undoes that yet.
        """
        root = self._paths.runtime_root
        if (found := self.find(container_id)) is not None:
            self.delete(found)
        elif os.path.exists(f"{root}/{container_id}"):
            with suppress(NotFound):  # it has just been undone
                remove_leftovers(root, container_id)

    def stdio(self, record: Record) -> Stdio:
        """Streams that the monitor keeps, and the log that it writes."""
        log = record.host.log_config
        size_bytes, count = log_files(log)
        return Stdio.kept(
            "" if log.type == "none" else self._paths.log(record.id),
            log_bytes=size_bytes,
            log_files=count,
            stdin=record.config.open_stdin,
        )

    def find(self, container_id: str) -> Container | None:
        """What the runtime has of the container, when what a killed engine was about to launch is undone."""
        root = self._paths.runtime_root
        try:
            with open_state(root, container_id) as directory:
                lock_soon(directory.fd, _UNDONE_S)
            return load(root, container_id)
        except NotFound:
            return None

    def sweep(self, kept: frozenset[str]) -> None:
        """Nothing is left of launches and deletions that were cut off, nor of runs of containers that nobody
        knows.

        Args:
            kept: ids of containers that there are.
        """
        for container_id in list_ids(self._paths.runtime_root):
            if container_id not in kept and (container := self.find(container_id)) is not None:
                self.delete(container)
        sweep_bundles(self._paths.programs, frozenset(list_ids(self._paths.runtime_root)))

    def attach_path(self, container_id: str) -> str:
        """Of the monitor's socket."""
        return f"{self._paths.runtime_root}/{container_id}/attach"

    def await_ending(self, container: Container) -> Ending:
        """How the first process, which has ended, did so; the monitor may be about to write that."""
        try:
            status = container.init.wait(_RECORD_WAIT_S)
        except PierheadError:
            return Ending(exit_code=UNKNOWN_EXIT_CODE)
        path = f"{self._paths.runtime_root}/{container.id}/{EXIT_RECORD}"
        record = read_exit_record(path)
        finished = record.finished if record is not None else ""
        return Ending(exit_code=status.shell_code, oom_killed=status.oom, finished=finished)

    def delete(self, container: Container) -> None:
        """Nothing of the container's run is left, nor of its processes."""
        try:
            container.delete(force=True)
        except NotFound:
            container.close()
