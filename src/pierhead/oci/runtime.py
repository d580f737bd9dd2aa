"""The OCI runtime specification's documents for Linux: ``config.json`` (Spec), a container's state (State).

Fields are those of runtime-spec 1.3 (and what 1.2 still had), in the specification's order and under its
names in snake_case.  A field that the specification makes optional has a default; None or an empty tuple
says "not given".  Numbers carry the specification's units: bytes; microseconds for quota, period and
runtime of a cgroup; nanoseconds for the deadline scheduler.

Source: https://github.com/opencontainers/runtime-spec (config.md, config-linux.md, runtime.md, specs-go/).
"""

# Annotations stay real objects here (no ``from __future__ import annotations``): the decoder reads them.

from pierhead.oci.document import INT32, INT64, UINT, UINT16, UINT32, UINT64, empty, names, ranges
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    NamespaceType = Literal["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]
    Status = Literal["creating", "created", "running", "stopped", "paused"]

OCI_VERSION = "1.3.0"
"""The version that documents made here declare."""


class Box(Value):
    """A terminal's size in characters (config.md, "Process": consoleSize)."""

    json_ranges = ranges(height=UINT, width=UINT)

    height: int
    width: int


class User(Value):
    """Who a process runs as, in ids of the container's user namespace (config.md, "POSIX-platform User").

    ``username`` is for other platforms by the specification; names are resolved before a Spec is made.
    """

    json_always = ("uid", "gid")
    json_ranges = ranges(uid=UINT32, gid=UINT32, umask=UINT32, additional_gids=UINT32)

    uid: int = 0
    gid: int = 0
    umask: int | None = None
    additional_gids: tuple[int, ...] = ()
    username: str = ""


class Capabilities(Value):
    """The five sets of capability names like ``CAP_CHOWN`` (config.md, "Linux Process"; capabilities(7))."""

    bounding: tuple[str, ...] = ()
    effective: tuple[str, ...] = ()
    inheritable: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()
    ambient: tuple[str, ...] = ()


class Rlimit(Value):
    """One resource limit, ``type`` like ``RLIMIT_NOFILE`` (config.md, "POSIX process"; getrlimit(2))."""

    json_ranges = ranges(hard=UINT64, soft=UINT64)

    type: str
    hard: int
    soft: int


class Scheduler(Value):
    """Scheduling policy of a process (config.md, "Linux Process"; sched_setattr(2)).

    ``policy`` is like ``SCHED_BATCH``; runtime, deadline and period are nanoseconds.
    """

    json_ranges = ranges(nice=INT32, priority=INT32, runtime=UINT64, deadline=UINT64, period=UINT64)

    policy: str
    nice: int = 0
    priority: int = 0
    flags: tuple[str, ...] = ()
    runtime: int = 0
    deadline: int = 0
    period: int = 0


class IOPriority(Value):
    """Priority of a process's I/O (config.md, "Linux Process"; ioprio_set(2)).

    ``class_`` is like ``IOPRIO_CLASS_BE``; the priority is 0 (first) to 7 (last).
    """

    json_names = names(class_="class")
    json_ranges = ranges(priority=INT64)

    class_: str
    priority: int = 0


class ExecCPUAffinity(Value):
    """CPU lists like ``0-3,7`` for ``exec`` (config.md, "Linux Process"; sched_setaffinity(2)).

    ``initial`` holds before the process enters the container's cgroup, ``final`` from then on.
    """

    initial: str = ""
    final: str = ""


class Process(Value):
    """The container's process (config.md, "Process")."""

    json_names = names(
        oom_score_adj="oomScoreAdj", io_priority="ioPriority", exec_cpu_affinity="execCPUAffinity"
    )  # fmt: skip
    json_always = ("user",)
    json_ranges = ranges(oom_score_adj=INT64)

    terminal: bool = False
    console_size: Box | None = None
    user: User = User()
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    cwd: str
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] = ()
    no_new_privileges: bool = False
    apparmor_profile: str = ""
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    selinux_label: str = ""
    io_priority: IOPriority | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None


class Root(Value):
    """The root file system; a relative path is relative to the bundle (config.md, "Root")."""

    path: str
    readonly: bool = False


class IDMapping(Value):
    """A range of ids, and the range that it is outside (config-linux.md, "User namespace mappings").

    ``size`` ids from ``container_id`` in the container are those from ``host_id`` in the runtime's namespace.
    """

    json_names = names(container_id="containerID", host_id="hostID")
    json_ranges = ranges(container_id=UINT32, host_id=UINT32, size=UINT32)

    container_id: int
    host_id: int
    size: int


class Mount(Value):
    """One mount (config.md, "Mounts").

    ``options`` are as in fstab(5) plus the specification's: ``rbind``, ``rro``, ``rprivate``, ``idmap``, …  A
    relative ``source`` of a bind mount is relative to the bundle.
    """

    destination: str
    type: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()


