"""Checks of a runtime document that types cannot make: which names exist, what goes together, what is safe.

``check_spec`` is a flat list of small checks, each with its section of the specification.  A check either
raises InvalidInput with the JSON path of the culprit, or adds a sentence to the warnings for what runc lets
pass.  Checks of resources and seccomp, which ``update`` and profiles need alone, stand in
``validate_linux``.

Pure: whether a file exists or the kernel can do what is asked shows when it is tried.
"""

from __future__ import annotations

from pierhead.oci.numbers import (
    CAPABILITY_NUMBERS,
    IO_PRIORITY_CLASSES,
    NAMESPACES,
    PERSONALITIES,
    PROPAGATIONS,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    TIME_NAMESPACE_CLOCKS,
)
from pierhead.oci.runtime import Linux
from pierhead.oci.validate_linux import (
    check_cgroups_path,
    check_devices,
    check_intel_rdt,
    check_memory_policy,
    check_net_devices,
    check_number_list,
    check_resources,
    check_seccomp,
    check_sysctl,
    check_text,
    invalid,
    known,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.oci.runtime import (
        Capabilities,
        Hook,
        IDMapping,
        Mount,
        Process,
        Rlimit,
        Scheduler,
        Spec,
        User,
    )

_NO_LINUX = Linux()
_NO_ID = 2**32 - 1  # (uid_t) -1 means "no change" to setresuid(2) and is never an id
_HOST_NAME_MAX = 64  # __NEW_UTS_LEN, uname(2)
_MAX_MAPPINGS = 340  # user_namespaces(7)
_MAX_MAPPING_BYTES = 4095  # less than a page, in one write
_NANOSECONDS = 10**9

# What may be mounted below /proc: files that tools like lxcfs provide.  Everything else there could
# redirect what the runtime itself writes to /proc (CVE-2019-16884, CVE-2019-19921).  The list is runc's.
_PROC_ALLOWED = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    )
)


def check_spec(spec: Spec) -> list[str]:
    """The document can describe a container.

    Returns:
        Warnings, one sentence each, about what is ignored or treated leniently.

    Raises:
        InvalidInput: it cannot; the error's ``path`` is the JSON path of the culprit.
    """
    warnings: list[str] = []
    for check in SPEC_CHECKS:
        check(spec, warnings)
    return warnings


def check_process(process: Process, *, path: str = "$") -> list[str]:
    """The same for a process alone, as ``exec --process`` reads it."""
    warnings: list[str] = []
    _check_process(process, path, warnings)
    return warnings


# The checks of a whole document.


def check_version(spec: Spec, _: list[str]) -> None:
    """Any version 1.x will do, with any suffix (config.md, "Specification version").

    What a newer one has beyond ours is unknown fields, of which the decoder tells.
    """
    version = spec.oci_version
    numbers = version.partition("+")[0].partition("-")[0].split(".")
    if numbers[0] != "1" or not 2 <= len(numbers) <= 3 or not all(part.isdecimal() for part in numbers):
        raise invalid(f"expected a version 1.x of the specification, found {version!r}", "$.ociVersion")


def check_root(spec: Spec, _: list[str]) -> None:
    """There is a root file system (config.md, "Root")."""
    if spec.root is None:
        raise invalid("is missing", "$.root", code="missing-field")
    if not spec.root.path:
        raise invalid("is empty", "$.root.path")
    check_text(spec.root.path, "$.root.path")


def check_first_process(spec: Spec, warnings: list[str]) -> None:
    """There is a process, and it can be run (config.md, "Process")."""
    if spec.process is None:
        raise invalid("is missing", "$.process", code="missing-field")
    _check_process(spec.process, "$.process", warnings)


def check_namespaces(spec: Spec, _: list[str]) -> None:
    """Known types, each once, paths absolute (config-linux.md, "Namespaces")."""
    seen: set[str] = set()
    for index, namespace in enumerate((spec.linux or _NO_LINUX).namespaces):
        path = f"$.linux.namespaces[{index}]"
        known(namespace.type, NAMESPACES, "namespace type", f"{path}.type")
        if namespace.type in seen:
            raise invalid(f"namespace {namespace.type} is listed twice", path)
        seen.add(namespace.type)
        if namespace.path and not namespace.path.startswith("/"):
            raise invalid(f"expected an absolute path, found {namespace.path!r}", f"{path}.path")
        check_text(namespace.path, f"{path}.path")


