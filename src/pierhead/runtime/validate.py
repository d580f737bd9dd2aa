"""Checks of a Config that types cannot make.

What an OCI document can say too is checked by the same checks (``pierhead.oci.validate``), on the document
that says
the same; their errors come back with the configuration's own JSON path:

    Config ──> Spec ──> check_spec ──> $.linux.maskedPaths[0]: …
                                       $.mask_paths[0]: …

The rest (networks, routes, user names, cgroup manager) is checked here.

Pure, like ``config``.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci import runtime as oci
from pierhead.oci.document import check_types
from pierhead.oci.validate import check_process, check_spec
from pierhead.oci.validate_linux import (
    check_cgroups_path,
    check_interface_name,
    check_resources,
    check_text,
    invalid,
    known,
)
from pierhead.runtime.config import SECCOMP_DEFAULT, SECCOMP_UNCONFINED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.runtime.config import Config, Network, ProcessSpec, Route

CGROUP_MANAGERS = ("cgroupfs", "systemd", "disabled")
FREEZER_STATES = ("", "frozen", "thawed")
NETWORK_TYPES = ("loopback", "veth")

_LAYERS_MOST = 500  # overlayfs's own limit, OVL_MAX_STACK
_NO_ID = 2**32 - 1
_ID_DIGITS = 10
_SIGNAL_MAX = 64
_MTU_LEAST = 68  # RFC 791: what every IPv4 link must carry
_MTU_MOST = 65535

_INHERITED = {
    "capabilities": "capabilities",
    "rlimits": "rlimits",
    "oomScoreAdj": "oom_score_adj",
    "scheduler": "scheduler",
    "ioPriority": "io_priority",
    "execCPUAffinity": "exec_cpu_affinity",
}

# Where a Config has what an OCI document has elsewhere.
_PATHS = {
    "$.root.path": "$.rootfs",
    "$.linux.namespaces": "$.namespaces",
    "$.linux.uidMappings": "$.uid_mappings",
    "$.linux.gidMappings": "$.gid_mappings",
    "$.linux.timeOffsets": "$.time_offsets",
    "$.linux.sysctl": "$.sysctl",
    "$.linux.resources": "$.resources",
    "$.linux.seccomp": "$.seccomp",
    "$.linux.devices": "$.devices",
    "$.linux.netDevices": "$.net_devices",
    "$.linux.cgroupsPath": "$.cgroup_path",
    "$.linux.intelRdt": "$.intel_rdt",
    "$.linux.memoryPolicy": "$.memory_policy",
    "$.linux.personality": "$.personality",
    "$.linux.maskedPaths": "$.mask_paths",
    "$.linux.readonlyPaths": "$.readonly_paths",
    "$.linux.rootfsPropagation": "$.rootfs_propagation",
}


def check_config(config: Config) -> list[str]:
    """The configuration can make a container; its fields have the types that they say.

    Returns:
        Warnings, one sentence each, about what is ignored or treated leniently.

    Raises:
        InvalidInput: it cannot; the error's ``path`` is the JSON path of the culprit in the library's own
        form.
    """
    check_types(config)
    for check in CONFIG_CHECKS:
        check(config)
    own = config.process
    paths = dict(_PATHS)
    for name, attribute in _INHERITED.items():
        if own is None or getattr(own, attribute) is None:
            paths[f"$.process.{name}"] = f"$.{attribute}"
        else:
            paths[f"$.process.{name}"] = f"$.process.{attribute}"
    try:
        warnings = check_spec(_spec_of(config))
    except InvalidInput as error:
        raise _at_own_path(error, paths) from None
    return [_own_path(warning, paths) for warning in warnings]


def check_process_spec(process: ProcessSpec, *, path: str = "$") -> list[str]:
    """The process can be run, as far as can be said without its container; see ``check_config``."""
    check_types(process, path=path)
    _check_user(process, path)
    paths = {f"{path}.{name}": f"{path}.{attribute}" for name, attribute in _INHERITED.items()}
    try:
        warnings = check_process(_process_of(process, None), path=path)
    except InvalidInput as error:
        raise _at_own_path(error, paths) from None
    return [_own_path(warning, paths) for warning in warnings]


def check_limits(resources: oci.Resources) -> None:
    """The limits of an update can be ones; their own JSON paths begin at ``$``."""
    check_types(resources)
    check_resources(resources, path="$")


# What only a Config has.


def check_own_words(config: Config) -> None:
    """Choices are of the known ones, numbers in their range."""
    if not config.rootfs.startswith("/"):
        raise invalid(f"expected an absolute path, found {config.rootfs!r}", "$.rootfs")
    if "/" in config.pivot_dir or config.pivot_dir in (".", ".."):  # no more than it is made, and taken away
        raise invalid(f"expected the name of one directory, found {config.pivot_dir!r}", "$.pivot_dir")
    check_text(config.pivot_dir, "$.pivot_dir")
    known(config.cgroup_manager, CGROUP_MANAGERS, "cgroup manager", "$.cgroup_manager")
    known(config.freezer_state, FREEZER_STATES, "freezer state", "$.freezer_state")
    check_cgroups_path(config.cgroup_parent, path="$.cgroup_parent")
    if isinstance(config.seccomp, str):
        known(config.seccomp, (SECCOMP_DEFAULT, SECCOMP_UNCONFINED), "seccomp profile", "$.seccomp")
    if not 0 <= config.parent_death_signal <= _SIGNAL_MAX:
        message = f"expected a signal's number or 0, found {config.parent_death_signal}"
        raise invalid(message, "$.parent_death_signal")
    if not 0 <= config.umask <= 0o777:
        raise invalid(f"expected 0 to 511 (0777), found {config.umask}", "$.umask")
    for name in config.systemd_properties:
        if not (name.isascii() and name.isalnum()):
            raise invalid(f"{name!r} cannot be the name of a systemd property", "$.systemd_properties")
    for index, mount in enumerate(config.mounts):
        if mount.label and (
            mount.type == "bind" or not {"bind", "rbind", "remount"}.isdisjoint(mount.options)
        ):
            raise invalid("is of no effect: a bind has its source's labels", f"$.mounts[{index}].label")
    for index, device in enumerate(config.devices):
        if not frozenset("rwm").issuperset(device.permissions):
            message = f"expected letters of rwm, found {device.permissions!r}"
            raise invalid(message, f"$.devices[{index}].permissions")


def check_users(config: Config) -> None:
    """Users and groups are ids or names that can stand in a passwd file."""
    _check_groups(config.additional_groups, "$.additional_groups")
    if config.process is not None:
        _check_user(config.process, "$.process")


def check_networks(config: Config) -> None:
    """Interfaces and routes can be made, in a new network namespace."""
    new = any(each.type == "network" and not each.path for each in config.namespaces)
    names: set[str] = set()
    for index, network in enumerate(config.networks):
        path = f"$.networks[{index}]"
        known(network.type, NETWORK_TYPES, "network type", f"{path}.type")
        if network.type == "loopback":
            continue
        if not new:
            raise invalid("needs a new network namespace", path)
        if network.name and network.name in names:
            raise invalid(f"two interfaces are called {network.name}", f"{path}.name")
        names.add(network.name)
        _check_veth(network, path)
    for index, route in enumerate(config.routes):
        if not new:
            raise invalid("needs a new network namespace", f"$.routes[{index}]")
        _check_route(route, f"$.routes[{index}]")


def check_root_overlay(config: Config) -> None:
    """The layers can be told apart, and changes have their two directories."""
    overlay = config.root_overlay
    if overlay is None:
        return
    path = "$.root_overlay"
    if config.copy_on_write:
        raise invalid("cannot be together with copy_on_write", path)
    least = 0 if overlay.upper else 1
    if not least <= len(overlay.lower) <= _LAYERS_MOST:
        message = f"expected {least} to {_LAYERS_MOST} directories, found {len(overlay.lower)}"
        raise invalid(message, f"{path}.lower")
    named = [(f"{path}.lower[{index}]", each) for index, each in enumerate(overlay.lower)]
    if overlay.upper or overlay.work:
        named.append((f"{path}.upper", overlay.upper))
    if overlay.lower and (overlay.upper or overlay.work):
        named.append((f"{path}.work", overlay.work))
    elif overlay.work:
        raise invalid("has no use without lower", f"{path}.work")
    seen: list[str] = []
    for where, directory in named:
        check_text(directory, where)
        if not directory.startswith("/"):
            raise invalid(f"expected an absolute path, found {directory!r}", where)
        if directory.rstrip("/") in seen:
            raise invalid(f"{directory} is there already", where)
        seen.append(directory.rstrip("/"))
    if overlay.work:
        upper, work = (f"{directory.rstrip('/')}/" for directory in (overlay.upper, overlay.work))
        if upper.startswith(work) or work.startswith(upper):
            raise invalid("upper and work may not be one inside the other", f"{path}.work")


CONFIG_CHECKS = (check_own_words, check_users, check_networks, check_root_overlay)


def _check_user(process: ProcessSpec, path: str) -> None:
    if isinstance(process.user, str):
        names = process.user.split(":")
        if len(names) > 2:
            raise invalid(f"expected user[:group], found {process.user!r}", f"{path}.user")
        _check_groups(names, f"{path}.user")
    _check_groups(process.additional_groups or (), f"{path}.additional_groups")


def _check_groups(groups: Iterable[int | str], path: str) -> None:
    """Numbers are in range; text is a name or a number, with nothing around it (CVE-2026-30892)."""
    for each in groups:
        if isinstance(each, int) or (each.isascii() and each.isdecimal()):
            if len(str(each)) > _ID_DIGITS or not 0 <= int(each) < _NO_ID:
                raise invalid(f"{each!s:.20} is not an id", path)
        elif (
            not each
            or not each.isprintable()
            or each[0] in "+-"
            or any(letter in ":, /\\" for letter in each)
        ):
            raise invalid(f"{each!r} is neither an id nor a name", path)


def _check_veth(network: Network, path: str) -> None:
    for attribute in ("name", "bridge", "host_interface_name"):
        name = getattr(network, attribute)
        if name:
            check_interface_name(name, f"{path}.{attribute}")
    if network.mac_address:
        _check_mac_address(network.mac_address, f"{path}.mac_address")
    if network.mtu and not _MTU_LEAST <= network.mtu <= _MTU_MOST:
        raise invalid(f"expected {_MTU_LEAST} to {_MTU_MOST}, found {network.mtu}", f"{path}.mtu")
    _check_address(network.address, f"{path}.address", families=(4,), prefix=True)
    _check_address(network.gateway, f"{path}.gateway", families=(4,), prefix=False)
    _check_address(network.ipv6_address, f"{path}.ipv6_address", families=(6,), prefix=True)
    _check_address(network.ipv6_gateway, f"{path}.ipv6_gateway", families=(6,), prefix=False)


def _check_route(route: Route, path: str) -> None:
    _check_address(route.destination, f"{path}.destination", families=(4, 6), prefix=True)
    _check_address(route.source, f"{path}.source", families=(4, 6), prefix=False)
    _check_address(route.gateway, f"{path}.gateway", families=(4, 6), prefix=False)
    if route.interface_name:
        check_interface_name(route.interface_name, f"{path}.interface_name")
    elif not route.gateway:
        raise invalid("needs a gateway or an interface_name", path)
    versions = {":" in text for text in (route.destination, route.source, route.gateway) if text}
    if len(versions) > 1:
        raise invalid("mixes IPv4 and IPv6", path)


def _check_mac_address(text: str, path: str) -> None:
    parts = text.split(":")
    try:
        octets = bytes.fromhex("".join(parts))
    except ValueError:
        octets = b""
    if len(octets) != 6 or any(len(part) != 2 for part in parts):
        raise invalid(f"expected an address like 02:42:ac:11:00:02, found {text!r}", path)
    if octets[0] & 1 or not any(octets):
        raise invalid(f"{text} is not the address of one interface", path)


def _check_address(text: str, path: str, *, families: tuple[int, ...], prefix: bool) -> None:
    if not text:
        return
    from _socket import AF_INET, AF_INET6, inet_pton

    address, slash, length = text.partition("/")
    version = 6 if ":" in address else 4
    try:
        inet_pton(AF_INET6 if version == 6 else AF_INET, address)
    except (OSError, ValueError):
        version = 0
    what = " or ".join(f"IPv{family}" for family in families)
    if version not in families:
        raise invalid(f"expected an {what} address, found {text!r}", path)
    if not prefix:
        if slash:
            raise invalid(f"expected an address without a prefix length, found {text!r}", path)
        return
    most = 32 if version == 4 else 128
    if not (length.isascii() and length.isdecimal() and len(length) <= 3 and int(length) <= most):
        raise invalid(f"expected an address with a prefix length like /24, found {text!r}", path)


# What an OCI document can say too.


def _spec_of(config: Config) -> oci.Spec:
    """The OCI document that says what the configuration says, as far as documents can."""
    return oci.Spec(
        oci_version=config.oci_version,
        process=_process_of(config.process, config),
        root=oci.Root(path=config.rootfs, readonly=config.readonlyfs),
        hostname=config.hostname,
        domainname=config.domainname,
        mounts=config.mounts,
        hooks=config.hooks,
        annotations=config.annotations,
        linux=oci.Linux(
            uid_mappings=config.uid_mappings,
            gid_mappings=config.gid_mappings,
            sysctl=config.sysctl,
            resources=config.resources,
            cgroups_path=config.cgroup_path,
            namespaces=config.namespaces,
            devices=config.devices,
            net_devices=config.net_devices,
            seccomp=None if isinstance(config.seccomp, str) else config.seccomp,
            rootfs_propagation=config.rootfs_propagation,
            masked_paths=config.mask_paths,
            readonly_paths=config.readonly_paths,
            mount_label=config.mount_label,
            intel_rdt=config.intel_rdt,
            memory_policy=config.memory_policy,
            personality=config.personality,
            time_offsets=config.time_offsets,
        ),
    )


def _process_of(process: ProcessSpec | None, config: Config | None) -> oci.Process:
    """The OCI process with everything that it has from its configuration."""
    own = process.__dict__ if process is not None else {}
    inherited = {}
    for attribute in _INHERITED.values():
        value = own.get(attribute)
        if value is None and config is not None:
            value = getattr(config, attribute)
        if value is not None:
            inherited[attribute] = value
    if process is None:
        return oci.Process(args=("unknown yet",), cwd="/", **inherited)
    user = _known_user(process.user, config) if isinstance(process.user, str) else process.user
    return oci.Process(args=process.args, env=process.env, cwd=process.cwd, user=user, **inherited)


def _known_user(text: str, config: Config | None) -> oci.User:
    """The numbers of a text; a name, which is checked when it is looked up, becomes an id that is mapped."""
    names = [*text.split(":"), ""][:2]
    maps = (config.uid_mappings, config.gid_mappings) if config is not None else ((), ())
    uid, gid = (
        int(name) if name.isdecimal() else min((item.container_id for item in mappings), default=0)
        for name, mappings in zip(names, maps, strict=True)
    )
    return oci.User(uid=uid, gid=gid)


def _at_own_path(error: InvalidInput, paths: dict[str, str]) -> InvalidInput:
    message = error.message.removeprefix(f"{error.path}: ")
    return InvalidInput(message, code=error.code, hint=error.hint, path=_own_path(error.path, paths))


def _own_path(text: str, paths: dict[str, str]) -> str:
    """``text`` beginning with the library's own JSON path in place of the OCI document's."""
    for oci_path, own_path in paths.items():
        if text.startswith(oci_path) and not text[len(oci_path) : len(oci_path) + 1].isalnum():
            return own_path + text[len(oci_path) :]
    return text
