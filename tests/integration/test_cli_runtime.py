"""``pier-runtime`` as engines and people call it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bundles import make_bundle, standard_spec
from tests.support.commands import Command, Runtime
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")

TRAP = 'trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done'


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        yield runtime


# run, create, start -----------------------------------------------------------------------------------------


def test_run_gives_output_and_exit_status(runtime: Runtime) -> None:
    """Both streams and the status come through, and the container is gone."""
    result = runtime.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert runtime("list", "-q") == ""


def test_run_feeds_standard_input(runtime: Runtime) -> None:
    """Standard input is the process's, to its end."""
    result = runtime.result("run", "-b", runtime.bundle("wc", "-c"), runtime.id(), input="x" * 100_000)
    assert result.stdout.strip() == "100000"


def test_a_signal_that_ends_the_process(runtime: Runtime) -> None:
    """The status is then 128 and the signal's number."""
    assert runtime.run("sh", "-c", "kill -KILL $$", linux={"namespaces": _without("pid")}).returncode == 137


def _without(*kinds: str) -> list[dict[str, str]]:
    spec = standard_spec()
    return [each for each in spec["linux"]["namespaces"] if each["type"] not in kinds]


def test_signals_are_passed_on(runtime: Runtime) -> None:
    """A signal to run in the foreground reaches the process, whose own ending is then run's."""
    name = runtime.id()
    with runtime.start("run", "-b", runtime.bundle("sh", "-c", TRAP), name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 3
    assert runtime("list", "-q") == ""


def test_the_process_has_a_clean_signal_state(runtime: Runtime) -> None:
    """What Python ignores or a foreground run catches is not inherited."""
    result = runtime.run("grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status")
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["0" * 16] * 3


def test_create_start_and_delete(runtime: Runtime) -> None:
    """A container is created, then running, then stopped, each as state tells; then it can be deleted."""
    name = runtime.id()
    output = runtime.directory / "output"
    with output.open("w") as stream:
        command = [*runtime.words, "create", "--bundle", runtime.bundle("sh", "-c", "echo started"), name]
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, check=True, timeout=60)
    state = runtime.state(name)
    assert state["status"] == "created"
    assert state["pid"] > 0
    assert output.read_text() == ""
    runtime("start", name)
    runtime.wait_for(name, "stopped")
    assert output.read_text() == "started\n"
    assert runtime.state(name)["pid"] == 0
    again = runtime.result("start", name)
    assert (again.returncode, again.stdout) == (1, "")
    assert "cannot start" in again.stderr
    runtime("delete", name)
    assert runtime.result("state", name).returncode == 1


def test_state_has_what_go_runc_reads(runtime: Runtime) -> None:
    """The state document has runc's members, the bundle's annotations among them."""
    name = runtime.running(annotations={"a": "b"})
    state = runtime.state(name)
    assert list(state) == [
        *("ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"),
    ]
    assert state["id"] == name
    assert state["rootfs"] == str(runtime.rootfs)
    assert state["bundle"].startswith(str(runtime.directory))
    assert state["annotations"] == {"a": "b"}
    assert state["owner"] == "root"
    time.strptime(state["created"][:19], "%Y-%m-%dT%H:%M:%S")


def test_the_pid_file_is_there_when_create_returns(runtime: Runtime) -> None:
    """--pid-file holds the number that state tells, and nothing else is beside it."""
    pid_file = runtime.directory / "pids" / "init.pid"
    pid_file.parent.mkdir()
    name = runtime.running(flags=("--pid-file", str(pid_file)))
    assert int(pid_file.read_text()) == runtime.state(name)["pid"]
    assert [path.name for path in pid_file.parent.iterdir()] == ["init.pid"]


def test_a_pid_file_that_cannot_be_written(runtime: Runtime) -> None:
    """Whoever asked for the number and cannot have it gets no container either."""
    result = runtime.run("sleep", "1000", flags=("--detach", "--pid-file", "/nonexistent/pid"))
    assert result.returncode == 1
    assert "cannot write the pid file /nonexistent/pid" in result.stderr
    assert runtime("list", "-q") == ""


def test_keep(runtime: Runtime) -> None:
    """With --keep, run leaves the stopped container to be deleted."""
    name = runtime.id()
    runtime("run", "--keep", "--bundle", runtime.bundle(), name)
    assert runtime.state(name)["status"] == "stopped"
    runtime("delete", name)


def test_an_id_that_is_taken(runtime: Runtime) -> None:
    """A second container of a name is refused, and the first goes on."""
    name = runtime.running()
    result = runtime.result("run", "--bundle", runtime.bundle(), name)
    assert result.returncode == 1
    assert "already exists" in result.stderr
    assert runtime.state(name)["status"] == "running"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"process": {"args": ["nosuch"]}}, 'exec: "nosuch": executable file not found in $PATH'),
        ({"process": {"args": ["/no/such"]}}, "no such file or directory"),
        ({"process": {"args": ["/etc/passwd"]}}, "permission denied"),
        ({"root": {"path": "/nonexistent"}}, "/nonexistent"),
        ({"mounts": [{"destination": "/x", "type": "nosuchfs", "source": "x"}]}, "nosuchfs"),
        (
            {
                "mounts": [
                    {"destination": "/x", "type": "bind", "source": "/nonexistent", "options": ["bind"]}
                ]
            },
            "/nonexistent",
        ),
    ],
)
def test_failures_leave_nothing(changes: dict[str, Any], words: str, runtime: Runtime) -> None:
    """A container that cannot be made is one clear sentence, in the log too, and nothing is left behind."""
    if changes.get("root"):
        bundle = make_bundle(runtime.directory / "broken", rootfs="/nonexistent")
    else:
        bundle = Path(runtime.bundle(**changes))
    log = runtime.directory / "log.json"
    logged = ["--log", str(log), "--log-format=json"]
    command = Command("pier-runtime", "--root", str(runtime.root), *logged)
    result = command.result("create", "--bundle", bundle, runtime.id())
    assert result.returncode == 1
    assert words in result.stderr
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "error"
    assert words in last["msg"]
    assert runtime("list", "-q") == ""


