"""``pierd`` under systemd: the units that we ship, installed by somebody who wants other directories."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.client.streams import split_frames
from tests.support.api_server import Client
from tests.support.daemons import command
from tests.support.engines import IMAGE
from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox", "systemd", "cgroup-v2")
UNITS = Path("/run/systemd/system")
SERVICE, SOCKET = "pierd.service", "pierd.socket"
_TICKER = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done"


def systemctl(*words: str) -> str:
    """What it printed; it must succeed."""
    return subprocess.run(["systemctl", *words], check=True, capture_output=True, text=True).stdout.strip()


def shown(name: str) -> str:
    """A property of the service."""
    return systemctl("show", SERVICE, f"--property={name}", "--value")


def quoted(words: list[str]) -> str:
    """A command line as a unit has it (systemd.service(5), "Command lines")."""
    return " ".join('"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"')) for word in words)


def lines_of(client: Client, container: str) -> list[bytes]:
    """What the container has written."""
    frames = split_frames([client.get(f"/containers/{container}/logs?stdout=1").body])
    return b"".join(piece for _, piece in frames).splitlines()


@contextmanager
def installed(directory: Path, *words: str) -> Iterator[Client]:
    """The units are systemd's, with this interpreter and these directories; the socket listens."""
    changed = UNITS / f"{SERVICE}.d", UNITS / f"{SOCKET}.d"
    line = quoted(command(directory, "--bridge", "none", "--host", "fd://", *words))
    environment = f"Environment=PYTHONPATH={ROOT / 'src'}:{':'.join(sys.path)}"
    texts = (
        f"[Service]\nExecStart=\nExecStart={line}\n{environment}\n",
        f"[Socket]\nListenStream=\nListenStream={directory}/exec/pierd.sock\n",
    )
    for name, place, text in zip((SERVICE, SOCKET), changed, texts, strict=True):
        (UNITS / name).write_bytes((ROOT / "systemd" / name).read_bytes())
        place.mkdir()
        (place / "test.conf").write_text(text)
    try:
        systemctl("daemon-reload")
        systemctl("start", SOCKET)
        yield Client(str(directory / "exec/pierd.sock"))
    finally:
        systemctl("stop", SOCKET, SERVICE)
        for name, place in zip((SERVICE, SOCKET), changed, strict=True):
            (place / "test.conf").unlink()
            place.rmdir()
            (UNITS / name).unlink()
        systemctl("daemon-reload")


@pytest.fixture
def store(tmp_path: Path, engine_store: Path) -> None:
    """The daemon will have the image."""
    subprocess.run(("cp", "-a", engine_store, tmp_path / "data"), check=True)


@pytest.mark.usefixtures("store")
def test_containers_are_not_the_units(tmp_path: Path) -> None:
    """The first client starts it; its restart, stop and death disturb no container and refuse no client."""
    with installed(tmp_path, "--cgroup-parent", f"/pierhead-engine-{tmp_path.name}") as client:
        assert shown("ActiveState") == "inactive"
        assert client.get("/_ping").status == 200
        assert shown("ActiveState") == "active"
        assert shown("StatusText").startswith("listening at unix://")
        document = {
            "Image": IMAGE,
            "Cmd": ["sh", "-c", _TICKER],
            "HostConfig": {"NetworkMode": "none"},
        }
        made = client.post("/containers/create?name=ticker", document).json()["Id"]
        assert client.post(f"/containers/{made}/start").status == 204
        pid = client.get(f"/containers/{made}/json").json()["State"]["Pid"]
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n", "the daemon's own score is inherited"
        mains, written = {shown("MainPID")}, 0
        for words in (
            ("restart", SERVICE),
            ("stop", SERVICE),
            ("kill", "--kill-whom=main", "--signal=KILL", SERVICE),
        ):
            systemctl(*words)
            state = client.get(f"/containers/{made}/json").json()["State"]
            assert (state["Running"], state["Pid"]) == (True, pid)
            mains.add(shown("MainPID"))
            before, written = written, len(lines_of(client, made))
            while written <= before:
                written = len(lines_of(client, made))
        assert len(mains) == 4, "one of them has lived on"
        systemctl("reload", SERVICE)
        assert shown("StatusText") == "the configuration was read anew"
        assert client.post(f"/containers/{made}/stop?t=0").status == 204
        lines = lines_of(client, made)
        assert len(lines) >= written
        assert lines == [b"%d" % number for number in range(len(lines))]
        assert client("DELETE", f"/containers/{made}").status == 204


def test_it_may_end_when_idle(tmp_path: Path) -> None:
    """And is there again when somebody asks: systemd keeps the socket."""
    with installed(tmp_path, "--idle-timeout", "1") as client:
        assert client.get("/_ping").status == 200
        first = shown("ExecMainPID")  # also when it has ended
        while shown("ActiveState") != "inactive":
            pass
        assert shown("Result") == "success"
        assert client.get("/_ping").status == 200
        assert shown("ExecMainPID") not in ("0", first)
