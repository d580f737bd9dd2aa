"""``pierd`` of a real ordinary user, in namespaces of its own."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import subprocess
import sys
import tarfile
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from pierhead.client.streams import split_frames
from tests.support.containers import wait_until
from tests.support.image_archives import archive
from tests.support.ordinary import User, await_nobody, begun, machine_address, ordinary_user, served
from tests.support.pier import busybox_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.api_server import Client

pytestmark = requires("root", "newuidmap", "slirp4netns", "pasta")

_PATIENCE_S = 60.0
_NEIGHBOUR = "198.51.100.7"
_BELOW = {"etc/kept": b"kept", "srv/below": b"below"}
_ABOVE = {"srv/.wh..wh..opq": b"", "srv/above": b"above", "etc/.wh.kept": b""}
_SERVE = "mkdir /www; echo hello > /www/index.html; exec httpd -f -v -p 80 -h /www"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    """A user with an image ``box`` of three layers, which pier has loaded into the user's store."""
    directory = tmp_path_factory.mktemp("rootless")
    layers = busybox_layer(directory), archive(_BELOW), archive(_ABOVE)
    layout = write_image(directory / "layout", *layers, Cmd=["sh"], Env=["PATH=/bin:/sbin"])
    with ordinary_user() as it:
        _give(layout, it.home / "box.tar")
        loaded = it.call("pierhead.cli.pier", "load", "--input", str(it.home / "box.tar"), "--name", "box")
        status, said = it.run(*loaded)
        assert status == 0, said
        yield it


def _give(layout: Path, path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add(layout, arcname=".")
    path.chmod(0o644)


def create(client: Client, script: str, **host: object) -> str:
    """A container of the image that runs; its id."""
    wanted = {"Image": "box", "Cmd": ["sh", "-c", script], "StopTimeout": 1, "HostConfig": host}
    made = client.post("/containers/create", wanted)
    assert made.status == 201, made.body
    started = client.post(f"/containers/{made.json()['Id']}/start")
    assert started.status == 204, started.body
    return str(made.json()["Id"])


def output(client: Client, script: str, **host: object) -> str:
    """What a script in a container of its own has said."""
    container = create(client, script, **host)
    client.post(f"/containers/{container}/wait")
    return said(client, container)


def said(client: Client, container: str) -> str:
    """All that the container has said, without the stream's frames."""
    frames = split_frames([client.get(f"/containers/{container}/logs?stdout=1&stderr=1").body])
    return b"".join(piece for _, piece in frames).decode()


def fetch(port: int) -> str:
    """What the published port answers to the machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def free_port() -> int:
    """A port that nobody has, nor gets from the kernel before it is taken: those begin at 32768 (ip(7))."""
    return next(port for port in range(32_000, 1024, -1) if not is_taken(port))


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def await_page(port: int) -> str:
    """The same as soon as somebody listens."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return fetch(port)
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def test_life(user: User) -> None:
    """Root of a container is the user, other users are its subordinate ids; volumes last; layers hide what
    they say; and nothing of the user's runs when pierd has stopped.
    """
    with served(user) as it:
        client = it.client
        seen = output(
            client, "id -u; cat /proc/self/uid_map; ls /srv /etc/kept; chown 1000 /tmp && echo owned"
        )
        assert seen.split()[:4] == ["0", "0", str(user.user_id), "1"]
        assert "above" in seen
        assert "below" not in seen
        assert "/etc/kept: No such file" in seen
        assert "owned" in seen
        container = create(client, "echo first; exec sleep 100", Binds=["kept:/data"])
        pid = client.get(f"/containers/{container}/json").json()["State"]["Pid"]
        owner = subprocess.run(["stat", "-c", "%u", f"/proc/{pid}"], capture_output=True, check=True).stdout
        assert int(owner) == user.user_id
        made = client.post(f"/containers/{container}/exec", {"Cmd": ["sh", "-c", "id -u > /data/who"]})
        client.post(f"/exec/{made.json()['Id']}/start", {"Detach": True})
        while client.get(f"/exec/{made.json()['Id']}/json").json()["Running"]:
            time.sleep(0.02)
        wait_until("its first line", lambda: said(client, container) == "first\n")
        assert client.post(f"/containers/{container}/stop").status == 204
        assert client.delete(f"/containers/{container}").status == 204
        assert output(client, "cat /data/who", Binds=["kept:/data"]) == "0\n"
        assert "name=rootless" in client.get("/info").json()["SecurityOptions"]
    assert await_nobody(user) == []


@pytest.mark.parametrize("network", ["slirp4netns", "pasta"])
def test_ports_and_return(user: User, network: str) -> None:
    """A published port answers on the machine's loopback, also while pierd is dead; the next pierd has the
    container, its port and its end, and nobody else gets the port.  Nobody else can ask who leads it.
    """
    port = free_port()
    ports = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]}
    words = ("--rootless-network", network)
    with begun(user, *words) as first:
        container = create(first.client, _SERVE, PortBindings=ports)
        assert await_page(port) == "hello\n"
        assert stat.S_IMODE((user.home / "run/pierhead/rootless").stat().st_mode) == 0o700
        first.kill()
        assert fetch(port) == "hello\n"
    with served(user, *words) as it:
        client = it.client
        found = client.get(f"/containers/{container}/json").json()
        assert found["State"]["Running"]
        assert found["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"] == str(port)
        assert fetch(port) == "hello\n"
        refused = client.post("/containers/create", {"Image": "box", "HostConfig": {"PortBindings": ports}})
        answer = client.post(f"/containers/{refused.json()['Id']}/start")
        assert "port is already allocated" in answer.message
        client.post(f"/containers/{container}/stop")
        while is_taken(port):
            time.sleep(0.05)
        client.post(f"/containers/{container}/start")
        assert await_page(port) == "hello\n"
    assert await_nobody(user) == []


