"""File systems and mounts."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import tempfile
from pathlib import Path

from tests.guest.check.probing import fact, output, shell, syscall

SYS_OPEN_TREE = 428
SYS_MOUNT_SETATTR = 442
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_IDMAP = 0x0010_0000


@fact("the root mount is shared, as systemd makes it")
def _shared() -> str:
    (line,) = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " / / " in line]
    assert " shared:" in line, line
    return line.split(" - ")[0]


OVERLAY = """
    mkdir lower upper work merged
    echo below >lower/file
    mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr merged
    echo above >merged/file
    cat lower/file upper/file
    umount merged
"""
IN_TMPFS = "mount -t tmpfs tmpfs /mnt; cd /mnt; "


@fact("overlay, upper layer on tmpfs")
def _overlay_tmpfs() -> str:
    return _below_above(shell(IN_TMPFS + OVERLAY, unshare="--mount"))


@fact("overlay, upper layer on ext4")
def _overlay_ext4() -> str:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        return _below_above(shell(f"cd {directory}; {OVERLAY}", unshare="--mount"))


@fact("overlay in a user namespace")
def _overlay_user() -> str:
    return _below_above(shell(IN_TMPFS + OVERLAY, unshare="--user --map-root-user --mount", user="pier"))


def _below_above(said: str) -> str:
    assert said.split() == ["below", "above"], said
    return "written above, unchanged below"


@fact("mount API: open_tree, mount_setattr")
def _mount_api() -> str:
    tree = syscall(SYS_OPEN_TREE, AT_FDCWD, b"/usr", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    attributes = struct.pack("=QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, ctypes.c_long(len(attributes)))
    os.close(tree)
    return "a detached read-only tree of /usr"


def _idmap(path: bytes) -> str:
    with subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; exec sleep 9"], stdout=subprocess.PIPE
    ) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            for kind in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{kind}").write_text("0 100000 65536")
            namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
            tree = syscall(SYS_OPEN_TREE, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
            attributes = struct.pack("=QQQQ", MOUNT_ATTR_IDMAP, 0, 0, namespace)
            syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, ctypes.c_long(len(attributes)))
            owner = os.stat(f"/proc/self/fd/{tree}").st_uid
            os.close(tree)
            os.close(namespace)
        finally:
            holder.kill()
    return f"{path.decode()} owned by {owner}"


@fact("idmapped mounts: ext4")
def _idmap_ext4() -> str:
    return _idmap(b"/usr")


@fact("idmapped mounts: tmpfs")
def _idmap_tmpfs() -> str:
    return _idmap(b"/run")


@fact("mqueue, devpts, proc, sysfs, cgroup2 in new namespaces")
def _own_mounts() -> str:
    script = (
        "for type in mqueue devpts proc sysfs cgroup2; do mkdir $type; mount -t $type $type $type; done; ls"
    )
    namespaces = "--mount --pid --fork --net --ipc --uts --cgroup"
    return " ".join(shell(IN_TMPFS + script, unshare=namespaces).split())


@fact("extended attributes on tmpfs and ext4")
def _xattr() -> str:
    for directory in ("/run", "/var/tmp"):
        with tempfile.NamedTemporaryFile(dir=directory) as file:
            for name in ("user.check", "security.check", "trusted.check"):
                os.setxattr(file.name, name, b"1")
    return "user security trusted"


@fact("loop devices", needed=False)
def _loop() -> str:
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.truncate(1 << 20)
        device = output("losetup", "--find", "--show", file.name)
        output("losetup", "--detach", device)
        return device


@fact("hostfs shows the host's files")
def _hostfs() -> str:
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        if place == "/run/guest":
            return f"{kind} {options}"
    raise RuntimeError("nothing is mounted on /run/guest")
