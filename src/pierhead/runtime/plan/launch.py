"""From a configuration to the plan of a new container.  Pure: golden tests read these plans.

    stage    binds that need the host's rights, device rules
    joiner   namespaces that are joined, or that must exist before the clone
    init     maps and cgroup · session · mounts · change of root · identity · gate · filter · execve

Every step of the init process that can fail for the user's reasons stands before ``ready``, so that
``create`` says it and not ``start``; what has to come after the gate says why.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Seccomp, User
from pierhead.oci.validate_linux import sysctl_path
from pierhead.runtime import wire_table as wire
from pierhead.runtime.plan import credentials, devices, mounts, namespaces
from pierhead.runtime.plan.launchplan import LaunchPlan, Slot, assemble
from pierhead.runtime.wire import STAGE, Operation, strings
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.linux.cgroupfs import Hierarchies
    from pierhead.oci.runtime import Capabilities, DeviceRule, Hook, IDMapping
    from pierhead.runtime.config import Config, ProcessSpec


class LaunchView(Value):
    """What a plan depends on beyond configuration and process: the machine's facts, the launcher's choices.

    Fields:
        hierarchies: of cgroups.
        cgroup_directories: the container's own cgroup by hierarchy mount point.
        cgroups: names of given slots with the files by which the process joins its cgroups.
        launcher_places: the launcher puts it into its cgroup instead (systemd makes the cgroup around it).
        into_cgroup: it is cloned into its v2 cgroup.
        device_slot: given slot with the v2 cgroup that device rules are a program of; empty on v1.
        user_first: whether a user namespace is joined before others: the launcher has rights nowhere else.
        parent_mount: where the mount stands that holds the rootfs.
        whole_views: where the host has a whole procfs or sysfs, if its tree stays under the container's.
        scratch: a directory of the host that a copy-on-write view may be built on.
        gate: whether the process waits for ``start`` before it runs.
        console: whether there is a terminal (its channel is given as slot "console").
        streams: names of the given slots for standard input, output, error; "" keeps the inherited one.
        preserved: how many further given descriptors ("kept 0", …) become 3, 4, ….
        filter: compiles a seccomp profile; the launcher may cache.
        device_program: compiles device rules for v2.
        trace: report how long each operation took.
        rootless: the stage has no rights over mounts on the host.
        kernel: Linux's version; only an overlay of layers depends on it.
        inside: the launcher itself is in a user namespace, as root: it can make no device.
    """

    hierarchies: Hierarchies
    cgroup_directories: dict[str, str]
    cgroups: tuple[str, ...] = ()
    launcher_places: bool = False
    into_cgroup: bool = False
    device_slot: str = ""
    user_first: bool = False
    parent_mount: str = "/"
    whole_views: tuple[str, ...] = ()
    scratch: str = ""
    gate: bool = True
    console: bool = False
    streams: tuple[str, str, str] = ("", "", "")
    preserved: int = 0
    filter: Callable[[Seccomp], tuple[bytes, int, bool]]
    device_program: Callable[[tuple[DeviceRule, ...]], bytes] | None = None
    trace: bool = False
    rootless: bool = False
    kernel: tuple[int, int] = (0, 0)
    inside: bool = False


def plan_container(config: Config, process: ProcessSpec, view: LaunchView) -> LaunchPlan:
    """The plan of a container's first process.

    Args:
        config: checked; ``rootfs`` is absolute and has no symbolic link.
        process: resolved: its user is numbers, nothing in it is None that the configuration decides.
        view: the rest.
    """
    in_user_namespace = any(item.type == "user" for item in config.namespaces)
    privileged = in_user_namespace and not view.rootless
    root = _root(config, view, privileged=privileged)
    spaces = namespaces.plan_namespaces(
        config.namespaces,
        config.time_offsets,
        cgroups=view.cgroups,
        meet_launcher=view.launcher_places or process.oom_score_adj is not None,
        user_first=view.user_first,
        root=(_first_id(config.uid_mappings), _first_id(config.gid_mappings)),
        before=root.joiner,
    )
    _check_mount_namespace(spaces.new)
    mount_plan = mounts.plan_mounts(
        config,
        mounts.MountView(
            hierarchies=view.hierarchies,
            cgroup_directories=view.cgroup_directories,
            new_namespaces=spaces.new,
            privileged=privileged,
        ),
    )
    operations = (
        *_device_program(config, view),
        *root.stage,
        *mount_plan.stage,
        *spaces.joiner,
        *spaces.opening,
        Operation(name="session", why="no terminal or signal of the caller's reaches it"),
        Operation(name="umask", arguments=(0,), why="modes below are meant as they are written"),
        *plan_keyring(config, process),
        *_networks(config, spaces),
        *mounts.plan_root(config, view.parent_mount, root),
        *mount_plan.init,
        *devices.plan_devices(config, bind=in_user_namespace or view.inside),
        *plan_terminal_or_streams(process, view, new_root=True),
        *_sysctls(config),
        *mounts.plan_covers(config),
        *_hooks_before_pivot(config),
        *mounts.plan_change_of_root(config, process.cwd, view.whole_views),
        *_names(config),
        Operation(name="reopen_null", why="no descriptor of the host's null device is kept"),
        *plan_process(config, process, view),
    )
    plan = LaunchPlan(
        operations=operations,
        slots=list_slots(view, *spaces.slots, *root.slots, *mount_plan.slots),
        clone_flags=spaces.clone_flags,
        joiner=bool(spaces.joiner),
        into_cgroup=view.into_cgroup,
        uid_mappings=config.uid_mappings if "user" in spaces.new else (),
        gid_mappings=config.gid_mappings if "user" in spaces.new else (),
        oom_score_adj=process.oom_score_adj,
        trace=view.trace,
    )
    return assemble(plan)


def _check_mount_namespace(new: frozenset[str]) -> None:
    if "mount" not in new:
        raise InvalidInput(
            "a container needs a mount namespace of its own",
            path="$.linux.namespaces",
            code="no-mount-namespace",
        )


def _root(config: Config, view: LaunchView, *, privileged: bool) -> mounts.RootPlan:
    if config.root_overlay is None:
        return mounts.choose_root(config, view.scratch, privileged=privileged)
    from pierhead.runtime.plan.rootoverlay import plan_root_overlay

    return plan_root_overlay(
        config, config.root_overlay, rootless=view.rootless, inside=view.inside, kernel=view.kernel
    )


def _first_id(mappings: tuple[IDMapping, ...]) -> int:
    """Root, or where the maps leave that out the first id that they have."""
    has_root = any(item.container_id == 0 for item in mappings)
    return 0 if has_root or not mappings else mappings[0].container_id


def list_slots(view: LaunchView, *more: Slot) -> tuple[Slot, ...]:
    """All descriptors that a plan names."""
    given = [Slot(name=name, kind="given") for name in (*view.cgroups, *view.streams) if name]
    if view.device_slot:
        given.append(Slot(name=view.device_slot, kind="given"))
    given += [Slot(name=f"kept {number}", kind="given") for number in range(view.preserved)]
    if view.console:
        given.append(Slot(name="console", kind="given"))
    if view.gate:
        given.append(Slot(name="gate", kind="given"))
    return (*given, *more)


def _device_program(config: Config, view: LaunchView) -> Iterable[Operation]:
    if view.device_slot and view.device_program:
        program = view.device_program(devices.device_rules(config))
        why = "the kernel asks this program whenever the container opens or makes a device"
        yield Operation(name="device_program", arguments=(view.device_slot, program), place=STAGE, why=why)


def plan_keyring(config: Config, process: ProcessSpec) -> Iterable[Operation]:
    """A session keyring of the container's own, which all of its processes share."""
    if not config.no_new_keyring:
        label = process.process_label or ""
        why = "keys of the caller's session stay with the caller"
        yield Operation(name="keyring", arguments=(label,), why=why)