_ECHO = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
    heard.bind(("", 53))
    print("ready", flush=True)
    text, client = heard.recvfrom(65535)
    heard.sendto(text, client)
"""


def test_datagrams(user: User) -> None:
    """Beside pasta a published port of UDP answers at every address of the machine."""
    port = free_port()
    with served(user, "--rootless-network", "pasta") as it:
        ports = {"53/udp": [{"HostPort": str(port)}]}
        container = create(it.client, "exec sleep 100", PortBindings=ports)
        pid = it.client.get(f"/containers/{container}/json").json()["State"]["Pid"]
        words = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", _ECHO]
        with machine_address(_NEIGHBOUR):
            for address in ("127.0.0.1", _NEIGHBOUR):
                with (
                    subprocess.Popen(words, stdout=subprocess.PIPE) as echo,
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
                ):
                    assert echo.stdout is not None
                    assert echo.stdout.readline() == b"ready\n"
                    client.settimeout(30)
                    client.connect((address, port))
                    client.send(address.encode())
                    assert client.recv(100) == address.encode()
    assert await_nobody(user) == []


class _Greeting(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"outside\n")

    def log_message(self, *_: object) -> None:
        """Nobody wants to know."""


@contextmanager
def greeting(address: str) -> Iterator[int]:
    """A server at an address of the machine; its port."""
    with HTTPServer((address, 0), _Greeting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("network", ["slirp4netns", "pasta"])
def test_world(user: User, network: str) -> None:
    """Containers reach others by either program, and not what listens at the machine's loopback only."""
    with (
        machine_address(_NEIGHBOUR),
        greeting(_NEIGHBOUR) as port,
        served(user, "--rootless-network", network) as it,
    ):
        seen = output(it.client, f"wget -q -O - http://{_NEIGHBOUR}:{port}/; cat /etc/resolv.conf")
        server = "10.0.2.3" if network == "slirp4netns" else "169.254.1.1"
        assert seen.startswith(f"outside\nnameserver {server}\n")
        seen = output(it.client, "cat /seen", Binds=["/etc/resolv.conf:/seen:ro"])  # so pierd itself asks
        assert seen.startswith(f"nameserver {server}\n")
        places = f"10.0.2.2 169.254.1.1 {_NEIGHBOUR}"
        with greeting("127.0.0.1") as inner:
            fetching = f"timeout 3 wget -q -O - http://$to:{inner}/ 2>/dev/null"
            script = f"for to in {places}; do {fetching}; done; echo tried"
            seen = output(it.client, script)
        assert seen == "tried\n"
    assert await_nobody(user) == []


