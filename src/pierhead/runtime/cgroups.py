"""A container's cgroup: made, filled, limited, frozen, emptied and removed by one of three drivers.

    CgroupfsDriver   makes the directories itself
    SystemdDriver    (cgroups_systemd) has systemd make a unit (a scope) for it, and the rest as above
    DisabledDriver   leaves the container in the cgroup of whoever starts it

    manager = new_cgroups("cgroupfs", spec.linux.cgroups_path, id, discover())
    manager.create(resources)          # no process is needed yet; systemd wants pid=
    manager.apply(resources)           # limits stand before the first process is there
    manager.join(pid)                  # or clone3 into open_directory()
    state = manager.state              # plain values, for state.json
    load_cgroups(state).kill()         # in any other process

Knows the order of these steps, not what the values mean (``plan.cgroups``) nor the kernel's ways with the
files (``linux.cgroupfs``).
"""

import errno
import os

from pierhead.errors import Conflict, Forbidden, InvalidInput, OperationFailed, PierheadError, Unsupported
from pierhead.linux import cgroupfs
from pierhead.runtime import cgroup_present as present
from pierhead.runtime.plan import cgroups as plan
from pierhead.runtime.plan.cgroup_paths import resolve_cgroup_paths
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from pierhead.linux.cgroup_freezer import FreezeState
    from pierhead.oci import runtime as oci
    from pierhead.runtime.stats import Stats
else:
    Protocol = object

_SIGKILL = 9


class CgroupTree(Value):
    """One hierarchy and the container's path in it."""

    version: int
    mountpoint: str
    path: str
    controllers: tuple[str, ...] = ()

    def directory(self) -> str:
        """The container's cgroup as a host path."""
        return self.mountpoint + self.path


class CgroupState(Value):
    """All that another process must know to manage the same cgroup; plain, for state.json.

    ``made`` are the directories that did not exist before, outermost first.
    """

    driver: str
    mode: str = "none"
    trees: tuple[CgroupTree, ...] = ()
    made: tuple[str, ...] = ()
    unit: str = ""
    slice_name: str = ""
    rootless: bool = False
    lenient: bool = False
    owner_uid: int | None = None


class CgroupManager(Protocol):
    """What every driver does.  Errors name the cgroup and the kernel's reason; see each driver for more."""

    needs_pid: bool
    """The cgroup can only be made around a process: ``create`` wants a pid."""

    @property
    def state(self) -> CgroupState:
        """What `load_cgroups` takes."""

    def create(self, resources: "oci.Resources | None" = None, *, pid: int = 0) -> None:
        """The cgroup exists; the resources say which controllers it needs.  On an error nothing is left."""

    def planned_writes(self, resources: "oci.Resources") -> tuple[plan.CgroupWrite, ...]:
        """What ``apply`` would write to a cgroup that is new."""

    def apply(self, resources: "oci.Resources | None", *, update: bool = False) -> list[str]:
        """The limits are in force; returns warnings.  For an ``update`` the present values count."""

    def take_back(self, cause: BaseException, before: "oci.Resources") -> None:
        """What this manager's last update changed is as it was; what is not is noted on the ``cause``.

        Args:
            cause: why it is taken back.
            before: what was in force; of device rules the kernel does not tell.
        """

    def join(self, pid: int, *, inner: "dict[str, str] | None" = None, beside_pid: int = 0) -> None:
        """The process is in the cgroup, or in the ``inner`` one below it."""

    def procs(self) -> list[int]:
        """The processes in it and below it."""

    def freeze_state(self) -> "FreezeState":
        """``thawed``, ``freezing`` or ``frozen``."""

    def freeze(self) -> None:
        """None of its processes runs."""

    def thaw(self) -> None:
        """Its processes run."""

    def kill(self, signal: int = _SIGKILL) -> None:
        """Every process got the signal; with SIGKILL: is dead, even if the cgroup was frozen."""

    def stats(self) -> "Stats":
        """What the kernel counts."""

    def remove(self) -> None:
        """The cgroup is gone; its processes must be dead."""


