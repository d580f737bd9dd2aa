"""What is read from cgroup files, and how it is printed: every field name as runc's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pierhead.runtime.stats import (
    NO_LIMIT,
    BlkioEntry,
    BlkioStats,
    HugetlbStats,
    InterfaceStats,
    Pressure,
    PressureStats,
    RdmaStats,
    Stats,
    oom_event,
    parse_blkio,
    parse_pressure,
    parse_set,
    read_stats,
    stats_event,
)

if TYPE_CHECKING:
    from pathlib import Path

PRESSURE = (
    "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
)
V2_FILES = {
    "cpu.stat": (
        "usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 9\nnr_throttled 2\nthrottled_usec 50\n"
    ),
    "cpu.pressure": PRESSURE,
    "cpuset.cpus": "0-1\n",
    "cpuset.mems": "\n",
    "memory.current": "1000\n",
    "memory.max": "4096\n",
    "memory.peak": "2000\n",
    "memory.swap.current": "10\n",
    "memory.swap.max": "96\n",
    "memory.stat": "anon 600\nfile 400\n",
    "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n",
    "memory.pressure": PRESSURE,
    "pids.current": "4\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0 cost.vrate=100.00\n7:0 \n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.events": "max 5\n",
    "hugetlb.2MB.rsvd.current": "0\n",
    "rdma.current": "mlx5_0 hca_handle=2 hca_object=20\n",
    "rdma.max": "mlx5_0 hca_handle=3 hca_object=max\n",
}
V1_FILES = {
    "cpu": {"cpu.stat": "nr_periods 9\nnr_throttled 2\nthrottled_time 50000\n"},
    "cpuacct": {
        "cpuacct.usage": "300000\n",
        "cpuacct.stat": "user 2\nsystem 1\n",
        "cpuacct.usage_percpu": "100000 200000 \n",
        "cpuacct.usage_percpu_sys": "1 2\n",
        "cpuacct.usage_percpu_user": "3 4\n",
    },
    "cpuset": {"cpuset.cpus": "0\n", "cpuset.mems": "0\n", "cpuset.sched_relax_domain_level": "-1\n"},
    "memory": {
        "memory.stat": "cache 400\nrss 600\n",
        "memory.usage_in_bytes": "1000\n",
        "memory.max_usage_in_bytes": "2000\n",
        "memory.failcnt": "3\n",
        "memory.limit_in_bytes": "4096\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    },
    "pids": {"pids.current": "4\n", "pids.max": "50\n"},
    "blkio": {
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Total 1\nTotal 1\n",
        "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Total 10\nTotal 10\n",
    },
}


def write_files(directory: Path, files: dict[str, str]) -> str:
    """The directory, which then holds these files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return str(directory)


def read_v2(tmp_path: Path) -> Stats:
    """What a cgroup2 group with all files gives."""
    return read_stats({"": write_files(tmp_path / "v2", V2_FILES)})


def read_v1(tmp_path: Path) -> Stats:
    """What v1 groups give."""
    return read_stats({name: write_files(tmp_path / name, files) for name, files in V1_FILES.items()})


def test_v2_is_read_in_v1s_terms(tmp_path: Path) -> None:
    """Times in ns, swap with memory, traffic by device and kind."""
    stats = read_v2(tmp_path)
    assert (stats.cpu.total, stats.cpu.user, stats.cpu.kernel) == (300_000, 200_000, 100_000)
    assert (stats.cpu.periods, stats.cpu.throttled_periods, stats.cpu.throttled_time) == (9, 2, 50_000)
    assert stats.cpuset.cpus == (0, 1)
    memory = stats.memory
    assert (memory.usage.usage, memory.usage.limit, memory.usage.max, memory.usage.failcnt) == (
        1000,
        4096,
        2000,
        3,
    )
    assert (memory.swap.usage, memory.swap.limit, memory.cache) == (1010, 4192, 400)
    assert memory.events["oom_kill"] == 1
    assert (stats.pids.current, stats.pids.limit) == (4, 0)
    assert BlkioEntry(major=8, minor=0, op="Write", value=20) in stats.blkio.io_service_bytes
    assert stats.hugetlb == {"2MB": HugetlbStats(usage=2097152, failcnt=5)}
    assert stats.rdma == {"mlx5_0": RdmaStats(hca_handles=2, hca_objects=20, hca_handles_limit=3)}


def test_v1_is_read_from_each_controllers_directory(tmp_path: Path) -> None:
    """With the times per processor, which only v1 has."""
    stats = read_v1(tmp_path)
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert (stats.cpu.total, stats.cpu.user, stats.cpu.kernel) == (300_000, 2 * tick, tick)
    assert stats.cpu.percpu == (100_000, 200_000)
    assert stats.cpu.throttled_time == 50_000
    assert stats.memory.usage.limit == 4096
    assert stats.memory.swap.usage == 0
    assert stats.memory.events["oom_kill"] == 1
    assert (stats.pids.current, stats.pids.limit) == (4, 50)
    assert stats.blkio.io_serviced == (
        BlkioEntry(major=8, minor=0, op="Read", value=1),
        BlkioEntry(major=8, minor=0, op="Total", value=1),
    )


