"""``pierd`` under SIGKILL, at any moment and under load: nothing is lost, and nothing is left half-way."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.images.service import ImageService
from pierhead.net import NetworkService, NetworkSettings
from tests.support.daemon_lives import Lives
from tests.support.engine_load import Load
from tests.support.pier import Pier
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")

KILLS = int(os.environ.get("PIERHEAD_TEST_KILLS", "100"))
"""More of them find what is rarer."""
SERVED = 0.7
"""How many are killed while they serve; the others most often before that."""
ANSWERS = 60
"""The most that one of those gives: a measure that a busy machine does not change."""
IMAGE = "box"
_TICKER = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done"


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[str]:
    """The name of a network of the test's own."""
    name = f"pk{os.getpid()}"
    yield name
    network = NetworkService(str(tmp_path / "exec/network"), NetworkSettings(bridge=name))
    network.ensure()
    network.restore(())
    network.remove()


def left_below(directory: Path) -> list[str]:
    """What containers have left in the daemon's directories, though there are none any more."""
    places = ("data/containers", "exec/containers", "exec/runtime", "data/volumes")
    found = [str(path) for place in places for path in (directory / place).glob("*") if len(path.name) == 64]
    with ImageService(str(directory / "data")) as service:
        found += [each.name for each in service.snapshotter.walk() if each.kind != "committed"]
    return found


def remove_all(lives: Lives) -> None:
    """A test that has failed leaves no containers to the next ones."""
    lives.await_ready()
    for each in lives.client.get("/containers/json?all=1").json():
        lives.client("DELETE", f"/containers/{each['Id']}?force=1&v=1")


@pytest.mark.timeout(600)
def test_killed_at_any_moment(tmp_path: Path, engine_image: Path, bridge: str) -> None:
    """A hundred times, while containers are made, named anew, run, joined, stopped, started again, committed,
    removed, with volumes and ports: each ends with its code, has written every line, and has each of its
    events once; in the end nothing is left.
    """
    seed = int(os.environ.get("PIERHEAD_TEST_SEED", str(time.time_ns())))
    print(f"seed {seed}")
    chance = random.Random(seed)
    Pier(tmp_path / "data")("load", "--quiet", "--input", str(engine_image), "--name", IMAGE)
    words = ("--bridge", bridge, "--cgroup-parent", f"/pierhead-engine-{tmp_path.name}")
    with Lives(tmp_path, *words) as lives:
        lives.begin()
        lives.await_ready()
        load = Load(lives.client, IMAGE, seed=seed)
        ticker = {"Image": IMAGE, "Cmd": ["sh", "-c", _TICKER], "HostConfig": {"NetworkMode": "none"}}
        lives.client.post("/containers/create?name=ticker", ticker)
        assert lives.client.post("/containers/ticker/start").status == 204
        load.begin()
        try:
            for _ in range(KILLS):
                if chance.random() < SERVED:
                    lives.await_ready()
                    load.await_answers(chance.randrange(ANSWERS))
                else:
                    time.sleep(chance.uniform(0, 0.3))
                lives.end()
                lives.begin()
                if load.failures:
                    break
        finally:
            load.finish()
            if load.failures:
                remove_all(lives)
        log = lives.log_path.read_text()
        assert not load.failures, f"{load.failures}\n{log[-6000:]}"
        lives.await_ready()
        numbers = load.output("ticker")
        assert numbers, "it has written all the time"
        assert numbers == [str(number) for number in range(len(numbers))]
        assert lives.client("DELETE", "/containers/ticker?force=1").status == 204
        assert lives.client.get("/containers/json?all=1").json() == []
        assert lives.client.get("/volumes").json()["Volumes"] in ([], None)
        lives.client.post("/images/prune")
        images = lives.client.get("/images/json?all=1").json()
        assert [each["RepoTags"] for each in images] == [[f"{IMAGE}:latest"]]
        print(f"{load.lives} lives, {load.unanswered} requests without an answer")
    assert load.lives > KILLS // 4
    assert "Traceback" not in log, log
    assert left_below(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
