"""What plans need to know of this machine and of the place where a container is to run.  Pure values."""

# Annotations are read at run time: no postponed evaluation here.
from pierhead.oci.numbers import CAPABILITIES
from pierhead.oci.runtime import IDMapping, Seccomp
from pierhead.runtime.config import (
    DEFAULT_MASK_PATHS,
    DEFAULT_MOUNTS,
    SECCOMP_DEFAULT,
    Config,
    Device,
    Mount,
    Network,
    RootOverlay,
)
from pierhead.values import Value

_CONTROLLERS = frozenset(("cpu", "cpuset", "io", "memory", "pids"))


class Machine(Value):
    """This machine, as far as it decides what can be asked for; by itself one that can do everything.

    Fields:
        cpus: how many processors are on line; 0 where nobody has counted.
        cpu_list, memory_nodes: those that may be asked for, as in cpuset(7); empty for any.
        cgroup_v2: whether cgroup2 has all controllers.
        controllers: of cgroups, by their names in version 2.
        swap_limit: whether swap can be limited.
        swappiness: whether it can be set for a cgroup.
        oom_kill_disable: whether the OOM killer can be switched off for a cgroup.
        realtime: whether cgroups share out real time.
        block_weight: whether cgroups share out disks by weight.
        hard_limits: ``(RLIMIT_…, hard)`` of those limits that cannot be raised further; empty with
            CAP_SYS_RESOURCE.
        oom_score_least: lowest oom_score_adj that can be set (proc(5)).
        capabilities: those that the engine can hand on.
        apparmor, selinux: whether the kernel enforces it.
        arch: as uname(2) has it.
        kernel: major and minor version.
        inside: whether the engine is root of a user namespace and not of the machine.
    """

    cpus: int = 0
    cpu_list: str = ""
    memory_nodes: str = ""
    cgroup_v2: bool = True
    controllers: frozenset[str] = _CONTROLLERS
    swap_limit: bool = True
    swappiness: bool = True
    oom_kill_disable: bool = True
    realtime: bool = True
    block_weight: bool = True
    hard_limits: tuple[tuple[str, int], ...] = ()
    oom_score_least: int = -1000
    capabilities: tuple[str, ...] = CAPABILITIES
    apparmor: bool = False
    selinux: bool = False
    arch: str = "x86_64"
    kernel: tuple[int, int] = (6, 1)
    inside: bool = False


ANY_MACHINE = Machine()
"""One that can do everything."""


class Root(Value):
    """What becomes the container's ``/``.

    Fields:
        rootfs: a directory: the root itself, or an empty one where ``overlay`` is mounted.
        overlay: layers of an image and what has changed; None for none.
        copy_on_write: whether changes go to memory and vanish.
        mounts: beyond those of every container, before the user's.
        mask_paths: beyond those of every container; hidden from privileged ones too.
    """

    rootfs: str
    overlay: RootOverlay | None = None
    copy_on_write: bool = False
    mounts: tuple[Mount, ...] = ()
    mask_paths: tuple[str, ...] = ()


def root_of_host(config: Config) -> Root:
    """The running machine as a root, from what ``runtime.host_rootfs`` says of it."""
    return Root(
        rootfs=config.rootfs,
        copy_on_write=True,
        mounts=tuple(mount for mount in config.mounts if mount not in DEFAULT_MOUNTS),
        mask_paths=tuple(path for path in config.mask_paths if path not in DEFAULT_MASK_PATHS),
    )


class Ground(Value):
    """What the engine knows when it starts a container.

    Fields:
        root: see ``Root``.
        hosts, hostname_file, resolv_conf: host paths of generated files; empty for none.
        hostname, domainname: where they are not the container's own (its network's owner's); empty for own.
        shm_path: directory that becomes /dev/shm: for a shareable or shared ipc.
        init_path: the program that becomes /sbin/docker-init; needed with ``HostConfig.Init``.
        namespaces: files of namespaces to join, by type: ``{"pid": "/proc/7/ns/pid"}``.
        interfaces: of a new network namespace, beside ``lo``.
        user_mappings, group_mappings: see ``plan_user_maps``; empty for none.
        devices: that ``HostConfig.Devices`` has turned out to be, or all of the machine's.
        device_numbers: major and minor of block devices by their paths, for limits and weights.
        sources: where mounts come from that are not at their ``MountPoint.source``, by destination.
        seccomp: the filter where the container asks for none of its own: one, ``default``, ``unconfined``, or
            the text of a profile.
        apparmor_profile: where the container asks for none; empty for none.
        cgroup_path, cgroup_manager: see ``runtime.Config``.
        machine: see ``Machine``.
    """

    root: Root
    hosts: str = ""
    hostname_file: str = ""
    resolv_conf: str = ""
    hostname: str = ""
    domainname: str = ""
    shm_path: str = ""
    init_path: str = ""
    namespaces: dict[str, str] = {}  # noqa: RUF012 - never changed
    interfaces: tuple[Network, ...] = ()
    user_mappings: tuple[IDMapping, ...] = ()
    group_mappings: tuple[IDMapping, ...] = ()
    devices: tuple[Device, ...] = ()
    device_numbers: dict[str, tuple[int, int]] = {}  # noqa: RUF012 - never changed
    sources: dict[str, str] = {}  # noqa: RUF012 - never changed
    seccomp: Seccomp | str = SECCOMP_DEFAULT
    apparmor_profile: str = ""
    cgroup_path: str = ""
    cgroup_manager: str = "cgroupfs"
    machine: Machine = ANY_MACHINE
