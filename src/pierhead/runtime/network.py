"""Gives a container its network links, addresses and routes, and takes them back.

The host's namespace and the container's are each spoken to through a netlink socket that was opened within;
nobody enters a namespace here.  What a container gets, in this order:

    networks      loopback: ``lo`` is up
                  veth:     a pair, one end on the host (in a bridge, if one is named), one in the container
    net_devices   links of the host that move into the container, with their addresses
    routes        over any of these

A failure on the way takes back what was made; so does ``Attachment.take_back`` when the launch fails later.
At the end nothing has to be done when the namespace was the container's own: a veth pair dies with it, and
the kernel gives hardware back to the host.
"""

import os
from errno import EEXIST, EINVAL, ENODEV, ENOENT

from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.linux.netlink_codec import RT_SCOPE_UNIVERSE, Link, LinkOptions, LinkStatistics
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pierhead.linux.netlink import NetlinkSocket
    from pierhead.oci.runtime import NetDevice
    from pierhead.runtime.config import Network, Route

# How a link's files answer that it is gone: they are missing or, half removed, not served (net-sysfs.c).
_GONE = (ENOENT, ENODEV, EINVAL)
_COUNTERS = ("bytes", "packets", "errors", "dropped")


class HostLink(Value):
    """A link that stands on the host for one of the container's: the host's end of a veth pair.

    The kernel counts indexes upward and starts again only after 2³¹ links, so name and index together tell
    it from a later link that has taken its name.
    """

    name: str
    index: int
    guest_name: str


class InterfaceStatistics(LinkStatistics):
    """What a container has received and sent over one of its links, as the container sees it."""

    name: str
    host_interface_name: str


def attach_networks(
    networks: "Sequence[Network]",
    routes: "Sequence[Route]" = (),
    net_devices: "Mapping[str, NetDevice] | None" = None,
    *,
    host: "NetlinkSocket",
    guest: "NetlinkSocket",
) -> "Attachment":
    """The container has its links, addresses and routes, and they are up; after an error it has none of them.

    Args:
        networks: what the container's configuration asks for.
        routes: what it asks for beyond the networks' own gateways.
        net_devices: links of the host by their names there, to be moved into the container.
        host: a socket of the namespace that holds the bridges and gets the host's ends.
        guest: a socket of the container's namespace.

    Returns:
        What was made, to be closed when the container holds, or to be taken back.

    Raises:
        NotFound: a bridge, a net device or a route's interface does not exist.
        Conflict: the container has a link of a net device's new name already.
        OperationFailed: the kernel refused; a clean-up that failed as well is noted on the error.
    """
    devices = {name: device.name or name for name, device in (net_devices or {}).items()}
    attachment = Attachment(host, guest, {*(network.name for network in networks), *devices.values()})
    try:
        for network in networks:
            attachment.add_network(network)
        for name, new_name in devices.items():
            attachment.move_device(name, new_name)
        for route in routes:
            attachment.add_route(route)
    except BaseException as error:
        attachment.take_back(error)
        attachment.close()
        raise
    return attachment


def detach_networks(links: "Iterable[HostLink]", *, host: "NetlinkSocket") -> None:
    """None of the links exists any more; a link that is gone, or whose name is another's now, is passed over.

    Needed when the container's network namespace outlives it, or when its links' names must be free at once:
    the kernel removes the links of a namespace that ends too, but some time later.
    """
    failures = []
    for link in links:
        try:
            present = host.find_link(link.index)
            if present and present.name == link.name:
                _delete_present(host, present)
        except PierheadError as error:
            failures.append(error)
    if failures:
        for other in failures[1:]:
            failures[0].add_note(str(other))
        raise failures[0]


