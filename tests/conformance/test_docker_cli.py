"""Docker's own command line against ``pierd``, over a unix socket and over TLS."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.daemons import Daemon, daemon
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "docker", "busybox")

IMAGE = "box"
_DEADLINE_S = 30


class Docker:
    """The command, told where its daemon is."""

    def __init__(self, host: str, home: Path, *flags: str) -> None:
        self._words = ["docker", "--host", host, *flags]
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def __call__(self, *words: str, feed: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """A call that ended so."""
        done = subprocess.run(
            [*self._words, *words],
            input=feed,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        )
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def says(self, *words: str, feed: bytes = b"") -> str:
        """What a call that went well has printed."""
        return self(*words, feed=feed).stdout.decode().strip()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the daemon, which has an image."""
    found = tmp_path_factory.mktemp("pierd")
    layout = write_image(found / "layout", busybox_layer(found), Cmd=["sh"], Env=["PATH=/bin"])
    Pier(found / "data")("load", "--quiet", "--input", str(layout), "--name", IMAGE)
    return found


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    """Who signs for the daemon and its clients."""
    return Authority(directory)


@pytest.fixture(scope="module")
def running(directory: Path, authority: Authority) -> Iterator[Daemon]:
    """A daemon at both kinds of addresses."""
    certificate, key = authority.make("server")
    words = ("--tlsverify", "--tlscert", certificate, "--tlskey", key, "--tlscacert", str(authority.path))
    unix = f"unix://{directory}/exec/pierd.sock"
    with daemon(directory, "--bridge", "none", "-H", unix, "-H", "tcp://127.0.0.1:0", *words) as it:
        yield it


@pytest.fixture
def docker(running: Daemon, tmp_path: Path) -> Iterator[Docker]:
    """Docker over the unix socket; what a test leaves is removed."""
    it = Docker(f"unix://{running.socket_path}", tmp_path)
    yield it
    left = it.says("ps", "--all", "--quiet").split()
    if left:
        it("rm", "--force", *left)


def test_version(docker: Docker) -> None:
    """Client and server find a version that both speak."""
    told = json.loads(docker.says("version", "--format", "{{json .}}"))
    assert told["Server"]["MinAPIVersion"] == "1.24"
    assert told["Server"]["Os"] == "linux"
    assert docker.says("info", "--format", "{{.OSType}} {{.Swarm.LocalNodeState}}") == "linux inactive"


def test_run(docker: Docker) -> None:
    """Output on its own streams, the exit status, nothing left."""
    done = docker(
        "run", "--rm", "--network=none", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 7", status=7
    )
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    assert docker.says("ps", "--all", "--quiet") == ""


def test_standard_input_ends(docker: Docker) -> None:
    """The container reads all of it and the end, and its answer comes whole."""
    text = b"x" * 300_000 + b"\n"
    done = docker(
        "run", "--rm", "--interactive", "--network=none", IMAGE, "sh", "-c", "cat; echo end", feed=text
    )
    assert done.stdout == text + b"end\n"


def test_life_of_a_container(docker: Docker) -> None:
    """Made, named, seen, listened to, entered, stopped, removed."""
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done"
    words = ("--name", "web", "--label", "a=b", "--network=none", IMAGE, "sh", "-c", script)
    made = docker.says("run", "--detach", *words)
    shown = docker.says("ps", "--no-trunc", "--filter", "label=a=b", "--format", "{{.ID}} {{.Names}}")
    assert shown == f"{made} web"
    assert docker.says("inspect", "--format", "{{.State.Status}}", "web") == "running"
    assert docker.says("exec", "web", "sh", "-c", "echo $0 within") == "sh within"
    assert docker.says("exec", "-i", "web", "cat", feed=b"through") == "through"
    docker("exec", "web", "sh", "-c", "exit 5", status=5)
    docker("rename", "web", "site")
    assert "sleep" in docker.says("top", "site") or "sh" in docker.says("top", "site")
    docker("stop", "site")
    assert docker.says("wait", "site") == "3"
    assert docker.says("start", "site") == "site"
    docker("pause", "site")
    assert docker.says("ps", "--format", "{{.State}}") == "paused"
    docker("unpause", "site")
    docker("kill", "site")
    assert docker.says("wait", "site") == "137"
    docker("rm", "site")
    assert docker("inspect", "site", status=1).stderr.startswith(b"Error: No such object: site")


def test_errors_are_sentences(docker: Docker) -> None:
    """Docker's own, with what is to be done."""
    docker("create", "--name", "taken", "--network=none", IMAGE)
    done = docker("create", "--name", "taken", "--network=none", IMAGE, status=1)
    assert b'Conflict. The container name "/taken" is already in use' in done.stderr
    assert b"No such container: nobody" in docker("start", "nobody", status=1).stderr
    assert b"swarm manager" in docker("node", "ls", status=1).stderr
    done = docker("run", "--network=none", IMAGE, "no-such-program", status=127)
    assert b"no-such-program" in done.stderr


def test_what_cannot_be_started_is_removed(docker: Docker) -> None:
    """``run --rm`` waits for the removal before it says why."""
    done = docker("run", "--rm", "--network=none", IMAGE, "no-such-program", status=127)
    assert b"no-such-program" in done.stderr
    assert docker.says("ps", "--all", "--quiet") == ""


def test_events(docker: Docker) -> None:
    """What happened, in its order, from the journal."""
    docker("run", "--rm", "--name", "short", "--network=none", IMAGE, "true")
    within = ("--since", "60s", "--until", f"{time.time():.6f}")
    found = docker.says("events", *within, "--filter", "container=short", "--format", "{{.Action}}")
    assert [action for action in found.split() if action in ("create", "start", "die", "destroy")] == [
        "create",
        "start",
        "die",
        "destroy",
    ]


def _secured(running: Daemon, authority: Authority, home: Path, name: str, unit: str) -> Docker:
    port = running.log.rpartition("tcp://127.0.0.1:")[2].partition('"')[0].partition(",")[0].strip()
    certificate, key = authority.make(name, unit)
    flags = ("--tlsverify", "--tlscacert", str(authority.path), "--tlscert", certificate, "--tlskey", key)
    return Docker(f"tcp://127.0.0.1:{port}", home, *flags)


def test_over_tls(running: Daemon, docker: Docker, authority: Authority, tmp_path: Path) -> None:
    """The end of input is not the end of output, also where TLS says it."""
    far = _secured(running, authority, tmp_path, "ci", "")
    done = far(
        "run", "--rm", "-i", "--network=none", IMAGE, "sh", "-c", "cat; sleep 0.2; echo end", feed=b"in "
    )
    assert done.stdout == b"in end\n"


def test_certificates_that_may_only_read(
    running: Daemon, docker: Docker, authority: Authority, tmp_path: Path
) -> None:
    """They list, and start nothing."""
    far = _secured(running, authority, tmp_path, "dashboard", "read-only")
    assert far.says("ps", "--quiet") == ""
    assert b"may only read" in far("create", IMAGE, status=1).stderr
