"""What the launcher does for a launch, beside the helper's operations: the other half of the plan.  Pure.

    begin     the id, the helper, the cgroup and its limits
    sync …    whatever the launched process waits for
    noted     the container counts as created
    end       when the program runs, and when the container is deleted

``launcher.Steps`` and ``factory`` do it; this says it in words, for ``--explain``.
"""

from __future__ import annotations

from pierhead.runtime import wire_table as wire
from pierhead.runtime.plan.devices import device_lines
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pierhead.oci.runtime import DeviceRule, Hook, IDMapping
    from pierhead.runtime.config import Config, Network, ProcessSpec, Route
    from pierhead.runtime.plan.cgroups import CgroupWrite
    from pierhead.runtime.plan.launchplan import LaunchPlan

BEGIN, NOTED, END = -1, -2, -3
"""Moments that no sync has a tag for: before the plan is sent, when the container is noted, afterwards."""

_HOOKS = "OCI runtime-spec, POSIX-platform Hooks"


class LauncherStep(Value):
    """One thing that the launcher does.

    Fields:
        moment: tag of the sync at which it is done, or ``BEGIN``, ``NOTED``, ``END``.
        what: in words; a second line holds details.
        why: the reason.
        manual: the man page or section of a specification behind it.
    """

    moment: int
    what: str
    why: str
    manual: str


class CgroupPlace(Value):
    """The cgroup that is to be made.

    Fields:
        trees: mount point and path in each hierarchy.
        writes: its limits, in order.
        unit: systemd's name for it; empty where the launcher makes the directories.
    """

    trees: tuple[tuple[str, str], ...] = ()
    writes: tuple[CgroupWrite, ...] = ()
    unit: str = ""


def plan_launcher(
    config: Config,
    process: ProcessSpec,
    plan: LaunchPlan,
    *,
    place: CgroupPlace,
    rules: tuple[DeviceRule, ...],
    directory: str,
) -> tuple[LauncherStep, ...]:
    """The launcher's steps for a new container, in the order in which they are done.

    Args:
        config: the container's.
        process: its first process, resolved.
        plan: the helper's half.
        place: the container's cgroup.
        rules: all of its device rules.
        directory: the state directory.
    """
    gate = any(operation.name == "gate" for operation in plan.operations)
    before = "in the host's namespaces, before the root changes"
    return (
        _step(BEGIN, f"claim {directory}", "the id is ours; nobody else changes the container", "flock(2)"),
        *_helper(),
        *_maps(plan),
        *_cgroup(place, wire.SYNC_MAPS if place.unit else BEGIN),
        *_device_rules(plan, rules),
        *_send(),
        *_process(process, plan),
        *_networks(config),
        *_hooks("prestart", config.hooks.prestart, wire.SYNC_HOOKS, before),
        *_hooks("createRuntime", config.hooks.create_runtime, wire.SYNC_HOOKS, before),
        *_listener(config),
        *_noted(directory),
        *_hooks(
            "poststart", config.hooks.poststart, END, f"the program runs{', after start' if gate else ''}"
        ),
        *_hooks("poststop", config.hooks.poststop, END, "the container has been deleted"),
    )


def plan_exec_steps(process: ProcessSpec, plan: LaunchPlan) -> tuple[LauncherStep, ...]:
    """The launcher's steps for a further process."""
    return (*_helper(), *_send(), *_process(process, plan), _commit())


def _step(moment: int, what: str, why: str, manual: str) -> LauncherStep:
    return LauncherStep(moment=moment, what=what, why=why, manual=manual)


def _helper() -> Iterator[LauncherStep]:
    why = "a small program enters the namespaces, from a copy that nothing inside can change"
    yield _step(BEGIN, "start pier-init", why, "memfd_create(2), posix_spawn(3)")


def _send() -> Iterator[LauncherStep]:
    why = "everything that is to be done, and what to undo if we die"
    yield _step(BEGIN, "send pier-init its plan", why, "unix(7)")


# The cgroup


def _cgroup(place: CgroupPlace, moment: int) -> Iterator[LauncherStep]:
    if place.unit:
        why = "systemd makes the cgroup around the process"
        yield _step(moment, f"start unit {place.unit}", why, "systemd.scope(5)")
    for path in dict.fromkeys(path for _, path in place.trees):
        where = _places([mountpoint for mountpoint, other in place.trees if other == path])
        why = "what counts and limits the container's processes together"
        yield _step(moment, f"make cgroup {path}\nin {where}", why, "cgroups(7)")
    for writes in _by_file(place.writes):
        values, file = [write.value for write in writes], writes[0].file
        what = f"write {values[0]} to {file}" if len(values) == 1 else f"write to {file}\n{', '.join(values)}"
        why = "; ".join(dict.fromkeys(write.why for write in writes))
        field = writes[0].field.removeprefix("$.").partition("[")[0]
        yield _step(moment, what, why, f"OCI runtime-spec, {field}")


def _places(mountpoints: Sequence[str]) -> str:
    """The mount points; what they have in common is said once."""
    parents = {mountpoint.rpartition("/")[0] for mountpoint in mountpoints}
    if len(mountpoints) < 2 or len(parents) > 1:
        return " ".join(mountpoints)
    return f"{parents.pop()}: {' '.join(mountpoint.rpartition('/')[2] for mountpoint in mountpoints)}"