def interface_statistics(
    links: "Iterable[HostLink]", *, sysfs: str = "/sys/class/net"
) -> tuple[InterfaceStatistics, ...]:
    """The counters of the container's veth links, read on the host; links that are gone are left out.

    What the host's end sends is what the container receives, so the two directions change places.

    Source: Documentation/ABI/testing/sysfs-class-net-statistics.
    """
    found = []
    for link in links:
        try:
            found.append(_read_statistics(link, f"{sysfs}/{link.name}"))
        except OSError as error:
            if error.errno not in _GONE:
                what = (
                    f"cannot read the statistics of link {link.name}: {os.strerror(error.errno or 0).lower()}"
                )
                raise OperationFailed(what, errno=error.errno or 0) from error
    return tuple(found)


class Attachment:
    """What was made for one container, and how each step is taken back.

    The guest's socket keeps the container's namespace, and so what was moved there, when its processes are
    gone.

    Attributes:
        host_links: the host's ends of the veth pairs, for ``detach_networks`` and ``interface_statistics``.
    """

    def __init__(self, host: "NetlinkSocket", guest: "NetlinkSocket", reserved_names: set[str]) -> None:
        """Args: both sockets stay the caller's, and open as long as something may have to be taken back."""
        self.host_links: list[HostLink] = []
        self._host = host
        self._guest = guest
        self._reserved_names = reserved_names
        self._guest_fd = -1
        self._undo: list[Callable[[], None]] = []

    def close(self) -> None:
        """What was made stays."""
        if self._guest_fd >= 0:
            os.close(self._guest_fd)
            self._guest_fd = -1

    def take_back(self, cause: BaseException) -> None:
        """What was made is undone, latest first; what cannot be undone is noted on the cause."""
        for undo in reversed(self._undo):
            try:
                undo()
            except PierheadError as error:
                cause.add_note(f"and then: {error}")

    def add_network(self, network: "Network") -> None:
        """The container has what the configuration says of one interface."""
        if network.type == "loopback":
            self._guest.change_link(self._guest.get_link("lo"), LinkOptions(up=True))
        elif network.type == "veth":
            self._add_veth(network)
        else:
            raise InvalidInput(f"{network.type!r} is not a type of network", hint="loopback or veth")

    def _add_veth(self, network: "Network") -> None:
        """The pair exists and is up, its inner end configured."""
        name = network.name or self._free_name("eth%d")
        outer = network.host_interface_name or f"veth{os.urandom(4).hex()[:7]}"
        queue = network.tx_queue_len or None
        self._host.create_veth(
            LinkOptions(
                name=outer,
                up=True,
                mtu=network.mtu,
                tx_queue_len=queue,
                master_index=self._bridge_index(network),
            ),
            LinkOptions(
                name=name,
                mac_address=network.mac_address,
                mtu=network.mtu,
                tx_queue_len=queue,
                namespace_fd=self._guest_namespace_fd(),
            ),
        )
        self._undo.append(lambda: _delete_present(self._host, self._host.find_link(outer)))
        outer_link = self._host.get_link(outer)
        self.host_links.append(HostLink(name=outer, index=outer_link.index, guest_name=name))
        if network.hairpin_mode:
            self._host.set_hairpin(outer_link, on=True)
        self._configure(self._guest.get_link(name), network)

    def _configure(self, link: Link, network: "Network") -> None:
        """The inner end has its addresses, is up and has its default routes."""
        for address in (network.address, network.ipv6_address):
            if address:
                self._guest.add_address(link, address)
        self._guest.change_link(link, LinkOptions(up=True))
        for destination, gateway in (("0.0.0.0/0", network.gateway), ("::/0", network.ipv6_gateway)):
            if gateway:
                self._guest.add_route(link, destination, gateway=gateway)

    def move_device(self, name: str, new_name: str) -> None:
        """A link of the host is the container's, up, under its new name and with its global addresses.

        Its routes do not move.  ``%d`` in the new name stands for the first number that makes it free.

        Source: config-linux.md, "Network Devices"; addresses with a lifetime belong to the host's network.
        """
        link = self._host.find_link(name)
        if link is None:
            raise NotFound(f"there is no network device {name} on the host", code="link-not-found")
        if "%d" in new_name:
            new_name = self._free_name(new_name)
        elif self._guest.find_link(new_name):
            raise Conflict(f"cannot move network device {name}: the container has a link {new_name} already")
        addresses = [
            address.address
            for address in self._host.addresses(link)
            if address.permanent and address.scope == RT_SCOPE_UNIVERSE
        ]
        self._undo.append(lambda: _restore(self._host, link, addresses))
        self._host.change_link(link, LinkOptions(up=False))
        self._host.change_link(link, LinkOptions(name=new_name, namespace_fd=self._guest_namespace_fd()))
        self._undo.append(lambda: self._give_back(new_name, link.name))
        moved = self._guest.get_link(new_name)
        for address in addresses:
            self._guest.add_address(moved, address)
        self._guest.change_link(moved, LinkOptions(up=True))

    def _give_back(self, name: str, host_name: str) -> None:
        """The container's link is the host's again, down, under the name that it had there."""
        link = self._guest.get_link(name)
        self._guest.change_link(link, LinkOptions(up=False))
        host_fd = self._host.namespace_fd()
        try:
            self._guest.change_link(link, LinkOptions(name=host_name, namespace_fd=host_fd))
        finally:
            os.close(host_fd)

    def add_route(self, route: "Route") -> None:
        """The container has the route; its link is found by name where one is given."""
        link = self._guest.get_link(route.interface_name) if route.interface_name else None
        anywhere = "::/0" if ":" in (route.gateway or route.source) else "0.0.0.0/0"
        destination = route.destination or anywhere
        self._guest.add_route(link, destination, gateway=route.gateway, source=route.source)
        self._undo.append(lambda: self._guest.delete_route(link, destination, gateway=route.gateway))

    def _bridge_index(self, network: "Network") -> int | None:
        """The index of the bridge that the outer end joins; None for no bridge."""
        if not network.bridge:
            return None
        bridge = self._host.find_link(network.bridge)
        if bridge is None:
            raise NotFound(
                f"there is no bridge {network.bridge} on the host",
                code="bridge-not-found",
                hint=f"make it with: ip link add {network.bridge} type bridge",
            )
        return bridge.index

    def _free_name(self, template: str) -> str:
        """The template with the first number for ``%d`` that makes it no link's name, now or later."""
        taken = self._reserved_names | {link.name for link in self._guest.links()}
        names = (template.replace("%d", str(number)) for number in range(len(taken) + 1))
        return next(name for name in names if name not in taken)

    def _guest_namespace_fd(self) -> int:
        if self._guest_fd < 0:
            self._guest_fd = self._guest.namespace_fd()
        return self._guest_fd


