"""A container that exists.

Every method asks the kernel and the state directory first: another process may have changed or deleted the
container since.  What launches is imported by the methods that launch: to look at a container, or to end it,
is quick.
"""

from __future__ import annotations

import os

from pierhead.errors import Conflict, OperationFailed, PierheadError, Unsupported
from pierhead.linux import files
from pierhead.linux.refusals import Refusals
from pierhead.runtime import state, status, wire, wire_table
from pierhead.runtime.cgroups import CgroupManager, load_cgroups, paths_by_controller
from pierhead.runtime.packets import receive
from pierhead.runtime.process import ExitStatus, Process, check_signal, collect_children
from pierhead.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Self

    from pierhead.oci.runtime import Resources
    from pierhead.runtime.config import Config, ProcessSpec
    from pierhead.runtime.exitrecord import ExitRecord
    from pierhead.runtime.handshake import LaunchFailed
    from pierhead.runtime.joining import Joining
    from pierhead.runtime.launcher import Launched
    from pierhead.runtime.oom import OomEvents
    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.state import ContainerState, StateDirectory
    from pierhead.runtime.stats import Stats
    from pierhead.runtime.status import Status

_SIGTERM, _SIGKILL, _SIGCONT = 15, 9, 18
_DEATH_S = 10.0
_EBUSY = 16