def _by_file(writes: Sequence[CgroupWrite]) -> Iterator[list[CgroupWrite]]:
    """Neighbours that go to the same file."""
    group: list[CgroupWrite] = []
    for write in writes:
        if group and write.file != group[0].file:
            yield group
            group = []
        group.append(write)
    if group:
        yield group


def _device_rules(plan: LaunchPlan, rules: tuple[DeviceRule, ...]) -> Iterator[LauncherStep]:
    if not any(operation.name == "device_program" for operation in plan.operations):
        return
    words = [f"{'allow' if rule.allow else 'deny'} {line}" for rule in rules for line in device_lines(rule)]
    why = "cgroup v2 has no list of devices, but asks a program"
    manual = "OCI runtime-spec, linux.resources.devices"
    yield _step(BEGIN, f"compile device rules\n{', '.join(words)}", why, manual)


# While the process waits


def _maps(plan: LaunchPlan) -> Iterator[LauncherStep]:
    for name, mappings in (("uid_map", plan.uid_mappings), ("gid_map", plan.gid_mappings)):
        if mappings:
            why = "which ids of the host stand behind those inside"
            yield _step(wire.SYNC_MAPS, f"write {_map_text(mappings)} to {name}", why, "user_namespaces(7)")


def _map_text(mappings: Iterable[IDMapping]) -> str:
    return ", ".join(f"{each.container_id} {each.host_id} {each.size}" for each in mappings)


def _process(process: ProcessSpec, plan: LaunchPlan) -> Iterator[LauncherStep]:
    """What the process may not do by itself; its limits are operations where it may."""
    if plan.oom_score_adj is not None:
        why = "how early the kernel kills it when the machine's memory is short"
        what = f"write {plan.oom_score_adj} to oom_score_adj"
        yield _step(wire.SYNC_MAPS, what, why, "proc_pid_oom_score_adj(5)")
    syncs = [operation.arguments for operation in plan.operations if operation.name == "sync"]
    for limit in (process.rlimits or ()) if (wire.SYNC_LIMITS,) in syncs else ():
        what = f"rlimit {limit.type} soft {_amount(limit.soft)} hard {_amount(limit.hard)}"
        yield _step(wire.SYNC_LIMITS, what, "root of a user namespace may not raise it", "prlimit(2)")


def _amount(value: int) -> str:
    return "unlimited" if value >= 2**63 else str(value)


def _networks(config: Config) -> Iterator[LauncherStep]:
    for network in config.networks:
        if network.type != "loopback":
            why = "one end in the container, the other on the host"
            yield _step(wire.SYNC_NETWORK, _interface(network), why, "veth(4), rtnetlink(7)")
    for name, device in config.net_devices.items():
        what = f"move link {name} into it" + (f"\nas {device.name}" if device.name else "")
        why = "the host's interface is the container's until it ends"
        yield _step(wire.SYNC_NETWORK, what, why, "OCI runtime-spec, linux.netDevices")
    for route in config.routes:
        yield _step(wire.SYNC_NETWORK, _route(route), "where packets for these addresses go", "rtnetlink(7)")


def _interface(network: Network) -> str:
    details = (
        f"outside {network.host_interface_name or 'veth…'}",
        f"in bridge {network.bridge}" if network.bridge else "",
        f"hardware address {network.mac_address}" if network.mac_address else "",
        f"mtu {network.mtu}" if network.mtu else "",
        *(f"address {address}" for address in (network.address, network.ipv6_address) if address),
        *(f"default route by {gateway}" for gateway in (network.gateway, network.ipv6_gateway) if gateway),
    )
    return f"make link {network.name or 'eth…'}\n{', '.join(detail for detail in details if detail)}"


def _route(route: Route) -> str:
    words = [f"add route {route.destination or 'default'}"]
    for word, value in (("by", route.gateway), ("over", route.interface_name), ("from", route.source)):
        if value:
            words.append(f"{word} {value}")
    return " ".join(words)


def _hooks(kind: str, hooks: Iterable[Hook], moment: int, why: str) -> Iterator[LauncherStep]:
    for hook in hooks:
        arguments = "\n" + " ".join(hook.args) if hook.args else ""
        limit = f"\nat most {hook.timeout} s" if hook.timeout else ""
        yield _step(moment, f"hook {hook.path}{arguments}{limit}", f"{kind}: {why}", _HOOKS)


def _listener(config: Config) -> Iterator[LauncherStep]:
    path = getattr(config.seccomp, "listener_path", "")
    if path:
        why = "who listens there is asked about the calls that the filter names"
        yield _step(wire.SYNC_SECCOMP, f"send the filter's descriptor to {path}", why, "seccomp_unotify(2)")


# Afterwards


def _noted(directory: str) -> Iterator[LauncherStep]:
    yield _step(NOTED, f"write {directory}/state.json", "other programs find the container", "rename(2)")
    yield _commit()


def _commit() -> LauncherStep:
    return _step(
        NOTED, "tell pier-init: commit", "it stands on its own: nothing is undone any more", "unix(7)"
    )
