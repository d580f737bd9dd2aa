"""A stuck container, and clients that do not read: nobody else waits for them, nor does ``pierd``'s end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.runtime import load
from tests.support.api_server import connect, receive_until
from tests.support.daemons import Daemon, daemon
from tests.support.engines import IMAGE
from tests.support.requires import requires

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.runtime import Container

pytestmark = requires("root", "busybox")
CHATTER = "while :; do echo a line of some forty characters, again; done"
OTHERS = 20


class Stuck:
    """A daemon with one container that the kernel holds, and one that writes without end."""

    def __init__(self, it: Daemon, stack: contextlib.ExitStack) -> None:
        self.it = it
        self.client = it.client
        self._stack = stack
        self.held: Container = self._hold(self.start("stuck", "sleep", "1000"))
        self.start("chatter", "sh", "-c", CHATTER)

    def create(self, name: str, *words: str) -> str:
        """The container's id."""
        document = {"Image": IMAGE, "Cmd": words, "HostConfig": {"NetworkMode": "none"}}
        return str(self.client.post(f"/containers/create?name={name}", document).json()["Id"])

    def start(self, name: str, *words: str) -> str:
        """The same, of one that runs."""
        made = self.create(name, *words)
        assert self.client.post(f"/containers/{made}/start").status == 204
        return made

    def _hold(self, made: str) -> Container:
        """Its processes are frozen behind the engine's back, and its monitor stands still."""
        container = self._stack.enter_context(load(str(self.it.directory / "exec/runtime"), made))
        container.pause()
        os.kill(container.state.monitor_pid, signal.SIGSTOP)
        self._stack.callback(self.release)
        return container

    def release(self) -> None:
        """It goes on."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.held.state.monitor_pid, signal.SIGCONT)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> socket.socket:
        """A request whose answer nobody reads."""
        connection = self._stack.enter_context(connect(self.it.socket_path))
        lines = [f"{method} {path} HTTP/1.1", "Host: d", f"Content-Length: {len(body)}"]
        if body:
            lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join((*lines, "", body)).encode())
        return connection

    def exec(self, name: str, *words: str) -> str:
        """A further process that was not started."""
        wanted: dict[str, Any] = {"Cmd": words, "AttachStdout": True}
        return str(self.client.post(f"/containers/{name}/exec", wanted).json()["Id"])

    def everything_else_goes_on(self) -> None:
        """Lists, inspections, whole lives of others."""
        for number in range(OTHERS):
            made = self.start(
                f"other-{number}", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done"
            )
            names = [each["Names"] for each in self.client.get("/containers/json").json()]
            assert sorted(names) == [["/chatter"], [f"/other-{number}"], ["/stuck"]]
            assert self.client.get("/containers/stuck/json").json()["State"]["Running"]
            assert self.client.get(f"/containers/{made}/stats?stream=0&one-shot=1").status == 200
            assert self.client.post(f"/containers/{made}/stop?t=0").status == 204
            assert self.client.delete(f"/containers/{made}").status == 204


@contextlib.contextmanager
def hung(directory: Path) -> Iterator[None]:
    """Nobody serves the file system there: whoever looks at it waits until it is gone (fuse(4))."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0"
    words = ("mount", "-i", "-t", "fuse", "-o", options, "hung", directory)
    try:
        subprocess.run(words, check=True, pass_fds=(fd,))
        yield
    finally:
        os.close(fd)
        subprocess.run(("umount", "-l", directory), check=True)


def is_answered(connection: socket.socket) -> bool:
    """Whether the server has begun to."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return False


@pytest.fixture
def stuck(tmp_path: Path, engine_store: Path) -> Any:
    """A daemon with a stuck container; afterwards a second one removes what there is."""
    subprocess.run(("cp", "-a", engine_store, tmp_path / "data"), check=True)
    words = ("--bridge", "none", "--cgroup-parent", f"/pierhead-engine-{tmp_path.name}")
    with daemon(tmp_path, *words, "--shutdown-timeout", "1") as it, contextlib.ExitStack() as stack:
        yield Stuck(it, stack)
    with daemon(tmp_path, *words) as it:
        for each in it.client.get("/containers/json?all=1").json():
            assert it.client.delete(f"/containers/{each['Id']}?force=1&v=1").status == 204


def test_nobody_waits_for_what_is_stuck(stuck: Stuck) -> None:
    """Whoever asks something of it waits, or is told so, others do not; and the daemon ends all the same."""
    waiting = [stuck.ask("POST", f"/containers/stuck/{what}") for what in ("stop?t=1000", "wait")]
    told = stuck.client.post(f"/exec/{stuck.exec('stuck', 'true')}/start", {"Detach": True})
    assert (told.status, "cannot exec in a paused container" in told.message) == (409, True)
    upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
    exec_id = stuck.exec("chatter", "sh", "-c", CHATTER)
    unread = [
        stuck.ask("GET", "/events"),
        stuck.ask("GET", "/containers/chatter/logs?follow=1&stdout=1"),
        stuck.ask("GET", "/containers/chatter/stats"),
        stuck.ask("POST", "/containers/chatter/attach?stream=1&stdout=1", **upgrade),
        stuck.ask("POST", f"/exec/{exec_id}/start", '{"Detach": false}', **upgrade),
    ]
    for each in unread:
        receive_until(each, b"\r\n\r\n")
    stuck.everything_else_goes_on()
    assert not is_answered(waiting[0])
    assert stuck.it.end() == 0


def test_nobody_waits_for_a_file_system_that_hangs(stuck: Stuck, tmp_path: Path) -> None:
    """Who creates a container with it or copies out of it waits; others do not, nor does the end of pierd."""
    place = tmp_path / "hung"
    place.mkdir()
    mount = {"Type": "bind", "Source": str(place), "Target": "/x"}
    document = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"Mounts": [mount], "NetworkMode": "none"}}
    made = stuck.client.post("/containers/create?name=copied", document).json()["Id"]
    with hung(place):
        mount["Source"] = f"{place}/of/mine"
        waiting = [
            stuck.ask("POST", "/containers/create?name=held", json.dumps(document)),
            stuck.ask("GET", f"/containers/{made}/archive?path=/x/y"),
        ]
        stuck.everything_else_goes_on()
        assert not any(map(is_answered, waiting))
        assert stuck.it.end() == 1
    assert "something does not end" in stuck.it.log
