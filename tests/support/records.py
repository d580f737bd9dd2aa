"""Records of containers for tests, by the few fields that a test is about."""

from __future__ import annotations

from typing import Any

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.record import Record

ID = "0123456789abcdef" * 4


def record(**wanted: Any) -> Record:
    """A container; what is no field of its own is one of its configuration, or else of its host's."""
    own: dict[str, Any] = {"id": ID, "name": "web", "created_ns": 10**18, "image": "box:latest"}
    config: dict[str, Any] = {}
    host: dict[str, Any] = {}
    for key, value in wanted.items():
        where = own if key in Record.fields else config if key in ContainerConfig.fields else host
        where[key] = value
    return Record(config=ContainerConfig(image=own["image"], **config), host=HostConfig(**host), **own)
