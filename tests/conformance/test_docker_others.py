"""Others who speak Docker's API with ``pierd``: dockerode in Node, testcontainers, curl, and Podman, which
speaks its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.peers import Client, find_program
from tests.support.pierds import IMAGE
from tests.support.repository import ROOT
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.daemons import Daemon

pytestmark = requires("root", "busybox", "ip")
_DOCKERODE = "dockerode@5"
_NPM_S = 120


@requires("node", "npm")
@pytest.mark.timeout(300)
def test_dockerode(running: Daemon, tmp_path: Path) -> None:
    """Runs, attaches, executes, follows, lists, copies: what it printed is what it should have found."""
    words = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", _DOCKERODE]
    try:
        installed = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=_NPM_S
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm's index does not answer")
    if installed.returncode:
        pytest.skip(f"npm cannot install dockerode: {installed.stderr.strip().splitlines()[-1:]}")
    script = tmp_path / "clients.js"
    script.write_text((ROOT / "tests/conformance/dockerode.js").read_text())
    done = Client(["node", script], cwd=tmp_path).result(running.socket_path, IMAGE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "run": [2, "out\n", "err\n"],
        "terminal": [0, "/dev/pts/0\r\n"],
        "listed": ["/node"],
        "exec": [3, "o\n", "e\n"],
        "input": [0, "through\n"],
        "attached": [0, "hey\n"],
        "logs": "1\n2\n",
        "archive": True,
        "missing": [404, "no such container"],
        "events": ["create", "start", "die", "destroy"],
        "networks": ["bridge", "host", "none"],
        "left": 0,
    }


@requires("python:testcontainers")
def test_testcontainers(running: Daemon, tmp_path: Path) -> None:
    """A service is waited for by its log and its port, which is published, and is removed."""
    environment = {
        "DOCKER_HOST": f"unix://{running.socket_path}",
        "DOCKER_CONFIG": str(tmp_path),
        "TESTCONTAINERS_RYUK_DISABLED": "true",  # an image of its own, which no registry here has
    }
    script = ROOT / "tests/conformance/testcontainers_use.py"
    beside = [find_program("nsenter"), f"--net=/proc/{running.process.pid}/ns/net", sys.executable]
    done = Client([*beside, script], env=environment).result(IMAGE)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "page": "page of tests\n",
        "exec": [4, "copied\n"],
        "logs": "up and ready\n",
        "status": "running",
    }
    assert running.client.get("/containers/json?all=1").json() == []


@requires("curl")
def test_curl(running: Daemon) -> None:
    """A container's life, by hand."""
    flags = ["--silent", "--show-error", "--unix-socket", running.socket_path]
    curl = Client([find_program("curl"), *flags])
    post = ("-X", "POST", "-H", "Content-Type: application/json")
    assert curl("http://d/_ping") == "OK"
    wanted = json.dumps(
        {"Image": IMAGE, "Cmd": ["echo", "hi"], "Tty": True, "HostConfig": {"NetworkMode": "none"}}
    )
    made = json.loads(curl(*post, "-d", wanted, "http://d/v1.43/containers/create?name=byhand"))
    assert made["Warnings"] == []
    status = ("-o", "/dev/null", "-w", "%{http_code}")
    assert curl(*status, "-X", "POST", f"http://d/v1.24/containers/{made['Id']}/start") == "204"
    assert json.loads(curl("-X", "POST", "http://d/containers/byhand/wait"))["StatusCode"] == 0
    assert curl("http://d/containers/byhand/logs?stdout=1") == "hi\n"  # \r\n, before Python
    assert curl(*status, "-X", "POST", "http://d/containers/byhand/stop") == "304"
    assert curl(*status, "-X", "DELETE", "http://d/containers/byhand") == "204"
    told = json.loads(curl("http://d/containers/byhand/json"))
    assert told["message"].startswith("No such container: byhand")
    assert curl(*status, "http://d/v9.9/info") == "400"
