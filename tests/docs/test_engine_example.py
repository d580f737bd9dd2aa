"""``make run``: the example that shows the engine, also where it does not come to its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

_EXAMPLE = ROOT / "examples/engine.py"
_AROUND = 'ip link set lo up; "$@"; status=$?; ip -o link; nft list tables; exit $status'
_FAILING = """
import runpy, sys
from pierhead.errors import OperationFailed
def fail(*_): raise OperationFailed("the show is over")
module = runpy.run_path(sys.argv[1])
module["show_all"].__globals__["show_life"] = fail
sys.exit(module["main"]())
"""
_STEPS = ["pierd", "run", "run -d", "ps", "exec", "stats", "kill -9", "logs", "rm -f", "the end"]
_PATIENCE_S = 100


def _perform(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """The call, on a machine of its own as far as networks go; its links and tables are listed at the end."""
    return subprocess.run(
        ["unshare", "--net", "sh", "-c", _AROUND, "sh", sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_S,
    )


def _end_of(output: str) -> list[str]:
    """What follows the last step: that nothing is left, and links."""
    return output.strip().splitlines()[-2:]


def _assert_clean(output: str) -> None:
    last, link = _end_of(output)
    assert last == "Left on this machine: nothing."
    assert link.startswith("1: lo:")  # no other link, and no table after it


@requires("root", "unshare", "ip", "nft")
def test_whole() -> None:
    """Every step shows something, no line of the log is lost, and nothing is left."""
    done = _perform(_EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.split("  ")[0] for line in done.stdout.splitlines() if line[:1].strip() and "  " in line]
    assert steps[:-1] == [
        "pierd",
        "run",
        "run -d",
        "ps",
        "exec",
        "stats",
        "kill -9",
        "logs",
        "rm -f",
        "the end",
    ]
    assert "of counter" in done.stdout
    assert "all there" in done.stdout
    _assert_clean(done.stdout)


@requires("root", "unshare", "ip", "nft")
def test_failure() -> None:
    """A step that fails is told, and nothing is left."""
    done = _perform("-c", _FAILING, _EXAMPLE)
    assert (done.returncode, done.stderr) == (1, "the show is over\n")
    _assert_clean(done.stdout)


@requires("root", "unshare", "ip", "nft")
def test_interrupted() -> None:
    """Ctrl-C takes everything down, also while the engine is being killed and started again."""
    with subprocess.Popen(
        [sys.executable, "-u", _EXAMPLE],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("kill -9"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
        assert process.wait(_PATIENCE_S) == 130
    assert "interrupted" in rest
    assert rest.strip().splitlines()[-1] == "Left on this machine: nothing."
