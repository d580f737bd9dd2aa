"""The engine beside dockerd and Podman: what its users wait for, what it takes, and how it bears numbers."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from tests.bench.engine_lives import IDLE, compare_lives, document_of, new_name
from tests.bench.engine_peers import Peer, peers
from tests.bench.measure import Contender, interleave, timed_us

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PARTS = ("life", "many", "requests", "logs", "growth")
_CONNECTIONS = 32
_REQUESTS_S = 3.0
_STEP = 50

Page = tuple[object, str]


def measure_engine(
    home: Path, *, rounds: int, number: int, log_bytes: int, parts: Sequence[str], plot: Path
) -> Page:
    """Every part as a document, and a page for people.

    Args:
        home: an empty directory on a disk.
        rounds: samples of each contender.
        number: containers of the growth part; a sixth of them in the part about many.
        log_bytes: how much a container writes.
        parts: of ``PARTS``.
        plot: picture of the growth part.
    """
    document: dict[str, object] = {}
    pages: list[str] = []
    with peers(home) as found:
        for part in parts:
            if part == "life":
                comparisons = compare_lives(found, rounds=rounds)
                document[part] = {each.name: each.as_document() for each in comparisons}
                pages += [each.as_markdown() for each in comparisons]
                continue
            figures = {
                "many": lambda: _measure_many(found, count=number // 6, rounds=rounds),
                "requests": lambda: _measure_requests(found),
                "logs": lambda: _measure_logs(found, log_bytes),
                "growth": lambda: _measure_growth(found, count=number, plot=plot),
            }[part]()
            document[part] = figures
            pages.append(_page(part, figures))
    return document, "\n".join(pages)


def _page(title: str, figures: dict[str, dict[str, float]]) -> str:
    names = list(figures)
    rows = list(dict.fromkeys(row for each in figures.values() for row in each))
    lines = [f"### Engine: {title}", "", f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for row in rows:
        cells = [f"{figures[name][row]:.4g}" if row in figures[name] else "" for name in names]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


# Many


def _measure_many(found: Sequence[Peer], *, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """So many ``run -d``, then ``ps``, memory, and one ``rm -f`` of all."""
    figures: dict[str, dict[str, float]] = {}
    names = [f"many-{number}" for number in range(count)]
    for peer in found:
        idle_kb = peer.pss_kb()
        taken_us = sum(peer.run_us(*peer.new("run -d", name, *IDLE)) for name in names)
        running_kb = peer.pss_kb()
        figures[peer.name] = {
            f"{count} x run -d, s": taken_us / 1e6,
            "idle, MB PSS": idle_kb / 1024,
            f"with {count} running, MB PSS": running_kb / 1024,
            "growth per container, MB PSS": (running_kb - idle_kb) / 1024 / count,
        }
    contenders = [Contender(peer.name, lambda peer=peer: peer.run_us("ps")) for peer in found]  # type: ignore[misc]
    for name, samples_us in interleave(contenders, rounds=rounds).items():
        figures[name][f"ps with {count} running, ms"] = statistics.median(samples_us) / 1000
    for peer in found:
        if peer.socket_path:
            answer_ms = _answer_ms(peer, "/containers/json")
            figures[peer.name]["the same over the API, ms"] = answer_ms
    for peer in found:
        figures[peer.name][f"rm -f of {count}, s"] = peer.run_us(*peer.removing, *names) / 1e6
    return figures


# Requests


def _measure_requests(found: Sequence[Peer]) -> dict[str, dict[str, float]]:
    """Requests a second over connections that are kept, with ten containers running."""
    figures: dict[str, dict[str, float]] = {}
    served = [peer for peer in found if peer.socket_path]
    for peer in served:
        names = [new_name() for _ in range(10)]
        for name in names:
            peer.ask(*peer.new("run -d", name, *IDLE))
        figures[peer.name] = {}
        for path in ("/_ping", "/containers/json"):
            rate = asyncio.run(_request(peer.socket_path, path))
            figures[peer.name][f"GET {path}, {_CONNECTIONS} connections, 1/s"] = rate
        peer.ask(*peer.removing, *names)
    return figures


async def _request(socket_path: str, path: str) -> float:
    counts: list[int] = []
    begin_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(_CONNECTIONS):
            group.create_task(_keep_asking(socket_path, path, begin_s + _REQUESTS_S, counts))
    return sum(counts) / (time.perf_counter() - begin_s)


async def _keep_asking(socket_path: str, path: str, until_s: float, counts: list[int]) -> None:
    reader, writer = await asyncio.open_unix_connection(socket_path)
    request = f"GET {path} HTTP/1.1\r\nHost: docker\r\n\r\n".encode()
    done = 0
    while time.perf_counter() < until_s:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert head.startswith(b"http/1.1 200"), head
        if b"transfer-encoding: chunked" in head:
            while (size := int(await reader.readline(), 16)) >= 0:
                await reader.readexactly(size + 2)
                if not size:
                    break
        else:
            length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
        done += 1
    writer.close()
    await writer.wait_closed()
    counts.append(done)


# Logs


def _measure_logs(found: Sequence[Peer], size_bytes: int) -> dict[str, dict[str, float]]:
    """Lines of 64 bytes at full speed, and all of them read back; by those that are daemons."""
    figures: dict[str, dict[str, float]] = {}
    script = f"yes {'x' * 63} | head -c {size_bytes}"
    for peer in found:
        if not peer.socket_path:
            continue
        name = new_name()
        begin_s = time.perf_counter()
        peer.ask(*peer.new("run -d", name, "sh", "-c", script))
        peer.ask("wait", name)
        written_s = time.perf_counter() - begin_s
        begin_s = time.perf_counter()
        read_bytes = peer.measure_bytes("logs", name)
        read_s = time.perf_counter() - begin_s
        peer.ask(*peer.removing, name)
        figures[peer.name] = {
            "written, MB/s": size_bytes / 1e6 / written_s,
            "read back, MB/s": read_bytes / 1e6 / read_s,
            "lost, bytes": size_bytes - read_bytes,
        }
    return figures


# Growth


def _measure_growth(found: Sequence[Peer], *, count: int, plot: Path) -> dict[str, dict[str, float]]:
    """Starts and answers of the API, of the first containers and of the last."""
    figures: dict[str, dict[str, float]] = {}
    peer = next(each for each in found if each.name == "pierd")
    starts_ms: list[float] = []
    inspections_ms: list[float] = []
    for number in range(count):
        starts_ms.append(_create_and_start_us(peer, f"grown-{number}") / 1000)
        inspections_ms.append(_answer_ms(peer, f"/containers/grown-{number}/json", rounds=3))
        if number + 1 in (_STEP, count):
            answers_ms = {path: _answer_ms(peer, path) for path in _paths(f"grown-{number}")}
            figures[f"pierd, {number + 1} running"] = {
                f"create and start, ms (median of {_STEP})": statistics.median(starts_ms[-_STEP:]),
                **{f"GET {path.replace(f'-{number}', '')}, ms": ms for path, ms in answers_ms.items()},
            }
    peer.ask(*peer.removing, *[f"grown-{number}" for number in range(count)])
    _plot_growth(starts_ms, inspections_ms, plot)
    return figures


def _paths(name: str) -> tuple[str, ...]:
    return "/_ping", f"/containers/{name}/json", "/containers/json", "/containers/json?limit=10"


def _create_and_start_us(peer: Peer, name: str) -> float:
    def work() -> None:
        peer.post(f"/containers/create?name={name}", document_of(*IDLE), status=201)
        peer.post(f"/containers/{name}/start", status=204)

    return timed_us(work)


def _answer_ms(peer: Peer, path: str, *, rounds: int = 15) -> float:
    return statistics.median(timed_us(lambda: peer.api.get(path)) for _ in range(rounds)) / 1000


def _plot_growth(starts_ms: list[float], inspections_ms: list[float], path: Path) -> None:
    """A picture: both over the number of containers that run."""
    from matplotlib.figure import Figure  # it is large: not in memory while measuring

    figure = Figure(figsize=(9, 7))
    above, below = figure.subplots(2, 1, sharex=True)
    numbers = range(1, len(starts_ms) + 1)
    for axes, values, label in (
        (above, starts_ms, "create and start, ms"),
        (below, inspections_ms, "inspect, ms"),
    ):
        axes.plot(numbers, values, ".", markersize=3)
        axes.set_ylabel(label)
        axes.set_ylim(0, sorted(values)[int(len(values) * 0.98)] * 1.3)
    above.set_title("Containers of one engine")
    below.set_xlabel("containers running")
    figure.savefig(path, dpi=110)
