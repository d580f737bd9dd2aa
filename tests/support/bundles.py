"""OCI bundles for tests and benchmarks: a root of Debian's busybox-static and a config.json like Docker's.

    rootfs = make_rootfs(tmp_path / "rootfs")                     # once; containers may share it
    make_bundle(tmp_path / "a", args=["sh", "-c", "id"])           # makes its own rootfs
    make_bundle(tmp_path / "b", rootfs=rootfs, process={"user": {"uid": 1000, "gid": 1000}})
    make_bundle(tmp_path / "c", linux={"resources": {"memory": {"limit": 1 << 26}}, "maskedPaths": None})

Changes merge into the standard document: objects merge key by key, None removes, anything else replaces.
Knows documents and files only; asks nothing of Pierhead, so that peers can be given the same bundle.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

BUSYBOX = Path("/bin/busybox")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DOCKER_CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
_PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
_GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\naudio:x:29:app\napp:x:1000:\nnogroup:x:65534:\n"
_DIRECTORIES = ("bin", "dev", "etc", "home/app", "proc", "root", "run", "sys", "tmp", "usr/bin", "var")


def make_rootfs(path: str | os.PathLike[str]) -> Path:
    """``path`` is a root of busybox (about 2 MB): applets as links in /bin, users root, app (1000), nobody.

    Raises:
        FileNotFoundError: Debian's busybox-static is not installed.
    """
    root = Path(path)
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    os.chown(root / "home/app", *((1000, 1000) if os.geteuid() == 0 else (-1, -1)))
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for applet in subprocess.run(
        [BUSYBOX, "--list"], check=True, capture_output=True, text=True
    ).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    (root / "etc/hostname").write_text("box\n")
    return root


def standard_spec(args: Sequence[str] = ("/bin/true",), *, rootfs: str = "rootfs") -> dict[str, Any]:
    """The config.json Docker writes for a plain container, without seccomp, limits and a cgroup path."""
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": list(args),
            "env": [PATH, "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                name: list(DOCKER_CAPABILITIES) for name in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": True,
        },
        "root": {"path": rootfs, "readonly": False},
        "hostname": "box",
        "mounts": _standard_mounts(),
        "linux": {
            "resources": {"devices": _standard_devices()},
            "namespaces": [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [
                *(f"/proc/{name}" for name in ("acpi", "asound", "kcore", "keys", "latency_stats")),
                *(f"/proc/{name}" for name in ("timer_list", "timer_stats", "sched_debug", "scsi")),
                "/sys/firmware",
                "/sys/devices/virtual/powercap",
            ],
            "readonlyPaths": [f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")],
        },
    }


def make_bundle(
    path: str | os.PathLike[str],
    *,
    args: Sequence[str] = ("/bin/true",),
    rootfs: str | os.PathLike[str] | None = None,
    **changes: Any,
) -> Path:
    """``path`` is a bundle whose process runs ``args``.

    Args:
        path: the directory to make (parents too); the container may be named after it.
        args: the container's command.
        rootfs: an existing root to share; by default the bundle gets its own below ``rootfs/``.
        changes: members of config.json, merged into the standard document (see the module's text).
    """
    bundle = Path(path)
    bundle.mkdir(parents=True, exist_ok=True)
    if rootfs is None:
        make_rootfs(bundle / "rootfs")
    spec = merge(standard_spec(args, rootfs="rootfs" if rootfs is None else os.fspath(rootfs)), changes)
    (bundle / "config.json").write_text(json.dumps(spec, indent=1))
    return bundle


def change_bundle(bundle: Path, **changes: Any) -> dict[str, Any]:
    """The bundle's config.json has the changes; returns the new document."""
    config = bundle / "config.json"
    spec = merge(json.loads(config.read_text()), changes)
    config.write_text(json.dumps(spec, indent=1))
    return spec


def merge(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``document`` with ``changes``: objects merge, None removes, anything else replaces."""
    result = dict(document)
    for name, change in changes.items():
        if change is None:
            result.pop(name, None)
        elif isinstance(change, dict):
            present = result.get(name)
            result[name] = merge(present if isinstance(present, dict) else {}, change)
        else:
            result[name] = change
    return result


def _standard_mounts() -> list[dict[str, Any]]:
    quiet = ["nosuid", "noexec", "nodev"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": quiet},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": pts},
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": [*quiet, "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": [*quiet, "relatime", "ro"],
        },
    ]


def _standard_devices() -> list[dict[str, Any]]:
    allowed = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, None), (10, 200)]
    return [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "m"},
        {"allow": True, "type": "b", "access": "m"},
        *(
            {
                "allow": True,
                "type": "c",
                "major": major,
                **({} if minor is None else {"minor": minor}),
                "access": "rwm",
            }
            for major, minor in allowed
        ),
    ]
