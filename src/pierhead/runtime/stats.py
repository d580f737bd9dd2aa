"""What the kernel counts for a container's cgroup, and the same as ``runc events --stats`` prints it.

Times are nanoseconds, sizes bytes, whatever the kernel's file says (v1: ns, USER_HZ ticks; cgroup2: µs).  "No
limit" is 2**64 - 1, as v1 and runc have it.  Not on the path of starting a container.

Sources: cgroup-v2.rst, cgroup-v1/*.rst; runc's types/events.go for the names in the printed form.
"""

from __future__ import annotations

import errno
import os

from pierhead.errors import OperationFailed
from pierhead.linux.cgroupfs import procs_of, read_text
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NO_LIMIT = 2**64 - 1
NS_PER_TICK = 1_000_000_000 // (os.sysconf("SC_CLK_TCK") or 100)


class Pressure(Value):
    """One line of a pressure file (Documentation/accounting/psi.rst): shares in %, total time in µs."""

    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


class PressureStats(Value):
    """Time in which some, or all, processes waited for a resource."""

    some: Pressure = Pressure()
    full: Pressure = Pressure()


class CpuStats(Value):
    """Processor time used and denied; the per-processor lists only on v1."""

    total: int = 0
    kernel: int = 0
    user: int = 0
    percpu: tuple[int, ...] = ()
    percpu_kernel: tuple[int, ...] = ()
    percpu_user: tuple[int, ...] = ()
    periods: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0
    pressure: PressureStats | None = None


class CpusetStats(Value):
    """The v1 cpuset's settings, or the cgroup2 one's two lists."""

    cpus: tuple[int, ...] = ()
    mems: tuple[int, ...] = ()
    flags: dict[str, int] = {}  # noqa: RUF012 - values are never changed


class MemoryEntry(Value):
    """Use of one kind of memory: now, at its peak, its limit, and how often it hit that."""

    limit: int = 0
    usage: int = 0
    max: int = 0
    failcnt: int = 0


class MemoryStats(Value):
    """Memory in use; ``swap`` is memory and swap together, ``events`` are counters like ``oom_kill``."""

    cache: int = 0
    usage: MemoryEntry = MemoryEntry()
    swap: MemoryEntry = MemoryEntry()
    kernel: MemoryEntry = MemoryEntry()
    kernel_tcp: MemoryEntry = MemoryEntry()
    raw: dict[str, int] = {}  # noqa: RUF012 - values are never changed
    events: dict[str, int] = {}  # noqa: RUF012 - values are never changed
    pressure: PressureStats | None = None


class PidsStats(Value):
    """Processes and threads; a limit of 0 is none."""

    current: int = 0
    limit: int = 0


class BlkioEntry(Value):
    """A counter of one block device and kind of operation."""

    major: int
    minor: int
    op: str
    value: int


class BlkioStats(Value):
    """Traffic with block devices; all but the first two lists come from v1's bfq only."""

    io_service_bytes: tuple[BlkioEntry, ...] = ()
    io_serviced: tuple[BlkioEntry, ...] = ()
    io_queued: tuple[BlkioEntry, ...] = ()
    io_service_time: tuple[BlkioEntry, ...] = ()
    io_wait_time: tuple[BlkioEntry, ...] = ()
    io_merged: tuple[BlkioEntry, ...] = ()
    io_time: tuple[BlkioEntry, ...] = ()
    sectors: tuple[BlkioEntry, ...] = ()
    pressure: PressureStats | None = None


class HugetlbStats(Value):
    """Huge pages of one size."""

    usage: int = 0
    max: int = 0
    failcnt: int = 0


class RdmaStats(Value):
    """Handles and objects of one RDMA device: in use, and allowed (None for any number)."""

    hca_handles: int = 0
    hca_objects: int = 0
    hca_handles_limit: int | None = None
    hca_objects_limit: int | None = None


class InterfaceStats(Value):
    """Traffic of one network interface."""

    name: str
    rx_bytes: int = 0
    rx_packets: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx_bytes: int = 0
    tx_packets: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