def _networks(config: Config, spaces: namespaces.NamespacePlan) -> Iterable[Operation]:
    """A namespace that is joined is as others made it, but for the devices that move into it."""
    needed = bool(config.net_devices) and "network" in spaces.joined
    if "network" in spaces.new:
        if any(network.type == "loopback" for network in config.networks):
            yield Operation(name="loopback_up", why="a new network namespace has its loopback down")
        others = any(network.type != "loopback" for network in config.networks)
        needed = bool(config.net_devices or config.routes) or others
    if needed:
        why = "the launcher configures this namespace through a socket that was opened in it"
        yield Operation(name="netlink_socket", why=why)
        why = "interfaces, addresses and routes are made by the launcher"
        yield Operation(name="sync", arguments=(wire.SYNC_NETWORK,), why=why)


def plan_terminal_or_streams(
    process: ProcessSpec, view: LaunchView, *, new_root: bool
) -> Iterable[Operation]:
    """Standard streams: a terminal of the container, or what the launcher gives."""
    user = process.user if isinstance(process.user, User) else User()
    if view.console:
        size = process.console_size
        rows, columns = (size.height, size.width) if size else (0, 0)
        why = "its terminal is of its own devpts; the other end goes to whoever asked"
        yield Operation(
            name="console", arguments=("console", rows, columns, user.uid, int(new_root)), why=why
        )
    elif any(view.streams):
        why = "its standard streams" + (", which it may open again by their names" if user.uid else "")
        yield Operation(name="stdio", arguments=(*view.streams, user.uid), why=why)


