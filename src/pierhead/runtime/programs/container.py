"""A container that a runtime program has made: what changes it is the program's verb."""

from __future__ import annotations

from pierhead import jsontext
from pierhead.errors import Conflict, InvalidInput, OperationFailed, TimedOut, Unsupported
from pierhead.oci.document import encode
from pierhead.runtime import status
from pierhead.runtime.container import Container
from pierhead.runtime.process import Process, check_signal
from pierhead.runtime.programs.program import ASIDE_S, Program, remove_bundle, write_document
from pierhead.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.oci.runtime import Resources
    from pierhead.runtime.config import ProcessSpec
    from pierhead.runtime.status import Status

_SIGTERM, _SIGKILL = 15, 9


class ProgramContainer(Container):
    """A container, made by ``programs.create`` or ``run`` or found by ``load``.

    The program says whether it waits for its start; whether it lives, and is frozen, the kernel does.
    """

    @property
    def _program(self) -> Program:
        return Program(command=self._known.program, bundle=self.bundle)

    @property
    def status(self) -> Status:
        """Its status at this moment; see ``Container.status``."""
        with self._refusals("look at"):
            self._check_exists()
            observed = status.observe_status(self._directory, self._known, self._cgroups())
            if observed != "running":
                return observed
            try:
                said = self._program.call("state", self.id, log="/dev/null", timeout_s=ASIDE_S)
                told = jsontext.parse(said)
            except (OperationFailed, InvalidInput, TimedOut):
                return observed  # removed by hand, updated meanwhile, or hanging: it runs all the same
            known: dict[object, Status] = {"created": "created", "paused": "paused"}
            return known.get(told.get("status"), observed)

    def _need_running(self, *, paused_ok: bool = True) -> None:
        """As ``Container``, by what the kernel says: the program would take 20 ms to tell the same."""
        now = status.observe_status(self._directory, self._known, self._cgroups())
        if now == "stopped":
            raise Conflict(f"container {self.id} has stopped: container not running", code="not-running")
        if now == "paused" and not paused_ok:
            raise Conflict(
                f"cannot exec in a paused container ({self.id})", code="paused", hint="resume it first"
            )

    def start(self) -> Process:
        """See ``Container.start``."""
        with self._refusals("start"), self._exclusive():
            self._program.call("start", self.id)
        return self.init

    def run_poststart(self) -> None:
        """The program has run these hooks."""

    def exec(
        self,
        wanted: ProcessSpec,
        *,
        stdio: Stdio = Stdio(),
        console: int = -1,
        preserve_fds: tuple[int, ...] = (),
        exec_id: str = "",
        cgroup: str = "",
        ignore_paused: bool = False,
        trace: bool = False,
    ) -> Process:
        """A further process runs in the container; see ``Container.exec``.

        Without an exec id its exit is told to the object that is returned, and to nobody else.

        Raises:
            Unsupported: descriptors, a cgroup or a trace are asked for.
        """
        if preserve_fds or cgroup or trace:
            raise Unsupported(f"{self._program.name} cannot be told more than the process and its streams")
        from pierhead.runtime.launcher import Request
        from pierhead.runtime.programs.joining import join

        request = Request(stdio=stdio, terminal=wanted.terminal, console=console, supervise=bool(exec_id))
        with self._refusals("exec in"):
            self._check_exists()
            self._need_running(paused_ok=ignore_paused)
            return join(self._program, self._joining(), self.config, wanted, request, exec_id=exec_id)

    def pause(self) -> None:
        """None of its processes runs until ``resume``."""
        with self._refusals("pause"), self._exclusive():
            self._need_running()
            self._program.call("pause", self.id)

    def resume(self) -> None:
        """Its processes run again."""
        with self._refusals("resume"), self._exclusive():
            self._need_running()
            self._program.call("resume", self.id)

    def kill(self, signal: int = _SIGTERM, *, all: bool = False) -> None:  # noqa: A002 - as the verb it overrides
        """The signal has been sent; see ``Container.kill``."""
        check_signal(signal)
        if all:
            super().kill(signal, all=True)
            return
        with self._refusals("kill"):
            self._check_exists()
            self._need_running()
            try:
                self._program.call("kill", self.id, str(signal))
            except OperationFailed:
                self._need_running()  # it may have ended meanwhile
                raise
            if signal == _SIGKILL and self._known.cgroup.trees:
                self._thaw_dying()

    def update(self, resources: Resources) -> list[str]:
        """The limits that ``resources`` gives are in force; see ``Container.update``."""
        from pierhead.runtime.config import config_from_document, config_to_document, merge_resources
        from pierhead.runtime.validate import check_limits

        check_limits(resources)
        with self._refusals("update"), self._exclusive() as directory:
            self._need_running()
            config = config_from_document(directory.load().config)
            changed = config.replace(resources=merge_resources(config.resources, resources))
            directory.prepare(self._known.replace(config=config_to_document(changed)))
            path = f"{self.bundle}/resources.json"
            try:
                write_document(path, encode(resources))
                self._program.call("update", "--resources", path, self.id)
            except BaseException:
                directory.discard()
                raise
            directory.settle()
            self._config = changed
            return []

    def _remove_what_was_made(self) -> None:
        try:
            remove_bundle(self.bundle, self.id)
        finally:
            super()._remove_what_was_made()

    def _run_poststop(self) -> None:
        """The program has run these hooks."""
