"""What was found by giving dockerd 26.1 and ``pierd`` the same hundreds of commands, side by side."""

from __future__ import annotations

import os
import socket
import struct
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.api_server import connect, receive_all
from tests.support.pierds import IMAGE
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.daemons import Daemon
    from tests.support.docker_cli import Docker

pytestmark = requires("root", "docker", "busybox", "ip")

NONE = "--network=none"
FOREVER = ("sleep", "1000")


# Output


def test_a_frame_is_a_line(running: Daemon, docker: Docker) -> None:
    """Clients that yield frames give lines to who asks for lines (docker-py's ``logs(stream=True)``)."""
    docker("run", "--name", "talker", NONE, IMAGE, "sh", "-c", "echo one; echo two; printf three")
    raw = running.client.get("/containers/talker/logs?stdout=1").body
    found = []
    while raw:
        stream, size = struct.unpack(">BxxxL", raw[:8])
        found.append((stream, raw[8 : 8 + size]))
        raw = raw[8 + size :]
    assert found == [(1, b"one\n"), (1, b"two\n"), (1, b"three")]


def test_details(docker: Docker) -> None:
    """Labels, variables and the tag that the driver's options name stand before each line."""
    options = ("--log-opt", "labels=a", "--log-opt", "env=E", "--log-opt", "tag=t")
    docker("run", "--name", "rich", *options, "-l", "a=b", "-e", "E=f g", NONE, IMAGE, "echo", "words")
    assert docker.says("logs", "--details", "rich") == "E=f+g,a=b,tag=t words"
    stamp, details, text = docker.says("logs", "--details", "--timestamps", "rich").split(" ")
    assert (stamp[-1], details, text) == ("Z", "E=f+g,a=b,tag=t", "words")
    docker("run", "--name", "poor", NONE, IMAGE, "echo", "words")
    assert docker("logs", "--details", "poor").stdout == b" words\n"


# Lives


def test_restart_of_what_is_paused(docker: Docker) -> None:
    """It runs."""
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    docker("pause", "box")
    docker("restart", "--time", "0", "box")
    assert docker.says("inspect", "--format", "{{.State.Status}}", "box") == "running"


def test_names_that_change(docker: Docker) -> None:
    """A container in the namespaces of another has its hostname, and finds it under whatever name."""
    docker("run", "--detach", "--name", "host", "--hostname", "owner", NONE, IMAGE, *FOREVER)
    docker("create", "--name", "guest", "--network", "container:host", IMAGE, "hostname")
    docker("rename", "host", "moved")
    assert docker.says("start", "--attach", "guest") == "owner"
    whole = docker.says("inspect", "--format", "{{.Id}}", "moved")
    assert docker.says("inspect", "--format", "{{.HostConfig.NetworkMode}}", "guest") == f"container:{whole}"
    taken = docker.refuses("rename", "guest", "moved")
    assert 'Error when allocating new name: Conflict. The container name "/moved" is already in use' in taken


def test_the_machines_network(docker: Docker) -> None:
    """Who is in it is called as the machine, and who names no network is told of the default one by name."""
    assert docker.says("run", "--rm", "--network=host", IMAGE, "hostname") == socket.gethostname()
    docker("create", "--name", "plain", IMAGE)
    assert docker.says("inspect", "--format", "{{.HostConfig.NetworkMode}}", "plain") == "bridge"
    docker("create", "--name", "alone", NONE, IMAGE)
    known = docker.says("network", "inspect", "--format", "{{.Id}}", "none")
    assert (
        docker.says("inspect", "--format", "{{.NetworkSettings.Networks.none.NetworkID}}", "alone") == known
    )


def test_keys_that_are_none(docker: Docker) -> None:
    """Are refused before the process is there to begin."""
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    refusal = docker.refuses("exec", "--detach-keys", "bogus", "box", "true")
    assert "(bogus) provided" in refusal


def test_what_is_told(docker: Docker) -> None:
    """Looks at processes, names that a commit gives, what is saved and what is pruned are events too."""
    begin = str(int(time.time()) - 1)
    docker("run", "--detach", "--name", "box", NONE, IMAGE, *FOREVER)
    docker("top", "box")
    docker("commit", "box", "told")
    docker("save", "told")
    docker("network", "prune", "--force")
    assert docker.says("image", "inspect", "--format", "{{.Metadata.LastTagTime.Unix}}", "told") >= begin
    docker("rmi", "told")
    docker("image", "prune", "--force")
    shown = "{{.Type}} {{.Action}}"
    told = docker.lines("events", "--since", begin, "--until", str(int(time.time()) + 1), "--format", shown)
    wanted = (
        "container top, image tag, container commit, image save, network prune, image delete, image prune"
    )
    assert [each for each in told if each in wanted.split(", ")] == wanted.split(", ")


# Files


