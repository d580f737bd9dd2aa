"""Many containers at once, and many programs at one container."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.runtime import Stdio, create, list_ids, load
from tests.support.containers import SLEEP, Containers, status_of, wait_until
from tests.support.requires import requires
from tests.support.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

MANY = 200
THREADS = 16
DESCRIPTORS_EACH = 2
"""A pidfd and the state directory."""
ROUNDS = 8

CREATE_MANY = """
import sys
from pierhead.runtime import Config, ProcessSpec, Stdio, create, load
root, rootfs, prefix, count, verb = sys.argv[1:]
config = Config(rootfs=rootfs, process=ProcessSpec(args=("/bin/sleep", "1000")))
for number in range(int(count)):
    if verb == "create":
        create(root, f"{prefix}-{number}", config, stdio=Stdio.null()).start()
    else:
        load(root, f"{prefix}-{number}").delete(force=True)
"""


@pytest.fixture(scope="module")
def workers(shared_rootfs: Path) -> Iterator[Workers]:
    """Three processes."""
    with Workers(3, str(shared_rootfs)) as made:
        yield made


def test_two_hundred_containers_in_one_program(containers: Containers) -> None:
    """200 containers are created, started and deleted by 16 threads; each holds two descriptors and a process
    while it lives, and nothing is left of any.
    """
    config = containers.config(args=SLEEP)
    names = [containers.id() for _ in range(MANY)]
    before = len(os.listdir("/proc/self/fd"))
    with ThreadPoolExecutor(THREADS) as pool:
        made = list(pool.map(lambda name: create(containers.root, name, config, stdio=Stdio.null()), names))
        assert list_ids(containers.root) == sorted(names)
        list(pool.map(lambda container: container.start(), made))
        assert {container.status for container in made} == {"running"}
        assert len({container.init_pid for container in made}) == MANY
        assert len(os.listdir("/proc/self/fd")) <= before + MANY * DESCRIPTORS_EACH + THREADS
        list(pool.map(lambda container: container.delete(force=True), made))
    assert list_ids(containers.root) == []


def test_two_hundred_containers_of_several_programs(containers: Containers) -> None:
    """Four programs create and start 50 containers each under one root at the same time; a later four delete
    them.
    """
    prefixes = [containers.id() for _ in range(4)]
    for verb, left in (("create", MANY), ("delete", 0)):
        programs = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", CREATE_MANY),
                    *(containers.root, containers.rootfs, prefix, str(MANY // 4), verb),
                ],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for prefix in prefixes
        ]
        assert [program.wait(250) for program in programs] == [0, 0, 0, 0]
        assert len(list_ids(containers.root)) == left


def assert_one_winner(outcomes: list[str], loser: str) -> None:
    """One has done it, and the others say why not."""
    assert sorted(outcomes, reverse=True) == ["ok"] + [loser] * (len(outcomes) - 1)


def test_one_of_several_creates(containers: Containers, workers: Workers) -> None:
    """Of programs that create the same container one does; to the others the id is taken."""
    for _ in range(ROUNDS):
        name = containers.id()
        assert_one_winner(
            workers.at_once(containers.root, name, "create", "create", "create"), "Conflict container-exists"
        )
        load(containers.root, name).delete()


def test_one_of_several_starts(containers: Containers, workers: Workers) -> None:
    """Of programs that start the same container one does; to the others it is running already."""
    for _ in range(ROUNDS):
        container = containers.create(args=SLEEP)
        assert_one_winner(
            workers.at_once(containers.root, container.id, "start", "start", "start"), "Conflict not-created"
        )
        assert container.status == "running"
        container.delete(force=True)


def test_one_of_several_deletes(containers: Containers, workers: Workers) -> None:
    """Of programs that delete the same container one does; to the others there is none."""
    for _ in range(ROUNDS):
        container = containers.running()
        verbs = ["delete by force"] * 3
        assert_one_winner(
            workers.at_once(containers.root, container.id, *verbs), "NotFound container-not-found"
        )
        container.close()


def test_kill_and_delete(containers: Containers, workers: Workers) -> None:
    """A delete beside a kill finds the container running, and refuses, or stopped."""
    for _ in range(ROUNDS):
        container = containers.running()
        killed, deleted = workers.at_once(containers.root, container.id, "kill", "delete")
        assert killed == "ok"
        assert deleted in ("ok", "Conflict not-stopped")
        container.wait(60)
        if deleted != "ok":
            container.delete()
        assert list_ids(containers.root) == []


@requires("memory-controller", "pids-controller")
def test_two_updates(containers: Containers, workers: Workers) -> None:
    """Two updates of different limits are both in force, and neither loses the other's note."""
    for _ in range(ROUNDS):
        container = containers.running()
        outcomes = workers.at_once(containers.root, container.id, "limit processes", "limit memory")
        assert outcomes == ["ok", "ok"]
        noted = load(containers.root, container.id).config.resources
        assert noted.pids is not None
        assert noted.memory is not None
        assert (noted.pids.limit, noted.memory.limit) == (77, 77 << 20)
        stats = container.stats()
        assert stats.pids is not None
        assert stats.memory is not None
        assert (stats.pids.limit, stats.memory.usage.limit) == (77, 77 << 20)
        container.delete(force=True)


def test_exec_and_delete(containers: Containers, workers: Workers) -> None:
    """A process that joins while the container is deleted is in time, and dies with it, or is refused."""
    refusals = ("Conflict", "NotFound", "LaunchFailed", "BornDead")
    for _ in range(ROUNDS):
        container = containers.running()
        first, second, deleted = workers.at_once(
            containers.root, container.id, "exec", "exec", "delete by force"
        )
        assert deleted == "ok"
        for joined in (first, second):
            assert joined.partition(" ")[0] in ("ok", *refusals), joined
        for directory in container.cgroup_paths.values():
            assert not Path(directory).exists()
        container.close()


def test_pause_and_resume(containers: Containers, workers: Workers) -> None:
    """Beside a pause a resume finds the container paused, or refuses; of two pauses one is refused."""
    for _ in range(ROUNDS):
        container = containers.running()
        one, other, resumed = workers.at_once(containers.root, container.id, "pause", "pause", "resume")
        assert {one, other, resumed} <= {"ok", "Conflict not-running", "Conflict not-paused"}
        done = [one, other].count("ok") - [resumed].count("ok")
        assert status_of(container) == ("paused" if done == 1 else "running")
        assert done in (0, 1)
        container.delete(force=True)


def test_start_and_delete(containers: Containers, workers: Workers) -> None:
    """A start beside a delete is in time, and what runs is then deleted or refuses it, or finds nothing."""
    for _ in range(ROUNDS):
        container = containers.create(args=SLEEP)
        started, deleted = workers.at_once(containers.root, container.id, "start", "delete")
        pairs = {
            ("ok", "Conflict not-stopped"),
            ("NotFound container-not-found", "ok"),
            ("Conflict not-created", "ok"),
        }
        assert (started, deleted) in pairs
        if deleted != "ok":
            container.delete(force=True)
        container.close()
        wait_until("it is gone", lambda: list_ids(containers.root) == [])