class Stats(Value):
    """All of it at one moment."""

    cpu: CpuStats = CpuStats()
    cpuset: CpusetStats = CpusetStats()
    memory: MemoryStats = MemoryStats()
    pids: PidsStats = PidsStats()
    blkio: BlkioStats = BlkioStats()
    hugetlb: dict[str, HugetlbStats] = {}  # noqa: RUF012 - values are never changed
    rdma: dict[str, RdmaStats] = {}  # noqa: RUF012 - values are never changed
    interfaces: tuple[InterfaceStats, ...] = ()


# Reading


def read_stats(directories: Mapping[str, str]) -> Stats:
    """The counters of a cgroup; what has no controller or no file here stays at zero.

    Args:
        directories: the cgroup's directory by controller; the cgroup2 one under the empty name.

    Raises:
        OperationFailed: the kernel refuses to read a file.
    """
    unified = directories.get("", "")
    return Stats(
        cpu=_read_cpu(directories, unified),
        cpuset=_read_cpuset(directories.get("cpuset", unified)),
        memory=_read_memory_v1(directories["memory"])
        if "memory" in directories
        else _read_memory_v2(unified),
        pids=_read_pids(directories.get("pids", unified)),
        blkio=_read_blkio_v1(directories["blkio"]) if "blkio" in directories else _read_io_v2(unified),
        hugetlb=_read_hugetlb(directories.get("hugetlb", unified)),
        rdma=_read_rdma(directories.get("rdma", unified)),
    )


def _number(directory: str, file: str) -> int | None:
    text = (read_text(directory, file) or "").strip() if directory else ""
    if not text:
        return None
    return NO_LIMIT if text == "max" else int(text)


def _pairs(text: str | None) -> dict[str, int]:
    """Lines of name and number, as in memory.stat."""
    found = {}
    for line in (text or "").splitlines():
        name, _, value = line.rpartition(" ")
        if name and value.isdecimal():
            found[name] = int(value)
    return found


def _file_pairs(directory: str, file: str) -> dict[str, int]:
    return _pairs(read_text(directory, file)) if directory else {}


def _numbers(directory: str, file: str) -> tuple[int, ...]:
    return tuple(int(word) for word in (read_text(directory, file) or "").split())


def parse_pressure(text: str | None) -> PressureStats | None:
    """A pressure file's lines: ``some avg10=0.00 avg60=0.00 avg300=0.00 total=0``, and ``full`` the same."""
    lines: dict[str, Pressure] = {}
    for line in (text or "").splitlines():
        kind, *words = line.split()
        given = dict(word.split("=", 1) for word in words)
        lines[kind] = Pressure(
            avg10=float(given["avg10"]),
            avg60=float(given["avg60"]),
            avg300=float(given["avg300"]),
            total=int(given["total"]),
        )
    return PressureStats(**lines) if lines else None


def _read_pressure(directory: str, file: str) -> PressureStats | None:
    if not directory:
        return None
    try:
        return parse_pressure(read_text(directory, file))
    except OperationFailed as error:
        # With psi=0 on the kernel's command line the file is there and reading it is not supported.
        if error.errno == errno.EOPNOTSUPP:
            return None
        raise


def _read_cpu(directories: Mapping[str, str], unified: str) -> CpuStats:
    if "cpuacct" not in directories and "cpu" not in directories:
        stat = _file_pairs(unified, "cpu.stat")
        return CpuStats(
            total=stat.get("usage_usec", 0) * 1000,
            user=stat.get("user_usec", 0) * 1000,
            kernel=stat.get("system_usec", 0) * 1000,
            periods=stat.get("nr_periods", 0),
            throttled_periods=stat.get("nr_throttled", 0),
            throttled_time=stat.get("throttled_usec", 0) * 1000,
            pressure=_read_pressure(unified, "cpu.pressure"),
        )
    account, throttling = directories.get("cpuacct", ""), _file_pairs(directories.get("cpu", ""), "cpu.stat")
    times = _file_pairs(account, "cpuacct.stat")
    return CpuStats(
        total=_number(account, "cpuacct.usage") or 0,
        user=times.get("user", 0) * NS_PER_TICK,
        kernel=times.get("system", 0) * NS_PER_TICK,
        percpu=_numbers(account, "cpuacct.usage_percpu") if account else (),
        percpu_user=_numbers(account, "cpuacct.usage_percpu_user") if account else (),
        percpu_kernel=_numbers(account, "cpuacct.usage_percpu_sys") if account else (),
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_time=throttling.get("throttled_time", 0),
    )


