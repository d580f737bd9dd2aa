"""Terminals: made in the container's own devpts, handed over or kept by the monitor, sized, owned."""

from __future__ import annotations

import array
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import OperationFailed, PierheadError, Unsupported
from pierhead.oci.runtime import Box, IDMapping, User
from pierhead.runtime import ProcessSpec, Stdio
from pierhead.runtime.attach import AttachClient
from tests.support.containers import ENV, SLEEP, Containers, namespaces, wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.runtime import Container

pytestmark = requires("root")


def read_until(fd: int, text: str, timeout_s: float = 60.0) -> str:
    """What a terminal shows until the text is in it."""
    shown = b""
    deadline = time.monotonic() + timeout_s
    while text.encode() not in shown:
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"no {text!r} in {shown!r}"
        try:
            part = os.read(fd, 65536)
        except OSError:  # EIO: nobody has the other end any more
            part = b""
        assert part, f"no {text!r} in {shown!r}"
        shown += part
    return shown.decode(errors="replace")


def receive_master(ours: socket.socket) -> tuple[int, str]:
    """The terminal's master and its name, as a console socket gets them."""
    ours.settimeout(60)
    message, ancillary, _, _ = ours.recvmsg(4096, socket.CMSG_SPACE(4))
    ((level, kind, data),) = ancillary
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    return array.array("i", data)[0], message.decode()


@contextmanager
def on_terminal(containers: Containers, script: str = "", **what: Any) -> Iterator[tuple[Container, int]]:
    """A container with a terminal, started, and the terminal's master."""
    process = {"terminal": True, **what.pop("process", {})}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        container = containers.start(script, process=process, options={"console": theirs.fileno()}, **what)
        master, _ = receive_master(ours)
    try:
        yield container, master
    finally:
        os.close(master)
        container.delete(force=True)


# Handed over


def test_the_console_socket_gets_the_master(containers: Containers) -> None:
    """The descriptor comes by SCM_RIGHTS, the terminal's name in the container as the message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        container = containers.create("tty", process={"terminal": True}, options={"console": theirs.fileno()})
        master, name = receive_master(ours)
    assert name == "/dev/pts/0"
    assert os.isatty(master)
    container.start()
    assert read_until(master, "\n") == "/dev/pts/0\r\n"
    container.wait(60)
    os.close(master)


def test_standard_streams_are_the_terminal(containers: Containers) -> None:
    """All three, and the controlling terminal too; the other end is not in the container."""
    script = "test -t 0 && test -t 1 && test -t 2 && echo all; echo x > /dev/tty"
    with on_terminal(containers, script) as (_, master):
        shown = read_until(master, "x\r\n")
        assert "all\r\n" in shown


def test_what_is_typed_arrives(containers: Containers) -> None:
    """A line, an interrupt, an end of file."""
    script = "read a; trap 'echo int; exit 5' INT; echo got $a; sleep 100 & wait"
    with on_terminal(containers, script) as (
        box,
        master,
    ):
        os.write(master, b"hello\n")
        read_until(master, "got hello")
        os.write(master, b"\x03")
        read_until(master, "int\r\n")
        assert box.wait(60).code == 5
    with on_terminal(containers, "cat; echo over") as (_, master):
        os.write(master, b"\x04")
        read_until(master, "over")


def test_dev_console_is_the_terminal(containers: Containers) -> None:
    """What is written to /dev/console is shown."""
    with on_terminal(containers, "stat -c %F /dev/console; echo there > /dev/console") as (_, master):
        assert "character special file" in read_until(master, "there")


@pytest.mark.parametrize(
    "size", [Box(height=24, width=80), Box(height=7, width=9), Box(height=1000, width=2000)]
)
def test_console_size(containers: Containers, size: Box) -> None:
    """The first size is as asked for, before the program looks."""
    with on_terminal(containers, "stty size", process={"console_size": size}) as (_, master):
        read_until(master, f"{size.height} {size.width}")


def test_a_new_size_is_signalled(containers: Containers) -> None:
    """Whoever has the master can change it: the program gets SIGWINCH."""
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
    with on_terminal(containers, script) as (_, master):
        read_until(master, "ready")
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 101, 0, 0))
        read_until(master, "31 101")


@pytest.mark.parametrize("user", [False, True])
def test_the_terminal_belongs_to_the_user(containers: Containers, *, user: bool) -> None:
    """The process's user may open it again by its name; in a user namespace too."""
    options: dict[str, Any] = {}
    if user:
        maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
        kinds = namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user")
        options = {"namespaces": kinds, "uid_mappings": maps, "gid_mappings": maps}
    process = {"user": User(uid=1000, gid=1000), "cwd": "/"}
    script = "stat -c %u:%g:%a /dev/pts/0; echo again > /dev/pts/0; echo tty > /dev/tty"
    with on_terminal(containers, script, process=process, **options) as (_, master):
        shown = read_until(master, "tty\r\n")
    assert "1000:5:620" in shown
    assert "again" in shown


def test_the_hosts_terminals_are_not_seen(containers: Containers) -> None:
    """The container's devpts has its own alone."""
    with on_terminal(containers, "ls /dev/pts | tr '\\n' ' '; echo end") as (_, master):
        assert "0 ptmx end" in read_until(master, "end")


def test_the_end_of_the_terminal_ends_the_session(containers: Containers) -> None:
    """When the master closes, the process gets SIGHUP."""
    script = "trap 'exit 5' HUP; echo ready; while :; do sleep 0.05; done"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        options = {"console": theirs.fileno()}
        container = containers.start(script, process={"terminal": True}, options=options)
        master, _ = receive_master(ours)
    read_until(master, "ready")
    os.close(master)
    assert container.wait(60).code == 5


