"""Many clients at once: every byte arrives, and memory does not grow with them."""

from __future__ import annotations

import http.client
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.registries import Registry, digest_of, registry

CLIENTS = 64
MEMORY_MOST_BYTES = 200 << 20
GROWTH_MOST_BYTES = 64 << 20
"""A quarter of what one turn of all clients sends: what memory that is not given back could come to."""
BLOB = random.Random(1).randbytes(4 << 20)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def push_and_pull(reg: Registry, number: int) -> bool:
    """A blob of its own goes up in two chunks and comes down over one connection."""
    data = number.to_bytes(8, "big") + BLOB
    name, half = f"c/{number}", len(data) // 2
    location = reg.patch(reg.begin(name), data[:half], 0)["Location"]
    digest = digest_of(data)
    assert reg.finish(location, digest, data[half:]).status == 201
    return reg.get(f"/v2/{name}/blobs/{digest}").body == data


def test_many_clients(tmp_path: Path) -> None:
    """64 of them push and pull at the same time, three times; memory stays in bounds and where it was."""
    with registry(tmp_path / "root") as reg, ThreadPoolExecutor(CLIENTS) as clients:
        peaks = []
        for turn in range(3):
            numbers = range(turn * CLIENTS, (turn + 1) * CLIENTS)
            assert all(clients.map(lambda number: push_and_pull(reg, number), numbers))
            peaks.append(peak_bytes(reg.pid))
    print(f"{CLIENTS} clients: the registry's memory was at most {[peak >> 20 for peak in peaks]} MiB")
    assert peaks[-1] < MEMORY_MOST_BYTES
    assert peaks[-1] - peaks[0] < GROWTH_MOST_BYTES


def test_a_slow_reader_costs_no_memory(tmp_path: Path) -> None:
    """Clients that do not read what they asked for wait with the kernel, not with the registry."""
    with registry(tmp_path / "root") as reg:
        digest = reg.push_blob("a", BLOB * 8)
        before = peak_bytes(reg.pid)
        connections = [http.client.HTTPConnection("127.0.0.1", reg.port, timeout=60) for _ in range(16)]
        for connection in connections:
            connection.request("GET", f"/v2/a/blobs/{digest}")
            assert connection.getresponse().read(1000) == BLOB[:1000]
        assert reg.get("/v2/").status == 200
        assert peak_bytes(reg.pid) - before < GROWTH_MOST_BYTES
        for connection in connections:
            connection.close()
