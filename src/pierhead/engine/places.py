"""What a container needs of its surroundings: its network, its volumes, what it shares with others."""

from __future__ import annotations

import contextlib
import os

from pierhead.engine.containertree import layers_of
from pierhead.engine.documents import EndpointSettings, PortBinding
from pierhead.engine.lifecycle import is_alive
from pierhead.engine.networknames import DEFAULT_NETWORK
from pierhead.engine.planning import Place
from pierhead.engine.roots import mount_key
from pierhead.engine.specgen.modes import joined_containers
from pierhead.engine.specgen.mountwords import wanted_mounts
from pierhead.engine.usermapping import maps_of
from pierhead.engine.volumemounts import mount_image, mount_shared_memory, unmount_all
from pierhead.errors import Conflict, InvalidInput, NotFound, Unsupported
from pierhead.images.snapshots import open_mounts
from pierhead.net import EndpointRequest, parse_port_wishes
from pierhead.runtime import Network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.engine.jobs import Jobs
    from pierhead.engine.record import MountPoint, Record
    from pierhead.engine.roots import Roots
    from pierhead.engine.roster import Roster
    from pierhead.engine.settings import Paths
    from pierhead.engine.usermapping import UserMaps
    from pierhead.engine.volumes import VolumeStore
    from pierhead.net import Endpoint, NetworkService

_NAMESPACES = {"network": "net", "ipc": "ipc", "pid": "pid"}
_NETWORKS = (DEFAULT_NETWORK, "none", "host")


class Places:
    """Reserves what is needed while a container runs, and keeps what it has while it is there."""

    def __init__(
        self,
        roster: Roster,
        jobs: Jobs,
        roots: Roots,
        volumes: VolumeStore,
        network: NetworkService | None,
        paths: Paths,
        users: UserMaps | None,
    ) -> None:
        """Args: network is None for an engine without a default network, users where they are the host's."""
        self._roster = roster
        self._jobs = jobs
        self._roots = roots
        self._volumes = volumes
        self._network = network
        self._paths = paths
        self._users = users

    # While it is there

    async def decide(self, record: Record) -> tuple[Record, tuple[str, ...]]:
        """What a new container keeps is there, and the directory of its own files; the record tells of it.

        Returns:
            The record, and the names of volumes that are new.

        Raises:
            InvalidInput, NotFound, Unsupported: a mount cannot be.
        """
        others = {}
        for each in record.host.volumes_from:
            name = each.partition(":")[0]
            others[name] = self._roster.get(name).mounts
        return await self._jobs.thread(self._decide, record, others)

    def _decide(
        self, record: Record, others: dict[str, tuple[MountPoint, ...]]
    ) -> tuple[Record, tuple[str, ...]]:
        os.makedirs(self._paths.container(record.id), mode=0o710)
        decided = self._volumes.resolve(record.id, record.config, record.host, others)
        try:
            if decided.to_fill:
                root_fd = self._open_root(record)
                try:
                    for point in decided.to_fill:
                        self._volumes.copy_up(root_fd, point, self._users.to_host if self._users else None)
                finally:
                    os.close(root_fd)
        except BaseException:
            self._volumes.release(record.id, anonymous=True)
            raise
        return record.replace(mounts=decided.mounts), tuple(volume.name for volume in decided.created)

    def _open_root(self, record: Record) -> int:
        if not record.root:
            return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        mount = self._roots.mount(record.root)
        return open_mounts((layers_of(mount) if mount.upper else mount,))

    def release(self, record: Record, *, volumes: bool) -> tuple[str, ...]:
        """What it kept is given back; with ``volumes`` its nameless volumes are gone.  Blocks.

        Returns:
            Names of volumes that are gone.
        """
        return self._volumes.release(record.id, anonymous=volumes)

    # While it runs

    async def take(self, record: Record) -> tuple[Record, Place]:
        """What the container needs to start is there; the record tells of it.

        Raises:
            Conflict: a container whose namespaces it joins does not run, a port is taken.
            NotFound: there is no such network, or no such container.
            PierheadError: a mount's source is not there.
        """
        joined = self._joined(record)
        if record.network_mode not in _NETWORKS and "network" not in joined:
            message = f"network {record.network_mode} not found"
            raise NotFound(message, code="network-not-found", hint="there are bridge, host and none")
        return await self._jobs.thread(self._take, record, joined)

    def _take(self, record: Record, joined: dict[str, Record]) -> tuple[Record, Place]:
        namespaces = {
            kind: f"/proc/{other.state.pid}/ns/{_NAMESPACES[kind]}" for kind, other in joined.items()
        }
        sources = self._volumes.mount(record.id, record.config, record.host, record.mounts)
        try:
            sources |= self._mount_images(record)
            place = Place(
                namespaces=namespaces,
                sources=sources,
                shm_path=self._share_memory(record, joined.get("ipc")),
                files=self._paths.container(joined["network"].id) if "network" in joined else "",
            )
            if record.network_mode == DEFAULT_NETWORK:
                return self._join_network(record, place)
        except BaseException:
            self.leave(record)
            raise
        return record, place

    def _mount_images(self, record: Record) -> dict[str, str]:
        """Sources of images' files that the container mounts, by their places in it.

        Raises:
            NotFound: an image has no such part.
            Unsupported: its users are not the host's.
        """
        wanted = {each.mount.target: each.mount for each in wanted_mounts(record.config, record.host)}
        sources: dict[str, str] = {}
        for number, point in enumerate(record.mounts):
            if point.type != "image":
                continue
            if maps_of(record, self._users):
                raise Unsupported(
                    "images cannot be mounted into containers with users of their own",
                    code="other-users",
                    hint="run it with --userns host",
                )
            options = wanted[point.destination].image_options
            mount = self._roots.mount(mount_key(record.id, number))
            sources[point.destination] = mount_image(mount, point.source, options.subpath if options else "")
        return sources

    def _joined(self, record: Record) -> dict[str, Record]:
        """Containers whose namespaces are joined, by type."""
        found = {}
        for kind, name in joined_containers(record.host).items():
            other = self._roster.get(name)
            if not is_alive(other):
                raise Conflict(
                    f"cannot join the {kind} namespace of container {other.name}: it does not run",
                    code="not-running",
                    hint=f"pier start {other.name}",
                )
            if kind == "ipc" and other.host.ipc_mode != "shareable":
                raise InvalidInput(
                    f"cannot join the ipc namespace of container {other.name}: it is not shareable",
                    code="not-shareable",
                    hint="make that container with --ipc shareable",
                )
            if kind != "network" and maps_of(record, self._users):
                raise Unsupported(
                    f"cannot join the {kind} namespace of container {other.name}: each has users of its own",
                    code="other-users",
                    hint="make both with --userns host",
                )
            found[kind] = other
        return found

    def _share_memory(self, record: Record, other: Record | None) -> str:
        if other is not None:
            return f"{self._paths.running(other.id)}/shm"
        if record.host.ipc_mode != "shareable":
            return ""
        directory = f"{self._paths.running(record.id)}/shm"
        os.makedirs(directory, exist_ok=True)
        users = maps_of(record, self._users)
        mount_shared_memory(directory, record.host.shm_size, users.root if users else (0, 0))
        return directory

    def _join_network(self, record: Record, place: Place) -> tuple[Record, Place]:
        if self._network is None:
            raise Unsupported(
                "this engine has no default network", code="no-network", hint="use --network none or host"
            )
        endpoint = self._network.attach(record.id, _request(record))
        interface = Network(
            type="veth",
            name="eth0",
            bridge=endpoint.bridge,
            mac_address=endpoint.mac_address,
            address=endpoint.address,
            gateway=endpoint.gateway,
            ipv6_address=endpoint.ipv6_address,
            ipv6_gateway=endpoint.ipv6_gateway,
            mtu=endpoint.mtu,
            hairpin_mode=endpoint.hairpin_mode,
            host_interface_name=endpoint.host_interface_name,
        )
        addresses = tuple(
            each.partition("/")[0] for each in (endpoint.address, endpoint.ipv6_address) if each
        )
        place = place.replace(interfaces=(interface,), addresses=addresses, host_address=endpoint.gateway)
        return _with_endpoint(record, endpoint), place

    def leave(self, record: Record) -> None:
        """What it needed to run is given back; each, should another fail.  Blocks."""
        with contextlib.ExitStack() as stack:  # from the last to the first
            stack.callback(self._volumes.unmount, record.id)
            if record.host.ipc_mode == "shareable":
                stack.callback(unmount_all, f"{self._paths.running(record.id)}/shm")
            if self._network is not None:
                stack.callback(self._network.detach, record.id)

    # When an engine comes back

    def restore(self, records: Iterable[Record]) -> tuple[str, ...]:
        """What was only needed by what does not run any more is given back.

        Returns:
            Sentences for people.
        """
        records = tuple(records)
        alive = [record.id for record in records if is_alive(record)]
        for record in records:
            if not is_alive(record) and record.host.ipc_mode == "shareable":
                unmount_all(f"{self._paths.running(record.id)}/shm")
        strangers = self._volumes.reconcile([record.id for record in records], alive)
        warnings = [f"the volume directory {name} belongs to no volume" for name in strangers]
        if self._network is not None:
            warnings += self._network.restore(alive)
        return tuple(warnings)


