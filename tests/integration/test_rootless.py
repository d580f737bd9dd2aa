"""An ordinary user runs containers: in a user namespace in which root is that user."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pierhead
from tests.support.bundles import make_rootfs
from tests.support.ordinary import python
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

NOBODY = 65534
PRELUDE = """
import os, sys, time
sys.path.insert(0, os.getcwd())
from pierhead.errors import PierheadError
from pierhead.oci.runtime import IDMapping, Namespace
from pierhead.runtime import Config, ProcessSpec, Stdio, create, run
from pierhead.runtime.config import DEFAULT_NAMESPACES

def only(number):
    return (IDMapping(container_id=0, host_id=number, size=1),)

def process(script, **changes):
    return ProcessSpec(args=("sh", "-c", script), **changes)

CONFIG = Config(
    rootfs=os.path.abspath("rootfs"),
    namespaces=(*DEFAULT_NAMESPACES, Namespace(type="user")),
    uid_mappings=only(os.getuid()),
    gid_mappings=only(os.getgid()),
    process=process("id -u; cat /proc/self/uid_map; ls -l /dev/pts/ptmx | wc -l"),
)
ROOT = os.path.abspath("state")
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of the user's own with a root file system and the package in it."""
    directory = Path(tempfile.mkdtemp(prefix="pierhead-test-"))
    try:
        make_rootfs(directory / "rootfs")
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(pierhead.__file__).parent, directory / "pierhead", ignore=skipped)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        yield directory
    finally:
        shutil.rmtree(directory)


def run_as_nobody(home: Path, program: str) -> str:
    """What the program printed."""
    done = subprocess.run(
        [python(), "-c", PRELUDE + program],
        cwd=home,
        user=NOBODY,
        group=NOBODY,
        extra_groups=(),
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not list((home / "state").glob("*"))
    return done.stdout


def test_default_configuration(home: Path) -> None:
    """The library's defaults and a user namespace are enough; root inside is the user outside."""
    said = run_as_nobody(
        home,
        """
with run(ROOT, "a", CONFIG) as container:
    assert container.wait(60).code == 0
    container.delete()
""",
    )
    assert said.split() == ["0", "0", str(NOBODY), "1", "1"]


def test_exec_and_monitor(home: Path) -> None:
    """Further processes join, and a monitor keeps what they write."""
    said = run_as_nobody(
        home,
        """
config = CONFIG.replace(process=process("echo first; sleep 100"))
container = create(ROOT, "a", config, supervise=True, stdio=Stdio.kept(os.path.abspath("log")))
container.start()
print(container.exec(process("id -u; hostname | wc -l")).wait(60).code)
while not (os.path.exists("log") and "first" in open("log").read()):
    time.sleep(0.01)
container.kill(9)
print(container.wait(60).signal, "first" in open("log").read())
container.delete()
""",
    )
    assert said.split() == ["0", "1", "0", "9", "True"]


def test_groups_are_refused_clearly(home: Path) -> None:
    """A user who maps only itself has no groups to give away."""
    said = run_as_nobody(
        home,
        """
try:
    run(ROOT, "a", CONFIG.replace(additional_groups=(0,)))
except PierheadError as error:
    print(error.code)
""",
    )
    assert said.split() == ["groups-denied"]