def check_id_mappings(spec: Spec, _: list[str]) -> None:
    """A new user namespace has mappings, nothing else has (config-linux.md, "User namespace mappings").

    Mappings beside a path are let pass: callers give those of the namespace that is joined.
    """
    linux = spec.linux or _NO_LINUX
    user = _namespace_path(linux, "user")
    for name, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        path = f"$.linux.{name}"
        if mappings and user is None:
            raise invalid("needs a user namespace", path)
        if not mappings and user == "":
            raise invalid("is missing, and a new user namespace needs it", path, code="missing-field")
        _check_mappings(mappings, path)


def check_ids_are_mapped(spec: Spec, _: list[str]) -> None:
    """The process's ids exist in its new user namespace (config.md, "User"; user_namespaces(7))."""
    linux = spec.linux or _NO_LINUX
    if spec.process is None or _namespace_path(linux, "user") != "":
        return
    user = spec.process.user
    ids = [("uid", user.uid, linux.uid_mappings), ("gid", user.gid, linux.gid_mappings)]
    for index, gid in enumerate(user.additional_gids):
        ids.append((f"additionalGids[{index}]", gid, linux.gid_mappings))
    for name, number, mappings in ids:
        if not any(each.container_id <= number < each.container_id + each.size for each in mappings):
            raise invalid(f"{number} is not mapped in the user namespace", f"$.process.user.{name}")


def check_names_of_the_host(spec: Spec, _: list[str]) -> None:
    """Hostname and domainname need a UTS namespace and fit into it (config.md, "Hostname"; uname(2))."""
    private = _namespace_path(spec.linux or _NO_LINUX, "uts") is not None
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        path = f"$.{name}"
        if value and not private:
            raise invalid("needs a uts namespace", path)
        check_text(value, path)
        if len(value.encode(errors="surrogateescape")) > _HOST_NAME_MAX:
            raise invalid(f"is longer than {_HOST_NAME_MAX} bytes", path)


def check_restricted_paths(spec: Spec, _: list[str]) -> None:
    """Mounts need a mount namespace, or they would be in the host's (config-linux.md, "Masked Paths")."""
    linux = spec.linux or _NO_LINUX
    private = _namespace_path(linux, "mount") is not None
    listed = (
        ("$.mounts", tuple(mount.destination for mount in spec.mounts)),
        ("$.linux.maskedPaths", linux.masked_paths),
        ("$.linux.readonlyPaths", linux.readonly_paths),
    )
    for path, paths in listed:
        if paths and not private:
            raise invalid("needs a mount namespace", path)
        for index, each in enumerate(paths):
            check_text(each, f"{path}[{index}]")
            if not each.startswith("/") and path != "$.mounts":  # of which relative ones are taken leniently
                raise invalid(f"expected an absolute path, found {each!r}", f"{path}[{index}]")
            if path != "$.mounts" and normalize_guest_path(each) == "/":
                raise invalid("names the root itself, which cannot be covered", f"{path}[{index}]")


def check_time_offsets(spec: Spec, _: list[str]) -> None:
    """Offsets are of known clocks in a new time namespace (config-linux.md, "Offset for Time Namespace")."""
    linux = spec.linux or _NO_LINUX
    if not linux.time_offsets:
        return
    if _namespace_path(linux, "time") != "":
        raise invalid("needs a new time namespace", "$.linux.timeOffsets")
    for clock, offset in linux.time_offsets.items():
        known(clock, TIME_NAMESPACE_CLOCKS, "clock", f"$.linux.timeOffsets.{clock}")
        if offset.nanosecs >= _NANOSECONDS:
            message = f"expected less than {_NANOSECONDS}, found {offset.nanosecs}"
            raise invalid(message, f"$.linux.timeOffsets.{clock}.nanosecs")


