"""Launches a container's first process, or a further one: the launcher's side of the dialogue.

Order of a new container: claim the id, start the helper, make the cgroup while it starts, send the plan, keep
    step,
write state.json, commit. Whatever ends in between leaves nothing: Python undoes what it made, the stage
undoes it if Python itself is gone.
"""

import _socket
import os

from pierhead.errors import InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.linux import cgroupfs, facts, files, process, procstat
from pierhead.runtime import resolve, state, wire, wire_table
from pierhead.runtime.cgroups import CgroupManager, CgroupState, CgroupTree, new_cgroups
from pierhead.runtime.handshake import Handshake, perform_on_host
from pierhead.runtime.plan.launch import LaunchView
from pierhead.runtime.stdio import Stdio
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.linux.netlink import NetlinkSocket
    from pierhead.oci.runtime import DeviceRule
    from pierhead.runtime.config import Config, ProcessSpec
    from pierhead.runtime.network import Attachment, HostLink
    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.wire import Argument

_MONITORED_EXIT = wire_table.LAUNCH_MONITOR


class Placement(Value):
    """Where a process goes: what cgroups contribute to a launch.

    Fields:
        files: by slot name, the files that the process writes itself into.
        into_directory: v2 cgroup that it is cloned into; empty for none.
        launcher_places: the launcher puts it into its cgroup (systemd makes the cgroup around it).
    """

    files: dict[str, str]
    into_directory: str = ""
    launcher_places: bool = False


def placement(cgroups: CgroupState, *, needs_pid: bool) -> Placement:
    """How a process gets into a cgroup that exists: into the unified tree by the clone, into the others by
    itself.

    Args:
        cgroups: the container's.
        needs_pid: the cgroup is made around the process (systemd).
    """
    if needs_pid:
        return Placement(files={}, launcher_places=True)
    into = ""
    names: dict[str, str] = {}
    for tree in cgroups.trees:
        if tree.version == 2:
            into = tree.directory()
        else:
            names[f"{','.join(tree.controllers)} cgroup"] = f"{tree.directory()}/tasks"
    return Placement(files=names, into_directory=into)


def open_placement(
    placed: Placement, given: dict[str, int], header: "dict[str, Argument]", opened: list[int]
) -> None:
    """The descriptors of a placement are open and named."""
    for name, path in placed.files.items():
        given[name] = _open_cgroup(path, os.O_WRONLY)
        opened.append(given[name])
    if placed.into_directory:
        given["cgroup"] = _open_cgroup(placed.into_directory, os.O_RDONLY | os.O_DIRECTORY)
        opened.append(given["cgroup"])
        header["cgroup"] = "cgroup"


