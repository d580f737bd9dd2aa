"""Limits: Docker's numbers checked, and said in the OCI specification's.  Pure.

Source: Docker's `docker run` reference, "Runtime constraints on resources"; runtime-spec config-linux.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.specgen.devicerules import parse_device_rule
from pierhead.errors import InvalidInput
from pierhead.oci import runtime as oci
from pierhead.oci.validate_linux import check_number_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.documents import HostConfig, Resources, ThrottleDevice
    from pierhead.engine.specgen.ground import Machine

MEMORY_LEAST_BYTES = 6 << 20
"""Docker's: with less nothing starts."""

_NANOSECONDS = 10**9
_PERIOD_US = 100_000
_PERIOD_LEAST_US, _PERIOD_MOST_US = 1000, 1_000_000

_THROTTLES = (
    "blkio_device_read_bps",
    "blkio_device_write_bps",
    "blkio_device_read_iops",
    "blkio_device_write_iops",
)


def _refuse(message: str) -> InvalidInput:
    return InvalidInput(message, code="bad-limit")


# Checks.


def check_limits(limits: Resources, machine: Machine) -> None:
    """The numbers can be limits on this machine, and go together.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    _check_memory(limits)
    _check_cpu(limits, machine)
    _check_cpuset(limits, machine)
    _check_block_io(limits)
    for rule in limits.device_cgroup_rules:
        parse_device_rule(rule)


def _check_memory(limits: Resources) -> None:
    memory, swap, reservation = limits.memory, limits.memory_swap, limits.memory_reservation
    if memory < 0 or swap < -1 or reservation < 0:
        raise _refuse("memory limits are bytes, and cannot be negative")
    if 0 < memory < MEMORY_LEAST_BYTES:
        raise _refuse("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise _refuse("Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise _refuse("You should always set the Memory limit when using Memoryswap limit, see usage")
    if 0 < reservation < MEMORY_LEAST_BYTES:
        raise _refuse("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise _refuse("Minimum memory limit can not be less than memory reservation limit, see usage")
    if 0 < limits.kernel_memory < MEMORY_LEAST_BYTES:
        raise _refuse("Minimum kernel memory limit allowed is 6MB")
    swappiness = limits.memory_swappiness
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise _refuse(f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")


def _check_cpu(limits: Resources, machine: Machine) -> None:
    period, quota, nano = limits.cpu_period, limits.cpu_quota, limits.nano_cpus
    if nano and period > 0:
        raise _refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if nano and quota > 0:
        raise _refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set")
    if nano < 0 or (machine.cpus and nano > machine.cpus * _NANOSECONDS):
        raise _refuse(
            f"range of CPUs is from 0.01 to {machine.cpus}.00, "
            f"as there are only {machine.cpus} CPUs available"
        )
    if limits.cpu_shares < 0:
        raise _refuse(f"invalid CPU shares ({limits.cpu_shares}): value must be a positive integer")
    if period and not _PERIOD_LEAST_US <= period <= _PERIOD_MOST_US:
        raise _refuse("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < quota < _PERIOD_LEAST_US:
        raise _refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    realtime = (limits.cpu_realtime_period, limits.cpu_realtime_runtime)
    if any(realtime) and not machine.realtime:
        raise _refuse("kernel does not support CPU real-time scheduler")
    if realtime[0] and realtime[1] > realtime[0]:
        raise _refuse("cpu real-time runtime cannot be higher than cpu real-time period")


def _check_cpuset(limits: Resources, machine: Machine) -> None:
    wanted = (
        (limits.cpuset_cpus, machine.cpu_list, "cpus", "CPUs"),
        (limits.cpuset_mems, machine.memory_nodes, "mems", "memory nodes"),
    )
    for text, there, what, words in wanted:
        try:
            check_number_list(text, "")
        except InvalidInput:
            raise _refuse(f"Invalid value {text} for cpuset {what}") from None
        if there and not numbers_of(text) <= numbers_of(there):
            raise _refuse(f"Requested {words} are not available - requested {text}, available: {there}")


def numbers_of(text: str) -> frozenset[int]:
    """The numbers of a list like ``0-3,7`` (cpuset(7), "List format")."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, dash, last = part.partition("-")
        start = int(first)
        # No machine has more processors than this; a longer range would only take memory here.
        found.update(range(start, min(int(last), start + 2**16) + 1) if dash else (start,))
    return frozenset(found)


