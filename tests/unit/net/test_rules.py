"""Networks and endpoints to the firewall's rules."""

from __future__ import annotations

from pierhead.linux.nftables_codec import Element, interface_name
from pierhead.net.model import Endpoint, Network, PublishedPort
from pierhead.net.rules import CHAINS, SETS, network_elements, plan_rules, plan_table, port_elements

NETWORK = Network(id="n", bridge="pier0", subnet="172.17.0.0/16", gateway="172.17.0.1")
PIER0 = interface_name("pier0")


def endpoint(*ports: PublishedPort) -> Endpoint:
    """A container's, of both versions."""
    return Endpoint(
        container_id="c",
        endpoint_id="e",
        network="bridge",
        network_id="n",
        bridge="pier0",
        host_interface_name="veth0",
        address="172.17.0.2/16",
        gateway="172.17.0.1",
        ipv6_address="fd00::2/64",
        mac_address="02:42:ac:11:00:02",
        mtu=1500,
        ports=ports,
    )


def test_forwarded_packets() -> None:
    """Answers, published ports and neighbours pass, in this order; nobody else reaches a container."""
    rules = [rule for rule in plan_rules() if rule.chain == "forward"][:5]
    assert [(rule.why, [each.words for each in rule.expressions]) for rule in rules] == [
        (
            "answers",
            [
                "ct load state => reg 1",
                "bitwise reg 1 = ( reg 1 & 0x00000006 ) ^ 0x00000000",
                "cmp neq reg 1 0x00000000",
                "immediate reg 0 accept",
            ],
        ),
        (
            "to a published port",
            [
                "meta load oifname => reg 1",
                "lookup reg 1 set bridges 0x0",
                "ct load status => reg 1",
                "bitwise reg 1 = ( reg 1 & 0x00000020 ) ^ 0x00000000",
                "cmp neq reg 1 0x00000000",
                "immediate reg 0 accept",
            ],
        ),
        (
            "within one network",
            [
                "meta load iifname => reg 1",
                "meta load oifname => reg 2",
                "lookup reg 1 set neighbours dreg 0 0x0",
            ],
        ),
        (
            "to a container, from outside of its network",
            [
                "meta load oifname => reg 1",
                "lookup reg 1 set bridges 0x0",
                "counter pkts 0 bytes 0",
                "immediate reg 0 drop",
            ],
        ),
        (
            "out of an internal network",
            [
                "meta load iifname => reg 1",
                "lookup reg 1 set internal 0x0",
                "counter pkts 0 bytes 0",
                "immediate reg 0 drop",
            ],
        ),
    ]


def test_rules_fit_together() -> None:
    """Every rule stands in a chain of ours and looks into sets of ours, and says why it is there."""
    chains, sets = {chain.name for chain in CHAINS}, {each.name for each in SETS}
    looked_into = set()
    for rule in plan_rules():
        assert rule.why
        assert rule.chain in chains
        looked_into |= {
            each.words.split(" set ")[1].split(" ")[0]
            for each in rule.expressions
            if each.words.startswith("lookup")
        }
    assert looked_into == sets


def test_elements_of_a_network() -> None:
    """A network is a few elements: its bridge, how its containers meet, its subnet."""
    assert network_elements(NETWORK) == (
        Element(set_name="bridges", key=PIER0),
        Element(set_name="neighbours", key=PIER0 + PIER0, verdict="accept"),
        Element(set_name="containers4", key=bytes((172, 17, 0, 0))),
        Element(set_name="containers4", key=bytes((172, 18, 0, 0)), interval_end=True),
        Element(set_name="masqueraded4", key=bytes((172, 17, 0, 0))),
        Element(set_name="masqueraded4", key=bytes((172, 18, 0, 0)), interval_end=True),
    )


def test_elements_of_an_internal_network() -> None:
    """It is not masqueraded, and nothing leads out of it."""
    network = NETWORK.replace(internal=True, inter_container=False, subnet="255.255.255.0/24")
    assert network_elements(network) == (
        Element(set_name="bridges", key=PIER0),
        Element(set_name="neighbours", key=PIER0 + PIER0, verdict="drop"),
        Element(set_name="internal", key=PIER0),
        Element(set_name="containers4", key=bytes((255, 255, 255, 0))),  # behind it there is nothing
    )


def test_elements_of_ports() -> None:
    """A published port is one element of the map for its IP version, and for one address or for all."""
    ports = (
        PublishedPort(container_port=80, protocol="tcp", host_ip="0.0.0.0", host_port=8080),
        PublishedPort(container_port=53, protocol="udp", host_ip="127.0.0.1", host_port=53),
        PublishedPort(container_port=80, protocol="sctp", host_ip="::", host_port=8080),
        PublishedPort(container_port=80, protocol="tcp", host_ip="::1", host_port=8080),
    )
    address, address6 = bytes((172, 17, 0, 2)), bytes((0xFD, *bytes(14), 2))
    assert port_elements(endpoint(*ports)) == (
        Element(set_name="ports4", key=b"\x06\0\0\0\x1f\x90\0\0", data=address + b"\0\x50\0\0"),
        Element(
            set_name="ports4at",
            key=b"\x7f\0\0\x01\x11\0\0\0\0\x35\0\0",
            data=address + b"\0\x35\0\0",
        ),
        Element(set_name="ports6", key=b"\x84\0\0\0\x1f\x90\0\0", data=address6 + b"\0\x50\0\0"),
        Element(
            set_name="ports6at",
            key=bytes(15) + b"\x01\x06\0\0\0\x1f\x90\0\0",
            data=address6 + b"\0\x50\0\0",
        ),
    )


def test_whole_table() -> None:
    """One batch removes what was and makes what is wanted, so no packet meets a half of it."""
    requests = plan_table("web", [NETWORK], [endpoint()])
    what = [request.what for request in requests]
    assert what[:3] == ["add table web", "delete table web", "add table web"]
    assert what[3:4] == ["add set bridges to table web"]
    assert what[-1] == "add elements to set masqueraded4 of table web"
    assert len(requests) == 3 + len(SETS) + len(CHAINS) + len(plan_rules()) + 4
