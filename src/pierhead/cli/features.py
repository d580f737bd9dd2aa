"""What the runtime can do, in the form that engines ask for it.

Source: runtime-spec features.md and features-linux.md.  containerd refuses idmapped mounts, and Kubernetes
recursive read-only ones, unless they are listed here: so the lists are the tables that the code itself uses.
"""

from __future__ import annotations

import os

import pierhead
from pierhead.oci.numbers import (
    CAPABILITIES,
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    NAMESPACES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)
from pierhead.oci.runtime import OCI_VERSION
from pierhead.runtime.plan import mountoptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_MOUNT_WORDS = (
    "bind",
    "rbind",
    "remount",
    "idmap",
    "ridmap",
    "defaults",
    "silent",
    "loud",
    "noiversion",
    "tmpcopyup",
)
# The kernel that first had each flag of seccomp(2).
_FLAG_KERNELS = {
    "SECCOMP_FILTER_FLAG_TSYNC": (3, 17),
    "SECCOMP_FILTER_FLAG_LOG": (4, 14),
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": (4, 17),
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": (5, 19),
}
_ENABLED = {"enabled": True}


def features_document() -> dict[str, Any]:
    """The Features structure."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(_HOOKS),
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": _ENABLED,
            "selinux": _ENABLED,
            "intelRdt": {"enabled": False},
            "memoryPolicy": {"modes": list(MEMORY_POLICIES), "flags": list(MEMORY_POLICY_FLAGS)},
            "mountExtensions": {"idmap": _ENABLED},
            "netDevices": _ENABLED,
        },
        "annotations": {
            "io.pierhead.runtime.version": pierhead.__version__,
            "io.pierhead.runtime.checkpoint.enabled": "false",
        },
        "potentiallyUnsafeConfigAnnotations": ["org.systemd.property.", "io.pierhead."],
    }


def mount_options() -> list[str]:
    """Every option that is not the file system's own, sorted."""
    return sorted(
        {
            *mountoptions.ATTRIBUTES,
            *mountoptions.RECURSIVE_ATTRIBUTES,
            *mountoptions.PROPAGATION,
            *mountoptions.SUPERBLOCK_FLAGS,
            *_MOUNT_WORDS,
        }
    )


def _seccomp() -> dict[str, Any]:
    major, minor = (int(part) for part in os.uname().release.split(".")[:2])
    return {
        "enabled": True,
        "actions": list(SECCOMP_ACTIONS),
        "operators": list(SECCOMP_OPERATORS),
        "archs": list(SECCOMP_ARCHITECTURES),
        "knownFlags": list(SECCOMP_FLAGS),
        "supportedFlags": [name for name in SECCOMP_FLAGS if _FLAG_KERNELS[name] <= (major, minor)],
    }
