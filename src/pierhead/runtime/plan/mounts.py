"""Mounts of the configuration to operations, and the root before and after them.  Pure.

Order matters and has its reasons: the root is made a mount, file systems and binds go onto it in the
    configuration's
order, then paths are masked and made read-only (so that no mount uncovers them), then the root is changed.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput, Unsupported
from pierhead.runtime import wire_table as wire
from pierhead.runtime.plan import mountoptions
from pierhead.runtime.plan.launchplan import Slot
from pierhead.runtime.plan.mountoptions import MountOptions, parse_options
from pierhead.runtime.wire import STAGE, Operation, strings
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pierhead.linux.cgroupfs import Hierarchies
    from pierhead.runtime.config import Config, Mount

_NEVER_THROUGH_LINKS = frozenset(("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue"))
_RECURSIVE = 0x8000  # AT_RECURSIVE
_RECURSIVE_BITS = wire.BIND_ATTR_RECURSIVE


class MountView(Value):
    """What mounts depend on beyond the configuration.

    Fields:
        hierarchies: of the machine, for a ``cgroup`` mount.
        cgroup_directories: the container's own cgroup by hierarchy mount point; empty without cgroups.
        new_namespaces: by type.
        privileged: whether binds are opened by the stage, with the host's rights (a user namespace).
    """

    hierarchies: Hierarchies
    cgroup_directories: dict[str, str]
    new_namespaces: frozenset[str]
    privileged: bool = False


class MountPlan(Value):
    """Operations of the stage and of the init process, and the slots that they need."""

    stage: tuple[Operation, ...]
    init: tuple[Operation, ...]
    slots: tuple[Slot, ...]


ROOT_SLOT = "root tree"
"""The root, opened or made with the host's rights for the init process of a user namespace."""

MAPPING_SLOT = "root mapping"
"""A user namespace with the container's maps, for the owners of layers."""


class RootPlan(Value):
    """How the container's root comes to be.

    Fields:
        stage: operations of the stage.
        joiner: operations of the joiner, before any other of it; empty where none is needed.
        init: operations of the init process, right before the root.
        slots: descriptors that they name.
        root: what the operation ``root`` takes: the name of a slot or "", and a path.
        readonly: whether the root has to be made read-only before anything is mounted on it.
    """

    stage: tuple[Operation, ...] = ()
    joiner: tuple[Operation, ...] = ()
    init: tuple[Operation, ...] = ()
    slots: tuple[Slot, ...] = ()
    root: tuple[str, str]
    readonly: bool = False


def choose_root(config: Config, scratch: str, *, privileged: bool) -> RootPlan:
    """A root that is one directory.

    Args:
        config: the configuration.
        scratch: a directory of the host on which a copy-on-write view is built, in our mount namespace only.
        privileged: whether the stage opens it, with the host's rights.
    """
    if config.copy_on_write:
        return RootPlan(init=tuple(_copy_on_write(config.rootfs, scratch)), root=("", f"{scratch}/root"))
    if not privileged:
        return RootPlan(root=("", config.rootfs))
    why = "the directories above the root need not let the user namespace's root in"
    arguments = (ROOT_SLOT, config.rootfs, _RECURSIVE, "", 0)
    opened = Operation(name="open_tree", arguments=arguments, place=STAGE, why=why)
    return RootPlan(
        stage=(opened,), slots=(Slot(name=ROOT_SLOT, kind="made"),), root=(ROOT_SLOT, config.rootfs)
    )


def plan_root(config: Config, parent_mount: str, root: RootPlan) -> tuple[Operation, ...]:
    """The root as a mount that can be pivoted into.

    Args:
        config: the configuration.
        parent_mount: where the mount stands that holds the rootfs; it may not be shared (pivot_root(2)).
        root: how it comes to be.
    """
    operations = plan_propagation(config.rootfs_propagation, parent_mount)
    operations += root.init
    why = "the new root has to be a mount; from here on paths are resolved beneath it"
    operations.append(Operation(name="root", arguments=root.root, why=why))
    if root.readonly:
        why = "a layer that others use too: nothing may be made in it, not even a place for a mount"
        operations.append(Operation(name="remount", arguments=("/", 0, mountoptions.RDONLY, 0, 0), why=why))
    return tuple(operations)