def _sysctls(config: Config) -> Iterable[Operation]:
    for name, value in config.sysctl.items():
        path = "sys/" + sysctl_path(name)
        yield Operation(
            name="sysctl", arguments=(path, value), why=f"{name} of the container's own namespace"
        )


def _hook(hook: Hook, state: int, why: str) -> Operation:
    timeout_ms = (hook.timeout or 0) * 1000
    arguments = (hook.path, strings(hook.args or (hook.path,)), strings(hook.env), timeout_ms, state)
    return Operation(name="hook", arguments=arguments, why=why)


def _hooks_before_pivot(config: Config) -> Iterable[Operation]:
    chosen = config.hooks
    if chosen.prestart or chosen.create_runtime or chosen.create_container or chosen.start_container:
        why = "the launcher runs the hooks of the host's namespaces, and gives the state to those of ours"
        yield Operation(name="sync", arguments=(wire.SYNC_HOOKS,), why=why)
    for hook in config.hooks.create_container:
        yield _hook(
            hook, wire.STATE_CREATING, "createContainer: in the container's namespaces, before its root"
        )


def _names(config: Config) -> Iterable[Operation]:
    if config.hostname:
        yield Operation(name="hostname", arguments=(config.hostname,), why="its name, in its UTS namespace")
    if config.domainname:
        yield Operation(name="domainname", arguments=(config.domainname,), why="its NIS domain name")


# The process


def plan_process(
    config: Config, process: ProcessSpec, view: LaunchView, *, makes_directory: bool = True
) -> tuple[Operation, ...]:
    """From "in place" to the program: settings, identity, gate, filter, execve.

    ``makes_directory`` is whether a working directory that is missing is made.
    """
    capabilities = process.capabilities or config.capabilities
    return (
        *_settings(config, process),
        *_limits(config, process),
        Operation(
            name="working_directory",
            arguments=(process.cwd, wire.DIRECTORY_TRY | (wire.DIRECTORY_CREATE if makes_directory else 0)),
            why="where the program starts; it must be inside the root",
        ),
        Operation(
            name="find_executable",
            arguments=(process.args[0], strings(_search_path(process.env))),
            why="a missing program is found out while everything can be undone",
        ),
        Operation(
            name="own_descriptors",
            arguments=("kept 0" if view.preserved else "", view.preserved, "gate" if view.gate else ""),
            why="every descriptor that was not asked for closes when the program starts",
        ),
        credentials.plan_bounding(capabilities),
        *_identity_gate_filter(config, process, view, capabilities),
        Operation(name="execute", arguments=(strings(process.args), strings(process.env)), why="the program"),
    )


