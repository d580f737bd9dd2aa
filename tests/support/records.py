"""Records of containers for tests, by the few fields that a test is about."""

from __future__ import annotations

from typing import Any

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.record import Record

ID = "0123456789abcdef" * 4


def record(**wanted: Any) -> Record:
    """A container; fields of its configuration and of its host's may be given among its own."""
    config = {
        key: wanted.pop(key) for key in tuple(wanted) if key in ContainerConfig.fields and key != "image"
    }
    host = {key: wanted.pop(key) for key in tuple(wanted) if key in HostConfig.fields}
    known = {"id": ID, "name": "web", "created_ns": 10**18, "image": "box:latest", **wanted}
    return Record(config=ContainerConfig(**config), host=HostConfig(**host), **known)
