"""Samples to documents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.record import Record, State
from pierhead.engine.stats import ContainerStats, Sample, document_of, read_system_time
from pierhead.runtime.stats import (
    NO_LIMIT,
    BlkioEntry,
    BlkioStats,
    CpuStats,
    InterfaceStats,
    MemoryEntry,
    MemoryStats,
    PidsStats,
    Stats,
)

if TYPE_CHECKING:
    from pathlib import Path

RECORD = Record(
    id="c" * 64,
    name="web",
    created_ns=1,
    image="box",
    config=ContainerConfig(),
    host=HostConfig(),
    state=State(status="running", pid=7),
)
STATS = Stats(
    cpu=CpuStats(total=900, kernel=300, user=600, periods=4),
    memory=MemoryStats(usage=MemoryEntry(usage=50, limit=NO_LIMIT), raw={"inactive_file": 5}),
    pids=PidsStats(current=3),
    blkio=BlkioStats(io_service_bytes=(BlkioEntry(major=8, minor=0, op="Read", value=9),)),
    interfaces=(InterfaceStats(name="lo"), InterfaceStats(name="eth0", rx_bytes=1, tx_bytes=2)),
)


def test_a_document() -> None:
    """Processor time of two moments; no limit is the machine's memory; the loopback is nobody's traffic."""
    before = Sample(stats=STATS, system_ns=1000, taken_ns=1_000_000_000)
    now = Sample(
        stats=STATS.replace(cpu=STATS.cpu.replace(total=1900)), system_ns=5000, taken_ns=2_000_000_000
    )
    document = document_of(RECORD, now, before)
    usage, earlier = document["cpu_stats"], document["precpu_stats"]
    assert usage["cpu_usage"]["total_usage"] - earlier["cpu_usage"]["total_usage"] == 1000
    assert usage["system_cpu_usage"] - earlier["system_cpu_usage"] == 4000
    assert 0 < document["memory_stats"]["limit"] < NO_LIMIT
    assert document["memory_stats"]["stats"] == {"inactive_file": 5}
    assert list(document["networks"]) == ["eth0"]
    assert document["networks"]["eth0"]["tx_bytes"] == 2
    assert document["blkio_stats"]["io_service_bytes_recursive"][0]["op"] == "read"
    assert document["preread"] == "1970-01-01T00:00:01Z"


def test_one_that_does_not_run() -> None:
    """Its document has the form and no figures."""
    document = document_of(RECORD, Sample(stats=None, system_ns=1, taken_ns=1), None)
    assert document["read"] == "0001-01-01T00:00:00Z"
    assert document["memory_stats"] == document["pids_stats"] == {}


def test_time_of_all_processors(tmp_path: Path) -> None:
    """The first line's times without the guests', which are in the others already."""
    path = tmp_path / "stat"
    path.write_text("cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    assert read_system_time(str(path)) == 36 * 10_000_000


def test_one_shot_and_stream() -> None:
    """One answer without a sample before, or as many as somebody reads, each with the one before."""
    asked: list[Record] = []

    async def read(record: Record) -> Stats:
        asked.append(record)
        return STATS

    stats = ContainerStats(find_record=lambda _: RECORD, read=read)

    async def scene() -> tuple[list[Any], list[Any]]:
        once = [each async for each in await stats.container_stats("web", stream=False, one_shot=True)]
        stream = await stats.container_stats("web", stream=True, one_shot=False)
        twice = [await anext(stream), await anext(stream)]
        await stream.aclose()  # type: ignore[attr-defined]
        return once, twice

    once, twice = asyncio.run(scene())
    assert [each["preread"] for each in once] == ["0001-01-01T00:00:00Z"]
    assert twice[1]["preread"] == twice[0]["read"]
    assert len(asked) == 3
