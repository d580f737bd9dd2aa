"""OCI ``linux.resources`` as writes to cgroup files, for v1, hybrid and cgroup2; pure.

    Resources + Controllers (+ the present values, for an update)  →  (CgroupWrite, CgroupWrite, …)

The order of the writes is part of the result: the kernel checks some values against others (memory+swap is
never below memory, burst never above quota), so that a change must pass only through valid states.

Sources: runtime-spec config-linux.md; the kernel's cgroup-v2.rst and cgroup-v1/*.rst.  What 0 and -1 mean
follows runc, whose callers rely on it: 0 is "not given" but for pids, burst, idle; -1 is "no limit".
"""

from pierhead.errors import Conflict, InvalidInput, Unsupported
from pierhead.runtime.plan.devices import check_denials, device_lines
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.linux.cgroupfs import Hierarchies
    from pierhead.oci import runtime as oci

_ROOT = "$.linux.resources"
_UNSET_SWAPPINESS = 2**64 - 1


class Controllers(Value):
    """The controllers that can be used here, by the version of the tree that has them."""

    mode: str
    legacy: tuple[str, ...] = ()
    unified: tuple[str, ...] = ()

    def version_of(self, controller: str) -> int:
        """1, 2, or 0 where there is none."""
        if controller in self.legacy:
            return 1
        return 2 if controller in self.unified else 0


class CgroupWrite(Value):
    """One value for one file of the container's cgroup.

    ``field`` is the JSON path that asked for it, ``why`` says in words what it does.  Where the kernel does
    not have the file, ``instead`` names another file and value; or ``optional`` says to go on without.
    """

    controller: str
    file: str
    value: str
    field: str
    why: str
    instead: tuple[str, str] | None = None
    optional: bool = False


class CurrentLimits(Value):
    """What the cgroup's files say now, for an update; None for what is not known.

    Bytes and µs; -1 is no limit.  ``swap`` is memory+swap, in v1's and the specification's way of counting.
    """

    memory: int | None = None
    swap: int | None = None
    usage: int | None = None
    quota: int | None = None
    period: int | None = None
    burst: int | None = None


NOTHING_KNOWN = CurrentLimits()


def controllers_of(hierarchies: "Hierarchies") -> Controllers:
    """The controllers of the mounted hierarchies."""
    legacy = [name for tree in hierarchies.trees if tree.version == 1 for name in tree.controllers]
    unified = [name for tree in hierarchies.trees if tree.version == 2 for name in tree.controllers]
    return Controllers(mode=hierarchies.mode, legacy=tuple(legacy), unified=tuple(unified))


def cgroup_writes(
    resources: "oci.Resources | None",
    controllers: Controllers,
    *,
    current: CurrentLimits = NOTHING_KNOWN,
    warnings: list[str] | None = None,
) -> tuple[CgroupWrite, ...]:
    """The writes that put the resources into force, in a valid order.

    Device rules are writes only where the v1 devices controller is mounted; for cgroup2 they are a program
    (`pierhead.runtime.plan.device_program`).

    Args:
        resources: what is asked for; None asks for nothing.
        controllers: what the machine has.
        current: the present values, when the cgroup is in use already.
        warnings: gets a sentence for each field that the kernel no longer knows and that runtimes ignore.

    Raises:
        Unsupported: a limit cannot be had here; the message begins with its JSON path.
        InvalidInput: values that contradict each other or are out of the kernel's range.
        Conflict: ``checkBeforeUpdate`` is set and the present usage is above the new limit.
    """
    if resources is None:
        return ()
    plan = _Plan(controllers, current, warnings if warnings is not None else [])
    if resources.cpu is not None:
        _plan_cpuset(plan, resources.cpu)
        _plan_cpu(plan, resources.cpu)
    if resources.memory is not None:
        _plan_memory(plan, resources.memory)
    if resources.pids is not None:
        _plan_pids(plan, resources.pids)
    if resources.block_io is not None:
        _plan_block_io(plan, resources.block_io)
    if resources.hugepage_limits:
        _plan_hugetlb(plan, resources.hugepage_limits)
    if resources.network is not None:
        _plan_network(plan, resources.network)
    if resources.rdma:
        _plan_rdma(plan, resources.rdma)
    if resources.devices and controllers.mode != "v2":
        _plan_devices(plan, resources.devices)
    if resources.unified:
        _plan_unified(plan, resources.unified)
    return tuple(plan.writes)


