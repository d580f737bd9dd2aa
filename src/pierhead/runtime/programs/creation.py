"""Makes containers by runtime programs: the launcher's side.

Order: claim the id, write the bundle, launch the program's ``create``; when it has ended the stage adopts the
container's first process, its network is made, ``start`` if it is to run at once, state.json, commit.  Until
then everything is undone as for any launch.
"""

from __future__ import annotations

import os
from contextlib import nullcontext

from pierhead import jsontext
from pierhead.linux import cgroupfs, facts, files
from pierhead.linux.refusals import Refusals
from pierhead.oci.document import encode
from pierhead.runtime import launcher, state, status
from pierhead.runtime.cgroups import CgroupState, load_cgroups
from pierhead.runtime.handshake import Handshake
from pierhead.runtime.launcher import Request
from pierhead.runtime.plan import mounts
from pierhead.runtime.plan.namespaces import PROC_NAMES
from pierhead.runtime.plan.program import plan_network, plan_program_root
from pierhead.runtime.programs.container import ProgramContainer
from pierhead.runtime.programs.document import spec_of
from pierhead.runtime.programs.launching import Launch
from pierhead.runtime.programs.program import ASIDE_S, Program, remove_bundle, write_document
from pierhead.runtime.programs.terminal import ConsoleSocket
from pierhead.runtime.recipe import process_of, recipe_for
from pierhead.runtime.state import ContainerState, StateDirectory, claim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config
    from pierhead.runtime.launcher import Launched
    from pierhead.runtime.plan.mounts import RootPlan
    from pierhead.runtime.stdio import Stdio

_SCRATCH = "root"


def create(
    root: str, container_id: str, config: Config, program: Program, *, stdio: Stdio
) -> ProgramContainer:
    """A container with a monitor, whose first process waits for ``Container.start``.

    Args:
        root: directory of state directories; made where it is missing.
        container_id: unused under the root.
        config: what it is to be.
        program: who makes it; its bundle's directory is the container's alone.
        stdio: streams, if the first process has no terminal.

    Raises:
        NotFound: the rootfs does not exist.
        OperationFailed: the program failed; nothing is left behind.
        PierheadError: as ``runtime.create``.
    """
    return _make(root, container_id, config, program, stdio, gate=True)


def run(root: str, container_id: str, config: Config, program: Program, *, stdio: Stdio) -> ProgramContainer:
    """A container with a monitor whose first process runs; see ``create``."""
    return _make(root, container_id, config, program, stdio, gate=False)


def sweep_bundles(home: str, kept: frozenset[str]) -> None:
    """Of creations and deletions that were cut off nothing is left.

    Args:
        home: directory of bundles; need not exist.
        kept: names of bundles whose containers there are.
    """
    try:
        names = os.listdir(home)
    except FileNotFoundError:
        return
    for name in names:
        if name not in kept:
            remove_bundle(f"{home}/{name}", name, timeout_s=ASIDE_S)


def _make(
    root: str, container_id: str, config: Config, program: Program, stdio: Stdio, *, gate: bool
) -> ProgramContainer:
    config = config.replace(bundle=program.bundle)
    request = Request(stdio=stdio, terminal=process_of(config).terminal, supervise=True)
    launcher.check_request(request)
    recipe = recipe_for(config)
    directory = claim(os.path.abspath(root), container_id)
    try:
        with Refusals(f"create container {container_id}"), Handshake() as handshake:
            return _Creation(directory, recipe.config, program, request, handshake).perform(gate=gate)
    except BaseException as error:
        launcher.attach_failure(error, directory.remove)
        directory.close()
        raise


