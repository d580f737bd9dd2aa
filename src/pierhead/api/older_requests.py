"""What clients of older versions mean by what they send.  Pure.

A field that a version did not have yet is passed over, and a default that has changed since is the old one.
Source: moby 28, api/server/router/container/container_routes.go.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.versions import Version
    from pierhead.engine.documents import (
        ContainerConfig,
        EndpointSettings,
        HostConfig,
        Mount,
        NetworkingConfig,
    )


def adapt_config(config: ContainerConfig, version: Version) -> ContainerConfig:
    """The container's part of a request to create one."""
    if version < (1, 44) and config.healthcheck is not None:
        return config.replace(healthcheck=config.healthcheck.replace(start_interval=0))
    return config


def adapt_host(host: HostConfig, version: Version) -> HostConfig:
    """The host's part of a request to create a container.

    Raises:
        InvalidInput: it asks for a kind of mount that the version does not have.
    """
    changes: dict[str, object] = {"mounts": tuple(_adapt_mount(mount, version) for mount in host.mounts)}
    if host.pids_limit is not None and host.pids_limit <= 0:
        changes["pids_limit"] = None
    if version < (1, 40) and not host.ipc_mode:
        changes["ipc_mode"] = "shareable"
    if version < (1, 41) and not host.cgroupns_mode:
        changes["cgroupns_mode"] = "host"
    if version < (1, 42):
        changes["console_size"] = ()
    else:
        changes["kernel_memory"] = 0
    if version < (1, 43):
        changes["annotations"] = {}
    return host.replace(**changes)


def _adapt_mount(mount: Mount, version: Version) -> Mount:
    if mount.type == "image" and version < (1, 48):
        raise InvalidInput(
            f"invalid mount {mount.target}: mounts of images need API version 1.48", code="bad-mount"
        )
    bind, volume, tmpfs = mount.bind_options, mount.volume_options, mount.tmpfs_options
    if bind is not None:
        bind = bind.replace(
            non_recursive=bind.non_recursive and version >= (1, 40),
            create_mountpoint=bind.create_mountpoint and version >= (1, 42),
            read_only_non_recursive=bind.read_only_non_recursive and version >= (1, 44),
            read_only_force_recursive=bind.read_only_force_recursive and version >= (1, 44),
        )
    if volume is not None and version < (1, 45):
        volume = volume.replace(subpath="")
    if tmpfs is not None and version < (1, 46):
        tmpfs = tmpfs.replace(options=())
    return mount.replace(bind_options=bind, volume_options=volume, tmpfs_options=tmpfs)


def adapt_networking(networking: NetworkingConfig, version: Version) -> NetworkingConfig:
    """The networks that a new container is to join.

    Raises:
        InvalidInput: there are more of them than the version allows.
    """
    endpoints = networking.endpoints_config
    if version < (1, 44) and len(endpoints) > 1:
        names = ", ".join(sorted(endpoints))
        message = f"Container cannot be connected to network endpoints: {names}"
        raise InvalidInput(message, code="too-many-networks", hint="API version 1.44 allows more than one")
    return networking.replace(
        endpoints_config={name: _adapt_endpoint(each, version) for name, each in endpoints.items()}
    )


def _adapt_endpoint(endpoint: EndpointSettings, version: Version) -> EndpointSettings:
    if version < (1, 44):
        endpoint = endpoint.replace(mac_address="")
    if version < (1, 48):
        endpoint = endpoint.replace(gw_priority=0)
    return endpoint
