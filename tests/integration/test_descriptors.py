"""Descriptors of a container's processes: those that were asked for, and not one more."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import PierheadError
from pierhead.runtime import ProcessSpec, Stdio
from tests.support.containers import ENV, SLEEP, Containers, read_to_end, wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")

LIST = ("/bin/ls", "/proc/self/fd")


@pytest.fixture
def inheritable() -> Iterator[int]:
    """A descriptor of the host's root that every program started by us would inherit."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    high = 57
    os.dup2(fd, high, inheritable=True)
    yield high
    os.close(fd)
    os.close(high)


@pytest.mark.parametrize("way", ["create", "run", "exec", "monitor"])
def test_none_but_the_standard_streams(containers: Containers, inheritable: int, way: str) -> None:
    """Nothing of the launch, and nothing that the caller lets others inherit (CVE-2024-21626)."""
    if way == "exec":
        said = containers.exec(containers.running(), args=LIST)
    elif way == "create":
        reader, writer = os.pipe()
        container = containers.create(
            args=LIST, options={"stdio": Stdio(input=None, output=writer, error=None)}
        )
        os.close(writer)
        container.start()
        assert read_to_end(reader).split() == ["0", "1", "2", "3"]
        return
    else:
        said = containers.run(args=LIST, options={"supervise": way == "monitor"})
    assert said.words == ["0", "1", "2", "3"]


def test_none_at_the_gate_is_the_hosts_root(containers: Containers, inheritable: int) -> None:
    """While it waits, what the first process holds open is of no use to the container: pipes and sockets."""
    container = containers.create("true")
    directory = f"/proc/{container.init_pid}/fd"
    held = {os.readlink(f"{directory}/{name}") for name in os.listdir(directory)}
    assert os.path.samestat(os.stat(containers.rootfs), os.stat(f"/proc/{container.init_pid}/root"))
    for name in os.listdir(directory):
        about = os.stat(f"{directory}/{name}")
        assert not stat.S_ISDIR(about.st_mode) or os.path.samestat(about, os.stat(containers.rootfs)), held


@pytest.mark.parametrize("count", [1, 3, 40])
def test_preserved_descriptors(containers: Containers, count: int) -> None:
    """They become 3, 4, … in their order; nothing beyond them is open."""
    pairs = [os.pipe() for _ in range(count)]
    for number, (_, writer) in enumerate(pairs):
        os.write(writer, f"{number}\n".encode())
        os.close(writer)
    script = f"ls /proc/self/fd | wc -l; for n in $(seq 3 {count + 2}); do cat <&$n; done"
    said = containers.run(
        script,
        args=("/bin/busybox", "ash", "-c", script.replace("<&$n", "/proc/self/fd/$n")),
        options={"preserve_fds": tuple(reader for reader, _ in pairs)},
    )
    for reader, _ in pairs:
        os.close(reader)
    assert said.words[1:] == [str(number) for number in range(count)]
    assert int(said.words[0]) == count + 4


def test_preserved_descriptors_of_exec(containers: Containers) -> None:
    """A further process can be given some too."""
    reader, writer = os.pipe()
    os.write(writer, b"given\n")
    os.close(writer)
    said = containers.exec(containers.running(), "cat <&3", options={"preserve_fds": (reader,)})
    os.close(reader)
    assert said.output == "given\n"


def test_the_same_descriptor_twice(containers: Containers) -> None:
    """It stands at both places."""
    reader, writer = os.pipe()
    os.write(writer, b"ab")
    os.close(writer)
    said = containers.run(
        "dd bs=1 count=1 <&3 2>/dev/null; dd bs=1 count=1 <&4 2>/dev/null",
        options={"preserve_fds": (reader, reader)},
    )
    os.close(reader)
    assert said.output == "ab"


