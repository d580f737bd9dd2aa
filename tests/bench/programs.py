"""The programs that are measured beside Pierhead: the bare system calls, and other people's runtimes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HERE = Path(__file__).parent
_WITHOUT_UNIFIED = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'


class Run(NamedTuple):
    """What a program took: time, and of processors and memory with the processes that it waited for.

    Fields:
        elapsed_us: from its start to the end of the wait.
        cpu_us: of processors.
        peak_kb: resident memory of the largest process.
    """

    elapsed_us: float
    cpu_us: float
    peak_kb: int


class Launcher:
    """Runs commands in a process of its own and tells what each took."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run_us(self, command: Sequence[str]) -> float:
        """Microseconds of one run of ``command``; see ``run``."""
        return self.run(command).elapsed_us

    def run(self, command: Sequence[str]) -> Run:
        """What one run of ``command``, of which the first word is a path, took.

        Raises:
            RuntimeError: it ended with a status other than 0 (its complaint is on standard error).
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(command)) + "\n")
        self._process.stdin.flush()
        status, *figures = self._process.stdout.readline().split() or ["unknown"]
        if status != "0":
            raise RuntimeError(f"{' '.join(command)} ended with status {status}")
        elapsed_us, cpu_us, peak_kb = figures
        return Run(float(elapsed_us), float(cpu_us), int(peak_kb))


@contextmanager
def launcher(*, without_unified: bool = False, without_network: bool = False) -> Iterator[Launcher]:
    """A launcher; ``without_unified`` puts it where crun finds a pure cgroup v1 layout, ``without_network``
    into a network namespace of its own.
    """
    command = [sys.executable, "-IS", os.fspath(_HERE / "launcher.py")]
    if without_unified:
        command = ["unshare", "-m", "sh", "-c", _WITHOUT_UNIFIED, "sh", *command]
    if without_network:
        command = ["unshare", "-n", *command]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield Launcher(process)
        assert process.stdin is not None
        process.stdin.close()


def find_program(name: str) -> str | None:
    """The absolute path of a peer's program, or None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin")


def build_bare(directory: Path) -> Path:
    """The compiled ``bare`` program."""
    program = directory / "bare"
    flags = ["-O2", "-static", "-std=c11", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["cc", *flags, "-o", program, _HERE / "bare.c"], check=True)
    return program


class Bare:
    """A running ``bare`` process; see the head of bare.c."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def sample(self) -> float:
        """Microseconds of one repetition."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"bare ended with status {self._process.wait()}")
        return float(json.loads(answer)["us"])


@contextmanager
def bare(program: Path, *arguments: str | os.PathLike[str]) -> Iterator[Bare]:
    """A ``bare`` process that performs one repetition per request."""
    command = [program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Bare(process)
        assert process.stdin is not None
        process.stdin.close()
