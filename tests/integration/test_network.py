"""A container's networks, routes and moved devices; private namespaces play the host and the container."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed
from pierhead.linux.netlink_codec import LinkOptions, RouteEntry
from pierhead.oci.runtime import NetDevice
from pierhead.runtime.config import Network, Route
from pierhead.runtime.network import HostLink, attach_networks, detach_networks, interface_statistics
from tests.support.netns import Namespace, private_namespace
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

ETH0 = Network(
    type="veth",
    name="eth0",
    bridge="br0",
    mac_address="02:42:ac:11:00:02",
    address="10.0.0.2/24",
    gateway="10.0.0.1",
    ipv6_address="fd00::2/64",
    ipv6_gateway="fd00::1",
    mtu=1400,
    tx_queue_len=50,
    hairpin_mode=True,
    host_interface_name="v0",
)


@pytest.fixture
def host() -> Iterator[Namespace]:
    """The host: a bridge br0 with 10.0.0.1/24 and fd00::1/64, up."""
    with private_namespace() as namespace:
        netlink = namespace.netlink
        netlink.create_bridge(LinkOptions(name="br0", up=True))
        bridge = netlink.get_link("br0")
        netlink.add_address(bridge, "10.0.0.1/24")
        netlink.add_address(bridge, "fd00::1/64")
        yield namespace


@pytest.fixture
def guest() -> Iterator[Namespace]:
    """The container."""
    with private_namespace() as namespace:
        yield namespace


def names(namespace: Namespace) -> set[str]:
    """The names of a namespace's links, but for the host's bridge and the loopback."""
    return {link.name for link in namespace.netlink.links()} - {"br0", "lo"}


def addresses(namespace: Namespace, name: str) -> set[str]:
    """The global addresses of a link."""
    link = namespace.netlink.get_link(name)
    return {address.address for address in namespace.netlink.addresses(link) if address.scope == 0}


def attach(
    host: Namespace,
    guest: Namespace,
    *networks: Network,
    routes: tuple[Route, ...] = (),
    devices: dict[str, NetDevice] | None = None,
) -> tuple[HostLink, ...]:
    """Attaches and checks that no descriptor stays open, whatever happens."""
    before = os.listdir("/proc/self/fd")
    try:
        attachment = attach_networks(networks, routes, devices, host=host.netlink, guest=guest.netlink)
        attachment.close()
        return tuple(attachment.host_links)
    finally:
        assert os.listdir("/proc/self/fd") == before


def add_host_device(host: Namespace, name: str = "nic0") -> None:
    """The host has a device of this name, up, with global addresses of both kinds."""
    netlink = host.netlink
    netlink.create_veth(LinkOptions(name=name, up=True), LinkOptions(name=f"{name}-far", up=True))
    netlink.change_link(netlink.get_link(f"{name}-far"), LinkOptions(up=True))
    netlink.add_address(netlink.get_link(name), "192.0.2.7/24")
    netlink.add_address(netlink.get_link(name), "2001:db8::7/64")


def test_loopback(host: Namespace, guest: Namespace) -> None:
    """A loopback network brings lo up, with the kernel's addresses, and leaves nothing on the host."""
    assert attach(host, guest, Network(type="loopback")) == ()
    assert guest.netlink.get_link("lo").up
    assert "127.0.0.1/8" in {each.address for each in guest.netlink.addresses()}
    assert names(host) == set()


def test_veth_on_a_bridge(host: Namespace, guest: Namespace) -> None:
    """Every field of a veth network is found again in the kernel, on the right side of the pair."""
    (link,) = attach(host, guest, ETH0)
    inner, outer = guest.netlink.get_link("eth0"), host.netlink.get_link("v0")
    assert link == HostLink(name="v0", index=outer.index, guest_name="eth0")
    assert outer.master_index == host.netlink.get_link("br0").index
    assert (inner.up, inner.mtu, inner.tx_queue_len) == (True, 1400, 50)
    assert (outer.up, outer.mtu, outer.tx_queue_len) == (True, 1400, 50)
    assert inner.mac_address == "02:42:ac:11:00:02"
    assert addresses(guest, "eth0") == {"10.0.0.2/24", "fd00::2/64"}
    assert {
        RouteEntry(destination="0.0.0.0/0", gateway="10.0.0.1", link_index=inner.index),
        RouteEntry(destination="::/0", gateway="fd00::1", link_index=inner.index),
    } <= set(guest.netlink.routes())
    with open(f"{host.sysfs}/v0/brport/hairpin_mode") as file:
        assert file.read() == "1\n"


