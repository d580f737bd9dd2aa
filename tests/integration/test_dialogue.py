"""Launches on the real kernel speak as ARCHITECTURE.md draws it."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.oci.runtime import Hook, Hooks, IDMapping, Rlimit, Seccomp, Syscall
from pierhead.runtime import Network, Route, Stdio, factory, handshake, joining, wire, wire_table
from tests.support.containers import namespaces
from tests.support.drawing import ANY_TIME, Packet, drawings
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.containers import Containers

pytestmark = requires("root")

MESSAGES = {value: name for name, value in vars(wire_table).items() if name.startswith("MESSAGE_")}
SYNCS = {value: name for name, value in vars(wire_table).items() if name.startswith("SYNC_")}
PLACES = {wire.STAGE: "stage", wire.JOINER: "joiner", wire.INIT: "init"}
FULL = ("mount", "uts", "ipc", "pid", "network", "cgroup")
MAPPED = (IDMapping(container_id=0, host_id=100000, size=65536),)


class Overheard:
    """A socket that notes what goes through it."""

    def __init__(self, behind: Any, packets: list[Packet]) -> None:
        """Args: behind is the real socket."""
        self._behind = behind
        self._packets = packets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def send(self, data: bytes, *rest: Any) -> Any:
        """As the socket's."""
        self._note(data, to_python=False)
        return self._behind.send(data, *rest)

    def sendmsg(self, parts: list[bytes], *rest: Any) -> Any:
        """As the socket's."""
        self._note(b"".join(parts), to_python=False)
        return self._behind.sendmsg(parts, *rest)

    def recvmsg(self, *arguments: Any) -> Any:
        """As the socket's."""
        received = self._behind.recvmsg(*arguments)
        if received[0]:
            self._note(received[0], to_python=True)
        return received

    def _note(self, data: bytes, *, to_python: bool) -> None:
        number, *rest = wire.words(data)
        message = MESSAGES[number].removeprefix("MESSAGE_").lower()
        detail = ""
        if message in ("sync", "descriptor"):
            detail = SYNCS[rest[0]].removeprefix("SYNC_").lower()
        elif message == "child":
            detail = PLACES[rest[0]]
        self._packets.append(Packet(to_python, message, detail))


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> list[Packet]:
    """Every packet of the launches from now on."""
    heard: list[Packet] = []

    class Overhearing(handshake.Handshake):
        def __init__(self) -> None:
            super().__init__()
            self._control: Any = Overheard(self._control, heard)
            self._channel: Any = Overheard(self._channel, heard)

    for module in (factory, joining):
        monkeypatch.setattr(module, "Handshake", Overhearing)
    return heard


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """A seccomp agent that takes the descriptor and does nothing with it."""
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def take() -> None:
            connection, _ = listener.accept()
            _, fds, _, _ = socket.recv_fds(connection, 65536, 1)
            for fd in fds:
                os.close(fd)
            connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        yield path
        thread.join(60)


def assert_as_drawn(packets: list[Packet]) -> None:
    """Each conversation of the launch is the drawing's, with lines left out."""
    drawn = drawings()[0]
    for stage in (True, False):
        rest = iter([packet for packet in drawn if packet.is_stage == stage])
        for packet in packets:
            if packet.is_stage == stage and packet.message not in ANY_TIME:
                assert packet in rest, f"{packet} comes out of turn in {[str(each) for each in packets]}"


def first(packets: list[Packet], count: int) -> list[str]:
    """The first packets in words."""
    return [str(packet) for packet in packets[:count]]


def test_run(containers: Containers, packets: list[Packet]) -> None:
    """A plain container: the plan, its process, execve, commit; nobody waits for anybody in between."""
    containers.run("true")
    assert sorted(map(str, packets)) == [
        "commit ▶",
        "plan ▶",
        "undo ▶",
        "◀ child init",
        "◀ executing",
        "◀ here",
    ]
    assert_as_drawn(packets)


