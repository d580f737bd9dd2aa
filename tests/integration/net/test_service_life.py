"""The network service through deaths of its daemon, beside others, and on a machine that others change."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, InvalidInput, Unavailable
from pierhead.linux.netlink_codec import LinkOptions
from pierhead.net import EndpointRequest, NetworkService, NetworkSettings, parse_port_wishes
from pierhead.net.ports import PortReservations
from tests.support.networks import Machine, ServiceOn, container, process_in
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from pierhead.net import Endpoint, PublishedPort

pytestmark = requires("root", "nft")

DAEMON = """
import sys
from pierhead.net import EndpointRequest, NetworkService, NetworkSettings, parse_port_wishes
service = NetworkService(sys.argv[1], NetworkSettings())
service.ensure()
for name, port in (("web", "8080"), ("gone", "8081")):
    service.attach(name, EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", port)]})))
print("attached", flush=True)
sys.stdin.read()
"""


def published(port: str) -> EndpointRequest:
    """Port 80 at this port."""
    return EndpointRequest(ports=parse_port_wishes({"80/tcp": [("", port)]}))


def test_killed_daemon(host: Machine, outside: Machine, tmp_path: Path) -> None:
    """Published ports work while the daemon is dead; the next one knows all endpoints, holds their ports
    again and releases what belongs to containers that have ended.
    """
    state = tmp_path / "network"
    command = process_in(host, DAEMON, str(state))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"attached\n"
        daemon.send_signal(signal.SIGKILL)
    service = ServiceOn(host, str(state))
    with pytest.raises(Unavailable, match="not at work"):
        service.attach("new", published("8080"))
    endpoint = json.loads((state / "endpoints/web.json").read_text())
    assert endpoint["address"] == "172.17.0.2/16"
    assert service.ensure() == ()
    found = service.find_endpoint("web")
    assert found is not None
    with container(host, found) as web, web.listening(80) as listener:
        assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
        assert service.restore(["web"]) == ()
        assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
    assert [each.container_id for each in service.endpoints()] == ["web"]
    with pytest.raises(
        Conflict, match=r"Bind for 0\.0\.0\.0:8080 failed: port is already allocated"
    ) as caught:
        service.attach("new", published("8080"))
    assert "container web" in caught.value.hint
    assert service.attach("new", published("8081")).ports[0].host_port == 8081
    service.close()


class Leading:
    """Leads ports of the machine into the engine's namespace, and goes on without a service."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.answers = True

    def publish(self, port: PublishedPort) -> int:
        """It is its own number."""
        self.ports = [*{*self.ports, port.host_port}]
        return port.host_port

    def withdraw(self, number: int) -> None:
        """It leads nowhere."""
        self.ports.remove(number)

    def keep(self, numbers: Container[int]) -> None:
        """Others lead nowhere."""
        if not self.answers:
            raise Unavailable("nobody answers")
        self.ports = [each for each in self.ports if each in numbers]


def test_ports_that_somebody_else_leads(host: Machine, tmp_path: Path) -> None:
    """Of containers that ended without a service no port is published; if that cannot be, it is told."""
    leading = Leading()

    def begin() -> NetworkService:
        new_ports = functools.partial(PortReservations, forwarding=leading)
        begun = NetworkService(str(tmp_path), NetworkSettings(), new_ports)
        host.call(begun.ensure)
        return begun

    before = begin()
    host.call(before.attach, "web", published("8080"))
    host.call(before.attach, "gone", published("8081"))
    before.close()
    assert sorted(leading.ports) == [8080, 8081]
    service = begin()
    assert host.call(service.restore, ["web"]) == ()
    assert leading.ports == [8080]
    leading.answers = False
    [told] = host.call(service.restore, ["web"])
    assert told.endswith("may be published still: nobody answers")
    service.close()


def test_ports_that_are_led_in_by_ipv4_only(host: Machine, tmp_path: Path) -> None:
    """A port for which no address is named is not asked for at IPv6's, which nobody leads."""
    new_ports = functools.partial(PortReservations, forwarding=Leading())
    settings = NetworkSettings(ipv6_subnet="fd00:17::/64")
    service = NetworkService(str(tmp_path), settings, new_ports)
    host.call(service.ensure)
    endpoint = host.call(service.attach, "web", published("8080"))
    assert [(each.host_ip, each.host_port) for each in endpoint.ports] == [("0.0.0.0", 8080)]
    service.close()


def test_rules_outlive_the_service(
    host: Machine, outside: Machine, service: ServiceOn, tmp_path: Path
) -> None:
    """While no service runs, packets go where they went; a port that another program takes meanwhile is told
    of, and still leads to its container.
    """
    endpoint = service.attach("web", published("8080"))
    with container(host, endpoint) as web, web.listening(80) as listener:
        service.close()
        assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
        with host.listening(8080):
            again = ServiceOn(host, str(tmp_path / "network"))
            again.ensure()
            (warning,) = again.restore(["web"])
            assert warning.startswith("port 0.0.0.0:8080 of container web could not be taken again: Bind for")
            assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
            again.close()


def test_ports_are_really_held(host: Machine, service: ServiceOn) -> None:
    """No other program gets a published port, and what another program has is not published."""
    service.attach("web", published("8080"))
    with host.open_socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind(("0.0.0.0", 8080))
    with host.listening(9000), pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:9000 failed") as caught:
        service.attach("other", published("9000"))
    assert "ss -tlnp 'sport = :9000'" in caught.value.hint
    assert service.find_endpoint("other") is None
    with pytest.raises(InvalidInput, match=r"this machine has no address 192\.0\.2\.77"):
        service.attach("other", EndpointRequest(ports=parse_port_wishes({"80/tcp": [("192.0.2.77", "80")]})))
    assert service.attach("other", published("8081-8090")).ports[0].host_port == 8081
    assert service.attach("third", published("8080-8090")).ports[0].host_port == 8082


def test_two_engines(host: Machine, outside: Machine, service: ServiceOn, tmp_path: Path) -> None:
    """Two engines with their own bridges have their own subnets and tables, and do not disturb each other; a
    third one that wants a bridge that is taken is refused.
    """
    second = ServiceOn(host, str(tmp_path / "second"), NetworkSettings(bridge="pier1"))
    second.ensure()
    one, two = service.attach("c", published("8080")), second.attach("c", published("8081"))
    assert (one.address, two.address) == ("172.17.0.2/16", "172.18.0.2/16")
    with pytest.raises(Conflict, match="port is already allocated"):
        second.attach("d", published("8080"))
    with container(host, one) as first_machine, container(host, two) as second_machine:
        for guest, port in ((first_machine, 8080), (second_machine, 8081)):
            with guest.listening(80) as listener:
                assert outside.reaches("192.0.2.1", port, listener) == "192.0.2.2"
        with second_machine.listening(80) as listener:
            assert first_machine.misses("172.18.0.2", 80, listener)
            assert first_machine.reaches("192.0.2.1", 8081, listener) == "172.18.0.1"
    third = ServiceOn(host, str(tmp_path / "third"))
    with pytest.raises(Conflict, match=r"another engine \(process \d+\) has bridge pier0"):
        third.ensure()
    second.detach("c")
    second.remove()
    assert host.netlink.find_link("pier1") is None
    assert host.run("nft", "list", "tables") == "table inet pierhead\n"
    assert service.endpoints() == (one,)


def test_claim_of_a_stranger(host: Machine, tmp_path: Path) -> None:
    """A user who binds the name of a bridge's claim keeps no engine from it."""
    script = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); "
        r"s.bind('\0pierhead/network/pier0'); s.listen(); print('bound', flush=True); sys.stdin.read()"
    )
    command = process_in(host, script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"bound\n"
        service = ServiceOn(host, str(tmp_path / "network"))
        assert service.ensure() == ()
        service.close()
        stranger.kill()


def test_many_at_once(service: ServiceOn) -> None:
    """Containers that start and end at once, from many threads, have their own addresses and ports."""

    def live(name: str) -> list[Endpoint]:
        found = []
        for _ in range(10):
            found.append(service.attach(name, published("")))
            mine = {each.address for each in service.endpoints()}
            assert len(mine) == len(service.endpoints())
            service.detach(name)
        found.append(service.attach(name, published("")))
        return found

    with ThreadPoolExecutor(8) as threads:
        lives = list(threads.map(live, [f"c{number}" for number in range(16)]))
    last = [life[-1] for life in lives]
    assert len({each.address for each in last}) == len({each.ports[0].host_port for each in last}) == 16
    assert {each.container_id for each in service.endpoints()} == {each.container_id for each in last}


def test_flushed_rules_come_back(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """Who flushes all rules of the machine stops published ports until the next container starts or ends."""
    endpoint = service.attach("web", published("8080"))
    with container(host, endpoint) as web, web.listening(80) as listener:
        for change in (
            lambda: service.attach("plain", EndpointRequest()),
            lambda: service.attach("other", published("8081")),
            lambda: service.detach("other"),
            service.ensure,
        ):
            host.run("nft", "flush", "ruleset")
            assert outside.misses("192.0.2.1", 8080, listener)
            change()
            assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"


def test_removed_bridge_comes_back(host: Machine, service: ServiceOn) -> None:
    """Who removes the bridge keeps no later container from starting."""
    host.run("ip", "link", "delete", "pier0")
    endpoint = service.attach("web", published("8080"))
    with container(host, endpoint) as web, web.listening(80) as listener:
        assert host.reaches("127.0.0.1", 8080, listener) == "172.17.0.1"


@requires("iptables-nft")
def test_iptables_that_drops(host: Machine, outside: Machine, service: ServiceOn) -> None:
    """Where iptables drops what is forwarded, as beside Docker, containers are reached all the same: by rules
    at the end of its chain, which iptables lists, which are there once, and go with the network.
    """
    endpoint = service.attach("web", published("8080"))
    host.run("iptables-nft", "-P", "FORWARD", "DROP")
    host.run("iptables-nft", "-A", "FORWARD", "-p", "tcp", "--dport", "81", "-j", "DROP")
    with container(host, endpoint) as web, web.listening(80) as listener:
        assert outside.misses("192.0.2.1", 8080, listener)
        service.attach("other", EndpointRequest())
        assert service.ensure() == ()
        assert outside.reaches("192.0.2.1", 8080, listener) == "192.0.2.2"
        with outside.listening(7000) as world:
            assert web.reaches("192.0.2.2", 7000, world) == "192.0.2.1"
    listed = host.run("iptables-nft", "-S", "FORWARD").splitlines()
    drop = "-A FORWARD -p tcp -m tcp --dport 81 -j DROP"
    assert listed == [
        "-P FORWARD DROP",
        drop,
        '-A FORWARD -i pier0 -m comment --comment "pierhead, for pier0" -j ACCEPT',
        '-A FORWARD -o pier0 -m comment --comment "pierhead, for pier0" -j ACCEPT',
    ]
    service.detach("web")
    service.detach("other")
    service.remove()
    assert host.run("iptables-nft", "-S", "FORWARD").splitlines() == ["-P FORWARD DROP", drop]


def test_somebody_elses_firewall(host: Machine, service: ServiceOn) -> None:
    """A policy of DROP in another table stays, and the service says what to do about it."""
    host.run("nft", "add table inet strict")
    host.run("nft", "add chain inet strict transit { type filter hook forward priority 0; policy drop; }")
    (warning,) = service.ensure()
    assert warning.startswith("chain inet strict transit of the firewall drops what it does not know")
    assert "nft add rule inet strict transit iifname pier0 accept" in warning


def test_subnets_in_use(host: Machine, tmp_path: Path) -> None:
    """A subnet that the machine has a route or an address of is not chosen; a bridge that is there keeps its
    own; one of another subnet is refused with what to do.
    """
    host.netlink.create_bridge(LinkOptions(name="vpn", up=True))
    host.netlink.add_address(host.netlink.get_link("vpn"), "172.17.5.1/24")
    host.netlink.add_route(host.netlink.get_link("vpn"), "172.18.0.0/15")
    service = ServiceOn(host, str(tmp_path / "one"))
    service.ensure()
    (network,) = service.networks()
    assert (network.subnet, network.gateway) == ("172.20.0.0/16", "172.20.0.1")
    service.close()
    adopted = ServiceOn(host, str(tmp_path / "two"))
    adopted.ensure()
    assert adopted.networks()[0].subnet == "172.20.0.0/16"
    adopted.close()
    strange = ServiceOn(host, str(tmp_path / "three"), NetworkSettings(subnet="10.9.0.0/24"))
    with pytest.raises(Conflict, match=r"bridge pier0 has the address 172\.20\.0\.1/16") as caught:
        strange.ensure()
    assert "ip link delete pier0" in caught.value.hint


def test_other_settings(host: Machine, tmp_path: Path) -> None:
    """Another subnet in the settings holds at once where nothing is attached, else when nothing is."""
    state = str(tmp_path / "network")
    first = ServiceOn(host, state)
    first.ensure()
    first.attach("c", EndpointRequest())
    first.close()
    wanted = NetworkSettings(subnet="10.9.0.0/24")
    second = ServiceOn(host, state, wanted)
    (warning,) = second.ensure()
    assert warning.startswith("network bridge keeps its subnet 172.17.0.0/16 while containers use it")
    second.restore([])
    second.close()
    third = ServiceOn(host, state, wanted)
    assert third.ensure() == ()
    assert third.attach("c", EndpointRequest()).address == "10.9.0.2/24"
    with pytest.raises(Conflict, match="network bridge has active endpoints"):
        third.remove()
    third.close()