def test_traffic(host: Namespace, guest: Namespace) -> None:
    """The container reaches the host's bridge over IPv4 and IPv6; the counters are those of its own view."""
    links = attach(host, guest, ETH0)
    guest.python(
        "import socket\n"
        "udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for _ in range(20): udp.sendto(bytes(1000), ('10.0.0.1', 9))\n"
    )
    answered = (
        "import socket\n"
        "for family, address in ((socket.AF_INET, '10.0.0.1'), (socket.AF_INET6, 'fd00::1')):\n"
        "    with socket.socket(family, socket.SOCK_STREAM) as tcp:\n"
        "        tcp.settimeout(60)\n"
        "        print(tcp.connect_ex((address, 9)))\n"
    )
    assert guest.python(answered).split() == ["111", "111"]  # ECONNREFUSED: it was the host that answered
    (seen,) = interface_statistics(links, sysfs=host.sysfs)
    assert (seen.name, seen.host_interface_name) == ("eth0", "v0")
    assert seen.tx_bytes >= 20 * 1000
    assert 0 < seen.rx_bytes < seen.tx_bytes
    assert (seen.tx_errors, seen.rx_errors) == (0, 0)


def test_names_are_found(host: Namespace, guest: Namespace) -> None:
    """Without names, the container's are the first free of eth0, eth1, … and the host's are unique."""
    unnamed = Network(type="veth")
    links = attach(host, guest, unnamed, unnamed, Network(type="veth", name="eth1"))
    assert [link.guest_name for link in links] == ["eth0", "eth2", "eth1"]
    assert names(guest) == {"eth0", "eth1", "eth2"}
    assert names(host) == {link.name for link in links}
    assert len(names(host)) == 3
    assert {host.netlink.get_link(link.name).master_index for link in links} == {0}


def test_routes(host: Namespace, guest: Namespace) -> None:
    """Routes follow the networks: by gateway and interface, by interface alone, and as the default."""
    plain = ETH0.replace(gateway="", ipv6_gateway="")
    attach(
        host,
        guest,
        plain,
        routes=(
            Route(destination="10.5.0.0/16", gateway="10.0.0.9", source="10.0.0.2", interface_name="eth0"),
            Route(destination="10.6.0.0/16", interface_name="eth0"),
            Route(gateway="10.0.0.8"),
            Route(gateway="fd00::8", interface_name="eth0"),
        ),
    )
    index = guest.netlink.get_link("eth0").index
    assert {
        RouteEntry(destination="10.5.0.0/16", gateway="10.0.0.9", source="10.0.0.2", link_index=index),
        RouteEntry(destination="10.6.0.0/16", link_index=index, scope=253),
        RouteEntry(destination="0.0.0.0/0", gateway="10.0.0.8", link_index=index),
        RouteEntry(destination="::/0", gateway="fd00::8", link_index=index),
    } <= set(guest.netlink.routes())


def test_detach(host: Namespace, guest: Namespace) -> None:
    """Detaching removes both ends, may be repeated, and leaves alone a link that has taken the name since."""
    links = attach(host, guest, ETH0, Network(type="veth"))
    detach_networks(links, host=host.netlink)
    assert names(host) == names(guest) == set()
    host.netlink.create_veth(LinkOptions(name="v0"), LinkOptions(name="other"))
    detach_networks(links, host=host.netlink)
    assert names(host) == {"v0", "other"}
    assert interface_statistics(links, sysfs=host.sysfs) == ()


BROKEN = (
    (ETH0.replace(bridge="br9"), NotFound, "there is no bridge br9 on the host"),
    (ETH0.replace(address="10.0.0.2"), InvalidInput, "'10.0.0.2' is not an address with a prefix length"),
    (
        ETH0.replace(gateway="9.9.9.9"),
        OperationFailed,
        "cannot add route to 0.0.0.0/0 via 9.9.9.9 on link eth0",
    ),
    (ETH0.replace(mac_address="ff:ff:ff:ff:ff:ff"), OperationFailed, "cannot create veth pair v0/eth0"),
    (ETH0.replace(mtu=70000), OperationFailed, "cannot create veth pair v0/eth0: invalid argument"),
    (ETH0.replace(bridge=""), OperationFailed, "cannot set hairpin mode of link v0"),
    (ETH0.replace(name="x" * 16), InvalidInput, "cannot be the name of a network link"),
    (ETH0.replace(type="token-ring"), InvalidInput, "'token-ring' is not a type of network"),
)