def test_create(containers: Containers, packets: list[Packet]) -> None:
    """With a gate the launch ends with ready, and the answer that the container is known."""
    container = containers.create("true")
    assert sorted(map(str, packets)) == [
        "commit ▶",
        "go ▶",
        "plan ▶",
        "undo ▶",
        "◀ child init",
        "◀ here",
        "◀ ready",
    ]
    assert_as_drawn(packets)
    container.start()
    container.wait(60)
    container.delete()


def test_monitor(containers: Containers, packets: list[Packet]) -> None:
    """A monitor tells of the exit over the stage's conversation."""
    container = containers.start("true", options={"supervise": True})
    container.wait(60)
    assert str(packets[-1]) == "◀ exited"
    assert_as_drawn(packets)
    container.delete()


def test_exec(containers: Containers, packets: list[Packet]) -> None:
    """A further process comes by way of the joiner."""
    container = containers.running()
    packets.clear()
    containers.exec(container, "true")
    assert first(packets, 2) == ["plan ▶", "◀ child joiner"]
    assert_as_drawn(packets)
    container.delete(force=True)


def test_everything_at_once(containers: Containers, packets: list[Packet], agent: str) -> None:
    """A launch with all that Python can have to do for it has every line below the joiner's."""
    notify = Syscall(names=("getpriority",), action="SCMP_ACT_NOTIFY")
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path=agent, syscalls=(notify,))
    config = containers.config(
        "true",
        rootfs=str(containers.own_rootfs()),
        namespaces=namespaces(*FULL, "user"),
        uid_mappings=MAPPED,
        gid_mappings=MAPPED,
        networks=(Network(type="loopback"),),
        routes=(Route(destination="10.9.0.0/16", interface_name="lo"),),
        hooks=Hooks(create_runtime=(Hook(path="/bin/true"),)),
        rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=100, hard=100),),
        seccomp=seccomp,
    )
    container = factory.create(containers.root, containers.id(), config, stdio=Stdio.null(), supervise=True)
    container.start()
    assert container.wait(60).code == 0
    assert_as_drawn(packets)
    drawn = drawings()[0]
    begin, end = (
        drawn.index(Packet(to_python=True, message="child", detail=who)) for who in ("joiner", "init")
    )
    wanted = [str(packet) for packet in drawn if packet.message != "executing"]
    for packet in drawn[begin : end - 1]:  # up to the init process's first word
        wanted.remove(str(packet))
    assert sorted(map(str, packets)) == sorted(wanted)
    container.delete()


def test_joiner_with_maps(containers: Containers, packets: list[Packet]) -> None:
    """The joiner waits for the id maps of the user namespace that it makes, before it clones anybody."""
    finished = containers.run(
        "cat /proc/self/uid_map",
        rootfs=str(containers.own_rootfs()),
        namespaces=namespaces(*FULL, "user", "time"),
        uid_mappings=MAPPED,
        gid_mappings=MAPPED,
    )
    assert finished.words == ["0", "100000", "65536"]
    spoken = [str(packet) for packet in packets if not packet.is_stage]
    assert spoken[:2] == ["◀ sync maps", "go ▶"]
    assert "◀ child joiner" in map(str, packets)
    assert_as_drawn(packets)


def test_times(containers: Containers, packets: list[Packet]) -> None:
    """Times of operations come over the launched process's conversation, if asked for."""
    container = containers.start("true", options={"trace": True})
    assert "◀ trace" in map(str, packets)
    assert_as_drawn(packets)
    container.wait(60)
    container.delete()


def test_error(containers: Containers, packets: list[Packet]) -> None:
    """An error is the last that is heard of a launch."""
    config = containers.config(process={"args": ("/no/such/program",)})
    with pytest.raises(handshake.LaunchFailed, match="no such file"):
        factory.run(containers.root, containers.id(), config, stdio=Stdio.null())
    assert [packet.message for packet in packets].count("error") == 1
    assert "commit" not in {packet.message for packet in packets}
    assert_as_drawn(packets)
