"""The document that ``spec`` prints: a shell in a container, to edit into what one wants.

Its content is runc's, so that scripts and habits fit.  It is not what the library makes of an empty
configuration (``pierhead.runtime.config.Config``), which follows Docker.

Source: runc, ``runc spec`` and ``runc spec --rootless``.
"""

from __future__ import annotations

import os

from pierhead.oci.runtime import (
    OCI_VERSION,
    Capabilities,
    DeviceRule,
    IDMapping,
    Linux,
    Mount,
    Namespace,
    Process,
    Resources,
    Rlimit,
    Root,
    Spec,
)

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")

_MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
)

_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def default_spec(*, rootless: bool = False, uid: int | None = None, gid: int | None = None) -> Spec:
    """A document that runs ``sh`` in the bundle's directory ``rootfs``.

    Args:
        rootless: whether a user without privileges is to run it: in a user namespace, with the host's
        network and
            /sys, and without limits, which such a user may not set.
        uid: the host's user that root in a rootless container is; None is the caller.
        gid: the host's group that it is; None is the caller's.
    """
    spec = Spec(
        oci_version=OCI_VERSION,
        process=Process(
            terminal=True,
            args=("sh",),
            env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"),
            cwd="/",
            capabilities=Capabilities(
                bounding=_CAPABILITIES, effective=_CAPABILITIES, permitted=_CAPABILITIES
            ),
            rlimits=(Rlimit(type="RLIMIT_NOFILE", hard=1024, soft=1024),),
            no_new_privileges=True,
        ),
        root=Root(path="rootfs", readonly=True),
        hostname="pierhead",
        mounts=_mounts(),
        linux=Linux(
            resources=Resources(devices=(DeviceRule(allow=False, access="rwm"),)),
            namespaces=tuple(
                Namespace(type=kind) for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ),
            masked_paths=_MASKED_PATHS,
            readonly_paths=_READONLY_PATHS,
        ),
    )
    if not rootless:
        return spec
    return _without_privileges(
        spec, os.geteuid() if uid is None else uid, os.getegid() if gid is None else gid
    )


def _mounts() -> tuple[Mount, ...]:
    closed = ("nosuid", "noexec", "nodev")
    return (
        Mount(destination="/proc", type="proc", source="proc"),
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
            options=(*closed, "mode=1777", "size=65536k"),
        ),
        Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=closed),
        Mount(destination="/sys", type="sysfs", source="sysfs", options=(*closed, "ro")),
        Mount(
            destination="/sys/fs/cgroup",
            type="cgroup",
            source="cgroup",
            options=(*closed, "relatime", "ro"),
        ),
    )


def _without_privileges(spec: Spec, uid: int, gid: int) -> Spec:
    assert spec.linux is not None
    closed = ("nosuid", "noexec", "nodev")
    # sysfs belongs to a network namespace; who has the host's may only bind the host's mount of it.  What
    # rbind brings along stays writable below a read-only /sys, so the host's cgroups must be covered by the
    # container's own: the mount at /sys/fs/cgroup stays, with a cgroup namespace (CVE-2023-25809).
    sysfs = Mount(destination="/sys", type="none", source="/sys", options=("rbind", *closed, "ro"))
    mounts = [sysfs if mount.destination == "/sys" else _without_ids(mount) for mount in spec.mounts]
    linux = spec.linux.replace(
        uid_mappings=(IDMapping(container_id=0, host_id=uid, size=1),),
        gid_mappings=(IDMapping(container_id=0, host_id=gid, size=1),),
        resources=None,
        namespaces=tuple(Namespace(type=kind) for kind in ("pid", "ipc", "uts", "mount", "cgroup", "user")),
    )
    return spec.replace(mounts=tuple(mounts), linux=linux)


def _without_ids(mount: Mount) -> Mount:
    """The mount without gid=5 and the like: ids that the mapping of a single one does not have."""
    return mount.replace(
        options=tuple(option for option in mount.options if not option.startswith(("gid=", "uid=")))
    )
