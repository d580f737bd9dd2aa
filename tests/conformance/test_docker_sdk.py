"""Docker's SDK for Python (docker-py), unchanged, with ``pierd``."""

from __future__ import annotations

import gc
import importlib
import io
import socket
import tarfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.pierds import IMAGE, fetch
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.daemons import Daemon

pytestmark = [
    requires("root", "busybox", "ip", "curl", "python:docker"),
    # docker-py leaves the sockets of streams to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

FOREVER = ["sleep", "1000"]


def _sdk() -> Any:
    return importlib.import_module("docker")  # it has no types


@pytest.fixture
def client(running: Daemon) -> Iterator[Any]:
    """The SDK's client; what a test leaves is removed."""
    it = _sdk().DockerClient(base_url=f"unix://{running.socket_path}", timeout=60)
    yield it
    for each in it.containers.list(all=True):
        each.remove(force=True, v=True)
    for volume in it.volumes.list():
        volume.remove()
    it.close()
    del it
    gc.collect()  # here, where nobody minds, and not in the midst of another module's test


def test_run(client: Any) -> None:
    """Output of both streams; a failure is an exception with its code and its errors."""
    errors = _sdk().errors
    assert client.ping()
    assert client.containers.run(IMAGE, "echo hi", remove=True) == b"hi\n"
    script = ["sh", "-c", "echo out; echo err >&2"]
    assert client.containers.run(IMAGE, script, remove=True, stdout=True, stderr=True) == b"out\nerr\n"
    with pytest.raises(errors.ContainerError) as failed:
        client.containers.run(IMAGE, ["sh", "-c", "echo bad >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"bad\n")
    with pytest.raises(errors.NotFound):
        client.containers.get("nobody")
    with pytest.raises(errors.ImageNotFound):
        client.images.get("nothing")


def test_a_container(client: Any, running: Daemon) -> None:
    """Everything that can be asked for at once is there, and reads back."""
    types = _sdk().types
    script = "mkdir -p /www; echo page > /www/index.html; exec httpd -f -p 80 -h /www"
    made = client.containers.run(
        IMAGE,
        ["sh", "-c", script],
        detach=True,
        name="web",
        labels={"a": "b"},
        environment={"E": "v"},
        ports={"80/tcp": None},
        mem_limit="32m",
        volumes={"vol": {"bind": "/data", "mode": "rw"}},
        tmpfs={"/scratch": "size=1m"},
        healthcheck={"test": ["CMD", "true"], "interval": 200_000_000},
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 2},
        ulimits=[types.Ulimit(name="nofile", soft=100, hard=100)],
        cap_drop=["MKNOD"],
        mounts=[types.Mount("/other", "other")],
    )
    while made.status != "running" or made.health != "healthy":
        time.sleep(0.05)
        made.reload()
    assert fetch(running, int(made.ports["80/tcp"][0]["HostPort"])) == "page\n"
    assert [each.name for each in client.containers.list(filters={"label": "a=b"})] == ["web"]
    assert made.attrs["HostConfig"]["Memory"] == 32 << 20
    assert {each["Name"] for each in made.attrs["Mounts"]} == {"vol", "other"}
    assert made.stats(stream=False)["memory_stats"]["usage"] > 0
    assert next(made.stats(decode=True))["name"] == "/web"
    assert "httpd" in made.top()["Processes"][0][-1]
    made.rename("site")
    made.update(mem_limit="64m", memswap_limit="128m")
    made.pause()
    made.reload()
    assert (made.name, made.status, made.attrs["HostConfig"]["Memory"]) == ("site", "paused", 64 << 20)
    made.unpause()
    made.restart(timeout=0)
    made.kill()
    assert made.wait(timeout=30)["StatusCode"] == 137


def test_exec(client: Any) -> None:
    """Streams apart, without loss; input through a socket; terminals; detached."""
    made = client.containers.run(IMAGE, FOREVER, detach=True, network_mode="none")
    for _ in range(5):
        done = made.exec_run(["sh", "-c", "echo out; echo err >&2; exit 4"], demux=True)
        assert (done.exit_code, done.output) == (4, (b"out\n", b"err\n"))
    assert b"".join(made.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    assert made.exec_run("tty", tty=True).output == b"/dev/pts/0\r\n"
    assert made.exec_run("id -u", user="1000").output == b"1000\n"
    stream = made.exec_run("cat", stdin=True, socket=True).output
    stream._sock.sendall(b"through\n")
    stream._sock.shutdown(socket.SHUT_WR)
    assert stream.read() == b"\x01\x00\x00\x00\x00\x00\x00\x08through\n"
    stream.close()
    made.exec_run("touch /made", detach=True)
    while {"Path": "/made", "Kind": 1} not in made.diff():
        time.sleep(0.05)


def test_streams(client: Any) -> None:
    """Logs that are followed, attachments, archives both ways."""
    made = client.containers.run(IMAGE, ["seq", "3"], detach=True, network_mode="none")
    assert made.wait()["StatusCode"] == 0
    assert made.logs(tail=1) == b"3\n"
    assert b"".join(made.logs(stream=True, follow=True)) == b"1\n2\n3\n"
    assert made.logs(timestamps=True).count(b"Z ") == 3
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    assert made.put_archive("/tmp", packed.getvalue())
    pieces, told = made.get_archive("/tmp/file")
    assert (told["name"], told["size"]) == ("file", 3)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.getnames() == ["file"]
    host = client.api.create_host_config(auto_remove=True, network_mode="none")
    cat = client.api.create_container(IMAGE, "cat", stdin_open=True, host_config=host)["Id"]
    stream = client.api.attach_socket(cat, params={"stdin": 1, "stdout": 1, "stream": 1})
    client.api.start(cat)
    stream._sock.sendall(b"one\n")
    frame = b""
    while len(frame) < 12 and (part := stream.read(12 - len(frame))):  # which may be less
        frame += part
    assert frame == b"\x01\x00\x00\x00\x00\x00\x00\x04one\n"
    stream._sock.shutdown(socket.SHUT_WR)  # the end of its input, and so of it
    stream.close()
    while client.api.containers(all=True, filters={"id": cat}):
        time.sleep(0.05)


def test_images(client: Any) -> None:
    """Commit, history, save, load, tag, removal."""
    made = client.containers.run(IMAGE, ["touch", "/made"], detach=True, network_mode="none")
    made.wait()
    image = made.commit("work", "1", message="by hand", changes="ENV A=1")
    assert image.tags == ["work:1"]
    assert image.history()[0]["Comment"] == "by hand"
    sizes = {each["SharedSize"] for each in client.df()["Images"]}
    assert len(sizes) == 1
    assert sizes.pop() > 0
    data = b"".join(image.save(named=True))
    client.images.remove("work:1")
    assert [each.tags for each in client.images.load(data)] == [["work:1"]]
    assert client.images.get("work:1").tag("copy", "2")
    client.images.remove("work:1")
    client.images.remove("copy:2")
    assert [each.tags for each in client.images.list()] == [[f"{IMAGE}:latest"]]


def test_the_rest(client: Any) -> None:
    """Volumes, networks, events, figures, prunes."""
    begun_s = int(time.time())
    volume = client.volumes.create("vol", labels={"x": "y"})
    assert [each.name for each in client.volumes.list(filters={"label": "x"})] == ["vol"]
    volume.remove()
    assert {each.name for each in client.networks.list()} == {"bridge", "host", "none"}
    with pytest.raises(_sdk().errors.APIError, match="not supported"):
        client.networks.create("own")
    client.containers.run(IMAGE, "true", name="short", network_mode="none")
    found = client.events(since=begun_s, until=time.time(), filters={"container": "short"}, decode=True)
    assert [each["Action"] for each in found if each["Action"] in ("create", "start", "die")] == [
        "create",
        "start",
        "die",
    ]
    assert len(client.containers.prune()["ContainersDeleted"]) == 1
    assert {"Images", "Containers", "Volumes"} <= set(client.df())
    assert client.info()["Containers"] == 0
