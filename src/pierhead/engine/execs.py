"""Further processes of containers that run: made, started, connected with, looked at.

They end with their container.  Their streams are the engine's own, so nothing of what they write is lost, and
one that is attached sees its streams end with its client's connection.  A monitor stays with each and records
its end, so that an engine that comes back knows how it ended; looks at health need none.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket

from pierhead.engine import lifecycle
from pierhead.engine.execnotes import ExecNote, find_running
from pierhead.engine.happenings import container_event
from pierhead.engine.launching import UNKNOWN_EXIT_CODE
from pierhead.engine.streams import FailedAttachment, OwnAttachment
from pierhead.engine.supervise import NOT_EXECUTABLE, exit_code_of_failure, in_docker_words
from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.linux.procstat import start_time
from pierhead.runtime import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.engine.documents import ExecConfig
    from pierhead.engine.execnotes import ExecNotes
    from pierhead.engine.jobs import Jobs
    from pierhead.engine.planning import Planner
    from pierhead.engine.record import Record
    from pierhead.engine.roster import Roster
    from pierhead.engine.streams import Attachment
    from pierhead.engine.supervise import Supervisor
    from pierhead.runtime import Container, Process

    Document = dict[str, Any]

_ENDED_KEPT = 64
"""How many of a container's processes that have ended are remembered, for whoever asks how."""
_ID_BYTES = 32
_OUTPUT_KEPT_BYTES = 16384


class Exec:
    """One further process, from the wish for it to its exit code."""

    def __init__(self, exec_id: str, container_id: str, config: ExecConfig) -> None:
        """It has not been started."""
        self.id = exec_id
        self.container_id = container_id
        self.config = config
        self.started = False
        self.given_up = False
        """Whether nobody wants it to run any more."""
        self.lasts = True
        """Whether an engine that comes back is to know of it."""
        self.size: tuple[int, ...] = config.console_size
        self.process: Process | None = None
        self.pidfd = -1
        """Of one that another engine has started."""
        self.pid = 0
        self.attachment: OwnAttachment | None = None
        self.exit_code: int | None = None
        self.ended = asyncio.Event()

    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None or self.pidfd >= 0

    def words(self) -> str:
        """Its command, as events have it."""
        return " ".join(self.config.cmd)


