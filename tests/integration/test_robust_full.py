"""A full disk, a full table of processes or of descriptors: one clear sentence, and nothing is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import OperationFailed, PierheadError, TimedOut
from pierhead.linux.cgroupfs import discover, remove
from pierhead.oci.runtime import Pids, Resources
from pierhead.runtime import ProcessSpec, Stdio, create, list_ids, load, run
from tests.support.containers import ENV, SLEEP, Containers
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

FULL = "no space left on device"
FILES = 40
BYTES = 256 << 10
MOST = 12
"""More files than a container has in its state directory."""


class Disk:
    """A small disk for states."""

    def __init__(self, root: Path) -> None:
        """Args: root is where it is mounted."""
        self.root = str(root)
        self._fillers: list[Path] = []

    def fill(self, *, leave_files: int = 0) -> None:
        """No byte is left, or no more files than these."""
        if not leave_files:
            self._fillers.append(Path(self.root, ".bytes"))
            with contextlib.suppress(OSError), self._fillers[-1].open("wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
        with contextlib.suppress(OSError):
            while leave_files:
                filler = Path(self.root, f".file{len(self._fillers)}")
                filler.touch()
                self._fillers.append(filler)
        for _ in range(leave_files):
            self._fillers.pop().unlink(missing_ok=True)

    def free(self) -> None:
        """All that filled it is gone."""
        while self._fillers:
            self._fillers.pop().unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of 256 KiB and 40 files."""
    root = tmp_path / "disk"
    root.mkdir()
    options = f"size={BYTES},nr_inodes={FILES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "pierhead-test", root], check=True)
    made = Disk(root)
    try:
        yield made
        made.free()
        for name in list_ids(root):
            load(root, name).delete(force=True)
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


def assert_one_sentence(error: PierheadError, reason: str) -> None:
    """The error names what failed and says why, and no more."""
    assert reason in str(error)
    assert "\n" not in str(error)
    assert not str(error).endswith(".")
    assert len(str(error)) < 250


@pytest.mark.parametrize("make", [create, run])
@pytest.mark.parametrize("supervise", [False, True])
def test_a_full_disk_while_a_container_is_made(
    containers: Containers, disk: Disk, make: Any, *, supervise: bool
) -> None:
    """Whichever file of the state is the first for which there is no room, the container is not made and
    nothing of it is left.
    """
    config = containers.config(args=SLEEP)
    failures = 0
    for files in range(MOST):
        disk.fill(leave_files=files)
        name = containers.id()
        failure: OperationFailed | None = None
        try:
            make(disk.root, name, config, stdio=Stdio.null(), supervise=supervise).delete(force=True)
        except OperationFailed as error:
            failure = error
        assert list_ids(disk.root) == []
        assert not Path(disk.root, name).exists()
        if failure is not None:
            failures += 1
            assert failure.errno == errno.ENOSPC
            assert_one_sentence(failure, FULL)
            assert not getattr(failure, "__notes__", ())
        disk.free()
    assert 2 <= failures < MOST


@requires("pids-controller")
def test_a_full_disk_at_an_update(containers: Containers, disk: Disk) -> None:
    """A limit that cannot be noted down is not set either, and can be once there is room."""
    config = containers.config(args=SLEEP, resources=Resources(pids=Pids(limit=50)))
    container = run(disk.root, containers.id(), config, stdio=Stdio.null())
    disk.fill()
    with pytest.raises(OperationFailed, match=rf"state\.json: {FULL}"):
        container.update(Resources(pids=Pids(limit=60)))
    assert limit_in_force(container) == (50, 50)
    disk.free()
    container.update(Resources(pids=Pids(limit=60)))
    assert limit_in_force(container) == (60, 60)
    container.delete(force=True)


def limit_in_force(container: Any) -> tuple[int, int]:
    """The limit of processes as the kernel has it, and as it is noted down."""
    noted: Any = load(container.root, container.id).config.resources.pids
    return container.stats().pids.limit, noted.limit


def test_a_full_disk_at_exec(containers: Containers, disk: Disk) -> None:
    """A process whose monitor has no room for its socket does not run; one without a monitor needs none."""
    container = run(disk.root, containers.id(), containers.config(args=SLEEP), stdio=Stdio.null())
    disk.fill()
    disk.fill(leave_files=1)
    Path(disk.root, "last").touch()
    with pytest.raises(OperationFailed, match=FULL) as caught:
        container.exec(ProcessSpec(args=SLEEP, env=ENV), stdio=Stdio.null(), exec_id="further")
    assert_one_sentence(caught.value, FULL)
    assert container.processes() == [container.init_pid]
    assert containers.exec(container, "echo said").output == "said\n"
    Path(disk.root, "last").unlink()
    container.delete(force=True)


def test_a_full_disk_at_the_end(containers: Containers, disk: Disk) -> None:
    """Who launched a process learns of its end, although it cannot be recorded; who else waits for it
    waits no longer than they want to, and learns of it when there is room.
    """
    config = containers.config(args=SLEEP)
    container = run(disk.root, containers.id(), config, stdio=Stdio.null(), supervise=True)
    disk.fill()
    container.kill(9)
    began = time.monotonic()
    found = load(disk.root, container.id)
    with pytest.raises(TimedOut, match="its monitor has not recorded how"):
        found.wait(0.5)
    assert time.monotonic() - began < 30
    assert container.wait(60).signal == 9
    disk.free()
    assert found.wait(60).signal == 9
    found.close()
    container.delete()


