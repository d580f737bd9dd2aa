"""`python -m tests.bench`: Pierhead beside the bare system calls and its peers, in one run on this machine.

Writes bench-results/TIME.json (every sample), bench-results/latest.md (tables) and bench-results/growth.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.bench.engine import PARTS as ENGINE_PARTS
from tests.bench.engine import measure_engine
from tests.bench.images import PARTS, measure_images
from tests.bench.measure import Comparison, describe_machine
from tests.bench.memory import Footprint, Growth, measure_footprints, measure_growth, plot_growth
from tests.bench.starts import compare_execs, compare_starts
from tests.bench.workload import Workload

CASES = ("start", "exec", "memory", "growth", "images", "engine")


def main() -> int:
    """Runs the chosen cases and writes the results."""
    options = _parse_arguments()
    results = Path(options.results)
    results.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    print(machine, flush=True)
    document: dict[str, object] = {"machine": machine, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    pages = [f"# Benchmark\n\n{machine}\n"]
    with (
        tempfile.TemporaryDirectory(prefix="pierhead-bench-") as home,
        tempfile.TemporaryDirectory(prefix="pierhead-bench-", dir="/dev/shm") as states,
    ):
        workload = Workload(Path(home), Path(states))
        for case in options.cases:
            document[case], page = _run_case(case, workload, options, results)
            pages.append(page)
            print(page, flush=True)
    (results / f"{time.strftime('%Y%m%d-%H%M%S')}.json").write_text(json.dumps(document, indent=1) + "\n")
    (results / "latest.md").write_text("\n".join(pages))
    return 0


def _run_case(
    case: str, workload: Workload, options: argparse.Namespace, results: Path
) -> tuple[object, str]:
    if case == "memory":
        footprints = measure_footprints(workload, count=options.idle)
        return [asdict(footprint) for footprint in footprints], _footprint_page(footprints)
    if case == "images":
        return measure_images(
            workload.state_directory("images"),
            results / "images",
            rounds=options.image_rounds,
            parts=tuple(options.parts.split(",")),
        )
    if case == "engine":
        return measure_engine(
            workload.engines,
            rounds=options.engine_rounds,
            number=options.engine_containers,
            log_bytes=options.engine_log_mb * 1_000_000,
            parts=tuple(options.engine_parts.split(",")),
            plot=results / "engine-growth.png",
        )
    if case == "growth":
        growth = measure_growth(workload, count=options.containers)
        plot_growth(growth, results / "growth.png")
        return {**asdict(growth), "flatness": growth.flatness()}, _growth_page(growth)
    compare = compare_starts if case == "start" else compare_execs
    comparisons: list[Comparison] = compare(workload, rounds=options.rounds)
    page = "\n".join(comparison.as_markdown() for comparison in comparisons)
    return {comparison.name: comparison.as_document() for comparison in comparisons}, page


def _footprint_page(footprints: list[Footprint]) -> str:
    lines = [
        "### Memory of an idle container's monitor",
        "",
        "At most 0.35 MB (PSS) each, and none of Python's.",
        "",
        "| | PSS kB | private kB | with containers |",
        "|---|---:|---:|---:|",
    ]
    lines += [f"| {f.name} | {f.pss_kb:.0f} | {f.private_kb:.0f} | {f.count} |" for f in footprints]
    return "\n".join([*lines, ""])


def _growth_page(growth: Growth) -> str:
    lines = ["### Many containers in one process", "", "Start time and memory per container stay flat.", ""]
    lines += ["| | |", "|---|---:|"]
    lines += [f"| {name.replace('_', ' ')} | {value:g} |" for name, value in growth.flatness().items()]
    return "\n".join([*lines, "", "![start time and memory over the number](growth.png)", ""])


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", default=CASES, help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--rounds", type=int, default=40, help="samples of each contender")
    parser.add_argument("--idle", type=int, default=50, help="idle containers for the memory case")
    parser.add_argument("--containers", type=int, default=500, help="containers for the growth case")
    parser.add_argument("--image-rounds", type=int, default=3, help="samples of each in the images case")
    parser.add_argument("--parts", default=",".join(PARTS), help="of the images case; all by default")
    parser.add_argument("--engine-rounds", type=int, default=15, help="samples of each in the engine case")
    parser.add_argument("--engine-containers", type=int, default=300, help="of its growth part")
    parser.add_argument("--engine-log-mb", type=int, default=200, help="of its logs part")
    parser.add_argument("--engine-parts", default=",".join(ENGINE_PARTS), help="of it; all by default")
    parser.add_argument("--results", default="bench-results", help="directory of the results")
    options = parser.parse_args()
    for what, chosen, known in (
        ("case", options.cases, CASES),
        ("part", options.parts.split(","), PARTS),
        ("part of the engine case", options.engine_parts.split(","), ENGINE_PARTS),
    ):
        unknown = sorted(set(chosen) - set(known))
        if unknown:
            parser.error(f"no {what} {unknown[0]}; there are {', '.join(known)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
