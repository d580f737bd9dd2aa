"""New limits for a container that is there.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.documents import Resources
from pierhead.engine.specgen.ground import ANY_MACHINE
from pierhead.engine.specgen.limits import check_limits, resources_of
from pierhead.engine.specgen.restarts import check_restart_policy
from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pierhead.engine.documents import HostConfig, UpdateConfig
    from pierhead.engine.specgen.ground import Machine
    from pierhead.oci import runtime as oci

_FIXED = (
    "cgroup_parent",
    "devices",
    "device_cgroup_rules",
    "device_requests",
    "ulimits",
)
"""What is decided when the container starts, and is passed over in an update, as by Docker."""


def plan_update(
    host: HostConfig, update: UpdateConfig, *, machine: Machine = ANY_MACHINE
) -> tuple[HostConfig, oci.Resources]:
    """The container's configuration with what the update says, and the limits that its cgroup is to get.

    Only what changes is in the limits; they are empty where nothing does.

    Raises:
        InvalidInput: the numbers cannot be limits, alone or beside those that stay.
    """
    _check_conflicts(host, update)
    if update.restart_policy is not None and update.restart_policy.name:
        check_restart_policy(update.restart_policy)
        if host.auto_remove:
            raise InvalidInput(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
                code="conflicting-options",
            )
        host = host.replace(restart_policy=update.restart_policy)
    given = {
        name: value
        for name in Resources.fields
        if name not in _FIXED and (value := getattr(update, name)) not in (0, "", (), None)
    }
    merged = host.replace(**given)
    check_limits(merged, machine)
    changed = Resources(**given)
    if changed.nano_cpus == 0 and (
        changed.cpu_quota or changed.cpu_period
    ):  # the kernel checks them together
        changed = changed.replace(cpu_quota=merged.cpu_quota, cpu_period=merged.cpu_period)
    if changed.memory or changed.memory_swap:
        changed = changed.replace(memory=merged.memory, memory_swap=merged.memory_swap)
    return merged, resources_of(changed, {})


def _check_conflicts(host: HostConfig, update: UpdateConfig) -> None:
    conflicts = (
        (
            update.nano_cpus and host.cpu_period,
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ),
        (
            update.nano_cpus and host.cpu_quota,
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        ),
        (
            update.cpu_period and host.nano_cpus,
            "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
        ),
        (
            update.cpu_quota and host.nano_cpus,
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
        ),
        (
            update.memory > host.memory_swap > 0 and not update.memory_swap,
            (
                "Memory limit should be smaller than already set memoryswap limit, "
                "update the memoryswap at the same time"
            ),
        ),
    )
    for holds, message in conflicts:
        if holds:
            raise InvalidInput(message, code="conflicting-options")
