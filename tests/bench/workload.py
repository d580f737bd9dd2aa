"""What every contender runs: one root of busybox, one kind of bundle, one seccomp profile, the same limits.

Docker's capabilities and default seccomp profile, 64 MiB of memory, 64 processes, one CPU, the standard
mounts, masks and devices.  Only the cgroup's path differs, for each contender has its own.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from pierhead.oci.document import encode
from pierhead.oci.seccomp_profile import default_profile
from pierhead.runtime.plan.seccomp import compile_filter
from tests.bench.programs import build_bare
from tests.support.bundles import DOCKER_CAPABILITIES, make_bundle, make_rootfs

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = {
    "memory": {"limit": 64 << 20},
    "pids": {"limit": 64},
    "cpu": {"shares": 512, "quota": 100_000, "period": 100_000},
}
TRUE = ("/bin/true",)
IDLE = ("/bin/sleep", "1000000")


class Workload:
    """The files that the contenders share.

    Args:
        home: directory on a disk; root file system and bundles are below it, as an engine has them.
        states: directory on a tmpfs, as /run is one; every contender keeps its state below it.

    The caller removes both.
    """

    def __init__(self, home: Path, states: Path) -> None:
        self.home = home
        self._states = states
        self.rootfs = make_rootfs(home / "rootfs")
        kernel = tuple(int(number) for number in platform.release().split(".")[:2])
        profile = default_profile(DOCKER_CAPABILITIES, platform.machine(), (kernel[0], kernel[1]))
        self._seccomp: dict[str, Any] = encode(profile)
        self.bpf = home / "seccomp.bpf"
        self.bpf.write_bytes(compile_filter(profile, platform.machine()))
        self.bare = build_bare(home)

    def bundle(self, name: str, args: tuple[str, ...] = TRUE) -> Path:
        """A bundle of its own for the container ``name``, with a cgroup of the same name."""
        return make_bundle(
            self.home / "bundles" / name,
            args=args,
            rootfs=self.rootfs,
            linux={"cgroupsPath": cgroup_path(name), "resources": LIMITS, "seccomp": self._seccomp},
        )

    @property
    def engines(self) -> Path:
        """A directory on a disk for whole engines, with a short name: sockets are in it."""
        path = self.home / "e"
        path.mkdir(exist_ok=True)
        return path

    def state_directory(self, name: str) -> Path:
        """A directory for a contender's own state."""
        path = self._states / name
        path.mkdir(exist_ok=True)
        return path


def cgroup_path(name: str) -> str:
    """Where the container ``name`` of this run has its cgroup: directly below every hierarchy's root."""
    return f"/pierhead-bench-{os.getpid()}-{name}"
