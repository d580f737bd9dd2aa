"""Launches further processes in a container that runs: the launcher's side of exec."""

import os

from pierhead.errors import Conflict
from pierhead.linux import cgroupfs, files
from pierhead.runtime import launcher, resolve, state, status
from pierhead.runtime.handshake import Handshake, LaunchFailed
from pierhead.runtime.launcher import Placement, Request
from pierhead.runtime.plan.join import plan_exec
from pierhead.runtime.process import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config, ProcessSpec
    from pierhead.runtime.launcher import Launched
    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.state import ContainerState, StateDirectory
    from pierhead.runtime.wire import Argument

_EBUSY = 16


def _record_name(exec_id: str) -> str:
    return f"exec-{state.directory_name(exec_id)}.json"


def _attach_name(exec_id: str) -> str:
    return f"exec-{state.directory_name(exec_id)}.attach"


class Joining:
    """One container, as processes join it."""

    def __init__(self, directory: "StateDirectory", known: "ContainerState", config: "Config") -> None:
        """Args: all of them the container's."""
        self._directory = directory
        self._known = known
        self._config = config

    @property
    def container_id(self) -> str:
        """The container's."""
        return self._known.id

    def launch(
        self, wanted: "ProcessSpec", request: Request, *, exec_id: str, cgroup: str
    ) -> tuple[Process, dict[int, int]]:
        """The process runs; with it the times of its operations, if they were asked for.

        Raises:
            Conflict: the container has stopped, be it meanwhile.
            LaunchFailed: something else kept it from running.
        """
        launcher.check_request(request)
        try:
            return self._launch_placed(wanted, request, exec_id, cgroup)
        except LaunchFailed as error:
            if self._has_ended(error):  # then what failed is of no interest
                raise self._stopped() from None
            raise

    def _has_ended(self, error: LaunchFailed) -> bool:
        """Whether the container has; its first process ends after all others of it, pid_namespaces(7)."""
        was_killed = error.failure is None
        return status.ends_soon(self._known) if was_killed else not status.init_lives(self._known)

    def _launch_placed(
        self, wanted: "ProcessSpec", request: Request, exec_id: str, cgroup: str
    ) -> tuple[Process, dict[int, int]]:
        try:
            return self._launch(wanted, request, exec_id, self._place(cgroup))
        except LaunchFailed as error:
            if error.errno != _EBUSY or cgroup:
                raise
            # the container has divided its v2 cgroup: only the leaves may hold processes
            return self._launch(wanted, request, exec_id, self._place_beside_init())

    def plan(self, wanted: "ProcessSpec", request: Request) -> "LaunchPlan":
        """What ``launch`` would do."""
        config, process = self._resolve(wanted)
        return self._plan(config, process, request, self._place(""))

    def _plan(
        self, config: "Config", process: "ProcessSpec", request: Request, placed: Placement
    ) -> "LaunchPlan":
        none = cgroupfs.Hierarchies(mode="none", trees=())
        # device rules hold for the whole cgroup already
        cgroups = self._known.cgroup.replace(driver="disabled")
        view = launcher.make_view(config, none, cgroups, placed, request, gate=False)
        return plan_exec(config, process, view)

    def _resolve(self, wanted: "ProcessSpec") -> "tuple[Config, ProcessSpec]":
        """The process by the container's own passwd file, which is found through its first process."""
        from pierhead.runtime.validate import check_process_spec

        check_process_spec(wanted)
        root = f"/proc/{self._known.init_pid}/root"
        try:
            root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise self._stopped() from None
        try:
            process = resolve.resolve_process(
                self._config, wanted, lambda path: files.read_text_in_root(root_fd, path)
            )
        finally:
            os.close(root_fd)
        return resolve.resolve_seccomp(self._config, process), process

    def _stopped(self) -> Conflict:
        return Conflict(f"container {self._known.id} has stopped: container not running", code="not-running")

    def _place(self, cgroup: str) -> Placement:
        known = self._known.cgroup
        if cgroup:
            below = cgroupfs.normalise_path(cgroup)
            trees = tuple(tree.replace(path=tree.path.rstrip("/") + below) for tree in known.trees)
            known = known.replace(trees=trees)
        return launcher.placement(known, needs_pid=False)

    def _place_beside_init(self) -> Placement:
        text = files.read_file(f"/proc/{self._known.init_pid}/cgroup").decode()
        unified_path = cgroupfs.parse_own_cgroups(text).get("")
        trees = tuple(
            tree.replace(path=unified_path) if tree.version == 2 and unified_path else tree
            for tree in self._known.cgroup.trees
        )
        known = self._known.cgroup.replace(trees=trees)
        return launcher.placement(known, needs_pid=False)

    def _launch(
        self, wanted: "ProcessSpec", request: Request, exec_id: str, placed: Placement
    ) -> tuple[Process, dict[int, int]]:
        config, process = self._resolve(wanted)
        plan = self._plan(config, process, request, placed)
        opened: list[int] = []
        given: dict[str, int] = {}
        try:
            given, header = launcher.given_descriptors(request, opened)
            given["init process"] = self._open_init(opened)
            header["id"] = self._known.id
            launcher.open_placement(placed, given, header, opened)
            record = self.add_monitor(exec_id, given, header, opened)
            with Handshake() as handshake:
                handshake.send(plan, header, given)
                launched = launcher.perform(
                    handshake,
                    launcher.Steps(config, plan, process),
                    before_commit=lambda _: None,
                    supervised=request.supervise,
                )
        except BaseException:
            if "attach" in given:
                self.forget(exec_id)
            raise
        finally:
            files.close_all(opened)
        return self.process(launched, record), launched.trace

    def _open_init(self, opened: list[int]) -> int:
        pidfd = status.open_init(self._known)
        if pidfd < 0:
            raise self._stopped()
        opened.append(pidfd)
        return pidfd

    def add_monitor(
        self, exec_id: str, given: dict[str, int], header: "dict[str, Argument]", opened: list[int]
    ) -> str:
        """Files of a process with a monitor; returns the path of its exit record."""
        if not exec_id:
            return ""
        from pierhead.ids import check_container_id

        check_container_id(exec_id)
        given["state directory"], header["state"] = self._directory.fd, "state directory"
        header["exit_name"] = _record_name(exec_id)
        opened.append(self._listen(exec_id))
        given["attach"], header["attach"] = opened[-1], "attach"
        return f"{self._directory.path}/{_record_name(exec_id)}"

    def _listen(self, exec_id: str) -> int:
        """The socket of a new monitor; what an earlier one of this id has left is gone."""
        with state.open_state(self._directory.root, self._directory.id) as directory:
            directory.lock()
            ended = directory.has(_record_name(exec_id))
            if not ended and status.has_listener(directory, _attach_name(exec_id)):
                message = f"container {self._known.id} has a process {exec_id} already"
                raise Conflict(message, code="exec-id-taken")
            files.remove_if_there(_attach_name(exec_id), directory.fd)
            files.remove_if_there(_record_name(exec_id), directory.fd)
            return status.make_listener(directory, _attach_name(exec_id))

    def forget(self, exec_id: str) -> None:
        """What ``add_monitor`` made is gone: nothing was launched."""
        files.remove_if_there(_attach_name(exec_id), self._directory.fd)

    def process(self, launched: "Launched", record: str) -> Process:
        """What was launched, whose exit record has this path; empty where it has no monitor of its own."""
        from pierhead.runtime.exitrecord import read_exit_record

        return Process(
            launched.pid,
            launched.pidfd,
            stage_pid=launched.stage_pid,
            control=launched.control,
            read_record=(lambda: read_exit_record(record)) if record else None,
            attach_path=record.removesuffix(".json") + ".attach" if record else "",
            monitor_pid=launched.stage_pid if record else 0,
            is_child=not record,
        )