class Execs:
    """All that there are, by their ids."""

    def __init__(
        self, roster: Roster, jobs: Jobs, supervisor: Supervisor, planner: Planner, notes: ExecNotes
    ) -> None:
        self._notes = notes
        self._roster = roster
        self._jobs = jobs
        self._supervisor = supervisor
        self._planner = planner
        self._execs: dict[str, Exec] = {}
        self._by_container: dict[str, list[Exec]] = {}

    def ids_of(self, container_id: str) -> list[str]:
        """Those that run, of one container."""
        return [each.id for each in self._by_container.get(container_id, ()) if each.is_running()]

    def _get(self, exec_id: str) -> Exec:
        found = self._execs.get(exec_id)
        if found is None:
            matching = [each for each in self._execs if exec_id and each.startswith(exec_id)]
            if len(matching) != 1:
                raise NotFound(f"No such exec instance: {exec_id}", code="exec-not-found")
            found = self._execs[matching[0]]
        return found

    # Before it runs

    async def create(self, reference: str, config: ExecConfig) -> Document:
        """It can be started; returns ``{"Id"}``.

        Raises:
            Conflict: the container does not run.
            InvalidInput: there is no command.
        """
        record = self._roster.get(reference)
        lifecycle.check_running(record, "exec")
        if not config.cmd:
            raise InvalidInput("No exec command specified", code="no-command")
        made = Exec(os.urandom(_ID_BYTES).hex(), record.id, config)
        self._execs[made.id] = made
        siblings = self._by_container.setdefault(record.id, [])
        siblings.append(made)
        self._forget_oldest(siblings)
        self._tell(record, made, f"exec_create: {made.words()}")
        return {"Id": made.id}

    def _forget_oldest(self, siblings: list[Exec]) -> None:
        ended = [each for each in siblings if each.exit_code is not None]
        for each in ended[: max(0, len(ended) - _ENDED_KEPT)]:
            siblings.remove(each)
            del self._execs[each.id]
            self._notes.remove(each.container_id, each.id)

    def _tell(self, record: Record, made: Exec, action: str, **what: str) -> None:
        now_ns = self._roster.now_ns()
        self._roster.tell(container_event(record, action, now_ns, execID=made.id, **what))

    # The start

    async def start(self, exec_id: str, *, detach: bool, console_size: tuple[int, ...]) -> Attachment | None:
        """It runs; returns its streams, or None where it is detached.

        Raises:
            Conflict: it has been started already, or its container does not run.
            PierheadError: it cannot be run, and is detached; else its streams say so.
        """
        made = self._get(exec_id)
        if made.started:
            message = f"Error: Exec command {exec_id} has already run"
            raise Conflict(message, code="exec-has-run")
        record = self._roster.get(made.container_id)
        lifecycle.check_running(record, "exec")
        container = self._supervisor.get(record)
        made.started = True
        made.size = console_size or made.size
        self._tell(record, made, f"exec_start: {made.words()}")
        try:
            await self._jobs.finish(self._launch(record, container, made, detach=detach))
        except PierheadError as error:
            made.exit_code = exit_code_of_failure(error.message, otherwise=NOT_EXECUTABLE)
            made.ended.set()
            if detach or isinstance(error, Conflict):
                raise in_docker_words(error) from error.__cause__
            reason = f"OCI runtime exec failed: {in_docker_words(error).message}"
            return FailedAttachment(reason, terminal=made.config.tty)
        return None if detach else made.attachment

    async def _launch(self, record: Record, container: Container, made: Exec, *, detach: bool) -> None:
        config = made.config.replace(console_size=made.size)
        spec = self._planner.plan_exec(record, config)
        streams = _Streams(config, detach=detach)
        try:
            made.process = await self._jobs.thread(
                lambda: container.exec(
                    spec,
                    stdio=streams.stdio,
                    console=streams.console,
                    exec_id=made.id if made.lasts else "",
                )
            )
            made.pid = made.process.pid
            self._note(made)
            if made.given_up:  # while it was launched
                made.process.terminate()
            elif not detach or config.tty:
                made.attachment = streams.attachment()
                made.attachment.on_detach = lambda: self._tell(record, made, "exec_detach")
            if detach and made.attachment is not None:
                self._jobs.begin_passing(_drain(made.attachment))
        finally:
            streams.close()
        self._watch(record, made, made.process)

    def _note(self, made: Exec) -> None:
        began = start_time(made.pid)
        if made.lasts and began is not None:
            note = ExecNote(
                id=made.id, config=made.config, pid=made.pid, began=began, exit_code=made.exit_code
            )
            self._notes.write(made.container_id, note)

    def _watch(self, record: Record, made: Exec, process: Process) -> None:
        loop, pidfd = asyncio.get_running_loop(), process.pidfd

        def ended() -> None:
            loop.remove_reader(pidfd)
            self._jobs.begin(self._conclude(record, made, process))

        if pidfd < 0:
            self._jobs.begin(self._conclude(record, made, process))
        else:
            loop.add_reader(pidfd, ended)

    async def _conclude(self, record: Record, made: Exec, process: Process) -> None:
        try:
            status = await self._jobs.thread(process.wait, 5.0)
            made.exit_code = status.shell_code
        except PierheadError:
            made.exit_code = UNKNOWN_EXIT_CODE
        finally:
            made.process = None
            made.ended.set()
            process.close()
            if made.attachment is not None:
                made.attachment.ended()
        self._tell_end(record, made)

    def _tell_end(self, record: Record, made: Exec) -> None:
        now = self._roster.find(record.id)
        self._tell(now or record, made, "exec_die", exitCode=str(made.exit_code))
        if made.lasts and now is not None:  # of one that is gone nothing is left
            note = ExecNote(id=made.id, config=made.config, pid=made.pid, began=0, exit_code=made.exit_code)
            self._notes.write(made.container_id, note)
            self._notes.forget_record(made.container_id, made.id)

    async def run(self, reference: str, config: ExecConfig, *, timeout_s: float) -> tuple[int, bytes]:
        """It has run; returns its exit code and the beginning of what it wrote.

        Raises:
            TimeoutError: it took longer, and has been killed.
            PierheadError: as ``create`` and ``start``.
        """
        made = self._get((await self.create(reference, config))["Id"])
        made.lasts = False
        output = b""
        try:
            async with asyncio.timeout(timeout_s):
                attachment = await self.start(made.id, detach=False, console_size=())
                assert attachment is not None
                try:
                    async for _, data in attachment.output():
                        output += data[: _OUTPUT_KEPT_BYTES - len(output)]
                finally:
                    await attachment.close()
                await made.ended.wait()
        finally:
            made.given_up = True
            if made.process is not None:
                made.process.terminate()
            if made.attachment is not None:
                await made.attachment.close()
        return made.exit_code or 0, output

    # While it runs

    async def resize(self, exec_id: str, *, rows: int, columns: int) -> None:
        """Its terminal has this size, now or when it starts."""
        made = self._get(exec_id)
        made.size = (rows, columns)
        if made.attachment is not None:
            made.attachment.resize(rows, columns)
        elif made.started and not made.is_running():
            raise Conflict(f"exec process {exec_id} is not running", code="not-running")

    async def inspect(self, exec_id: str) -> Document:
        """See ``GET /exec/{id}/json``."""
        made = self._get(exec_id)
        config = made.config
        return {
            "ID": made.id,
            "Running": made.is_running(),
            "ExitCode": made.exit_code,
            "ProcessConfig": {
                "tty": config.tty,
                "entrypoint": config.cmd[0] if config.cmd else "",
                "arguments": list(config.cmd[1:]),
                "privileged": config.privileged,
                "user": config.user,
            },
            "OpenStdin": config.attach_stdin,
            "OpenStderr": config.attach_stderr,
            "OpenStdout": config.attach_stdout,
            "CanRemove": made.exit_code is not None,
            "ContainerID": made.container_id,
            "DetachKeys": config.detach_keys,
            "Pid": made.pid,
        }

    # A companion of containers

    async def begin(self, record: Record, container: Container) -> None:  # noqa: ARG002 - a companion's
        """A container runs, perhaps since before the engine did: then its further processes are found again,
        and those that have ended meanwhile end now.
        """
        for made, note in await self._find(record):
            self._watch_again(record, made, find_running(note))

    async def _find(self, record: Record) -> list[tuple[Exec, ExecNote]]:
        """Processes that another engine has started are known; returns those whose end nobody has told."""
        if record.id in self._by_container:
            return []
        found = []
        for note in await self._jobs.thread(lambda: list(self._notes.read(record.id))):
            made = Exec(note.id, record.id, note.config)
            made.started = True
            made.pid = note.pid
            made.exit_code = note.exit_code
            self._execs[made.id] = made
            self._by_container.setdefault(record.id, []).append(made)
            if note.exit_code is None:
                found.append((made, note))
        return found

    def _watch_again(self, record: Record, made: Exec, pidfd: int) -> None:
        if pidfd < 0:
            self._jobs.begin(self._conclude_found(record, made))
            return
        made.pidfd = pidfd
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(pidfd)
            self._jobs.begin(self._conclude_found(record, made))

        loop.add_reader(pidfd, ended)

    async def _conclude_found(self, record: Record, made: Exec) -> None:
        made.exit_code = await self._jobs.thread(self._notes.exit_code, record.id, made.id)
        if made.pidfd >= 0:
            os.close(made.pidfd)
            made.pidfd = -1
        made.ended.set()
        self._tell_end(record, made)

    def rest(self) -> None:
        """Nothing is watched any more, and what runs goes on."""
        loop = asyncio.get_running_loop()
        for each in self._execs.values():
            if each.pidfd >= 0:
                loop.remove_reader(each.pidfd)
                os.close(each.pidfd)
                each.pidfd = -1

    async def end(self, record: Record) -> None:
        """The container has ended: its further processes end with it, and are not started any more."""
        for made, _ in await self._find(record):
            await self._conclude_found(record, made)
        siblings = self._by_container.get(record.id, [])
        for each in [each for each in siblings if not each.started]:
            siblings.remove(each)
            del self._execs[each.id]

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        for each in self._by_container.pop(container_id, ()):
            self._execs.pop(each.id, None)


