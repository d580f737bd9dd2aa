"""A request's HostConfig, checked as a whole, with every default in its place.  Pure.

Source: the sentences of errors and warnings are Docker's, for which clients look.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pierhead.engine.documents import LogConfig, RestartPolicy
from pierhead.engine.networknames import DEFAULT_NETWORK
from pierhead.engine.runtimes import find_runtime
from pierhead.engine.specgen.devicerules import check_device_requests, check_devices
from pierhead.engine.specgen.ground import ANY_MACHINE
from pierhead.engine.specgen.limits import check_limits, fill_limits
from pierhead.engine.specgen.logwords import check_log_config
from pierhead.engine.specgen.modes import check_modes
from pierhead.engine.specgen.mountwords import parse_volumes_from, target_faults, wanted_mounts
from pierhead.engine.specgen.portwords import check_port_bindings
from pierhead.engine.specgen.processes import check_environment, program_of
from pierhead.engine.specgen.restarts import check_restart_policy
from pierhead.engine.specgen.rights import (
    check_security,
    granted_capabilities,
    lacking_capabilities,
    parse_capabilities,
    parse_security_options,
)
from pierhead.engine.specgen.seccompprofile import parse_profile
from pierhead.engine.specgen.tmpfswords import parse_tmpfs, tmpfs_options
from pierhead.engine.specgen.ulimits import fill_ulimits
from pierhead.errors import InvalidInput, Unsupported
from pierhead.oci.validate_linux import namespace_of_sysctl
from pierhead.runtime.config import DEFAULT_MASK_PATHS, DEFAULT_READONLY_PATHS
from pierhead.signals import parse_signal

if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig, HostConfig
    from pierhead.engine.settings import Settings
    from pierhead.engine.specgen.ground import Machine

_MILLISECOND_NS = 10**6
_NAME_BYTES_MOST = 64  # uname(2), __NEW_UTS_LEN


def fill_host(
    config: ContainerConfig, host: HostConfig, settings: Settings, *, machine: Machine = ANY_MACHINE
) -> tuple[HostConfig, tuple[str, ...]]:
    """The request as it will be run, and warnings about what this machine cannot do of it.

    Args:
        config: with the image's defaults merged in.
        host: as it was asked for.
        settings: the engine's.
        machine: see ``Machine``; by itself one that can do everything.

    Raises:
        InvalidInput: the request contradicts itself or says what is not there.
        Unsupported: it asks for what this engine does not have.
    """
    check_container(config)
    check_modes(config, host, settings)
    _check_inside(host, machine)
    _check_life(host)
    _check_places(config, host)
    _check_rights(host, machine)
    check_limits(host, machine)
    check_port_bindings(config, host)
    _check_absent(host, settings)
    filled, warnings = fill_limits(host, machine)
    ulimits, more = fill_ulimits(host, settings, machine)
    log = _fill_log(host.log_config, settings)
    check_log_config(log)
    closed = host.privileged or parse_security_options(host.security_opt).unmasked
    filled = filled.replace(
        ulimits=ulimits,
        log_config=log,
        network_mode=DEFAULT_NETWORK if host.network_mode in ("", "default") else host.network_mode,
        restart_policy=host.restart_policy if host.restart_policy.name else RestartPolicy(name="no"),
        console_size=host.console_size or (0, 0),
        cgroupns_mode=host.cgroupns_mode or "private",
        ipc_mode=host.ipc_mode or "private",
        shm_size=host.shm_size or settings.shm_bytes,
        runtime=host.runtime or settings.default_runtime,
        init=settings.init if host.init is None else host.init,
        masked_paths=_covered(host.masked_paths, DEFAULT_MASK_PATHS, nothing=closed),
        readonly_paths=_covered(host.readonly_paths, DEFAULT_READONLY_PATHS, nothing=closed),
    )
    return filled, (*warnings, *more, *_other_warnings(host, machine))


def _check_inside(host: HostConfig, machine: Machine) -> None:
    """The kernel shows all processes of the machine to nobody who is root of a user namespace only."""
    if machine.inside and host.pid_mode == "host":
        raise Unsupported(
            "an engine of an ordinary user cannot give a container the machine's processes (PID mode host)",
            code="rootless",
            hint="leave --pid host out, or use the machine's engine",
        )


def _covered(given: tuple[str, ...] | None, usual: tuple[str, ...], *, nothing: bool) -> tuple[str, ...]:
    if nothing:
        return ()
    return usual if given is None else given


def _fill_log(log: LogConfig, settings: Settings) -> LogConfig:
    """The engine's driver where none is named, and its options where the driver is the engine's."""
    if not log.type:
        return LogConfig(type=settings.log_driver, config={**settings.log_options, **log.config})
    return log


def check_container(config: ContainerConfig) -> None:
    """There is a program, and what is said of it can be.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    if not program_of(config):
        raise InvalidInput("no command specified", code="no-command", hint="name a program after the image")
    if config.working_dir and not config.working_dir.startswith("/"):
        raise InvalidInput(
            f"the working directory '{config.working_dir}' is invalid, it needs to be an absolute path",
            code="bad-working-directory",
        )
    check_environment(config.env)
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if len(value.encode(errors="surrogateescape")) > _NAME_BYTES_MOST:
            raise InvalidInput(f"invalid {name}: {value} is longer than 64 bytes", code="bad-hostname")
    if config.stop_signal:
        parse_signal(config.stop_signal)
    _check_health(config)