def unified_controllers(writes: tuple[CgroupWrite, ...], controllers: Controllers) -> frozenset[str]:
    """The cgroup2 controllers that must be switched on for the writes."""
    return frozenset(write.controller for write in writes if controllers.version_of(write.controller) == 2)


class _Plan:
    """The writes so far, and what is known of machine and cgroup."""

    def __init__(self, controllers: Controllers, current: CurrentLimits, warnings: list[str]) -> None:
        self.controllers = controllers
        self.current = current
        self.warnings = warnings
        self.writes: list[CgroupWrite] = []

    def version(self, controller: str, field: str, *, unified_name: str = "") -> int:
        """1 or 2: the version of the tree that has the controller."""
        found = self.controllers.version_of(controller) or self.controllers.version_of(unified_name)
        if not found:
            raise Unsupported(
                f"{_ROOT}.{field}: this machine has no {controller} cgroup controller",
                code="cgroup-controller-missing",
            )
        return found

    def version_for(
        self,
        controller: str,
        section: str,
        settings: "dict[str, int | None]",
        *,
        nothing: "tuple[int | None, ...]",
    ) -> int:
        """As `version`; 0 if none of the settings is given, or only such as hold without the controller."""
        asked = [name for name, value in settings.items() if value not in nothing]
        if asked:
            return self.version(controller, f"{section}.{asked[0]}")
        given = any(value is not None for value in settings.values())
        return self.controllers.version_of(controller) if given else 0

    def add(
        self,
        file: str,
        value: str | int,
        field: str,
        why: str,
        *,
        controller: str = "",
        instead: tuple[str, str] | None = None,
        optional: bool = False,
    ) -> None:
        self.writes.append(
            CgroupWrite(
                controller=controller or file.partition(".")[0],
                file=file,
                value=str(value),
                field=f"{_ROOT}.{field}",
                why=why,
                instead=instead,
                optional=optional,
            )
        )

    def warn(self, field: str, text: str) -> None:
        self.warnings.append(f"{_ROOT}.{field}: {text}")


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, path=f"{_ROOT}.{field}", code="bad-resources")


def _unlimited(value: int, *, version: int) -> str:
    if value == -1:
        return "-1" if version == 1 else "max"
    return str(value)


# Memory


def _plan_memory(plan: _Plan, memory: "oci.Memory") -> None:
    limit, swap = memory.limit or None, memory.swap or None
    _check_memory(plan, memory, limit, swap)
    settings = {
        "limit": limit,
        "swap": swap,
        "reservation": memory.reservation or None,
        "kernelTCP": memory.kernel_tcp or None,
        "swappiness": _swappiness(memory),
        "disableOOMKiller": memory.disable_oom_killer or None,
    }
    version = plan.version_for("memory", "memory", settings, nothing=(None, -1))
    if version == 1:
        _plan_memory_v1(plan, memory, limit, swap)
    elif version == 2:
        _plan_memory_v2(plan, memory, limit, swap)


def _check_memory(plan: _Plan, memory: "oci.Memory", limit: int | None, swap: int | None) -> None:
    if memory.kernel is not None:
        plan.warn("memory.kernel", "ignored, the kernel no longer has this limit")
    if memory.use_hierarchy is False:
        plan.warn("memory.useHierarchy", "ignored, the kernel always counts memory through the hierarchy")
    for field, value in (
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernelTCP", memory.kernel_tcp),
    ):
        if value is not None and value < -1:
            raise _invalid(f"memory.{field}", f"{value} is neither a number of bytes nor -1 (no limit)")
    if limit and swap and 0 < swap < limit:
        raise _invalid("memory.swap", f"memory+swap {swap} is below memory.limit {limit}")
    if memory.check_before_update:
        _check_usage(plan, limit, swap)


def _swappiness(memory: "oci.Memory") -> int | None:
    return None if memory.swappiness == _UNSET_SWAPPINESS else memory.swappiness


