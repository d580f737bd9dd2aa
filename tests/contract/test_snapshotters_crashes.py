"""Snapshotters whose processes are killed, and several at once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import OperationFailed
from tests.contract.conftest import SNAPSHOTTERS
from tests.support.repository import ROOT
from tests.support.requires import requires
from tests.support.snapshots import commit_layer, read_files, shown

if TYPE_CHECKING:
    from pierhead.images.snapshots import Snapshotter

pytestmark = requires("root")

KILLS = 20
BUSY = """
import sys
from contextlib import suppress
from pathlib import Path
from pierhead.errors import PierheadError
from tests.contract.conftest import SNAPSHOTTERS
from tests.support.snapshots import commit_layer, write_files

kind, root, who, rounds = sys.argv[1:]
with SNAPSHOTTERS[kind](root) as snapshotter:
    print("ready", flush=True)
    for number in range(int(rounds)):
        name = f"{who}-{number}"
        shared = f"unpack-shared-{name}"  # nobody takes away what another one is at work on
        with suppress(PierheadError):
            commit_layer(snapshotter, f"shared-{number}", "kept", files={"a": name}, key=shared)
        with suppress(PierheadError):
            snapshotter.remove(shared)
        commit_layer(snapshotter, name, "kept", files={f"dir{each}/file": name for each in range(5)})
        snapshotter.prepare(f"box-{name}", name)
        snapshotter.remove(f"box-{name}")
        snapshotter.remove(name)
"""


def busy(snapshotter: Snapshotter, who: str, rounds: int) -> subprocess.Popen[bytes]:
    """A process that makes and removes snapshots."""
    words = (snapshotter.name, snapshotter.root, who, str(rounds))
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    started = subprocess.Popen(
        [sys.executable, "-c", BUSY, *words], stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert started.stdout
    started.stdout.readline()
    return started


def check_whole(snapshotter: Snapshotter) -> None:
    """Every snapshot has its directory, every directory its snapshot, and what was committed is whole."""
    for info in snapshotter.walk():
        snapshotter.usage(info.name)
        if info.kind == "committed":
            with shown(snapshotter.view("look", info.name)) as root:
                files = read_files(root)
                assert files.pop("etc/kept") == "kept"
                shared = info.name.startswith("shared-")
                assert len(files) == (0 if info.name == "kept" else 1 if shared else 5), info.name
            snapshotter.remove("look")
    named = sum(info.kind != "view" for info in snapshotter.walk())
    names = [name for name in os.listdir(snapshotter.root) if not name.startswith("index.db")]
    assert len(names) == named
    assert not [name for name in names if name.startswith(("new-", "removed-"))]


@pytest.mark.timeout(400)
def test_killed_at_any_moment(snapshotter: Snapshotter) -> None:
    """Whoever comes after a kill -9 finds every committed snapshot whole, and nothing half done."""
    commit_layer(snapshotter, "kept", files={"etc/kept": "kept"})
    seed = random.randrange(1 << 32)
    print(f"random seed {seed}")
    chance = random.Random(seed)
    for number in range(KILLS):
        process = busy(snapshotter, f"p{number}", 1000)
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, 0.08))
        finally:
            process.kill()
            process.communicate()
        with SNAPSHOTTERS[snapshotter.name](snapshotter.root) as again:
            check_whole(again)
            for info in reversed(list(again.walk())):
                if info.name != "kept":
                    again.remove(info.name)


def test_several_processes_at_once(snapshotter: Snapshotter) -> None:
    """Nobody gets in another's way; of those who commit the same one, one does."""
    commit_layer(snapshotter, "kept", files={"etc/kept": "kept"})
    processes = [busy(snapshotter, f"p{number}", 10) for number in range(4)]
    assert [process.wait(250) for process in processes] == [0] * 4
    for process in processes:
        process.communicate()
    names = {info.name for info in snapshotter.walk()}
    assert {f"shared-{number}" for number in range(10)} <= names
    check_whole(snapshotter)


def test_several_threads_at_once(snapshotter: Snapshotter) -> None:
    """One snapshotter serves threads as well: layers of one image are prepared at the same time."""
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for again in range(5):
                commit_layer(snapshotter, f"layer-{number}-{again}", files={"a": ""})
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(list(snapshotter.walk())) == 20


def test_leftovers(snapshotter: Snapshotter) -> None:
    """Directories that nobody has a name for are removed by the next who comes; others' files are not."""
    root = Path(snapshotter.root)
    for name in ("0123456789ab", "new-0123456789ac", "removed-0123456789ad"):
        (root / name / "fs/deep/in").mkdir(parents=True)
    (root / "notes").mkdir()
    commit_layer(snapshotter, "one", files={"a": "1"})
    with SNAPSHOTTERS[snapshotter.name](root) as again:
        assert again.stat("one").kind == "committed"
    assert len([name for name in os.listdir(root) if not name.startswith("index.db")]) == 2
    assert (root / "notes").is_dir()


def test_a_key_is_free_after_a_failure(snapshotter: Snapshotter) -> None:
    """What could not be prepared is not there."""
    commit_layer(snapshotter, "one", files={"a": "1"})
    files = Path(snapshotter.view("look", "one")[0].source)
    files.rename(files.with_name("elsewhere"))
    with pytest.raises(OperationFailed, match="cannot change the snapshots"):
        snapshotter.prepare("box", "one")
    files.with_name("elsewhere").rename(files)
    snapshotter.prepare("box", "one")