def new_cgroups(
    driver: str,
    cgroups_path: str,
    container_id: str,
    hierarchies: cgroupfs.Hierarchies,
    *,
    rootless: bool = False,
    confined: bool = False,
    owner_uid: int | None = None,
    annotations: dict[str, str] | None = None,
) -> CgroupManager:
    """The manager of a cgroup that is still to be created.

    Args:
        driver: ``cgroupfs``, ``systemd`` or ``disabled``.
        cgroups_path: the specification's ``linux.cgroupsPath``; may be empty.
        container_id: names the cgroup when the path does not.
        hierarchies: from `pierhead.linux.cgroupfs.discover`.
        rootless: trees in which we may not make a cgroup are left out, if no path was asked for.
        confined: we are in a user namespace, whose root may no more attach a program of device rules than
            another user.
        owner_uid: host user who gets the cgroup2 directory, so that the container can divide it further.
        annotations: of the container; ``org.systemd.property.*`` are for systemd.

    Raises:
        InvalidInput, Unsupported: the path; an unknown driver.
        Unavailable: systemd is wanted and does not answer.
    """
    if driver == "disabled":
        return DisabledDriver(CgroupState(driver=driver))
    if driver == "cgroupfs":
        paths = resolve_cgroup_paths(cgroups_path, container_id, hierarchies, rootless=rootless)
        state = new_state(driver, hierarchies, paths, rootless=rootless or confined, owner_uid=owner_uid)
        return CgroupfsDriver(state.replace(lenient=rootless and not cgroups_path))
    if driver != "systemd":
        raise InvalidInput(
            f"cgroup driver {driver!r} is none of cgroupfs, systemd, disabled", code="bad-driver"
        )
    from pierhead.runtime.cgroups_systemd import place_unit

    return place_unit(
        cgroups_path,
        container_id,
        hierarchies,
        rootless=rootless,
        owner_uid=owner_uid,
        annotations=annotations or {},
    )


def new_state(
    driver: str,
    hierarchies: cgroupfs.Hierarchies,
    paths: dict[str, str],
    *,
    rootless: bool,
    owner_uid: int | None,
) -> CgroupState:
    """The state of a cgroup at these paths (by mountpoint), of which nothing exists yet."""
    trees = tuple(
        CgroupTree(
            version=tree.version,
            mountpoint=tree.mountpoint,
            path=paths[tree.mountpoint],
            controllers=tree.controllers,
        )
        for tree in hierarchies.trees
    )
    return CgroupState(
        driver=driver, mode=hierarchies.mode, trees=trees, rootless=rootless, owner_uid=owner_uid
    )


def load_cgroups(state: CgroupState) -> CgroupManager:
    """The manager of a cgroup that exists, from what its creator's ``state`` was."""
    if state.driver == "systemd":
        from pierhead.runtime.cgroups_systemd import SystemdDriver

        return SystemdDriver(state)
    return DisabledDriver(state) if state.driver == "disabled" else CgroupfsDriver(state)


def paths_by_controller(state: CgroupState) -> dict[str, str]:
    """Directory by controller, the cgroup2 one under the empty name: what other tools call cgroup paths."""
    found = {}
    for tree in state.trees:
        for controller in tree.controllers if tree.version == 1 else ("",):
            found[controller] = tree.directory()
    return found