def test_low_descriptors_of_the_caller(containers: Containers) -> None:
    """A caller whose own 0, 1 or 2 are closed can launch all the same, and its descriptors do not mix."""
    script = (
        "import os, sys\n"
        "root, rootfs, result = sys.argv[1:]\n"
        "for fd in (0, 1, 2): os.close(fd)\n"
        "from pierhead.runtime import *\n"
        "spec = ProcessSpec(args=('/bin/ls', '/proc/self/fd'))\n"
        "out = os.open(result, os.O_WRONLY | os.O_CREAT, 0o600)\n"
        "stdio = Stdio(input=None, output=out, error=None)\n"
        "box = run(root, 'low', Config(rootfs=rootfs, process=spec), stdio=stdio)\n"
        "code = box.wait(60).code\n"
        "box.delete()\n"
        "os._exit(code)\n"
    )
    result = containers.directory() / "result"
    command = [sys.executable, "-c", script, containers.root, containers.rootfs, str(result)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    assert result.read_text().split() == ["0", "1", "2", "3"]


def test_listening_sockets(containers: Containers) -> None:
    """LISTEN_FDS as systemd passes it: the socket is 3, and the variables are what the caller sets."""
    listener = socket.create_server(("127.0.0.1", 0))
    env = (*ENV, "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=web")
    said = containers.run(
        "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; readlink /proc/self/fd/3",
        process={"env": env},
        options={"preserve_fds": (listener.fileno(),)},
    )
    listener.close()
    assert said.lines[0] == "1 1 web"
    assert said.lines[1].startswith("socket:")


@pytest.mark.parametrize("fd", [-1, 12345])
def test_a_descriptor_that_is_none(containers: Containers, fd: int) -> None:
    """It is an error that names it, and nothing is left."""
    with pytest.raises(PierheadError, match=f"descriptor {fd}"):
        containers.create("true", options={"preserve_fds": (fd,)})
    assert not os.path.exists(containers.root) or os.listdir(containers.root) == []


def test_the_callers_descriptors_stay_open(containers: Containers) -> None:
    """What was given is the caller's still."""
    reader, writer = os.pipe()
    container = containers.start(
        args=SLEEP,
        options={"stdio": Stdio(input=reader, output=writer, error=writer), "preserve_fds": (reader,)},
    )
    assert os.fstat(reader)
    assert os.fstat(writer)
    container.delete(force=True)
    os.close(reader)
    os.close(writer)


def test_no_pipe_is_held_by_others(containers: Containers) -> None:
    """When the process has ended, nobody else holds its output open: the reader sees the end."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    stdio = Stdio(input=None, output=writer, error=None)
    first = containers.start(args=SLEEP, options={"stdio": stdio, "supervise": True})
    second = containers.running(options={"supervise": True})
    os.close(writer)
    first.kill(9)
    first.wait(60)
    assert read_to_end(reader) == ""
    assert second.init_pid


def test_the_monitor_holds_nothing_of_ours(containers: Containers, inheritable: int) -> None:
    """A monitor has its own few descriptors, and the caller's are not among them."""
    container = containers.running(options={"supervise": True})
    monitor = container.state.monitor_pid

    def files() -> set[str]:
        directory = f"/proc/{monitor}/fd"
        found = set()
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                found.add(os.readlink(f"{directory}/{name}"))
        return {each for each in found if each.startswith("/") and not each.startswith("/sys/fs/cgroup")}

    own = {"/dev/null", f"{containers.root}/{container.id}"}
    wait_until("it has its own alone, and nothing of the launch", lambda: files() <= own)
    process = container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null())
    process.terminate()
    process.wait(60)


# Streams under their names


NAMED = "cat /dev/stdin >/dev/stdout && echo err >/dev/stderr"


@pytest.mark.parametrize("way", ["run", "monitor", "exec"])
@pytest.mark.parametrize("user", ["app", "root"])
def test_streams_can_be_opened_again(containers: Containers, way: str, user: str) -> None:
    """Who is not root can open its streams by the names in /dev: images send their logs there by links."""
    if way == "exec":
        said = containers.exec(containers.running(), NAMED, input="in\n", user=user)
    else:
        said = containers.run(
            NAMED, input="in\n", process={"user": user}, options={"supervise": way == "monitor"}
        )
    assert (said.output, said.status.code) == ("in\nerr\n", 0)


def test_streams_have_the_owner_that_uses_them(containers: Containers, tmp_path: Path) -> None:
    """A fifo becomes the user's, the machine's null device stays root's."""
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    options = {"stdio": Stdio(input=None, output=writer, error=None)}
    container = containers.create("echo to a fifo > /dev/stdout", process={"user": "app"}, options=options)
    os.close(writer)
    assert fifo.stat().st_uid == 1000
    assert os.stat("/dev/null").st_uid == 0
    container.start()
    assert read_to_end(reader) == "to a fifo\n"


def test_a_file_to_read_stays_its_owners(containers: Containers, tmp_path: Path) -> None:
    """Who owned it could write to it; one that may be written to anyway becomes the user's."""
    given, log = tmp_path / "given", tmp_path / "log"
    given.write_text("text\n")
    with given.open("rb") as source, log.open("wb") as target:
        container = containers.start(
            "cat; echo more >> /dev/stdout",
            process={"user": "app"},
            options={"stdio": Stdio(input=source.fileno(), output=target.fileno(), error=None)},
        )
        assert container.wait(60).code == 0
    assert (given.stat().st_uid, log.stat().st_uid) == (0, 1000)
    assert log.read_text() == "text\nmore\n"
