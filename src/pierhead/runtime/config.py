"""What a container is to be: the library's own configuration, one flat value.

    Config(rootfs="/srv/root", process=ProcessSpec(args=("/bin/sh",)))

is a whole container by itself: six new namespaces, the usual mounts, Docker's fourteen capabilities, its
masked and read-only paths, its system call filter, no privileges gained by execve.  An OCI ``config.json``
says all of that in its own document; ``config_from_spec`` turns it into the same value, taking nothing from
these defaults.

    Config
    ├── root file system  rootfs root_overlay readonlyfs mounts devices mask_paths readonly_paths …
    ├── namespaces        namespaces uid_mappings gid_mappings time_offsets hostname domainname sysctl
    ├── network           networks routes net_devices
    ├── resources         resources cgroup_path cgroup_parent cgroup_manager systemd_properties …
    ├── every process     capabilities seccomp no_new_privileges apparmor_profile process_label rlimits …
    ├── process           args env cwd user terminal …: the first process, and the model for others
    └── the rest          hooks annotations bundle oci_version

Pure: no I/O beyond asking for the working directory, no kernel.  What a value means to the kernel is
decided in ``runtime.plan``; whether values go together is checked in ``runtime.validate``.
"""

# Annotations stay real objects here (no ``from __future__ import annotations``): the decoder reads them.

import os

from pierhead.errors import InvalidInput
from pierhead.oci import runtime as oci
from pierhead.oci.document import UINT16, UINT32, decode, empty, encode, ranges
from pierhead.oci.runtime import (
    Box,
    Capabilities,
    DeviceRule,
    ExecCPUAffinity,
    Hooks,
    IDMapping,
    IntelRdt,
    IOPriority,
    MemoryPolicy,
    Namespace,
    NetDevice,
    Personality,
    Resources,
    Rlimit,
    Scheduler,
    Seccomp,
    TimeOffset,
    User,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SECCOMP_DEFAULT = "default"
"""``Config.seccomp``: Docker's default profile for the machine and the container's capabilities."""

SECCOMP_UNCONFINED = "unconfined"
"""``Config.seccomp``: no filter."""

DEFAULT_ENV = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)

_DOCKER_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)

DEFAULT_CAPABILITIES = Capabilities(
    bounding=_DOCKER_CAPABILITIES, effective=_DOCKER_CAPABILITIES, permitted=_DOCKER_CAPABILITIES
)
"""What Docker grants root in a container.  Inheritable stays empty: a file's inheritable capabilities would
else come alive for unprivileged users (CVE-2022-24769)."""

DEFAULT_NAMESPACES = (
    Namespace(type="mount"),
    Namespace(type="uts"),
    Namespace(type="ipc"),
    Namespace(type="pid"),
    Namespace(type="network"),
    Namespace(type="cgroup"),
)

DEFAULT_MASK_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""Docker's: what /proc and /sys would tell about, or do to, the machine."""

DEFAULT_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
"""Docker's: parts of /proc through which root could change the machine."""


class Mount(oci.Mount):
    """One mount, as in an OCI document, and a label of its own.

    Fields:
        destination: absolute path in the container; missing directories are made.
        type: a file system type; empty or ``bind`` with the option ``bind`` or ``rbind`` for a bind mount.
        source: a host path for bind mounts, else what mount(8) would call the device.
        options: flags (``ro``, ``nosuid``, ``rro``, …), propagation (``rslave``, …) and the file system's
            own data (``size=64m``), as in fstab(5).
        uid_mappings, gid_mappings: an idmapped mount; empty with the option ``idmap`` uses the container's.
        label: SELinux context; empty uses ``Config.mount_label``, and a bind keeps its source's.
    """

    label: str = ""


class RootOverlay(Value):
    """Directories of which an overlay becomes the container's ``/``.

    It is mounted where the container alone sees it, and is gone with the container's last process.  One
    directory alone, in ``lower`` or in ``upper``, is the root as it is, to read only or to write.

    Fields:
        lower: absolute host paths of directories that are only read, the topmost first.  A file in one hides
            those below; a device 0:0 takes away the one below (overlayfs's whiteouts).
        upper: directory that takes every change; empty for a root that nobody can write to.
        work: empty directory beside ``upper``, on the same mount, for the kernel; empty where ``lower`` is.
        mapped: whether the files' owners are the container's ids, in a user namespace too: idmapped mounts
            translate them.  False says that they are the host's ids already.
        volatile: a power cut may take every change: nobody waits for the disk, at fsync(2) and at the end.

    Source: Linux's Documentation/filesystems/overlayfs.rst; mount_setattr(2), MOUNT_ATTR_IDMAP.
    """

    json_case = "snake"

    lower: tuple[str, ...]
    upper: str = ""
    work: str = ""
    mapped: bool = True
    volatile: bool = False