def test_what_cannot_be(user: User) -> None:
    """Limits are passed over with a warning; what the kernel refuses to a user is refused with a reason."""
    with served(user) as it:
        client = it.client
        made = client.post("/containers/create", {"Image": "box", "HostConfig": {"Memory": 64 << 20}}).json()
        assert any("Limitation discarded" in each for each in made["Warnings"])
        answer = client.post("/containers/create", {"Image": "box", "HostConfig": {"PidMode": "host"}})
        assert "machine's processes" in answer.message
        answer = client.post("/containers/create", {"Image": "pierhead/host", "Cmd": ["true"]})
        assert "machine's files" in answer.message
        container = create(client, "exec sleep 100", Privileged=True)
        assert "no cgroup" in client.post(f"/containers/{container}/pause").message
        for place, reason in (
            ({"HostPort": "80"}, "cannot hold port 0.0.0.0:80: permission denied"),
            ({"HostIp": "203.0.113.9"}, "this machine has no address 203.0.113.9"),
        ):
            wanted = {"Image": "box", "HostConfig": {"PortBindings": {"80/tcp": [place]}}}
            made = client.post("/containers/create", wanted).json()
            answer = client.post(f"/containers/{made['Id']}/start")
            assert reason in answer.message
    tcp = user.run(*user.call("pierhead.cli.daemon", "--host", "tcp://127.0.0.1:2375"))
    assert tcp[0] == 1
    assert "cannot listen at tcp://127.0.0.1:2375" in tcp[1]


def test_without_ranges(user: User) -> None:
    """A user without subordinate ids is told where they stand and how to get some."""
    subprocess.run(["usermod", "--del-subuids", _range(user), user.name], check=True)
    try:
        status, text = user.run(*user.call("pierhead.cli.daemon"))
    finally:
        subprocess.run(["usermod", "--add-subuids", _range(user), user.name], check=True)
    assert status == 1
    assert f"user {user.name} has no subordinate ids in /etc/subuid" in text
    assert "usermod --add-subuids" in text


def test_what_keeps_it_outside(user: User) -> None:
    """Who cannot enter is told why in a sentence, and leaves no namespaces that nobody is in."""
    pierd = user.call("pierhead.cli.daemon")
    in_the_way = user.home / "run/pierhead/rootless/resolv.conf"
    script = 'set -e; rm -f "$0"; mkdir -p "$0"; code=0; "$@" || code=$?; rmdir "$0"; exit $code'
    status, text = user.run("sh", "-c", script, str(in_the_way), *pierd)
    assert status == 1
    assert f"cannot serve in the user's namespaces: {in_the_way}: is a directory" in text
    assert await_nobody(user) == []
    status, text = user.run("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh", *pierd)
    assert status == 1
    assert "the current directory is not there any more" in text


def _range(user: User) -> str:
    with open("/etc/subuid") as file:
        lines = [line.strip().split(":") for line in file if line.startswith(f"{user.name}:")]
    if lines:
        _RANGES[user.name] = f"{lines[0][1]}-{int(lines[0][1]) + int(lines[0][2]) - 1}"
    return _RANGES[user.name]


_RANGES: dict[str, str] = {}


@requires("docker")
def test_commands(user: User) -> None:
    """The command pier starts the user's own pierd, and docker's command line finds it at its socket."""
    pier = user.call("pierhead.cli.pier")
    try:
        assert user.run(*pier, "run", "--rm", "box", "id", "-u") == (0, "0\n")
        socket_path = f"unix://{user.home}/run/pierhead/pierd.sock"
        docker = ["docker", "--host", socket_path]
        status, text = user.run(*docker, "run", "--rm", "--network", "none", "box", "echo", "by docker")
        assert (status, text) == (0, "by docker\n")
        status, text = user.run(*docker, "info", "--format", "{{json .SecurityOptions}}")
        assert "name=rootless" in json.loads(text)
    finally:
        pid = int((user.home / "run/pierhead/pierd.pid").read_text())
        subprocess.run(["kill", str(pid)], check=True)
        assert await_nobody(user) == []
