"""Cgroups by systemd: the container is a transient scope (or a slice), limited by properties and by files.

systemd makes the unit's cgroup in its own tree and, on v1, in the trees whose controllers it uses; the rest
is made here.  Every limit is also written to its file, since systemd has no property for many.

Source: https://systemd.io/CGROUP_DELEGATION
"""

from pierhead.errors import Forbidden, PierheadError, Unsupported
from pierhead.linux.cgroupfs import normalise_path
from pierhead.linux.systemd import Systemd
from pierhead.runtime.cgroups import CgroupfsDriver, CgroupState, new_state
from pierhead.runtime.plan import cgroups as plan
from pierhead.runtime.plan.cgroup_paths import SystemdUnit, resolve_systemd_unit
from pierhead.runtime.plan.systemd_unit import (
    annotation_properties,
    device_properties,
    limit_properties,
    unit_properties,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.linux.cgroupfs import Hierarchies
    from pierhead.oci import runtime as oci
    from pierhead.runtime.plan.systemd_unit import Property


def place_unit(
    cgroups_path: str,
    container_id: str,
    hierarchies: "Hierarchies",
    *,
    rootless: bool,
    owner_uid: int | None,
    annotations: dict[str, str],
) -> "SystemdDriver":
    """The manager of a unit that does not exist yet; see `pierhead.runtime.cgroups.new_cgroups`."""
    if rootless and hierarchies.mode != "v2":
        raise Unsupported(
            "a user's systemd manages no v1 cgroups",
            code="cgroup-driver",
            hint="use --cgroup-manager cgroupfs",
        )
    unit = resolve_systemd_unit(cgroups_path, container_id, rootless=rootless)
    extra = annotation_properties(annotations)
    with Systemd.connect(user=rootless) as systemd:
        base = systemd.control_group() if rootless else ""
    paths = {tree.mountpoint: base + unit.path for tree in hierarchies.trees}
    state = new_state("systemd", hierarchies, paths, rootless=rootless, owner_uid=owner_uid)
    return SystemdDriver(state.replace(unit=unit.name, slice_name=unit.slice_name), container_id, extra)


class SystemdDriver(CgroupfsDriver):
    """Has systemd make the unit around the first process."""

    needs_pid = True

    def __init__(
        self, state: CgroupState, container_id: str = "", extra: "list[Property] | None" = None
    ) -> None:
        super().__init__(state)
        self._container_id = container_id
        self._extra = extra or []

    def create(self, resources: "oci.Resources | None" = None, *, pid: int = 0) -> None:
        """The unit is active, with its limits, and holds the process (a slice holds none).

        Raises:
            Conflict: there is an active unit of that name.
            OperationFailed, Forbidden, TimedOut, Unavailable: systemd refuses, fails or does not answer.
            Unsupported: see `CgroupfsDriver.create`; the unit is stopped again.
        """
        writes = self._plan(resources, plan.NOTHING_KNOWN, [])
        unit = SystemdUnit(name=self.state.unit, slice_name=self.state.slice_name, path="")
        description = f"container {self._container_id}"
        with self._systemd() as systemd:
            properties = unit_properties(unit, description, pid=pid, legacy=self.state.mode != "v2")
            properties += self._limits(systemd, resources, writes) + self._extra
            systemd.start_transient_unit(unit.name, properties)
            try:
                self._make_directories(plan.unified_controllers(writes, self.controllers()))
                if pid and not unit.is_slice():
                    # systemd moved it in its own tree; the others are ours to fill.
                    self.join(pid)
            except BaseException:
                systemd.stop_unit(unit.name)
                raise

    def apply(self, resources: "oci.Resources | None", *, update: bool = False) -> list[str]:
        """The limits are in force, in the unit and in the files; see `CgroupfsDriver.apply`."""
        if update and resources is not None:
            writes = self._plan(resources, self._current(resources, update=True), [])
            with self._systemd() as systemd:
                systemd.set_unit_properties(self.state.unit, self._limits(systemd, resources, writes))
        return super().apply(resources, update=update)

    def take_back(self, cause: BaseException, before: "oci.Resources") -> None:
        """See `CgroupManager.take_back`; the unit has its old limits again, where there were any."""
        super().take_back(cause, before)
        try:
            with self._systemd() as systemd:
                writes = self._plan(before, plan.NOTHING_KNOWN, [])
                systemd.set_unit_properties(self.state.unit, self._limits(systemd, before, writes))
        except PierheadError as error:
            cause.add_note(f"and while taking it back: {error}")

    def _limits(
        self, systemd: Systemd, resources: "oci.Resources | None", writes: tuple[plan.CgroupWrite, ...]
    ) -> "list[Property]":
        properties = limit_properties(writes, version=systemd.version())
        if resources is not None and resources.devices and not self.state.rootless:
            properties += device_properties(resources.devices)
        return properties

    def join(self, pid: int, *, inner: "dict[str, str] | None" = None, beside_pid: int = 0) -> None:
        """The process is in the cgroup; systemd moves it where we may not, out of another session."""
        try:
            super().join(pid, inner=inner, beside_pid=beside_pid)
        except Forbidden:
            path = normalise_path((inner or {}).get("", "")).rstrip("/")
            with self._systemd() as systemd:
                systemd.attach_processes(self.state.unit, [pid], inner_path=path)

    def remove(self) -> None:
        """The unit is stopped and its cgroup gone."""
        with self._systemd() as systemd:
            systemd.stop_unit(self.state.unit)
        super().remove()

    def _systemd(self) -> Systemd:
        return Systemd.connect(user=self.state.rootless)
