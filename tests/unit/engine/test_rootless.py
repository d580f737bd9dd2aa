"""An ordinary user's engine: who is mapped to whom, networks' programs, ports at slirp4netns."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.rootless import map_ids
from pierhead.engine.rootlesswords import CHOICES, UserNetwork
from pierhead.engine.usernet import choose_network, noted_pid, pasta_words, slirp_words
from pierhead.engine.userports import NoPorts, SlirpPorts, is_local, port_keeper
from pierhead.errors import Conflict, InvalidInput, OperationFailed, Unavailable, Unsupported
from pierhead.net.model import PortWish, PublishedPort
from pierhead.net.ports import PortReservations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROUTES = """Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/31 1 0 0
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
     |-- 198.51.100.0
        /24 link UNICAST
     |-- 198.51.100.2
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
"""
SLIRP = UserNetwork(kind="slirp4netns", api_path="/run/slirp.sock")


class Slirp:
    """What answers at slirp4netns's socket; refuses ports that it was told to."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.ports: dict[int, dict[str, Any]] = {}
        self.refused = {81, 8081}
        self.gone: set[int] = set()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                asked = b""
                while part := connection.recv(4096):
                    asked += part
                if not asked:
                    return
                connection.sendall(json.dumps(self._answer(json.loads(asked))).encode())

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["execute"] == "list_hostfwd":
            return {"entries": [{"id": number, **port} for number, port in self.ports.items()]}
        wanted = asked["arguments"]
        if asked["execute"] == "remove_hostfwd":
            found = self.ports.pop(wanted["id"], None)
            return (
                {"return": {}}
                if found and wanted["id"] not in self.gone
                else {"error": {"desc": "no such id"}}
            )
        if wanted["host_port"] in self.refused:
            return {"error": {"desc": "bad request: add_hostfwd: slirp_add_hostfwd failed"}}
        number = len(self.ports) + 1
        self.ports[number] = wanted
        return {"return": {"id": number}}

    def end(self) -> None:
        """It does not answer any more."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(self.path)
        self._thread.join()
        self._listener.close()


@pytest.fixture
def slirp(tmp_path: Path) -> Iterator[Slirp]:
    """One that serves."""
    it = Slirp(str(tmp_path / "slirp.sock"))
    try:
        yield it
    finally:
        it.end()


def port(number: int, protocol: str = "tcp", host: str = "127.0.0.1") -> PublishedPort:
    """A port of the machine's."""
    return PublishedPort(container_port=80, protocol=protocol, host_ip=host, host_port=number)


def wish(number: int) -> PortWish:
    """Port 80 there."""
    return PortWish(container_port=80, protocol="tcp", first_port=number, last_port=number)


def test_map_ids() -> None:
    """Root is the user, and the ranges follow one behind the other."""
    mapped = [(each.container_id, each.host_id, each.size) for each in map_ids(1000, ((100000, 10), (7, 2)))]
    assert mapped == [(0, 1000, 1), (1, 100000, 10), (11, 7, 2)]


def test_words_of_programs() -> None:
    """Neither program lets containers reach what listens at the machine's loopback only."""
    words = slirp_words("/usr/bin/slirp4netns", 7, "/run/slirp.sock")
    assert words[0] == "/usr/bin/slirp4netns"
    assert words[-2:] == ("7", "tap0")
    assert "--disable-host-loopback" in words
    words = pasta_words("/usr/bin/pasta", 7, "/run/pasta.pid")
    assert words[-1] == "7"
    assert "--no-map-gw" in words


def test_addresses_of_the_machine() -> None:
    """Routes of the kind "local" say what is the machine's; its loopback is a whole network."""
    machine = ("0.0.0.0", "127.0.0.1", "127.9.9.9", "198.51.100.2")
    assert all(is_local(address, ROUTES) for address in machine)
    assert not any(is_local(address, ROUTES) for address in ("198.51.100.3", "198.51.100.255", "203.0.113.9"))


def test_whose_pasta(tmp_path: Path) -> None:
    """A number in a file is our pasta if the process behind it was told this file, and lives."""
    program = tmp_path / "pasta"
    program.write_text("#!/bin/sh\necho runs\nread line\n")
    program.chmod(0o700)
    noted = tmp_path / "pasta.pid"
    assert not noted_pid(str(noted))
    for pid_path, ours in ((noted, True), (tmp_path / "others.pid", False)):
        words = [*pasta_words(str(program), 7, str(pid_path))]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pasta:
            assert pasta.stdout is not None
            assert pasta.stdout.readline() == b"runs\n"  # its words are there once it runs
            noted.write_text(f"{pasta.pid}\n")
            assert noted_pid(str(noted)) == (pasta.pid if ours else 0)
        assert not noted_pid(str(noted))


