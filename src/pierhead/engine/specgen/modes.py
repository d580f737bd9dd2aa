"""Words for namespaces (``host``, ``private``, ``container:web``) and what they may stand beside.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput, Unsupported

if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig, HostConfig
    from pierhead.engine.settings import Settings

CONTAINER = "container:"

_KNOWN = {
    "pid_mode": ("PID", ("", "host")),
    "ipc_mode": ("IPC", ("", "none", "private", "shareable", "host")),
    "uts_mode": ("UTS", ("", "host")),
    "userns_mode": ("user namespace", ("", "host")),
    "cgroupns_mode": ("cgroup namespace", ("", "host", "private")),
}
_MAY_JOIN = ("pid_mode", "ipc_mode")


def joined_container(mode: str) -> str:
    """Name or id of the container whose namespace is joined; empty for none."""
    return mode.removeprefix(CONTAINER) if mode.startswith(CONTAINER) else ""


def joined_containers(host: HostConfig) -> dict[str, str]:
    """Names of containers whose namespaces are joined, by the namespace's type."""
    modes = {"network": host.network_mode, "pid": host.pid_mode, "ipc": host.ipc_mode}
    return {kind: name for kind, mode in modes.items() if (name := joined_container(mode))}


def check_modes(config: ContainerConfig, host: HostConfig, settings: Settings) -> None:
    """Every word is known, and they go together.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    for field, (what, words) in _KNOWN.items():
        mode: str = getattr(host, field)
        if mode in words or (field in _MAY_JOIN and joined_container(mode)):
            continue
        raise InvalidInput(f"invalid {what} mode: {mode}", code="bad-mode")
    if host.network_mode == CONTAINER:
        raise InvalidInput("invalid container format container:<name|id>", code="bad-mode")
    if host.cgroup:
        raise Unsupported(f"a container cannot join the cgroup of another one: {host.cgroup}")
    for holds, message in (*_network_conflicts(config, host), *_remap_conflicts(host, settings)):
        if holds:
            raise InvalidInput(message, code="conflicting-options")


def _network_conflicts(config: ContainerConfig, host: HostConfig) -> tuple[tuple[bool, str], ...]:
    joined = bool(joined_container(host.network_mode))
    ports = bool(host.publish_all_ports or host.port_bindings)
    return (
        (
            host.uts_mode == "host" and bool(config.hostname),
            "conflicting options: hostname and the UTS mode",
        ),
        (joined and bool(config.hostname), "conflicting options: hostname and the network mode"),
        (joined and bool(host.dns), "conflicting options: dns and the network mode"),
        (
            joined and bool(host.extra_hosts),
            "conflicting options: custom host-to-IP mapping and the network mode",
        ),
        (joined and bool(config.mac_address), "conflicting options: mac-address and the network mode"),
        (joined and ports, "conflicting options: port publishing and the container type network mode"),
        (
            joined and bool(config.exposed_ports),
            "conflicting options: port exposing and the container type network mode",
        ),
        (
            joined and bool(host.links),
            (
                "conflicting options: container type network can't be used with links. "
                "This would result in undefined behavior"
            ),
        ),
        (
            host.network_mode == "host" and bool(host.links),
            (
                "conflicting options: host type networking can't be used with links. "
                "This would result in undefined behavior"
            ),
        ),
    )


def _remap_conflicts(host: HostConfig, settings: Settings) -> tuple[tuple[bool, str], ...]:
    """What root of a user namespace may not have, or may not do, in the host's other namespaces."""
    mapped = bool(settings.userns_remap) and host.userns_mode != "host"
    return (
        (
            mapped and host.privileged,
            (
                "privileged mode is incompatible with user namespaces.  "
                "You must run the container in the host namespace when running privileged mode"
            ),
        ),
        (
            mapped and host.network_mode == "host",
            "cannot share the host's network namespace when user namespaces are enabled",
        ),
        (
            mapped and host.pid_mode == "host",
            "cannot share the host PID namespace when user namespaces are enabled",
        ),
    )
