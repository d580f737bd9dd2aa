"""Limits of an ordinary user's containers, where systemd gives the user's ``pierd`` a cgroup to divide."""

from __future__ import annotations

import shlex
import subprocess
import tarfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.client.streams import split_frames
from tests.support.api_server import Client
from tests.support.containers import wait_until
from tests.support.ordinary import User, ordinary_user
from tests.support.pier import busybox_layer, write_image
from tests.support.requires import requires
from tests.support.service_managers import start_bus, user_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "systemd", "cgroup-v2", "newuidmap")

_UNIT = """
[Service]
Type=notify
NotifyAccess=all
ExecStart={program} --bridge none --rootless-network none
KillMode=process
{more}
"""
_GIVEN = "Delegate=yes\nDelegateSubgroup=pierd"
_MEMORY_BYTES = 32 << 20
_LOOK = "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max"


class Unit:
    """``pierd`` as a service of the user's."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._runtime = f"/run/user/{user.user_id}"
        self.client = Client(f"{self._runtime}/pierhead/pierd.sock")

    def write(self, more: str) -> None:
        """The unit's file says so."""
        home = self._user.home
        program = home / "pierd.sh"
        path = self._user.environment()["PYTHONPATH"]
        words = shlex.join(self._user.call("pierhead.cli.daemon"))
        program.write_text(f'#!/bin/sh\nexport PYTHONPATH={path}\nexec {words} "$@"\n')
        program.chmod(0o755)
        directory = home / ".config/systemd/user"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "pierd.service").write_text(_UNIT.format(program=program, more=more))
        self.systemctl("daemon-reload")

    def systemctl(self, *words: str) -> str:
        """What the user's systemctl has printed."""
        environment = {**self._user.environment(), "XDG_RUNTIME_DIR": self._runtime}
        process = self._user.start(
            "systemctl", "--user", *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        text, _ = process.communicate(timeout=60)
        assert process.returncode == 0, text
        return text.decode()

    @contextmanager
    def started(self, more: str) -> Iterator[Client]:
        """It serves; at the end it has stopped, with its containers."""
        self.write(more)
        self.systemctl("start", "pierd.service")
        try:
            yield self.client
        finally:
            self.systemctl("start", "pierd.service")  # a test may have killed it; who fails leaves none, too
            for container in self.client.get("/containers/json?all=1").json():
                self.client.delete(f"/containers/{container['Id']}?force=1")
            self.systemctl("stop", "pierd.service")

    def has_failed(self) -> bool:
        """Whether its process was killed and systemd knows."""
        state = self.systemctl("show", "--property=ActiveState", "--value", "pierd.service")
        return state.strip() == "failed"


@pytest.fixture(scope="module")
def services() -> None:
    """What systemd starts when it is first spoken to runs already: no test leaves it behind."""
    start_bus()


@pytest.fixture(scope="module")
def unit(services: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    """One that can be written, of a user with an image ``box`` and a systemd."""
    del services
    directory = tmp_path_factory.mktemp("limits")
    layout = write_image(directory / "layout", busybox_layer(directory), Cmd=["sh"], Env=["PATH=/bin"])
    with ordinary_user() as user:
        with tarfile.open(user.home / "box.tar", "w") as tar:
            tar.add(layout, arcname=".")
        loaded = user.call(
            "pierhead.cli.pier", "load", "--input", str(user.home / "box.tar"), "--name", "box"
        )
        status, said = user.run(*loaded)
        assert status == 0, said
        with user_manager(user.user_id):
            yield Unit(user)


def begin(client: Client, script: str, **host: object) -> str:
    """A container that runs; its id."""
    wanted = {"Image": "box", "Cmd": ["sh", "-c", script], "HostConfig": {"NetworkMode": "none", **host}}
    made = client.post("/containers/create", wanted)
    assert made.status == 201, made.body
    discarded = [each for each in made.json()["Warnings"] if "Limitation discarded" in each]
    assert discarded == []
    started = client.post(f"/containers/{made.json()['Id']}/start")
    assert started.status == 204, started.body
    return str(made.json()["Id"])


def said(client: Client, container: str) -> str:
    """What it has printed until its end."""
    client.post(f"/containers/{container}/wait")
    frames = split_frames([client.get(f"/containers/{container}/logs?stdout=1&stderr=1").body])
    return b"".join(piece for _, piece in frames).decode()


def test_limits(unit: Unit) -> None:
    """Memory, processes and processors are limited; pause, update and figures are there; and no cgroup is
    left of a container that is gone.
    """
    limits = {"Memory": _MEMORY_BYTES, "PidsLimit": 20, "NanoCpus": 500_000_000}
    with unit.started(_GIVEN) as client:
        seen = said(client, begin(client, _LOOK, **limits))
        assert seen == f"{_MEMORY_BYTES}\n20\n50000 100000\n"
        container = begin(client, "tail /dev/zero", **limits)
        assert client.post(f"/containers/{container}/wait").json()["StatusCode"] == 137
        assert client.get(f"/containers/{container}/json").json()["State"]["OOMKilled"]
        container = begin(client, "exec sleep 1000", **limits)
        directory = _cgroup(client, container)
        assert client.post(f"/containers/{container}/pause").status == 204
        assert "frozen 1\n" in (directory / "cgroup.events").read_text()
        assert client.post(f"/containers/{container}/unpause").status == 204
        assert "frozen 0\n" in (directory / "cgroup.events").read_text()
        figures = client.get(f"/containers/{container}/stats?stream=0&one-shot=1").json()
        assert figures["memory_stats"]["limit"] == _MEMORY_BYTES
        assert client.post(f"/containers/{container}/update", {"PidsLimit": 30}).status == 200
        assert (directory / "pids.max").read_text() == "30\n"
        assert client.get("/info").json()["CgroupDriver"] == "cgroupfs"
    assert not directory.exists()


def test_another_start(unit: Unit) -> None:
    """Containers go on with their limits when pierd is killed, and the next one has them."""
    with unit.started(_GIVEN) as client:
        container = begin(client, "exec sleep 1000", Memory=_MEMORY_BYTES)
        unit.systemctl("kill", "--kill-whom=main", "--signal=KILL", "pierd.service")
        wait_until("systemd knows that it was killed", unit.has_failed)
        unit.systemctl("start", "pierd.service")
        assert client.get(f"/containers/{container}/json").json()["State"]["Running"]
        assert (_cgroup(client, container) / "memory.max").read_text() == f"{_MEMORY_BYTES}\n"
        assert client.post(f"/containers/{container}/pause").status == 204
        begin(client, "true", Memory=_MEMORY_BYTES)


def test_not_given(unit: Unit) -> None:
    """Where nothing is delegated a limit is discarded with a warning, and the container runs."""
    with unit.started("") as client:
        wanted = {
            "Image": "box",
            "Cmd": ["true"],
            "HostConfig": {"Memory": _MEMORY_BYTES, "NetworkMode": "none"},
        }
        made = client.post("/containers/create", wanted).json()
        assert any("Limitation discarded" in each for each in made["Warnings"])
        assert client.post(f"/containers/{made['Id']}/start").status == 204
        assert client.post(f"/containers/{made['Id']}/wait").json()["StatusCode"] == 0


def _cgroup(client: Client, container: str) -> Path:
    pid = client.get(f"/containers/{container}/json").json()["State"]["Pid"]
    own = Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")
    return Path("/sys/fs/cgroup", own.lstrip("/"))