_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def parse_set(text: str) -> tuple[int, ...]:
    """The numbers of a list like ``0-2,5``."""
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _read_cpuset(directory: str) -> CpusetStats:
    if not directory:
        return CpusetStats()
    flags = {name: _number(directory, f"cpuset.{name}") for name in _CPUSET_FLAGS}
    return CpusetStats(
        cpus=parse_set(read_text(directory, "cpuset.cpus") or ""),
        mems=parse_set(read_text(directory, "cpuset.mems") or ""),
        flags={name: value for name, value in flags.items() if value is not None},
    )


def _memory_entry_v1(directory: str, kind: str) -> MemoryEntry:
    return MemoryEntry(
        usage=_number(directory, f"{kind}.usage_in_bytes") or 0,
        max=_number(directory, f"{kind}.max_usage_in_bytes") or 0,
        failcnt=_number(directory, f"{kind}.failcnt") or 0,
        limit=_number(directory, f"{kind}.limit_in_bytes") or 0,
    )


def _read_memory_v1(directory: str) -> MemoryStats:
    raw = _file_pairs(directory, "memory.stat")
    return MemoryStats(
        cache=raw.get("cache", 0),
        usage=_memory_entry_v1(directory, "memory"),
        swap=_memory_entry_v1(directory, "memory.memsw"),
        kernel=_memory_entry_v1(directory, "memory.kmem"),
        kernel_tcp=_memory_entry_v1(directory, "memory.kmem.tcp"),
        raw=raw,
        events=_file_pairs(directory, "memory.oom_control"),
    )


def _read_memory_v2(directory: str) -> MemoryStats:
    """cgroup2 counts swap alone; the sum with memory is made here, as everyone downstream expects it."""
    current = _number(directory, "memory.current")
    if current is None:
        return MemoryStats(pressure=_read_pressure(directory, "memory.pressure"))
    raw, events = _file_pairs(directory, "memory.stat"), _file_pairs(directory, "memory.events")
    limit = _number(directory, "memory.max")
    swap_limit = _number(directory, "memory.swap.max")
    usage = MemoryEntry(
        usage=current,
        max=_number(directory, "memory.peak") or 0,
        failcnt=events.get("max", 0),
        limit=NO_LIMIT if limit is None else limit,
    )
    swap = MemoryEntry(
        usage=current + (_number(directory, "memory.swap.current") or 0),
        failcnt=_file_pairs(directory, "memory.swap.events").get("fail", 0),
        limit=min(NO_LIMIT, usage.limit + (swap_limit or 0)),
    )
    pressure = _read_pressure(directory, "memory.pressure")
    return MemoryStats(
        cache=raw.get("file", 0), usage=usage, swap=swap, raw=raw, events=events, pressure=pressure
    )


def _read_pids(directory: str) -> PidsStats:
    current = _number(directory, "pids.current")
    if current is None:
        return PidsStats(current=len(procs_of(directory)) if directory else 0)
    limit = _number(directory, "pids.max") or 0
    return PidsStats(current=current, limit=0 if limit == NO_LIMIT else limit)


_BLKIO_FILES = {
    "io_service_bytes": "io_service_bytes_recursive",
    "io_serviced": "io_serviced_recursive",
    "io_queued": "io_queued_recursive",
    "io_service_time": "io_service_time_recursive",
    "io_wait_time": "io_wait_time_recursive",
    "io_merged": "io_merged_recursive",
    "io_time": "time_recursive",
    "sectors": "sectors_recursive",
}


def parse_blkio(text: str) -> tuple[BlkioEntry, ...]:
    """Lines like ``8:0 Read 1282048`` or ``8:0 6792``; the total over all devices is left out."""
    found = []
    for line in text.splitlines():
        words = line.split()
        device, _, minor = words[0].partition(":")
        if minor:
            op = words[1] if len(words) == 3 else ""
            found.append(BlkioEntry(major=int(device), minor=int(minor), op=op, value=int(words[-1])))
    return tuple(found)


