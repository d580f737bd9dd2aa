"""``delete --force`` of what cannot be loaded: traces of launchers, states in pieces, things of others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.linux import cgroupfs
from tests.support.commands import Runtime
from tests.support.containers import wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        runtime.root.mkdir(mode=0o711)
        yield runtime


def test_a_launcher_that_was_killed(runtime: Runtime) -> None:
    """Whenever it was killed, force leaves nothing, and the id can be used again."""
    bundle = runtime.bundle()
    for moment_s in (0, 0.005, 0.01, 0.02, 0.04):
        name = runtime.id()
        null = subprocess.DEVNULL
        with subprocess.Popen(
            [*runtime.words, "create", "--bundle", bundle, name], stdin=null, stdout=null, stderr=null
        ) as launcher:
            while not (runtime.root / name).exists():
                assert launcher.poll() is None
            time.sleep(moment_s)
            launcher.kill()
        runtime("delete", "--force", name)
        assert not (runtime.root / name).exists()
        assert runtime.result("run", "--bundle", bundle, name).returncode == 0


@pytest.mark.parametrize("mode", [0o711, 0o710, 0o700])
def test_traces_of_a_launcher(runtime: Runtime, mode: int) -> None:
    """A directory without a state, whatever the umask was that it was made with, stands in nobody's way."""
    name = runtime.id()
    for way in ("delete", "run"):
        (runtime.root / name).mkdir()
        (runtime.root / name).chmod(mode)
        (runtime.root / name / ".state.json.new").touch()
        if way == "delete":
            runtime("delete", "--force", name)
            assert not (runtime.root / name).exists()
        else:
            assert runtime.result("run", "--bundle", runtime.bundle(), name).returncode == 0


def test_an_empty_directory_of_another(runtime: Runtime) -> None:
    """It is no trace, so nobody sweeps it; whoever forces its deletion loses nothing."""
    directory = runtime.root / runtime.id()
    directory.mkdir()
    directory.chmod(0o755)
    runtime("list")
    assert "already exists" in runtime.result("run", "--bundle", runtime.bundle(), directory.name).stderr
    assert runtime.result("delete", directory.name).returncode == 1
    runtime("delete", "--force", directory.name)
    assert not directory.exists()


def test_a_directory_with_something_in_it(runtime: Runtime) -> None:
    """It is not deleted, and not passed over in silence."""
    directory = runtime.root / runtime.id()
    directory.mkdir()
    (directory / "precious").touch()
    result = runtime.result("delete", "--force", directory.name)
    assert result.returncode == 1
    assert f"{directory} is no container's: it holds precious" in result.stderr
    assert (directory / "precious").exists()


def test_nothing_at_all(runtime: Runtime) -> None:
    """There is nothing to do, which is no error with force."""
    assert runtime("delete", "--force", runtime.id()) == ""


def _cut(text: str) -> str:
    return text[: text.index('"config"')]


@pytest.mark.parametrize("broken", [_cut, lambda _: "{}", lambda _: "no JSON", lambda text: text[:40]])
def test_a_state_in_pieces(runtime: Runtime, broken: object) -> None:
    """The processes are found by what can be read of it, or by the usual place of the cgroup."""
    name = runtime.running("sh", "-c", "sleep 1000 & sleep 1000")
    pid = runtime.state(name)["pid"]
    path = runtime.root / name / "state.json"
    path.write_text(broken(path.read_text()))  # type: ignore[operator]
    assert runtime.result("delete", name).returncode == 1
    runtime("delete", "--force", name)
    # a process leaves its cgroup, for which delete waits, a moment before it is a zombie
    wait_until("its process is dead", lambda: not _is_running(pid))
    assert not (runtime.root / name).exists()
    left = [
        tree.mountpoint for tree in cgroupfs.discover().trees if os.path.exists(f"{tree.mountpoint}/{name}")
    ]
    assert not left


def test_a_cgroup_of_others(runtime: Runtime) -> None:
    """Where the state says nothing, a process that is in no container is not killed for its cgroup's name."""
    name = runtime.id()
    directory = runtime.root / name
    directory.mkdir(mode=0o711)
    (directory / "state.json").write_text("{}")
    tree = next(tree for tree in cgroupfs.discover().trees if "pids" in tree.controllers)
    cgroup = Path(tree.mountpoint, name)
    cgroup.mkdir()
    with subprocess.Popen(["sleep", "1000"]) as other:
        (cgroup / "cgroup.procs").write_text(str(other.pid))
        result = runtime.result("delete", "--force", name)
        assert result.returncode == 1
        assert f"process {other.pid} in it is in no container" in result.stderr
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)
    runtime("delete", "--force", name)
    assert not directory.exists()
    assert not cgroup.exists()


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_hook_ends_with_its_launcher(runtime: Runtime, tmp_path: Path, number: signal.Signals) -> None:
    """A launcher that is asked to end while a hook runs ends the hook first, and everything is undone."""
    note = tmp_path / "hook"
    script = f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 1000"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}
    bundle, name = runtime.bundle(hooks={"createRuntime": [hook]}), runtime.id()
    null = subprocess.DEVNULL
    heeding = ["env", "--default-signal=TERM,HUP,INT"]  # whoever started us may have had them ignored
    with subprocess.Popen(
        [*heeding, *runtime.words, "create", "--bundle", bundle, name], stdin=null, stdout=null, stderr=null
    ) as launcher:
        wait_until("the hook runs", note.exists)
        launcher.send_signal(number)
        assert launcher.wait(60) == (130 if number == signal.SIGINT else -number)
    assert not _is_running(int(note.read_text()))
    assert not (runtime.root / name).exists()
