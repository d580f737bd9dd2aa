"""``pier-runtime exec``, and terminals in the foreground."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Runtime, Screen
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        yield runtime


def test_exec_gives_output_and_exit_status(runtime: Runtime) -> None:
    """A further process has its own streams and status; its command keeps its own flags."""
    name = runtime.running()
    result = runtime.result("exec", name, "sh", "-c", "cat; echo err >&2; exit 5", input="in")
    assert (result.returncode, result.stdout, result.stderr) == (5, "in", "err\n")
    assert runtime("exec", name, "echo", "--user", "-e", "x") == "--user -e x\n"


def test_exec_flags(runtime: Runtime) -> None:
    """Directory, environment, user and groups are as the flags say, the rest as the container has it."""
    name = runtime.running()
    flags = ["--cwd", "/tmp", "--env", "A=1", "-e", "B=2", "--user", "1000:5", "-g", "29"]
    words = runtime("exec", *flags, name, "sh", "-c", "pwd; echo $A$B; id -u; id -G; echo $TERM").splitlines()
    assert words == ["/tmp", "12", "1000", "5 29", "xterm"]
    assert runtime("exec", "--user", "app", name, "id", "-un") == "app\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["nosuch"], 'exec: "nosuch": executable file not found in $PATH'),
        (["/etc/passwd"], "permission denied"),
        (["--user", "1000junk", "true"], "unable to find user 1000junk"),
        (["--cwd", "relative", "true"], "--cwd: expected an absolute path, found 'relative'"),
        (["--user", "x y", "true"], "--user: 'x y' is neither an id nor a name"),
        (["--additional-gids", "+5", "true"], "--additional-gids: '+5' is neither an id nor a name"),
        (["--cgroup", "../..", "true"], ".."),
    ],
)
def test_exec_failures(words: list[str], told: str, runtime: Runtime) -> None:
    """What cannot be run is status 255 and one sentence, and the container goes on."""
    name = runtime.running()
    flags = words[:-1] if len(words) > 1 else []
    result = runtime.result("exec", *flags, name, words[-1])
    assert result.returncode == 255
    assert result.stderr.startswith("pier-runtime: exec failed: ")
    assert told in result.stderr
    assert runtime.state(name)["status"] == "running"
    assert len(json.loads(runtime("ps", "--format", "json", name))) == 1


def test_exec_in_a_container_that_is_gone_or_paused(runtime: Runtime) -> None:
    """The state is named; --ignore-paused waits for the resumption."""
    name = runtime.running()
    runtime("pause", name)
    result = runtime.result("exec", name, "true")
    assert result.returncode == 255
    assert "paused" in result.stderr
    runtime("resume", name)
    runtime("kill", name, "KILL")
    runtime.wait_for(name, "stopped")
    result = runtime.result("exec", name, "true")
    assert result.returncode == 255
    assert "container not running" in result.stderr


def test_exec_of_a_process_document(runtime: Runtime, tmp_path: Path) -> None:
    """As containerd and conmon call it: --process FILE --detach --pid-file FILE."""
    name = runtime.running()
    document = {
        "args": ["sleep", "1000"],
        "cwd": "/",
        "user": {"uid": 1000, "gid": 1000},
        "env": ["PATH=/bin"],
    }
    path, pid_file = tmp_path / "process.json", tmp_path / "exec.pid"
    path.write_text(json.dumps(document))
    with (tmp_path / "output").open("w") as output:
        words = ["exec", "--process", str(path), "--detach", "--pid-file", str(pid_file), name]
        subprocess.run(
            [*runtime.words, *words], check=True, stdin=subprocess.DEVNULL, stdout=output, timeout=60
        )
    pid = int(pid_file.read_text())
    assert pid in json.loads(runtime("ps", "-f", "json", name))
    assert os.stat(f"/proc/{pid}").st_uid == 1000


def test_signals_reach_an_exec(runtime: Runtime) -> None:
    """A signal to exec in the foreground is the process's."""
    name = runtime.running()
    script = 'trap "exit 9" TERM; echo ready; while :; do sleep 0.05; done'
    with runtime.start("exec", name, "sh", "-c", script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 9


def test_a_command_is_needed(runtime: Runtime) -> None:
    """Without command and document there is nothing to run."""
    result = runtime.result("exec", "box")
    assert (result.returncode, "needs a COMMAND" in result.stderr) == (255, True)


# terminals --------------------------------------------------------------------------------------------------


def _prepare(runtime: Runtime) -> tuple[list[str], str]:
    name = runtime.id()
    bundle = runtime.bundle("sh", process={"terminal": True})
    return [*runtime.words, "run", "--bundle", bundle, name], name


def test_a_shell_on_a_terminal(runtime: Runtime) -> None:
    """A shell in the foreground has a terminal of our size and gets our keys; ours is restored afterwards."""
    words, _ = _prepare(runtime)
    with Screen(words, rows=33, columns=99) as screen:
        screen.wait_for("/ # ")
        screen.type("stty size; tty\n")
        screen.wait_for("33 99")
        screen.wait_for("/dev/")
        screen.resize(22, 77)
        screen.type("until stty size | grep 22; do sleep 0.05; done\n")
        screen.wait_for("22 77")
        screen.type("sh -c 'echo by no''w; exec sleep 1000'\n")
        screen.wait_for("by now")  # said by what runs, and not by the echo of the keys
        screen.type("\x03")
        screen.wait_for("/ # ")
        assert screen.attributes() != screen.before
        screen.type("echo =$?=; exit 6\n")
        screen.wait_for("=130=")
        assert screen.wait() == 6
        assert screen.attributes() == screen.before


def test_exec_on_a_terminal(runtime: Runtime) -> None:
    """With -t, exec joins the terminal with a further process's."""
    name = runtime.running()
    with Screen([*runtime.words, "exec", "-t", name, "sh"]) as screen:
        screen.wait_for("# ")
        screen.type("tty; exit 4\n")
        screen.wait_for("/dev/pts/0")
        assert screen.wait() == 4


def test_much_output_on_a_terminal(runtime: Runtime) -> None:
    """All that a process printed before its end is shown."""
    bundle = runtime.bundle("seq", "20000", process={"terminal": True})
    with Screen([*runtime.words, "run", "-b", bundle, runtime.id()]) as screen:
        shown = screen.wait_for("\n20000\r\n")
        assert screen.wait() == 0
    assert len(shown.split()) == 20_000


def test_a_terminal_without_one_of_ours(runtime: Runtime) -> None:
    """Called from a script, a process with a terminal reads what is piped in, and sees the end of it."""
    bundle = runtime.bundle("sh", "-c", "read a; echo got $a; cat; exit 3", process={"terminal": True})
    result = runtime.result("run", "-b", bundle, runtime.id(), input="hello\n")
    assert result.returncode == 3
    assert "got hello" in result.stdout


def test_a_terminal_that_is_closed(runtime: Runtime) -> None:
    """Closing the window hangs up the process; what it still prints goes nowhere, and nothing is left."""
    script = 'trap "seq 5000; exit 7" HUP; echo ready; while :; do sleep 0.05; done'
    bundle = runtime.bundle("sh", "-c", script, process={"terminal": True})
    with Screen([*runtime.words, "run", "-b", bundle, runtime.id()]) as screen:
        screen.wait_for("ready")
        screen.hang_up()
        assert screen.wait() == 7
    assert runtime("list", "-q") == ""
