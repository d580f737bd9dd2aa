"""Files and networks of a container that a libpod client wants, in Docker's words.  Pure."""

from __future__ import annotations

from pierhead.engine.documents import (
    BindOptions,
    Empty,
    EndpointIPAMConfig,
    EndpointSettings,
    ImageOptions,
    Mount,
    NetworkingConfig,
    PortBinding,
    VolumeOptions,
)
from pierhead.errors import InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.api.libpod.spec import ImageVolume, NamedVolume, NetworkOptions, Spec, SpecMount

DEFAULT_NETWORKS = ("default", "podman", "bridge")
"""The default network's names: to who names none, to Podman, to Docker."""
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_LABELS = ("z", "Z")
"""Labels of SELinux, which this engine does not set: Docker's passes over them too, where there is none."""
_TMPFS_OF_PODMAN = ("tmpcopyup", "notmpcopyup", *_PROPAGATIONS)
_SCRATCH = ("/run", "/tmp", "/var/tmp")
_OPEN = "mode=1777"
"""Of a tmpfs whose mode nobody says (podman-run(1), ``--tmpfs``)."""
_PORT_MOST = 65535


def files(spec: Spec) -> dict[str, Any]:
    """Fields of ``HostConfig`` that are about files.

    Raises:
        Unsupported: a mount is of a kind, or has an option, that this engine does not have.
    """
    tmpfs = {each.destination: _tmpfs(each) for each in spec.mounts if each.type == "tmpfs"}
    mounts = [_mount(each) for each in spec.mounts if each.type != "tmpfs"]
    mounts += [_volume(each) for each in spec.volumes]
    mounts += [_image(each) for each in spec.image_volumes]
    if spec.read_only_filesystem and spec.read_write_tmpfs:
        taken = {mount.target for mount in mounts} | set(tmpfs)
        tmpfs |= {place: f"rw,nosuid,nodev,{_OPEN}" for place in _SCRATCH if place not in taken}
    return {"mounts": tuple(mounts), "tmpfs": tmpfs, "volumes_from": spec.volumes_from}


def _tmpfs(wanted: SpecMount) -> str:
    options = [option for option in wanted.options if option not in _TMPFS_OF_PODMAN]
    if not any(option.startswith("mode=") for option in options):
        options.append(_OPEN)
    return ",".join(options)


def _mount(wanted: SpecMount) -> Mount:
    if wanted.type not in ("bind", ""):
        raise Unsupported(
            f'the mount at {wanted.destination} is of the kind "{wanted.type}", which this engine has not',
            code="no-such-mount",
            hint="there are bind, volume, tmpfs and image",
        )
    options = list(wanted.options)
    propagation = next((option for option in options if option in _PROPAGATIONS), "")
    _check_options(wanted.destination, options, ("ro", "rw", "bind", "rbind", *_PROPAGATIONS, *_LABELS))
    return Mount(
        type="bind",
        source=wanted.source,
        target=wanted.destination,
        read_only="ro" in options,
        bind_options=BindOptions(propagation=propagation, non_recursive="bind" in options),
    )


def _volume(wanted: NamedVolume) -> Mount:
    options = list(wanted.options)
    _check_options(wanted.dest, options, ("ro", "rw", "rbind", "copy", "nocopy", *_LABELS))
    return Mount(
        type="volume",
        source=wanted.name,
        target=wanted.dest,
        read_only="ro" in options,
        volume_options=VolumeOptions(no_copy="nocopy" in options, subpath=wanted.sub_path),
    )


def _image(wanted: ImageVolume) -> Mount:
    if wanted.read_write:
        raise Unsupported(
            f"the image at {wanted.destination} cannot be written to in this engine",
            code="no-such-mount",
            hint="leave rw out",
        )
    return Mount(
        type="image",
        source=wanted.source,
        target=wanted.destination,
        image_options=ImageOptions(subpath=wanted.sub_path) if wanted.sub_path else None,
    )


def _check_options(place: str, options: Iterable[str], known: tuple[str, ...]) -> None:
    for option in options:
        if option not in known:
            raise Unsupported(
                f'the option "{option}" of the mount at {place} is not supported by this engine',
                code="no-such-option",
                hint="leave it out",
            )


# Networks


def networking(spec: Spec) -> NetworkingConfig:
    """The networks that it is to join.

    Raises:
        Unsupported: it names one beside the default one.
    """
    return NetworkingConfig(
        endpoints_config={_network(name): _endpoint(wanted) for name, wanted in spec.networks.items()}
    )


def _network(name: str) -> str:
    return "bridge" if name in DEFAULT_NETWORKS else name


def _endpoint(wanted: NetworkOptions) -> EndpointSettings:
    addresses = EndpointIPAMConfig(
        ipv4_address=next((each for each in wanted.static_ips if ":" not in each), ""),
        ipv6_address=next((each for each in wanted.static_ips if ":" in each), ""),
    )
    return EndpointSettings(
        ipam_config=addresses if wanted.static_ips else None,
        mac_address=wanted.static_mac,
        aliases=wanted.aliases,
    )


def ports(spec: Spec) -> dict[str, tuple[PortBinding, ...]]:
    """What is published: each of a range by itself.

    Raises:
        InvalidInput: a port is none.
    """
    found: dict[str, list[PortBinding]] = {}
    for each in spec.portmappings:
        count = each.range or 1
        for number in (each.container_port, each.host_port or 1):
            if not 0 < number <= number + count - 1 <= _PORT_MOST:
                raise InvalidInput(f"there is no port {number + count - 1}", code="bad-port")
        for protocol in _protocols(each.protocol):
            for offset in range(count):
                host_port = str(each.host_port + offset) if each.host_port else ""
                binding = PortBinding(host_ip=each.host_ip, host_port=host_port)
                found.setdefault(f"{each.container_port + offset}/{protocol}", []).append(binding)
    return {port: tuple(bindings) for port, bindings in found.items()}


def exposed_ports(spec: Spec) -> dict[str, Empty]:
    """What others may connect to, published or not."""
    named = [f"{port}/{protocol}" for port, words in spec.expose.items() for protocol in _protocols(words)]
    return {port: Empty() for port in (*ports(spec), *named)}


def _protocols(words: str) -> list[str]:
    return [word for word in words.lower().split(",") if word] or ["tcp"]