def test_without_limits_there_is_infinity(tmp_path: Path) -> None:
    """Max reads as 2**64 - 1, and memory+swap does not pass it."""
    files = {**V2_FILES, "memory.max": "max\n", "memory.swap.max": "max\n"}
    stats = read_stats({"": write_files(tmp_path, files)})
    assert (stats.memory.usage.limit, stats.memory.swap.limit) == (NO_LIMIT, NO_LIMIT)


def test_a_cgroup_without_anything_counts_nothing(tmp_path: Path) -> None:
    """Controllers that are missing leave zeros; so does a cgroup that is gone."""
    assert read_stats({}) == Stats()
    assert read_stats({"": str(tmp_path / "gone")}) == Stats()


def test_parsers() -> None:
    """Pressure, block devices, sets."""
    some = Pressure(avg10=1.5, avg60=0.25, avg300=0.0, total=123)
    assert parse_pressure(PRESSURE) == PressureStats(some=some, full=Pressure(total=7))
    assert parse_pressure("") is None
    assert parse_blkio("8:0 6792\n") == (BlkioEntry(major=8, minor=0, op="", value=6792),)
    assert parse_set("0-2,5\n") == (0, 1, 2, 5)


def names_in(value: Any) -> Any:
    """The structure of names, without numbers."""
    if isinstance(value, dict):
        return {name: names_in(inner) for name, inner in value.items()}
    return None


def test_the_printed_form_of_v2_has_runcs_names_in_runcs_order(tmp_path: Path) -> None:
    """types/events.go, with what omitempty leaves out left out."""
    psi = {kind: dict.fromkeys(("avg10", "avg60", "avg300", "total")) for kind in ("some", "full")}
    empty_entry = {"limit": None, "failcnt": None}
    event = stats_event("box", read_v2(tmp_path))
    assert names_in(event) == {
        "type": None,
        "id": None,
        "data": {
            "cpu": {
                "usage": {"total": None, "kernel": None, "user": None},
                "throttling": {"periods": None, "throttledPeriods": None, "throttledTime": None},
                "psi": psi,
            },
            "cpuset": {
                "cpus": None,
                "cpu_exclusive": None,
                "mem_hardwall": None,
                "mem_exclusive": None,
                "memory_migrate": None,
                "memory_spread_page": None,
                "memory_spread_slab": None,
                "memory_pressure": None,
                "sched_load_balance": None,
                "sched_relax_domain_level": None,
            },
            "memory": {
                "cache": None,
                "usage": {"limit": None, "usage": None, "max": None, "failcnt": None},
                "swap": {"limit": None, "usage": None, "failcnt": None},
                "kernel": empty_entry,
                "kernelTCP": empty_entry,
                "raw": {"anon": None, "file": None},
                "psi": psi,
            },
            "pids": {"current": None},
            "blkio": {"ioServiceBytesRecursive": None, "ioServicedRecursive": None},
            "hugetlb": {"2MB": {"usage": None, "failcnt": None}},
            "intel_rdt": {},
            "network_interfaces": None,
        },
    }
    assert list(event["data"]) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert event["data"]["blkio"]["ioServicedRecursive"][0] == {"major": 8, "op": "Read", "value": 1}


def test_the_printed_form_of_v1_has_times_per_processor(tmp_path: Path) -> None:
    """And a cpuset's level that may be negative."""
    data = stats_event("box", read_v1(tmp_path))["data"]
    assert list(data["cpu"]["usage"]) == ["total", "percpu", "percpu_kernel", "percpu_user", "kernel", "user"]
    assert data["cpuset"]["sched_relax_domain_level"] == -1
    assert data["pids"] == {"current": 4, "limit": 50}


def test_an_empty_event_keeps_the_fields_that_go_always_writes() -> None:
    """Structures are never left out in Go, zeros of some fields neither."""
    data = stats_event("box", Stats())["data"]
    assert data["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert data["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert (data["pids"], data["blkio"], data["hugetlb"], data["network_interfaces"]) == ({}, {}, {}, None)


def test_other_tables_and_interfaces_have_their_names() -> None:
    """The tables of bfq, and the interfaces in capitals."""
    entry = (BlkioEntry(major=8, minor=16, op="Read", value=5),)
    stats = Stats(
        blkio=BlkioStats(io_queued=entry, io_time=entry, sectors=entry),
        interfaces=(InterfaceStats(name="eth0", rx_bytes=1, tx_dropped=2),),
    )
    data = stats_event("box", stats)["data"]
    assert list(data["blkio"]) == ["ioQueueRecursive", "ioTimeRecursive", "sectorsRecursive"]
    (interface,) = data["network_interfaces"]
    assert (interface["Name"], interface["RxBytes"], interface["TxDropped"]) == ("eth0", 1, 2)


def test_a_lack_of_memory_is_an_event_without_data() -> None:
    """As runc prints it."""
    assert oom_event("box") == {"type": "oom", "id": "box"}
