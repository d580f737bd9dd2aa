"""All mounts of a container: everybody's, the engine's files, the user's.  Pure.

A user's mount stands in the place of one of everybody's; a user's ``/dev`` stands in the place of all below
it.  What is deeper comes later, so that no mount hides another that was asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.specgen.mountwords import wanted_mounts
from pierhead.engine.specgen.processes import INIT_PATH
from pierhead.engine.specgen.tmpfswords import parse_tmpfs, tmpfs_options
from pierhead.errors import OperationFailed
from pierhead.oci.validate import normalize_guest_path
from pierhead.runtime.config import DEFAULT_MOUNTS, Mount

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine import documents
    from pierhead.engine.documents import HostConfig
    from pierhead.engine.record import MountPoint, Record
    from pierhead.engine.specgen.ground import Ground
    from pierhead.engine.specgen.rights import Security

_CLOSED = ("nosuid", "noexec", "nodev")
_PRIVATE = "rprivate"


def plan_mounts(record: Record, ground: Ground, security: Security) -> tuple[Mount, ...]:
    """The mounts in the order in which they are to be made."""
    asked = {
        mount.destination: mount for mount in (*_tmpfs_mounts(record.host), *_user_mounts(record, ground))
    }
    own = (*_default_mounts(record.host, ground, security), *ground.root.mounts)
    kept = [mount for mount in own if not _is_replaced(mount.destination, asked)]
    files = [mount for mount in _engine_files(record.host, ground) if mount.destination not in asked]
    return (*kept, *sorted((*files, *asked.values()), key=lambda mount: mount.destination.count("/")))


def _is_replaced(destination: str, asked: dict[str, Mount]) -> bool:
    return destination in asked or ("/dev" in asked and destination.startswith("/dev/"))


def _default_mounts(host: HostConfig, ground: Ground, security: Security) -> Iterator[Mount]:
    for mount in DEFAULT_MOUNTS:
        if mount.destination == "/dev/shm":
            yield from _shm_mount(host, ground)
        elif mount.destination == "/dev/mqueue" and host.ipc_mode == "host" and ground.user_mappings:
            # Root of a user namespace may not mount what belongs to the host's ipc namespace.
            yield _bind("/dev/mqueue", "/dev/mqueue", *_CLOSED)
        elif mount.destination == "/sys" and ground.user_mappings and "network" in ground.namespaces:
            # Nor sysfs of a network that another user namespace has made (user_namespaces(7)).
            yield Mount(
                destination="/sys", type="bind", source="/sys", options=("bind", _PRIVATE, *_CLOSED, "ro")
            )
        elif mount.destination.startswith("/sys"):
            writable = (host.privileged and not host.readonly_rootfs) or (
                security.writable_cgroups and mount.type == "cgroup"
            )
            yield mount.replace(options=tuple(o for o in mount.options if o != "ro")) if writable else mount
        else:
            yield mount


def _shm_mount(host: HostConfig, ground: Ground) -> Iterator[Mount]:
    """Shared memory: nobody's, the host's, another container's, or one's own of the size asked for."""
    if host.ipc_mode == "none":
        return
    if host.ipc_mode == "host":
        yield _bind("/dev/shm", "/dev/shm", *_CLOSED)
    elif ground.shm_path:
        yield _bind(ground.shm_path, "/dev/shm", *_CLOSED)
    else:
        options = (*_CLOSED, "mode=1777", f"size={host.shm_size}")
        yield Mount(destination="/dev/shm", type="tmpfs", source="shm", options=options)


def _engine_files(host: HostConfig, ground: Ground) -> Iterator[Mount]:
    """Files that the engine writes, and the reaper."""
    access = ("ro",) if host.readonly_rootfs else ()
    for source, place in (
        (ground.resolv_conf, "/etc/resolv.conf"),
        (ground.hostname_file, "/etc/hostname"),
        (ground.hosts, "/etc/hosts"),
    ):
        if source:
            yield _bind(source, place, *access)
    if host.init:
        if not ground.init_path:
            raise OperationFailed("there is no program for the container's first process", code="no-init")
        yield _bind(ground.init_path, INIT_PATH, "ro", "nosuid", "nodev")


def _bind(source: str, destination: str, *options: str) -> Mount:
    return Mount(destination=destination, type="bind", source=source, options=("rbind", _PRIVATE, *options))


def _tmpfs_mounts(host: HostConfig) -> Iterator[Mount]:
    for path, text in host.tmpfs.items():
        place = normalize_guest_path(path)
        yield Mount(destination=place, type="tmpfs", source="tmpfs", options=parse_tmpfs(text))


def _user_mounts(record: Record, ground: Ground) -> Iterator[Mount]:
    asked = {wanted.mount.target: wanted.mount for wanted in wanted_mounts(record.config, record.host)}
    for point in record.mounts:
        wanted = asked.get(point.destination)
        if point.type == "tmpfs":
            options = tmpfs_options(wanted.tmpfs_options if wanted else None, read_only=not point.rw)
            yield Mount(destination=point.destination, type="tmpfs", source="tmpfs", options=options)
            continue
        source = ground.sources.get(point.destination, point.source)
        if not source:
            raise OperationFailed(
                f"nothing was made ready to be mounted on {point.destination}", code="no-source"
            )
        yield Mount(
            destination=point.destination, type="bind", source=source, options=_bind_options(point, wanted)
        )


def _bind_options(point: MountPoint, wanted: documents.Mount | None) -> tuple[str, ...]:
    """Options of a bind; a read-only one is so with all below it, unless the request says otherwise."""
    asked = wanted.bind_options if wanted else None
    recursive = asked is None or not asked.non_recursive
    access: tuple[str, ...] = ()
    if not point.rw or point.type == "image":
        access = ("rro",) if recursive and not (asked and asked.read_only_non_recursive) else ("ro",)
    return ("rbind" if recursive else "bind", point.propagation or _PRIVATE, *access)