@pytest.mark.parametrize(("broken", "error", "message"), BROKEN)
def test_failing_network(
    host: Namespace, guest: Namespace, broken: Network, error: type[Exception], message: str
) -> None:
    """Whatever is wrong with a network, the error says it, and the networks made before it are gone too."""
    with pytest.raises(error, match=message) as caught:
        attach(host, guest, Network(type="veth", bridge="br0"), broken.replace(ipv6_gateway=""))
    assert not hasattr(caught.value, "__notes__")
    assert names(host) == names(guest) == set()


def test_failing_route(host: Namespace, guest: Namespace) -> None:
    """A route that cannot be made takes back earlier routes, also those over links that were there before."""
    guest.netlink.change_link(guest.netlink.get_link("lo"), LinkOptions(up=True))
    routes = (
        Route(destination="10.9.0.0/16", interface_name="lo"),
        Route(destination="10.8.0.0/16", interface_name="eth0", gateway="10.0.0.1"),
        Route(destination="10.7.0.0/16", interface_name="eth7"),
    )
    with pytest.raises(NotFound, match="there is no network link eth7"):
        attach(host, guest, ETH0, routes=routes)
    assert names(host) == names(guest) == set()
    assert [route for route in guest.netlink.routes() if ":" not in route.destination] == []


def test_moved_device(host: Namespace, guest: Namespace) -> None:
    """A host's device moves in under its new name, with its global addresses, up; the host keeps no trace."""
    add_host_device(host)
    assert attach(host, guest, ETH0, devices={"nic0": NetDevice(name="data0")})[0].guest_name == "eth0"
    assert names(host) == {"v0", "nic0-far"}
    assert names(guest) == {"eth0", "data0"}
    assert guest.netlink.get_link("data0").up
    assert addresses(guest, "data0") == {"192.0.2.7/24", "2001:db8::7/64"}


def test_moved_device_names(host: Namespace, guest: Namespace) -> None:
    """A device keeps its name, or gets the first free one of a template; routes may lead over it."""
    add_host_device(host, "nic0")
    add_host_device(host, "nic1")
    devices = {"nic0": NetDevice(), "nic1": NetDevice(name="eth%d")}
    attach(
        host, guest, ETH0, devices=devices, routes=(Route(destination="10.3.0.0/16", interface_name="eth1"),)
    )
    assert names(guest) == {"eth0", "nic0", "eth1"}


def test_device_name_taken(host: Namespace, guest: Namespace) -> None:
    """A new name that the container has already is a conflict, and nothing has moved."""
    add_host_device(host)
    with pytest.raises(
        Conflict, match="cannot move network device nic0: the container has a link eth0 already"
    ):
        attach(host, guest, ETH0, devices={"nic0": NetDevice(name="eth0")})
    with pytest.raises(NotFound, match="there is no network device nic9 on the host"):
        attach(host, guest, devices={"nic9": NetDevice()})
    assert names(host) == {"nic0", "nic0-far"}


def test_device_comes_back(host: Namespace, guest: Namespace) -> None:
    """When a later step fails, a moved device is the host's again: its name, its addresses, up."""
    add_host_device(host)
    with pytest.raises(NotFound) as caught:
        attach(
            host,
            guest,
            devices={"nic0": NetDevice(name="data0")},
            routes=(Route(destination="10.7.0.0/16", interface_name="eth7"),),
        )
    assert not hasattr(caught.value, "__notes__")
    assert names(guest) == set()
    assert host.netlink.get_link("nic0").up
    assert addresses(host, "nic0") == {"192.0.2.7/24", "2001:db8::7/64"}


def test_immovable_device(host: Namespace, guest: Namespace) -> None:
    """A device that the kernel does not let go stays as it was, up and with its addresses."""
    with pytest.raises(OperationFailed, match="of link br0"):
        attach(host, guest, devices={"br0": NetDevice()})
    assert host.netlink.get_link("br0").up
    assert addresses(host, "br0") == {"10.0.0.1/24", "fd00::1/64"}


def test_failed_clean_up(host: Namespace, guest: Namespace) -> None:
    """What cannot be taken back is noted on the error that was the cause, which stays the error."""

    class Losing:
        """The host's socket, that cannot delete."""

        def __getattr__(self, name: str) -> object:
            if name == "delete_link":
                raise OperationFailed("cannot delete link v0: the test says so")
            return getattr(host.netlink, name)

    with pytest.raises(NotFound, match="eth7") as caught:
        attach_networks((ETH0,), (Route(interface_name="eth7"),), host=Losing(), guest=guest.netlink)  # type: ignore[arg-type]
    assert caught.value.__notes__ == ["and then: cannot delete link v0: the test says so"]
