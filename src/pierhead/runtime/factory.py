"""Makes containers and finds them again.

    container = create(root, "web", Config(rootfs="/srv/web", process=ProcessSpec(args=("/bin/httpd",))))
    container.start()
    ...
    load(root, "web").delete(force=True)

The *root* is a directory of state directories (see ``state``); several programs may work in one at the same time.
"""

import os

from pierhead.errors import InvalidInput, NotFound
from pierhead.linux import cgroupfs, files
from pierhead.runtime import idmaps, launcher, resolve, state, status
from pierhead.runtime.cgroups import CgroupManager
from pierhead.runtime.config import Config, ProcessSpec, config_to_document
from pierhead.runtime.container import Container
from pierhead.runtime.launcher import Request
from pierhead.runtime.plan.devices import device_rules
from pierhead.runtime.plan.launch import plan_container
from pierhead.runtime.state import ContainerState, StateDirectory, claim
from pierhead.runtime.stdio import Stdio
from pierhead.runtime.validate import check_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.handshake import Handshake
    from pierhead.runtime.launcher import Launched
    from pierhead.runtime.plan.launchplan import LaunchPlan


def create(
    root: "str | os.PathLike[str]",
    container_id: str,
    config: Config,
    *,
    stdio: Stdio = Stdio(),
    console: int = -1,
    preserve_fds: tuple[int, ...] = (),
    supervise: bool = False,
    trace: bool = False,
) -> Container:
    """A container whose first process waits for ``Container.start``.

    Args:
        root: directory of state directories; made where it is missing.
        container_id: 1 to 1024 letters, digits and ``_+-.``, unused under the root.
        config: what it is to be; ``config.process`` is its first process.
        stdio: the process's streams, if it has no terminal.
        console: descriptor of a connected unix socket that gets the terminal's master (SCM_RIGHTS); -1 leaves it to the
            monitor.
        preserve_fds: descriptors that become 3, 4, … in the process; they stay the caller's.
        supervise: a monitor stays with the container: keeps streams or terminal, writes the log, records the exit.
            Without one the process is a child of the caller, or of the caller's reaper once the caller has ended.
        trace: ``Container.trace`` tells how long each operation took.

    Raises:
        InvalidInput: configuration or id are not usable; the message has the JSON path.
        Conflict: the id is taken.
        NotFound: the rootfs does not exist.
        Unsupported: this machine lacks something that the configuration asks for.
        OperationFailed: the kernel refused an operation; nothing is left behind.
    """
    request = Request(
        stdio=stdio,
        terminal=_process_of(config).terminal,
        console=console,
        preserve_fds=preserve_fds,
        supervise=supervise,
        trace=trace,
    )
    return _launch(os.path.abspath(root), container_id, config, request, gate=True)


def run(
    root: "str | os.PathLike[str]",
    container_id: str,
    config: Config,
    *,
    stdio: Stdio = Stdio(),
    console: int = -1,
    preserve_fds: tuple[int, ...] = (),
    supervise: bool = False,
    trace: bool = False,
) -> Container:
    """A container whose first process runs: ``create`` and ``start`` in one go, without a gate between them."""
    request = Request(
        stdio=stdio,
        terminal=_process_of(config).terminal,
        console=console,
        preserve_fds=preserve_fds,
        supervise=supervise,
        trace=trace,
    )
    return _launch(os.path.abspath(root), container_id, config, request, gate=False)


def load(root: "str | os.PathLike[str]", container_id: str) -> Container:
    """The container of this id.

    Raises:
        NotFound: there is none.
    """
    directory = state.open_state(os.path.abspath(root), container_id)
    try:
        return Container(directory, directory.load())
    except BaseException:
        directory.close()
        raise


def list_ids(root: "str | os.PathLike[str]") -> list[str]:
    """Ids of the containers under the root, sorted."""
    return state.list_ids(os.fspath(root))


def plan(
    root: "str | os.PathLike[str]",
    container_id: str,
    config: Config,
    *,
    gate: bool = True,
) -> "LaunchPlan":
    """What ``create`` would do, without doing it: for reading, and for tests."""
    prepared = _prepare(config)
    hierarchies = cgroupfs.discover()
    cgroups = launcher.new_manager(prepared, container_id, hierarchies)
    request = Request(terminal=_process_of(prepared).terminal)
    path = f"{os.path.abspath(root)}/{container_id}"
    return _make_plan(path, prepared, request, cgroups, hierarchies, gate=gate)


# How it is done -----------------------------------------------------------------------------------------------


def _process_of(config: Config) -> ProcessSpec:
    if config.process is None:
        raise InvalidInput("the configuration names no process to run", path="$.process", code="no-process")
    return config.process


def _prepare(config: Config) -> Config:
    """Checked, with the rootfs's real path, numbers for names, and profiles for words."""
    check_config(config)
    wanted = _process_of(config)
    rootfs = os.path.realpath(config.rootfs)
    try:
        root_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = os.strerror(error.errno or 0).lower()
        raise NotFound(f"rootfs {config.rootfs}: {reason}", code="rootfs-missing") from None
    try:
        process = resolve.resolve_process(config, wanted, root_fd)
    finally:
        os.close(root_fd)
    return resolve.resolve_seccomp(config.replace(rootfs=rootfs, process=process), process)


