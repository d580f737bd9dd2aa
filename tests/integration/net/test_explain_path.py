"""Explanations of a packet's way, on a machine where it is stopped at each place in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.errors import NotFound
from pierhead.linux.netlink_codec import LinkOptions
from pierhead.net import EndpointRequest, parse_port_wishes
from tests.support.networks import container
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.networks import Machine, ServiceOn

pytestmark = requires("root", "nft")


def test_stopped_at_each_place(host: Machine, service: ServiceOn) -> None:
    """What stops packets is named as long as it does, and no longer."""
    ports = parse_port_wishes({"80/tcp": [("", "8080")]})
    endpoint = service.attach("web", EndpointRequest(ports=ports))

    def obstacles() -> str:
        (explanation,) = service.explain("web")
        return "; ".join(explanation.obstacles)

    assert f"link {endpoint.host_interface_name} does not exist" in obstacles()
    with container(host, endpoint):
        assert obstacles() == ""
        link = host.netlink.get_link(endpoint.host_interface_name)
        host.netlink.change_link(link, LinkOptions(master_index=0))
        assert "is no port of the bridge" in obstacles()
        host.netlink.change_link(link, LinkOptions(up=False))
        assert "is down: ip link set veth" in obstacles()
        bridge = host.netlink.get_link("pier0")
        host.netlink.change_link(link, LinkOptions(up=True, master_index=bridge.index))
        host.netlink.change_link(bridge, LinkOptions(up=False))
        assert obstacles() == "bridge pier0 is down: ip link set pier0 up"
        service.ensure()
        assert obstacles() == ""
        host.write("ipv4/ip_forward", "0")
        assert obstacles() == "this machine forwards no packets: sysctl -w net.ipv4.ip_forward=1"
        service.ensure()
        host.run("nft", "delete element inet pierhead ports4 { tcp . 8080 }")
        assert "does not know port 0.0.0.0:8080" in obstacles()
        host.run("nft", "flush ruleset")
        assert "the firewall's table is gone" in obstacles()
        service.ensure()
        host.run("nft", "add table inet strict")
        host.run("nft", "add chain inet strict transit { type filter hook forward priority 0; policy drop; }")
        assert "chain inet strict transit of another firewall drops" in obstacles()
    with pytest.raises(NotFound, match="container nobody has no place in network bridge"):
        service.explain("nobody")
