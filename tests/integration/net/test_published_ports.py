"""Published ports on the real kernel: who reaches a container by them, and under which address."""

from __future__ import annotations

import pytest

from pierhead.net import EndpointRequest, parse_port_wishes
from tests.support.networks import Machine, ServiceOn, container
from tests.support.requires import requires

pytestmark = requires("root")


def publish(host_ip: str = "", *, protocol: str = "tcp") -> EndpointRequest:
    """Port 80 at port 8080."""
    return EndpointRequest(ports=parse_port_wishes({f"80/{protocol}": [(host_ip, "8080")]}))


@pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])
def test_reached_from_everywhere(host: Machine, outside: Machine, service: ServiceOn, *, udp: bool) -> None:
    """A published port is reached from outside under the client's own address, from the machine itself by
    each of its addresses, by other containers, and by the container itself.
    """
    request = publish(protocol="udp" if udp else "tcp")
    web = service.attach("web", request)
    other = service.attach("other", EndpointRequest())
    with (
        container(host, web) as web_machine,
        container(host, other) as other_machine,
        web_machine.listening(80, udp=udp) as listener,
    ):
        assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
        assert host.reaches("127.0.0.1", 8080, listener) == "172.17.0.1"
        assert host.reaches("127.9.9.9", 8080, listener) == "172.17.0.1"
        assert host.reaches("192.0.2.1", 8080, listener) == "192.0.2.1"
        assert host.reaches("172.17.0.1", 8080, listener) == "172.17.0.1"
        for each in (other_machine, web_machine):
            assert each.reaches("172.17.0.1", 8080, listener) == "172.17.0.1"
            assert each.reaches("192.0.2.1", 8080, listener) == "172.17.0.1"
        assert host.reaches("172.17.0.2", 80, listener) == "172.17.0.1"
        assert other_machine.reaches("172.17.0.2", 80, listener) == "172.17.0.3"
        service.detach("web")
        assert outside.misses("192.0.2.1", 8080, listener)
        assert host.misses("127.0.0.1", 8080, listener)


def test_bridged_packets_unseen(host: Machine, service: ServiceOn) -> None:
    """Containers reach published ports, also their own, where the firewall does not see bridged packets."""
    host.write("bridge/bridge-nf-call-iptables", "0")
    web = service.attach("web", publish())
    other = service.attach("other", EndpointRequest())
    with (
        container(host, web) as web_machine,
        container(host, other) as other_machine,
        web_machine.listening(80) as listener,
    ):
        for each in (other_machine, web_machine):
            assert each.reaches("172.17.0.1", 8080, listener) == "172.17.0.1"
        assert other_machine.reaches("172.17.0.2", 80, listener) == "172.17.0.3"


def test_udp_goes_to_the_container_that_is_there(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A client that sends datagrams all the time reaches a container that starts meanwhile, and the next one
    when that has ended.
    """
    request = publish(protocol="udp")
    with outside.open_socket(udp=True) as client:
        client.bind(("192.0.2.2", 5000))
        client.sendto(b"nobody", ("192.0.2.1", 8080))
        for name, address in (("first", "172.17.0.2/16"), ("second", "172.17.0.3/16")):
            endpoint = service.attach(name, request)
            assert endpoint.address == address
            with container(host, endpoint) as guest, guest.listening(80, udp=True) as listener:
                client.sendto(name.encode(), ("192.0.2.1", 8080))
                assert listener.recvfrom(100) == (name.encode(), ("192.0.2.2", 5000))
                service.detach(name)
                client.sendto(b"nobody", ("192.0.2.1", 8080))