def plan_propagation(propagation: str, parent_mount: str) -> list[Operation]:
    """What we mount in a new mount namespace goes no further than is asked for.

    Args:
        propagation: the configuration's ``rootfs_propagation``.
        parent_mount: see ``plan_root``.

    Raises:
        InvalidInput: there is no such propagation.
    """
    flags = mountoptions.PROPAGATION.get(propagation or "rslave")
    if flags is None:
        message = f"there is no propagation {propagation!r}"
        raise InvalidInput(message, path="$.linux.rootfsPropagation")
    if flags & mountoptions.MS_UNBINDABLE:  # the root itself has to be bound yet
        flags = mountoptions.MS_PRIVATE
    why = (
        "what we mount does not reach the host"
        if not flags & mountoptions.MS_SHARED
        else "as rootfsPropagation says"
    )
    operations = [Operation(name="propagation", arguments=("/", flags | mountoptions.MS_REC), why=why)]
    if flags & mountoptions.MS_SHARED:
        why = "the kernel refuses to pivot out of a shared mount"
        arguments = (parent_mount, mountoptions.MS_PRIVATE)
        operations.append(Operation(name="propagation", arguments=arguments, why=why))
    return operations


def _copy_on_write(lower: str, scratch: str) -> Iterator[Operation]:
    """An overlay whose upper layer is memory; nobody outside our mount namespace sees it."""
    yield Operation(name="root_here", why="the view is built on the host's root, in our mount namespace only")
    why = "changes go to memory"
    arguments = (
        "tmpfs",
        "tmpfs",
        b"smode\0" + b"0755\0",
        mountoptions.NODEV,
        scratch,
        0,
        mountoptions.MS_PRIVATE,
    )
    yield Operation(name="mount", arguments=arguments, why=why)
    for name in ("upper", "work", "root"):
        yield Operation(
            name="mkdir", arguments=(f"{scratch}/{name}", 0o755, 0, 0), why="a part of the overlay"
        )
    shown = lower
    if len(_escaped(lower).encode(errors="surrogateescape")) > _FSCONFIG_MAX:
        lower = f"{scratch}/lower"
        why = "the way to it is longer than the kernel takes as an option"
        flags, private = wire.BIND_RECURSIVE, mountoptions.MS_PRIVATE
        bound = ("", shown, lower, flags, wire.TARGET_DIRECTORY, 0, 0, private, "")
        yield Operation(name="bind", arguments=bound, why=why)
    layers = {"lowerdir": _escaped(lower), "upperdir": f"{scratch}/upper", "workdir": f"{scratch}/work"}
    data = "".join(f"s{key}\0{value}\0" for key, value in layers.items()).encode(errors="surrogateescape")
    why = f"a view of {shown} in which every change is the container's own"
    arguments = ("overlay", "overlay", data, 0, f"{scratch}/root", 0, mountoptions.MS_PRIVATE)
    yield Operation(name="mount", arguments=arguments, why=why)


def _escaped(directory: str) -> str:
    return directory.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def plan_mounts(config: Config, view: MountView) -> MountPlan:
    """All mounts of the configuration, in its order."""
    stage: list[Operation] = []
    init: list[Operation] = []
    slots: list[Slot] = []
    for number, mount in enumerate(config.mounts):
        path = f"$.mounts[{number}]"
        options = parse_options(mount.options)
        if options.remount:
            init.append(_remount(mount, options))
        elif options.bind or mount.type == "bind":
            _plan_bind(number, mount, options, view, (stage, init, slots))
        elif mount.type in ("cgroup", "cgroup2"):
            init += _plan_cgroup(mount, options, view, path, mount.label or config.mount_label)
        elif not mount.type:
            raise InvalidInput(
                f"the mount on {mount.destination} has neither a type nor the option bind", path=path
            )
        else:
            if mount.type == "devpts" and "user" in view.new_namespaces:
                options = _with_mapped_group(options, config)
            init.append(_file_system(mount, options, label=mount.label or config.mount_label))
    return MountPlan(stage=tuple(stage), init=tuple(init), slots=tuple(slots))


