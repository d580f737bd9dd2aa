"""Docker's own command line against ``pierd``, over a unix socket and over TLS."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from pierhead.registry.shacrypt import sha_crypt
from tests.support.certificates import Authority
from tests.support.daemons import Daemon, daemon
from tests.support.docker_cli import Docker
from tests.support.pierds import IMAGE, add_image
from tests.support.registries import Registry, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "docker", "busybox")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the daemon, which has an image."""
    found = tmp_path_factory.mktemp("pierd")
    add_image(found)
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


@pytest.fixture(scope="module", params=["open", "basic", "token"])
def reg(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Our registry, for everybody, or for alice who shows a password or gets tokens for it."""
    home = tmp_path_factory.mktemp("registry")
    settings = {}
    if request.param != "open":
        (home / "htpasswd").write_text(f"alice:{sha_crypt(b'secret', '$6$rounds=1000$salt')}\n")
        settings = {"htpasswd": str(home / "htpasswd"), "auth": request.param}
    with registry(home / "root", **settings) as it:
        it.headers["kind"] = request.param
        yield it


def test_push_and_pull(docker: Docker, reg: Registry) -> None:
    """To our registry and from it, by tag and by digest, with a login where it wants one."""
    name = f"{reg.address}/team/box:{reg.headers['kind']}"
    docker("tag", IMAGE, name)
    if reg.headers["kind"] != "open":
        docker("push", name, status=1)
        login = ("login", "--username", "alice", "--password-stdin", reg.address)
        docker(*login, feed=b"wrong", status=1)
        assert "Login Succeeded" in docker.says(*login, feed=b"secret")
    pushed = docker.says("push", name)
    digest = pushed.partition("digest: ")[2].split()[0]
    docker("rmi", name)
    assert docker.says("pull", "--quiet", name) == name
    assert f"{reg.address}/team/box@{digest}" in docker.says(
        "image", "inspect", "--format", '{{join .RepoDigests " "}}', name
    )
    by_digest = f"{reg.address}/team/box@{digest}"
    assert docker.says("run", "--rm", "--network=none", by_digest, "echo", "hi") == "hi"
    docker("pull", f"{reg.address}/team/nothing", status=1)
    docker("rmi", name)


def test_run_pulls_what_is_missing(docker: Docker, tmp_path: Path) -> None:
    """With its progress beside the container's own output."""
    with registry(tmp_path / "registry") as reg:
        name = f"{reg.address}/box:run"
        docker("tag", IMAGE, name)
        docker("push", "--quiet", name)
        docker("rmi", name)
        done = docker("run", "--rm", "--network=none", name, "echo", "hi")
        assert done.stdout == b"hi\n"
        assert b"Unable to find image" in done.stderr
        docker("rmi", name)