class Container:
    """A container, made by ``create`` or ``run`` or found by ``load``.

    Safe to use from several threads and several processes at once: what changes a container takes its lock.

    Attributes:
        init: its first process.
        trace: nanoseconds by operation of its launch, if that was asked for.
        warnings: a sentence for each setting that had no effect when it was made; none where it was loaded.
    """

    def __init__(
        self,
        directory: StateDirectory,
        known: ContainerState,
        *,
        launched: Launched | None = None,
        config: Config | None = None,
    ) -> None:
        """Args: directory becomes the container's; launched and config only where it was just made."""
        self._directory = directory
        self._known = known
        self._config = config
        self._document = known.config
        self._is_deleted = False
        self.trace = launched.trace if launched else {}
        self.warnings: tuple[str, ...] = ()
        self.init = self._init_process(launched)

    def _init_process(self, launched: Launched | None) -> Process:
        known = self._known
        if launched is not None:
            pidfd, stage_pid, control = launched.pidfd, launched.stage_pid, launched.control
        else:
            pidfd, stage_pid, control = status.open_init(known), 0, None
        supervised = bool(known.monitor_pid)
        return Process(
            known.init_pid,
            pidfd,
            stage_pid=stage_pid,
            control=control,
            read_record=self._read_exit_record if supervised else None,
            attach_path=f"{self._directory.path}/{state.ATTACH}" if supervised else "",
            monitor_pid=known.monitor_pid,
            is_child=launched is not None and not supervised,
        )

    def _read_exit_record(self) -> ExitRecord | None:
        from pierhead.runtime.exitrecord import read_exit_record

        return read_exit_record(f"{self._directory.path}/{state.EXIT_RECORD}")

    def __repr__(self) -> str:
        return f"Container({self.id!r}, root={self.root!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Our descriptors are given back; the container goes on."""
        self.init.close()
        self._directory.close()

    # What it is

    @property
    def id(self) -> str:
        """Its id, unique under its root."""
        return self._known.id

    @property
    def root(self) -> str:
        """The directory of state directories it lives in."""
        return self._directory.root

    @property
    def config(self) -> Config:
        """What it was made from, with every choice made."""
        if self._config is None:
            from pierhead.runtime.config import config_from_document

            self._config = config_from_document(self._document)
        return self._config

    @property
    def bundle(self) -> str:
        """The OCI bundle it came from, or else the directory that holds its rootfs."""
        if self._config is not None:
            return self._config.bundle or os.path.dirname(self._config.rootfs)
        return str(self._document.get("bundle") or os.path.dirname(str(self._document["rootfs"])))

    @property
    def annotations(self) -> dict[str, str]:
        """What the configuration notes for others to read."""
        if self._config is not None:
            return dict(self._config.annotations)
        return dict(self._document.get("annotations") or {})  # type: ignore[call-overload,no-any-return]

    @property
    def created(self) -> str:
        """When it was made, RFC 3339 in UTC."""
        return self._known.created

    @property
    def owner_uid(self) -> int:
        """The user who made it."""
        return self._known.uid

    @property
    def init_pid(self) -> int:
        """Its first process's number; 0 when that has ended."""
        return self._known.init_pid if status.init_lives(self._known) else 0

    @property
    def cgroup_paths(self) -> dict[str, str]:
        """Directory by controller, the unified tree's under the empty name."""
        return paths_by_controller(self._known.cgroup)

    @property
    def status(self) -> Status:
        """Its status at this moment: creating, created, running, paused or stopped.

        Raises:
            NotFound: it has been deleted.
        """
        with self._refusals("look at"):
            self._check_exists()
            return status.observe_status(self._directory, self._known, self._cgroups())

    @property
    def state(self) -> ContainerState:
        """What its state file holds."""
        from pierhead.runtime.config import config_to_document

        return self._known.replace(config=config_to_document(self.config))

    def oci_state(self) -> dict[str, object]:
        """The OCI state document (runtime-spec, State)."""
        now = self.status
        document: dict[str, object] = {
            "ociVersion": self._oci_version(),
            "id": self.id,
            "status": now,
            "pid": 0 if now == "stopped" else self._known.init_pid,
            "bundle": self.bundle,
        }
        if self.annotations:
            document["annotations"] = self.annotations
        return document

    def _oci_version(self) -> str:
        if self._config is None and "oci_version" in self._document:
            return str(self._document["oci_version"])
        return self.config.oci_version

    def _check_exists(self) -> None:
        if self._directory.fd < 0 and not self._is_deleted:
            message = f"container {self.id} is not to be asked through an object that was closed"
            raise Conflict(message, code="closed", hint="load it again")
        if self._directory.fd < 0 or not self._directory.is_attached():
            raise state.missing(self.id)

    def _cgroups(self) -> CgroupManager:
        return load_cgroups(self._known.cgroup)

    def _refusals(self, verb: str) -> Refusals:
        return Refusals(f"{verb} container {self.id}")

    def _exclusive(self) -> StateDirectory:
        """A locked second descriptor of the state directory, to be used as a context manager."""
        directory = state.open_state(self.root, self.id)
        directory.lock()
        if directory.is_attached() and self._directory.is_attached():
            return directory
        directory.close()
        raise state.missing(self.id)

    def _need_running(self, *, paused_ok: bool = True) -> None:
        now = self.status
        if now == "stopped":
            raise Conflict(f"container {self.id} has stopped: container not running", code="not-running")
        if now == "paused" and not paused_ok:
            raise Conflict(
                f"cannot exec in a paused container ({self.id})", code="paused", hint="resume it first"
            )

    # Its life

    def start(self) -> Process:
        """Its first process runs the program.

        Raises:
            Conflict: it runs already, or has ended.
            OperationFailed: a startContainer hook or the program's execve failed; the container has stopped.
        """
        with self._refusals("start"), self._exclusive() as directory:
            now = self.status
            # one that has left its gate and not executed is about to do so, or to end
            if now == "running" and status.never_executed(self._known) and status.ends_soon(self._known):
                now = "stopped"
            if now != "created":
                known = {"stopped": "it has stopped", "paused": "it is paused"}
                what = known.get(now, "it is already running")
                raise Conflict(f"cannot start container {self.id}: {what}", code="not-created")
            self._open_gate(directory)
        self.run_poststart()
        return self.init

    def _open_gate(self, directory: StateDirectory) -> None:
        gate = self._reach_gate(directory)
        try:
            packet, _ = receive(gate)
            while packet and wire.words(packet)[0] == wire_table.MESSAGE_TRACE:
                _, index, nanoseconds = wire.words(packet)
                self.trace[index] = nanoseconds
                packet, _ = receive(gate)
        finally:
            gate.close()
        files.remove_if_there(state.GATE, directory.fd)
        if packet:
            raise self._start_failure(packet)
        if self._died_at_the_gate():
            raise OperationFailed(
                f"container {self.id}: its first process was killed before it ran the program", code="killed"
            )

    def _died_at_the_gate(self) -> bool:
        """Whether the conversation ended with the process, and not with execve."""
        if status.ends_unexecuted(self._known):
            return True
        if status.init_lives(self._known) or not (self._has_hooks() and self.config.hooks.start_container):
            return False
        try:  # it has been reaped: a quick program, or one that was killed while it had its hooks run
            return self.init.wait(_DEATH_S).signal == _SIGKILL
        except PierheadError:
            return False

    def start_frozen(self) -> None:
        """The first process, which is frozen at its gate, runs its program as soon as it is thawed."""
        with self._refusals("start"), self._exclusive() as directory:
            self._reach_gate(directory).close()
            files.remove_if_there(state.GATE, directory.fd)

    def _reach_gate(self, directory: StateDirectory) -> _socket.socket:
        try:
            return status.say_go(directory)
        except (ConnectionError, FileNotFoundError):  # it has been killed since we looked
            raise Conflict(f"cannot start container {self.id}: it has stopped", code="not-created") from None

    def _start_failure(self, packet: bytes) -> LaunchFailed:
        from pierhead.runtime.failures import describe_failure
        from pierhead.runtime.handshake import LaunchFailed

        failure = wire.decode_failure(packet)
        operation = self.plan_again().operations[failure.index]
        return LaunchFailed(describe_failure(failure, operation, {}), failure=failure, operation=operation)

    def plan_again(self) -> LaunchPlan:
        """The plan that its first process was launched by."""
        from pierhead.runtime.factory import plan_launch

        return plan_launch(self.root, self.id, self.config)

    def _has_hooks(self) -> bool:
        """Known without reading the whole configuration."""
        return self._config is not None or bool(self._document.get("hooks"))

    def run_poststart(self) -> None:
        """The hooks of a container that runs have run; if one fails, it is stopped, as runc does."""
        if not (self._has_hooks() and self.config.hooks.poststart):
            return
        from pierhead.runtime import hooks

        chosen = self.config.hooks.poststart
        document = hooks.state_document(self.config, self.id, "running", self._known.init_pid)
        try:
            hooks.run_all("poststart", chosen, document)
        except BaseException:
            self.init.terminate()
            raise

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
        """A further process runs in the container.

        Args:
            wanted: the process; what it leaves open is as the container's first process has it.
            stdio: see ``create``.
            console: see ``create``.
            preserve_fds: see ``create``.
            trace: ``Container.trace`` then tells how long each operation took.
            exec_id: a monitor stays with the process, and its exit record has this name (letters, digits and
                ``_+-.``); empty for none.
            cgroup: path of a cgroup below the container's; empty for the container's own.
            ignore_paused: start it although the container is paused; it runs once that resumes.

        Raises:
            Conflict: the container has stopped, or is paused.
            OperationFailed: the kernel refused an operation, the program cannot be run.
        """
        from pierhead.runtime.launcher import Request

        request = Request(
            stdio=stdio,
            terminal=wanted.terminal,
            console=console,
            preserve_fds=preserve_fds,
            supervise=bool(exec_id),
            trace=trace,
        )
        with Refusals(f"exec in container {self.id}"):
            self._check_exists()
            self._need_running(paused_ok=ignore_paused)
            process, self.trace = self._joining().launch(wanted, request, exec_id=exec_id, cgroup=cgroup)
        return process

    def plan_exec(self, wanted: ProcessSpec) -> LaunchPlan:
        """What ``exec`` would do, without doing it."""
        from pierhead.runtime.launcher import Request

        return self._joining().plan(wanted, Request(terminal=wanted.terminal))

    def _joining(self) -> Joining:
        from pierhead.runtime.joining import Joining

        return Joining(self._directory, self._known, self.config)

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        """How its first process ended, once it has; see ``Process.wait``."""
        return self.init.wait(timeout_s)

    def pause(self) -> None:
        """None of its processes runs until ``resume``."""
        with self._refusals("pause"), self._exclusive():
            now = self.status
            if now not in ("running", "created"):
                raise Conflict(
                    f"cannot pause container {self.id}: container not running ({now})", code="not-running"
                )
            self._need_cgroup("pause").freeze()

    def resume(self) -> None:
        """Its processes run again."""
        with self._refusals("resume"), self._exclusive():
            now = self.status
            if now != "paused":
                raise Conflict(
                    f"cannot resume container {self.id}: container not paused ({now})", code="not-paused"
                )
            self._need_cgroup("resume").thaw()

    def _need_cgroup(self, verb: str) -> CgroupManager:
        if not self._known.cgroup.trees:
            raise Unsupported(
                f"cannot {verb} container {self.id}: it has no cgroup of its own", code="no-cgroup"
            )
        return self._cgroups()

    def kill(self, signal: int = _SIGTERM, *, all: bool = False) -> None:  # noqa: A002 - the verb's own flag
        """The signal has been sent to its first process, or to all of its processes.

        Raises:
            Conflict: there is no process to send it to.
        """
        check_signal(signal)
        with self._refusals("kill"):
            self._check_exists()
            if all:
                self._kill_all(signal)
                return
            self._need_running()
            self.init.signal(signal)
            if signal == _SIGKILL and self._known.cgroup.trees:
                self._thaw_dying()

    def _thaw_dying(self) -> None:
        """On v1 a frozen process dies when it is thawed, not before."""
        cgroups = self._cgroups()
        if cgroups.freeze_state() != "thawed":
            cgroups.thaw()

    def _kill_all(self, signal: int) -> None:
        """Also of a container whose first process has ended: others may live if it shares its pid
        namespace.
        """
        if not self._known.cgroup.trees:
            self._need_running()
            self.init.signal(signal)
            return
        self._cgroups().kill(signal)

    def update(self, resources: Resources) -> list[str]:
        """The limits that ``resources`` gives are in force; returns a sentence for each that has no effect.

        Device rules are further ones, after those in force.

        Raises:
            InvalidInput: a limit cannot be one; the message has its JSON path in ``resources``.
            Conflict: the container has stopped.
            Unsupported, OperationFailed: the machine or the kernel refuses; all limits are as they were.
        """
        from pierhead.runtime.config import config_from_document, config_to_document, merge_resources
        from pierhead.runtime.launcher import replace_device_program
        from pierhead.runtime.plan.devices import device_rules
        from pierhead.runtime.validate import check_limits

        check_limits(resources)
        with self._refusals("update"), self._exclusive() as directory:
            self._need_running()
            cgroups = self._need_cgroup("update")
            # another process may have changed it since we read it
            config = config_from_document(directory.load().config)
            changed = config.replace(resources=merge_resources(config.resources, resources))
            applied = resources
            if resources.devices:
                applied = resources.replace(devices=device_rules(config.replace(resources=resources)))
            directory.prepare(self._known.replace(config=config_to_document(changed)))
            try:
                warnings = cgroups.apply(applied, update=True)
                if resources.devices:
                    replace_device_program(self._known.cgroup, device_rules(changed))
            except BaseException as error:
                directory.discard()
                cgroups.take_back(error, config.resources.replace(devices=device_rules(config)))
                raise
            directory.settle()
            self._config = changed
            return warnings

    # What it does

    def processes(self) -> list[int]:
        """Numbers of all its processes, in the caller's pid namespace.

        Raises:
            NotFound: it has been deleted.
        """
        with self._refusals("look at"):
            self._check_exists()
            if not self._known.cgroup.trees:
                return [self._known.init_pid] if self.init_pid else []
            return self._cgroups().procs()

    def stats(self) -> Stats:
        """What the kernel counts for it: processor, memory, block I/O, processes, network interfaces."""
        from pierhead.runtime.network import interface_statistics

        with self._refusals("look at"):
            self._need_running()
            counted = self._need_cgroup("count").stats()
            if not self._known.host_links:
                return counted
            return counted.replace(interfaces=interface_statistics(self._known.host_links))

    def notify_oom(self) -> OomEvents:
        """An iterator that gives an item whenever the kernel kills for memory in it; close it when done."""
        from pierhead.runtime.oom import oom_events

        with self._refusals("look at"):
            self._need_running()
            return oom_events(self._known.cgroup)

    # Its end

    def delete(self, *, force: bool = False) -> None:
        """Nothing of it is left: processes, cgroup, links of the host, state directory.

        Args:
            force: kill what runs first.

        Raises:
            Conflict: it has not stopped, and ``force`` is not given.
            NotFound: it has been deleted already.
        """
        with self._refusals("delete"), self._exclusive() as directory:
            if not force and (now := self.status) not in ("stopped", "created"):
                raise Conflict(
                    f"cannot delete container {self.id} that is not stopped: {now}",
                    code="not-stopped",
                    hint="kill it first, or force the deletion",
                )
            self._end_processes()
            self._remove_what_was_made()
            directory.remove()
        self._is_deleted = True
        self._run_poststop()
        self.close()

    def _end_processes(self) -> None:
        if status.init_lives(self._known):
            self.init.terminate()
        if self._known.cgroup.trees:
            self._cgroups().kill(_SIGKILL)
        self._await_death()
        self.init.reap()

    def _await_death(self) -> None:
        """Children of ours in its pid namespace that nobody has reaped would keep it from dying."""
        pause = 0.002
        while not self.init.ends_within(pause):
            if pause > _DEATH_S:
                raise OperationFailed(
                    f"container {self.id}: process {self._known.init_pid} does not die",
                    code="undead",
                    hint="a process that joined it may have ended without its parent asking for its status",
                )
            collect_children()
            pause *= 4

    def _remove_what_was_made(self) -> None:
        """Outside of the state directory nothing is left of the container, whose processes have ended."""
        self._cgroups().remove()
        self._detach_links()

    def _detach_links(self) -> None:
        """Those in a namespace of the container's own would vanish with it, but only some time later."""
        if not self._known.host_links:
            return
        from pierhead.linux.netlink import NetlinkSocket
        from pierhead.runtime.network import detach_networks

        with NetlinkSocket.open() as host:
            detach_networks(self._known.host_links, host=host)

    def _run_poststop(self) -> None:
        """The container is gone whatever these hooks say: a failure is told when all have run."""
        if not (self._has_hooks() and self.config.hooks.poststop):
            return
        from pierhead.runtime import hooks

        document = hooks.state_document(self.config, self.id, "stopped", 0)
        failures: list[PierheadError] = []
        for number, hook in enumerate(self.config.hooks.poststop):
            try:
                hooks.run_one(f"poststop hook #{number} ({hook.path})", hook, document)
            except PierheadError as error:
                failures.append(error)
        if failures:
            raise failures[0]
