"""Links in a root file system, from which nothing of the host may be reached: neither while a container is
set up nor by a race with it.
"""

from __future__ import annotations

import array
import os
import select
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import OperationFailed, PierheadError
from pierhead.oci.runtime import IDMapping
from pierhead.runtime import ProcessSpec, Stdio
from pierhead.runtime.config import DEFAULT_MOUNTS, Device, Mount
from tests.support.attacks import (
    exchanging,
    fingerprint,
    make_outside,
    mounted_below,
    replace_by_link,
    ways_to,
)
from tests.support.containers import Containers, namespaces
from tests.support.probe import PROBE, look
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")

PROC, DEVICES, SYSFS = 0x9FA0, 0x1CD1, 0x62656572
ROUNDS = 150


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A place of the host that is the same after the test, with nothing mounted there."""
    directory = make_outside(tmp_path / "outside")
    before = fingerprint(directory)
    yield directory
    assert fingerprint(directory) == before
    assert mounted_below(directory) == []


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "dev/pts", "dev/mqueue", "sys/fs/cgroup"])
@pytest.mark.parametrize("way", range(4))
def test_file_systems_are_never_mounted_through_links(
    containers: Containers, probe_rootfs: Path, outside: Path, name: str, way: int
) -> None:
    """A link where /proc, /sys or /dev should be mounted is refused (CVE-2019-19921, CVE-2023-27561,
    CVE-2023-28642).
    """
    path = probe_rootfs / name
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_by_link(path, ways_to(outside)[way])
    parents = [mount for mount in DEFAULT_MOUNTS if mount.destination == "/" + name]
    with pytest.raises(OperationFailed, match=f"/{name}: a symbolic link is in the way"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=tuple(parents))


@pytest.mark.parametrize("way", range(2))
def test_a_mount_follows_links_inside_the_root_only(
    containers: Containers, probe_rootfs: Path, outside: Path, way: int
) -> None:
    """A volume on a link lands where the link leads from the container's own root (CVE-2019-18837)."""
    (probe_rootfs / "volume").symlink_to(ways_to(outside)[way])
    inside = probe_rootfs / str(outside).lstrip("/")
    inside.mkdir(parents=True)
    mounts = (*DEFAULT_MOUNTS, Mount(destination="/volume", type="tmpfs", source="tmpfs"))
    sight = look(containers, "mounts", rootfs=probe_rootfs, mounts=mounts)
    points = [line.split(" ")[4] for line in sight["mounts"]["lines"]]
    assert str(outside) in points  # of the container's root


@pytest.mark.parametrize(
    "target", ["/proc/self/fd", "/proc/1/root", "/proc/self/cwd", "/proc/thread-self/root/etc"]
)
def test_a_mount_follows_no_magic_link(
    containers: Containers, probe_rootfs: Path, outside: Path, target: str
) -> None:
    """A volume on a link to /proc/PID/root and its like, which leave the root by their nature, is refused."""
    (probe_rootfs / "volume").symlink_to(target)
    mounts = (
        *DEFAULT_MOUNTS,
        Mount(destination="/volume/x", type="bind", source=str(outside), options=("bind",)),
    )
    with pytest.raises(OperationFailed):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=mounts)


def test_missing_directories_are_made_inside(
    containers: Containers, probe_rootfs: Path, outside: Path
) -> None:
    """Directories and files made for a mount's destination are made beneath the root (CVE-2024-45310)."""
    (probe_rootfs / "link").symlink_to(outside)
    source = probe_rootfs / "etc/passwd"
    mounts = (
        *DEFAULT_MOUNTS,
        Mount(destination="/link/a/b", type="tmpfs", source="tmpfs"),
        Mount(destination="/link/a/c", type="bind", source=str(source), options=("bind",)),
    )
    with pytest.raises(OperationFailed):  # the link dangles, seen from the root
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=mounts)
    (probe_rootfs / str(outside).lstrip("/")).mkdir(parents=True)
    sight = look(containers, "stat=/link/a/b", "read=/link/a/c", rootfs=probe_rootfs, mounts=mounts)
    assert sight["stat=/link/a/b"]["kind"] == "directory"
    assert sight["read=/link/a/c"]["text"].startswith("root:")


