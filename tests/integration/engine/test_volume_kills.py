"""The engine is killed at any moment while it makes, fills and removes volumes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.volumemounts import mounted_on
from pierhead.engine.volumes import VolumeStore
from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires("root")

KILLS = 100
FILES = 40
WORK = """
import os, sys, time
from pierhead.engine.documents import ContainerConfig, HostConfig, VolumeCreate
from pierhead.engine.volumes import VolumeStore

top, image = sys.argv[1:]
root = os.open(image, os.O_RDONLY | os.O_DIRECTORY)
config, host = ContainerConfig(cmd=("true",)), HostConfig(binds=("data:/data", "ram:/ram"))
with VolumeStore(f"{top}/engine.db", f"{top}/volumes", f"{top}/run") as store:
    number, began_s = 0, time.monotonic()
    while True:
        number += 1
        if number == 2:
            print(time.monotonic() - began_s, flush=True)
        store.ensure(VolumeCreate(name="ram", driver_opts={"type": "tmpfs", "device": "tmpfs"}))
        decided = store.resolve(str(number), config, host, {})
        for point in decided.to_fill:
            store.copy_up(root, point)
        store.mount(str(number), config, host, decided.mounts)
        store.unmount(str(number))
        store.release(str(number), anonymous=True)
        store.remove("data")
        store.prune({"all": ["true"]})
"""


@pytest.mark.timeout(400)
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    """Afterwards every volume is whole: filled with all or nothing, unmounted, nobody's; no more is left."""
    image = tmp_path / "image"
    (image / "data").mkdir(parents=True)
    for number in range(FILES):
        (image / f"data/{number}").write_bytes(bytes(1000))
    moments = random.Random(4)
    seen: set[tuple[str, int]] = set()
    for _ in range(KILLS):
        command = (sys.executable, "-c", WORK, str(tmp_path), str(image))
        worker = subprocess.Popen(
            command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
        )
        assert worker.stdout is not None
        with worker:
            took_s = float(worker.stdout.readline())
            time.sleep(moments.random() * 2 * took_s)
            worker.kill()
        with VolumeStore(
            str(tmp_path / "engine.db"), str(tmp_path / "volumes"), str(tmp_path / "run")
        ) as store:
            assert store.reconcile((), ()) == ()
            names = [volume.name for volume in store.list_volumes({})]
            assert sorted(os.listdir(tmp_path / "volumes")) == names
            for volume in store.list_volumes({}):
                assert os.listdir(os.path.dirname(volume.mountpoint)) == ["_data"]
                assert mounted_on(volume.mountpoint) == 0
                assert store.users(volume.name) == ()
                count = len(os.listdir(volume.mountpoint))
                assert count in ((0, FILES) if volume.name == "data" else (0,))
                seen.add((volume.name, count))
    assert seen == {("ram", 0), ("data", 0), ("data", FILES)}, (
        "the moments were not spread over all that it does"
    )