def _check_usage(plan: _Plan, limit: int | None, swap: int | None) -> None:
    usage = plan.current.usage
    for field, value in (("limit", limit), ("swap", swap)):
        if usage is not None and value is not None and 0 < value <= usage:
            raise Conflict(
                f"{_ROOT}.memory.{field}: {value} bytes are not above the {usage} bytes in use",
                code="memory-in-use",
                hint="without checkBeforeUpdate the kernel would reclaim memory or kill processes",
            )


def _plan_memory_v1(plan: _Plan, memory: "oci.Memory", limit: int | None, swap: int | None) -> None:
    _plan_limits_v1(plan, limit, swap)
    if memory.reservation:
        value = _unlimited(memory.reservation, version=1)
        plan.add(
            "memory.soft_limit_in_bytes", value, "memory.reservation", "soft limit, when memory is short"
        )
    if memory.kernel_tcp:
        value = _unlimited(memory.kernel_tcp, version=1)
        plan.add("memory.kmem.tcp.limit_in_bytes", value, "memory.kernelTCP", "limit of TCP buffers")
    if memory.disable_oom_killer:
        plan.add("memory.oom_control", "1", "memory.disableOOMKiller", "wait for memory instead of killing")
    swappiness = _swappiness(memory)
    if swappiness is not None:
        if swappiness > 100:
            raise _invalid("memory.swappiness", f"{swappiness} is not between 0 and 100")
        plan.add("memory.swappiness", swappiness, "memory.swappiness", "how readily pages are swapped out")


def _plan_limits_v1(plan: _Plan, limit: int | None, swap: int | None) -> None:
    current = plan.current
    if limit and swap is None and current.swap is not None and 0 <= current.swap < limit:
        raise _invalid(
            "memory.limit",
            f"{limit} is above the present memory+swap limit {current.swap}, so memory.swap is needed",
        )
    steps = []
    if limit is not None:
        step = ("memory.limit_in_bytes", limit, "memory.limit", "hard limit of memory")
        steps.append(step)
    if swap is not None or limit == -1:
        # Without a limit of memory one of memory+swap makes no sense, and the kernel would refuse it.
        field = "memory.limit" if swap is None else "memory.swap"
        swap = -1 if swap is None else swap
        step = ("memory.memsw.limit_in_bytes", swap, field, "hard limit of memory and swap together")
        # memory ≤ memory+swap must hold after each write: a sum above the present limit goes first.
        raising = current.memory is not None and (swap == -1 or -1 < current.memory < swap)
        steps.insert(0 if raising else len(steps), step)
    for file, value, field, why in steps:
        optional = value == -1 and "memsw" in file
        plan.add(file, _unlimited(value, version=1), field, why, optional=optional)


def _plan_memory_v2(plan: _Plan, memory: "oci.Memory", limit: int | None, swap: int | None) -> None:
    for field, asked in (
        ("disableOOMKiller", memory.disable_oom_killer),
        ("swappiness", _swappiness(memory) is not None),
        ("kernelTCP", memory.kernel_tcp),
    ):
        if asked:
            plan.warn(f"memory.{field}", "ignored, cgroup v2 does not have this setting")
    swap_value = _swap_v2(plan, limit, swap)
    if swap_value:
        field = "memory.swap" if swap is not None else "memory.limit"
        why = "limit of swap alone (memory+swap less memory)"
        plan.add("memory.swap.max", swap_value, field, why, optional=swap_value in ("max", "0"))
    if limit is not None:
        plan.add("memory.max", _unlimited(limit, version=2), "memory.limit", "hard limit of memory")
    if memory.reservation:
        value = _unlimited(memory.reservation, version=2)
        plan.add("memory.low", value, "memory.reservation", "memory that is reclaimed last")


def _swap_v2(plan: _Plan, limit: int | None, swap: int | None) -> str:
    """The value for memory.swap.max: cgroup2 counts swap alone, the specification memory+swap."""
    if swap is None:
        return "max" if limit == -1 else ""
    if swap == -1:
        return "max"
    memory = limit if limit is not None else plan.current.memory
    if memory is None:
        raise _invalid("memory.swap", "needs memory.limit too, since cgroup v2 limits swap alone")
    if memory == -1:
        return str(swap)
    if swap < memory:
        raise _invalid("memory.swap", f"memory+swap {swap} is below the memory limit {memory}")
    return str(swap - memory)