class Device(oci.Device):
    """A device node in the container and the access that its cgroup gives to it.

    Fields:
        path: absolute path in the container.
        type: ``c``, ``u`` (character), ``b`` (block) or ``p`` (FIFO).
        major, minor: the device's number; of no meaning for a FIFO.
        file_mode: permission bits; None is 0666.
        uid, gid: owner, in the container's ids; None is 0.
        permissions: letters of ``rwm`` (read, write, mknod) that the cgroup allows; empty leaves it to
            ``resources.devices``.
    """

    permissions: str = "rwm"


DEFAULT_MOUNTS = (
    Mount(destination="/proc", type="proc", source="proc", options=("nosuid", "noexec", "nodev")),
    Mount(
        destination="/dev",
        type="tmpfs",
        source="tmpfs",
        options=("nosuid", "strictatime", "mode=755", "size=65536k"),
    ),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount(
        destination="/dev/shm",
        type="tmpfs",
        source="shm",
        options=("nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
    ),
    Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=("nosuid", "noexec", "nodev")),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=("nosuid", "noexec", "nodev", "ro")),
    Mount(
        destination="/sys/fs/cgroup",
        type="cgroup",
        source="cgroup",
        options=("nosuid", "noexec", "nodev", "relatime", "ro"),
    ),
)
"""Docker's mounts.  The nodes and links in /dev (null, zero, ptmx, fd, stdin, …) are not listed: every
container gets them."""

DEFAULT_RESOURCES = Resources(devices=(DeviceRule(allow=False, access="rwm"),))
"""No device but those that every container gets; no other limit."""


class Network(Value):
    """One interface that the container gets in its new network namespace.

    Fields:
        type: ``loopback`` (brings ``lo`` up; nothing else is read) or ``veth`` (a pair with one end in the
            container).
        name: the interface's name in the container, 1 to 15 bytes; empty is the first free ``ethN``.
        bridge: name of the host's bridge that the outer end joins; empty joins none.
        mac_address: of the inner end, ``02:42:ac:11:00:02``; empty leaves it to the kernel.
        address: IPv4 address with prefix length, ``172.17.0.2/16``; empty for none.
        gateway: IPv4 default gateway; empty for none.
        ipv6_address, ipv6_gateway: the same for IPv6.
        mtu: bytes, for both ends; 0 leaves it to the kernel.
        tx_queue_len: packets, for both ends; 0 leaves it to the kernel.
        hairpin_mode: whether the bridge may send a frame back through the port it came from, so that a
            container reaches its own published ports.
        host_interface_name: of the outer end; empty is ``veth`` and seven random digits.

    Source: veth(4), rtnetlink(7); bridge(8) for hairpin.
    """

    json_case = "snake"
    json_ranges = ranges(mtu=UINT32, tx_queue_len=UINT32)

    type: str
    name: str = ""
    bridge: str = ""
    mac_address: str = ""
    address: str = ""
    gateway: str = ""
    ipv6_address: str = ""
    ipv6_gateway: str = ""
    mtu: int = 0
    tx_queue_len: int = 0
    hairpin_mode: bool = False
    host_interface_name: str = ""


class Route(Value):
    """One entry of the container's routing table, IPv4 or IPv6.

    Fields:
        destination: network with prefix length, ``10.1.0.0/16``; empty is the default route.
        source: the address that outgoing packets prefer; empty leaves the choice to the kernel.
        gateway: next hop; empty for a network on the link itself.
        interface_name: name of the interface in the container.

    Source: rtnetlink(7), RTM_NEWROUTE.
    """

    json_case = "snake"

    destination: str = ""
    source: str = ""
    gateway: str = ""
    interface_name: str = ""


