"""How an engine is set up; ``cli.daemon`` makes it of flags and files.  Pure."""

from __future__ import annotations

from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.rootlesswords import Rootless


class RuntimeProgram(Value):
    """An OCI runtime program, by which containers are made instead of by our library."""

    path: str
    arguments: tuple[str, ...] = ()


class BridgeSettings(Value):
    """The default network.

    Fields:
        name: of the link.
        subnet: IPv4, ``172.17.0.0/16``; empty takes the first of docker's that nothing on this machine uses.
        gateway: the bridge's own address; empty is the subnet's first.
        ipv6_subnet: empty for none.
        mtu: bytes.
        masquerade: whether containers reach the world under the host's address.
        host_ip: where ports are published that name no address.
    """

    name: str = "pier0"
    subnet: str = ""
    gateway: str = ""
    ipv6_subnet: str = ""
    mtu: int = 1500
    masquerade: bool = True
    host_ip: str = "0.0.0.0"  # noqa: S104 - as docker does


class Settings(Value):
    """One engine.

    Fields:
        data_root: what lasts.
        exec_root: what dies with the boot.
        default_runtime: name of one of ``runtimes``; ``pierhead`` is our library.
        log_driver, log_options: of containers that name none.
        storage: ``overlay`` or ``plain``.
        cgroup_parent: of containers that name none; empty is ``/pierhead``.
        cgroup_manager: ``cgroupfs``, ``systemd``, or ``disabled`` for containers without limits.
        bridge: the default network; None for no networks at all.
        dns, dns_search, dns_options: of containers that name none.
        ulimits: ``(name, soft, hard)`` of containers that name none.
        shm_bytes: of /dev/shm.
        stop_timeout_s: between the stop signal and SIGKILL, of containers that name none.
        seccomp_profile: path of a profile; empty for the built-in one.
        userns_remap: ``default``, ``user:group`` or ``uid:gid`` whose subordinate ids containers get.
        init: whether containers get a reaper as their first process.
        labels: of the engine, ``name=value``.
        mirrors, insecure_registries: as in docker's daemon.json.
        rootless: whose engine it is, if it is an ordinary user's in its namespaces.
    """

    data_root: str
    exec_root: str
    default_runtime: str = "pierhead"
    runtimes: dict[str, RuntimeProgram] = {}  # noqa: RUF012 - never changed
    log_driver: str = "json-file"
    log_options: dict[str, str] = {}  # noqa: RUF012 - never changed
    storage: str = "overlay"
    cgroup_parent: str = "/pierhead"
    cgroup_manager: str = "cgroupfs"
    bridge: BridgeSettings | None = BridgeSettings()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    ulimits: tuple[tuple[str, int, int], ...] = ()
    shm_bytes: int = 64 << 20
    stop_timeout_s: int = 10
    seccomp_profile: str = ""
    userns_remap: str = ""
    init: bool = False
    labels: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    rootless: Rootless | None = None


class Paths(Value):
    """Where an engine keeps what; every path of it comes from here.

    ::

        DATA_ROOT/                          what lasts
          engine.db                         containers, volumes, events
          content/ images.db snapshots/ …   images (pierhead.images.service)
          containers/ID/                    hosts, hostname, resolv.conf, logs/log.json, shm is in EXEC_ROOT
          volumes/NAME/_data
        EXEC_ROOT/                          what dies with the boot
          engine.lock                       held by the engine that works here
          runtime/ID/                       state directories of the runtime library
          programs/ID/                      bundles of containers that runtime programs have made
          containers/ID/shm                 /dev/shm of the container, for those who share its ipc
                        changes             of a view of this machine
                        execs/              further processes that were started
    """

    data_root: str
    exec_root: str

    @property
    def database(self) -> str:
        """SQLite."""
        return f"{self.data_root}/engine.db"

    @property
    def runtime_root(self) -> str:
        """The runtime library's."""
        return f"{self.exec_root}/runtime"

    @property
    def programs(self) -> str:
        """A bundle for each container that a runtime program has made."""
        return f"{self.exec_root}/programs"

    @property
    def volumes(self) -> str:
        """A directory for each volume."""
        return f"{self.data_root}/volumes"

    def container(self, container_id: str) -> str:
        """What lasts of a container."""
        return f"{self.data_root}/containers/{container_id}"

    def running(self, container_id: str) -> str:
        """What dies with the boot."""
        return f"{self.exec_root}/containers/{container_id}"

    def changes(self, container_id: str) -> str:
        """What a container that is a view of this machine has changed, in memory."""
        return f"{self.running(container_id)}/changes"

    def log(self, container_id: str) -> str:
        """The newest file of its output."""
        return f"{self.container(container_id)}/logs/log.json"