def check_mounts(spec: Spec, warnings: list[str]) -> None:
    """Every mount can be made and none covers what the runtime itself relies on (config.md, "Mounts")."""
    user = _namespace_path(spec.linux or _NO_LINUX, "user")
    for index, mount in enumerate(spec.mounts):
        path = f"$.mounts[{index}]"
        if not mount.destination:
            raise invalid("is empty", f"{path}.destination")
        if normalize_guest_path(mount.destination) == "/" and "remount" not in mount.options:
            raise invalid("nothing can be mounted over the root itself", f"{path}.destination")
        if not mount.destination.startswith("/"):
            warnings.append(
                f"{path}.destination: {mount.destination!r} is not absolute and is taken from the root"
            )
        for name, text in (("type", mount.type), ("source", mount.source)):
            check_text(text, f"{path}.{name}")
        for option in mount.options:
            check_text(option, f"{path}.options")
        _check_proc_mount(mount, f"{path}.destination")
        _check_id_mapped_mount(mount, path, in_user_namespace=user is not None)


def check_annotations(spec: Spec, _: list[str]) -> None:
    """Every annotation has a name (config.md, "Annotations")."""
    if "" in spec.annotations:
        raise invalid("a key is empty", "$.annotations")


def check_propagation(spec: Spec, _: list[str]) -> None:
    """The root's propagation is one of the known (config-linux.md, "Rootfs Mount Propagation")."""
    propagation = (spec.linux or _NO_LINUX).rootfs_propagation
    if propagation:
        known(propagation, PROPAGATIONS, "propagation", "$.linux.rootfsPropagation")


def check_hooks(spec: Spec, _: list[str]) -> None:
    """Hooks have absolute paths and positive timeouts (config.md, "POSIX-platform Hooks")."""
    if spec.hooks is None:
        return
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    for kind, hooks in zip(kinds, (getattr(spec.hooks, name) for name in spec.hooks.fields), strict=True):
        for index, hook in enumerate(hooks):
            _check_hook(hook, f"$.hooks.{kind}[{index}]")


def check_personality(spec: Spec, _: list[str]) -> None:
    """A known execution domain, without flags: none is defined (config-linux.md, "Personality")."""
    personality = (spec.linux or _NO_LINUX).personality
    if personality is None:
        return
    known(personality.domain, PERSONALITIES, "personality", "$.linux.personality.domain")
    if personality.flags:
        raise invalid("no flags are defined", "$.linux.personality.flags")


def check_linux(spec: Spec, warnings: list[str]) -> None:
    """Everything of Linux that stands for itself (config-linux.md); see ``validate_linux``."""
    linux = spec.linux or _NO_LINUX
    spaces = {each.type: each.path for each in linux.namespaces}
    check_text(linux.mount_label, "$.linux.mountLabel")
    check_sysctl(linux.sysctl, spaces, hostname=spec.hostname, domainname=spec.domainname)
    check_devices(linux.devices)
    check_net_devices(linux.net_devices, spaces)
    check_cgroups_path(linux.cgroups_path)
    if linux.resources is not None:
        check_resources(linux.resources)
    if linux.seccomp is not None:
        warnings += check_seccomp(linux.seccomp)
    if linux.intel_rdt is not None:
        check_intel_rdt(linux.intel_rdt)
    if linux.memory_policy is not None:
        check_memory_policy(linux.memory_policy)


SPEC_CHECKS = (
    check_version,
    check_root,
    check_first_process,
    check_namespaces,
    check_id_mappings,
    check_ids_are_mapped,
    check_names_of_the_host,
    check_restricted_paths,
    check_time_offsets,
    check_mounts,
    check_annotations,
    check_propagation,
    check_hooks,
    check_personality,
    check_linux,
)


# Their parts.


def _namespace_path(linux: Linux, kind: str) -> str | None:
    """Path of the namespace to join, "" for a new one, None where the container has the caller's."""
    for namespace in linux.namespaces:
        if namespace.type == kind:
            return namespace.path
    return None


