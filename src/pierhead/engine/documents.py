"""What clients of the Docker API say of containers: the documents of ``POST /containers/create`` and others.

Read by ``pierhead.oci.document``.  Names of fields are those of the API's description in snake case; what a
class does not have is passed over, as Docker's own server does.  The same values stand in records on disk and
come back in ``GET /containers/{id}/json``, so every field is written, whether it was given or not.

Pure: knows nothing of what the fields do.
"""

# Annotations are read at run time: no postponed evaluation here.
from pierhead.oci.document import INT64, empty, names, ranges
from pierhead.values import Value


class Docker(Value):
    """A document in Docker's case, of which every field is written."""

    json_case = "pascal"
    json_whole = True
    json_integers = INT64


class Empty(Docker):
    """The object without members, by which Docker writes a set: ``{"80/tcp": {}}``."""


class HealthConfig(Docker):
    """How to tell whether a container is well; times in ns, 0 inherits or is the default."""

    json_ranges = ranges(
        interval=INT64, timeout=INT64, retries=INT64, start_period=INT64, start_interval=INT64
    )

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    retries: int = 0
    start_period: int = 0
    start_interval: int = 0


class ContainerConfig(Docker):
    """What an image may say as well: the program, its environment, its labels.

    ``entrypoint``, ``cmd`` and ``shell`` are None where nothing is said, which is not the same as empty.
    """

    json_ranges = ranges(stop_timeout=INT64)

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, Empty] = empty()
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] = ()
    cmd: tuple[str, ...] | str | None = None
    healthcheck: HealthConfig | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, Empty] = empty()
    working_dir: str = ""
    entrypoint: tuple[str, ...] | str | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] = ()
    labels: dict[str, str] = empty()
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None


class LogConfig(Docker):
    """Where output goes: a driver's name and its options."""

    type: str = ""
    config: dict[str, str] = empty()


class RestartPolicy(Docker):
    """When a container that has ended is started again."""

    json_ranges = ranges(maximum_retry_count=INT64)

    name: str = ""
    maximum_retry_count: int = 0


class PortBinding(Docker):
    """An address and a port (or a range of ports, or none) of the host."""

    host_ip: str = ""
    host_port: str = ""


class WeightDevice(Docker):
    """A block device and its weight."""

    path: str = ""
    weight: int = 0


class ThrottleDevice(Docker):
    """A block device and its limit, in bytes or operations per second."""

    path: str = ""
    rate: int = 0


class DeviceMapping(Docker):
    """A device of the host, where it stands in the container, and letters of ``rwm``."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class DeviceRequest(Docker):
    """Devices by what they can do, which a driver chooses."""

    json_names = names(device_ids="DeviceIDs")

    driver: str = ""
    count: int = 0
    device_ids: tuple[str, ...] = ()
    capabilities: tuple[tuple[str, ...], ...] = ()
    options: dict[str, str] = empty()


class Ulimit(Docker):
    """A resource limit by its name without ``RLIMIT_``, in small letters."""

    name: str = ""
    soft: int = 0
    hard: int = 0


class BindOptions(Docker):
    """Of a mount of the kind bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(Docker):
    """A volume's driver and its options."""

    name: str = ""
    options: dict[str, str] = empty()


class VolumeOptions(Docker):
    """Of a mount of the kind volume."""

    no_copy: bool = False
    labels: dict[str, str] = empty()
    driver_config: DriverConfig | None = None
    subpath: str = ""


class ImageOptions(Docker):
    """Of a mount of the kind image."""

    subpath: str = ""


class TmpfsOptions(Docker):
    """Of a mount of the kind tmpfs."""

    size_bytes: int = 0
    mode: int = 0
    options: tuple[tuple[str, ...], ...] = ()


class Mount(Docker):
    """One mount as ``--mount`` says it."""

    target: str = ""
    source: str = ""
    type: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class Resources(Docker):
    """Limits, which can be changed while the container runs."""

    json_names = names(
        blkio_device_read_iops="BlkioDeviceReadIOps",
        blkio_device_write_iops="BlkioDeviceWriteIOps",
        io_maximum_iops="IOMaximumIOps",
        io_maximum_bandwidth="IOMaximumBandwidth",
        kernel_memory_tcp="KernelMemoryTCP",
    )

    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[WeightDevice, ...] = ()
    blkio_device_read_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_bps: tuple[ThrottleDevice, ...] = ()
    blkio_device_read_iops: tuple[ThrottleDevice, ...] = ()
    blkio_device_write_iops: tuple[ThrottleDevice, ...] = ()
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[DeviceMapping, ...] = ()
    device_cgroup_rules: tuple[str, ...] = ()
    device_requests: tuple[DeviceRequest, ...] = ()
    kernel_memory: int = 0
    kernel_memory_tcp: int = 0
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] = ()
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = 0
    io_maximum_bandwidth: int = 0


class HostConfig(Resources):
    """What is the host's business: limits, rights, mounts, ports, restarts."""

    json_names = {**Resources.json_names, **names(container_id_file="ContainerIDFile", uts_mode="UTSMode")}  # noqa: RUF012 - never changed

    binds: tuple[str, ...] = ()
    container_id_file: str = ""
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...]] = empty()
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    console_size: tuple[int, ...] = ()
    annotations: dict[str, str] = empty()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    cgroupns_mode: str = ""
    dns: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    group_add: tuple[str, ...] = ()
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] = ()
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] = ()
    storage_opt: dict[str, str] = empty()
    tmpfs: dict[str, str] = empty()
    uts_mode: str = ""
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] = empty()
    runtime: str = ""
    isolation: str = ""
    init: bool | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None


class EndpointIPAMConfig(Docker):
    """Addresses that an endpoint wants."""

    json_names = names(ipv4_address="IPv4Address", ipv6_address="IPv6Address", link_local_ips="LinkLocalIPs")

    ipv4_address: str = ""
    ipv6_address: str = ""
    link_local_ips: tuple[str, ...] = ()


class EndpointSettings(Docker):
    """A container in a network: what it wants, and what it got."""

    json_names = names(
        ipam_config="IPAMConfig",
        network_id="NetworkID",
        endpoint_id="EndpointID",
        ip_address="IPAddress",
        ip_prefix_len="IPPrefixLen",
        ipv6_gateway="IPv6Gateway",
        global_ipv6_address="GlobalIPv6Address",
        global_ipv6_prefix_len="GlobalIPv6PrefixLen",
        dns_names="DNSNames",
    )

    ipam_config: EndpointIPAMConfig | None = None
    links: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    mac_address: str = ""
    driver_opts: dict[str, str] = empty()
    gw_priority: int = 0
    network_id: str = ""
    endpoint_id: str = ""
    gateway: str = ""
    ip_address: str = ""
    ip_prefix_len: int = 0
    ipv6_gateway: str = ""
    global_ipv6_address: str = ""
    global_ipv6_prefix_len: int = 0
    dns_names: tuple[str, ...] = ()


class NetworkingConfig(Docker):
    """Networks that a new container joins, by their names."""

    endpoints_config: dict[str, EndpointSettings] = empty()


class ExecConfig(Docker):
    """A further process of a container that runs."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: tuple[int, ...] = ()
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] = ()
    working_dir: str = ""
    cmd: tuple[str, ...] = ()


class UpdateConfig(Resources):
    """Limits to change, and the restart policy; a field that is 0 or empty stays as it is."""

    restart_policy: RestartPolicy | None = None


class VolumeCreate(Docker):
    """A volume to make."""

    name: str = ""
    driver: str = ""
    driver_opts: dict[str, str] = empty()
    labels: dict[str, str] = empty()
