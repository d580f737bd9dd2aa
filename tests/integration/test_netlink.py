"""The rtnetlink client against the real kernel, in private network namespaces."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import NotFound, OperationFailed
from pierhead.linux.netlink import NetlinkSocket
from pierhead.linux.netlink_codec import Address, LinkOptions, RouteEntry
from tests.support.netns import Namespace, private_namespace
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A namespace that plays the host."""
    with private_namespace() as namespace:
        yield namespace


@pytest.fixture
def guest() -> Iterator[Namespace]:
    """A namespace that plays the container."""
    with private_namespace() as namespace:
        yield namespace


@pytest.fixture
def guest_fd(guest: Namespace) -> Iterator[int]:
    """A descriptor of the guest's namespace."""
    fd = guest.netlink.namespace_fd()
    yield fd
    os.close(fd)


def test_new_namespace(guest: Namespace) -> None:
    """A new namespace has one link, the loopback, which is down; up, the kernel gives it its addresses."""
    (lo,) = guest.netlink.links()
    assert (lo.name, lo.up, lo.kind) == ("lo", False, "")
    guest.netlink.change_link(lo, LinkOptions(up=True))
    assert guest.netlink.get_link("lo").up
    assert [address.address for address in guest.netlink.addresses(lo)] == ["127.0.0.1/8", "::1/128"]


def test_socket_keeps_its_namespace(host: Namespace, guest: Namespace) -> None:
    """A socket speaks to the namespace it was opened in, and can name that namespace."""
    host.netlink.create_bridge(LinkOptions(name="br0"))
    assert guest.netlink.find_link("br0") is None
    fd = guest.netlink.namespace_fd()
    assert os.fstat(fd).st_ino == os.stat(f"/proc/{guest.holder_pid}/ns/net").st_ino
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_veth_pair_across_namespaces(host: Namespace, guest: Namespace, guest_fd: int) -> None:
    """A pair is made with all its options at once, one end here and one there."""
    host.netlink.create_bridge(LinkOptions(name="br0", up=True))
    bridge = host.netlink.get_link("br0")
    host.netlink.create_veth(
        LinkOptions(name="v0", up=True, mtu=1400, tx_queue_len=0, master_index=bridge.index),
        LinkOptions(name="eth0", up=True, mtu=1300, mac_address="02:42:ac:11:00:02", namespace_fd=guest_fd),
    )
    v0, eth0 = host.netlink.get_link("v0"), guest.netlink.get_link("eth0")
    assert (v0.kind, v0.up, v0.mtu, v0.tx_queue_len) == ("veth", True, 1400, 0)
    assert v0.master_index == bridge.index
    assert (eth0.kind, eth0.up, eth0.mtu, eth0.mac_address) == ("veth", False, 1300, "02:42:ac:11:00:02")
    assert (v0.peer_index, eth0.peer_index) == (eth0.index, v0.index)
    host.netlink.delete_link(v0)
    assert guest.netlink.find_link("eth0") is None


def test_veth_pair_all_or_nothing(host: Namespace, guest: Namespace, guest_fd: int) -> None:
    """When one end cannot be made, or cannot join its bridge, neither end stays."""
    host.netlink.create_veth(LinkOptions(name="v0"), LinkOptions(name="eth0", namespace_fd=guest_fd))
    with pytest.raises(OperationFailed, match=r"^cannot create veth pair v1/eth0: file exists$") as caught:
        host.netlink.create_veth(LinkOptions(name="v1"), LinkOptions(name="eth0", namespace_fd=guest_fd))
    assert caught.value.errno == errno.EEXIST
    with pytest.raises(OperationFailed, match="cannot create veth pair v2/eth2"):
        host.netlink.create_veth(
            LinkOptions(name="v2", master_index=999), LinkOptions(name="eth2", namespace_fd=guest_fd)
        )
    assert {link.name for link in host.netlink.links()} == {"lo", "v0"}
    assert {link.name for link in guest.netlink.links()} == {"lo", "eth0"}


