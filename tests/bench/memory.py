"""Cases about memory and number: what an idle container costs, and whether the five-hundredth costs more.

The proportional set size (PSS, /proc/PID/smaps_rollup) divides shared pages among those who share them.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.library import Library
from tests.bench.programs import bare, find_program
from tests.bench.workload import IDLE, Workload, cgroup_path
from tests.support.peers import Client, daemon, inside

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 50
_CONTAINERD_CONFIG = """
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"""


@dataclass(frozen=True)
class Footprint:
    """Memory of one kind of monitor with ``count`` idle containers: mean per container, in kB."""

    name: str
    count: int
    processes: int
    pss_kb: float
    private_kb: float


@dataclass(frozen=True)
class Growth:
    """What each of many containers in one process cost.

    The kernel slows down with their number (cgroup v1 looks through every superblock of its kind at each
    mount, pivot_root through every process), so the bare system calls are measured at the same sizes.

    Fields:
        start_us: entry n is of the (n+1)-th container.
        sizes: numbers of containers at which the following were measured.
        bare_us: start to exit of one more by bare system calls, median of a few.
        monitor_pss_kb: mean of the monitors.
        own_rss_kb: of this process.
    """

    start_us: list[float]
    sizes: list[int]
    bare_us: list[float]
    monitor_pss_kb: list[float]
    own_rss_kb: list[float]

    def flatness(self) -> dict[str, float]:
        """The last containers against the first, in time (by itself, and over the kernel's) and memory."""
        part = min(_STEP, len(self.start_us) // 2)
        first_us, last_us = statistics.median(self.start_us[:part]), statistics.median(self.start_us[-part:])
        return {
            "containers": len(self.start_us),
            "start_ms_first": round(first_us / 1000, 2),
            "start_ms_last": round(last_us / 1000, 2),
            "bare_ms_first": round(self.bare_us[0] / 1000, 2),
            "bare_ms_last": round(self.bare_us[-1] / 1000, 2),
            "start_over_bare_first": round(first_us / self.bare_us[0], 2),
            "start_over_bare_last": round(last_us / self.bare_us[-1], 2),
            "own_part_ms_first": round((first_us - self.bare_us[0]) / 1000, 2),
            "own_part_ms_last": round((last_us - self.bare_us[-1]) / 1000, 2),
            "monitor_pss_kb_first": round(self.monitor_pss_kb[0], 1),
            "monitor_pss_kb_last": round(self.monitor_pss_kb[-1], 1),
            "own_rss_kb_per_container": round(
                (self.own_rss_kb[-1] - self.own_rss_kb[0]) / max(1, self.sizes[-1] - self.sizes[0]), 1
            ),
        }


def measure_footprints(workload: Workload, *, count: int) -> list[Footprint]:
    """Our monitor beside conmon and containerd's shim, each with ``count`` idle containers."""
    footprints = []
    for name, containers in (
        ("pier-init monitor", _monitored),
        ("conmon", _conmon),
        ("containerd-shim-runc-v2", _shims),
    ):
        with containers(workload, count) as monitors:
            time.sleep(1)
            if monitors:
                footprints.append(_footprint(name, count, monitors))
    return footprints


def measure_growth(workload: Workload, *, count: int) -> Growth:
    """``count`` idle containers with monitors, started one after another by this process."""
    library = Library(workload)
    config = library.config("growth", IDLE)
    growth = Growth(start_us=[], sizes=[], bare_us=[], monitor_pss_kb=[], own_rss_kb=[])
    with bare(workload.bare, "run", workload.rootfs, workload.bpf) as system_calls, ExitStack() as stack:
        stack.callback(_remove_parents, cgroup_path("growth"))
        monitors: list[int] = []
        for number in range(count):
            own = config.replace(cgroup_path=cgroup_path(f"growth/{number}"))
            begin_ns = time.perf_counter_ns()
            container = library.start_idle(f"growth-{number}", own, supervise=True)
            growth.start_us.append((time.perf_counter_ns() - begin_ns) / 1000)
            stack.callback(container.delete, force=True)
            monitors.append(container.state.monitor_pid)
            if (number + 1) % _STEP == 0 or number + 1 == count:
                growth.sizes.append(number + 1)
                growth.bare_us.append(statistics.median(system_calls.sample() for _ in range(9)))
                growth.monitor_pss_kb.append(statistics.mean(_read_rollup(pid)["Pss"] for pid in monitors))
                growth.own_rss_kb.append(_read_rollup(os.getpid())["Rss"])
    return growth


def plot_growth(growth: Growth, path: Path) -> None:
    """A picture: start time of each container, and memory per container, over their number."""
    from matplotlib.figure import Figure  # it is large: not in memory while measuring

    figure = Figure(figsize=(9, 7))
    above, below = figure.subplots(2, 1, sharex=True)
    numbers = range(1, len(growth.start_us) + 1)
    above.plot(numbers, [us / 1000 for us in growth.start_us], ".", markersize=3, label="each start")
    window = 25
    smooth = [
        statistics.median(growth.start_us[max(0, at - window) : at + window]) / 1000
        for at in range(len(growth.start_us))
    ]
    above.plot(numbers, smooth, label=f"median of {2 * window}")
    above.plot(growth.sizes, [us / 1000 for us in growth.bare_us], "s-", label="bare, start to exit")
    above.set_ylabel("start, ms")
    above.set_ylim(0, sorted(growth.start_us)[int(len(growth.start_us) * 0.99)] / 1000 * 1.2)
    above.legend()
    above.set_title("Containers in one process")
    below.plot(growth.sizes, growth.monitor_pss_kb, "o-", label="monitor, PSS")
    below.set_ylabel("kB per container")
    below.set_xlabel("containers running")
    below.set_ylim(0)
    below.legend()
    figure.savefig(path, dpi=110)


@contextmanager
def _monitored(workload: Workload, count: int) -> Iterator[list[int]]:
    library = Library(workload)
    config = library.config("idle", IDLE)
    monitors = []
    with ExitStack() as stack:
        for number in range(count):
            own = config.replace(cgroup_path=cgroup_path(f"idle/{number}"))
            container = library.start_idle(f"idle-{number}", own, supervise=True)
            stack.callback(container.delete, force=True)
            monitors.append(container.state.monitor_pid)
        yield monitors
    _remove_parents(cgroup_path("idle"))


@contextmanager
def _conmon(workload: Workload, count: int) -> Iterator[list[int]]:
    """Containers of runc under conmon, called as Podman calls it."""
    conmon, runc = find_program("conmon"), find_program("runc")
    if conmon is None or runc is None:
        yield []
        return
    home = workload.state_directory("conmon")
    client = Client([runc, "--root", home / "state"])
    monitors = []
    with ExitStack() as stack:
        for number in range(count):
            name = f"conmon-{number}"
            bundle = workload.bundle(name, IDLE)
            words = [conmon, "--cid", name, "--cuuid", name, "--name", name, "--runtime", runc]
            words += ["--runtime-arg", "--root", "--runtime-arg", f"{home}/state", "--bundle", f"{bundle}"]
            words += ["--container-pidfile", f"{bundle}/pid", "--conmon-pidfile", f"{bundle}/conmon"]
            words += ["--log-path", f"k8s-file:{bundle}/log", "--exit-dir", f"{home}"]
            words += ["--socket-dir-path", f"{bundle}", "--log-level", "error"]
            subprocess.run(words, check=True, cwd=bundle, stdin=subprocess.DEVNULL)
            stack.callback(client.result, "delete", "-f", name)
            while client.result("start", name).returncode != 0:  # until conmon has created it
                time.sleep(0.01)
            monitors.append(int((bundle / "conmon").read_text()))
        yield monitors


@contextmanager
def _shims(workload: Workload, count: int) -> Iterator[list[int]]:
    """Containers of containerd, each behind its own runc shim."""
    containerd, ctr = find_program("containerd"), find_program("ctr")
    if containerd is None or ctr is None:
        yield []
        return
    home = workload.state_directory("containerd")
    (home / "config.toml").write_text(_CONTAINERD_CONFIG.format(home=home))
    words = [ctr, "-a", f"{home}/containerd.sock", "-n", "bench"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *words)).result("version").returncode == 0

    command = [containerd, "-c", f"{home}/config.toml"]
    with daemon(command, log=home / "log", private=["/run/containerd"], ready=ready) as pid:
        client = Client(inside(pid, *words))
        for number in range(count):
            place = ["--rootfs", "--cgroup", cgroup_path(f"shim/{number}")]
            client("run", "-d", *place, str(workload.rootfs), f"shim-{number}", *IDLE)
        yield [shim for shim in _pids() if os.fsencode(home) in _command_line(shim) and shim != pid]
        for number in range(count):
            client.result("task", "kill", "-s", "SIGKILL", f"shim-{number}")
        for number in range(count):
            client.result("task", "delete", "-f", f"shim-{number}")
    _remove_parents(cgroup_path("shim"))


def _footprint(name: str, count: int, pids: list[int]) -> Footprint:
    rollups = [_read_rollup(pid) for pid in pids]
    private = [rollup["Private_Clean"] + rollup["Private_Dirty"] for rollup in rollups]
    return Footprint(
        name=name,
        count=count,
        processes=len(pids),
        pss_kb=round(sum(rollup["Pss"] for rollup in rollups) / count, 1),
        private_kb=round(sum(private) / count, 1),
    )


def _read_rollup(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _remove_parents(path: str) -> None:
    for directory in Path("/sys/fs/cgroup").glob(f"*{path}"):
        directory.rmdir()