def test_a_console_socket_that_nobody_reads(containers: Containers) -> None:
    """A closed one is an error of create that names it; nothing is left."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, pytest.raises(OperationFailed, match="console"):
        containers.create("true", process={"terminal": True}, options={"console": theirs.fileno()})


def test_a_terminal_without_devpts(containers: Containers) -> None:
    """The error names what is missing."""
    from pierhead.runtime.config import DEFAULT_MOUNTS

    mounts = tuple(mount for mount in DEFAULT_MOUNTS if mount.destination != "/dev/pts")
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(OperationFailed, match="/dev/pts"):
        containers.create(
            "true", process={"terminal": True}, mounts=mounts, options={"console": theirs.fileno()}
        )


# exec


def test_exec_on_a_terminal(containers: Containers) -> None:
    """A further process has a terminal of its own in the same devpts, and no /dev/console is made."""
    container = containers.running()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        spec = ProcessSpec(
            args=("/bin/sh", "-c", "tty; stty size"),
            env=ENV,
            terminal=True,
            console_size=Box(height=5, width=7),
        )
        process = container.exec(spec, stdio=Stdio.null(), console=theirs.fileno())
        master, name = receive_master(ours)
    assert name == "/dev/pts/0"
    shown = read_until(master, "5 7")
    assert "/dev/pts/0" in shown
    assert process.wait(60).code == 0
    os.close(master)


def test_several_terminals(containers: Containers) -> None:
    """Each exec has its own number."""
    container = containers.running()
    masters = []
    for number in range(3):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            spec = ProcessSpec(args=SLEEP, terminal=True)
            container.exec(spec, console=theirs.fileno())
            master, name = receive_master(ours)
        assert name == f"/dev/pts/{number}"
        masters.append(master)
    for master in masters:
        os.close(master)


# Kept by the monitor


def test_the_monitor_keeps_the_terminal(containers: Containers) -> None:
    """Clients see what it shows and type into it; a size can be set; the exit is told."""
    script = "read a; echo got $a; stty size; read b; exit 3"
    container = containers.start(
        script,
        process={"terminal": True, "console_size": Box(height=3, width=4)},
        options={"supervise": True},
    )
    with AttachClient(f"{containers.root}/{container.id}/attach") as client:
        client.write(b"hello\n")
        shown = b""
        for stream, data in client:
            assert stream == "stdout"
            shown += data
            if b"3 4" in shown:
                break
        assert b"got hello" in shown
        client.write(b"\n")
        for _ in client:
            pass
        assert client.ending is not None
        assert client.ending.code == 3
    assert container.wait(60).code == 3


def test_resize_through_the_monitor(containers: Containers) -> None:
    """``Process.resize`` reaches the program."""
    log = containers.directory() / "log"
    script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"
    container = containers.start(
        script,
        process={"terminal": True},
        options={"supervise": True, "stdio": Stdio.kept(str(log), log_format="json")},
    )
    wait_until("it is ready", lambda: log.exists() and "ready" in log.read_text())
    container.init.resize(44, 55)
    assert container.wait(60).code == 0
    assert "44 55" in log.read_text()


def test_a_resize_is_done_when_it_returns(containers: Containers) -> None:
    """What is typed after it, by whichever connection, is read on a terminal of the new size."""
    options = {"supervise": True, "stdio": Stdio.kept()}
    container = containers.running(process={"terminal": True}, options=options)
    terminal = os.open(f"/proc/{container.init.pid}/fd/0", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        for rows in range(1, 100):
            container.init.resize(rows, 80)
            assert termios.tcgetwinsize(terminal) == (rows, 80)
    finally:
        os.close(terminal)


def test_a_resize_does_not_wait_for_a_stopped_monitor(containers: Containers) -> None:
    """The terminal has its size when the monitor goes on."""
    options = {"supervise": True, "stdio": Stdio.kept()}
    container = containers.start("read line; stty size", process={"terminal": True}, options=options)
    with AttachClient(f"{containers.root}/{container.id}/attach") as client:
        os.kill(container.state.monitor_pid, signal.SIGSTOP)
        container.init.resize(33, 44)
        os.kill(container.state.monitor_pid, signal.SIGCONT)
        container.init.resize(44, 55)
        client.write(b"\n")
        assert b"44 55" in b"".join(data for _, data in client)


def test_resize_needs_a_monitor(containers: Containers) -> None:
    """Without one, whoever has the master does it."""
    container = containers.running()
    with pytest.raises(Unsupported, match="monitor"):
        container.init.resize(1, 2)


def test_exec_with_a_kept_terminal(containers: Containers) -> None:
    """A further process too can have a monitor that keeps its terminal."""
    container = containers.running()
    spec = ProcessSpec(args=("/bin/sh", "-c", "read a; echo got $a; exit 6"), env=ENV, terminal=True)
    process = container.exec(spec, exec_id="one")
    with AttachClient(f"{containers.root}/{container.id}/exec-one.attach") as client:
        client.write(b"x\n")
        assert b"got x" in b"".join(data for _, data in client)
    assert process.wait(60).code == 6


def test_a_terminal_has_to_go_somewhere(containers: Containers) -> None:
    """With neither a console socket nor a monitor it would be lost: refused."""
    with pytest.raises(PierheadError, match="terminal"):
        containers.create("true", process={"terminal": True})
    container = containers.running()
    with pytest.raises(PierheadError, match="terminal"):
        container.exec(ProcessSpec(args=SLEEP, terminal=True))
