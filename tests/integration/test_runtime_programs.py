"""Programs that are no good runtimes, under our monitor: what is left of them, and what is said.

They are scripts; the real ones have tests in ``tests/integration/engine``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pierhead.errors import OperationFailed
from pierhead.runtime import Config, Container, ProcessSpec, RootOverlay, Stdio, load
from pierhead.runtime.programs.creation import create, run, sweep_bundles
from pierhead.runtime.programs.program import Program
from tests.support.requires import requires

pytestmark = requires("root", "busybox")
_SCRIPT = """#!/bin/busybox sh
while [ $# -gt 0 ]; do
    case $1 in
    --log) log=$2; shift ;;
    --pid-file) pid_file=$2; shift ;;
    --root | --log-format | --bundle) shift ;;
    *) words="$words $1" ;;
    esac
    shift
done
echo $words >> {calls}
case $words in
" create"*)
    {create}
    ;;
esac
"""
_LAUNCH = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.integration.test_runtime_programs import Runtime
Runtime(Path(sys.argv[1])).create()
"""


class Runtime:
    """A program of a test's own, and containers that it is to make."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "program"
        self.calls = directory / "calls"
        self.bundle = directory / "programs/web"
        (directory / "rootfs").mkdir(exist_ok=True)

    def write(self, create: str) -> None:
        """What it does to create."""
        self.program.write_text(_SCRIPT.format(calls=self.calls, create=create))
        self.program.chmod(0o755)

    def leave(self, script: str) -> None:
        """To create it leaves a process that does this when it is started: none that may be gone by then."""
        started = self.directory / "started"
        waiting = f"until test -e {started}; do sleep 0.02; done"
        self.write(f"({waiting}; {script}) & echo $! > $pid_file;; ' start'*) touch {started}")

    def create(self, *, gate: bool = True, overlay: RootOverlay | None = None) -> Container:
        """It has made a container, as far as it can."""
        rootfs, process = str(self.directory / "rootfs"), ProcessSpec(args=("true",))
        config = Config(rootfs=rootfs, process=process, root_overlay=overlay)
        program = Program(command=(str(self.program),), bundle=str(self.bundle))
        make = create if gate else run
        stdio = Stdio.kept(str(self.directory / "log"))
        return make(str(self.directory / "state"), "web", config, program, stdio=stdio)

    def is_clean(self) -> bool:
        """Nothing is left of the container."""
        return not self.bundle.exists() and not (self.directory / "state/web").exists()


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    """In a directory of the test's."""
    return Runtime(tmp_path)


def test_what_it_leaves_behind_is_ours(runtime: Runtime) -> None:
    """Its orphan is the container's first process: output, exit code and end come by our monitor."""
    runtime.leave("echo from within; exit 7")
    container = runtime.create(gate=False)
    assert container.wait(60).code == 7
    assert '"from within\\n"' in (runtime.directory / "log").read_text()
    load(runtime.directory / "state", "web").delete(force=True)
    container.close()
    assert runtime.calls.read_text().split("\n") == ["create web", "start web", "delete --force web", ""]
    assert runtime.is_clean()


@pytest.mark.parametrize("name", ["a\\b", f"{'x' * 200}/{'y' * 200}"])
def test_layers_with_odd_names(runtime: Runtime, name: str) -> None:
    """Layers whose paths overlayfs does not take are mounted for the program, and nowhere else."""
    layers = runtime.directory / name / "1", runtime.directory / name / "2"
    for layer in layers:
        layer.mkdir(parents=True)
        (layer / f"of-{layer.name}").touch()
    runtime.leave("""ls $(sed 's/.*"path":"\\([^"]*rootfs[^"]*\\)".*/\\1/' config.json)""")
    container = runtime.create(gate=False, overlay=RootOverlay(lower=tuple(map(str, layers))))
    container.wait(60)
    text = (runtime.directory / "log").read_text()
    assert "of-1" in text
    assert "of-2" in text
    assert not any((runtime.directory / "rootfs").iterdir())
    container.delete(force=True)
    container.close()


@pytest.mark.parametrize(
    ("create", "message"),
    [
        ("exit 3", "program create failed: it did not say why"),
        ("kill -9 $$", "program create failed: it did not say why"),
        ("""echo '{"level":"error","msg":"no luck."}' > $log; exit 1""", "program create failed: no luck"),
        ("true", "program create left no process to be looked after: "),
        ("echo 1 > $pid_file", "program create left no process to be looked after: "),
        ("echo words > $pid_file", "program create left no process to be looked after: "),
    ],
)
def test_what_it_does_wrong(runtime: Runtime, create: str, message: str) -> None:
    """A program that fails, or leaves what is not its own, makes no container; nothing is left or logged."""
    runtime.write(f"echo noise; {create}")
    with pytest.raises(OperationFailed) as caught:
        runtime.create()
    assert caught.value.message.startswith(message)
    assert runtime.is_clean()
    assert not (runtime.directory / "log").read_text()


def test_start_that_fails(runtime: Runtime) -> None:
    """What waited for its start is ended."""
    runtime.write("sleep 1000 & echo $! > $pid_file; exit 0;; ' start'*) exit 1")
    with pytest.raises(OperationFailed, match="program start failed"):
        runtime.create(gate=False)
    assert runtime.is_clean()


def test_launcher_is_killed(runtime: Runtime) -> None:
    """A program at work ends with who launched it; what it had made is found and removed by the next."""
    runtime.write("echo $$ > pid; exec sleep 1000")
    text = _LAUNCH.format(path=sys.path)
    told = runtime.bundle / "pid"
    with subprocess.Popen([sys.executable, "-c", text, str(runtime.directory)]) as launcher:
        try:
            while not (told.exists() and told.read_text().endswith("\n")):
                time.sleep(0.01)
            program = int(told.read_text())
        finally:
            launcher.kill()
    while Path(f"/proc/{program}/exe").exists() or (runtime.directory / "state/web").exists():
        time.sleep(0.01)
    sweep_bundles(str(runtime.bundle.parent), frozenset())
    assert runtime.calls.read_text().split("\n")[1] == "delete --force web"
    assert runtime.is_clean()


def test_secrets_stay(runtime: Runtime) -> None:
    """Nobody else can read a container's environment from its bundle."""
    runtime.write("sleep 1000 & echo $! > $pid_file")
    container = runtime.create()
    assert os.stat(runtime.bundle).st_mode & 0o777 == 0o700
    container.delete(force=True)