def _make_plan(
    state_path: str,
    config: Config,
    request: Request,
    cgroups: CgroupManager,
    hierarchies: cgroupfs.Hierarchies,
    *,
    gate: bool,
) -> "LaunchPlan":
    process = _process_of(config)
    kinds = {item.type for item in config.namespaces}
    may_clone_into = not ("user" in kinds and any(item.path or item.type == "time" for item in config.namespaces))
    placed = launcher.placement(cgroups.state, needs_pid=cgroups.needs_pid, may_clone_into=may_clone_into)
    mountinfo = files.read_file("/proc/self/mountinfo").decode(errors="surrogateescape")
    view = launcher.make_view(
        os.path.basename(state_path),
        hierarchies,
        cgroups.state,
        placed,
        request,
        gate=gate,
        parent_mount=launcher.mount_of(config.rootfs, mountinfo),
        scratch=state_path,
    )
    return plan_container(config, process, view)


def _launch(root: str, container_id: str, config: Config, request: Request, *, gate: bool) -> Container:
    prepared = _prepare(config)
    directory = claim(root, container_id)
    try:
        return _Creation(directory, prepared, request, gate=gate).perform()
    except BaseException as error:
        launcher.attach_failure(error, directory.remove)
        directory.close()
        raise


class _Creation:
    """One creation: holds what has been made so far, so that a failure can take it back."""

    def __init__(self, directory: StateDirectory, config: Config, request: Request, *, gate: bool) -> None:
        self._directory = directory
        self._config = config
        self._request = request
        self._gate = gate
        self._hierarchies = cgroupfs.discover()
        self._cgroups = launcher.new_manager(config, directory.id, self._hierarchies)
        self._opened: list[int] = []
        self._steps: launcher.Steps | None = None
        self._state: ContainerState | None = None

    def perform(self) -> Container:
        try:
            launched = self._launch()
        except BaseException as error:
            if self._steps is not None and self._steps.host_links:
                launcher.attach_failure(error, self._detach)
            launcher.attach_failure(error, self._cgroups.remove)
            raise
        finally:
            files.close_all(self._opened)
            self._opened.clear()
        return self._finish(launched)

    def _launch(self) -> "Launched":
        resources = self._config.resources.replace(devices=device_rules(self._config))
        if not self._cgroups.needs_pid:
            self._cgroups.create(resources)
            self._cgroups.apply(resources)
        plan = _make_plan(
            self._directory.path, self._config, self._request, self._cgroups, self._hierarchies, gate=self._gate
        )
        given, header = launcher.given_descriptors(self._request, self._opened)
        self._add_own_descriptors(plan, given, header)
        self._steps = launcher.Steps(
            self._config,
            plan,
            _process_of(self._config),
            place=(lambda pid: self._place_by_pid(pid, resources)) if self._cgroups.needs_pid else None,
            documents=lambda status, pid: launcher.document(self._config, self._directory.id, status, pid),
        )
        return launcher.perform(
            plan, self._steps, given, header, before_commit=self._record, supervised=self._request.supervise
        )

    def _place_by_pid(self, pid: int, resources: object) -> None:
        self._cgroups.create(resources, pid=pid)  # type: ignore[arg-type]
        self._cgroups.apply(resources)  # type: ignore[arg-type]

    def _add_own_descriptors(self, plan: "LaunchPlan", given: dict[str, int], header: dict[str, object]) -> None:
        header["state"] = "state directory"
        given["state directory"] = self._directory.fd
        header["undo"] = launcher.undo_list(
            tuple(self._cgroups.state.made), self._directory.path, state.NAMES
        )
        if self._gate:
            given["gate"] = self._open(status.make_gate(self._directory))
        if self._request.supervise:
            header["exit_name"] = state.EXIT_RECORD
            header["oom_path"] = launcher.oom_file(self._cgroups.state)
            header["attach"] = "attach"
            given["attach"] = self._open(status.make_listener(self._directory, state.ATTACH))
        if plan.into_cgroup and not self._cgroups.needs_pid:
            unified = next((tree for tree in self._cgroups.state.trees if tree.version == 2), None)
            if unified is not None:
                header["cgroup"] = "cgroup"
                given["cgroup"] = self._open(os.open(unified.directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        for slot in plan.slots:
            if slot.kind == "given" and slot.name.startswith("mapping "):
                mount = self._config.mounts[int(slot.name.removeprefix("mapping "))]
                given[slot.name] = self._open(
                    idmaps.open_user_namespace(
                        mount.uid_mappings or self._config.uid_mappings,
                        mount.gid_mappings or self._config.gid_mappings,
                    )
                )

    def _open(self, fd: int) -> int:
        self._opened.append(fd)
        return fd

    def _record(self, handshake: "Handshake") -> None:
        """state.json stands before the launch is committed."""
        assert self._steps is not None
        pid = handshake.init_pid
        self._state = ContainerState(
            id=self._directory.id,
            init_pid=pid,
            init_start_time=launcher.read_start_time(pid),
            monitor_pid=handshake.stage_pid if self._request.supervise else 0,
            created=state.timestamp(),
            uid=os.geteuid(),
            cgroup=self._cgroups.state,
            host_links=self._steps.host_links,
            config=config_to_document(self._config),
        )
        self._directory.save(self._state)

    def _detach(self) -> None:
        from pierhead.linux.netlink import NetlinkSocket
        from pierhead.runtime.network import detach_networks

        assert self._steps is not None
        with NetlinkSocket.open() as host:
            detach_networks(self._steps.host_links, host=host)

    def _finish(self, launched: "Launched") -> Container:
        assert self._state is not None
        return Container(self._directory, self._state, launched=launched, config=self._config)