class Hook(Value):
    """A program run at a point of the container's life (config.md, "POSIX-platform Hooks").

    ``args`` has execv(3)'s meaning: the first is the program's own name.  ``timeout`` is in seconds.
    """

    json_ranges = ranges(timeout=INT64)

    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None


class Hooks(Value):
    """The six kinds of hooks (config.md, "POSIX-platform Hooks").

    In the runtime's namespaces: prestart (deprecated), createRuntime, poststart, poststop.  In the
    container's: createContainer (its path is looked up outside), startContainer (inside).
    """

    prestart: tuple[Hook, ...] = ()
    create_runtime: tuple[Hook, ...] = ()
    create_container: tuple[Hook, ...] = ()
    start_container: tuple[Hook, ...] = ()
    poststart: tuple[Hook, ...] = ()
    poststop: tuple[Hook, ...] = ()


class Namespace(Value):
    """A namespace to make, or to join where ``path`` is given (config-linux.md, "Namespaces")."""

    type: str
    path: str = ""


class Device(Value):
    """A device node to have in the container, ``type`` one of c, u, b, p (config-linux.md, "Devices").

    ``file_mode`` holds the permission bits, uid and gid are of the container; -1 is no number, as a FIFO has.
    """

    json_always = ("major", "minor")
    json_ranges = ranges(major=INT64, minor=INT64, file_mode=UINT32, uid=UINT32, gid=UINT32)

    path: str
    type: str
    major: int = -1
    minor: int = -1
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class NetDevice(Value):
    """A host's network interface that moves into the container (config-linux.md, "Network Devices").

    ``name`` is its name there; empty keeps the one it has.
    """

    name: str = ""


class DeviceRule(Value):
    """Allow or deny access to devices (config-linux.md, "Allowed Device list").

    An empty ``type`` means ``a`` (all); None or -1 for major or minor means any; ``access`` is made of the
    letters r, w and m, and empty means all three.
    """

    json_ranges = ranges(major=INT64, minor=INT64)

    allow: bool
    type: str = ""
    major: int | None = None
    minor: int | None = None
    access: str = ""


class Memory(Value):
    """Limits in bytes, -1 for unlimited; ``swap`` is memory plus swap (config-linux.md, "Memory")."""

    json_names = names(kernel_tcp="kernelTCP", disable_oom_killer="disableOOMKiller")
    json_ranges = ranges(
        limit=INT64, reservation=INT64, swap=INT64, kernel=INT64, kernel_tcp=INT64, swappiness=UINT64
    )  # fmt: skip

    limit: int | None = None
    reservation: int | None = None
    swap: int | None = None
    kernel: int | None = None
    kernel_tcp: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool | None = None
    use_hierarchy: bool | None = None
    check_before_update: bool | None = None


class Cpu(Value):
    """Processor time and placement (config-linux.md, "CPU").

    Quota, burst, period and the realtime times are µs; ``cpus`` and ``mems`` are lists as in cpuset(7).
    """

    json_ranges = ranges(
        shares=UINT64,
        quota=INT64,
        burst=UINT64,
        period=UINT64,
        realtime_runtime=INT64,
        realtime_period=UINT64,
        idle=INT64,
    )

    shares: int | None = None
    quota: int | None = None
    burst: int | None = None
    period: int | None = None
    realtime_runtime: int | None = None
    realtime_period: int | None = None
    cpus: str = ""
    mems: str = ""
    idle: int | None = None


class Pids(Value):
    """The most tasks there may be; -1 for unlimited (config-linux.md, "PIDs")."""

    json_ranges = ranges(limit=INT64)

    limit: int | None = None


class WeightDevice(Value):
    """Proportional weight of one block device, 10 to 1000 (config-linux.md, "Block IO")."""

    json_ranges = ranges(major=INT64, minor=INT64, weight=UINT16, leaf_weight=UINT16)

    major: int
    minor: int
    weight: int | None = None
    leaf_weight: int | None = None


class ThrottleDevice(Value):
    """A rate limit of one block device, in bytes or operations per second (config-linux.md, "Block IO")."""

    json_ranges = ranges(major=INT64, minor=INT64, rate=UINT64)

    major: int
    minor: int
    rate: int


class BlockIO(Value):
    """Weights and rate limits of block devices (config-linux.md, "Block IO")."""

    json_names = names(
        throttle_read_iops_device="throttleReadIOPSDevice",
        throttle_write_iops_device="throttleWriteIOPSDevice",
    )
    json_ranges = ranges(weight=UINT16, leaf_weight=UINT16)

    weight: int | None = None
    leaf_weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = ()
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = ()
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = ()


class HugepageLimit(Value):
    """A limit in bytes for huge pages of one size like ``2MB`` (config-linux.md, "Huge page limits")."""

    json_ranges = ranges(limit=UINT64)

    page_size: str
    limit: int


class InterfacePriority(Value):
    """Priority of the traffic through one interface, cgroup v1 net_prio (config-linux.md, "Network")."""

    json_ranges = ranges(priority=UINT32)

    name: str
    priority: int


