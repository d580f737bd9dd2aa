"""The kernel has the rules that were planned, as somebody else's program reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import OperationFailed
from pierhead.linux.nftables import NftablesSocket
from pierhead.linux.nftables_codec import NFPROTO_INET, Element, add_elements, add_table, interface_name
from pierhead.net import EndpointRequest, parse_port_wishes
from pierhead.net.rules import CHAINS, SETS, plan_rules
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.networks import Machine, ServiceOn

pytestmark = requires("root", "nft")


def test_rules_as_planned(host: Machine, service: ServiceOn) -> None:
    """Every expression of every rule is in the kernel as its words say, in the planned order."""
    listed = host.run("nft", "--debug=netlink", "list", "table", "inet", "pierhead")
    found: dict[str, list[list[str]]] = {chain.name: [] for chain in CHAINS}
    for line in listed.splitlines():
        if heading := re.match(r"inet pierhead (\w+) \d+", line):
            found[heading[1]].append([])
            current = found[heading[1]][-1]
        elif line.startswith("  [ "):
            current.append(line.removeprefix("  [ ").removesuffix(" ]"))
    planned: dict[str, list[list[str]]] = {chain.name: [] for chain in CHAINS}
    for rule in plan_rules():
        planned[rule.chain].append([expression.words for expression in rule.expressions])
    assert found == planned


def test_ports_as_elements(host: Machine, service: ServiceOn) -> None:
    """A published port is an element that nft(8) can read, and gone when its container is."""
    ports = parse_port_wishes({"80/tcp": [("", "8080"), ("127.0.0.1", "9090")], "53/udp": [("", "53")]})
    service.attach("web", EndpointRequest(ports=ports))
    listed = " ".join(host.run("nft", "list", "ruleset").split())
    assert "tcp . 8080 : 172.17.0.2 . 80" in listed
    assert "udp . 53 : 172.17.0.2 . 53" in listed
    assert "127.0.0.1 . tcp . 9090 : 172.17.0.2 . 80" in listed
    assert "elements = { 172.17.0.0/16 }" in listed
    service.detach("web")
    assert "172.17.0.2" not in host.run("nft", "list", "ruleset")
    assert len(re.findall(r"^\t(?:set|map) ", host.run("nft", "list", "ruleset"), re.MULTILINE)) == len(SETS)


def test_batch_is_whole(host: Machine) -> None:
    """Of a batch in which one request is refused nothing is done, and the error names that request."""
    with host.call(NftablesSocket.open) as nftables:
        before = nftables.generation()
        missing = Element(set_name="nope", key=interface_name("x"))
        requests = (add_table(NFPROTO_INET, "web"), *add_elements(NFPROTO_INET, "web", (missing,)))
        with pytest.raises(
            OperationFailed, match="cannot add elements to set nope of table web: no such file"
        ):
            nftables.apply(requests)
        assert host.run("nft", "list", "tables") == ""
        assert nftables.generation() == before
        nftables.apply((add_table(NFPROTO_INET, "web"),))
        assert nftables.generation() == before + 1
        with pytest.raises(OperationFailed, match="cannot list set nope of table web: no such file"):
            nftables.elements(NFPROTO_INET, "web", "nope")


def test_thousands_of_ports(host: Machine, service: ServiceOn) -> None:
    """A range of thousands of ports is published in one step, and comes back in one."""
    ports = parse_port_wishes({f"{port}/tcp": [("", str(port))] for port in range(20000, 23000)})
    endpoint = service.attach("many", EndpointRequest(ports=ports))
    assert len(endpoint.ports) == 3000
    host.run("nft", "flush", "ruleset")
    service.ensure()
    with host.call(NftablesSocket.open) as nftables:
        assert len(nftables.elements(NFPROTO_INET, "pierhead", "ports4")) == 3000
    service.detach("many")
