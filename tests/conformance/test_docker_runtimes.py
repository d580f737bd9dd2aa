"""Docker's command line with containers that runc and crun make."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.daemons import Daemon, daemon
from tests.support.docker_cli import Docker
from tests.support.peers import find_program
from tests.support.pierds import IMAGE, add_image, fetch, served
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "docker", "busybox", "runc")

# crun before 1.9 refuses a machine where both kinds of cgroups have controllers: here it sees one kind
_WITHOUT_UNIFIED = 'umount /sys/fs/cgroup/unified 2> /dev/null; exec "$@"'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a bridge whose containers runc makes."""
    directory = tmp_path_factory.mktemp("pierd")
    words = ("--add-runtime", f"runc={find_program('runc')}", "--default-runtime", "runc")
    with served(directory, *words) as it:
        yield it


def test_run(docker: Docker) -> None:
    """Output, input, exit status, a terminal; what cannot be run has a shell's status."""
    told = json.loads(docker.says("info", "--format", "{{json .}}"))
    assert (told["DefaultRuntime"], sorted(told["Runtimes"])) == ("runc", ["pierhead", "runc"])
    assert docker("run", "--rm", "-i", IMAGE, "cat", feed=b"typed").stdout == b"typed"
    docker("run", "--rm", IMAGE, "sh", "-c", "exit 9", status=9)
    assert "executable file not found" in docker.refuses("run", "--rm", IMAGE, "no-such", status=127)
    with docker.typing("run", "--rm", "-it", IMAGE, "sh") as terminal:
        terminal.type(b"tty; exit 4\n")
        terminal.see(b"/dev/pts/0")
        assert terminal.end() == 4
    assert docker.says("ps", "--all", "--quiet") == ""


def test_life(docker: Docker, running: Daemon, tmp_path: Path) -> None:
    """A server with a published port, a volume, a reaper and a policy goes through all that docker can do."""
    server = "echo served > /w/index.html; echo ready; exec httpd -f -p 80 -h /w"
    words = ("--init", "--restart", "always", "-v", "pages:/w", "-p", "127.0.0.1:8080:80", "-m", "64m")
    docker("run", "-d", "--name", "web", *words, IMAGE, "sh", "-c", server)
    while "ready" not in docker.says("logs", "web"):
        pass
    assert fetch(running, 8080, "/index.html") == "served\n"
    assert docker.says("exec", "web", "cat", "/w/index.html") == "served"
    docker("exec", "web", "sh", "-c", "exit 3", status=3)
    assert docker("exec", "-i", "web", "cat", feed=b"typed").stdout == b"typed"
    (tmp_path / "page").write_text("copied\n")
    docker("cp", str(tmp_path / "page"), "web:/w/page")
    assert fetch(running, 8080, "/page") == "copied\n"
    docker("pause", "web")
    assert docker.says("inspect", "--format", "{{.State.Status}}", "web") == "paused"
    docker("unpause", "web")
    assert "httpd" in docker.says("top", "web")
    docker("update", "--memory", "32m", "--memory-swap", "32m", "web")
    assert "32MiB" in docker.says("stats", "--no-stream", "--format", "{{.MemUsage}}", "web")
    first = docker.says("inspect", "--format", "{{.State.Pid}}", "web")
    docker("exec", "--detach", "web", "killall", "httpd")  # it may be killed with the rest
    while docker.says("inspect", "--format", "{{.State.Pid}}", "web") in ("0", first):
        pass
    docker("stop", "--time", "0", "web")
    assert docker.says("wait", "web") == "137"
    docker("start", "web")
    docker("rm", "--force", "--volumes", "web")
    docker("volume", "rm", "pages")


@requires("crun")
def test_crun(tmp_path: Path) -> None:
    """The same command line, and another program."""
    add_image(tmp_path)
    words = ("--bridge", "none", "--add-runtime", f"crun={find_program('crun')}")
    before = ("unshare", "--mount", "sh", "-c", _WITHOUT_UNIFIED, "sh")
    with daemon(tmp_path, *words, before=before) as it:
        docker = Docker(f"unix://{it.socket_path}", tmp_path)
        docker("run", "-d", "--network", "none", "--runtime", "crun", "--name", "web", IMAGE, "sleep", "1000")
        assert docker.says("exec", "web", "echo", "inside") == "inside"
        with docker.typing("exec", "-it", "web", "sh") as terminal:
            terminal.type(b"exit 4\n")
            assert terminal.end() == 4
        docker("pause", "web")
        docker("unpause", "web")
        assert "sleep 1000" in docker.says("top", "web")
        docker("kill", "web")
        assert docker.says("wait", "web") == "137"
        assert "executable file not found" in docker.refuses(
            "run", "--rm", "--network", "none", "--runtime", "crun", IMAGE, "no-such", status=127
        )
        docker("rm", "web")
