"""``nsinit`` as a person uses it in a folder that holds a root file system."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Command, Screen
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires("root", "busybox")


@pytest.fixture
def nsinit(tmp_path: Path) -> Command:
    """The program, with a state root of the test's own."""
    return Command("nsinit", "--root", tmp_path / "state")


@pytest.fixture
def identity() -> str:
    """The name of the test's container."""
    return f"pierhead-nsinit-{os.getpid()}"


@pytest.fixture
def folder(nsinit: Command, shared_rootfs: Path, tmp_path: Path) -> Path:
    """A folder with a configuration file of a container with limits."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "root").symlink_to(shared_rootfs)
    nsinit("config", "--rootfs", "root", "--memory", "64m", "--env", "A=1", "--hostname", "box",
           "--file", folder / "container.json")  # fmt: skip
    return folder


def _wait_for(nsinit: Command, identity: str, status: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        result = nsinit.result("state", "--id", identity)
        if result.returncode == 0 and json.loads(result.stdout)["status"] == status:
            return
        assert time.monotonic() < deadline, result
        time.sleep(0.02)


def test_a_command_in_the_working_directory(nsinit: Command, identity: str, shared_rootfs: Path) -> None:
    """Without any file the working directory is the root, and the exit status is the command's."""
    result = nsinit.result(
        *("exec", "--id", identity, "sh", "-c", "hostname; id -u; cat /etc/hostname; exit 4"),
        cwd=shared_rootfs,
    )
    assert (result.returncode, result.stdout) == (4, f"{identity}\n0\nbox\n")
    assert nsinit.result("state", "--id", identity).returncode == 1


def test_a_configuration_file(nsinit: Command, identity: str, folder: Path) -> None:
    """container.json in the working directory is used by itself, and from elsewhere when it is named."""
    script = "echo $A $(hostname); cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    words = ["exec", "--id", identity, "--env", "B=2", "sh", "-c", f"{script} 2>/dev/null; echo $B"]
    wanted = f"1 box\n{64 << 20}\n2\n"
    assert nsinit(*words, cwd=folder) == wanted
    assert nsinit(words[0], "--config", folder / "container.json", *words[1:], cwd="/") == wanted


def test_users(nsinit: Command, identity: str, shared_rootfs: Path) -> None:
    """The command runs as the user of that name; one that does not exist is refused."""
    words = ["exec", "--id", identity, "--user"]
    assert (
        nsinit(*words, "app", "--cwd", "/tmp", "sh", "-c", "id -un; pwd", cwd=shared_rootfs) == "app\n/tmp\n"
    )
    result = nsinit.result(*words, "nobody-knows", "true", cwd=shared_rootfs)
    assert (result.returncode, "unable to find user nobody-knows" in result.stderr) == (1, True)


def test_a_container_with_visitors(nsinit: Command, identity: str, shared_rootfs: Path) -> None:
    """While one command runs, further ones join it; state, stats, pause and unpause concern it."""
    words = ["exec", "--id", identity]
    with nsinit.start(*words, "sh", "-c", "echo ready; cat; exit 3", cwd=shared_rootfs) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        state = json.loads(nsinit("state", "--id", identity))
        assert (state["id"], state["status"]) == (identity, "running")
        assert os.path.exists(state["namespace_paths"]["network"])
        assert state["config"]["rootfs"] == str(shared_rootfs)
        result = nsinit.result(*words, "sh", "-c", "grep -c ready /proc/1/cmdline; exit 5")
        assert (result.returncode, result.stdout) == (5, "1\n")
        assert json.loads(nsinit("stats", identity))["pids"]["current"] >= 1
        nsinit("pause", "--id", identity)
        assert json.loads(nsinit("state", "--id", identity))["status"] == "paused"
        nsinit("unpause", "--id", identity)
        process.stdin.close()
        assert process.wait(60) == 3
    assert nsinit.result("state", "--id", identity).returncode == 1


def test_out_of_memory(nsinit: Command, identity: str, folder: Path) -> None:
    """Oom tells of a lack of memory while it happens, and ends with the container."""
    script = "read a; (tail /dev/zero); echo over; read b; exit 0"
    with nsinit.start("exec", "--id", identity, "sh", "-c", script, cwd=folder) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        _wait_for(nsinit, identity, "running")
        with nsinit.start("oom", "--id", identity) as watcher:
            assert watcher.stderr is not None
            assert "waiting" in watcher.stderr.readline()
            process.stdin.write("go\n")
            process.stdin.flush()
            assert process.stdout.readline() == "over\n"
            assert watcher.stdout is not None
            assert "out of memory" in watcher.stdout.readline()
            process.stdin.close()
            watcher.communicate(timeout=60)
            assert watcher.returncode == 0
        assert process.wait(60) == 0


def test_explain_and_trace(nsinit: Command, identity: str, shared_rootfs: Path) -> None:
    """--explain shows how the container would be made, and --trace what it took."""
    words = ["exec", "--id", identity]
    assert "mount proc on /proc" in nsinit(*words, "--explain", "true", cwd=shared_rootfs)
    assert nsinit.result("state", "--id", identity).returncode == 1
    result = nsinit.result(*words, "--trace", "echo", "hi", cwd=shared_rootfs)
    assert result.stdout == "hi\n"
    assert "seccomp filter of" in result.stderr


def test_what_is_wrong_is_said(nsinit: Command, identity: str, tmp_path: Path) -> None:
    """No command, no root, no such file, and a file with a mistake: a sentence each, and nothing is left."""
    assert "needs a COMMAND" in nsinit.result("exec", "--id", identity, cwd=tmp_path).stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    result = nsinit.result("exec", "--id", identity, "/bin/true", cwd=empty)
    assert (result.returncode, "/bin/true" in result.stderr) == (1, True)
    assert os.listdir(empty) == []
    result = nsinit.result("exec", "--id", identity, "--user", "x y", "true", cwd=tmp_path)
    assert "nsinit: --user: 'x y' is neither an id nor a name\n" in result.stderr
    result = nsinit.result("exec", "--config", "none.json", "true", cwd=tmp_path)
    assert "none.json: no such file" in result.stderr
    (tmp_path / "bad.json").write_text('{"rootfs": ".", "readonly": true}')
    result = nsinit.result("exec", "--config", "bad.json", "true", cwd=tmp_path)
    assert (result.returncode, "$.readonly" in result.stderr) == (1, True)
    assert nsinit.result("state", "--id", identity).returncode == 1


def test_a_shell_on_a_terminal(nsinit: Command, identity: str, folder: Path) -> None:
    """A shell with job control on a terminal, as a person uses it: keys, size, interrupt, exit."""
    words = ["exec", "--tty", "--config", str(folder / "container.json"), "--id", identity, "/bin/sh"]
    with Screen([*nsinit.words, *words], rows=30, columns=100) as screen:
        screen.wait_for("/ # ")
        screen.type("hostname; stty size; echo $TERM\n")
        screen.wait_for("box\r\n30 100\r\nxterm\r\n")
        screen.type("sh -c 'echo by no''w; exec sleep 1000'\n")
        screen.wait_for("by now")  # said by what runs, and not by the echo of the keys
        screen.type("\x1a")
        screen.wait_for("Stopped")
        screen.type("kill %1; exit 6\n")
        screen.wait_for("exit 6")
        screen.type("exit 6\n")
        assert screen.wait() == 6
        assert screen.attributes() == screen.before
    assert nsinit.result("state", "--id", identity).returncode == 1