def _request(record: Record) -> EndpointRequest:
    wanted = record.networking.endpoints_config.get(DEFAULT_NETWORK)
    addresses = wanted.ipam_config if wanted is not None else None
    bindings = {
        port: [(each.host_ip, each.host_port) for each in hosts] or [("", "")]
        for port, hosts in record.host.port_bindings.items()
    }
    if record.host.publish_all_ports:
        for port in record.config.exposed_ports:
            bindings.setdefault(port, [("", "")])
    return EndpointRequest(
        address=addresses.ipv4_address if addresses else "",
        ipv6_address=addresses.ipv6_address if addresses else "",
        mac_address=(wanted.mac_address if wanted else "") or record.config.mac_address,
        ports=parse_port_wishes(bindings),
        hostname=record.config.hostname,
    )


def _with_endpoint(record: Record, endpoint: Endpoint) -> Record:
    """The record with its place in the network, and its ports."""
    address, _, prefix = endpoint.address.partition("/")
    address6, _, prefix6 = endpoint.ipv6_address.partition("/")
    ports: dict[str, tuple[PortBinding, ...]] = {}
    for each in endpoint.ports:
        name = f"{each.container_port}/{each.protocol}"
        binding = PortBinding(host_ip=each.host_ip, host_port=str(each.host_port))
        ports[name] = (*ports.get(name, ()), binding)
    settings = EndpointSettings(
        mac_address=endpoint.mac_address,
        network_id=endpoint.network_id,
        endpoint_id=endpoint.endpoint_id,
        gateway=endpoint.gateway,
        ip_address=address,
        ip_prefix_len=int(prefix or 0),
        ipv6_gateway=endpoint.ipv6_gateway,
        global_ipv6_address=address6,
        global_ipv6_prefix_len=int(prefix6 or 0),
    )
    return record.replace(endpoint=settings, ports=ports)
