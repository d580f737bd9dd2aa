"""What containerd's shim and conmon rely on when they call a runtime: who learns of a process's end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.bundles import change_bundle, make_bundle
from tests.support.peers import Client, runtime_under_test
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")
_REAPER = Path(__file__).parents[1] / "support/reaper.py"


@pytest.fixture
def runtime(tmp_path: Path) -> Client:
    """The runtime with a state root of its own."""
    return Client([runtime_under_test(), "--root", tmp_path / "state"])


@pytest.fixture
def box(runtime: Client, tmp_path: Path) -> Iterator[str]:
    """The id of a running container."""
    name = f"pierhead-callers-{os.getpid()}"
    make_bundle(tmp_path / "box", args=["sleep", "1000"], linux={"cgroupsPath": f"/{name}"})
    detached = Client(["sh", "-c", 'exec "$@" </dev/null >/dev/null 2>&1', "sh", *runtime.words])
    detached("run", "--detach", "--bundle", str(tmp_path / "box"), name)
    yield name
    runtime("delete", "--force", name)


def _reap(runtime: Client, pid_file: Path, *words: str) -> str:
    """The exit status that the caller of the runtime learns of the process it launched."""
    return Client([sys.executable, "-IS", _REAPER, pid_file, *runtime.words]).result(*words).stdout.strip()


def test_a_detached_exec_is_left_to_the_caller(runtime: Client, box: str, tmp_path: Path) -> None:
    """The process of `exec --detach` becomes its caller's child, however quickly it ends."""
    process = json.loads((tmp_path / "box/config.json").read_text())["process"]
    process["args"] = ["sh", "-c", "exit 5"]
    (tmp_path / "process.json").write_text(json.dumps(process))
    words = [
        "exec",
        "--process",
        f"{tmp_path}/process.json",
        "--detach",
        "--pid-file",
        f"{tmp_path}/pid",
        box,
    ]
    assert [_reap(runtime, tmp_path / "pid", *words) for _ in range(15)] == ["5"] * 15


@pytest.mark.parametrize("how", ["run", "create"])
def test_a_container_is_left_to_the_caller(runtime: Client, tmp_path: Path, how: str) -> None:
    """The init process of a detached container becomes its caller's child, however quickly it ends."""
    name = f"pierhead-callers-{how}-{os.getpid()}"
    bundle = make_bundle(tmp_path / "quick", args=["sh", "-c", "exit 5"], linux={"cgroupsPath": f"/{name}"})
    words = ["--bundle", str(bundle), "--pid-file", f"{tmp_path}/pid", name]
    launch = (
        f'"$@" {"run --detach" if how == "run" else "create"} {" ".join(words)} </dev/null >/dev/null 2>&1'
    )
    start = f'; "$@" start {name}' if how == "create" else ""
    script = Client([sys.executable, "-IS", _REAPER, tmp_path / "pid", "sh", "-c", launch + start, "sh"])
    assert script(*runtime.words).strip() == "5"
    runtime("delete", "--force", name)


def test_terminal_bundle_needs_a_console_socket(runtime: Client, tmp_path: Path) -> None:
    """`create` of a container with a terminal and no --console-socket is refused, and nothing is left."""
    bundle = make_bundle(tmp_path / "tty", args=["tty"])
    change_bundle(bundle, process={"terminal": True})
    result = runtime.result("create", "--bundle", str(bundle), "pierhead-callers-tty")
    assert result.returncode == 1
    assert "console socket" in result.stderr.replace("-", " ")
    assert "pierhead-callers-tty" not in runtime("list", "--quiet")
