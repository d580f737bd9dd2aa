"""``pierd`` for other people's clients: in a network namespace of its own, with an image of busybox.

with served(tmp_path) as it:
    Docker(f"unix://{it.socket_path}", tmp_path).says("run", "--rm", IMAGE, "true")
    fetch(it, 8080)
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.daemons import Daemon, daemon
from tests.support.pier import Pier, busybox_layer, write_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = "box"
_PATIENCE_S = 60.0
_REFUSED = 7  # curl(1): nobody listens
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# /sys shows the links of the namespace in which it was mounted (sysfs(5)), and cgroups are mounted below it.
_IN_NAMESPACE = """
mkdir -p "$1" && mount --rbind /sys/fs/cgroup "$1" && mount -t sysfs sysfs /sys &&
mount --rbind "$1" /sys/fs/cgroup && umount -l "$1" && ip link set lo up || exit 1
shift
exec "$@"
"""


def add_image(directory: Path) -> None:
    """A daemon in the directory will have the image."""
    layout = write_image(directory / "layout", busybox_layer(directory), Cmd=["sh"], Env=[f"PATH={_PATH}"])
    Pier(directory / "data")("load", "--quiet", "--input", str(layout), "--name", IMAGE)


@contextmanager
def served(directory: Path, *words: str) -> Iterator[Daemon]:
    """It serves inside; its containers are gone at the end."""
    add_image(directory)
    before = ("unshare", "--net", "--mount", "sh", "-c", _IN_NAMESPACE, "sh", str(directory / "cgroup"))
    with daemon(directory, *words, before=before) as it:
        try:
            yield it
        finally:
            for container in it.client.get("/containers/json?all=1").json():
                it.client.delete(f"/containers/{container['Id']}?force=1&v=1")


def fetch(it: Daemon, port: int, path: str = "/") -> str:
    """What a published port gives to somebody on the daemon's machine, as soon as a server listens there."""
    words = ["nsenter", f"--net=/proc/{it.process.pid}/ns/net", "curl", "--silent", "--show-error", "--fail"]
    words += ["--max-time", "30", f"http://127.0.0.1:{port}{path}"]
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode != _REFUSED or time.monotonic() > deadline_s:
            assert done.returncode == 0, done.stderr
            return done.stdout
        time.sleep(0.05)