class _Creation:
    """One creation: holds what has been made so far, so that a failure can take it back."""

    def __init__(
        self,
        directory: StateDirectory,
        config: Config,
        program: Program,
        request: Request,
        handshake: Handshake,
    ) -> None:
        self._directory = directory
        self._config = config
        if config.cgroup_manager == "systemd":
            program = program.replace(command=(*program.command, "--systemd-cgroup"))
        self._program = program
        self._request = request
        self._handshake = handshake
        self._hierarchies = cgroupfs.discover()
        self._wanted = launcher.new_manager(config, directory.name, self._hierarchies).state
        self._missing = launcher.missing_directories(self._wanted)
        self._steps: launcher.Steps | None = None
        self._state: ContainerState | None = None

    def perform(self, *, gate: bool) -> ProgramContainer:
        try:
            launched = self._launch(gate=gate)
        except BaseException as error:
            self._handshake.give_up()
            if self._steps is not None:
                self._steps.take_back(error)
            remove_bundle(self._program.bundle, self._directory.id)
            launcher.attach_failure(error, self._remove_cgroup)
            raise
        finally:
            if self._steps is not None:
                self._steps.close()
        assert self._state is not None
        self._directory.unlock()
        return ProgramContainer(self._directory, self._state, launched=launched, config=self._config)

    def _remove_cgroup(self) -> None:
        """What the program has made is gone: one that was there before may be somebody else's."""
        own = tuple(tree for tree in self._wanted.trees if tree.directory() in self._missing)
        load_cgroups(CgroupState(driver="cgroupfs", trees=own, made=self._missing)).remove()

    def _launch(self, *, gate: bool) -> Launched:
        self._make_bundle()
        root = self._root()
        spec = spec_of(self._config, root.root[1], readonly=root.readonly)
        write_document(f"{self._program.bundle}/config.json", encode(spec))
        launch = Launch(self._program, self._program.bundle, self._request)
        try:
            self._add_own_descriptors(launch)
            self._run_program(launch, root)
        finally:
            launch.close()
        self._attach_networks()
        cgroups = self._observe_cgroups(self._handshake.init_pid)  # while it waits: a zombie is in none
        if not gate:
            self._program.call("start", self._directory.id)
        self._record(cgroups)
        self._handshake.commit()
        return launcher.Launched(
            pid=self._handshake.init_pid,
            pidfd=self._handshake.init_pidfd,
            stage_pid=self._handshake.stage_pid,
            control=self._handshake.detach(),
            trace={},
        )

    def _make_bundle(self) -> None:
        """Nobody else can look into it: the document has the environment, where people keep secrets."""
        bundle = self._program.bundle
        if os.path.exists(bundle):  # of an earlier run, since the id is ours
            remove_bundle(bundle, self._directory.id)
        os.makedirs(os.path.dirname(bundle), mode=0o711, exist_ok=True)
        os.mkdir(bundle, 0o700)
        os.mkdir(f"{bundle}/state", 0o700)
        self._program.note()

    def _root(self) -> RootPlan:
        overlay = self._config.root_overlay
        if overlay is None:
            scratch = f"{self._program.bundle}/{_SCRATCH}"
            os.mkdir(scratch, 0o700)
            return mounts.choose_root(self._config, scratch, privileged=False)
        from pierhead.runtime.plan.rootoverlay import plan_root_overlay

        return plan_root_overlay(self._config, overlay, rootless=False, kernel=facts.kernel_version())

    def _add_own_descriptors(self, launch: Launch) -> None:
        header, given = launch.header, launch.given
        header["id"] = self._directory.id
        header["state"], given["state directory"] = "state directory", self._directory.fd
        header["undo"] = launcher.undo_list(self._missing, self._directory.path)
        header["exit_name"] = state.EXIT_RECORD
        header["oom_path"] = launcher.oom_file(self._wanted)
        header["attach"] = "attach"
        given["attach"] = status.make_listener(self._directory, state.ATTACH)
        launch.opened.append(given["attach"])

    def _run_program(self, launch: Launch, root: RootPlan) -> None:
        bundle, terminal = self._program.bundle, self._request.terminal
        words = launch.words("create", "--bundle", bundle, self._directory.id)
        parent = launcher.parent_mount(self._config, root.root[1])
        mounted = plan_program_root(self._config.rootfs_propagation, parent, root)
        with ConsoleSocket(bundle) if terminal else nullcontext() as console:
            launch.perform(self._handshake, self._config, words, mounted, root.slots)
            if console is not None:
                console.hand_on(launch.keeper_fd)

    def _attach_networks(self) -> None:
        """Interfaces, addresses, routes, in the network namespace that the program has made."""
        config = self._config
        others = any(each.type != "loopback" for each in config.networks)
        if not (others or config.routes):
            return
        assert config.process is not None
        plan = plan_network(self._handshake.init_pid)
        # a host's device is moved by the program, which is told of it
        self._steps = launcher.Steps(config.replace(net_devices={}), plan, config.process)
        with Handshake() as handshake:
            handshake.send(plan, {}, {})
            handshake.run(self._steps)

    def _record(self, cgroups: CgroupState) -> None:
        """state.json stands before the launch is committed."""
        pid = self._handshake.init_pid
        self._state = ContainerState(
            id=self._directory.id,
            init_pid=pid,
            init_start_time=launcher.read_start_time(pid),
            monitor_pid=self._handshake.stage_pid,
            created=state.timestamp(),
            uid=os.geteuid(),
            cgroup=cgroups,
            namespace_paths={kind: f"/proc/{pid}/ns/{name}" for kind, name in PROC_NAMES.items()},
            host_links=self._steps.host_links if self._steps is not None else (),
            program=self._program.command,
            config={},
        )
        document = jsontext.format_compact(self._document())
        self._directory.save(self._state, document)

    def _document(self) -> dict[str, object]:
        from pierhead.runtime.config import config_to_document

        return config_to_document(self._config)

    def _observe_cgroups(self, pid: int) -> CgroupState:
        """Where the program has put the container; where it has left it beside us, nothing is managed."""
        there = cgroupfs.parse_own_cgroups(files.read_file(f"/proc/{pid}/cgroup").decode())
        here = cgroupfs.parse_own_cgroups(files.read_file("/proc/self/cgroup").decode())
        found = []
        for tree in self._wanted.trees:
            name = "" if tree.version == 2 else tree.controllers[0]
            if name in there and there[name] not in ("/", here.get(name)):
                found.append(tree.replace(path=there[name]))
        return self._wanted.replace(driver="cgroupfs", unit="", trees=tuple(found), made=self._missing)
