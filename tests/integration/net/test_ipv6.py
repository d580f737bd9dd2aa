"""IPv6: addresses of the container's own, the world, and published ports of both versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.net import EndpointRequest, NetworkSettings, PublishedPort, parse_port_wishes
from tests.support.networks import Machine, ServiceOn, container
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")


@pytest.fixture
def service(host: Machine, tmp_path: Path) -> Iterator[ServiceOn]:
    """The service on ``host``, with an IPv6 subnet."""
    made = ServiceOn(host, str(tmp_path / "network"), NetworkSettings(ipv6_subnet="fd00:17::/64"))
    assert made.ensure() == ()
    yield made
    made.close()


def test_both_versions(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A port that names no address is published for both versions at the same number, and reached by each.

    Who tries ::1 first is refused at once, and goes on with 127.0.0.1.
    """
    endpoint = service.attach("web", EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", "")]})))
    assert (endpoint.ipv6_address, endpoint.ipv6_gateway) == ("fd00:17::2/64", "fd00:17::1")
    v4, v6 = endpoint.ports
    assert (v4.host_ip, v6.host_ip) == ("0.0.0.0", "::")
    assert v4.host_port == v6.host_port >= 49153
    port = v6.host_port
    with container(host, endpoint) as web:
        with web.listening(80) as listener:
            assert outside.reaches("192.0.2.1", port, listener) == "192.0.2.2"
        with web.listening(80, ipv6=True) as listener:
            assert outside.reaches("2001:db8::1", port, listener) == "2001:db8::2"
            assert host.reaches("2001:db8::1", port, listener) == "2001:db8::1"
            with host.open_socket(ipv6=True) as client, pytest.raises(ConnectionRefusedError):
                client.connect(("::1", port))
            assert web.reaches("2001:db8::1", port, listener) == "fd00:17::1"


def test_world(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """Containers reach the world under the machine's IPv6 address, and the world does not reach them."""
    outside.netlink.add_route(None, "fd00:17::/64", gateway="2001:db8::1")
    endpoint = service.attach("c", EndpointRequest())
    with container(host, endpoint) as guest:
        with outside.listening(7000, ipv6=True) as listener:
            assert guest.reaches("2001:db8::2", 7000, listener) == "2001:db8::1"
        with guest.listening(80, ipv6=True) as listener:
            assert outside.misses("fd00:17::2", 80, listener)


def test_at_one_address(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """A port that is published at one IPv6 address is not at others; brackets are taken as written."""
    ports = parse_port_wishes({"80/tcp": [("[2001:db8::1]", "8080")]})
    endpoint = service.attach("web", EndpointRequest(ports=ports, ipv6_address="fd00:17::99"))
    assert endpoint.ipv6_address == "fd00:17::99/64"
    assert endpoint.ports == (
        PublishedPort(container_port=80, protocol="tcp", host_ip="2001:db8::1", host_port=8080),
    )
    with container(host, endpoint) as web, web.listening(80, ipv6=True) as listener:
        assert outside.reaches("2001:db8::1", 8080, listener) == "2001:db8::2"
        assert host.misses("::1", 8080, listener)


def test_network_without_ipv6(host: Machine, tmp_path: Path) -> None:
    """Who asks for IPv6 in a network without it is told so, and nothing stays reserved."""
    service = ServiceOn(host, str(tmp_path))
    service.ensure()
    for request in (
        EndpointRequest(ipv6_address="fd00::2"),
        EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", "8080"), ("::", "8081")]})),
    ):
        with pytest.raises(InvalidInput, match="network bridge has no IPv6 subnet"):
            service.attach("c", request)
    assert service.endpoints() == ()
    endpoint = service.attach("c", EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", "8080")]})))
    assert [port.host_port for port in endpoint.ports] == [8080]
    service.close()