def _check_block_io(limits: Resources) -> None:
    weights = (limits.blkio_weight, *(device.weight for device in limits.blkio_weight_device))
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise _refuse("Range of blkio weight is from 10 to 1000")
    for field in _THROTTLES:
        devices: tuple[ThrottleDevice, ...] = getattr(limits, field)
        if any(device.rate < 0 for device in devices):
            raise _refuse("rates of block devices cannot be negative")
    for value, what in ((limits.io_maximum_bandwidth, "bandwidth"), (limits.io_maximum_iops, "IOps")):
        if value:
            raise _refuse(f"invalid QoS settings: linux does not support maximum {what}")


# Filling in.


def fill_limits(host: HostConfig, machine: Machine) -> tuple[HostConfig, list[str]]:
    """The limits as they will be: what this machine cannot limit is dropped, with a warning.

    Memory without a word of swap gets as much swap again, as Docker gives it.
    """
    warnings: list[str] = []
    changes: dict[str, object] = {}
    for applies, warning, dropped in _droppable(host, machine):
        if applies:
            warnings.append(warning)
            changes.update(dropped)
    filled = host.replace(**changes)
    if filled.memory and not filled.memory_swap:
        filled = filled.replace(memory_swap=2 * filled.memory)
    if filled.memory_swappiness == -1:
        filled = filled.replace(memory_swappiness=None)
    if filled.oom_kill_disable and not filled.memory:
        warnings.append(
            "OOM killer is disabled for the container, but no memory limit is set, "
            "this can result in the system running out of resources."
        )
    return filled, warnings


def _droppable(host: HostConfig, machine: Machine) -> Iterator[tuple[bool, str, dict[str, object]]]:
    """What may be asked for and not be there: whether it is so, Docker's sentence, and what is left."""
    has = machine.controllers
    lacks = "capabilities or the cgroup is not mounted"
    memory = bool(host.memory)
    yield (
        memory and "memory" not in has,
        f"Your kernel does not support memory limit {lacks}. Limitation discarded.",
        {"memory": 0, "memory_swap": -1},
    )
    yield (
        memory and host.memory_swap != -1 and "memory" in has and not machine.swap_limit,
        f"Your kernel does not support swap limit {lacks}. Memory limited without swap.",
        {"memory_swap": -1},
    )
    yield (
        host.memory_swappiness not in (None, -1) and not machine.swappiness,
        f"Your kernel does not support memory swappiness {lacks}. Memory swappiness discarded.",
        {"memory_swappiness": None},
    )
    yield (
        bool(host.memory_reservation) and "memory" not in has,
        f"Your kernel does not support memory soft limit {lacks}. Limitation discarded.",
        {"memory_reservation": 0},
    )
    yield (
        bool(host.kernel_memory or host.kernel_memory_tcp),
        "Limits of kernel memory are no longer in the kernel. Kernel memory limit discarded.",
        {"kernel_memory": 0, "kernel_memory_tcp": 0},
    )
    yield (
        bool(host.oom_kill_disable) and not machine.oom_kill_disable,
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        {"oom_kill_disable": None},
    )
    yield (
        (host.pids_limit or 0) > 0 and "pids" not in has,
        f"Your kernel does not support PIDs limit {lacks}. PIDs limit discarded.",
        {"pids_limit": None},
    )
    yield (
        bool(host.cpu_shares) and "cpu" not in has,
        "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
        {"cpu_shares": 0},
    )
    yield (
        bool(host.nano_cpus or host.cpu_period or host.cpu_quota) and "cpu" not in has,
        "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
        {"nano_cpus": 0, "cpu_period": 0, "cpu_quota": 0},
    )
    yield (
        bool(host.cpuset_cpus or host.cpuset_mems) and "cpuset" not in has,
        "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
        {"cpuset_cpus": "", "cpuset_mems": ""},
    )
    yield (
        bool(host.cpu_percent),
        "linux does not support CPU percent. Percent discarded.",
        {"cpu_percent": 0},
    )
    yield from _droppable_block_io(host, machine)