# Processor


def _plan_cpuset(plan: _Plan, cpu: "oci.Cpu") -> None:
    if cpu.cpus:
        plan.version("cpuset", "cpu.cpus")
        plan.add("cpuset.cpus", cpu.cpus, "cpu.cpus", "processors to run on")
    if cpu.mems:
        plan.version("cpuset", "cpu.mems")
        plan.add("cpuset.mems", cpu.mems, "cpu.mems", "memory nodes to allocate from")


def _plan_cpu(plan: _Plan, cpu: "oci.Cpu") -> None:
    given = {
        "shares": cpu.shares or None,
        "quota": cpu.quota or None,
        "period": cpu.period or None,
        "burst": cpu.burst,
        "realtimeRuntime": cpu.realtime_runtime or None,
        "realtimePeriod": cpu.realtime_period or None,
        "idle": cpu.idle,
    }
    version = plan.version_for("cpu", "cpu", given, nothing=(None, 0, -1))
    if version:
        _plan_shares(plan, cpu, version)
    if version == 1:
        if cpu.realtime_period:
            plan.add(
                "cpu.rt_period_us", cpu.realtime_period, "cpu.realtimePeriod", "period of realtime limits"
            )
        if cpu.realtime_runtime:
            why = "time that realtime processes get per period"
            plan.add("cpu.rt_runtime_us", cpu.realtime_runtime, "cpu.realtimeRuntime", why)
        _plan_bandwidth_v1(plan, cpu)
    elif version == 2:
        for name in ("realtimeRuntime", "realtimePeriod"):
            if given[name]:
                raise Unsupported(
                    f"{_ROOT}.cpu.{name}: cgroup v2 has no realtime limits", code="cgroup-setting-missing"
                )
        _plan_bandwidth_v2(plan, cpu)


def _plan_shares(plan: _Plan, cpu: "oci.Cpu", version: int) -> None:
    """Idle goes first: the kernel refuses a weight for an idle group, and idle sets the weight."""
    if cpu.idle is not None:
        if cpu.idle not in (0, 1):
            raise _invalid("cpu.idle", f"{cpu.idle} is neither 0 nor 1")
        why = "run only when nothing else wants to" if cpu.idle else "compete for processor time"
        plan.add("cpu.idle", cpu.idle, "cpu.idle", why)
    if not cpu.shares:
        return
    if cpu.idle:
        plan.warn("cpu.shares", "ignored, an idle cgroup has the least weight there is")
    elif version == 1:
        plan.add("cpu.shares", cpu.shares, "cpu.shares", "share of processor time when it is short")
    else:
        why = f"share of processor time when it is short ({cpu.shares} shares as a weight)"
        plan.add("cpu.weight", weight_of_shares(cpu.shares), "cpu.shares", why)


def weight_of_shares(shares: int) -> int:
    """The cgroup2 weight (1 to 10000) for v1 shares (2 to 262144).

    The curve that runc (since 1.3.2) and crun (since 1.23) use: a quadratic in the logarithm through both
    ends and through the two defaults, 1024 → 100.  A straight line gave 39 there (kubernetes#131216).
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2

    logarithm = log2(shares)
    return ceil(10 ** ((logarithm * logarithm + 125 * logarithm) / 612.0 - 7.0 / 34.0))


def _plan_bandwidth_v1(plan: _Plan, cpu: "oci.Cpu") -> None:
    """Three files; quota by period may not pass the parent's, nor burst the quota."""
    current = plan.current
    steps = []
    if cpu.quota:
        quota = -1 if cpu.quota < 0 else cpu.quota
        steps.append(("cpu.cfs_quota_us", quota, "cpu.quota", "processor time per period"))
    if cpu.period:
        step = ("cpu.cfs_period_us", cpu.period, "cpu.period", "period of the quota")
        # A longer period lowers the ratio: first.  A shorter one raises it: after the lower quota.
        longer = current.period is None or cpu.period >= current.period
        steps.insert(0 if longer else len(steps), step)
    if cpu.burst is not None:
        step = ("cpu.cfs_burst_us", cpu.burst, "cpu.burst", "unused time that may be saved up")
        lower = current.burst is not None and cpu.burst < current.burst
        steps.insert(0 if lower else len(steps), step)
    for file, value, field, why in steps:
        plan.add(file, value, field, why)