def _restore(host: "NetlinkSocket", link: Link, addresses: "Iterable[str]") -> None:
    """The host's link has its addresses again (going down costs the IPv6 ones) and is up if it was."""
    present = host.get_link(link.name)
    for address in addresses:
        try:
            host.add_address(present, address)
        except OperationFailed as error:
            if error.errno != EEXIST:
                raise
    host.change_link(present, LinkOptions(up=link.up))


def _delete_present(host: "NetlinkSocket", link: Link | None) -> None:
    """The link, if there was one, does not exist; its namespace may end and take it away meanwhile."""
    if link is None:
        return
    try:
        host.delete_link(link)
    except OperationFailed as error:
        if error.errno != ENODEV:
            raise


def _read_statistics(link: HostLink, directory: str) -> InterfaceStatistics:
    """The container's view of one link; raises FileNotFoundError when the name is another link's now."""
    if _read_number(f"{directory}/ifindex") != link.index:
        raise FileNotFoundError(ENOENT, os.strerror(ENOENT), directory)
    counters = {
        f"{guest_side}_{counter}": _read_number(f"{directory}/statistics/{host_side}_{counter}")
        for guest_side, host_side in (("rx", "tx"), ("tx", "rx"))
        for counter in _COUNTERS
    }
    return InterfaceStatistics(name=link.guest_name, host_interface_name=link.name, **counters)


def _read_number(path: str) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 32))
    finally:
        os.close(fd)