def test_a_log_that_cannot_be_written(containers: Containers, disk: Disk) -> None:
    """A container is not made whose log has no place."""
    disk.fill(leave_files=1)
    Path(disk.root, "last").touch()
    stdio = Stdio.kept(f"{disk.root}/log")
    with pytest.raises(OperationFailed, match=f"cannot write the log: {disk.root}/log: {FULL}"):
        containers.start(args=SLEEP, options={"stdio": stdio, "supervise": True})
    assert list_ids(containers.root) == []
    Path(disk.root, "last").unlink()


IN_A_FULL_TABLE = """
import errno, json, os, resource, sys
from pierhead.errors import PierheadError
from pierhead.oci.runtime import Pids, Resources
from pierhead.runtime import Config, ProcessSpec, Stdio, create, load, run
from pierhead.runtime import list_ids

root, rootfs, table, prefix = sys.argv[1:]
config = Config(rootfs=rootfs, process=ProcessSpec(args=("/bin/sleep", "1000")))
true = ProcessSpec(args=("/bin/true",))
standing = run(root, f"{prefix}-standing", config, stdio=Stdio.null(), supervise=True)
number = 0

def narrow(room):
    if table == "descriptors":
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + room, HARD))
    else:
        open(f"{table}/pids.max", "w").write(str(PROCESSES + room))

def widen():
    if table == "descriptors":
        resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    else:
        open(f"{table}/pids.max", "w").write("max")

def make(verb, **options):
    made.append(verb(root, f"{prefix}-{number}", config, stdio=Stdio.null(), **options))

VERBS = {
    "create": lambda: make(create),
    "run": lambda: make(run, supervise=True),
    "exec": lambda: standing.exec(true, stdio=Stdio.null()).wait(60),
    "exec supervised": lambda: standing.exec(true, stdio=Stdio.null(), exec_id=f"x{number}").wait(60),
    "start": lambda: waiting.start(),
    "update": lambda: standing.update(Resources(pids=Pids(limit=100 + number))),
    "pause": lambda: (standing.pause(), standing.resume()),
    "load": lambda: load(root, standing.id).status,
    "stats": lambda: standing.stats(),
    "list": lambda: standing.processes(),
    "wait": lambda: load(root, ended.id).wait(60),
    "delete": lambda: waiting.delete(),
}
ended = run(root, f"{prefix}-ended", config, stdio=Stdio.null(), supervise=True)
ended.kill(9)
ended.wait(60)
if table == "descriptors":
    HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
else:
    open(f"{table}/cgroup.procs", "w").write(str(os.getpid()))
    PROCESSES = 1
for verb in VERBS:
    said = []
    for room in range(40):
        number += 1
        made = []
        waiting = create(root, f"{prefix}-waiting-{number}", config, stdio=Stdio.null())
        narrow(room)
        try:
            VERBS[verb]()
        except PierheadError as error:
            outcome = [type(error).__name__, str(error), [*getattr(error, "__notes__", ())]]
        except BaseException as error:
            outcome = ["raw", repr(error), []]
        else:
            outcome = ["ok", "", []]
        finally:
            widen()
        said.append(outcome)
        if standing.status == "paused":
            standing.resume()
        for each in (waiting, *made):
            if each.id in list_ids(root):
                each.delete(force=True)
        said[-1].append(sorted(list_ids(root)) == [f"{prefix}-ended", f"{prefix}-standing"])
        if outcome[0] == "ok" and room > 3 and said[-2][0] == said[-3][0] == "ok":
            break
    print(json.dumps([verb, said]), flush=True)
standing.delete(force=True)
ended.delete()
"""


def outcomes_in(table: str, containers: Containers) -> dict[str, list[tuple[str, str, list[str], bool]]]:
    """How each verb ended with room for 0, 1, 2, … more in the table: kind and words of the error, what was
    noted on it, and whether nothing was left.
    """
    result = subprocess.run(
        [sys.executable, "-c", IN_A_FULL_TABLE, containers.root, containers.rootfs, table, containers.id()],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return dict(json.loads(line) for line in result.stdout.splitlines())


def assert_clear(found: dict[str, list[tuple[str, str, list[str], bool]]], reasons: tuple[str, ...]) -> None:
    """Each verb works or says that the table is full, and leaves nothing where it fails."""
    for verb, outcomes in found.items():
        assert outcomes[-1][0] == "ok", (verb, outcomes)
        for kind, words, notes, clean in outcomes:
            said = f"{verb}: {kind}: {words} {notes}"
            assert clean, said
            if kind != "ok":
                assert kind != "raw", said
                assert any(reason in words for reason in reasons), said
                assert "\n" not in words, said
                assert not words.endswith("."), said


def test_a_full_table_of_descriptors(containers: Containers) -> None:
    """With any number of descriptors left, every verb works, or says that too many files are open."""
    found = outcomes_in("descriptors", containers)
    assert_clear(found, ("too many open files", "no more files can be watched"))
    assert sum(kind != "ok" for outcomes in found.values() for kind, *_ in outcomes) > 20


@pytest.fixture
def process_table() -> Iterator[str]:
    """A cgroup whose number of processes can be limited."""
    tree = discover().find("pids")
    assert tree is not None
    directory = f"{tree.directory(tree.own_path or '/').rstrip('/')}/pierhead-test-{os.getpid()}-table"
    os.mkdir(directory)
    yield directory
    remove(directory, timeout_s=60.0)  # a monitor may outlive its container by a moment


@requires("cgroup-v1", "pids-controller")
def test_a_full_table_of_processes(containers: Containers, process_table: str) -> None:
    """With any number of processes left, every verb works, or says that there can be no more."""
    found = outcomes_in(process_table, containers)
    assert_clear(found, ("resource temporarily unavailable",))
    assert sum(kind != "ok" for outcomes in found.values() for kind, *_ in outcomes) > 4
