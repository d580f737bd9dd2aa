"""Limits of a container that a libpod client wants, in Docker's words.  Pure."""

from __future__ import annotations

from pierhead.engine.documents import DeviceMapping, ThrottleDevice, Ulimit, WeightDevice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pierhead.api.libpod.spec import DeviceRule, Limits, Rlimit, Spec, SpecDevice, Throttle

_INT64_MOST = 2**63 - 1
_UNLIMITED = -1


def limits(spec: Spec) -> dict[str, Any]:
    """Fields of ``HostConfig`` that are limits."""
    return {
        **resources(spec.resource_limits),
        "cgroup_parent": spec.cgroup_parent,
        "ulimits": tuple(map(_ulimit, spec.r_limits)),
        "oom_score_adj": spec.oom_score_adj or 0,
        "devices": tuple(map(_device, spec.devices)),
        "device_cgroup_rules": tuple(_rule(each) for each in spec.device_cgroup_rule if each.allow),
        "blkio_weight_device": tuple(
            WeightDevice(path=path, weight=each.weight) for path, each in spec.weight_device.items()
        ),
        "blkio_device_read_bps": _throttles(spec.throttle_read_bps),
        "blkio_device_write_bps": _throttles(spec.throttle_write_bps),
        "blkio_device_read_iops": _throttles(spec.throttle_read_iops),
        "blkio_device_write_iops": _throttles(spec.throttle_write_iops),
    }


def resources(wanted: Limits) -> dict[str, Any]:
    """Fields of ``Resources``; what is not limited is not among them."""
    memory, cpu = wanted.memory, wanted.cpu
    found = {
        "memory": memory.limit,
        "memory_reservation": memory.reservation,
        "memory_swap": memory.swap,
        "memory_swappiness": memory.swappiness,
        "oom_kill_disable": memory.disable_oom_killer,
        "cpu_shares": cpu.shares,
        "cpu_quota": cpu.quota,
        "cpu_period": cpu.period,
        "cpu_realtime_runtime": cpu.realtime_runtime,
        "cpu_realtime_period": cpu.realtime_period,
        "cpuset_cpus": cpu.cpus or None,
        "cpuset_mems": cpu.mems or None,
        "pids_limit": wanted.pids.limit,
        "blkio_weight": wanted.block_io.weight,
    }
    return {name: value for name, value in found.items() if value is not None}


def _ulimit(wanted: Rlimit) -> Ulimit:
    name = wanted.type.lower().removeprefix("rlimit_")
    return Ulimit(name=name, soft=_bounded(wanted.soft), hard=_bounded(wanted.hard))


def _bounded(value: int) -> int:
    """Docker's number for no limit, for libpod's, which has all 64 bits."""
    return value if value <= _INT64_MOST else _UNLIMITED


def _device(wanted: SpecDevice) -> DeviceMapping:
    host, _, rest = wanted.path.partition(":")
    inside, _, permissions = rest.partition(":")
    if inside and not inside.startswith("/"):  # /dev/null:rw
        inside, permissions = "", inside
    return DeviceMapping(
        path_on_host=host, path_in_container=inside or host, cgroup_permissions=permissions or "rwm"
    )


def _rule(wanted: DeviceRule) -> str:
    major, minor = ("*" if each in (None, -1) else str(each) for each in (wanted.major, wanted.minor))
    return f"{wanted.type or 'a'} {major}:{minor} {wanted.access}"


def _throttles(wanted: Mapping[str, Throttle]) -> tuple[ThrottleDevice, ...]:
    return tuple(ThrottleDevice(path=path, rate=each.rate) for path, each in wanted.items())