class ProcessSpec(Value):
    """A process to run in a container: its first one, or a further one by exec.

    None stands for "as the container's": the field of the same name of ``Config`` holds.

    Fields:
        args: program and arguments; a program without a slash is looked up in PATH of ``env``, in the
            container.
        env: ``NAME=value`` entries, the whole environment; HOME is added from the passwd file where it is
            missing.
        cwd: absolute path in the container; made where it is missing, for the first process.
        user: numbers, or text ``user[:group]`` whose names are looked up in the container's /etc/passwd and
            /etc/group.
        additional_groups: ids, or names from the container's /etc/group, beside ``user.additional_gids``.
        terminal: whether stdio is a new pseudo-terminal of the container.
        console_size: the terminal's first size in characters; None is 0 x 0, or what a command's caller has.
        capabilities: the five sets; what is not listed is dropped.
        rlimits: limits for this process alone.
        no_new_privileges: whether execve may not gain privileges (prctl(2), PR_SET_NO_NEW_PRIVS).
        apparmor_profile: name of a loaded profile; empty for none.
        process_label: SELinux context of the process; empty for none.
        oom_score_adj: -1000 to 1000 (proc(5)).
        io_priority, scheduler, exec_cpu_affinity: as in an OCI document.
    """

    json_case = "snake"

    args: tuple[str, ...]
    env: tuple[str, ...] = DEFAULT_ENV
    cwd: str = "/"
    user: User | str = User()
    additional_groups: tuple[int | str, ...] | None = None
    terminal: bool = False
    console_size: Box | None = None
    capabilities: Capabilities | None = None
    rlimits: tuple[Rlimit, ...] | None = None
    no_new_privileges: bool | None = None
    apparmor_profile: str | None = None
    process_label: str | None = None
    oom_score_adj: int | None = None
    io_priority: IOPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None


class Config(Value):
    """Everything about one container.

    Root file system:
        rootfs: absolute host path of the directory that becomes ``/``.
        copy_on_write: whether ``/`` is a view of ``rootfs`` in which every change goes to memory and vanishes
            with the container (an overlay; rootfs itself is never written). In an OCI document: the
            annotation ``io.pierhead.rootfs.copy-on-write`` with the value ``true``.
        root_overlay: directories whose overlay becomes ``/`` instead, mounted on ``rootfs`` (an empty
            directory, which any number of containers may share); None for none.
        readonlyfs: whether ``/`` is read-only (mounts on it keep their own mode).
        no_pivot_root: move the root's mount over ``/`` and chroot instead of pivot_root(2); for a host that
            runs from a ramfs, which the kernel cannot pivot away from.  Weaker: the old root stays mounted
            underneath.
        pivot_dir: name of a directory in the rootfs where the old root stands while pivoting, made and
            removed again; empty pivots onto the root itself and needs none.
        mounts: made in this order after the root.
        devices: nodes beyond those that every container gets.
        mount_label: SELinux context of mounts without one of their own; empty for none.
        rootfs_propagation: ``private``, ``slave``, ``shared``, ``unbindable`` or one of them with an ``r``
            before it; empty is ``rslave``: the host's later mounts come in, the container's never go out.
        mask_paths: absolute paths in the container that read as empty.  A path that does not exist is
            passed over.
        readonly_paths: absolute paths in the container that cannot be written.  The same holds.

    Namespaces:
        namespaces: what the container does not share with the caller: made new, or joined where a path is
            given. Types: mount, uts, ipc, pid, network, user, cgroup, time.
        uid_mappings, gid_mappings: ids of a new user namespace.
        time_offsets: by ``boottime`` and ``monotonic``, for a new time namespace.
        hostname, domainname: for a new UTS namespace; empty leaves the caller's.
        sysctl: kernel parameters by name, ``net.ipv4.ip_forward``; only those that a new namespace has its
            own of.
        personality: execution domain (personality(2)); None leaves the caller's.

    Network, in a new network namespace:
        networks: interfaces to make.  Without a new network namespace, ``loopback`` says nothing.
        routes: entries made after the interfaces.
        net_devices: host's interfaces to move in, by their names outside; into a joined namespace, too,
            where they stay when the container ends.

    Resources:
        resources: limits of the cgroup; bytes, µs, as in an OCI document.
        cgroup_path: of the container's cgroup.  For cgroupfs a path: below the hierarchy's root if it
            starts with a slash, else below the caller's own cgroup.  For systemd ``slice:prefix:name``.
            Empty makes one from ``cgroup_parent`` and the container's id.
        cgroup_parent: path (or slice) in which a cgroup is made when ``cgroup_path`` is empty; empty is the
            driver's own choice.
        cgroup_manager: ``cgroupfs``, ``systemd`` or ``disabled``.
        systemd_properties: further properties of the systemd scope, values in GVariant text: ``uint64 5``.
        freezer_state: ``frozen`` or ``thawed``; empty says nothing and leaves a container as it is on
            update.
        intel_rdt: share of cache and memory bandwidth, which is refused so far; None for none.
        memory_policy: NUMA policy of the first process (set_mempolicy(2)).

    Every process of the container, where ``ProcessSpec`` does not say otherwise:
        capabilities: the five sets; what is not listed is dropped.
        seccomp: a filter, or ``default`` for Docker's profile, or ``unconfined``.
        no_new_privileges, apparmor_profile, process_label, rlimits, additional_groups: see
            ``ProcessSpec``.
        oom_score_adj, io_priority, scheduler, exec_cpu_affinity: see ``ProcessSpec``; None leaves the
            caller's.
        umask: of a process whose user says none.
        no_new_keyring: join the caller's session keyring instead of a new one (keyrings(7)).
        parent_death_signal: number of the signal that the first process gets when its parent dies; 0 for
            none (prctl(2), PR_SET_PDEATHSIG).  The kernel means the thread: one that called ``run`` or
            ``create`` and ends sends it, though its program goes on.

    The rest:
        process: the first process; None in a configuration that is kept for ``replace``.
        hooks: programs run at points of its life, with the container's state on stdin.
        annotations: for whoever reads them.
        bundle: absolute path of the OCI bundle it came from; empty for none.
        oci_version: what hooks read in the state's ``ociVersion``.
    """

    json_case = "snake"
    json_ranges = ranges(umask=UINT16)

    rootfs: str
    copy_on_write: bool = False
    root_overlay: RootOverlay | None = None
    readonlyfs: bool = False
    no_pivot_root: bool = False
    pivot_dir: str = ""
    mounts: tuple[Mount, ...] = DEFAULT_MOUNTS
    devices: tuple[Device, ...] = ()
    mount_label: str = ""
    rootfs_propagation: str = ""
    mask_paths: tuple[str, ...] = DEFAULT_MASK_PATHS
    readonly_paths: tuple[str, ...] = DEFAULT_READONLY_PATHS

    namespaces: tuple[Namespace, ...] = DEFAULT_NAMESPACES
    uid_mappings: tuple[IDMapping, ...] = ()
    gid_mappings: tuple[IDMapping, ...] = ()
    time_offsets: dict[str, TimeOffset] = empty()
    hostname: str = ""
    domainname: str = ""
    sysctl: dict[str, str] = empty()
    personality: Personality | None = None

    networks: tuple[Network, ...] = (Network(type="loopback"),)
    routes: tuple[Route, ...] = ()
    net_devices: dict[str, NetDevice] = empty()

    resources: Resources = DEFAULT_RESOURCES
    cgroup_path: str = ""
    cgroup_parent: str = ""
    cgroup_manager: str = "cgroupfs"
    systemd_properties: dict[str, str] = empty()
    freezer_state: str = ""
    intel_rdt: IntelRdt | None = None
    memory_policy: MemoryPolicy | None = None

    capabilities: Capabilities = DEFAULT_CAPABILITIES
    seccomp: Seccomp | str = SECCOMP_DEFAULT
    no_new_privileges: bool = True
    apparmor_profile: str = ""
    process_label: str = ""
    rlimits: tuple[Rlimit, ...] = ()
    additional_groups: tuple[int | str, ...] = ()
    umask: int = 0o022
    oom_score_adj: int | None = None
    io_priority: IOPriority | None = None
    scheduler: Scheduler | None = None
    exec_cpu_affinity: ExecCPUAffinity | None = None
    no_new_keyring: bool = False
    parent_death_signal: int = 0

    process: ProcessSpec | None = None
    hooks: Hooks = Hooks()
    annotations: dict[str, str] = empty()
    bundle: str = ""
    oci_version: str = oci.OCI_VERSION