def plan_covers(config: Config) -> tuple[Operation, ...]:
    """Read-only and masked paths, after every mount."""
    readonly = "the container may read this of the machine, and not change it"
    masked = "this tells of the machine, or gives a hold on it"
    return (
        *(Operation(name="readonly", arguments=(path,), why=readonly) for path in config.readonly_paths),
        *(Operation(name="mask", arguments=(path,), why=masked) for path in config.mask_paths),
    )


def plan_change_of_root(config: Config, cwd: str, whole_views: tuple[str, ...]) -> tuple[Operation, ...]:
    """From the host's root to the container's, which is as writable then as it will be.

    Args:
        config: the container's.
        cwd: its process's working directory.
        whole_views: mounts of the host's procfs and sysfs, which must not stay visible under the root.
    """
    if config.no_pivot_root:
        why = "the host's root is a ramfs, which cannot be pivoted away from"
        operations = [Operation(name="move_root", arguments=(strings(whole_views),), why=why)]
    else:
        why = "the host's tree is gone from here on: not hidden, but not mounted"
        operations = [Operation(name="pivot_root", arguments=(config.pivot_dir,), why=why)]
    if config.rootfs_propagation:
        flags = mountoptions.PROPAGATION[config.rootfs_propagation]
        why = "how later mounts travel between the container's root and its peers"
        operations.append(Operation(name="propagation", arguments=("/", flags), why=why))
    if config.readonlyfs:
        why = "if it is missing it is made, as long as that is possible"
        flags = wire.DIRECTORY_TRY | wire.DIRECTORY_CREATE
        operations.append(Operation(name="working_directory", arguments=(cwd, flags), why=why))
        why = "the root is read-only; mounts on it keep their own mode"
        operations.append(Operation(name="root_attributes", arguments=(mountoptions.RDONLY,), why=why))
    return tuple(operations)


def _file_system(mount: Mount, options: MountOptions, *, label: str = "") -> Operation:
    kind = wire.TARGET_DIRECTORY
    if mount.type in _NEVER_THROUGH_LINKS or mount.destination.rstrip("/") == "/dev":
        kind |= wire.TARGET_REAL
    if mount.type == "tmpfs" and not any(option.startswith("mode=") for option in options.data):
        kind |= wire.TARGET_KEEP_MODE
    if options.copy_up and mount.type == "tmpfs":
        kind |= wire.TARGET_COPY_UP
    if label and mount.type not in ("proc", "sysfs", "mqueue", "cgroup"):
        options = options.replace(data=(*options.data, f"context={label}"))
    if mount.type == "overlay":
        options = options.replace(data=tuple(_overlay_options(options.data)))
    attributes = options.set | options.recursive_set
    if not options.clear & mountoptions.ATIME_MASK:
        attributes |= mountoptions.RELATIME
    return Operation(
        name="mount",
        arguments=(
            mount.type,
            mount.source or mount.type,
            options.encoded_data(),
            attributes,
            mount.destination,
            kind,
            options.propagation,
        ),
        why=_WHY_FILE_SYSTEM.get(mount.type, f"a {mount.type} of the configuration"),
    )


_FSCONFIG_MAX = 255
"""Bytes of one value in fsconfig(2)."""


def _overlay_options(data: Iterable[str]) -> Iterator[str]:
    """Many lower layers are longer than the kernel takes in one value: they go one by one (Linux 6.5)."""
    for option in data:
        key, _, value = option.partition("=")
        if key == "lowerdir" and len(value.encode(errors="surrogateescape")) > _FSCONFIG_MAX:
            for layer in value.replace("\\:", "\0").split(":"):
                yield "lowerdir+=" + layer.replace("\0", ":").replace("\\\\", "\\")
        else:
            yield option


