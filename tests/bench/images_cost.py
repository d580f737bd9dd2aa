"""What an operation on images costs: time on the clock, and of processors, with all processes that take part.

A command's processors' time is that of itself and of what it waited for.  Where a daemon does the work, the
daemon's is added, and that of its children, those that have ended as those that live.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.bench.programs import Run

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_WATCH_S = 0.01


@dataclass(frozen=True)
class Cost:
    """Of one repetition; peak_kb is the largest process's memory, 0 where nobody has looked."""

    wall_s: float
    cpu_s: float
    peak_kb: int = 0


@dataclass(frozen=True)
class Contest:
    """The costs of one operation by contender, beside a target.

    Fields:
        target: the largest part of a peer's median that ours may be.
        ours: those contenders that the target is of.
        peers: those that they are compared with.
        notes: sentences below the table.
    """

    name: str
    target: float
    ours: tuple[str, ...]
    peers: tuple[str, ...]
    costs: Mapping[str, Sequence[Cost]]
    notes: Sequence[str] = field(default_factory=list)

    def wall_s(self, contender: str) -> float:
        """The median on the clock."""
        return statistics.median(cost.wall_s for cost in self.costs[contender])

    def cpu_s(self, contender: str) -> float:
        """The median of processors."""
        return statistics.median(cost.cpu_s for cost in self.costs[contender])

    def ratios(self) -> dict[str, tuple[float, float]]:
        """For each of ours and each peer, the part of the peer's medians: on the clock, and of processors."""
        return {
            f"{own} of {peer}": (
                self.wall_s(own) / self.wall_s(peer),
                self.cpu_s(own) / max(self.cpu_s(peer), 1 / _TICKS_PER_S),
            )
            for own in self.ours
            for peer in self.peers
            if own in self.costs and peer in self.costs
        }

    def as_document(self) -> dict[str, object]:
        """What is kept in the results file."""
        return {
            "target": self.target,
            "ratios": {name: [round(part, 3) for part in parts] for name, parts in self.ratios().items()},
            "notes": list(self.notes),
            "samples": {
                name: [
                    {"wall_s": round(c.wall_s, 4), "cpu_s": round(c.cpu_s, 3), "peak_kb": c.peak_kb}
                    for c in costs
                ]
                for name, costs in self.costs.items()
            },
        }

    def as_markdown(self) -> str:
        """Tables for people: seconds, and whether the target was held."""
        lines = [f"### {self.name}", "", "| | median s | fastest s | processors' s |", "|---|---:|---:|---:|"]
        for name, costs in self.costs.items():
            fastest_s = min(cost.wall_s for cost in costs)
            lines.append(f"| {name} | {self.wall_s(name):.2f} | {fastest_s:.2f} | {self.cpu_s(name):.2f} |")
        lines.append("")
        for name, (wall, cpu) in self.ratios().items():
            held = "held" if max(wall, cpu) <= self.target else "missed"
            told = f"{wall:.2f} on the clock, {cpu:.2f} of processors"
            lines.append(f"- {name}: {told}; at most {self.target:.2f}: {held}")
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes), ""])


def take_turns(contenders: Mapping[str, Callable[[], Cost]], *, rounds: int) -> dict[str, list[Cost]]:
    """The costs of each contender, in turns; every round has an order of its own, the same in every run."""
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    order = random.Random(1)
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            gc.collect()
            costs[name].append(contenders[name]())
    return costs


def cost_of(run: Run, *, more_cpu_s: float = 0) -> Cost:
    """A program's cost, and what others have spent for it."""
    return Cost(run.elapsed_us / 1e6, run.cpu_us / 1e6 + more_cpu_s, run.peak_kb)


def tree_cpu_s(pid: int) -> float:
    """Seconds of processors that a process and its descendants have taken, the ended ones too."""
    return sum(_cpu_s(each) for each in tree(pid))


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from tree(int(child))


def watch_pss_kb(command: Sequence[str]) -> int:
    """The most memory that a command and its descendants had together; shared pages count once.

    Raises:
        RuntimeError: it failed.
    """
    peak_kb = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak_kb = max(peak_kb, sum(_pss_kb(pid) for pid in tree(process.pid)))
            time.sleep(_WATCH_S)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}")
    return peak_kb


def _cpu_s(pid: int) -> float:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(ticks) for ticks in after_name[11:15]) / _TICKS_PER_S  # proc_pid_stat(5): utime to cstime


def _pss_kb(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(rollup.partition("\nPss:")[2].split(maxsplit=1)[0] or 0) if "\nPss:" in rollup else 0
