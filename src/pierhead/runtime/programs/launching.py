"""Launches a runtime program, and has the stage adopt what it leaves behind."""

from __future__ import annotations

import os

from pierhead.errors import OperationFailed, TimedOut
from pierhead.linux import files, process
from pierhead.runtime import launcher, wire_table
from pierhead.runtime.handshake import LaunchFailed
from pierhead.runtime.plan.program import plan_program
from pierhead.runtime.programs.program import LOG, PID_FILE, VERB_S, environment
from pierhead.runtime.programs.terminal import NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config
    from pierhead.runtime.handshake import Handshake
    from pierhead.runtime.launcher import Request
    from pierhead.runtime.plan.launchplan import Slot
    from pierhead.runtime.programs.program import Program
    from pierhead.runtime.wire import Argument, Operation


class Launch:
    """A verb of the program that makes a process: ``create`` or ``exec``.

    Attributes:
        given, header: descriptors and header fields for the helper; the caller adds its own.
        opened: descriptors to close when the launch is over.
        keeper_fd: who gets the terminal; -1 where there is none.
    """

    def __init__(self, program: Program, directory: str, request: Request) -> None:
        """Args: directory is where the program works: its log, pid file and console socket are in there."""
        self._program = program
        self._directory = directory
        self._terminal = request.terminal
        self.opened: list[int] = []
        self.given: dict[str, int] = {}
        self.header: dict[str, Argument] = {}
        self.keeper_fd = -1
        try:
            self.given, self.header = launcher.given_descriptors(request, self.opened)
            self.header["flags"] = wire_table.LAUNCH_MONITOR | wire_table.LAUNCH_ADOPT
            if request.terminal:
                self.keeper_fd = self.given.pop("console")
                null_fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
                self.opened.append(null_fd)
                self.given |= dict.fromkeys(("input", "output", "error"), null_fd)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Our ends are given back."""
        files.close_all(self.opened)
        self.opened.clear()

    def words(self, verb: str, *arguments: str) -> tuple[str, ...]:
        """The command line of the verb; the files that it writes are ours."""
        console = ("--console-socket", NAME) if self._terminal else ()
        files_there = ("--pid-file", f"{self._directory}/{PID_FILE}", *console)
        return self._program.words(verb, *files_there, *arguments, log=f"{self._directory}/{LOG}")

    def perform(
        self,
        handshake: Handshake,
        config: Config,
        words: tuple[str, ...],
        root: tuple[Operation, ...] = (),
        root_slots: tuple[Slot, ...] = (),
    ) -> None:
        """The program has made the process, which is the handshake's init process now.

        Args:
            handshake: its helper waits for a plan.
            config: the container's.
            words: see ``words``.
            root: what mounts the container's root; empty for none.
            root_slots: descriptors that these operations name.

        Raises:
            OperationFailed: the program failed; the message has its words.
            TimedOut: it took too long.
        """
        own = tuple(f"{name}={value}" for name, value in environment().items())
        plan = plan_program(words, own, self._directory, root, root_slots)
        handshake.send(plan, self.header, self.given)
        assert config.process is not None
        handshake.run(launcher.Steps(config, plan, config.process))
        if not process.wait_pidfd(handshake.init_pidfd, VERB_S):
            raise TimedOut(f"{self._program.name} made no process within {VERB_S:.0f} s")
        try:
            handshake.adopt(self._read_pid())
        except LaunchFailed as error:
            if error.failure is None:
                raise
            verb = next(word for word in words if word in ("create", "exec"))
            if error.failure.doing == "run":
                raise self._program.failure(verb, self._read(LOG)) from None
            raise OperationFailed(
                f"{self._program.name} {verb} left no process to be looked after: {error.message}",
                code="runtime-program",
            ) from None

    def _read_pid(self) -> int:
        text = self._read(PID_FILE).strip()
        if not text.isdecimal():  # the program failed, or its exit status says so
            return 0
        return int(text)

    def _read(self, name: str) -> str:
        try:
            return files.read_file(f"{self._directory}/{name}").decode(errors="replace")
        except FileNotFoundError:
            return ""