@pytest.mark.parametrize("kind", ["tmpfs", "directory", "file"])
@pytest.mark.parametrize("deep", [False, True])
def test_an_exchanged_mount_destination(
    containers: Containers, probe_rootfs: Path, probe_program: Path, outside: Path, kind: str, *, deep: bool
) -> None:
    """While a directory and a link change places, mounts and what is made for them stay in the root
    (CVE-2021-30465, CVE-2024-45310).
    """
    (probe_rootfs / "volume").mkdir()
    (probe_rootfs / "evil").symlink_to("../" * 40 + str(outside).lstrip("/"))
    destination = "/volume/sys/made" if deep else "/volume"
    if kind == "file":
        destination = "/volume/dev/made" if deep else "/volume/made"
    source = probe_rootfs / ("etc" if kind == "directory" else "etc/passwd")
    mount = Mount(destination=destination, type="bind", source=str(source), options=("rbind", "rw"))
    if kind == "tmpfs":
        mount = Mount(destination=destination, type="tmpfs", source="tmpfs")
    settled = 0
    with exchanging(probe_program, probe_rootfs / "volume", probe_rootfs / "evil"):
        for _ in range(ROUNDS // 3):
            try:
                container = containers.start(
                    args=(PROBE,),
                    rootfs=str(probe_rootfs),
                    mounts=(*DEFAULT_MOUNTS[:1], mount),
                    namespaces=namespaces("mount"),
                )
            except PierheadError:
                continue
            settled += 1
            container.wait(60)
            container.delete(force=True)
    assert settled


def test_an_exchanged_working_directory(
    containers: Containers, probe_rootfs: Path, probe_program: Path, outside: Path
) -> None:
    """A working directory that becomes a link while it is made is made inside, or not at all
    (CVE-2024-45310).
    """
    (probe_rootfs / "work").mkdir()
    (probe_rootfs / "evil").symlink_to("../" * 40 + str(outside).lstrip("/"))
    settled = 0
    with exchanging(probe_program, probe_rootfs / "work", probe_rootfs / "evil"):
        for number in range(ROUNDS // 3):
            process = {"cwd": f"/work/sys/{number}/deep"}
            try:
                container = containers.start(args=(PROBE,), rootfs=str(probe_rootfs), process=process)
            except PierheadError:
                continue
            settled += 1
            container.wait(60)
            container.delete(force=True)
    assert settled


def test_devices_are_made_in_the_root(containers: Containers, probe_rootfs: Path, outside: Path) -> None:
    """An image whose /dev is a link gets its nodes inside its root, none of the host's place is touched
    (CVE-2026-41579, CVE-2026-47766).
    """
    replace_by_link(probe_rootfs / "dev", "../" * 40 + str(outside).lstrip("/"))
    mounts = tuple(mount for mount in DEFAULT_MOUNTS if not mount.destination.startswith("/dev"))
    devices = (
        Device(path="/dev/fuse", type="c", major=10, minor=229),
        Device(path="/dev/new/deep", type="c", major=1, minor=5),
    )
    with pytest.raises(OperationFailed):  # nothing is there, seen from the root
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=mounts, devices=devices)
    (probe_rootfs / str(outside).lstrip("/")).mkdir(parents=True)
    sight = look(
        containers,
        "stat=/dev/null",
        "stat=/dev/new/deep",
        rootfs=probe_rootfs,
        mounts=mounts,
        devices=devices,
    )
    assert sight["stat=/dev/null"]["kind"] == "character"
    assert (sight["stat=/dev/new/deep"]["major"], sight["stat=/dev/new/deep"]["minor"]) == (1, 5)
    assert stat.S_ISCHR((probe_rootfs / str(outside).lstrip("/") / "null").lstat().st_mode)


def test_devices_bound_in_a_user_namespace_stay_in_the_root(
    containers: Containers, probe_rootfs: Path, outside: Path
) -> None:
    """In a user namespace, where nodes are bound, a link in the place of /dev or of a node leads nowhere
    else.
    """
    replace_by_link(probe_rootfs / "dev", "../" * 40 + str(outside).lstrip("/"))
    mounts = tuple(mount for mount in DEFAULT_MOUNTS if mount.destination == "/proc")
    with pytest.raises(OperationFailed):
        containers.start(
            args=(PROBE,),
            rootfs=str(probe_rootfs),
            mounts=mounts,
            namespaces=namespaces("mount", "pid", "user", "network", "ipc", "uts"),
            uid_mappings=(IDMapping(container_id=0, host_id=0, size=65536),),
            gid_mappings=(IDMapping(container_id=0, host_id=0, size=65536),),
        )


@pytest.mark.parametrize("what", ["link", "file", "another device", "fifo"])
@pytest.mark.parametrize("name", ["null", "zero", "tty"])
def test_a_default_device_that_is_something_else(
    containers: Containers, probe_rootfs: Path, outside: Path, name: str, what: str
) -> None:
    """Where an image brings another /dev/null along and nothing covers /dev, it is refused and not used
    (CVE-2025-31133)."""
    path = probe_rootfs / "dev" / name
    if what == "link":
        path.symlink_to(outside / "null")
    elif what == "file":
        path.write_text("x")
    elif what == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(5, 1))
    mounts = tuple(mount for mount in DEFAULT_MOUNTS if not mount.destination.startswith("/dev"))
    with pytest.raises(OperationFailed, match=f"/dev/{name}"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=mounts)