def test_changed_link(host: Namespace) -> None:
    """A link takes a name, an address, numbers and a master, and loses its master again."""
    netlink = host.netlink
    netlink.create_bridge(LinkOptions(name="br0"))
    netlink.create_veth(LinkOptions(name="a"), LinkOptions(name="b"))
    link, bridge = netlink.get_link("a"), netlink.get_link("br0")
    options = LinkOptions(
        name="c", mac_address="02:00:00:00:00:01", mtu=9000, tx_queue_len=5, master_index=bridge.index
    )
    netlink.change_link(link, options)
    changed = netlink.get_link("c")
    assert changed.index == link.index
    assert (changed.mac_address, changed.mtu, changed.tx_queue_len) == ("02:00:00:00:00:01", 9000, 5)
    assert changed.master_index == bridge.index
    netlink.change_link(changed, LinkOptions(master_index=0, up=True))
    freed = netlink.get_link(link.index)
    assert (freed.master_index, freed.up) == (0, True)
    netlink.change_link(freed, LinkOptions(up=False))
    assert not netlink.get_link("c").up


def test_hairpin(host: Namespace) -> None:
    """A bridge port is put into hairpin mode, and out of it; a link without a bridge has none."""
    netlink = host.netlink
    netlink.create_bridge(LinkOptions(name="br0"))
    bridge = netlink.get_link("br0")
    netlink.create_veth(LinkOptions(name="a", master_index=bridge.index), LinkOptions(name="b"))
    port = netlink.get_link("a")
    mode = f"{host.sysfs}/a/brport/hairpin_mode"
    for on in (True, False):
        netlink.set_hairpin(port, on=on)
        with open(mode) as file:
            assert file.read() == f"{on:d}\n"
    with pytest.raises(OperationFailed, match="cannot set hairpin mode of link b"):
        netlink.set_hairpin(netlink.get_link("b"), on=True)


def test_moved_link(host: Namespace, guest: Namespace, guest_fd: int) -> None:
    """A link moves to another namespace, by descriptor or process, and may get another name and index."""
    guest.netlink.create_bridge(LinkOptions(name="takes-index-2"))
    host.netlink.create_veth(LinkOptions(name="a"), LinkOptions(name="b"))
    link = host.netlink.get_link(2)
    host.netlink.change_link(link, LinkOptions(name="moved", namespace_fd=guest_fd))
    assert host.netlink.find_link(link.name) is None
    moved = guest.netlink.get_link("moved")
    assert moved.index != link.index
    guest.netlink.change_link(moved, LinkOptions(namespace_pid=host.holder_pid))
    assert host.netlink.get_link("moved").mac_address == link.mac_address
    host.netlink.create_bridge(LinkOptions(name="br0"))
    with pytest.raises(OperationFailed, match=r"cannot set namespace of link br0: .*immutable"):
        host.netlink.change_link(host.netlink.get_link("br0"), LinkOptions(namespace_fd=guest_fd))


def test_addresses(host: Namespace) -> None:
    """Addresses are usable at once; those of one link are told from those of all."""
    netlink = host.netlink
    netlink.create_veth(LinkOptions(name="a", up=True), LinkOptions(name="b"))
    a, b = netlink.get_link("a"), netlink.get_link("b")
    netlink.change_link(b, LinkOptions(up=True))
    netlink.add_address(a, "10.0.0.1/24")
    netlink.add_address(a, "fd00::1/64")
    netlink.add_address(b, "10.1.0.1/31")
    globals_ = [address for address in netlink.addresses(a) if address.scope == 0]
    assert globals_ == [
        Address(link_index=a.index, address="10.0.0.1/24"),
        Address(link_index=a.index, address="fd00::1/64"),
    ]
    assert {"10.0.0.1/24", "10.1.0.1/31"} <= {address.address for address in netlink.addresses()}
    shown = host.run("ip", "address", "show")
    assert "inet 10.0.0.1/24 brd 10.0.0.255 scope global a" in shown
    assert "inet 10.1.0.1/31 scope global b" in shown
    assert "inet6 fd00::1/64 scope global nodad" in shown