def _check_process(process: Process, path: str, warnings: list[str]) -> None:
    if not process.args:
        raise invalid("is empty: it needs at least the program to run", f"{path}.args")
    if not process.args[0]:
        raise invalid("is empty", f"{path}.args[0]")
    for index, arg in enumerate(process.args):
        check_text(arg, f"{path}.args[{index}]")
    if not process.cwd.startswith("/"):
        raise invalid(f"expected an absolute path, found {process.cwd!r}", f"{path}.cwd")
    check_text(process.cwd, f"{path}.cwd")
    check_text(process.apparmor_profile, f"{path}.apparmorProfile")
    check_text(process.selinux_label, f"{path}.selinuxLabel")
    _check_env(process.env, f"{path}.env")
    _check_user(process.user, f"{path}.user")
    if process.capabilities is not None:
        _check_capabilities(process.capabilities, f"{path}.capabilities", warnings)
    _check_rlimits(process.rlimits, f"{path}.rlimits")
    if process.oom_score_adj is not None and not -1000 <= process.oom_score_adj <= 1000:
        raise invalid(f"expected -1000 to 1000, found {process.oom_score_adj}", f"{path}.oomScoreAdj")
    if process.scheduler is not None:
        _check_scheduler(process.scheduler, f"{path}.scheduler")
    if process.io_priority is not None:
        known(
            process.io_priority.class_, IO_PRIORITY_CLASSES, "I/O priority class", f"{path}.ioPriority.class"
        )
        if not 0 <= process.io_priority.priority <= 7:
            raise invalid(
                f"expected 0 to 7, found {process.io_priority.priority}", f"{path}.ioPriority.priority"
            )
    if process.exec_cpu_affinity is not None:
        check_number_list(process.exec_cpu_affinity.initial, f"{path}.execCPUAffinity.initial")
        check_number_list(process.exec_cpu_affinity.final, f"{path}.execCPUAffinity.final")


def _check_env(env: Iterable[str], path: str) -> None:
    for index, entry in enumerate(env):
        if entry.find("=") < 1:
            raise invalid(f"expected NAME=value, found {entry!r}", f"{path}[{index}]")
        check_text(entry, f"{path}[{index}]")


def _check_user(user: User, path: str) -> None:
    for name, number in (("uid", user.uid), ("gid", user.gid)):
        if not 0 <= number < _NO_ID:
            raise invalid(f"{number} is not an id", f"{path}.{name}")
    for index, gid in enumerate(user.additional_gids):
        if not 0 <= gid < _NO_ID:
            raise invalid(f"{gid} is not an id", f"{path}.additionalGids[{index}]")
    if user.umask is not None and not 0 <= user.umask <= 0o777:
        raise invalid(f"expected 0 to 511 (0777), found {user.umask}", f"{path}.umask")


def _check_capabilities(capabilities: Capabilities, path: str, warnings: list[str]) -> None:
    """Unknown names are ignored, as by runc; what capset(2) would refuse is refused here, by its name."""
    for set_name in capabilities.fields:
        unknown = [name for name in getattr(capabilities, set_name) if name not in CAPABILITY_NUMBERS]
        warnings += [f"{path}.{set_name}: {name} is not known and is ignored" for name in unknown]
    permitted = frozenset(capabilities.permitted)
    for name in capabilities.effective:
        if name not in permitted and name in CAPABILITY_NUMBERS:
            raise invalid(f"{name} is not in permitted, where the kernel wants it", f"{path}.effective")
    raisable = permitted.intersection(capabilities.inheritable)
    lost = [name for name in capabilities.ambient if name not in raisable and name in CAPABILITY_NUMBERS]
    if lost:
        reason = "the kernel wants them in permitted and inheritable too"
        warnings.append(f"{path}.ambient: {', '.join(lost)} cannot be raised and are ignored: {reason}")


def _check_rlimits(rlimits: Iterable[Rlimit], path: str) -> None:
    seen: set[str] = set()
    for index, rlimit in enumerate(rlimits):
        known(rlimit.type, RLIMITS, "resource limit", f"{path}[{index}].type")
        if rlimit.type in seen:
            raise invalid(f"{rlimit.type} is listed twice", f"{path}[{index}]")
        seen.add(rlimit.type)
        if rlimit.soft > rlimit.hard:
            raise invalid(f"{rlimit.soft} is above the hard limit {rlimit.hard}", f"{path}[{index}].soft")