@pytest.mark.parametrize("node", ["null link", "null file", "link to sysctl"])
def test_masked_paths_are_covered_by_the_true_null_device(
    containers: Containers, probe_rootfs: Path, outside: Path, node: str
) -> None:
    """Whatever /dev/null an image has, masked paths are covered by the kernel's null device and nothing of
    the host is bound in its place (CVE-2025-31133).
    """
    dev = probe_rootfs / "fake-dev"
    dev.mkdir()
    if node == "null link":
        (dev / "null").symlink_to("../" * 40 + str(outside / "null").lstrip("/"))
    elif node == "null file":
        (dev / "null").write_text("readable")
    else:
        (dev / "null").symlink_to("/proc/sys/kernel/core_pattern")
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as pattern:
        before = pattern.read()
    bind = Mount(destination="/dev", type="bind", source=str(dev), options=("rbind",))
    mounts = (*(mount for mount in DEFAULT_MOUNTS if not mount.destination.startswith("/dev")), bind)
    masked = "/proc/timer_list", "/proc/keys", "/proc/version"
    words = [f"{verb}{path}" for path in masked for verb in ("stat=", "read=")]
    words += [f"write={path}=|/evil %P" for path in masked]
    sight = look(containers, *words, rootfs=probe_rootfs, mounts=mounts, mask_paths=masked)
    for path in masked:
        if sight[f"stat={path}"].get("errno"):
            continue  # this kernel has no such file
        assert (sight[f"stat={path}"]["major"], sight[f"stat={path}"]["minor"]) == (1, 3)
        assert sight[f"read={path}"]["text"] == ""
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as pattern:
        assert pattern.read() == before