def _droppable_block_io(host: HostConfig, machine: Machine) -> Iterator[tuple[bool, str, dict[str, object]]]:
    there = "io" in machine.controllers
    yield (
        bool(host.blkio_weight) and not (there and machine.block_weight),
        "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        {"blkio_weight": 0},
    )
    yield (
        bool(host.blkio_weight_device) and not (there and machine.block_weight),
        (
            "Your kernel does not support Block I/O weight_device or the cgroup is not mounted. "
            "Weight-device discarded."
        ),
        {"blkio_weight_device": ()},
    )
    for field in _THROTTLES:
        direction, _, unit = field.removeprefix("blkio_device_").partition("_")
        unit = {"bps": "BPS", "iops": "IOPS"}[unit]
        yield (
            bool(getattr(host, field)) and not there,
            (
                f"Your kernel does not support {unit} Block I/O {direction} limit "
                f"or the cgroup is not mounted. Block I/O {unit} {direction} limit discarded."
            ),
            {field: ()},
        )


# The specification's numbers.


def resources_of(limits: Resources, numbers: dict[str, tuple[int, int]]) -> oci.Resources:
    """The limits as the cgroup takes them, without rules for devices.

    Args:
        limits: checked and filled in.
        numbers: major and minor of block devices by their paths.
    """
    pids = limits.pids_limit
    return oci.Resources(
        memory=_memory_of(limits),
        cpu=_cpu_of(limits),
        pids=None if pids is None or not pids else oci.Pids(limit=max(pids, -1)),
        block_io=_block_io_of(limits, numbers),
    )


def _memory_of(limits: Resources) -> oci.Memory | None:
    memory = oci.Memory(
        limit=limits.memory or None,
        reservation=limits.memory_reservation or None,
        swap=limits.memory_swap or None,
        swappiness=limits.memory_swappiness,
        disable_oom_killer=limits.oom_kill_disable or None,
    )
    return None if memory == oci.Memory() else memory


def _cpu_of(limits: Resources) -> oci.Cpu | None:
    period, quota = limits.cpu_period, limits.cpu_quota
    if limits.nano_cpus:
        period, quota = _PERIOD_US, limits.nano_cpus * _PERIOD_US // _NANOSECONDS
    cpu = oci.Cpu(
        shares=limits.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        realtime_runtime=limits.cpu_realtime_runtime or None,
        realtime_period=limits.cpu_realtime_period or None,
        cpus=limits.cpuset_cpus,
        mems=limits.cpuset_mems,
    )
    return None if cpu == oci.Cpu() else cpu


def _block_io_of(limits: Resources, numbers: dict[str, tuple[int, int]]) -> oci.BlockIO | None:
    weights = tuple(
        oci.WeightDevice(major=numbers[each.path][0], minor=numbers[each.path][1], weight=each.weight)
        for each in limits.blkio_weight_device
    )
    block_io = oci.BlockIO(
        weight=limits.blkio_weight or None,
        weight_device=weights,
        throttle_read_bps_device=_rates(limits.blkio_device_read_bps, numbers),
        throttle_write_bps_device=_rates(limits.blkio_device_write_bps, numbers),
        throttle_read_iops_device=_rates(limits.blkio_device_read_iops, numbers),
        throttle_write_iops_device=_rates(limits.blkio_device_write_iops, numbers),
    )
    return None if block_io == oci.BlockIO() else block_io


def _rates(
    devices: tuple[ThrottleDevice, ...], numbers: dict[str, tuple[int, int]]
) -> tuple[oci.ThrottleDevice, ...]:
    return tuple(
        oci.ThrottleDevice(major=numbers[each.path][0], minor=numbers[each.path][1], rate=each.rate)
        for each in devices
    )


def block_devices(limits: Resources) -> tuple[str, ...]:
    """Paths of the block devices that the limits name."""
    fields = ("blkio_weight_device", *_THROTTLES)
    return tuple(dict.fromkeys(device.path for field in fields for device in getattr(limits, field)))
