"""Requests to the engine for tests: bodies as clients send them, to records and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.record import MountPoint, Record
from pierhead.engine.settings import Settings
from pierhead.engine.specgen import Ground, Machine, Root, fill_host, plan_config
from pierhead.oci.document import decode

if TYPE_CHECKING:
    from pierhead.runtime.config import Config

SETTINGS = Settings(data_root="/data", exec_root="/run/engine")
CONTAINER_ID = "0123456789abcdef" * 4
MACHINE = Machine(cpus=4, cpu_list="0-3", memory_nodes="0")


def container_config(**fields: Any) -> ContainerConfig:
    """A container's configuration, which runs something."""
    return ContainerConfig(**{"image": "busybox", "cmd": ("true",), **fields})


def filled(
    host: HostConfig | None = None,
    *,
    config: ContainerConfig | None = None,
    settings: Settings = SETTINGS,
    machine: Machine = MACHINE,
) -> tuple[HostConfig, tuple[str, ...]]:
    """What ``fill_host`` makes of it."""
    return fill_host(config or container_config(), host or HostConfig(), settings, machine=machine)


def record_of(
    host: HostConfig | None = None,
    *,
    config: ContainerConfig | None = None,
    mounts: tuple[MountPoint, ...] = (),
    machine: Machine = MACHINE,
) -> Record:
    """A record of a container that was asked for."""
    return Record(
        id=CONTAINER_ID,
        name="box",
        created_ns=1,
        image="busybox",
        config=config or container_config(),
        host=filled(host, config=config, machine=machine)[0],
        mounts=mounts,
    )


def read_request(body: dict[str, Any]) -> tuple[ContainerConfig, HostConfig]:
    """A body of ``POST /containers/create``."""
    fields = {name: value for name, value in body.items() if name not in ("HostConfig", "NetworkingConfig")}
    host = decode(HostConfig, body.get("HostConfig", {}), unknown=[])
    return decode(ContainerConfig, fields, unknown=[]), host


def planned(host: HostConfig | None = None, *, ground: Ground | None = None, **what: Any) -> Config:
    """The configuration of a container that was asked for, upon a ground where nothing is special."""
    return plan_config(record_of(host, **what), ground or Ground(root=Root(rootfs="/srv/root")))
