"""Readiness of a container reaches systemd (sd_notify)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Runtime
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox", "python3")
# busybox sends no datagrams to unix sockets: the host's Python does it.
_TELL = """
import os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(os.environ["NOTIFY_SOCKET"])
s.send(b"STATUS=soon")
s.send(b"READY=1")
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        yield runtime


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager, which NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "manager"))
        yield manager


def _bundle(runtime: Runtime, seconds: str) -> str:
    mounts = {"type": "bind", "options": ["rbind", "ro"]}
    directories = [name for name in ("/usr", "/lib", "/lib64") if os.path.exists(name)]
    spec_mounts = [{"destination": name, "source": os.path.realpath(name), **mounts} for name in directories]
    (runtime.directory / "tell.py").write_text(_TELL)
    script = {"destination": "/tell.py", "source": str(runtime.directory / "tell.py"), **mounts}
    proc = {"destination": "/proc", "type": "proc", "source": "proc"}
    return runtime.bundle("/usr/bin/python3", "-IS", "/tell.py", seconds, mounts=[proc, *spec_mounts, script])


def test_run_in_the_foreground(runtime: Runtime, systemd: socket.socket) -> None:
    """Every message goes on as it is: the service's main process is the one in the foreground."""
    result = runtime.result("run", "--bundle", _bundle(runtime, "0"), runtime.id())
    assert result.returncode == 0, result.stderr
    assert [systemd.recv(4096), systemd.recv(4096)] == [b"STATUS=soon", b"READY=1"]
    assert not list(runtime.directory.glob("state-notify/*"))


def test_run_in_the_background(runtime: Runtime, systemd: socket.socket) -> None:
    """A detached run returns when the container is ready, and names its process."""
    name = runtime.id()
    runtime.quietly("run", "--detach", "--bundle", _bundle(runtime, "1000"), name)
    assert systemd.recv(4096) == b"STATUS=soon"
    assert systemd.recv(4096) == f"READY=1\nMAINPID={runtime.state(name)['pid']}\n".encode()
    runtime("delete", "--force", name)
    assert not list(runtime.directory.glob("state-notify/*"))


def test_create_and_start(runtime: Runtime, systemd: socket.socket) -> None:
    """Start waits for the readiness of what create has prepared."""
    name = runtime.id()
    runtime.quietly("create", "--bundle", _bundle(runtime, "1000"), name)
    runtime("start", name)
    assert systemd.recv(4096) == b"STATUS=soon"
    assert systemd.recv(4096).startswith(b"READY=1\nMAINPID=")
    runtime("delete", "--force", name)
    assert not list(runtime.directory.glob("state-notify/*"))


def test_a_container_that_never_gets_ready(runtime: Runtime, systemd: socket.socket) -> None:
    """Start does not wait for one that has ended; a failed creation leaves no directory."""
    name = runtime.id()
    runtime.quietly("create", "--bundle", runtime.bundle("true"), name)
    runtime("start", name)
    runtime("delete", name)
    assert runtime.result("create", "--bundle", runtime.bundle("nosuch"), name).returncode == 1
    assert not list(runtime.directory.glob("state-notify/*"))
