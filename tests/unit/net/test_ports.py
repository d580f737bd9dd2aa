"""Reservations of ports, over a machine that is made up."""

from __future__ import annotations

from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL

import pytest

from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.net.model import PortWish, PublishedPort
from pierhead.net.ports import FIRST_FREE_PORT, LAST_FREE_PORT, PortReservations


class Kernel:
    """Knows which ports other programs have; protocols without sockets are as easy."""

    def __init__(self) -> None:
        self.refusals: dict[tuple[str, int], int] = {}

    def bind(self, _protocol: str, host: str, port: int) -> None:
        """Refuses what it was told to refuse."""
        number = self.refusals.get((host, port), 0)
        if number:
            raise OSError(number, "no")


@pytest.fixture
def kernel() -> Kernel:
    """The machine."""
    return Kernel()


@pytest.fixture
def ports(kernel: Kernel) -> PortReservations:
    """Reservations on it."""
    return PortReservations(kernel.bind)


def wish(first: int = 0, last: int = 0, protocol: str = "tcp") -> PortWish:
    """Port 80 at one of these."""
    return PortWish(container_port=80, protocol=protocol, first_port=first, last_port=last or first)


def test_any_port(ports: PortReservations) -> None:
    """Who names no port gets the next of the range, and again from the start at its end."""
    first = ports.take(wish(), ["0.0.0.0"], "a")
    second = ports.take(wish(), ["0.0.0.0"], "a")
    assert [first[0].host_port, second[0].host_port] == [FIRST_FREE_PORT, FIRST_FREE_PORT + 1]
    ports.give_back(first)
    for port in range(FIRST_FREE_PORT + 2, LAST_FREE_PORT + 1):
        assert ports.take(wish(), ["0.0.0.0"], "a")[0].host_port == port
    assert ports.take(wish(), ["0.0.0.0"], "a")[0].host_port == FIRST_FREE_PORT
    with pytest.raises(Conflict, match=r"^Bind for 0\.0\.0\.0 failed: all ports of 49153-65535/tcp are"):
        ports.take(wish(), ["0.0.0.0"], "a")


def test_same_port_for_both_versions(kernel: Kernel, ports: PortReservations) -> None:
    """A port that is taken for one version is passed over for both, and nothing of it stays held."""
    kernel.refusals["::", FIRST_FREE_PORT] = EADDRINUSE
    taken = ports.take(wish(), ["0.0.0.0", "::"], "a")
    assert [(each.host_ip, each.host_port) for each in taken] == [
        ("0.0.0.0", FIRST_FREE_PORT + 1),
        ("::", FIRST_FREE_PORT + 1),
    ]
    assert ports.take(wish(FIRST_FREE_PORT), ["0.0.0.0"], "b")


def test_taken(kernel: Kernel, ports: PortReservations) -> None:
    """Docker's words, and a hint who has it."""
    ports.take(wish(8080), ["127.0.0.1"], "0123456789abcdef")
    for host in ("127.0.0.1", "0.0.0.0"):
        with pytest.raises(Conflict) as caught:
            ports.take(wish(8080), [host], "b")
        assert str(caught.value) == f"Bind for {host}:8080 failed: port is already allocated"
        assert caught.value.hint == "container 0123456789ab has published it"
    assert ports.take(wish(8080), ["127.0.0.2"], "b")
    assert ports.take(wish(8080, protocol="udp"), ["0.0.0.0"], "b")
    kernel.refusals["::", 8080] = EADDRINUSE
    with pytest.raises(Conflict, match=r"^Bind for \[::\]:8080 failed: port is already allocated$") as caught:
        ports.take(wish(8080), ["::"], "b")
    assert "another program" in caught.value.hint


def test_range(kernel: Kernel, ports: PortReservations) -> None:
    """The first free port of a range is taken."""
    kernel.refusals["0.0.0.0", 8000] = EADDRINUSE
    assert ports.take(wish(8000, 8001), ["0.0.0.0"], "a")[0].host_port == 8001
    with pytest.raises(Conflict, match="all ports of 8000-8001/tcp are allocated"):
        ports.take(wish(8000, 8001), ["0.0.0.0"], "a")


def test_other_refusals(kernel: Kernel, ports: PortReservations) -> None:
    """An address that is not this machine's, and a right that is missing, are told as such."""
    kernel.refusals["10.9.9.9", 80] = EADDRNOTAVAIL
    with pytest.raises(InvalidInput, match=r"this machine has no address 10\.9\.9\.9"):
        ports.take(wish(80), ["10.9.9.9"], "a")
    kernel.refusals["0.0.0.0", 80] = EACCES
    with pytest.raises(OperationFailed, match=r"cannot hold port 0\.0\.0\.0:80: ") as caught:
        ports.take(wish(80), ["0.0.0.0"], "a")
    assert "ip_unprivileged_port_start" in caught.value.hint


def test_all_or_nothing(kernel: Kernel, ports: PortReservations) -> None:
    """Where one of several ports is taken, none of them is held."""
    wanted = [
        PublishedPort(container_port=80, protocol="tcp", host_ip="0.0.0.0", host_port=port)
        for port in (8000, 8001)
    ]
    kernel.refusals["0.0.0.0", 8001] = EADDRINUSE
    with pytest.raises(Conflict):
        ports.hold(wanted, "a")
    assert not any(map(ports.is_held, wanted))
    kernel.refusals.clear()
    ports.hold(wanted, "a")
    assert all(map(ports.is_held, wanted))
    ports.close()
    assert not any(map(ports.is_held, wanted))
