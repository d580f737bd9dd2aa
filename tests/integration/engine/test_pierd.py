"""The program ``pierd``: how it begins, what it tells, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.api_server import connect, receive_until
from tests.support.containers import wait_until
from tests.support.daemons import command, daemon
from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires("root")

NO_BRIDGE = ("--bridge", "none")
IDLE_PSS_MIB_MOST = 60
_LOADING = b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n"
"""A request whose end is still to come."""


def test_its_life(tmp_path: Path) -> None:
    """It serves when it says so, and leaves neither socket nor pidfile; a second one is refused meanwhile."""
    with daemon(tmp_path, *NO_BRIDGE) as it:
        answer = it.client.get("/_ping")
        assert answer.status == 200
        assert it.client.get("/version").json()["Version"] in answer.headers["Server"]
        pidfile = tmp_path / "exec/pierd.pid"
        assert int(pidfile.read_text()) == it.process.pid
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        second = subprocess.run(
            command(tmp_path, *NO_BRIDGE, "--exec-root", str(tmp_path / "other")),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 1
        assert "another pierd works in" in second.stderr
        assert "hint: " in second.stderr
        assert it.end() == 0
        assert it.told() == {"STOPPING": "1"}
        assert not pidfile.exists()
        assert not os.path.lexists(it.socket_path)
    assert "is ready at unix://" in it.log


def test_what_it_leaves_when_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    """The next one takes its socket's place."""
    with daemon(tmp_path, *NO_BRIDGE) as it:
        assert it.end(signal.SIGKILL) == -signal.SIGKILL
        assert os.path.lexists(it.socket_path)
    with daemon(tmp_path, *NO_BRIDGE) as it:
        assert it.client.get("/_ping").status == 200


def test_one_that_ends_is_waited_for(tmp_path: Path) -> None:
    """Whoever wants an engine in that moment gets the next one, and is not told that there is one, however
    long it takes.
    """
    words = (*NO_BRIDGE, "--shutdown-timeout", "100")
    with daemon(tmp_path, *words) as it, connect(it.socket_path) as sending:
        wanted = {"Image": "pierhead/host", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
        assert it.client.post("/containers/create?name=some", wanted).status == 201
        sending.sendall(_LOADING)
        assert it.client.get("/_ping").status == 200  # so it has begun with the one before
        it.process.send_signal(signal.SIGTERM)
        assert it.told() == {"STOPPING": "1"}
        lock = str(tmp_path / "data/pierd.lock")
        letting_go = threading.Thread(target=_hang_up_on_two, args=(sending, lock))
        letting_go.start()
        with daemon(tmp_path, *words) as following:
            letting_go.join()
            assert following.client.delete("/containers/some").status == 204
        assert it.process.wait(60) == 0


def _hang_up_on_two(client: socket.socket, lock: str) -> None:
    """The client has gone when two daemons have had the lock open for longer than who is refused waits."""
    wait_until("the next one waits", lambda: len(_holders(lock)) == 2)
    time.sleep(3)
    client.shutdown(socket.SHUT_RDWR)


def _holders(path: str) -> set[str]:
    """Processes that have the file open."""
    found = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):  # it has ended, or closes a file
            if path in [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]:
                found.add(pid)
    return found


def test_requests_end_before_it_does(tmp_path: Path) -> None:
    """Who is being answered is; streams without an end are cut; nobody new comes in."""
    with (
        daemon(tmp_path, *NO_BRIDGE, "--shutdown-timeout", "100") as it,
        connect(it.socket_path) as following,
        connect(it.socket_path) as sending,
    ):
        following.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        receive_until(following, b"\r\n\r\n")
        sending.sendall(_LOADING)
        assert it.client.get("/_ping").status == 200  # so it has begun with the one before
        it.process.send_signal(signal.SIGTERM)
        assert it.told() == {"STOPPING": "1"}
        assert following.recv(100) == b""
        assert not os.path.lexists(it.socket_path)
        sending.sendall(bytes(100))
        assert receive_until(sending, b"\r\n\r\n").startswith(b"HTTP/1.1 ")
        assert it.process.wait(60) == 0


def test_it_stops_by_itself(tmp_path: Path) -> None:
    """When nobody wants anything, and nothing runs."""
    with daemon(tmp_path, *NO_BRIDGE, "--idle-timeout", "1") as it:
        assert it.process.wait(60) == 0
        assert "nobody has wanted anything for" in it.log