async def _drain(attachment: OwnAttachment) -> None:
    """Nobody sees what a detached process writes to its terminal, and it need not wait for anybody."""
    try:
        async for _ in attachment.output():
            pass
    finally:
        await attachment.close()


class _Streams:
    """The ends of a process's streams: its own, which are closed here, and ours."""

    def __init__(self, config: ExecConfig, *, detach: bool) -> None:
        """All are open."""
        self._config = config
        self._theirs: list[int] = []
        self._ours: dict[str, int] = {}
        self._channel: socket.socket | None = None
        self.console = -1
        self.stdio = Stdio.null()
        if config.tty:
            self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            self.console = other.detach()
            self._theirs.append(self.console)
        elif not detach:
            self._open_pipes()

    def _open_pipes(self) -> None:
        stdin = stdout = stderr = None
        if self._config.attach_stdin:
            stdin, self._ours["stdin"] = os.pipe2(os.O_CLOEXEC)
        if self._config.attach_stdout:
            self._ours["stdout"], stdout = os.pipe2(os.O_CLOEXEC)
        if self._config.attach_stderr:
            self._ours["stderr"], stderr = os.pipe2(os.O_CLOEXEC)
        self._theirs += [fd for fd in (stdin, stdout, stderr) if fd is not None]
        self.stdio = Stdio(input=stdin, output=stdout, error=stderr)

    def attachment(self) -> OwnAttachment:
        """Our ends, for the API."""
        ours, self._ours = self._ours, {}
        if self._channel is not None:
            return OwnAttachment({"stdout": _receive_terminal(self._channel)}, -1, terminal=True)
        input_fd = ours.pop("stdin", -1)
        return OwnAttachment(ours, input_fd, terminal=False)

    def close(self) -> None:
        """What is not the attachment's is closed."""
        for fd in (*self._theirs, *self._ours.values()):
            os.close(fd)
        self._theirs, self._ours = [], {}
        if self._channel is not None:
            self._channel.close()


def _receive_terminal(channel: socket.socket) -> int:
    """The terminal's master, which was sent before its process ran (SCM_RIGHTS, unix(7))."""
    size = array.array("i").itemsize
    channel.setblocking(False)
    _, ancillary, _, _ = channel.recvmsg(4096, socket.CMSG_LEN(size), socket.MSG_CMSG_CLOEXEC)
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            return array.array("i", rights[:size])[0]
    raise OperationFailed("the process was given no terminal", code="no-terminal")
