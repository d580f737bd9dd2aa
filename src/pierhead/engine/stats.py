"""What containers use, as clients of the Docker API are told: a sample, and the one before it.

    read ─▶ sample ─▶ document with the last sample's processor times, from which shares are computed

Source: ``GET /containers/{id}/stats``; docker's CLI computes shares from ``cpu_stats`` and ``precpu_stats``.
"""

from __future__ import annotations

import asyncio
import os
import time

from pierhead.engine.moments import NEVER, format_moment
from pierhead.errors import PierheadError
from pierhead.runtime.stats import NO_LIMIT, NS_PER_TICK, Stats
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from typing import Any

    from pierhead.engine.record import Record
    from pierhead.runtime.stats import BlkioEntry, CpuStats, InterfaceStats, MemoryStats

    Document = dict[str, Any]

_EVERY_S = 1.0
_TIMES = 8
"""Columns of /proc/stat's first line that are time of processors; guests' are in them (proc_stat(5))."""
_RUNS = ("running", "paused")


class Sample(Value):
    """What the kernel counted at one moment.

    Fields:
        stats: of the container; None where it did not run.
        system_ns: time of all processors since the boot.
        taken_ns: Unix time.
    """

    stats: Stats | None
    system_ns: int
    taken_ns: int


class ContainerStats:
    """The part of an engine that tells what containers use; see ``api.ports.Containers``."""

    def __init__(
        self,
        *,
        find_record: Callable[[str], Record],
        read: Callable[[Record], Awaitable[Stats]],
    ) -> None:
        """Args:
        find_record: gives the container that a reference means, and raises NotFound.
        read: asks the kernel about one that runs.
        """
        self._find_record = find_record
        self._read = read

    async def container_stats(
        self, reference: str, *, stream: bool, one_shot: bool
    ) -> AsyncIterator[Document]:
        """See ``api.ports.Containers``."""
        record = self._find_record(reference)
        return self._documents(record.id, stream=stream, one_shot=one_shot)

    async def _documents(self, container_id: str, *, stream: bool, one_shot: bool) -> AsyncIterator[Document]:
        record = self._find_record(container_id)
        before: Sample | None = None
        if not stream and not one_shot and record.state.status in _RUNS:
            before = await self._take(record)
            await asyncio.sleep(_EVERY_S)
        while True:
            try:
                record = self._find_record(container_id)
            except PierheadError:
                return  # removed
            now = await self._take(record)
            yield document_of(record, now, before)
            if not stream:
                return
            before = now
            await asyncio.sleep(_EVERY_S)

    async def _take(self, record: Record) -> Sample:
        stats = None
        if record.state.status in _RUNS:
            try:
                stats = await self._read(record)
            except PierheadError:
                stats = None  # it has ended meanwhile
        return Sample(stats=stats, system_ns=read_system_time(), taken_ns=time.time_ns())


def read_system_time(path: str = "/proc/stat") -> int:
    """Time of all processors since the boot, idle or not, in ns."""
    with open(path, "rb") as file:
        return sum(map(int, file.readline().split()[1 : _TIMES + 1])) * NS_PER_TICK


def total_memory() -> int:
    """Bytes of memory that the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def document_of(record: Record, now: Sample, before: Sample | None) -> Document:
    """One answer."""
    return {
        "name": f"/{record.name}",
        "id": record.id,
        "read": format_moment(now.taken_ns) if now.stats else NEVER,
        "preread": format_moment(before.taken_ns) if before and before.stats else NEVER,
        "num_procs": 0,
        "pids_stats": _pids(now.stats),
        "blkio_stats": _blkio(now.stats),
        "storage_stats": {},
        "cpu_stats": _cpu(now),
        "precpu_stats": _cpu(before),
        "memory_stats": _memory(now.stats.memory) if now.stats else {},
        "networks": _networks(now.stats.interfaces if now.stats else ()),
    }


def _pids(stats: Stats | None) -> Document:
    if stats is None:
        return {}
    return {"current": stats.pids.current, "limit": stats.pids.limit or NO_LIMIT}


def _cpu(sample: Sample | None) -> Document:
    if sample is None or sample.stats is None:
        return {
            "cpu_usage": {"total_usage": 0, "usage_in_kernelmode": 0, "usage_in_usermode": 0},
            "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
        }
    return {
        "cpu_usage": _cpu_usage(sample.stats.cpu),
        "system_cpu_usage": sample.system_ns,
        "online_cpus": os.sysconf("SC_NPROCESSORS_ONLN"),
        "throttling_data": {
            "periods": sample.stats.cpu.periods,
            "throttled_periods": sample.stats.cpu.throttled_periods,
            "throttled_time": sample.stats.cpu.throttled_time,
        },
    }


def _cpu_usage(cpu: CpuStats) -> Document:
    usage: Document = {
        "total_usage": cpu.total,
        "usage_in_kernelmode": cpu.kernel,
        "usage_in_usermode": cpu.user,
    }
    if cpu.percpu:
        usage["percpu_usage"] = list(cpu.percpu)
    return usage


def _memory(memory: MemoryStats) -> Document:
    limit = memory.usage.limit
    document: Document = {
        "usage": memory.usage.usage,
        "stats": memory.raw,
        "limit": min(limit, total_memory()) if limit else total_memory(),
    }
    if memory.usage.max:
        document["max_usage"] = memory.usage.max
    failures = memory.events.get("oom", memory.usage.failcnt)  # on v2 Docker tells how often nothing was left
    if failures:
        document["failcnt"] = failures
    return document


def _blkio(stats: Stats | None) -> Document:
    def listed(entries: Iterable[BlkioEntry]) -> list[Document]:
        return [
            {"major": each.major, "minor": each.minor, "op": each.op.lower(), "value": each.value}
            for each in entries
        ]

    blkio = stats.blkio if stats else None
    if blkio is None:
        return {}
    return {
        "io_service_bytes_recursive": listed(blkio.io_service_bytes),
        "io_serviced_recursive": listed(blkio.io_serviced),
        "io_queue_recursive": listed(blkio.io_queued),
        "io_service_time_recursive": listed(blkio.io_service_time),
        "io_wait_time_recursive": listed(blkio.io_wait_time),
        "io_merged_recursive": listed(blkio.io_merged),
        "io_time_recursive": listed(blkio.io_time),
        "sectors_recursive": listed(blkio.sectors),
    }


def _networks(interfaces: Iterable[InterfaceStats]) -> Document:
    return {
        each.name: {name: getattr(each, name) for name in each.fields if name != "name"}
        for each in interfaces
        if each.name != "lo"
    }
