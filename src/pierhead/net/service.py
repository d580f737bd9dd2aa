"""The network service: endpoints for containers, on one bridge with its firewall.

    service = NetworkService("/run/pierhead/network", NetworkSettings())
    warnings = service.ensure() + service.restore(ids_of_containers_that_run)
    wishes = parse_port_wishes({"80/tcp": [("", "8080")]})
    endpoint = service.attach(container_id, EndpointRequest(ports=wishes))
    ...
    service.detach(container_id)

It reserves addresses, keeps bridge and firewall, publishes ports.  The veth pair itself is made by whoever
starts the container; it dies with the container's network namespace.

All of it is in the kernel and in files, so containers keep their network while no service runs.  It works in
the network namespace of its callers.  They may be of several threads; each change waits for the one before.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError, Unavailable
from pierhead.linux.conntrack import ConntrackSocket
from pierhead.linux.netlink import NetlinkSocket
from pierhead.linux.nftables import NftablesSocket
from pierhead.net.claim import claim_bridge
from pierhead.net.explain import Explanation, Kernel, explain, observe
from pierhead.net.firewall import Firewall
from pierhead.net.flows import end_flows, redirect_flows
from pierhead.net.ipam import Pool, choose_subnet, first_address, mac_of, parse_subnet
from pierhead.net.links import (
    addresses_of,
    edges,
    ensure_bridge,
    ensure_bridged_packets_are_filtered,
    ensure_forwarding,
    find_bridge,
    forwards,
    in_use,
)
from pierhead.net.model import EVERYWHERE, Endpoint, EndpointRequest, Network, NetworkSettings, PublishedPort
from pierhead.net.otherfirewalls import leave_other_firewalls, pass_other_firewalls
from pierhead.net.ports import PortReservations
from pierhead.net.statefiles import StateFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.net.model import PortWish

    NewPorts = Callable[[], PortReservations]


class _Ground:
    """What the service holds while it works: sockets, files, what is taken."""

    def __init__(self, state_dir: str, settings: NetworkSettings, new_ports: NewPorts) -> None:
        with ExitStack() as stack:
            self.netlink = stack.enter_context(NetlinkSocket.open())
            self.nftables = stack.enter_context(NftablesSocket.open())
            self.conntrack = stack.enter_context(ConntrackSocket.open())
            self.claim = stack.enter_context(claim_bridge(settings.bridge))
            self.files = StateFiles(state_dir)
            stack.callback(self.files.close)
            self.ports = new_ports()
            stack.callback(self.ports.close)
            self.firewall = Firewall(self.nftables, settings.table_name, one_address=self.ports.forwards)
            self.close = stack.pop_all().close


class NetworkService:
    """One default network and the endpoints in it.

    Args:
        state_dir: a directory of its own, which dies with the boot.
        settings: see there.
        new_ports: makes what holds ports; for an engine that is not in the machine's network namespace.
    """

    def __init__(
        self, state_dir: str, settings: NetworkSettings, new_ports: NewPorts = PortReservations
    ) -> None:
        self._new_ports = new_ports
        self._state_dir = state_dir
        self._settings = settings
        self._lock = threading.Lock()
        self._ground: _Ground | None = None
        self._network: Network | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._pool = self._pool6 = Pool("0.0.0.0/30")

    # The whole

    def ensure(self) -> tuple[str, ...]:
        """Bridge, forwarding and firewall are as they should be, whatever they were.

        To be called first, and again whenever something may have changed them.

        Returns:
            Sentences for people: what keeps packets from passing, and is not ours to change.

        Raises:
            Conflict: another engine has this bridge, or it has other addresses.
            OperationFailed: the kernel refuses.
        """
        with self._lock:
            if self._ground is not None:
                return self._ensure(self._ground)
            self._ground = _Ground(self._state_dir, self._settings, self._new_ports)
            try:
                return self._load(self._ground) + self._ensure(self._ground)
            except BaseException:
                self._close()
                raise

    def restore(self, alive_ids: Iterable[str]) -> tuple[str, ...]:
        """Endpoints of containers that are gone are released, ports of the others are held again.

        Ports of containers that ended while no service was at work lead nowhere.

        Returns:
            Sentences for people: which ports somebody has taken meanwhile.  They lead to their containers
            all the same, but the other program believes to have them.
        """
        alive = set(alive_ids)
        warnings = []
        with self._lock:
            ground = self._get_ground()
            gone = [endpoint for endpoint in self._endpoints.values() if endpoint.container_id not in alive]
            for endpoint in gone:
                self._release(ground, endpoint)
            for endpoint in self._endpoints.values():
                for port in endpoint.ports:
                    if ground.ports.is_held(port):
                        continue
                    try:
                        ground.ports.hold((port,), endpoint.container_id)
                    except PierheadError as error:
                        whose = f"of container {endpoint.container_id[:12]}"
                        warnings.append(f"port {port} {whose} could not be taken again: {error}")
            try:
                ground.ports.withdraw_others()
            except Unavailable as error:
                warnings.append(f"ports of containers that have ended may be published still: {error}")
        return tuple(warnings)

    def close(self) -> None:
        """The service rests: its sockets are closed, and ports are held no more; networks go on."""
        with self._lock:
            self._close()

    def remove(self) -> None:
        """Bridge, table and files are gone, and the service rests.

        Raises:
            Conflict: containers are still attached.
        """
        with self._lock:
            ground, network = self._get_ground(), self._get_network()
            if self._endpoints:
                raise Conflict(
                    f"network {network.name} has active endpoints", hint="stop its containers before"
                )
            self._take_down(ground, network.bridge)
            ground.files.forget_network()
            self._close()

    # Endpoints

    def attach(self, container_id: str, request: EndpointRequest) -> Endpoint:
        """The container has a place in the network, and its published ports lead there.

        An endpoint that it had is released before.

        Raises:
            Conflict: an address or a port is taken.
            InvalidInput: an address is not one of the network's, or of this machine.
            Unavailable: no address is left.
        """
        with self._lock:
            ground, network = self._get_ground(), self._get_network()
            before = self._endpoints.get(container_id)
            if before is not None:
                self._release(ground, before)
            if ground.netlink.find_link(network.bridge) is None:
                self._ensure(ground)
            if ground.firewall.changed():
                self._repair(ground, network)
            with ExitStack() as undo:
                endpoint = self._reserve(ground, network, container_id, request, undo)
                undo.callback(ground.files.forget_endpoint, container_id)
                ground.files.save_endpoint(endpoint)
                if endpoint.ports and not ground.firewall.publish(endpoint):
                    ground.firewall.replace((network,), (*self._endpoints.values(), endpoint))
                undo.pop_all()
            self._endpoints[container_id] = endpoint
            redirect_flows(ground.conntrack, ground.netlink, endpoint)
            return endpoint

    def detach(self, container_id: str) -> None:
        """The container's place is free; nothing happens if it had none."""
        with self._lock:
            endpoint = self._endpoints.get(container_id)
            if endpoint is not None:
                self._release(self._get_ground(), endpoint)

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in the order of attaching."""
        return tuple(self._endpoints.values())

    def find_endpoint(self, container_id: str) -> Endpoint | None:
        """The container's endpoint, or None."""
        return self._endpoints.get(container_id)

    def networks(self) -> tuple[Network, ...]:
        """The networks that there are."""
        return (self._network,) if self._network else ()

    def explain(self, container_id: str) -> tuple[Explanation, ...]:
        """For each published port of the container, the way of a packet to it and what stands in the way.

        Raises:
            NotFound: the container has no endpoint: it does not run, or publishes nothing here.
        """
        with self._lock:
            ground, network = self._get_ground(), self._get_network()
            endpoint = self._endpoints.get(container_id)
            if endpoint is None:
                raise NotFound(
                    f"container {container_id[:12]} has no place in network {network.name}",
                    code="endpoint-not-found",
                    hint="it does not run, or has another network",
                )
            kernel = Kernel(netlink=ground.netlink, nftables=ground.nftables, firewall=ground.firewall)
            return tuple(
                explain(
                    endpoint,
                    observe(endpoint, port, network, kernel=kernel, held=ground.ports.is_held(port)),
                )
                for port in endpoint.ports
            )

    # Parts

    def _load(self, ground: _Ground) -> tuple[str, ...]:
        """Network and endpoints are those that were remembered, or the network is decided anew."""
        remembered = ground.files.find_network()
        endpoints, warnings = ground.files.endpoints()
        wanted = self._decide(ground, remembered)
        if remembered and endpoints and _differ(remembered, wanted):
            text = (
                f"network {remembered.name} keeps its subnet {remembered.subnet} while containers use it; "
                "the settings hold when none is attached and the engine starts again"
            )
            warnings, wanted = (*warnings, text), remembered
        elif remembered and _differ(remembered, wanted):
            self._take_down(ground, remembered.bridge)
        ground.files.save_network(wanted)
        self._network = wanted
        self._pool = Pool(wanted.subnet, (wanted.gateway,))
        if wanted.ipv6_subnet:
            self._pool6 = Pool(wanted.ipv6_subnet, (wanted.ipv6_gateway,))
        for endpoint in endpoints:
            _take_again(self._pool, endpoint.address)
            if endpoint.ipv6_address and wanted.ipv6_subnet:
                _take_again(self._pool6, endpoint.ipv6_address)
            self._endpoints[endpoint.container_id] = endpoint
        return warnings

    def _take_down(self, ground: _Ground, bridge_name: str) -> None:
        """Nothing of a network with this bridge is in the kernel."""
        leave_other_firewalls(ground.nftables, bridge_name)
        Firewall(ground.nftables, self._settings.replace(bridge=bridge_name).table_name).remove()
        bridge = find_bridge(ground.netlink, bridge_name)
        if bridge is not None:
            ground.netlink.delete_link(bridge)

    def _decide(self, ground: _Ground, remembered: Network | None) -> Network:
        """The network that the settings, the machine and what is remembered make together."""
        settings = self._settings
        subnet = settings.subnet or (remembered.subnet if remembered else "")
        gateway = settings.gateway
        if not subnet:
            subnet, adopted = _subnet_of_bridge(ground.netlink, settings.bridge)
            gateway = gateway or adopted
        subnet = str(parse_subnet(subnet or choose_subnet(in_use(ground.netlink))))
        ipv6_subnet = str(parse_subnet(settings.ipv6_subnet)) if settings.ipv6_subnet else ""
        network = Network(
            id=remembered.id if remembered else secrets.token_hex(32),
            bridge=settings.bridge,
            subnet=subnet,
            gateway=gateway or first_address(subnet),
            ipv6_subnet=ipv6_subnet,
            ipv6_gateway=settings.ipv6_gateway or (first_address(ipv6_subnet) if ipv6_subnet else ""),
            mtu=settings.mtu,
            masquerade=settings.masquerade,
            inter_container=settings.inter_container,
            created_ns=remembered.created_ns if remembered else time.time_ns(),
            edges4=remembered.edges4 if remembered else (),
            edges6=remembered.edges6 if remembered else (),
        )
        Pool(network.subnet, (network.gateway,))  # the gateway lies within
        return network

    def _ensure(self, ground: _Ground) -> tuple[str, ...]:
        network = self._remain_no_router(ground, self._get_network())
        ensure_bridge(ground.netlink, network)
        ensure_forwarding(ipv6=bool(network.ipv6_subnet))
        if not network.inter_container:
            ensure_bridged_packets_are_filtered()
        ground.firewall.replace((network,), self._endpoints.values())
        warnings = pass_other_firewalls(ground.nftables, network)
        ground.firewall.changed()  # what we have changed elsewhere is known
        return warnings

    def _remain_no_router(self, ground: _Ground, network: Network) -> Network:
        """Where forwarding is not yet on, the present links are remembered: between them it will not be."""
        others = tuple(name for name in edges(ground.netlink) if name != network.bridge)
        if not forwards(ipv6=False):
            network = network.replace(edges4=others)
        if network.ipv6_subnet and not forwards(ipv6=True):
            network = network.replace(edges6=others)
        if network is not self._network:
            ground.files.save_network(network)
            self._network = network
        return network

    def _repair(self, ground: _Ground, network: Network) -> None:
        """Somebody has changed rules: ours are there, and pass those of others."""
        if not ground.firewall.serves((network,)):
            ground.firewall.replace((network,), self._endpoints.values())
        pass_other_firewalls(ground.nftables, network)
        ground.firewall.changed()

    def _reserve(
        self, ground: _Ground, network: Network, container_id: str, request: EndpointRequest, undo: ExitStack
    ) -> Endpoint:
        """Addresses and ports that are the container's; what ``undo`` has to give back is told to it."""
        address = self._pool.take(request.address)
        undo.callback(self._pool.give_back, address)
        ipv6_address = ""
        if network.ipv6_subnet:
            ipv6_address = self._pool6.take(request.ipv6_address)
            undo.callback(self._pool6.give_back, ipv6_address)
        elif request.ipv6_address:
            raise InvalidInput(
                f"network {network.name} has no IPv6 subnet for address {request.ipv6_address}",
                hint="give it one in the settings",
            )
        ports: list[PublishedPort] = []
        undo.callback(ground.ports.give_back, ports)
        for wish in request.ports:
            ports += ground.ports.take(wish, self._hosts(ground, wish, network), container_id)
        endpoint_id = secrets.token_hex(32)
        return Endpoint(
            container_id=container_id,
            endpoint_id=endpoint_id,
            network=network.name,
            network_id=network.id,
            bridge=network.bridge,
            host_interface_name=f"veth{endpoint_id[:7]}",
            address=f"{address}/{self._pool.prefix_length}",
            gateway=network.gateway,
            ipv6_address=f"{ipv6_address}/{self._pool6.prefix_length}" if ipv6_address else "",
            ipv6_gateway=network.ipv6_gateway,
            mac_address=request.mac_address or mac_of(address),
            mtu=network.mtu,
            hairpin_mode=bool(ports),
            ports=tuple(ports),
            hostname=request.hostname,
        )

    def _hosts(self, ground: _Ground, wish: PortWish, network: Network) -> tuple[str, ...]:
        """The addresses at which a port is published; of both versions if none is named, and of IPv4 only
        where somebody else leads ports here: slirp4netns and we know no other.
        """
        host = wish.host_ip or self._settings.host_ip
        if ":" in host and not network.ipv6_subnet:
            raise InvalidInput(
                f"cannot publish port {wish.container_port}/{wish.protocol} at {host}: "
                f"network {network.name} has no IPv6 subnet",
                hint="publish it at an IPv4 address, or give the network an IPv6 subnet in the settings",
            )
        unnamed = host == EVERYWHERE[0] and not wish.host_ip
        if unnamed and network.ipv6_subnet and not ground.ports.forwards:
            return EVERYWHERE
        return (host,)

    def _release(self, ground: _Ground, endpoint: Endpoint) -> None:
        others = [each for each in self._endpoints.values() if each is not endpoint]
        if endpoint.ports and not ground.firewall.withdraw(endpoint):
            ground.firewall.replace(self.networks(), others)
        end_flows(ground.conntrack, endpoint)
        ground.files.forget_endpoint(endpoint.container_id)
        ground.ports.give_back(endpoint.ports)
        del self._endpoints[endpoint.container_id]
        self._pool.give_back(endpoint.address.partition("/")[0])
        if endpoint.ipv6_address:
            self._pool6.give_back(endpoint.ipv6_address.partition("/")[0])

    def _get_ground(self) -> _Ground:
        if self._ground is None:
            raise Unavailable("the network service is not at work", code="no-network-service")
        return self._ground

    def _get_network(self) -> Network:
        if self._network is None:
            raise Unavailable("the network service is not at work", code="no-network-service")
        return self._network

    def _close(self) -> None:
        ground, self._ground = self._ground, None
        self._network = None
        self._endpoints.clear()
        if ground is not None:
            ground.close()


def _differ(remembered: Network, wanted: Network) -> bool:
    """Whether endpoints of the one could not be in the other."""
    places = ("subnet", "gateway", "ipv6_subnet", "ipv6_gateway", "bridge")
    return any(getattr(remembered, name) != getattr(wanted, name) for name in places)


def _subnet_of_bridge(netlink: NetlinkSocket, name: str) -> tuple[str, str]:
    """The IPv4 subnet and address of a bridge that is there already; empty where there is none."""
    bridge = find_bridge(netlink, name)
    for address in addresses_of(netlink, bridge) if bridge else ():
        if ":" not in address:
            return address, address.partition("/")[0]
    return "", ""


def _take_again(pool: Pool, address: str) -> None:
    """The address is not given to anybody else."""
    try:
        pool.take(address.partition("/")[0])
    except PierheadError:
        return  # of another subnet, which nobody gets from this pool