class CgroupfsDriver:
    """Makes and removes the directories itself."""

    needs_pid = False

    def __init__(self, state: CgroupState) -> None:
        self._state = state
        self._skipped = False
        self._replaced: dict[tuple[str, str], str | None] = {}

    @property
    def state(self) -> CgroupState:
        """What `load_cgroups` takes; changes with `create`."""
        return self._state

    # Making and filling

    def create(self, resources: "oci.Resources | None" = None, *, pid: int = 0) -> None:
        """The cgroup exists in every tree.

        Raises:
            Unsupported: a limit whose controller is missing, or cannot be switched on at this place.
            Forbidden, OperationFailed: a directory cannot be made.
            Conflict: the cgroup is there already and others are in it, who would be killed with the
                container.
        """
        writes = self._plan(resources, plan.NOTHING_KNOWN, [])
        self._make_directories(plan.unified_controllers(writes, self.controllers()))
        self._leave_others_alone()
        if pid:
            self.join(pid)

    def _make_directories(self, needed: frozenset[str]) -> None:
        made: list[str] = []
        kept: list[CgroupTree] = []
        try:
            for tree in self._state.trees:
                try:
                    made += cgroupfs.make_directories(_hierarchy(tree), tree.path, needed=needed)
                except Forbidden:
                    if not self._state.lenient:
                        raise
                    self._skipped = True
                else:
                    kept.append(tree)
            self._state = self._state.replace(trees=tuple(kept), made=tuple(made))
            self._hand_over()
        except BaseException:
            cgroupfs.remove_made(made)
            raise

    def _leave_others_alone(self) -> None:
        made = self._state.made
        for tree in self._state.trees:
            directory = tree.directory()
            pids = () if directory in made else cgroupfs.procs(directory)
            if pids:
                cgroupfs.remove_made(made)
                self._state = self._state.replace(trees=(), made=())  # nothing here is ours to remove
                raise Conflict(
                    f"cgroup {directory} is in use: it holds {len(pids)} processes, first {pids[0]}",
                    code="cgroup-in-use",
                    hint="choose another id or cgroups path",
                )

    def _hand_over(self) -> None:
        """The cgroup2 directory belongs to the container's owner, and with it what delegation needs.

        Source: cgroup-v2.rst, "Delegation"; the files are listed in /sys/kernel/cgroup/delegate.
        """
        unified, uid = self._unified(), self._state.owner_uid
        if unified is None or uid is None:
            return
        listed = cgroupfs.read_text("/sys/kernel/cgroup", "delegate")
        files = (listed or "cgroup.procs\ncgroup.threads\ncgroup.subtree_control").split()
        os.chown(unified.directory(), uid, -1)
        for file in files:
            try:
                os.chown(f"{unified.directory()}/{file}", uid, -1)
            except FileNotFoundError:
                continue

    def open_directory(self) -> int:
        """A descriptor for clone3's CLONE_INTO_CGROUP, which the caller closes; -1 where join must do it.

        Only a pure cgroup2 machine has one group that is all there is.
        """
        unified = self._unified()
        if self._state.mode != "v2" or unified is None:
            return -1
        return os.open(unified.directory(), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def join(self, pid: int, *, inner: "dict[str, str] | None" = None, beside_pid: int = 0) -> None:
        """The process is in the cgroup in every tree.

        Args:
            pid: the process, with all its threads.
            inner: path of a cgroup below the container's, by controller; the empty name is for all others.
            beside_pid: where a cgroup2 group cannot hold processes any more (the container has divided it),
                join the group of this process of the container instead.

        Raises:
            InvalidInput: an inner path with ``..``.
            OperationFailed, Forbidden: the kernel refuses.
        """
        for tree in self._state.trees:
            path = _inner_path(tree, inner) if inner else ""
            directory = tree.directory() + path
            try:
                cgroupfs.join(directory, pid)
            except Forbidden:
                if not self._state.lenient:
                    raise
            except OperationFailed as error:
                if error.errno != errno.EBUSY or tree.version != 2 or not beside_pid or path:
                    raise
                cgroupfs.join(tree.mountpoint + _unified_path_of(beside_pid), pid)

    # Limits

    def controllers(self) -> plan.Controllers:
        """The controllers of the trees that the container is in."""
        trees = self._state.trees
        return plan.Controllers(
            mode=self._state.mode,
            legacy=tuple(name for tree in trees if tree.version == 1 for name in tree.controllers),
            unified=tuple(name for tree in trees if tree.version == 2 for name in tree.controllers),
        )

    def apply(self, resources: "oci.Resources | None", *, update: bool = False) -> list[str]:
        """The limits are in force; returns a sentence for each setting that has no effect.

        Raises:
            Unsupported: a limit that this machine cannot keep; the message begins with its JSON path.
            InvalidInput, Conflict: see `pierhead.runtime.plan.cgroups.cgroup_writes`.
            OperationFailed: the kernel refuses a value; those before it stay in force until ``take_back``.
        """
        warnings: list[str] = []
        self._replaced.clear()
        if resources is not None:
            self._perform(
                self._plan(resources, self._current(resources, update=update), warnings), update=update
            )
        return warnings

    def planned_writes(self, resources: "oci.Resources") -> tuple[plan.CgroupWrite, ...]:
        """What ``apply`` would write to a cgroup that is new."""
        return self._plan(resources, plan.NOTHING_KNOWN, [])

    def _plan(
        self, resources: "oci.Resources | None", current: plan.CurrentLimits, warnings: list[str]
    ) -> tuple[plan.CgroupWrite, ...]:
        controllers = self.controllers()
        if resources is not None and self._state.rootless and not controllers.version_of("devices"):
            # The kernel itself keeps a user namespace from most devices; v1 rules are for root.
            resources = resources.replace(devices=())
        try:
            return plan.cgroup_writes(resources, controllers, current=current, warnings=warnings)
        except Unsupported as error:
            if not self._skipped:
                raise
            raise Forbidden(
                f"{error.message} in which this user may make a cgroup",
                code="cgroup-permission",
                hint="delegate a cgroup to this user, or use --cgroup-manager systemd",
            ) from None

    def _perform(self, writes: tuple[plan.CgroupWrite, ...], *, update: bool) -> None:
        """One open(2) for neighbours in the same file, one write(2) for each."""
        if update:
            self._enable(plan.unified_controllers(writes, self.controllers()))
            self._note(writes)
        start = 0
        for end in range(1, len(writes) + 1):
            if end == len(writes) or writes[end].file != writes[start].file:
                self._write(writes[start:end])
                start = end

    def _note(self, writes: tuple[plan.CgroupWrite, ...]) -> None:
        """What the files hold that an update writes."""
        for write in writes:
            directory = self._directory_for(write.controller)
            for file in (write.file, *(write.instead or ())[:1]):
                if (directory, file) not in self._replaced:
                    self._replaced[directory, file] = present.content(directory, file)

    def take_back(self, cause: BaseException, before: "oci.Resources") -> None:
        """See `CgroupManager.take_back`."""
        present.write_back(self._replaced, cause)
        if any(file.startswith("devices.") for _, file in self._replaced):
            self.apply(type(before)(devices=before.devices))

    def _enable(self, needed: frozenset[str]) -> None:
        unified = self._unified()
        if unified is not None and needed:
            cgroupfs.enable_controllers(_hierarchy(unified), unified.path, needed)

    def _write(self, writes: tuple[plan.CgroupWrite, ...]) -> None:
        first = writes[0]
        directory = self._directory_for(first.controller)
        try:
            cgroupfs.write_lines(directory, first.file, [write.value for write in writes])
        except Forbidden:
            if not (self._state.rootless and first.controller == "devices"):
                raise
        except OperationFailed as error:
            if error.errno == errno.ENOENT and os.path.isdir(directory):
                self._write_instead(directory, writes)
            elif error.errno == errno.EBUSY and first.controller == "memory":
                raise OperationFailed(
                    error.message + present.memory_in_use(directory), errno=error.errno
                ) from None
            else:
                raise

    @staticmethod
    def _write_instead(directory: str, writes: tuple[plan.CgroupWrite, ...]) -> None:
        for write in writes:
            file, value = write.instead or ("", "")
            if file and os.path.exists(f"{directory}/{file}"):
                cgroupfs.write_lines(directory, file, (value,))
            elif not write.optional:
                names = f"{write.file} nor {file}" if file else write.file
                raise Unsupported(
                    f"{write.field}: this kernel has {'neither' if file else 'no'} {names}",
                    code="cgroup-setting-missing",
                )

    def _directory_for(self, controller: str) -> str:
        for tree in self._state.trees:
            if controller in tree.controllers or (controller == "cgroup" and tree.version == 2):
                return tree.directory()
        raise AssertionError(f"a write for {controller} was planned without a tree for it")

    def _current(self, resources: "oci.Resources", *, update: bool) -> plan.CurrentLimits:
        if not update:
            return plan.NOTHING_KNOWN
        known: dict[str, int | None] = {}
        versions = self.controllers()
        if resources.memory is not None and (version := versions.version_of("memory")):
            known.update(present.memory(self._directory_for("memory"), version))
        if resources.cpu is not None and (version := versions.version_of("cpu")):
            known.update(present.bandwidth(self._directory_for("cpu"), version))
        return plan.CurrentLimits(**known)

    # Life and death

    def _unified(self) -> CgroupTree | None:
        return next((tree for tree in self._state.trees if tree.version == 2), None)

    def _freezer(self) -> CgroupTree | None:
        """The tree whose freezer stops the container: v1's where it is mounted, else cgroup2's."""
        legacy = next((tree for tree in self._state.trees if "freezer" in tree.controllers), None)
        return legacy or self._unified()

    def _need_freezer(self) -> CgroupTree:
        tree = self._freezer()
        if tree is None:
            raise Unsupported(
                "pausing needs a freezer, and this container's cgroup has none", code="cgroup-freezer-missing"
            )
        return tree

    def procs(self) -> list[int]:
        """The processes in the cgroup and below it, ascending."""
        tree = self._freezer() or next(iter(self._state.trees), None)
        return cgroupfs.procs(tree.directory()) if tree else []

    def freeze_state(self) -> "FreezeState":
        """``thawed``, ``freezing`` or ``frozen``."""
        from pierhead.linux.cgroup_freezer import freeze_state

        tree = self._freezer()
        return freeze_state(tree.directory(), tree.version) if tree else "thawed"

    def freeze(self) -> None:
        """None of its processes runs.

        Raises:
            TimedOut: one could not be stopped; all run again.
            Unsupported: there is no freezer.
        """
        from pierhead.linux.cgroup_freezer import freeze

        tree = self._need_freezer()
        freeze(tree.directory(), tree.version)

    def thaw(self) -> None:
        """Its processes run."""
        from pierhead.linux.cgroup_freezer import thaw

        tree = self._need_freezer()
        thaw(tree.directory(), tree.version)

    def kill(self, signal: int = _SIGKILL) -> None:
        """Every process got the signal; after SIGKILL each is dead.

        Raises:
            TimedOut: a process survives SIGKILL for 10 s.
        """
        freezer, unified = self._freezer(), self._unified()
        tree = unified or freezer or next(iter(self._state.trees), None)
        if tree is None or not cgroupfs.procs(tree.directory()):
            return
        from pierhead.linux.cgroup_freezer import kill_all, signal_all

        if signal != _SIGKILL:
            signal_all(tree.directory(), signal)
            return
        legacy = freezer.directory() if freezer is not None and freezer.version == 1 else ""
        kill_all(tree.directory(), tree.version, freezer=legacy)

    def stats(self) -> "Stats":
        """What the kernel counts for the container."""
        from pierhead.runtime.stats import read_stats

        return read_stats(paths_by_controller(self._state))

    def directories(self) -> tuple[str, ...]:
        """The directories that `create` made, outermost first: a rollback's rmdir list, from its end."""
        return self._state.made

    def remove(self) -> None:
        """The cgroup is gone in every tree, and parents that were made for it, if nobody else uses them.

        Raises:
            OperationFailed: processes stay in it (errno EBUSY); the other trees are done all the same.
        """
        failure: PierheadError | None = None
        own = set()
        for tree in self._state.trees:
            own.add(tree.directory())
            try:
                # Processes that stay in one tree stay in all: the waiting is done once.
                cgroupfs.remove(tree.directory(), timeout_s=0.0 if failure else 2.0)
            except (OperationFailed, Forbidden) as error:
                failure = failure or error
        cgroupfs.remove_made([directory for directory in self._state.made if directory not in own])
        if failure is not None:
            raise failure


class DisabledDriver(CgroupfsDriver):
    """Leaves the container where its creator is: there is nothing to limit, freeze or count."""

    def create(self, resources: "oci.Resources | None" = None, *, pid: int = 0) -> None:
        """Nothing is done."""

    def planned_writes(self, resources: "oci.Resources") -> tuple[plan.CgroupWrite, ...]:  # noqa: ARG002
        """Nothing is written."""
        return ()

    def apply(self, resources: "oci.Resources | None", *, update: bool = False) -> list[str]:  # noqa: ARG002
        """Nothing is done; a warning says so where limits were asked for."""
        if resources is None or resources.replace(devices=()) == type(resources)():
            return []
        return ["$.linux.resources: ignored, cgroups are disabled"]


def _hierarchy(tree: CgroupTree) -> cgroupfs.Hierarchy:
    return cgroupfs.Hierarchy(version=tree.version, mountpoint=tree.mountpoint, controllers=tree.controllers)


def _inner_path(tree: CgroupTree, inner: dict[str, str]) -> str:
    path = inner.get("", "")
    for controller in tree.controllers:
        path = inner.get(controller, path)
    return cgroupfs.normalise_path(path).rstrip("/")


def _unified_path_of(pid: int) -> str:
    """The cgroup2 path of a process."""
    text = cgroupfs.read_text(f"/proc/{pid}", "cgroup") or ""
    return cgroupfs.parse_own_cgroups(text).get("", "/")