def _settings(config: Config, process: ProcessSpec) -> Iterable[Operation]:
    if config.personality:
        yield credentials.plan_personality(config.personality)
    if process.scheduler:
        yield credentials.plan_scheduler(process.scheduler)
    if process.io_priority:
        yield credentials.plan_io_priority(process.io_priority)
    if config.memory_policy:
        yield credentials.plan_memory_policy(config.memory_policy)
    user = process.user if isinstance(process.user, User) else User()
    umask = config.umask if user.umask is None else user.umask
    yield Operation(name="umask", arguments=(umask,), why="what new files are not to be by default")
    yield from credentials.plan_labels(process.apparmor_profile or "", process.process_label or "")


def _limits(config: Config, process: ProcessSpec) -> Iterable[Operation]:
    rlimits = process.rlimits or ()
    if not rlimits:
        return
    if any(item.type == "user" for item in config.namespaces):
        why = "the launcher sets resource limits: root of a user namespace may not raise them"
        yield Operation(name="sync", arguments=(wire.SYNC_LIMITS,), why=why)
    else:
        yield from credentials.plan_rlimits(rlimits)


def _search_path(env: tuple[str, ...]) -> tuple[str, ...]:
    for entry in reversed(env):
        if entry.startswith("PATH="):
            return tuple(part or "." for part in entry[5:].split(":"))
    return ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


def _identity_gate_filter(
    config: Config, process: ProcessSpec, view: LaunchView, capabilities: Capabilities
) -> Iterable[Operation]:
    user = process.user if isinstance(process.user, User) else User()
    named = tuple(group for group in process.additional_groups or () if isinstance(group, int))
    groups = (*user.additional_gids, *named)
    identity = credentials.plan_identity(
        user.uid, user.gid, groups, keep_groups=_has_fixed_groups(config, view, groups)
    )
    settled = (
        Operation(
            name="working_directory",
            arguments=(process.cwd, wire.DIRECTORY_AGAIN),
            why="once more with the user's rights, if root had none there",
        ),
        *_death_signal(config),
    )
    seccomp, listens = _filter(config, view)
    gate = tuple(_gate(config, view))
    granted = credentials.plan_capabilities(capabilities)
    if process.no_new_privileges or not seccomp:
        if process.no_new_privileges:
            why = "no program gains privileges by execve"
            settled = (*settled, Operation(name="no_new_privileges", why=why))
        ready = (identity, *granted, *settled)
        return (*ready, *seccomp, *gate) if listens else (*ready, *gate, *seccomp)
    # CAP_SYS_ADMIN is kept for the filter alone: what waits at the gate is the user, and no more
    ready = (identity, credentials.plan_capabilities_for_filter(capabilities), *settled)
    last = (*seccomp, *granted)
    return (*ready, *last, *gate) if listens else (*ready, *gate, *last)


def _has_fixed_groups(config: Config, view: LaunchView, wanted: tuple[int, ...]) -> bool:
    """Whether setgroups(2) is denied: to a user who maps only itself (``idmaps``, CVE-2014-8989)."""
    mappings = config.gid_mappings
    fixed = view.rootless and len(mappings) == 1 and mappings[0].size == 1
    if fixed and wanted:
        raise InvalidInput(
            "a user who maps only itself cannot give a process additional groups",
            path="$.process.user.additionalGids",
            code="groups-denied",
            hint="map a range of groups (/etc/subgid)",
        )
    return fixed


def _death_signal(config: Config) -> Iterable[Operation]:
    if config.parent_death_signal:
        why = "it ends with the process that launched it"
        yield Operation(name="parent_death_signal", arguments=(config.parent_death_signal,), why=why)


def _filter(config: Config, view: LaunchView) -> tuple[tuple[Operation, ...], bool]:
    if not isinstance(config.seccomp, Seccomp):
        return (), False
    program, flags, listens = view.filter(config.seccomp)
    if not program:
        return (), False
    why = "which system calls the program may make"
    return (Operation(name="seccomp", arguments=(program, flags, int(listens)), why=why),), listens


def _gate(config: Config, view: LaunchView) -> Iterable[Operation]:
    if view.gate:
        yield Operation(name="ready", why="the container is created")
        yield Operation(name="gate", arguments=("gate",), why="until start connects and says go")
    for hook in config.hooks.start_container:
        yield _hook(hook, wire.STATE_CREATED, "startContainer: inside, before the program")
