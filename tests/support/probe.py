"""The probe (``init/test/probe.c``) as a container's process: what a container sees and can do, as values.

    def test_groups(containers: Containers, probe_rootfs: Path) -> None:
        sight = look(containers, "ids", "try=mount", rootfs=probe_rootfs)
        assert sight["ids"]["groups"] == []
        assert sight["try=mount"]["errno"] == errno.EPERM

Each word that the probe is given is a key; its reports and acts are listed at the head of its source.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from tests.support.containers import Containers

    Sight = dict[str, dict[str, Any]]

_INIT = Path(__file__).parents[2] / "init"
PROBE = "/probe"
"""Where it stands in the roots that ``make_probe_rootfs`` makes."""

_DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var")


def build_probe() -> Path:
    """The probe is built from its source as it is now; a C compiler and make are needed, unless it is there
    already.
    """
    subprocess.run(["make", "-s", "-C", _INIT, "probe"], check=True, timeout=250)
    return _INIT / "build/probe"


def make_probe_rootfs(path: str | os.PathLike[str], probe: Path) -> Path:
    """``path`` is a root with the probe, the usual directories, users root and app (1000), and nothing
    else.
    """
    root = Path(path)
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(probe, root / PROBE.lstrip("/"))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\naudio:x:29:app\napp:x:1000:\n")
    return root


def read_sight(output: str) -> Sight:
    """What the probe wrote, by word.

    Raises:
        AssertionError: it did not write reports; what it wrote is in the message.
    """
    sight: Sight = {}
    for line in output.splitlines():
        assert line.startswith("{"), output
        report = json.loads(line)
        sight[report.pop("what")] = report
    return sight


def look(containers: Containers, *words: str, rootfs: Path, **what: Any) -> Sight:
    """Runs the probe with these words as the process of a container; the rest is ``Containers.run``'s."""
    finished = containers.run(args=(PROBE, *words), rootfs=str(rootfs), **what)
    assert finished.status.code == 0, finished
    return read_sight(finished.output)