def test_choice(tmp_path: Path) -> None:
    """No network needs no program; the names of servers are the program's own."""
    none = choose_network("none", str(tmp_path))
    assert (none.kind, none.dns) == ("none", ())
    assert SLIRP.dns == ("10.0.2.3",)
    assert set(CHOICES) == {"auto", "slirp4netns", "pasta", "none"}


def test_ports_are_published_once(slirp: Slirp) -> None:
    """A port that an engine before us has published is the same; one that was withdrawn is free."""
    first = SlirpPorts(slirp.path).publish(port(8080))
    assert slirp.ports[first]["host_addr"] == "127.0.0.1"
    assert slirp.ports[first]["guest_port"] == 8080
    ports = SlirpPorts(slirp.path)
    assert ports.publish(port(8080)) == first
    assert ports.publish(port(8080, "udp")) != first
    ports.withdraw(first)
    assert first not in slirp.ports
    ports.withdraw(first)


def test_ports_that_are_taken(slirp: Slirp) -> None:
    """It does not say why it refuses: a low port is not the user's, others are taken, or nowhere here."""
    reservations = PortReservations(forwarding=SlirpPorts(slirp.path))
    for host in ("0.0.0.0", "127.0.0.9"):
        with pytest.raises(Conflict, match="port is already allocated"):
            reservations.take(wish(8081), [host], "a")
    with pytest.raises(InvalidInput, match=r"this machine has no address 203\.0\.113\.9"):
        reservations.take(wish(8081), ["203.0.113.9"], "a")
    with pytest.raises(Conflict, match="port is already allocated"):
        PortReservations(forwarding=SlirpPorts(slirp.path, first_port=80)).take(wish(81), ["0.0.0.0"], "a")
    with pytest.raises(OperationFailed, match=r"cannot hold port 0\.0\.0\.0:81: permission denied"):
        reservations.take(wish(81), ["0.0.0.0"], "a")


def test_ports_stay_without_an_engine(slirp: Slirp) -> None:
    """An engine that rests leaves its ports published; a container that ends does not."""
    reservations = PortReservations(forwarding=SlirpPorts(slirp.path))
    taken = reservations.take(wish(8080), ["127.0.0.1"], "a")
    with pytest.raises(Conflict, match="port is already allocated"):
        reservations.take(wish(8080), ["192.0.2.1"], "b")
    reservations.close()
    assert len(slirp.ports) == 1
    reservations.hold(taken, "a")
    reservations.give_back(taken)
    assert not slirp.ports


def test_ports_of_containers_that_ended_without_an_engine(slirp: Slirp) -> None:
    """The next engine holds what its containers have, and withdraws the others, also if one has gone."""
    before = PortReservations(forwarding=SlirpPorts(slirp.path))
    kept, *_ = (before.take(wish(number), ["127.0.0.1"], "a") for number in (8080, 8082, 8083))
    before.close()
    assert len(slirp.ports) == 3
    slirp.gone = {2}
    reservations = PortReservations(forwarding=SlirpPorts(slirp.path))
    reservations.hold(kept, "a")
    reservations.withdraw_others()
    assert [each["host_port"] for each in slirp.ports.values()] == [8080]


def test_ports_end_with_what_leads_them(tmp_path: Path) -> None:
    """The end of a container whose ports nobody leads any more is an end as any other."""
    path = str(tmp_path / "slirp.sock")
    reservations = PortReservations(forwarding=SlirpPorts(path))
    gone = Slirp(path)
    try:
        taken = reservations.take(wish(8080), ["127.0.0.1"], "a")
    finally:
        gone.end()
    reservations.give_back(taken)
    assert not reservations.is_held(taken[0])


def test_who_leads_ports_is_silent(tmp_path: Path) -> None:
    """Nobody waits for ever for an answer that does not come."""
    path = str(tmp_path / "slirp.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(Unavailable, match=r"does not answer at .*: timed out"):
            SlirpPorts(path, timeout_s=0.05).publish(port(8080))


def test_what_has_no_ports(tmp_path: Path) -> None:
    """Protocols and networks without ports say so, and so does a program that has gone."""
    with pytest.raises(Unsupported, match="TCP and UDP over IPv4"):
        SlirpPorts("/nowhere").publish(port(8080, "sctp"))
    with pytest.raises(Unavailable, match="does not answer"):
        SlirpPorts(str(tmp_path / "none")).publish(port(8080))
    with pytest.raises(Unsupported, match="network is none, which takes no ports"):
        NoPorts("none").publish(port(8080))
    PortReservations(forwarding=NoPorts("none")).withdraw_others()
    assert not port_keeper(None)().forwards
    assert port_keeper(UserNetwork(kind="none"))().forwards
