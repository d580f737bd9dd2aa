"""OCI runtimes as contenders: their command lines, and containers of theirs that keep running."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Contender
from tests.bench.programs import Launcher, find_program, launcher
from tests.bench.workload import IDLE, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Runtime:
    """An OCI runtime program, where it keeps its state, and the launcher that it is started by."""

    name: str
    program: str
    state: Path
    launcher: Launcher

    def command(self, *words: str | os.PathLike[str]) -> list[str]:
        """The whole command line."""
        return [self.program, "--root", os.fspath(self.state), *(os.fspath(word) for word in words)]

    def run_us(self, *words: str | os.PathLike[str]) -> float:
        """Microseconds of one run of the command, from spawn to the end of the wait."""
        return self.launcher.run_us(self.command(*words))

    def contend_run(self, workload: Workload) -> Contender:
        """`run` of /bin/true: start, wait, remove, in one process."""
        bundle = workload.bundle(f"{self.name}-run")
        return Contender(f"{self.name} run", lambda: self.run_us("run", "-b", bundle, f"{self.name}-run"))

    def contend_exec(self, container: str) -> Contender:
        """`exec` of /bin/true in a running container."""
        return Contender(f"{self.name} exec", lambda: self.run_us("exec", container, "/bin/true"))

    @contextmanager
    def idle_container(self, workload: Workload) -> Iterator[str]:
        """The id of a container that sleeps until the end of the block."""
        name = f"{self.name}-idle"
        self.run_us("run", "-d", "-b", workload.bundle(name, IDLE), name)
        try:
            yield name
        finally:
            self.run_us("delete", "-f", name)


@contextmanager
def runtimes(workload: Workload) -> Iterator[list[Runtime]]:
    """Ours and the peers' that are installed; crun where it cannot see the hybrid hierarchy's cgroup2."""
    programs = {
        "pier-runtime": str(Path(sys.executable).with_name("pier-runtime")),
        "crun": find_program("crun"),
        "runc": find_program("runc"),
    }
    with ExitStack() as stack:
        usual = stack.enter_context(launcher())
        found = []
        for name, program in programs.items():
            if program is None or not Path(program).exists():
                continue
            own = stack.enter_context(launcher(without_unified=True)) if name == "crun" else usual
            found.append(Runtime(name, program, workload.state_directory(f"state-{name}"), own))
        yield found
