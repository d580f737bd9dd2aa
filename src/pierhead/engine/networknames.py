"""Networks that every engine has, and that are no network of its own.  Pure."""

from __future__ import annotations

import hashlib

DEFAULT_NETWORK = "bridge"
NETWORK_DRIVERS = {"host": "host", "none": "null"}


def network_identity(name: str) -> str:
    """The same on every machine."""
    return hashlib.sha256(f"pierhead network {name}".encode()).hexdigest()
