"""Side-by-side measuring: contenders take turns in one run, so that a noisy moment hits them all.

A contender is a name and a function that performs one repetition and returns its microseconds.  Figures are
medians and minima; a ratio is of medians, to the contender named as the reference.
"""

from __future__ import annotations

import gc
import os
import platform
import random
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Contender:
    """One side of a comparison; ``sample`` performs one repetition and returns its microseconds."""

    name: str
    sample: Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """The outcome of one case: samples in microseconds by contender, and whom they are compared with."""

    name: str
    claim: str
    reference: str
    samples_us: dict[str, list[float]]
    notes: list[str] = field(default_factory=list)

    def median_us(self, contender: str) -> float:
        """The middle of the contender's samples."""
        return statistics.median(self.samples_us[contender])

    def figures(self) -> dict[str, dict[str, float]]:
        """Per contender: median_us, min_us, p90_us and ratio (of medians, to the reference)."""
        reference_us = self.median_us(self.reference)
        return {
            name: {
                "median_us": round(statistics.median(samples), 1),
                "min_us": round(min(samples), 1),
                "p90_us": round(sorted(samples)[int(len(samples) * 0.9)], 1),
                "ratio": round(statistics.median(samples) / reference_us, 2),
            }
            for name, samples in self.samples_us.items()
        }

    def as_document(self) -> dict[str, object]:
        """What is kept in the results file."""
        return {
            "claim": self.claim,
            "reference": self.reference,
            "figures": self.figures(),
            "notes": self.notes,
            "samples_us": {name: [round(s, 1) for s in samples] for name, samples in self.samples_us.items()},
        }

    def as_markdown(self) -> str:
        """A table for people: milliseconds, in the order of the contenders."""
        lines = [f"### {self.name}", "", self.claim, ""]
        lines += [
            f"| | median ms | min ms | p90 ms | of {self.reference} |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, figure in self.figures().items():
            times = " | ".join(f"{figure[key] / 1000:.2f}" for key in ("median_us", "min_us", "p90_us"))
            lines.append(f"| {name} | {times} | {figure['ratio']:.2f} |")
        lines += [f"\n{note}" for note in self.notes]
        return "\n".join([*lines, ""])


def interleave(contenders: Sequence[Contender], *, rounds: int, warmup: int = 3) -> dict[str, list[float]]:
    """Samples of each contender, taken in turns after ``warmup`` untold rounds.

    Every round has an order of its own (the same in every run): nobody always follows the same one.
    """
    samples: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    order = random.Random(1)
    for turn in range(warmup + rounds):
        gc.collect()
        for contender in order.sample(contenders, len(contenders)):
            elapsed_us = contender.sample()
            if turn >= warmup:
                samples[contender.name].append(elapsed_us)
    return samples


def timed_us(action: Callable[[], object]) -> float:
    """Microseconds that ``action`` takes."""
    begin_ns = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - begin_ns) / 1000


def describe_machine() -> str:
    """One line: processor, kernel, memory, Python, cgroup layout, load at this moment."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_kb = int(Path("/proc/meminfo").read_text().split()[1])
    layout = "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1"
    if layout == "v1" and Path("/sys/fs/cgroup/unified").exists():
        layout = "hybrid"
    return (
        f"{os.cpu_count()} x {model}, {memory_kb >> 20} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, cgroup {layout}, load {os.getloadavg()[0]:.1f}"
    )
