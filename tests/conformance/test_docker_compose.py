"""Docker Compose (trixie's ``docker-compose``) with ``pierd``: two services over the default network.

Debian 12 has no Compose of version 2: ``make packages`` fetches trixie's (`tests/support/trixie.py`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.peers import Client, wait_until
from tests.support.pierds import IMAGE, fetch, served
from tests.support.requires import requires
from tests.support.trixie import find_compose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.daemons import Daemon

_COMPOSE = find_compose()
pytestmark = [
    requires("root", "busybox", "ip", "curl"),
    pytest.mark.skipif(not _COMPOSE, reason="needs docker compose: make packages, as root"),
]

_FILE = f"""
services:
  web:
    image: {IMAGE}
    network_mode: bridge
    command: ["sh", "-c", "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www"]
    ports: ["18082:80"]
    volumes: ["data:/data"]
    environment: {{WHO: web}}
    stop_grace_period: 0s
    healthcheck:
      test: ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1/"]
      interval: 300ms
      timeout: 20s
      retries: 100
  client:
    image: {IMAGE}
    network_mode: "service:web"
    command: ["sh", "-c", "wget -q -O - http://127.0.0.1/; exec sleep 1000"]
    stop_grace_period: 0s
    depends_on:
      web: {{condition: service_healthy}}
volumes:
  data: {{}}
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a network of its own."""
    with served(tmp_path) as it:
        yield it


def test_two_services(running: Daemon, tmp_path: Path) -> None:
    """Up in their order, seen, entered, restarted, run once more, stopped, started, and down again."""
    (tmp_path / "compose.yml").write_text(_FILE)
    environment = {"DOCKER_HOST": f"unix://{running.socket_path}", "DOCKER_CONFIG": str(tmp_path / "config")}
    words = [_COMPOSE, "--project-name", "pair", "--file", f"{tmp_path}/compose.yml"]
    compose = Client([*words, "--ansi", "never", "--progress", "plain"], env=environment)

    compose("up", "--detach")
    assert fetch(running, 18082) == "page\n"
    listed = [json.loads(line) for line in compose("ps", "--format", "json").splitlines()]
    assert sorted((each["Service"], each["State"], each["Health"]) for each in listed) == [
        ("client", "running", ""),
        ("web", "running", "healthy"),
    ]
    wait_until(lambda: "page" in compose("logs", "--no-log-prefix", "client"), what="the client's page")
    assert compose("exec", "-T", "web", "sh", "-c", "echo $WHO") == "web\n"
    assert compose.result("exec", "-T", "web", "sh", "-c", "exit 6").returncode == 6
    assert compose("port", "web", "80") == "0.0.0.0:18082\n"
    assert "httpd" in compose("top", "web")
    assert compose("run", "--rm", "-T", "client", "echo", "once") == "once\n"
    compose("restart", "client")
    compose("stop")
    compose("start")
    before = compose("ps", "--quiet")
    compose("up", "--detach")
    assert compose("ps", "--quiet") == before
    compose("down", "--volumes")
    assert compose("ps", "--all", "--quiet") == ""
    assert running.client.get("/volumes").json()["Volumes"] in ([], None)
    assert running.client.get("/containers/json?all=1").json() == []


def test_networks_of_ones_own(running: Daemon, tmp_path: Path) -> None:
    """A file without ``network_mode`` wants one, and is told what there is."""
    (tmp_path / "compose.yml").write_text(f"services: {{one: {{image: {IMAGE}}}}}\n")
    environment = {"DOCKER_HOST": f"unix://{running.socket_path}", "DOCKER_CONFIG": str(tmp_path / "config")}
    words = [_COMPOSE, "--project-name", "own", "--file", f"{tmp_path}/compose.yml"]
    done = Client(words, env=environment).result("up", "--detach")
    assert done.returncode != 0
    assert "networks of one's own are not supported by this engine" in done.stderr