_SYSTEMD_PROPERTY = "org.systemd.property."

COPY_ON_WRITE = "io.pierhead.rootfs.copy-on-write"
"""Annotation of an OCI document for ``Config.copy_on_write``."""


def config_from_spec(spec: oci.Spec, bundle: str | os.PathLike[str]) -> Config:
    """The configuration that a bundle's ``config.json`` describes.

    Nothing is added that the document does not say, except that ``lo`` is brought up in a new network
    namespace and the umask is 0022 where the document names none, as runc does.

    Args:
        spec: a document that ``pierhead.oci.validate.check_spec`` accepts.
        bundle: the bundle's directory, to which ``root.path`` and the sources of bind mounts are relative.

    Raises:
        InvalidInput: the document has no root.
    """
    if spec.root is None:
        raise InvalidInput("is missing", code="missing-field", path="$.root")
    directory = os.path.abspath(bundle)
    linux = spec.linux or oci.Linux()
    new_network = any(each.type == "network" and not each.path for each in linux.namespaces)
    config = Config(
        rootfs=os.path.normpath(os.path.join(directory, spec.root.path)),
        copy_on_write=spec.annotations.get(COPY_ON_WRITE) == "true",
        readonlyfs=spec.root.readonly,
        mounts=tuple([_mount_from_spec(mount, directory) for mount in spec.mounts]),
        devices=tuple([Device(**device.__dict__, permissions="") for device in linux.devices]),
        mount_label=linux.mount_label,
        rootfs_propagation=linux.rootfs_propagation,
        mask_paths=linux.masked_paths,
        readonly_paths=linux.readonly_paths,
        namespaces=linux.namespaces,
        uid_mappings=linux.uid_mappings,
        gid_mappings=linux.gid_mappings,
        time_offsets=linux.time_offsets,
        hostname=spec.hostname,
        domainname=spec.domainname,
        sysctl=linux.sysctl,
        personality=linux.personality,
        networks=(Network(type="loopback"),) if new_network else (),
        net_devices=linux.net_devices,
        resources=linux.resources or Resources(),
        cgroup_path=linux.cgroups_path,
        systemd_properties={
            name.removeprefix(_SYSTEMD_PROPERTY): value
            for name, value in spec.annotations.items()
            if name.startswith(_SYSTEMD_PROPERTY)
        },
        intel_rdt=linux.intel_rdt,
        memory_policy=linux.memory_policy,
        capabilities=Capabilities(),
        seccomp=linux.seccomp or SECCOMP_UNCONFINED,
        no_new_privileges=False,
        hooks=spec.hooks or Hooks(),
        annotations=spec.annotations,
        bundle=directory,
        oci_version=spec.oci_version,
    )
    return config if spec.process is None else _with_process(config, spec.process)


