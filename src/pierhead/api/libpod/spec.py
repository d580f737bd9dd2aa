"""What libpod's clients say of containers and processes: the bodies of their requests.

Of a container to make, only what has a counterpart in this engine stands here; ``creation`` says what becomes
of it, and refuses the rest.  Source: the API's description, ``SpecGenerator``; names of fields
have three manners.
"""

# Annotations are read at run time: no postponed evaluation here.
from pierhead.engine.documents import HealthConfig
from pierhead.oci.document import empty, names
from pierhead.values import Value


class Snake(Value):
    """A document whose members are written as ours are."""

    json_case = "snake"


class Namespace(Snake):
    """Where a namespace comes from: a mode, and the container or path that it names."""

    nsmode: str = ""
    value: str = ""


class LogConfiguration(Snake):
    """Where output goes; ``size`` is the log's limit in bytes."""

    driver: str = ""
    size: int = 0
    options: dict[str, str] = empty()


class SpecMount(Snake):
    """A mount as an OCI document has it."""

    destination: str = ""
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()


class NamedVolume(Value):
    """A volume in a container; without a name it is made for this one."""

    json_names = names(sub_path="SubPath")
    json_case = "pascal"

    name: str = ""
    dest: str = ""
    options: tuple[str, ...] = ()
    is_anonymous: bool = False
    sub_path: str = ""


class ImageVolume(Value):
    """An image's files in a container."""

    json_names = names(sub_path="subPath")
    json_case = "pascal"

    source: str = ""
    destination: str = ""
    read_write: bool = False
    sub_path: str = ""


class PortMapping(Snake):
    """Ports of the container, ``range`` of them, and where the host has them; 0 is any free one."""

    host_ip: str = ""
    container_port: int = 0
    host_port: int = 0
    range: int = 0
    protocol: str = ""


class NetworkOptions(Snake):
    """What a container wants in one network."""

    static_ips: tuple[str, ...] = ()
    static_mac: str = ""
    aliases: tuple[str, ...] = ()


class SpecDevice(Snake):
    """A device: ``HOST[:CONTAINER[:PERMISSIONS]]``."""

    path: str = ""


class DeviceRule(Snake):
    """Which devices may be used."""

    allow: bool = False
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Rlimit(Snake):
    """A limit of processes; the numbers are unsigned, all bits for none."""

    type: str = ""
    hard: int = 0
    soft: int = 0


class Throttle(Snake):
    """Of a device: bytes or operations per second."""

    rate: int = 0


class Weight(Snake):
    """Of a device."""

    weight: int = 0


class Memory(Value):
    """Limits in bytes."""

    json_names = names(disable_oom_killer="disableOOMKiller")

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None


class Cpu(Value):
    """Shares of processors; ``quota`` of each ``period``, in µs."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""


class Pids(Value):
    """How many processes."""

    limit: int | None = None


class BlockIo(Value):
    """Weight among those who use a device."""

    weight: int | None = None


class Limits(Value):
    """Limits of a container as an OCI document has them."""

    json_names = names(block_io="blockIO")

    memory: Memory = Memory()
    cpu: Cpu = Cpu()
    pids: Pids = Pids()
    block_io: BlockIo = BlockIo()


class Spec(Snake):
    """A container to make."""

    json_names = names(
        networks="Networks",
        throttle_read_bps="throttleReadBpsDevice",
        throttle_write_bps="throttleWriteBpsDevice",
        throttle_read_iops="throttleReadIOPSDevice",
        throttle_write_iops="throttleWriteIOPSDevice",
        weight_device="weightDevice",
    )

    name: str = ""
    image: str = ""
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    env: dict[str, str] = empty()
    labels: dict[str, str] = empty()
    annotations: dict[str, str] = empty()
    terminal: bool = False
    stdin: bool = False
    hostname: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    work_dir: str = ""
    stop_signal: int | None = None
    stop_timeout: int | None = None
    remove: bool = False
    init: bool = False
    restart_policy: str = ""
    restart_tries: int | None = None
    oci_runtime: str = ""
    healthconfig: HealthConfig | None = None
    log_configuration: LogConfiguration = LogConfiguration()
    sysctl: dict[str, str] = empty()
    # Files
    mounts: tuple[SpecMount, ...] = ()
    volumes: tuple[NamedVolume, ...] = ()
    image_volumes: tuple[ImageVolume, ...] = ()
    volumes_from: tuple[str, ...] = ()
    devices: tuple[SpecDevice, ...] = ()
    device_cgroup_rule: tuple[DeviceRule, ...] = ()
    shm_size: int | None = None
    read_only_filesystem: bool = False
    read_write_tmpfs: bool = False
    storage_opts: dict[str, str] = empty()
    # Rights
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    selinux_opts: tuple[str, ...] = ()
    apparmor_profile: str = ""
    seccomp_profile_path: str = ""
    no_new_privileges: bool = False
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    # Namespaces
    pidns: Namespace = Namespace()
    ipcns: Namespace = Namespace()
    utsns: Namespace = Namespace()
    userns: Namespace = Namespace()
    cgroupns: Namespace = Namespace()
    netns: Namespace = Namespace()
    # The network
    portmappings: tuple[PortMapping, ...] = ()
    publish_image_ports: bool = False
    expose: dict[str, str] = empty()
    networks: dict[str, NetworkOptions] = empty()
    dns_server: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    hostadd: tuple[str, ...] = ()
    # Limits
    cgroup_parent: str = ""
    resource_limits: Limits = Limits()
    r_limits: tuple[Rlimit, ...] = ()
    oom_score_adj: int | None = None
    weight_device: dict[str, Weight] = empty()
    throttle_read_bps: dict[str, Throttle] = empty()
    throttle_write_bps: dict[str, Throttle] = empty()
    throttle_read_iops: dict[str, Throttle] = empty()
    throttle_write_iops: dict[str, Throttle] = empty()


class VolumeWanted(Value):
    """The body of ``POST /libpod/volumes/create``; ``label`` is what older clients call labels."""

    json_case = "pascal"

    name: str = ""
    driver: str = ""
    options: dict[str, str] = empty()
    label: dict[str, str] = empty()
    labels: dict[str, str] = empty()
    ignore_if_exists: bool = False


class ExecBegin(Snake):
    """The body of ``POST /libpod/exec/{id}/start``; the terminal's size is 0 where it is not known."""

    json_names = names(detach="Detach", tty="Tty")

    detach: bool = False
    tty: bool = False
    h: int = 0
    w: int = 0
