"""Makes containers and finds them again.

    container = create(root, "web", Config(rootfs="/srv/web", process=ProcessSpec(args=("/bin/httpd",))))
    container.start()
    ...
    pierhead.runtime.load(root, "web").delete(force=True)

The *root* is a directory of state directories (see ``state``); several programs may work in one at the same
time.
"""

import os

from pierhead.errors import Unsupported
from pierhead.ids import check_container_id
from pierhead.linux import cgroupfs, files
from pierhead.linux.refusals import Refusals
from pierhead.runtime import launcher, state, status
from pierhead.runtime.cgroups import CgroupManager
from pierhead.runtime.config import Config
from pierhead.runtime.handshake import BornDead, Handshake, LaunchFailed
from pierhead.runtime.launcher import Request
from pierhead.runtime.plan.devices import device_rules
from pierhead.runtime.plan.launch import LaunchView
from pierhead.runtime.plan.mounts import MAPPING_SLOT
from pierhead.runtime.plan.namespaces import PROC_NAMES
from pierhead.runtime.recipe import Recipe, process_of, recipe_for
from pierhead.runtime.state import ContainerState, StateDirectory, claim
from pierhead.runtime.stdio import Stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.oci.runtime import IDMapping
    from pierhead.runtime.container import Container
    from pierhead.runtime.launcher import Launched
    from pierhead.runtime.plan.launchersteps import LauncherStep
    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.wire import Argument


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
) -> "Container":
    """A container whose first process waits for ``Container.start``.

    Args:
        root: directory of state directories; made where it is missing.
        container_id: 1 to 1024 letters, digits and ``_+-.``, unused under the root.
        config: what it is to be; ``config.process`` is its first process.
        stdio: the process's streams, if it has no terminal.
        console: descriptor of a connected unix socket that gets the terminal's master (SCM_RIGHTS); -1 leaves
            it to the monitor.
        preserve_fds: descriptors that become 3, 4, … in the process; they stay the caller's.
        supervise: a monitor stays with the container: keeps streams or terminal, writes the log, records the
            exit. Without one the process is a child of the caller, or of the caller's reaper once the caller
            has ended.
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
        terminal=process_of(config).terminal,
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
) -> "Container":
    """A container whose first process runs: ``create`` and ``start`` in one go, without a gate between
    them.
    """
    request = Request(
        stdio=stdio,
        terminal=process_of(config).terminal,
        console=console,
        preserve_fds=preserve_fds,
        supervise=supervise,
        trace=trace,
    )
    return _launch(os.path.abspath(root), container_id, config, request, gate=False)


def plan_launch(
    root: "str | os.PathLike[str]",
    container_id: str,
    config: Config,
    *,
    gate: bool = True,
) -> "LaunchPlan":
    """What the helper would do for ``create``, without doing it: for reading, and for tests.

    Raises:
        InvalidInput: configuration or id are not usable.
        NotFound: the rootfs does not exist.
        Unsupported: this machine lacks something that the configuration asks for.
    """
    return _preview(root, container_id, config, gate=gate)[0]


def plan_launch_steps(
    root: "str | os.PathLike[str]",
    container_id: str,
    config: Config,
    *,
    gate: bool = True,
) -> "tuple[LaunchPlan, tuple[LauncherStep, ...]]":
    """What helper and launcher would do for ``create``; see ``plan_launch``."""
    from pierhead.runtime.plan.launchersteps import CgroupPlace, plan_launcher

    plan, recipe, cgroups = _preview(root, container_id, config, gate=gate)
    rules, known = device_rules(recipe.config), cgroups.state
    place = CgroupPlace(
        trees=tuple((tree.mountpoint, tree.path) for tree in known.trees),
        writes=cgroups.planned_writes(recipe.config.resources.replace(devices=rules)),
        unit=f"{known.unit} in {known.slice_name}" if known.unit else "",
    )
    directory = f"{os.path.abspath(root)}/{state.directory_name(container_id)}"
    steps = plan_launcher(recipe.config, recipe.process, plan, place=place, rules=rules, directory=directory)
    return plan, steps


def _preview(
    root: "str | os.PathLike[str]", container_id: str, config: Config, *, gate: bool
) -> "tuple[LaunchPlan, Recipe, CgroupManager]":
    check_container_id(container_id)
    recipe = recipe_for(config)
    hierarchies = cgroupfs.discover()
    cgroups = launcher.new_manager(recipe.config, state.directory_name(container_id), hierarchies)
    request = Request(terminal=recipe.process.terminal)
    view = _view(os.path.abspath(root), recipe.config, request, cgroups, hierarchies, gate=gate)
    return recipe.plan(view), recipe, cgroups


# How it is done


def _placed(cgroups: CgroupManager) -> launcher.Placement:
    return launcher.placement(cgroups.state, needs_pid=cgroups.needs_pid)


def _view(
    root: str,
    config: Config,
    request: Request,
    cgroups: CgroupManager,
    hierarchies: cgroupfs.Hierarchies,
    *,
    gate: bool,
) -> LaunchView:
    placed = _placed(cgroups)
    return launcher.make_view(config, hierarchies, cgroups.state, placed, request, gate=gate, scratch=root)


def _launch(root: str, container_id: str, config: Config, request: Request, *, gate: bool) -> "Container":
    launcher.check_request(request)
    recipe = recipe_for(config)
    frozen = config.freezer_state == "frozen"
    if frozen and config.cgroup_manager == "disabled":
        raise Unsupported("$.freezer_state: a container without a cgroup cannot be frozen", code="no-cgroup")
    try:
        made = _create(root, container_id, recipe, request, gate=gate or frozen)
    except BornDead:  # its cgroup may have been there before: it is gone now, and the next one is new
        made = _create(root, container_id, recipe, request, gate=gate or frozen)
    try:
        if frozen:
            _freeze(made, start=not gate)
        if not gate:
            made.run_poststart()
    except BaseException as error:
        launcher.attach_failure(error, lambda: made.delete(force=True))
        raise
    return made


def _create(root: str, container_id: str, recipe: Recipe, request: Request, *, gate: bool) -> "Container":
    directory = claim(root, container_id)
    try:
        with Refusals(f"create container {container_id}"), Handshake() as handshake:
            return _Creation(directory, recipe, request, handshake, gate=gate).perform()
    except BaseException as error:
        launcher.attach_failure(error, directory.remove)
        directory.close()
        raise


class _Creation:
    """One creation: holds what has been made so far, so that a failure can take it back."""

    def __init__(
        self, directory: StateDirectory, recipe: Recipe, request: Request, handshake: Handshake, *, gate: bool
    ) -> None:
        self._directory = directory
        self._recipe = recipe
        self._config = recipe.config
        self._request = request
        self._handshake = handshake
        self._gate = gate
        self._hierarchies = cgroupfs.discover()
        self._cgroups = launcher.new_manager(recipe.config, directory.name, self._hierarchies)
        self._has_cgroup = False
        self._warnings = list(recipe.warnings)
        self._opened: list[int] = []
        self._steps: launcher.Steps | None = None
        self._state: ContainerState | None = None
        self._document = ""

    def perform(self) -> "Container":
        try:
            launched = self._launch()
        except BaseException as error:
            self._note_lack_of_memory(error)
            self._handshake.give_up()
            if self._steps is not None:
                self._steps.take_back(error)
            if self._has_cgroup:  # else it may be there, and somebody else's
                launcher.attach_failure(error, lambda: launcher.end_processes(self._cgroups))
                launcher.attach_failure(error, self._cgroups.remove)
            raise
        finally:
            if self._steps is not None:
                self._steps.close()
            files.close_all(self._opened)
            self._opened.clear()
        return self._finish(launched)

    def _note_lack_of_memory(self, error: BaseException) -> None:
        """A process that is killed without a word was killed by somebody, or by its own limit."""
        if not (self._has_cgroup and isinstance(error, LaunchFailed) and error.failure is None):
            return
        from pierhead.runtime.oom import oom_kills

        memory = self._config.resources.memory
        if memory is not None and oom_kills(self._cgroups.state):
            error.hint = f"it needs more memory than its limit of {memory.limit} bytes"

    def _launch(self) -> "Launched":
        resources = self._config.resources.replace(devices=device_rules(self._config))
        if not self._cgroups.needs_pid:
            made = launcher.missing_directories(self._cgroups.state)
            undo = launcher.undo_list(made, self._directory.path)
            self._handshake.promise(undo, self._directory.fd)
            self._cgroups.create(resources)
            self._has_cgroup = True
            self._warnings += self._cgroups.apply(resources)
        view = _view(
            self._directory.root,
            self._config,
            self._request,
            self._cgroups,
            self._hierarchies,
            gate=self._gate,
        )
        plan = self._recipe.plan(view)
        given, header = launcher.given_descriptors(self._request, self._opened)
        self._add_own_descriptors(plan, view, given, header)
        self._steps = launcher.Steps(
            self._config,
            plan,
            self._recipe.process,
            place=(lambda pid: self._place_by_pid(pid, resources)) if self._cgroups.needs_pid else None,
            documents=self._state_document,
        )
        self._handshake.send(plan, header, given)
        self._prepare_ending()
        return launcher.perform(
            self._handshake, self._steps, before_commit=self._record, supervised=self._request.supervise
        )

    def _state_document(self, status: str, pid: int) -> bytes:
        """What hooks and listeners are told of the container."""
        from pierhead.runtime.hooks import state_document

        return state_document(self._config, self._directory.id, status, pid)

    def _prepare_ending(self) -> None:
        """What is needed when the process is there is at hand: made now, while the helper is at work."""
        import pierhead.runtime.container  # noqa: F401 - used at the end

        self._document = self._recipe.document

    def _place_by_pid(self, pid: int, resources: object) -> None:
        self._cgroups.create(resources, pid=pid)  # type: ignore[arg-type]
        self._has_cgroup = True
        self._warnings += self._cgroups.apply(resources)  # type: ignore[arg-type]

    def _add_own_descriptors(
        self, plan: "LaunchPlan", view: LaunchView, given: dict[str, int], header: "dict[str, Argument]"
    ) -> None:
        header["id"] = self._directory.id
        header["state"] = "state directory"
        given["state directory"] = self._directory.fd
        header["undo"] = launcher.undo_list(tuple(self._cgroups.state.made), self._directory.path)
        if self._gate:
            given["gate"] = self._open(status.make_gate(self._directory))
        if self._request.supervise:
            self._add_monitor(given, header)
        launcher.open_placement(_placed(self._cgroups), given, header, self._opened)
        if view.device_slot:
            given[view.device_slot] = given["cgroup"]
        for slot in plan.slots:
            if slot.name.startswith("mapping "):
                mount = self._config.mounts[int(slot.name.removeprefix("mapping "))]
                given[slot.name] = self._mapping(mount.uid_mappings, mount.gid_mappings)
            elif slot.name == MAPPING_SLOT:
                given[slot.name] = self._mapping()

    def _add_monitor(self, given: dict[str, int], header: "dict[str, Argument]") -> None:
        header["exit_name"] = state.EXIT_RECORD
        header["oom_path"] = launcher.oom_file(self._cgroups.state)
        header["attach"] = "attach"
        given["attach"] = self._open(status.make_listener(self._directory, state.ATTACH))

    def _mapping(self, uids: "tuple[IDMapping, ...]" = (), gids: "tuple[IDMapping, ...]" = ()) -> int:
        """A user namespace with these id maps, or the container's."""
        from pierhead.runtime.idmaps import open_user_namespace

        config = self._config
        return self._open(open_user_namespace(uids or config.uid_mappings, gids or config.gid_mappings))

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
            namespace_paths={kind: f"/proc/{pid}/ns/{name}" for kind, name in PROC_NAMES.items()},
            host_links=self._steps.host_links,
            config={},
        )
        self._directory.save(self._state, self._document)

    def _finish(self, launched: "Launched") -> "Container":
        from pierhead.runtime.container import Container

        assert self._state is not None
        self._directory.unlock()  # the stage does the same, if nobody killed it
        made = Container(self._directory, self._state, launched=launched, config=self._config)
        made.warnings = tuple(self._warnings)
        return made


def _freeze(container: "Container", *, start: bool) -> None:
    """The container is paused; with ``start`` its gate is open too, so that it runs when it is resumed."""
    container.pause()
    if start:
        container.start_frozen()