def test_cp_to_what_is_mounted(docker: Docker, tmp_path: Path) -> None:
    """A file that is mounted is not exchanged: that would take the mount away from the container.  Before it
    runs as well, with its volumes on their places.
    """
    (tmp_path / "bound").write_text("of the host")
    (tmp_path / "other").write_text("other")
    bound = f"{tmp_path}/bound:/bound"
    docker("create", "--name", "box", "--volume", bound, "--volume", "kept:/data/deep", NONE, IMAGE, *FOREVER)
    assert "something is mounted there" in docker.refuses("cp", f"{tmp_path}/other", "box:/bound")
    docker("cp", f"{tmp_path}/other", "box:/data/deep/before")
    docker("start", "box")
    assert docker.says("exec", "box", "cat", "/data/deep/before") == "other"
    for path in ("/bound", "/etc/hosts"):
        assert "something is mounted there" in docker.refuses("cp", f"{tmp_path}/other", f"box:{path}")
    assert docker.says("exec", "box", "cat", "/bound") == "of the host"
    assert "localhost" in docker.says("exec", "box", "cat", "/etc/hosts")
    docker("cp", f"{tmp_path}/other", "box:/etc/passwd")
    assert docker.says("exec", "box", "cat", "/etc/passwd") == "other"


def test_volumes_with_options_stay(docker: Docker) -> None:
    """They say where files are that a prune does not know."""
    docker("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "memory")
    docker("volume", "create", "plain")
    docker("volume", "prune", "--force", "--filter", "all=1")
    assert docker.lines("volume", "ls", "--quiet") == ["memory"]
    docker("volume", "rm", "memory")


# Images


def test_what_is_called_otherwise_by_now(docker: Docker) -> None:
    """A list of containers has an image's id where the name means another image, or none; and finds those
    made of an image by what its name means now.
    """
    identity = docker.says("image", "inspect", "--format", "{{.Id}}", IMAGE)
    short = identity.removeprefix("sha256:")[:12]
    docker("tag", IMAGE, "moved:1")
    for name, image in (("moved", "moved:1"), ("stays", IMAGE), ("by-id", identity), ("short", short)):
        docker("create", "--name", name, NONE, image)
    listing = ("ps", "--all", "--format", "{{.Names}} {{.Image}}")
    assert set(docker.lines(*listing)) == {
        "moved moved:1",
        f"stays {IMAGE}",
        f"by-id {short}",
        f"short {short}",
    }
    docker("commit", "--change", "LABEL other=yes", "stays", "moved:1")
    assert f"moved {short}" in docker.lines(*listing)
    assert f"moved {identity}" in docker.lines(*listing, "--no-trunc")
    assert docker.lines(*listing, "--filter", "ancestor=moved:1") == []
    assert len(docker.lines(*listing, "--filter", f"ancestor={IMAGE}")) == 4
    docker("rmi", "moved:1")
    assert f"moved {short}" in docker.lines(*listing)
    docker("tag", IMAGE, "moved:1")
    assert "moved moved:1" in docker.lines(*listing)
    docker("rmi", "moved:1")


def test_an_image_for_another_platform(docker: Docker, tmp_path: Path) -> None:
    """It is looked at and run as it is, with a warning, where there is none for this machine."""
    docker("create", "--name", "box", NONE, IMAGE)
    docker("export", "--output", f"{tmp_path}/root.tar", "box")
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    docker("import", "--platform", f"linux/{other}", f"{tmp_path}/root.tar", "foreign:1")
    assert docker.says("image", "inspect", "--format", "{{.Architecture}}", "foreign:1") == other
    assert len(docker.lines("history", "--quiet", "foreign:1")) == 1
    done = docker("run", "--name", "author", NONE, "foreign:1", "/bin/echo", "words")
    assert done.stdout == b"words\n"
    assert f"The requested image's platform (linux/{other}) does not match".encode() in done.stderr
    docker("commit", "author", "foreign:2")
    assert docker.says("image", "inspect", "--format", "{{.Architecture}}", "foreign:2") == other
    docker("rm", "author")
    docker("rmi", "foreign:1", "foreign:2")


# Requests


def test_an_image_that_says_nothing(running: Daemon) -> None:
    """Has all members of a configuration that clients look into, also of one that it does not set."""
    config = running.client.get(f"/images/{IMAGE}/json").json()["Config"]
    assert (config["Labels"], config["Entrypoint"], config["User"], config["WorkingDir"]) == (
        None,
        None,
        "",
        "",
    )


def test_what_no_disk_usage_is_of(running: Daemon) -> None:
    """Is refused."""
    answer = running.client.get("/system/df?type=bogus")
    assert (answer.status, answer.message.partition("\n")[0]) == (400, "unknown object type: bogus")


@pytest.mark.parametrize("end", ["\r\n\n", "\n\n"])
def test_requests_of_people(running: Daemon, end: str) -> None:
    """Who writes one with ``echo -e``, or types it, sends bare line feeds."""
    with connect(running.socket_path) as connection:
        connection.sendall(f"GET /_ping HTTP/1.0{end}".encode())
        assert receive_all(connection).startswith(b"HTTP/1.1 200 OK")
