"""What this kernel is and has."""

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
_WHOLE_RANGE = ["0", "0", "4294967295"]
_inside: list[bool] = []


def in_user_namespace() -> bool:
    """Whether we are in another user namespace than the machine's: root there may make no device, and raise
    no limit of its own.  Asked once per process, which nothing here moves to another one.

    Source: user_namespaces(7): the first namespace maps every id to itself.
    """
    if not _inside:
        try:
            with open("/proc/self/uid_map", encoding="ascii") as file:
                _inside.append(file.read().split() != _WHOLE_RANGE)
        except FileNotFoundError:  # a kernel without user namespaces
            _inside.append(False)
    return _inside[0]


def namespace_types() -> frozenset[str]:
    """Types of namespaces that the kernel has, under the specification's names; asked once per process."""
    if not _known:
        _known.append(frozenset(_TYPES[name] for name in os.listdir("/proc/self/ns") if name in _TYPES))
    return _known[0]


def kernel_version() -> tuple[int, int]:
    """The first two numbers of the kernel's version."""
    return parse_kernel_version(os.uname().release)


def parse_kernel_version(release: str) -> tuple[int, int]:
    """The first two numbers of a release like ``6.1.0-13-amd64``."""
    major, _, rest = release.partition(".")
    minor = ""
    for character in rest:
        if not character.isdecimal():
            break
        minor += character
    return int(major), int(minor or 0)


def is_own_namespace(kind: str, path: str) -> bool:
    """Whether the file is this process's own namespace of that type; False where there is no such file.

    Source: namespaces(7): device and inode tell namespaces apart.
    """
    name = next(name for name, known in _TYPES.items() if known == kind)
    try:
        return os.path.samefile(path, f"/proc/self/ns/{name}")
    except OSError:
        return False
