"""Other people's programs in tests: where they are, how to call them, and daemons that leave nothing behind.

A daemon lives in a mount namespace of its own in which the directories it insists on (/run/containerd, …) are
private; its clients are called inside that namespace.  Both vanish when it is ended, by its process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MOMENT_S = 0.3
CGROUP_ROOT = Path("/sys/fs/cgroup")
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # not /usr/local: another docker may be there
_IN_NAMESPACE = """
for directory in $1; do mkdir -p "$directory" && mount -t tmpfs pierhead-test "$directory" || exit 1; done
shift
exec "$@"
"""


def find_program(name: str) -> str:
    """The path of Debian's program ``name``; what a test cannot do without it says with `requires`."""
    program = shutil.which(name, path=_SYSTEM_PATH)
    assert program is not None, f"{name} is not installed"
    return program


def runtime_under_test() -> Path:
    """The OCI runtime program that the conformance tests drive: PIERHEAD_TEST_RUNTIME, or our own."""
    named = os.environ.get("PIERHEAD_TEST_RUNTIME")
    runtime = Path(named) if named else Path(sys.executable).with_name("pier-runtime")
    if not runtime.exists():
        pytest.fail(f"the runtime to test, {runtime}, does not exist (is the project installed here?)")
    return runtime


class Client:
    """A command line with its fixed words, environment and directory: call it with the rest."""

    def __init__(
        self,
        words: Sequence[str | os.PathLike[str]],
        *,
        env: dict[str, str] | None = None,
        cwd: Path = Path("/"),
    ) -> None:
        self.cwd = cwd
        self.words = [os.fspath(word) for word in words]
        self.env = {**os.environ, **(env or {})}

    def result(
        self, *words: str, stdin: str | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """The finished call, whatever its status; output is text."""
        return subprocess.run(
            [*self.words, *words],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=self.env,
            cwd=self.cwd,
        )

    def __call__(self, *words: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """What a successful call printed.

        Raises:
            AssertionError: it failed; the message holds its output.
        """
        result = self.result(*words, stdin=stdin, timeout_s=timeout_s)
        told = f"{' '.join(words)}: status {result.returncode}\n{result.stdout}{result.stderr}"
        assert result.returncode == 0, told
        return result.stdout

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """The call, running, its standard streams piped."""
        return subprocess.Popen(
            [*self.words, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.env,
            cwd=self.cwd,
        )


@contextmanager
def daemon(
    command: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    private: Sequence[str] = (),
    ready: Callable[[int], bool],
    timeout_s: float = 60,
) -> Iterator[int]:
    """A running daemon, as its process id; ended on exit together with what it started in its namespace.

    Args:
        command: its words.
        log: takes its output; shown when it does not become ready.
        private: directories in which it sees an empty tmpfs of its own.
        ready: tells whether the daemon with this process id answers.
        timeout_s: the patience for becoming ready.
    """
    words = ["unshare", "-m", "--propagation", "slave", "sh", "-c", _IN_NAMESPACE, "sh", " ".join(private)]
    made = [directory for directory in map(Path, private) if not directory.exists()]
    with log.open("w") as output:
        process = subprocess.Popen([*words, *command], stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + timeout_s
        while not ready(process.pid):
            assert process.poll() is None, f"the daemon ended:\n{log.read_text()}"
            assert time.monotonic() < deadline_s, f"the daemon does not answer:\n{log.read_text()}"
            time.sleep(0.05)
        yield process.pid
    finally:
        namespace = _mount_namespace(process.pid)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
        _end_inhabitants(namespace)
        for directory in made:
            with suppress(OSError):
                directory.rmdir()


def inside(pid: int, *words: str | os.PathLike[str]) -> list[str]:
    """The words of a command that runs in the mount namespace of process ``pid``."""
    return ["nsenter", "-m", "-t", str(pid), "--", *(os.fspath(word) for word in words)]


def wait_until(condition: Callable[[], object], *, what: str, timeout_s: float = 60) -> None:
    """Returns once ``condition()`` is true; the test fails after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(0.02)


def stays(look: Callable[[], object], *, what: str) -> object:
    """What ``look`` finds once it finds the same for a moment: what was on its way has come."""
    found = object()

    def settled() -> bool:
        nonlocal found
        before, found = found, look()
        if found == before:
            return True
        time.sleep(_MOMENT_S)
        return False

    wait_until(settled, what=what)
    return found


def cgroups_with(part: str) -> list[str]:
    """Cgroups in whose paths this stands; others may come and go meanwhile."""
    return [directory for directory, _, _ in os.walk(CGROUP_ROOT) if part in directory]


def remove_cgroups(name: str) -> list[str]:
    """Removes the cgroup ``name`` below every hierarchy; returns those that still held a process."""
    busy = []
    for top in (CGROUP_ROOT / name, *CGROUP_ROOT.glob(f"*/{name}")):
        for directory, _, _ in os.walk(top, topdown=False):
            try:
                Path(directory).rmdir()
            except OSError as error:
                busy.append(f"{directory}: {error.strerror}")
    return busy


def _mount_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _end_inhabitants(namespace: str) -> None:
    """Kills what still lives in the daemon's mount namespace (shims whose containers were left running)."""
    if namespace in ("", _mount_namespace(os.getpid())):
        return
    for entry in Path("/proc").glob("[0-9]*"):
        if _mount_namespace(int(entry.name)) == namespace:
            with suppress(ProcessLookupError):
                os.kill(int(entry.name), signal.SIGKILL)