def test_its_configuration_is_read_anew(tmp_path: Path) -> None:
    """SIGHUP: levels change at once, what cannot is said, and a broken file changes nothing."""
    path = tmp_path / "pierd.toml"
    path.write_text('bridge = "none"\n')
    with daemon(tmp_path, "--config-file", str(path)) as it:
        path.write_text('bridge = "none"\ndebug = true\nlabels = ["a=b"]\n')
        it.process.send_signal(signal.SIGHUP)
        assert it.told()["RELOADING"] == "1"
        assert it.told()["READY"] == "1"
        for _ in range(2):  # when the second is answered, the first has been noted
            it.client.get("/_ping")
        assert "GET /_ping: 200" in it.log
        assert "changes of labels need a new start of pierd" in it.log
        path.write_text("bridge = ")
        it.process.send_signal(signal.SIGHUP)
        assert it.told()["RELOADING"] == "1"
        assert it.told()["STATUS"] == "the configuration was not read anew"
        assert it.client.get("/_ping").status == 200


def test_a_socket_of_systemds(tmp_path: Path) -> None:
    """fd:// takes what was open before it: a client that came too early is served."""
    with socket.socket(socket.AF_UNIX) as given:
        path = str(tmp_path / "given.sock")
        given.bind(path)
        given.listen()
        code = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        code += "os.execv(sys.argv[2], sys.argv[2:])"
        words = [sys.executable, "-c", code, str(given.fileno())]
        with connect(path) as early:
            early.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            process = subprocess.Popen(
                [*words, *command(tmp_path, *NO_BRIDGE, "-H", "fd://")],
                env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "LISTEN_FDS": "1"},
                pass_fds=(given.fileno(),),
            )
            try:
                assert receive_until(early, b"OK").startswith(b"HTTP/1.1 200 OK")
            finally:
                process.terminate()
                assert process.wait(60) == 0
        assert os.path.exists(path), "it is not ours to remove"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--group", "nobodys"), "there is no group nobodys"),
        (("--host", "unix:///proc"), "/proc is there and is no socket"),
        (
            ("--host", "tcp://127.0.0.1:{taken}"),
            "cannot listen at tcp://127.0.0.1:{taken}: address already in use",
        ),
        (("--host", "fd://"), "nobody gave us a socket for fd://"),
        (("--pidfile", "/proc/pierd.pid"), "cannot serve: /proc/pierd.pid.new: no such file or directory"),
        (("--data-root", "/etc/passwd/data"), "cannot serve: /etc/passwd/data: not a directory"),
        (("--seccomp-profile", "/etc/passwd"), "/etc/passwd: Decoding seccomp profile failed: "),
    ],
)
def test_what_it_cannot_begin_with(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    """It ends with a sentence that names what is in its way, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            command(tmp_path, *NO_BRIDGE, *(word.replace("{taken}", port) for word in words)),
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert f"pierd: {message.replace('{taken}', port)}" in done.stderr
    assert "Traceback" not in done.stderr


def test_figures(tmp_path: Path) -> None:
    """/metrics has its own address: how many requests of which kind, how many containers, how much memory."""
    with daemon(tmp_path, *NO_BRIDGE, "--metrics-addr", "127.0.0.1:0") as it:
        port = int(it.log.partition("metrics are at http://127.0.0.1:")[2].partition("/")[0])
        it.client.get("/v1.40/containers/json")
        it.client.get("/nothing")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    name = "pierhead_engine_requests_total"
    assert lines[f'{name}{{method="GET",route="/containers/json",status="200"}}'] == "1"
    assert lines[f'{name}{{method="GET",route="none",status="404"}}'] == "1"
    assert lines["pierhead_engine_containers_running"] == "0"
    assert float(lines["pierhead_engine_memory_bytes"]) > 1 << 20


def test_it_is_small_when_idle(tmp_path: Path) -> None:
    """Dockerd and containerd have 128 to 155 MB together."""
    with daemon(tmp_path, *NO_BRIDGE) as it:
        for path in ("/_ping", "/version", "/info", "/containers/json?all=1"):
            assert it.client.get(path).status == 200
        time.sleep(0.5)
        with open(f"/proc/{it.process.pid}/smaps_rollup", encoding="ascii") as file:
            pss_kib = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    print(f"{pss_kib / 1024:.1f} MiB PSS")
    assert pss_kib < IDLE_PSS_MIB_MOST << 10


def test_its_log_as_json(tmp_path: Path) -> None:
    """Every line is an object with level, words and time."""
    with daemon(tmp_path, *NO_BRIDGE, "--log-format", "json", "-D") as it:
        it.client.get("/_ping")
    entries = [json.loads(line) for line in it.log.splitlines()]
    assert {"debug", "info"} <= {entry["level"] for entry in entries}
    assert all(entry["time"].endswith("Z") and entry["msg"] for entry in entries)