class Network(Value):
    """Class and priorities of packets, cgroup v1 net_cls and net_prio (config-linux.md, "Network")."""

    json_names = names(class_id="classID")
    json_ranges = ranges(class_id=UINT32)

    class_id: int | None = None
    priorities: tuple[InterfacePriority, ...] = ()


class Rdma(Value):
    """Limits of one RDMA device (config-linux.md, "RDMA")."""

    json_ranges = ranges(hca_handles=UINT32, hca_objects=UINT32)

    hca_handles: int | None = None
    hca_objects: int | None = None


class Resources(Value):
    """What the container's cgroup allows (config-linux.md, "Control groups").

    ``rdma`` is keyed by device name, ``unified`` by the name of a cgroup v2 file.
    """

    json_names = names(block_io="blockIO")

    devices: tuple[DeviceRule, ...] = ()
    memory: Memory | None = None
    cpu: Cpu | None = None
    pids: Pids | None = None
    block_io: BlockIO | None = None
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    network: Network | None = None
    rdma: dict[str, Rdma] = empty()
    unified: dict[str, str] = empty()


class SyscallArg(Value):
    """A condition on one argument of a system call (config-linux.md, "Seccomp"; seccomp_rule_add(3)).

    ``op`` is like ``SCMP_CMP_EQ``.  For ``SCMP_CMP_MASKED_EQ`` ``value`` is the mask and ``value_two`` the
    datum.
    """

    json_ranges = ranges(index=UINT, value=UINT64, value_two=UINT64)

    index: int
    value: int
    value_two: int = 0
    op: str


class Syscall(Value):
    """What to do at some system calls when all of ``args`` hold (config-linux.md, "Seccomp")."""

    json_ranges = ranges(errno_ret=UINT)

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(Value):
    """A filter of system calls (config-linux.md, "Seccomp")."""

    json_ranges = ranges(default_errno_ret=UINT)

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Syscall, ...] = ()


class IntelRdt(Value):
    """Share of the last-level cache and memory bandwidth (config-linux.md, "IntelRdt").

    ``enable_cmt`` and ``enable_mbm`` are of runtime-spec 1.2; 1.3 has ``enable_monitoring`` in their place.
    """

    json_names = names(
        clos_id="closID", l3_cache_schema="l3CacheSchema", enable_cmt="enableCMT", enable_mbm="enableMBM"
    )  # fmt: skip

    clos_id: str = ""
    schemata: tuple[str, ...] = ()
    l3_cache_schema: str = ""
    mem_bw_schema: str = ""
    enable_cmt: bool = False
    enable_mbm: bool = False
    enable_monitoring: bool = False


class MemoryPolicy(Value):
    """NUMA policy of memory (config-linux.md, "Memory policy"; set_mempolicy(2)).

    ``mode`` is like ``MPOL_BIND``, ``flags`` like ``MPOL_F_STATIC_NODES``, ``nodes`` a list like ``0-3,7``.
    """

    mode: str
    nodes: str = ""
    flags: tuple[str, ...] = ()


class Personality(Value):
    """Execution domain, ``LINUX`` or ``LINUX32`` (config-linux.md, "Personality"; personality(2))."""

    domain: str
    flags: tuple[str, ...] = ()


class TimeOffset(Value):
    """Offset of a clock in a new time namespace (config-linux.md, "Offset for Time Namespace").

    Source: time_namespaces(7).
    """

    json_ranges = ranges(secs=INT64, nanosecs=UINT32)

    secs: int = 0
    nanosecs: int = 0


class Linux(Value):
    """What only Linux has (config-linux.md).

    ``net_devices`` is keyed by the interface's name outside, ``time_offsets`` by ``boottime`` or
    ``monotonic``.
    """

    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    sysctl: dict[str, str] = empty()
    resources: Resources | None = None
    cgroups_path: str = ""
    namespaces: tuple[Namespace, ...] = ()
    devices: tuple[Device, ...] = ()
    net_devices: dict[str, NetDevice] = empty()
    seccomp: Seccomp | None = None
    rootfs_propagation: str = ""
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    mount_label: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None
    personality: Personality | None = None
    time_offsets: dict[str, TimeOffset] = empty()


class Spec(Value):
    """A bundle's ``config.json`` (config.md)."""

    json_names = names(oci_version="ociVersion")

    oci_version: str
    process: Process | None = None
    root: Root | None = None
    hostname: str = ""
    domainname: str = ""
    mounts: tuple[Mount, ...] = ()
    hooks: Hooks | None = None
    annotations: dict[str, str] = empty()
    linux: Linux | None = None


class State(Value):
    """The state of a container, as ``state`` prints it and hooks read it (runtime.md, "State").

    ``status`` is creating, created, running, stopped or, beyond the specification, paused; ``pid`` is the
    init process's in the runtime's pid namespace, 0 where there is none; ``bundle`` is an absolute path.
    """

    json_names = names(oci_version="ociVersion")
    json_ranges = ranges(pid=INT64)

    oci_version: str
    id: str
    status: str
    pid: int = 0
    bundle: str
    annotations: dict[str, str] = empty()