def _plan_bandwidth_v2(plan: _Plan, cpu: "oci.Cpu") -> None:
    current = plan.current
    steps = []
    if cpu.quota or cpu.period:
        quota = cpu.quota or current.quota or -1
        value = str(quota) if quota > 0 else "max"
        if cpu.period:
            value += f" {cpu.period}"
        field = "cpu.quota" if cpu.quota else "cpu.period"
        steps.append(("cpu.max", value, field, "processor time per period"))
    if cpu.burst is not None:
        step = ("cpu.max.burst", str(cpu.burst), "cpu.burst", "unused time that may be saved up")
        lower = current.burst is not None and cpu.burst < current.burst
        steps.insert(0 if lower else len(steps), step)
    for file, value, field, why in steps:
        plan.add(file, value, field, why)


# Processes, block devices, huge pages, network, RDMA


def _plan_pids(plan: _Plan, pids: "oci.Pids") -> None:
    limit = pids.limit
    if limit is None or (limit < 0 and not plan.controllers.version_of("pids")):
        return
    plan.version("pids", "pids.limit")
    # 0 is written as 1, as runc does: systemd knows no TasksMax=0, and neither lets the first process fork.
    plan.add("pids.max", "max" if limit < 0 else max(limit, 1), "pids.limit", "processes and threads at most")


_THROTTLES = (
    ("throttle_read_bps_device", "throttleReadBpsDevice", "read_bps", "rbps", "bytes read per second"),
    ("throttle_write_bps_device", "throttleWriteBpsDevice", "write_bps", "wbps", "bytes written per second"),
    ("throttle_read_iops_device", "throttleReadIOPSDevice", "read_iops", "riops", "reads per second"),
    ("throttle_write_iops_device", "throttleWriteIOPSDevice", "write_iops", "wiops", "writes per second"),
)


def _plan_block_io(plan: _Plan, block_io: "oci.BlockIO") -> None:
    for field, weight in _weights(block_io):
        if weight and not 10 <= weight <= 1000:
            raise _invalid(f"blockIO.{field}", f"weight {weight} is not between 10 and 1000")
        if weight:
            _plan_weight(plan, field, weight, block_io)
    for attribute, name, kind, key, why in _THROTTLES:
        for index, device in enumerate(getattr(block_io, attribute)):
            field = f"blockIO.{name}[{index}]"
            number = f"{device.major}:{device.minor}"
            if plan.version("blkio", field, unified_name="io") == 1:
                plan.add(f"blkio.throttle.{kind}_device", f"{number} {device.rate}", field, why)
            else:
                plan.add("io.max", f"{number} {key}={device.rate or 'max'}", field, why)


def _weights(block_io: "oci.BlockIO") -> list[tuple[str, int | None]]:
    weights = [("weight", block_io.weight), ("leafWeight", block_io.leaf_weight)]
    for index, device in enumerate(block_io.weight_device):
        weights.append((f"weightDevice[{index}].weight", device.weight))
        weights.append((f"weightDevice[{index}].leafWeight", device.leaf_weight))
    return weights


def _plan_weight(plan: _Plan, field: str, weight: int, block_io: "oci.BlockIO") -> None:
    """One of the four kinds of weight: of all devices or one, of the group or of its own processes (leaf)."""
    version = plan.version("blkio", f"blockIO.{field}", unified_name="io")
    is_leaf = field.endswith("leafWeight")
    prefix = ""
    if field.startswith("weightDevice"):
        device = block_io.weight_device[int(field[len("weightDevice[") :].partition("]")[0])]
        prefix = f"{device.major}:{device.minor} "
    where = f"blockIO.{field}"
    why = "share of disk time when it is short"
    if version == 2 and is_leaf:
        plan.warn(where, "ignored, cgroup v2 has no leaf weights")
    elif version == 2:
        # io.weight (1 to 10000) is io.cost's; bfq has its own (1 to 1000), there when bfq is loaded.
        linear = 1 + (weight - 10) * 9999 // 990
        plan.add("io.bfq.weight", f"{prefix}{weight}", where, why, instead=("io.weight", f"{prefix}{linear}"))
    else:
        name = ("leaf_weight" if is_leaf else "weight") + ("_device" if prefix else "")
        instead = None if is_leaf else (f"blkio.bfq.{name}", f"{prefix}{weight}")
        plan.add(f"blkio.{name}", f"{prefix}{weight}", where, why, instead=instead)


