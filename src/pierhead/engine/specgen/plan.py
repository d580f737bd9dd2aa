"""A container as it was asked for, and the place where it is to run, to what the runtime makes.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.specgen.apparmorprofile import UNCONFINED, profile_of
from pierhead.engine.specgen.devicerules import device_rules
from pierhead.engine.specgen.limits import resources_of
from pierhead.engine.specgen.mounts import plan_mounts
from pierhead.engine.specgen.processes import check_id, is_number, plan_first_process, short_hostname
from pierhead.engine.specgen.rights import granted_capabilities, parse_security_options
from pierhead.engine.specgen.seccompprofile import parse_profile
from pierhead.engine.specgen.ulimits import rlimits_of
from pierhead.oci.runtime import Namespace, Seccomp
from pierhead.runtime.config import SECCOMP_DEFAULT, SECCOMP_UNCONFINED, Config, Network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.documents import HostConfig
    from pierhead.engine.record import Record
    from pierhead.engine.specgen.ground import Ground
    from pierhead.engine.specgen.rights import Security
    from pierhead.oci.runtime import Capabilities

_LOOPBACK = Network(type="loopback")

# Docker's: who listens on a low port, or pings, harms nobody but its own network (ip(7), icmp(7)).
_NETWORK_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}


def plan_config(record: Record, ground: Ground) -> Config:
    """What the runtime is to make of the container.

    Args:
        record: whose ``host`` is what ``fill_host`` returned, whose ``mounts`` are decided.
        ground: see ``Ground``.

    Raises:
        InvalidInput: the record's options cannot be what they are (an old record, a profile that is none).
    """
    host = record.host
    security = parse_security_options(host.security_opt)
    capabilities = granted_capabilities(host, ground.machine)
    namespaces = tuple(_namespaces(host, ground))
    own_network = any(each.type == "network" and not each.path for each in namespaces)
    own_names = any(each.type == "uts" for each in namespaces)
    hostname = ground.hostname or short_hostname(record)
    rules = device_rules(host)
    apparmor = profile_of(host, ground.apparmor_profile)
    mapped = bool(ground.user_mappings) or ground.machine.inside
    return Config(
        rootfs=ground.root.rootfs,
        root_overlay=ground.root.overlay,
        copy_on_write=ground.root.copy_on_write,
        readonlyfs=host.readonly_rootfs,
        mounts=plan_mounts(record, ground, security),
        rootfs_propagation=_propagation(record),
        devices=ground.devices,
        mask_paths=(*_covered(host, security, host.masked_paths), *ground.root.mask_paths),
        readonly_paths=_covered(host, security, host.readonly_paths),
        namespaces=namespaces,
        uid_mappings=ground.user_mappings,
        gid_mappings=ground.group_mappings,
        hostname=hostname if own_names else "",
        domainname=(ground.domainname or record.config.domainname) if own_names else "",
        sysctl=_sysctl(host, own_network=own_network, mapped=mapped),
        networks=(_LOOPBACK, *ground.interfaces) if own_network else (),
        resources=resources_of(host, ground.device_numbers).replace(devices=rules),
        cgroup_path=ground.cgroup_path,
        cgroup_manager=ground.cgroup_manager,
        capabilities=capabilities,
        seccomp=_seccomp(host, security, ground, capabilities),
        no_new_privileges=security.no_new_privileges,
        apparmor_profile="" if apparmor == UNCONFINED else apparmor,
        rlimits=rlimits_of(host.ulimits, ground.machine),
        additional_groups=tuple(_group(name) for name in host.group_add),
        oom_score_adj=max(host.oom_score_adj, ground.machine.oom_score_least),
        process=plan_first_process(record, hostname),
        annotations=host.annotations,
    )


def _propagation(record: Record) -> str:
    """Of the root: shared where a mount is to be, since what is copied as a slave sends nothing back."""
    shared = any(point.propagation in ("shared", "rshared") for point in record.mounts)
    return "shared" if shared else ""


def _group(text: str) -> int | str:
    check_id(text)
    return int(text) if is_number(text) else text


def _namespaces(host: HostConfig, ground: Ground) -> Iterator[Namespace]:
    """Namespaces to make or to join; the host's are left out."""
    if ground.user_mappings or "user" in ground.namespaces:
        yield Namespace(type="user", path=ground.namespaces.get("user", ""))
    yield Namespace(type="mount")
    modes = {
        "uts": host.uts_mode,
        "ipc": host.ipc_mode,
        "pid": host.pid_mode,
        "network": host.network_mode,
        "cgroup": host.cgroupns_mode,
    }
    for kind, mode in modes.items():
        if mode != "host":
            yield Namespace(type=kind, path=ground.namespaces.get(kind, ""))


def _covered(host: HostConfig, security: Security, paths: tuple[str, ...] | None) -> tuple[str, ...]:
    return () if host.privileged or security.unmasked else paths or ()


def _sysctl(host: HostConfig, *, own_network: bool, mapped: bool) -> dict[str, str]:
    if not own_network:
        return host.sysctls
    defaults = dict(_NETWORK_SYSCTLS)
    if mapped:  # the range would name groups that the user namespace does not have
        del defaults["net.ipv4.ping_group_range"]
    return {**defaults, **host.sysctls}


def _seccomp(
    host: HostConfig, security: Security, ground: Ground, capabilities: Capabilities
) -> Seccomp | str:
    """The filter; privileged containers have one only if they ask for it."""
    asked: Seccomp | str | None = security.seccomp
    if asked is None:
        asked = SECCOMP_UNCONFINED if host.privileged else ground.seccomp
    if not isinstance(asked, str) or asked in (SECCOMP_DEFAULT, SECCOMP_UNCONFINED):
        return asked
    if asked == "builtin":
        return SECCOMP_DEFAULT
    machine = ground.machine
    return parse_profile(asked, capabilities.bounding, machine.arch, machine.kernel)
