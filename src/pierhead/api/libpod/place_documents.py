"""Volumes and networks as libpod's clients read them, made of Docker's documents.  Pure.

Source: the API's description (``VolumeConfigResponse``, ``Network``).
"""

from __future__ import annotations

from pierhead.api.libpod.creation_places import DEFAULT_NETWORKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Document = dict[str, Any]

_INTERFACE = "com.docker.network.bridge.name"
DRIVERS_LISTED = ("bridge",)
"""``none`` and ``host`` are modes to Podman, and no networks."""


def volume(document: Document) -> Document:
    """A volume."""
    return {
        "Name": document["Name"],
        "Driver": document["Driver"],
        "Mountpoint": document["Mountpoint"],
        "CreatedAt": document["CreatedAt"],
        "Labels": document["Labels"] or {},
        "Scope": document["Scope"],
        "Options": document["Options"] or {},
        "MountCount": 0,
        "NeedsCopyUp": False,
        "NeedsChown": False,
    }


def network(document: Document) -> Document:
    """A network."""
    ranges = document["IPAM"]["Config"] or []
    return {
        "name": document["Name"],
        "id": document["Id"],
        "driver": document["Driver"],
        "network_interface": (document["Options"] or {}).get(_INTERFACE, ""),
        "created": document["Created"],
        "subnets": [{"subnet": each["Subnet"], "gateway": each.get("Gateway", "")} for each in ranges],
        "ipv6_enabled": document["EnableIPv6"],
        "internal": document["Internal"],
        "dns_enabled": document["Name"] not in DEFAULT_NETWORKS,
        "labels": document["Labels"] or {},
        "options": document["Options"] or {},
        "ipam_options": {"driver": "host-local" if ranges else "none"},
        "containers": {
            identity: {"name": member["Name"], "interfaces": _interfaces(member)}
            for identity, member in (document["Containers"] or {}).items()
        },
    }


def _interfaces(member: Document) -> Document:
    addresses = [each for each in (member["IPv4Address"], member["IPv6Address"]) if each]
    return {"eth0": {"subnets": [{"ipnet": each} for each in addresses], "mac_address": member["MacAddress"]}}


def network_name(name: str) -> str:
    """The engine's name of the default network, for Podman's."""
    return "bridge" if name in DEFAULT_NETWORKS else name
