"""What this kernel has, asked once per process."""

from __future__ import annotations

import os

_TYPES = {
    "cgroup": "cgroup",
    "ipc": "ipc",
    "mnt": "mount",
    "net": "network",
    "pid": "pid",
    "time": "time",
    "user": "user",
    "uts": "uts",
}
"""The specification's names of namespaces by those below /proc/PID/ns (namespaces(7))."""

_known: list[frozenset[str]] = []


def namespace_types() -> frozenset[str]:
    """Types of namespaces that the kernel has, under the specification's names."""
    if not _known:
        _known.append(frozenset(_TYPES[name] for name in os.listdir("/proc/self/ns") if name in _TYPES))
    return _known[0]
