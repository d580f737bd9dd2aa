"""Whose namespaces a new container joins, and what it is called for that."""

from __future__ import annotations

import os

from pierhead.engine.naming import SHORT_LENGTH
from pierhead.engine.specgen.modes import CONTAINER, joined_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.engine.documents import ContainerConfig, HostConfig
    from pierhead.engine.record import Record

    Find = Callable[[str], Record | None]

_MODES = ("network_mode", "pid_mode", "ipc_mode")


def with_ids(host: HostConfig, find: Find) -> HostConfig:
    """The containers that are joined stand there by their ids: they may have other names at the next start.

    One that there is not stays as it is named; the start refuses it.
    """
    changes = {}
    for field in _MODES:
        name = joined_container(getattr(host, field))
        other = find(name) if name else None
        if other is not None:
            changes[field] = f"{CONTAINER}{other.id}"
    return host.replace(**changes)


def with_hostname(
    config: ContainerConfig, host: HostConfig, container_id: str, find: Find
) -> ContainerConfig:
    """It has a hostname: its own, or that of whose network it is in, or else the beginning of its id."""
    if config.hostname:
        return config
    if host.network_mode == "host":
        return config.replace(hostname=os.uname().nodename)
    name = joined_container(host.network_mode)
    owner = find(name) if name else None
    if owner is None:
        return config.replace(hostname=container_id[:SHORT_LENGTH])
    return config.replace(hostname=owner.config.hostname, domainname=owner.config.domainname)