def _mount_from_spec(mount: oci.Mount, bundle: str) -> Mount:
    source = mount.source
    is_bind = mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options
    if is_bind and not source.startswith("/"):
        source = os.path.normpath(os.path.join(bundle, source))
    # A relative destination is accepted with a warning, as from the root (runc did the same before 1.0).
    destination = mount.destination if mount.destination.startswith("/") else f"/{mount.destination}"
    return Mount(**{**mount.__dict__, "source": source, "destination": destination})


def _with_process(config: Config, process: oci.Process) -> Config:
    """``config`` whose own fields say what the document says of its process, so that exec finds the same."""
    return config.replace(
        capabilities=process.capabilities or Capabilities(),
        no_new_privileges=process.no_new_privileges,
        apparmor_profile=process.apparmor_profile,
        process_label=process.selinux_label,
        rlimits=process.rlimits,
        oom_score_adj=process.oom_score_adj,
        io_priority=process.io_priority,
        scheduler=process.scheduler,
        exec_cpu_affinity=process.exec_cpu_affinity,
        process=ProcessSpec(
            args=process.args,
            env=process.env,
            cwd=process.cwd,
            user=process.user,
            terminal=process.terminal,
            console_size=process.console_size,
        ),
    )


def process_from_spec(process: oci.Process) -> ProcessSpec:
    """The process that an OCI document's ``process`` describes, for a container that exists (exec --process).

    What the document leaves out is the container's, as with runc; only no_new_privileges is always the
    document's.
    """
    return ProcessSpec(
        args=process.args,
        env=process.env,
        cwd=process.cwd,
        user=process.user,
        terminal=process.terminal,
        console_size=process.console_size,
        capabilities=process.capabilities,
        rlimits=process.rlimits or None,
        no_new_privileges=process.no_new_privileges,
        apparmor_profile=process.apparmor_profile or None,
        process_label=process.selinux_label or None,
        oom_score_adj=process.oom_score_adj,
        io_priority=process.io_priority,
        scheduler=process.scheduler,
        exec_cpu_affinity=process.exec_cpu_affinity,
    )


def config_from_document(obj: object, *, path: str = "$") -> Config:
    """The configuration that a JSON object in the library's own form denotes (container.json, state.json).

    Raises:
        InvalidInput: wrong types, missing or unknown fields, with the JSON path.
    """
    return decode(Config, obj, path=path)


def config_to_document(config: Config) -> "dict[str, Any]":
    """The JSON object of a configuration; what equals its default is left out."""
    return encode(config)


def merge_resources(old: Resources, new: Resources) -> Resources:
    """The old limits with those that the new ones give."""
    changes = {}
    for name in new.fields:
        given, before = getattr(new, name), getattr(old, name)
        if given in (None, (), {}):
            continue
        if name == "devices":  # the later rule decides
            given = (*before, *given)
        elif hasattr(given, "fields") and before is not None:
            given = before.replace(
                **{key: value for key, value in given.__dict__.items() if value not in (None, "", ())}
            )
        changes[name] = given
    return old.replace(**changes)