_WHY_FILE_SYSTEM = {
    "proc": "the processes and kernel parameters of the container's own namespaces",
    "sysfs": "the devices and kernel objects, with the container's own network",
    "devpts": "terminals of its own, not the host's",
    "mqueue": "POSIX message queues of its own",
    "tmpfs": "memory that vanishes with the container",
    "overlay": "a copy-on-write view",
}


def _with_mapped_group(options: MountOptions, config: Config) -> MountOptions:
    """Without the group of terminals, where a user namespace has no such group: the kernel refuses it."""

    def is_mapped(option: str) -> bool:
        key, _, value = option.partition("=")
        return (
            key != "gid"
            or not value.isdecimal()
            or any(
                each.container_id <= int(value) < each.container_id + each.size
                for each in config.gid_mappings
            )
        )

    return options.replace(data=tuple(option for option in options.data if is_mapped(option)))


def _remount(mount: Mount, options: MountOptions) -> Operation:
    flags = _RECURSIVE_BITS if options.recursive_set or options.recursive_clear else 0
    arguments = (
        mount.destination,
        flags,
        options.set | options.recursive_set,
        options.clear | options.recursive_clear,
        options.propagation,
    )
    return Operation(
        name="remount", arguments=arguments, why="change the attributes of a mount that is there"
    )


_Sinks = tuple[list[Operation], list[Operation], list[Slot]]


def _plan_bind(number: int, mount: Mount, options: MountOptions, view: MountView, sinks: _Sinks) -> None:
    stage, init, slots = sinks
    tree = userns = ""
    mapped = _mapping_name(number, mount, options, view)
    if view.privileged or mapped:
        tree = f"tree {number}"
        userns = mapped
        slots.append(Slot(name=tree, kind="made"))
        if userns and userns != "own userns":
            slots.append(Slot(name=userns, kind="given"))
        why = "opened with the host's rights" + (", its owners mapped" if userns else "")
        flags = _RECURSIVE if options.recursive else 0
        idmap = wire.BIND_IDMAP_RECURSIVE if options.idmap == "ridmap" else 0
        arguments = (tree, mount.source, flags, userns if userns != "own userns" else "", idmap)
        stage.append(Operation(name="open_tree", arguments=arguments, place=STAGE, why=why))
    init += _bind_operations(mount, options, tree)


def _mapping_name(number: int, mount: Mount, options: MountOptions, view: MountView) -> str:
    """The slot of the user namespace that maps this mount's owners, or "" where none does."""
    if mount.uid_mappings or mount.gid_mappings:
        return f"mapping {number}"
    if not options.idmap:
        return ""
    if "user" not in view.new_namespaces:
        message = f"the idmapped mount on {mount.destination} needs uidMappings or a new user namespace"
        raise InvalidInput(message, path=f"$.mounts[{number}].options")
    return f"mapping {number}"


def _bind_operations(mount: Mount, options: MountOptions, tree: str) -> Iterator[Operation]:
    flags = wire.BIND_RECURSIVE if options.recursive else 0
    both = bool(options.set or options.clear) and bool(options.recursive_set or options.recursive_clear)
    if options.recursive_set or options.recursive_clear:
        flags |= wire.BIND_ATTR_RECURSIVE
        on, off = options.recursive_set, options.recursive_clear
    else:
        on, off = options.set, options.clear
    yield Operation(
        name="bind",
        arguments=(
            tree,
            mount.source,
            mount.destination,
            flags,
            wire.TARGET_LIKE_SOURCE,
            on,
            off,
            options.propagation,
            "",
        ),
        why=f"{mount.source} of the host, seen at {mount.destination}",
    )
    if both:
        arguments = (mount.destination, 0, options.set, options.clear, 0)
        yield Operation(name="remount", arguments=arguments, why="attributes of the topmost mount alone")


