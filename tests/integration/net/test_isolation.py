"""Who does not reach whom, and what containers cannot do to the machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pierhead.linux.netlink_codec import LinkOptions
from pierhead.net import EndpointRequest, NetworkSettings, parse_port_wishes
from tests.support.networks import Machine, ServiceOn, container, machine
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires("root")


def test_outside_reaches_published_ports_only(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A neighbour that routes to the containers' subnet reaches none of them, neither a port that is not
    published nor one that is published at 127.0.0.1.
    """
    outside.netlink.add_route(None, "172.17.0.0/16", gateway="192.0.2.1")
    ports = parse_port_wishes({"80/tcp": [("127.0.0.1", "8080")]})
    endpoint = service.attach("web", EndpointRequest(ports=ports))
    with container(host, endpoint) as web, web.listening(80) as listener:
        assert host.reaches("127.0.0.1", 8080, listener) == "172.17.0.1"
        assert outside.misses("172.17.0.2", 80, listener)
        assert outside.misses("192.0.2.1", 8080, listener)
        assert host.misses("192.0.2.1", 8080, listener)


def test_neighbours_cannot_use_our_loopback(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A neighbour that sends to 127.0.0.1 over the cable does not reach what is published there."""
    ports = parse_port_wishes({"80/tcp": [("127.0.0.1", "8080")]})
    endpoint = service.attach("web", EndpointRequest(ports=ports))
    outside.run("ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
    outside.write("ipv4/conf/eth0/route_localnet", "1")
    outside.netlink.add_route(None, "127.0.0.0/8", gateway="192.0.2.1")
    with container(host, endpoint) as web, web.listening(80) as listener:
        assert outside.misses("127.0.0.1", 8080, listener)
        assert host.reaches("127.0.0.1", 8080, listener) == "172.17.0.1"


def test_containers_cannot_use_our_loopback(host: Machine, service: ServiceOn) -> None:
    """A container that sends to 127.0.0.1 by its gateway reaches no server that listens there, nor does one
    that sends from it.
    """
    endpoint = service.attach("evil", EndpointRequest())
    with container(host, endpoint) as evil, host.open_socket(udp=True) as server:
        server.bind(("127.0.0.1", 9000))
        evil.run("ip", "address", "delete", "127.0.0.1/8", "dev", "lo")
        evil.write("ipv4/conf/eth0/route_localnet", "1")
        evil.netlink.add_route(None, "127.0.0.0/8", gateway="172.17.0.1")
        assert evil.misses("127.0.0.1", 9000, server)
        dropped = host.run("nft", "list", "chain", "inet", "pierhead", "guard")
        assert "counter packets 1 bytes 36 drop" in dropped
        service_at_bridge = host.open_socket(udp=True)
        with service_at_bridge:
            service_at_bridge.bind(("172.17.0.1", 9001))
            assert evil.reaches("172.17.0.1", 9001, service_at_bridge) == "172.17.0.2"


def test_out_to_the_world(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A container reaches the world under the machine's address."""
    endpoint = service.attach("c", EndpointRequest())
    with container(host, endpoint) as guest:
        for udp in (False, True):
            with outside.listening(7000, udp=udp) as listener:
                assert guest.reaches("192.0.2.2", 7000, listener) == "192.0.2.1"


def test_without_masquerade(host: Machine, outside: Machine, tmp_path: Path) -> None:
    """Without masquerading, containers reach the world under their own addresses."""
    outside.netlink.add_route(None, "172.17.0.0/16", gateway="192.0.2.1")
    service = ServiceOn(host, str(tmp_path), NetworkSettings(masquerade=False))
    service.ensure()
    endpoint = service.attach("c", EndpointRequest())
    with container(host, endpoint) as guest, outside.listening(7000) as listener:
        assert guest.reaches("192.0.2.2", 7000, listener) == "172.17.0.2"
    service.close()


def test_neighbours_apart(host: Machine, tmp_path: Path) -> None:
    """With ``inter_container`` off containers do not reach each other, but published ports they do; also
    where the kernel was told not to show bridged packets to the firewall.
    """
    host.write("bridge/bridge-nf-call-iptables", "0")
    service = ServiceOn(host, str(tmp_path), NetworkSettings(inter_container=False))
    service.ensure()
    web = service.attach("web", EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", "8080")]})))
    other = service.attach("other", EndpointRequest())
    with (
        container(host, web) as web_machine,
        container(host, other) as other_machine,
        web_machine.listening(80) as listener,
    ):
        assert other_machine.misses("172.17.0.2", 80, listener)
        assert other_machine.reaches("172.17.0.1", 8080, listener) == "172.17.0.1"
    service.close()


def test_machine_is_no_router(host: Machine, outside: Machine, tmp_path: Path) -> None:
    """A machine that did not forward packets from one cable to another does not because of containers; one
    that did goes on.
    """
    with machine() as far:
        fd = far.netlink.namespace_fd()
        host.netlink.create_veth(LinkOptions(name="eth1"), LinkOptions(name="eth0", namespace_fd=fd))
        os.close(fd)
        for each, link, address in ((host, "eth1", "198.51.100.1/24"), (far, "eth0", "198.51.100.2/24")):
            each.netlink.change_link(each.netlink.get_link(link), LinkOptions(up=True))
            each.netlink.add_address(each.netlink.get_link(link), address)
        far.netlink.add_route(None, "0.0.0.0/0", gateway="198.51.100.1")
        outside.netlink.add_route(None, "198.51.100.0/24", gateway="192.0.2.1")
        with far.listening(7000) as listener:
            for was_router in ("0", "1"):
                host.write("ipv4/ip_forward", was_router)
                service = ServiceOn(host, str(tmp_path / was_router))
                service.ensure()
                endpoint = service.attach("c", EndpointRequest())
                with container(host, endpoint) as guest:
                    assert guest.reaches("198.51.100.2", 7000, listener) == "198.51.100.1"
                if was_router == "1":
                    assert outside.reaches("198.51.100.2", 7000, listener) == "192.0.2.2"
                else:
                    assert outside.misses("198.51.100.2", 7000, listener)
                service.detach("c")
                service.close()


def test_router_advertisements_of_containers(host: Machine, tmp_path: Path) -> None:
    """The machine takes no routes from containers; its other links still take theirs, though it forwards."""
    host.write("ipv6/conf/default/accept_ra", "1")
    host.netlink.create_bridge(LinkOptions(name="lan"))
    service = ServiceOn(host, str(tmp_path), NetworkSettings(ipv6_subnet="fd00:17::/64"))
    service.ensure()
    assert host.read("ipv6/conf/pier0/accept_ra") == "0"
    assert host.read("ipv6/conf/all/forwarding") == "1"
    assert host.read("ipv6/conf/lan/accept_ra") == "2"
    service.close()