def _read_blkio_v1(directory: str) -> BlkioStats:
    """From bfq's files, where a device uses that scheduler, else from the throttling layer's."""
    for prefix in ("blkio.bfq.", "blkio.", "blkio.throttle."):
        files = {
            name: parse_blkio(read_text(directory, prefix + file) or "")
            for name, file in _BLKIO_FILES.items()
        }
        if files["io_serviced"]:
            return BlkioStats().replace(**files)
    return BlkioStats()


_IO_KEYS = {
    "rbytes": ("io_service_bytes", "Read"),
    "wbytes": ("io_service_bytes", "Write"),
    "dbytes": ("io_service_bytes", "Discard"),
    "rios": ("io_serviced", "Read"),
    "wios": ("io_serviced", "Write"),
    "dios": ("io_serviced", "Discard"),
}


def _read_io_v2(directory: str) -> BlkioStats:
    """io.stat has lines like ``8:0 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0``."""
    found: dict[str, list[BlkioEntry]] = {"io_service_bytes": [], "io_serviced": []}
    for line in (read_text(directory, "io.stat") or "" if directory else "").splitlines():
        device, *words = line.split()
        major, _, minor = device.partition(":")
        for word in words:
            key, _, value = word.partition("=")
            if minor and key in _IO_KEYS:
                table, op = _IO_KEYS[key]
                found[table].append(BlkioEntry(major=int(major), minor=int(minor), op=op, value=int(value)))
    return BlkioStats(
        io_service_bytes=tuple(found["io_service_bytes"]),
        io_serviced=tuple(found["io_serviced"]),
        pressure=_read_pressure(directory, "io.pressure"),
    )


def _read_hugetlb(directory: str) -> dict[str, HugetlbStats]:
    """By page size; the sizes are taken from the names of the files."""
    found: dict[str, HugetlbStats] = {}
    try:
        files = os.listdir(directory) if directory else []
    except FileNotFoundError:
        return found
    for file in sorted(files):
        prefix, _, rest = file.partition(".")
        size, _, kind = rest.partition(".")
        if prefix == "hugetlb" and kind == "usage_in_bytes":
            found[size] = HugetlbStats(
                usage=_number(directory, file) or 0,
                max=_number(directory, f"hugetlb.{size}.max_usage_in_bytes") or 0,
                failcnt=_number(directory, f"hugetlb.{size}.failcnt") or 0,
            )
        elif prefix == "hugetlb" and kind == "current":
            events = _file_pairs(directory, f"hugetlb.{size}.events")
            found[size] = HugetlbStats(usage=_number(directory, file) or 0, failcnt=events.get("max", 0))
    return found


def _read_rdma(directory: str) -> dict[str, RdmaStats]:
    """rdma.current and rdma.max: ``mlx4_0 hca_handle=2 hca_object=2000``, a limit may be ``max``."""
    if not directory:
        return {}
    now = _rdma_lines(read_text(directory, "rdma.current") or "")
    most = _rdma_lines(read_text(directory, "rdma.max") or "")
    return {
        name: RdmaStats(
            hca_handles=values.get("hca_handle") or 0,
            hca_objects=values.get("hca_object") or 0,
            hca_handles_limit=most.get(name, {}).get("hca_handle"),
            hca_objects_limit=most.get(name, {}).get("hca_object"),
        )
        for name, values in now.items()
    }


def _rdma_lines(text: str) -> dict[str, dict[str, int | None]]:
    found: dict[str, dict[str, int | None]] = {}
    for line in text.splitlines():
        name, *words = line.split()
        pairs = (word.partition("=") for word in words)
        found[name] = {key: None if value == "max" else int(value) for key, _, value in pairs}
    return found


# Printing