def test_delete_wants_a_stopped_container(runtime: Runtime) -> None:
    """A container that runs is deleted by force only."""
    name = runtime.running()
    result = runtime.result("delete", name)
    assert result.returncode == 1
    assert "not stopped" in result.stderr
    runtime("delete", "-f", name)
    assert runtime("list", "-q") == ""


# descriptors and sockets ------------------------------------------------------------------------------------


def test_preserved_descriptors(runtime: Runtime) -> None:
    """--preserve-fds N gives the process N descriptors from 3 on, and no others."""
    kept = runtime.directory / "kept"
    script = 'exec "$@" 3>"$0" 4>/dev/null 5>/dev/null'  # Popen cannot put descriptors in place
    args = ("sh", "-c", "echo kept >&3; test -e /proc/$$/fd/4 && test ! -e /proc/$$/fd/5")
    words = [*runtime.words, "run", "--preserve-fds", "2", "-b", runtime.bundle(*args), runtime.id()]
    result = subprocess.run(
        ["sh", "-c", script, kept, *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert kept.read_text() == "kept\n"


def test_a_preserved_descriptor_that_is_not_open(runtime: Runtime) -> None:
    """What cannot be passed is named."""
    result = runtime.run(flags=("--preserve-fds", "3"))
    assert result.returncode == 1
    assert "descriptor 3 is to be passed" in result.stderr


def test_sockets_of_systemd(runtime: Runtime) -> None:
    """Descriptors of LISTEN_FDS come first, and the process is told of them under its own number."""
    args = ("sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; head -c 4 <&3")
    words = [*runtime.words, "run", "-b", runtime.bundle(*args), runtime.id()]
    script = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3</etc/passwd'
    result = subprocess.run(
        ["sh", "-c", script, "sh", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout) == (0, "1 1\nroot"), result.stderr


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    directory = os.open(os.path.dirname(path), os.O_PATH)
    listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    os.close(directory)
    listener.listen(1)
    listener.settimeout(60)
    return listener


@pytest.mark.parametrize("deep", ["", "d" * 120])
def test_console_socket(deep: str, runtime: Runtime) -> None:
    """The terminal's master arrives at the socket with its name, wherever the socket is."""
    place = runtime.directory / deep
    place.mkdir(exist_ok=True)
    path = str(place / "console")
    name = runtime.id()
    bundle = runtime.bundle(
        "sh",
        "-c",
        "tty; stty size; cat",
        process={"terminal": True, "consoleSize": {"height": 7, "width": 9}},
    )
    with _listen(path) as listener:
        runtime("create", "--console-socket", path, "--bundle", bundle, name)
        connection, _ = listener.accept()
        with connection:
            message, fds, _, _ = socket.recv_fds(connection, 4096, 2)
    assert b"/dev/" in message
    assert len(fds) == 1
    runtime("start", name)
    with os.fdopen(fds[0], "r+b", buffering=0) as master:
        shown = b""
        while b"7 9" not in shown:
            shown += master.read(4096)
        assert b"/dev/" in shown
        master.write(b"hello\n")
        while shown.count(b"hello") < 2:
            shown += master.read(4096)


def test_a_console_socket_where_nobody_listens(runtime: Runtime) -> None:
    """Nothing is made when the terminal could not be handed over."""
    bundle = runtime.bundle("sh", process={"terminal": True})
    result = runtime.result(
        "create", "--console-socket", "/nonexistent/socket", "--bundle", bundle, runtime.id()
    )
    assert result.returncode == 1
    assert "cannot connect to the console socket /nonexistent/socket: no such file" in result.stderr
    assert runtime("list", "-q") == ""


def test_pidfd_socket(runtime: Runtime) -> None:
    """The process's pidfd arrives at the socket, for run and for exec."""
    path = str(runtime.directory / "pidfd")
    with _listen(path) as listener:
        name = runtime.running(flags=("--pidfd-socket", path))
        pidfd = _receive(listener)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        runtime.wait_for(name, "stopped")
        name = runtime.running()
        process = runtime.start("exec", "--pidfd-socket", path, name, "sleep", "1000")
        ended = os.pidfd_open(process.pid)
        ready = select.select([listener.fileno(), ended], [], [], 60)[0]
        os.close(ended)
        if listener.fileno() not in ready:
            process.kill()
            pytest.fail(f"exec ended, or has no pidfd after a minute: {process.communicate(timeout=60)}")
        pidfd = _receive(listener)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.close(pidfd)
        process.communicate(timeout=60)
        assert process.returncode == 137


def _receive(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        _, fds, _, _ = socket.recv_fds(connection, 4096, 2)
    (fd,) = fds
    return fd
