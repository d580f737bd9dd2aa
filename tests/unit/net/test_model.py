"""Ports as Docker's clients write them."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.net.model import NetworkSettings, PortWish, PublishedPort, parse_port_wishes


def test_wishes() -> None:
    """Protocols, addresses, ports and ranges, any of which may be left out."""
    wishes = parse_port_wishes(
        {
            "80/tcp": [("", "8080"), ("127.0.0.1", "")],
            "53/UDP": [("[::1]", "5300-5310")],
            "9": [("", "0")],
        }
    )
    assert wishes == (
        PortWish(container_port=80, first_port=8080, last_port=8080),
        PortWish(container_port=80, host_ip="127.0.0.1"),
        PortWish(container_port=53, protocol="udp", host_ip="::1", first_port=5300, last_port=5310),
        PortWish(container_port=9),
    )


@pytest.mark.parametrize(
    ("container_port", "host_ip", "host_port", "reason"),
    [
        ("80/icmp", "", "", "protocol icmp is none of"),
        ("0/tcp", "", "", "a port of a container is 1 to 65535"),
        ("x/tcp", "", "", "'x' is no number"),
        ("80/tcp", "", "65536", "is no number up to 65535"),
        ("80/tcp", "", "²", "is no number"),
        ("80/tcp", "", "90-80", "invalid range"),
        ("80/tcp", "", "-80", "invalid range"),
        ("80/tcp", "300.1.1.1", "", "invalid IP address"),
    ],
)
def test_no_ports(container_port: str, host_ip: str, host_port: str, reason: str) -> None:
    """What is none is refused, with what is wrong about it."""
    with pytest.raises(InvalidInput, match=reason):
        parse_port_wishes({container_port: [(host_ip, host_port)]})


def test_port_in_words() -> None:
    """An address of IPv6 stands in brackets before a port."""
    port = PublishedPort(container_port=80, protocol="tcp", host_ip="::", host_port=8080)
    assert (str(port), port.everywhere, port.is_ipv6) == ("[::]:8080", True, True)


def test_table_names() -> None:
    """Engines with different bridges have different tables."""
    assert NetworkSettings().table_name == "pierhead"
    assert NetworkSettings(bridge="br9").table_name == "pierhead-br9"
    assert NetworkSettings(bridge="br9", table="mine").table_name == "mine"
