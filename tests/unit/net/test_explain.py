"""What stands in the way of a packet, in words."""

from __future__ import annotations

import pytest

from pierhead.net.explain import PathFacts, explain
from pierhead.net.model import Endpoint, PublishedPort

PORT = PublishedPort(container_port=80, protocol="tcp", host_ip="0.0.0.0", host_port=8080)
ENDPOINT = Endpoint(
    container_id="c",
    endpoint_id="e",
    network="bridge",
    network_id="n",
    bridge="pier0",
    host_interface_name="veth1",
    address="172.17.0.2/16",
    gateway="172.17.0.1",
    ipv6_address="fd00::2/64",
    mac_address="02:42:ac:11:00:02",
    mtu=1500,
    ports=(PORT,),
)


def test_nothing_in_the_way() -> None:
    """The way is told place by place; what is left is the program in the container."""
    explanation = explain(ENDPOINT, PathFacts(port=PORT))
    assert explanation.obstacles == ()
    *way, rest = explanation.way
    assert way == [
        "a packet to any address of this machine, tcp port 8080, is led to 172.17.0.2:80",
        "it is forwarded to bridge pier0",
        "it leaves by veth1, whose other end is in the container",
    ]
    assert rest.startswith(
        "nothing of this machine stops it; the container's program has to listen at port 80 "
    )
    assert rest.endswith("of 172.17.0.2 or of all addresses, not of 127.0.0.1 only")


def test_one_address_of_ipv6() -> None:
    """A port at one address says so, and IPv6 has its own address and setting."""
    port = PublishedPort(container_port=53, protocol="udp", host_ip="2001:db8::1", host_port=53)
    explanation = explain(ENDPOINT, PathFacts(port=port, forwarding=False))
    assert explanation.way[0] == "a packet to 2001:db8::1, udp port 53, is led to [fd00::2]:53"
    assert explanation.obstacles == (
        "this machine forwards no packets: sysctl -w net.ipv6.conf.all.forwarding=1",
    )


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (PathFacts(port=PORT, held=False), "port 0.0.0.0:8080 is not held"),
        (PathFacts(port=PORT, redirected=None), "the firewall's table is gone"),
        (PathFacts(port=PORT, redirected=False), "the firewall does not know port 0.0.0.0:8080"),
        (PathFacts(port=PORT, forwarding=False), "sysctl -w net.ipv4.ip_forward=1"),
        (PathFacts(port=PORT, bridge_up=None), "bridge pier0 does not exist"),
        (PathFacts(port=PORT, bridge_up=False), "ip link set pier0 up"),
        (PathFacts(port=PORT, link_up=None), "link veth1 does not exist"),
        (PathFacts(port=PORT, link_up=False), "ip link set veth1 up"),
        (PathFacts(port=PORT, link_in_bridge=False), "ip link set veth1 master pier0"),
        (PathFacts(port=PORT, dropping=("inet f c",)), "chain inet f c of another firewall drops"),
    ],
)
def test_obstacles(facts: PathFacts, sentence: str) -> None:
    """Each obstacle is one sentence that names it, and says what to do where something can be done."""
    (obstacle,) = explain(ENDPOINT, facts).obstacles
    assert sentence in obstacle