def test_routes(host: Namespace) -> None:
    """Routes lead over a gateway or a link, with a source; defaults are 0.0.0.0/0 and ::/0."""
    netlink = host.netlink
    netlink.create_veth(LinkOptions(name="a", up=True), LinkOptions(name="b", up=True))
    netlink.change_link(netlink.get_link("b"), LinkOptions(up=True))
    a = netlink.get_link("a")
    netlink.add_address(a, "10.0.0.2/24")
    netlink.add_address(a, "fd00::2/64")
    netlink.add_route(a, "0.0.0.0/0", gateway="10.0.0.1", source="10.0.0.2")
    netlink.add_route(None, "10.7.0.0/16", gateway="10.0.0.9")
    netlink.add_route(a, "10.8.0.0/16")
    netlink.add_route(a, "::/0", gateway="fd00::1")
    expected = {
        RouteEntry(destination="0.0.0.0/0", gateway="10.0.0.1", source="10.0.0.2", link_index=a.index),
        RouteEntry(destination="10.7.0.0/16", gateway="10.0.0.9", link_index=a.index),
        RouteEntry(destination="10.8.0.0/16", link_index=a.index, scope=253),
        RouteEntry(destination="::/0", gateway="fd00::1", link_index=a.index),
    }
    assert expected <= set(netlink.routes())


def test_refusals_in_words(host: Namespace) -> None:
    """An error names what could not be done and passes on the kernel's own sentence."""
    netlink = host.netlink
    netlink.create_veth(LinkOptions(name="a", up=True), LinkOptions(name="b"))
    a = netlink.get_link("a")
    with pytest.raises(OperationFailed) as caught:
        netlink.change_link(a, LinkOptions(mtu=70000))
    assert str(caught.value) == (
        "cannot set mtu 70000 of link a: invalid argument (mtu greater than device maximum)"
    )
    with pytest.raises(
        OperationFailed, match=r"cannot add route to 10.0.0.0/8 via 9.9.9.9 on link a: .*gateway"
    ):
        netlink.add_route(a, "10.0.0.0/8", gateway="9.9.9.9")
    with pytest.raises(NotFound, match="there is no network link nope"):
        netlink.get_link("nope")
    assert netlink.find_link(4711) is None
    netlink.delete_link(a)
    with pytest.raises(OperationFailed, match="cannot delete link a: no such device"):
        netlink.delete_link(a)


def test_many_links(host: Namespace) -> None:
    """A list that takes several datagrams is read whole."""
    names = [f"br{number}" for number in range(60)]
    for name in names:
        host.netlink.create_bridge(LinkOptions(name=name))
    assert [link.name for link in host.netlink.links()] == ["lo", *names]


def test_forged_answers(host: Namespace) -> None:
    """Messages that a process of the namespace sends to our socket are not taken for the kernel's."""
    host.netlink.links()
    forged = f"""
import socket, struct
sender = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
body = struct.pack("=i", -1) + bytes(16)
for sequence in range(5):
    header = struct.pack("=IHHII", 16 + len(body), 2, 0, sequence, 0)
    sender.sendto(header + body, ({port_of(host.netlink)}, 0))
print("sent")
"""
    assert host.python(forged) == "sent"
    assert [link.name for link in host.netlink.links()] == ["lo"]


def port_of(netlink: NetlinkSocket) -> int:
    """The port id that a socket has: the process number under which it was first used."""
    with socket.socket(fileno=os.dup(netlink.fileno())) as duplicate:
        port, _groups = duplicate.getsockname()
    return int(port)


def test_socket_closes() -> None:
    """Leaving the block closes the descriptor, once."""
    with NetlinkSocket.open() as netlink:
        fd = netlink.fileno()
        assert not os.get_inheritable(fd)
    netlink.close()
    assert netlink.fileno() == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