def _plan_hugetlb(plan: _Plan, limits: "tuple[oci.HugepageLimit, ...]") -> None:
    for index, limit in enumerate(limits):
        field = f"hugepageLimits[{index}]"
        size = limit.page_size
        if not (size[:-2].isdecimal() and size.isascii() and size[-2:] in ("KB", "MB", "GB")):
            raise _invalid(f"{field}.pageSize", f"{size!r} is not a size like 64KB, 2MB or 1GB")
        suffix = "limit_in_bytes" if plan.version("hugetlb", field) == 1 else "max"
        plan.add(f"hugetlb.{size}.{suffix}", limit.limit, field, f"huge pages of {size} in use")
        # Reservations are limited apart since Linux 5.7; a mapping that cannot be filled fails at once.
        why = f"huge pages of {size} reserved"
        plan.add(f"hugetlb.{size}.rsvd.{suffix}", limit.limit, field, why, optional=True)


def _plan_network(plan: _Plan, network: "oci.Network") -> None:
    if network.class_id:
        plan.version("net_cls", "network.classID")
        plan.add("net_cls.classid", network.class_id, "network.classID", "class of packets, for tc(8)")
    for index, entry in enumerate(network.priorities):
        field = f"network.priorities[{index}]"
        plan.version("net_prio", field)
        plan.add("net_prio.ifpriomap", f"{entry.name} {entry.priority}", field, "priority of packets")


def _plan_rdma(plan: _Plan, devices: "dict[str, oci.Rdma]") -> None:
    for name, limits in devices.items():
        field = f"rdma.{name}"
        plan.version("rdma", field)
        parts = [name]
        if limits.hca_handles is not None:
            parts.append(f"hca_handle={limits.hca_handles}")
        if limits.hca_objects is not None:
            parts.append(f"hca_object={limits.hca_objects}")
        if len(parts) > 1:
            plan.add("rdma.max", " ".join(parts), field, "handles and objects of the RDMA device")


# Devices and raw files


def _plan_devices(plan: _Plan, rules: "tuple[oci.DeviceRule, ...]") -> None:
    """Each rule as lines of devices.allow or devices.deny (cgroup-v1/devices.rst), in their order."""
    if not plan.controllers.version_of("devices"):
        if not any(not rule.allow for rule in rules):
            return
        plan.version("devices", "devices")
    check_denials(rules, path=f"{_ROOT}.devices")
    for index, rule in enumerate(rules):
        file = "devices.allow" if rule.allow else "devices.deny"
        why = f"{'allow' if rule.allow else 'deny'} {rule.access or 'rwm'}"
        for line in device_lines(rule):
            plan.add(file, line, f"devices[{index}]", why)


def _plan_unified(plan: _Plan, unified: dict[str, str]) -> None:
    """Raw cgroup2 files, in the given order; a value of several lines is several writes."""
    for name, text in unified.items():
        field = f"unified.{name}"
        controller, dot, rest = name.partition(".")
        if "/" in name or not (controller and dot and rest):
            raise _invalid(field, "the name of a cgroup v2 file is like memory.high")
        core = controller == "cgroup" and plan.controllers.mode != "v1"
        if not core and plan.controllers.version_of(controller) != 2:
            raise Unsupported(
                f"{_ROOT}.{field}: this machine has no {controller} controller in cgroup v2",
                code="cgroup-controller-missing",
            )
        for line in text.strip().split("\n"):
            plan.add(name, line.strip(), field, "as given", controller=controller)