def _open_cgroup(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        directory = path if flags & os.O_DIRECTORY else os.path.dirname(path)
        raise NotFound(f"there is no cgroup {directory}", code="no-such-cgroup") from None
    except OSError as error:
        raise OperationFailed(
            f"cannot open {path}: {os.strerror(error.errno or 0).lower()}", errno=error.errno or 0
        ) from None


def cgroup_directories(cgroups: CgroupState) -> dict[str, str]:
    """The container's own cgroup by hierarchy mount point."""
    return {tree.mountpoint: tree.directory() for tree in cgroups.trees}


def unified_tree(cgroups: CgroupState) -> CgroupTree | None:
    """The container's place in the unified tree where device rules are a program: only on pure v2."""
    if cgroups.mode != "v2":
        return None
    return next((tree for tree in cgroups.trees if tree.version == 2), None)


def oom_file(cgroups: CgroupState) -> str:
    """The file whose oom_kill counter tells whether the kernel killed for memory; empty for none."""
    for tree in cgroups.trees:
        if "memory" in tree.controllers:
            return f"{tree.directory()}/{'memory.oom_control' if tree.version == 1 else 'memory.events'}"
    return ""


def compile_devices(rules: "tuple[DeviceRule, ...]") -> bytes:
    """Device rules as a program for cgroup v2."""
    from pierhead.runtime.plan.device_program import compile_device_program

    return compile_device_program(rules)


def replace_device_program(cgroups: CgroupState, rules: "tuple[DeviceRule, ...]") -> None:
    """The rules are in force where they are a program; elsewhere they are files, and nothing is done."""
    tree = unified_tree(cgroups)
    if tree is None:
        return
    why = "the kernel asks this program whenever the container opens or makes a device"
    arguments = (DEVICE_SLOT, compile_devices(rules))
    operation = wire.Operation(name="device_program", arguments=arguments, place=wire.STAGE, why=why)
    directory_fd = _open_cgroup(tree.directory(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        perform_on_host((operation,), {DEVICE_SLOT: directory_fd})
    finally:
        os.close(directory_fd)


def make_view(
    config: "Config",
    hierarchies: cgroupfs.Hierarchies,
    cgroups: CgroupState,
    placed: Placement,
    request: "Request",
    *,
    gate: bool,
    scratch: str = "",
) -> LaunchView:
    """What a plan depends on beyond configuration and process.

    Nothing in it names the container, if that can be helped: then the plan serves the next container as well.
    """
    tree = unified_tree(cgroups)
    shows_own = any(item.type == "cgroup" for item in config.namespaces)
    return LaunchView(
        hierarchies=hierarchies,
        cgroup_directories={} if shows_own else cgroup_directories(cgroups),
        cgroups=tuple(placed.files),
        launcher_places=placed.launcher_places,
        into_cgroup=bool(placed.into_directory),
        device_slot=DEVICE_SLOT if gate_devices(tree, cgroups) else "",
        user_first=os.geteuid() != 0,
        parent_mount=parent_mount(config, config.rootfs),
        whole_views=_whole_views(config),
        scratch=scratch,
        gate=gate,
        console=request.terminal,
        streams=("", "", "") if request.terminal else ("input", "output", "error"),
        preserved=len(request.preserve_fds),
        filter=resolve.Filters.compile,
        device_program=compile_devices,
        trace=request.trace,
        rootless=os.geteuid() != 0,
        kernel=facts.kernel_version(),
        inside=facts.in_user_namespace(),
    )


DEVICE_SLOT = "device cgroup"


def gate_devices(tree: CgroupTree | None, cgroups: CgroupState) -> bool:
    """Whether device rules are a program that the stage attaches: on v2, with the right to do so."""
    return tree is not None and not cgroups.rootless and cgroups.driver == "cgroupfs"


def parent_mount(config: "Config", place: str) -> str:
    """Where the mount stands that holds the root's place, if anything depends on that."""
    if "shared" not in config.rootfs_propagation:
        return "/"
    return mount_of(place, _mountinfo())


def _mountinfo() -> str:
    return files.read_file("/proc/self/mountinfo").decode(errors="surrogateescape")


def _whole_views(config: "Config") -> tuple[str, ...]:
    """Where the host has the whole of a procfs or sysfs, if the host's tree stays under the container's."""
    return whole_views(_mountinfo(), config.rootfs) if config.no_pivot_root else ()


class Request(Value):
    """How a process is to be launched, beside what it is.

    Fields:
        stdio: its standard streams, if it has no terminal.
        terminal: whether it has one.
        console: descriptor of a connected socket that gets the terminal's master; -1 for the monitor.
        preserve_fds: descriptors that become 3, 4, … in the process; stay the caller's.
        supervise: whether a monitor stays with it.
        trace: whether operations are timed.
    """

    stdio: Stdio = Stdio()
    terminal: bool = False
    console: int = -1
    preserve_fds: tuple[int, ...] = ()
    supervise: bool = False
    trace: bool = False


class Launched(Value):
    """A launch that holds: what is to be known of it."""

    pid: int
    pidfd: int
    stage_pid: int
    control: _socket.socket | None
    trace: dict[int, int]


class Steps:
    """What the launcher does when the launched process asks for it (see ``handshake.Steps``)."""

    def __init__(
        self,
        config: "Config",
        plan: "LaunchPlan",
        process_spec: "ProcessSpec",
        *,
        place: "Callable[[int], None] | None" = None,
        documents: "Callable[[str, int], bytes] | None" = None,
    ) -> None:
        """Args: place puts a pid into the cgroup; documents gives the state document for a status and pid."""
        self._config = config
        self._plan = plan
        self._process = process_spec
        self._place = place
        self._documents = documents
        self.pid = 0
        self._sockets: list[NetlinkSocket] = []
        self._attachment: Attachment | None = None

    def place(self, pid: int, *, maps: bool) -> None:
        """Id maps, cgroup, OOM score."""
        self.pid = pid
        if maps:
            from pierhead.runtime.idmaps import write_maps

            write_maps(pid, self._plan.uid_mappings, self._plan.gid_mappings)
        if self._place:
            self._place(pid)
        if self._plan.oom_score_adj is not None:
            _write_oom_score(pid, self._plan.oom_score_adj)

    def born(self, pid: int) -> None:
        """The init process has this pid."""
        self.pid = pid

    def network(self, netlink_fd: int) -> None:
        """Interfaces, addresses, routes."""
        from pierhead.linux.netlink import NetlinkSocket
        from pierhead.runtime.network import attach_networks

        self._sockets.append(guest := NetlinkSocket(netlink_fd))
        self._sockets.append(host := NetlinkSocket.open())
        config = self._config
        self._attachment = attach_networks(
            config.networks, config.routes, config.net_devices, host=host, guest=guest
        )

    @property
    def host_links(self) -> "tuple[HostLink, ...]":
        """The host's ends of the links that were made."""
        return tuple(self._attachment.host_links) if self._attachment else ()

    def take_back(self, cause: BaseException) -> None:
        """Links are gone, and the host's devices are the host's again: the launch has failed of ``cause``."""
        if self._attachment:
            self._attachment.take_back(cause)

    def close(self) -> None:
        """What was attached stays."""
        if self._attachment:
            self._attachment.close()
        for socket in self._sockets:
            socket.close()

    def hooks(self) -> None:
        """Prestart and createRuntime."""
        from pierhead.runtime.hooks import run_all

        chosen = self._config.hooks
        document = self.states()[0]
        run_all("prestart", chosen.prestart, document)
        run_all("createRuntime", chosen.create_runtime, document)

    def limits(self) -> None:
        """Resource limits that the process may not raise by itself."""
        import resource

        from pierhead.runtime.plan.credentials import rlimit_number

        for limit in self._process.rlimits or ():
            number = rlimit_number(limit.type)
            values = (_as_rlimit(limit.soft), _as_rlimit(limit.hard))
            try:
                resource.prlimit(self.pid, number, values)
            except (OSError, ValueError) as error:
                raise OperationFailed(
                    f"cannot set {limit.type} to {limit.soft}:{limit.hard}: {error}"
                ) from None

    def listener(self, notify_fd: int) -> None:
        """Hands the seccomp notify descriptor to the profile's agent."""
        from pierhead.runtime.notify import send_listener

        send_listener(self._config, notify_fd, self.pid, self.states()[0])

    def states(self) -> tuple[bytes, bytes]:
        """State documents: while creating, and when created."""
        if self._documents is None or not self._needs_documents():
            return b"", b""
        return self._documents("creating", self.pid), self._documents("created", self.pid)

    def _needs_documents(self) -> bool:
        chosen = self._config.hooks
        listens = bool(getattr(self._config.seccomp, "listener_path", ""))
        return listens or any(
            (chosen.prestart, chosen.create_runtime, chosen.create_container, chosen.start_container)
        )


def _as_rlimit(value: int) -> int:
    return -1 if value >= 2**63 else value


def _write_oom_score(pid: int, score: int) -> None:
    try:
        files.write_text(f"/proc/{pid}/oom_score_adj", str(score))
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise OperationFailed(
            f"cannot set oomScoreAdj to {score}: {reason}",
            errno=error.errno or 0,
            hint="lowering it below the caller's needs CAP_SYS_RESOURCE",
        ) from None


def check_request(request: Request) -> None:
    """A terminal has somebody at its other end, nothing else has, and descriptors are open.

    Raises:
        InvalidInput: they are not.
    """
    request.stdio.check()
    streams = () if request.terminal else (request.stdio.input, request.stdio.output, request.stdio.error)
    for fd in (*request.preserve_fds, *(fd for fd in streams if isinstance(fd, int))):
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            message = f"descriptor {fd}, which the process is to have, is not open"
            raise InvalidInput(message, code="bad-descriptor") from None
    if request.terminal and request.console < 0 and not request.supervise:
        raise InvalidInput(
            "the process wants a terminal, and there is nobody to get its other end",
            code="no-console",
            hint="give a console socket, or have the process supervised",
        )
    if request.console >= 0 and not request.terminal:
        raise InvalidInput("a console socket is given for a process without a terminal", code="no-terminal")


def given_descriptors(request: Request, opened: list[int]) -> "tuple[dict[str, int], dict[str, Argument]]":
    """Descriptors by slot name for a plan, and the header fields for a monitor; what is opened is listed
    too.
    """
    given = {f"kept {number}": fd for number, fd in enumerate(request.preserve_fds)}
    header: dict[str, Argument] = {}
    if request.terminal:
        if request.console >= 0:
            given["console"] = request.console
        else:
            left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            given["console"], given["monitor console"] = left.detach(), right.detach()
            opened += [given["console"], given["monitor console"]]
            header["console"] = "monitor console"
    else:
        request.stdio.open(given, header, opened, supervise=request.supervise)
    if request.supervise:
        header["flags"] = _MONITORED_EXIT
        header.update(request.stdio.log_header())
        if request.stdio.log_format:
            opened.append(request.stdio.open_log())
    return given, header


def undo_list(directories: "tuple[str, ...]", state_path: str) -> bytes:
    """What the stage removes when the launch is given up and we are not there to do it.

    Args:
        directories: of cgroups, outermost first; those above others of them may have come to be of use to
            somebody else.
        state_path: the state directory.
    """
    names = (*state.NAMES, files.temporary_name(state.STATE_FILE))
    parents = {os.path.dirname(directory) for directory in directories}
    entries = [f"{'p' if each in parents else 'd'}{each}" for each in reversed(directories)]
    entries += [f"f{state_path}/{name}" for name in names]
    return b"".join(entry.encode() + b"\0" for entry in (*entries, f"d{state_path}"))


def missing_directories(cgroups: CgroupState) -> tuple[str, ...]:
    """What making the cgroup will add to its hierarchies, outermost first."""
    missing: list[str] = []
    for tree in cgroups.trees:
        chain = []
        directory = tree.directory()
        while len(directory) > len(tree.mountpoint) and not os.path.exists(directory):
            chain.append(directory)
            directory = os.path.dirname(directory)
        missing += reversed(chain)
    return tuple(missing)


def end_processes(cgroups: CgroupManager) -> None:
    """No process is in a cgroup that was made for a launch that failed.

    The launcher does not know them all: the helper may have been killed before it could say whom it cloned.
    """
    if not cgroups.state.made:
        return
    left = cgroups.procs()
    if left:
        cgroups.kill()
        for pid in left:
            process.reap(pid)


def new_manager(config: "Config", container_id: str, hierarchies: cgroupfs.Hierarchies) -> CgroupManager:
    """The manager of the cgroup that the container is to have."""
    path = config.cgroup_path
    if not path and config.cgroup_parent:
        parent = config.cgroup_parent
        path = (
            f"{parent}:pierhead:{container_id}"
            if config.cgroup_manager == "systemd"
            else f"{parent}/{container_id}"
        )
    return new_cgroups(
        config.cgroup_manager,
        path,
        container_id,
        hierarchies,
        rootless=os.geteuid() != 0,
        confined=facts.in_user_namespace(),
        owner_uid=_owner(config),
        annotations=_systemd_annotations(config),
    )


def _systemd_annotations(config: "Config") -> dict[str, str]:
    return {f"org.systemd.property.{name}": value for name, value in config.systemd_properties.items()}


def _owner(config: "Config") -> int | None:
    """The host's number for the container's root, if it has a user namespace and may divide its cgroup."""
    for mapping in config.uid_mappings:
        if mapping.container_id == 0:
            return mapping.host_id or None
    return None


def mount_of(path: str, mountinfo: str) -> str:
    """Where the mount stands that holds the path.  Source: proc_pid_mountinfo(5)."""
    best = "/"
    for line in filter(
        None, mountinfo.split("\n")
    ):  # paths may hold what Python takes for other ends of lines
        point = line.split(" ", 5)[4]
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best = point
    return best


def whole_views(mountinfo: str, rootfs: str) -> tuple[str, ...]:
    """Where a procfs or sysfs is mounted from its root on, outside the rootfs; inner mounts come first."""
    import re

    found = []
    for line in filter(None, mountinfo.split("\n")):
        fields = line.split(" ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        kind = fields[fields.index("-") + 1]
        if fields[3] == "/" and kind in ("proc", "sysfs") and not point.startswith(f"{rootfs.rstrip('/')}/"):
            found.append(point)
    return tuple(reversed(found))


def perform(
    handshake: Handshake,
    steps: Steps,
    *,
    before_commit: "Callable[[Handshake], None]",
    supervised: bool,
) -> Launched:
    """Performs the plan that was sent, and commits it.

    Args:
        handshake: the helper has its plan.
        steps: what we do meanwhile.
        before_commit: called when the process is ready or runs; the launch holds if it returns.
        supervised: whether a monitor stays.
    """
    ending = handshake.run(steps)
    before_commit(handshake)
    handshake.commit()
    control = None
    if supervised:
        control = handshake.detach()
    else:
        handshake.finish()
    return Launched(
        pid=handshake.init_pid,
        pidfd=handshake.init_pidfd,
        stage_pid=handshake.stage_pid,
        control=control,
        trace=ending.trace,
    )


def attach_failure(error: BaseException, undo: "Callable[[], None]") -> None:
    """Runs an undo step; its own failure is noted on the error that made it necessary."""
    try:
        undo()
    except (PierheadError, OSError) as failure:
        error.add_note(f"and while cleaning up: {failure}")


def read_start_time(pid: int) -> int:
    """The process's start time; 0 if it has ended in between."""
    return procstat.start_time(pid) or 0