@pytest.mark.parametrize("path", ["dev/pts", "dev/ptmx", "dev/console", "dev/pts/ptmx"])
@pytest.mark.parametrize("way", [0, 1])
def test_a_terminal_is_of_devpts_alone(
    containers: Containers, probe_rootfs: Path, outside: Path, path: str, way: int
) -> None:
    """A link in the place of /dev/console, /dev/ptmx or /dev/pts/N makes the launch fail and opens nothing
    else (CVE-2025-52565).
    """
    target = probe_rootfs / path
    target.parent.mkdir(exist_ok=True)
    replace_by_link(target, ways_to(outside / "console")[way])
    mounts = tuple(
        mount for mount in DEFAULT_MOUNTS if mount.destination not in ("/dev", "/dev/mqueue", "/dev/shm")
    )
    if path == "dev/pts/ptmx":
        mounts = tuple(mount for mount in mounts if mount.destination != "/dev/pts")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        what: dict[str, Any] = {
            "args": (PROBE, "tty"),
            "rootfs": str(probe_rootfs),
            "mounts": mounts,
            "process": {"terminal": True},
            "options": {"console": theirs.fileno()},
        }
        if path == "dev/ptmx":  # the container's own link is left as the image has it, and used by nobody
            container = containers.start(**what)
            container.wait(60)
            container.delete()
        else:
            with pytest.raises(OperationFailed):
                containers.start(**what)


def test_a_terminal_while_dev_is_exchanged(
    containers: Containers, probe_rootfs: Path, probe_program: Path, outside: Path
) -> None:
    """With /dev of the image exchanged all the time, what arrives as a terminal is a devpts master, or
    nothing (CVE-2025-52565).
    """
    evil = probe_rootfs / "evil"
    evil.symlink_to("../" * 40 + str(outside).lstrip("/"))
    mounts = tuple(mount for mount in DEFAULT_MOUNTS if mount.destination in ("/proc", "/dev/pts"))
    arrived = 0
    with exchanging(probe_program, probe_rootfs / "dev", evil):
        for _ in range(ROUNDS // 3):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with ours, theirs:
                try:
                    container = containers.start(
                        args=(PROBE,),
                        rootfs=str(probe_rootfs),
                        mounts=mounts,
                        process={"terminal": True},
                        options={"console": theirs.fileno()},
                    )
                except PierheadError:
                    continue
                container.delete(force=True)
                if not select.select([ours], [], [], 0)[0]:
                    continue
                _, ancillary, _, _ = ours.recvmsg(100, 100)
                fds = array.array("i", ancillary[0][2])
                arrived += len(fds)
                for fd in fds:
                    assert os.readlink(f"/proc/self/fd/{fd}").endswith("/ptmx")
                    assert os.major(os.fstat(fd).st_rdev) == 5
                    os.close(fd)
    assert arrived


def test_users_are_looked_up_inside(containers: Containers, probe_rootfs: Path, outside: Path) -> None:
    """/etc/passwd of an image that is a link to the host's, a device, a FIFO or a loop is not read as one."""
    passwd = probe_rootfs / "etc/passwd"
    (outside / "secret").write_text("evil:x:4711:4711::/:/bin/sh\n")
    try:
        for target in (*ways_to(outside / "secret"), "/etc/passwd", "/dev/zero"):
            replace_by_link(passwd, target)
            with pytest.raises(PierheadError, match="evil"):
                containers.start(args=(PROBE,), rootfs=str(probe_rootfs), process={"user": "evil"})
        passwd.unlink()
        os.mkfifo(passwd)
        with pytest.raises(PierheadError, match="evil"):
            containers.start(args=(PROBE,), rootfs=str(probe_rootfs), process={"user": "evil"})
    finally:
        (outside / "secret").write_text("of the host\n")


def test_a_node_in_the_place_of_passwd_is_not_opened(containers: Containers, probe_rootfs: Path) -> None:
    """A running container that makes /etc/passwd a device node does not have its exec open the device on
    the host: to open some is to act (a watchdog, a tape).
    """
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    (probe_rootfs / "etc/passwd").unlink()
    # opening the other end of no such loop device, or a terminal that is not ours, fails; opened it would
    # say so
    os.mknod(probe_rootfs / "etc/passwd", stat.S_IFBLK | 0o600, os.makedev(7, 9999))
    with pytest.raises(PierheadError, match="unable to find user evil"):
        container.exec(ProcessSpec(args=(PROBE,), user="evil"), stdio=Stdio.null())