def _check_scheduler(scheduler: Scheduler, path: str) -> None:
    """Numbers belong to their policies (config.md, "Linux Process": scheduler; sched(7))."""
    known(scheduler.policy, SCHEDULER_POLICIES, "scheduling policy", f"{path}.policy")
    for index, flag in enumerate(scheduler.flags):
        known(flag, SCHEDULER_FLAGS, "scheduling flag", f"{path}.flags[{index}]")
    if not -20 <= scheduler.nice <= 19:
        raise invalid(f"expected -20 to 19, found {scheduler.nice}", f"{path}.nice")
    realtime = scheduler.policy in ("SCHED_FIFO", "SCHED_RR")
    if realtime and not 1 <= scheduler.priority <= 99:
        raise invalid(
            f"expected 1 to 99 for {scheduler.policy}, found {scheduler.priority}", f"{path}.priority"
        )
    if scheduler.priority and not realtime:
        raise invalid(f"is not of {scheduler.policy}, only of SCHED_FIFO and SCHED_RR", f"{path}.priority")
    deadline = scheduler.policy == "SCHED_DEADLINE"
    if deadline and not 0 < scheduler.runtime <= scheduler.deadline <= (
        scheduler.period or scheduler.deadline
    ):
        raise invalid("SCHED_DEADLINE needs 0 < runtime <= deadline <= period", path)
    if not deadline and (scheduler.runtime or scheduler.deadline or scheduler.period):
        raise invalid(f"runtime, deadline and period are of SCHED_DEADLINE, not of {scheduler.policy}", path)


def _check_mappings(mappings: tuple[IDMapping, ...], path: str) -> None:
    if len(mappings) > _MAX_MAPPINGS:
        raise invalid(f"has {len(mappings)} entries, and the kernel takes {_MAX_MAPPINGS}", path)
    text_bytes = sum(len(f"{each.container_id} {each.host_id} {each.size}\n") for each in mappings)
    if text_bytes > _MAX_MAPPING_BYTES:
        raise invalid(f"is {text_bytes} bytes as text, and the kernel takes {_MAX_MAPPING_BYTES}", path)
    for side in ("container_id", "host_id"):
        end = 0
        for start, size in sorted((getattr(each, side), each.size) for each in mappings):
            if size < 1:
                raise invalid("a mapping's size is 0", path)
            if start < end:
                raise invalid(f"two mappings both contain the {side.replace('_id', '')} id {start}", path)
            end = start + size
            if end > _NO_ID:
                raise invalid(f"the mapping from {start} ends above {_NO_ID - 1}", path)


def _check_proc_mount(mount: Mount, path: str) -> None:
    """On /proc only procfs, below it only what runc allows (CVE-2019-16884, CVE-2019-19921)."""
    destination = normalize_guest_path(mount.destination)
    if destination == "/proc":
        is_bind = mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options
        if is_bind and normalize_guest_path(mount.source) != "/proc":
            raise invalid(f"{mount.source!r} cannot be mounted on /proc, only a proc file system", path)
        if not is_bind and mount.type != "proc":
            raise invalid(f"a file system of type {mount.type!r} cannot be mounted on /proc", path)
    elif destination.startswith("/proc/") and destination not in _PROC_ALLOWED:
        raise invalid(f"{mount.destination!r} cannot be mounted because it is inside /proc", path)


def normalize_guest_path(path: str) -> str:
    """An absolute path without ``.``, ``..`` and doubled slashes, by its text alone."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _check_id_mapped_mount(mount: Mount, path: str, *, in_user_namespace: bool) -> None:
    """Only bind mounts, with both mappings or with the container's (config.md, "POSIX-platform Mounts")."""
    options = [name for name in ("idmap", "ridmap") if name in mount.options]
    mapped = bool(mount.uid_mappings or mount.gid_mappings)
    if not options and not mapped:
        return
    if len(options) > 1:
        raise invalid("idmap and ridmap cannot both be given", f"{path}.options")
    if not (mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options):
        raise invalid("only a bind mount can be mapped to other ids", path)
    if bool(mount.uid_mappings) != bool(mount.gid_mappings):
        raise invalid("uidMappings and gidMappings must be given together", path)
    if not mapped and not in_user_namespace:
        message = f"{options[0]} without mappings uses the container's user namespace, and it has none"
        raise invalid(message, f"{path}.options")
    _check_mappings(mount.uid_mappings, f"{path}.uidMappings")
    _check_mappings(mount.gid_mappings, f"{path}.gidMappings")


def _check_hook(hook: Hook, path: str) -> None:
    if not hook.path.startswith("/"):
        raise invalid(f"expected an absolute path, found {hook.path!r}", f"{path}.path")
    check_text(hook.path, f"{path}.path")
    for index, arg in enumerate(hook.args):
        check_text(arg, f"{path}.args[{index}]")
    _check_env(hook.env, f"{path}.env")
    if hook.timeout is not None and hook.timeout <= 0:
        raise invalid(f"expected more than 0 seconds, found {hook.timeout}", f"{path}.timeout")