# cgroup


def _plan_cgroup(
    mount: Mount, options: MountOptions, view: MountView, path: str, label: str
) -> Sequence[Operation]:
    if view.hierarchies.mode == "none":
        raise Unsupported(
            f"{path}: this machine has no cgroup hierarchy mounted to show at {mount.destination}"
        )
    if view.hierarchies.mode == "v2":
        return (_cgroup2(mount.destination, options, view),)
    return _cgroup1(mount, options, view, label)


def _cgroup2(destination: str, options: MountOptions, view: MountView) -> Operation:
    tree = view.hierarchies.unified()
    if "cgroup" in view.new_namespaces or tree is None:
        why = "the container's own cgroup, which its namespace shows as the root"
        arguments = (
            "cgroup2",
            "cgroup",
            b"",
            options.set,
            destination,
            wire.TARGET_REAL,
            options.propagation,
        )
        return Operation(name="mount", arguments=arguments, why=why)
    return _own_cgroup(tree.mountpoint, destination, options, view)


def _own_cgroup(mountpoint: str, destination: str, options: MountOptions, view: MountView) -> Operation:
    """Without a cgroup namespace the container's part alone is shown, and never writable (CVE-2023-25809)."""
    source = view.cgroup_directories.get(mountpoint, mountpoint)
    set_, clear = options.set | mountoptions.RDONLY, options.clear & ~mountoptions.RDONLY
    kind = wire.TARGET_DIRECTORY | wire.TARGET_REAL
    arguments = ("", source, destination, 0, kind, set_, clear, options.propagation, "")
    return Operation(
        name="bind", arguments=arguments, why="the container's own cgroup, without a namespace for it"
    )


def _cgroup1(mount: Mount, options: MountOptions, view: MountView, label: str) -> list[Operation]:
    """A tmpfs with a directory per hierarchy, as hosts with version 1 have it."""
    attributes = options.set & ~mountoptions.RDONLY
    data = b"smode\x00755\0" + (f"scontext\0{label}\0".encode() if label else b"")
    top = mount.destination.rstrip("/")
    kind = wire.TARGET_DIRECTORY | wire.TARGET_REAL
    why = "a place for the hierarchies of cgroup version 1"
    operations = [
        Operation(name="mount", arguments=("tmpfs", "tmpfs", data, attributes, top, kind, 0), why=why)
    ]
    for tree in view.hierarchies.trees:
        name = tree.mountpoint.rpartition("/")[2]
        target = f"{top}/{name}"
        if "cgroup" not in view.new_namespaces:
            operations.append(_own_cgroup(tree.mountpoint, target, options, view))
            continue
        type_ = "cgroup2" if tree.version == 2 else "cgroup"
        tree_data = b"" if tree.version == 2 else _tree_options(tree.controllers)
        why = f"the container's own cgroup for {','.join(tree.controllers) or 'the unified tree'}"
        arguments = (type_, "cgroup", tree_data, options.set, target, wire.TARGET_DIRECTORY, 0)
        operations.append(Operation(name="mount", arguments=arguments, why=why))
        operations += _controller_links(top, name, tree.controllers)
    if options.set & mountoptions.RDONLY:
        closing = (top, 0, mountoptions.RDONLY, 0, 0)
        why = "nothing may be made beside them"
        operations.append(Operation(name="remount", arguments=closing, why=why))
    return operations


def _tree_options(controllers: Iterable[str]) -> bytes:
    out = []
    for controller in controllers:
        key, equals, value = controller.partition("=")
        out.append(f"fnone\0s{key}\0{value}\0" if equals else f"f{key}\0")
    return "".join(out).encode()


def _controller_links(top: str, name: str, controllers: Sequence[str]) -> Iterator[Operation]:
    if len(controllers) > 1:
        for controller in controllers:
            if controller != name:
                why = "programs look for each controller by its own name"
                yield Operation(name="symlink", arguments=(name, f"{top}/{controller}"), why=why)