def stats_event(container_id: str, stats: Stats) -> dict[str, Any]:
    """The object that ``runc events`` prints on a line for statistics, field by field (types/events.go).

    Like Go's ``omitempty`` it leaves out zeros and empty lists where runc does, and only there.
    """
    data = {
        "cpu": _cpu_object(stats.cpu),
        "cpuset": _cpuset_object(stats.cpuset),
        "memory": _memory_object(stats.memory),
        "pids": _given(current=stats.pids.current, limit=stats.pids.limit),
        "blkio": _blkio_object(stats.blkio),
        "hugetlb": {
            size: {**_given(usage=each.usage, max=each.max), "failcnt": each.failcnt}
            for size, each in stats.hugetlb.items()
        },
        "intel_rdt": {},
        "network_interfaces": [_interface_object(each) for each in stats.interfaces] or None,
    }
    return {"type": "stats", "id": container_id, "data": data}


def oom_event(container_id: str) -> dict[str, Any]:
    """The object that ``runc events`` prints on a line for a lack of memory."""
    return {"type": "oom", "id": container_id}


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that are not zero or empty."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in fields.items() if value
    }


def _cpu_object(cpu: CpuStats) -> dict[str, Any]:
    usage = _given(
        total=cpu.total, percpu=cpu.percpu, percpu_kernel=cpu.percpu_kernel, percpu_user=cpu.percpu_user
    )
    return {
        "usage": {**usage, "kernel": cpu.kernel, "user": cpu.user},
        "throttling": _given(
            periods=cpu.periods, throttledPeriods=cpu.throttled_periods, throttledTime=cpu.throttled_time
        ),
        **_pressure_object(cpu.pressure),
    }


def _cpuset_object(cpuset: CpusetStats) -> dict[str, Any]:
    flags = {name: cpuset.flags.get(name, 0) for name in _CPUSET_FLAGS}
    return {
        **_given(cpus=cpuset.cpus),
        "cpu_exclusive": flags.pop("cpu_exclusive"),
        **_given(mems=cpuset.mems),
        **flags,
    }


def _memory_object(memory: MemoryStats) -> dict[str, Any]:
    return {
        **_given(cache=memory.cache),
        "usage": _entry_object(memory.usage),
        "swap": _entry_object(memory.swap),
        "kernel": _entry_object(memory.kernel),
        "kernelTCP": _entry_object(memory.kernel_tcp),
        **_given(raw=dict(sorted(memory.raw.items()))),
        **_pressure_object(memory.pressure),
    }


def _entry_object(entry: MemoryEntry) -> dict[str, int]:
    return {"limit": entry.limit, **_given(usage=entry.usage, max=entry.max), "failcnt": entry.failcnt}


_BLKIO_NAMES = {
    "ioServiceBytesRecursive": "io_service_bytes",
    "ioServicedRecursive": "io_serviced",
    "ioQueueRecursive": "io_queued",
    "ioServiceTimeRecursive": "io_service_time",
    "ioWaitTimeRecursive": "io_wait_time",
    "ioMergedRecursive": "io_merged",
    "ioTimeRecursive": "io_time",
    "sectorsRecursive": "sectors",
}


def _blkio_object(blkio: BlkioStats) -> dict[str, Any]:
    tables = {name: getattr(blkio, attribute) for name, attribute in _BLKIO_NAMES.items()}
    return {
        **{
            name: [_given(major=each.major, minor=each.minor, op=each.op, value=each.value) for each in table]
            for name, table in tables.items()
            if table
        },
        **_pressure_object(blkio.pressure),
    }


def _pressure_object(pressure: PressureStats | None) -> dict[str, Any]:
    if pressure is None:
        return {}
    kinds = {"some": pressure.some, "full": pressure.full}
    return {
        "psi": {
            kind: {"avg10": each.avg10, "avg60": each.avg60, "avg300": each.avg300, "total": each.total}
            for kind, each in kinds.items()
        }
    }


def _interface_object(each: InterfaceStats) -> dict[str, Any]:
    return {
        "Name": each.name,
        "RxBytes": each.rx_bytes,
        "RxPackets": each.rx_packets,
        "RxErrors": each.rx_errors,
        "RxDropped": each.rx_dropped,
        "TxBytes": each.tx_bytes,
        "TxPackets": each.tx_packets,
        "TxErrors": each.tx_errors,
        "TxDropped": each.tx_dropped,
    }