def _check_health(config: ContainerConfig) -> None:
    health = config.healthcheck
    if health is None:
        return
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value and value < _MILLISECOND_NS:
            raise InvalidInput(f"{name} in Healthcheck cannot be less than 1ms", code="bad-healthcheck")
    if health.retries < 0:
        raise InvalidInput("Retries in Healthcheck cannot be negative", code="bad-healthcheck")


def _check_life(host: HostConfig) -> None:
    check_restart_policy(host.restart_policy)
    if host.auto_remove and host.restart_policy.name not in ("", "no"):
        raise InvalidInput(
            "can't create 'AutoRemove' container with restart policy", code="conflicting-options"
        )
    if not -1000 <= host.oom_score_adj <= 1000:
        raise InvalidInput(
            f"Invalid value {host.oom_score_adj}, range for oom score adj is [-1000, 1000]", code="bad-limit"
        )
    if host.shm_size < 0:
        raise InvalidInput("SHM size can not be less than 0", code="bad-limit")
    if "" in host.annotations:
        raise InvalidInput(
            "invalid Annotations: the empty string is not permitted as an annotation key",
            code="bad-annotation",
        )
    if host.isolation not in ("", "default"):
        raise InvalidInput(f"invalid isolation '{host.isolation}' on linux", code="bad-isolation")


def _check_places(config: ContainerConfig, host: HostConfig) -> None:
    """Mounts, file systems in memory, names of other machines."""
    for wanted in wanted_mounts(config, host):
        if wanted.mount.type == "tmpfs":
            tmpfs_options(wanted.mount.tmpfs_options, read_only=wanted.mount.read_only)
    for text in host.volumes_from:
        parse_volumes_from(text)
    for path, options in host.tmpfs.items():
        for fault in target_faults(path):
            raise InvalidInput(fault, code="bad-mount")
        parse_tmpfs(options)
    for entry in host.extra_hosts:
        _check_extra_host(entry)
    for address in host.dns:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise InvalidInput(f"{address} is not an ip address", code="bad-address") from None


def _check_extra_host(entry: str) -> None:
    """A name and an address; ``host-gateway`` stands for the host's."""
    name, _, address = entry.partition(":")
    if not name or not address:
        raise InvalidInput(f'bad format for add-host: "{entry}"', code="bad-address")
    if address == "host-gateway":
        return
    try:
        ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise InvalidInput(f'invalid IP address in add-host: "{address}"', code="bad-address") from None


def _check_rights(host: HostConfig, machine: Machine) -> None:
    parse_capabilities(host.cap_add, "CapAdd")
    parse_capabilities(host.cap_drop, "CapDrop")
    security = parse_security_options(host.security_opt)
    check_security(security, machine)
    if security.seccomp not in (None, "unconfined", "builtin"):
        capabilities = granted_capabilities(host, machine)
        parse_profile(security.seccomp, capabilities.bounding, machine.arch, machine.kernel)
    check_devices(host.devices)
    for name in host.sysctls:
        space = namespace_of_sysctl(name)
        if not space:
            raise InvalidInput(f"sysctl '{name}' is not allowed: it would change the host", code="bad-sysctl")
        mode = {"network": host.network_mode, "ipc": host.ipc_mode, "uts": host.uts_mode}.get(space)
        if mode == "host":
            raise InvalidInput(
                f'sysctl "{name}" not allowed in host {space} namespace', code="conflicting-options"
            )


def _check_absent(host: HostConfig, settings: Settings) -> None:
    """Nothing is asked for that this engine does not have."""
    check_device_requests(host.device_requests)
    find_runtime(host.runtime, settings)
    if host.links:
        raise Unsupported("links between containers are not made", hint="publish a port, or share a network")
    if host.storage_opt:
        raise Unsupported(
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
            hint="leave out --storage-opt",
        )
    parent = host.cgroup_parent
    if parent and settings.cgroup_manager == "systemd" and not parent.endswith(".slice"):
        raise InvalidInput(
            'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"',
            code="bad-cgroup-parent",
        )
    if ".." in parent.split("/"):
        raise InvalidInput(f"the cgroup parent {parent!r} contains '..'", code="bad-cgroup-parent")


def _other_warnings(host: HostConfig, machine: Machine) -> list[str]:
    warnings = []
    if host.network_mode == "host" and host.port_bindings:
        warnings.append("Published ports are discarded when using host network mode")
    lacking = lacking_capabilities(host, machine)
    if lacking:
        warnings.append(
            f"The engine does not have these capabilities itself: {', '.join(lacking)}. Not granted."
        )
    if host.oom_score_adj < machine.oom_score_least:
        warnings.append(
            f"The engine may not set an oom score adj below {machine.oom_score_least}. "
            f"Set to {machine.oom_score_least}."
        )
    return warnings
