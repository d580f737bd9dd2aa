"""/proc and /sys of a container: what it may not see and change, and what cannot be slipped under the
runtime there.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.runtime.config import DEFAULT_MOUNTS, Mount
from tests.support.attacks import device_of, fingerprint
from tests.support.probe import PROBE, look
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.containers import Containers

pytestmark = requires("root")

PROC_MAGIC = 0x9FA0
MASKED = ("/proc/keys", "/proc/timer_list", "/proc/interrupts", "/proc/kcore", "/proc/acpi", "/sys/firmware")
NO_PROC = tuple(mount for mount in DEFAULT_MOUNTS if mount.destination != "/proc")


def test_masked_paths_give_no_hold_on_the_hosts_null_device(
    containers: Containers, probe_rootfs: Path
) -> None:
    """The null device over a masked path is the host's own inode: root of a container can neither change
    its mode nor its owner, which would break every program of the host (found here; Pierhead).
    """
    before = device_of("/dev/null")
    words = [f"{act}={path}={value}" for path in MASKED for act, value in (("chmod", "666"), ("chown", "0"))]
    sight = look(containers, *words, rootfs=probe_rootfs)
    assert {report.get("errno") for report in sight.values()} <= {errno.EROFS, errno.ENOENT, errno.EPERM}
    assert device_of("/dev/null") == before


def test_masked_paths_read_empty_and_take_nothing(containers: Containers, probe_rootfs: Path) -> None:
    """A masked file reads as empty, whatever is written to it is lost; a masked directory is empty."""
    sight = look(
        containers,
        "read=/proc/keys",
        "write=/proc/keys=x",
        "list=/sys/firmware",
        "make=/sys/firmware/x=y",
        rootfs=probe_rootfs,
    )
    assert sight["read=/proc/keys"] == {"result": 0, "text": ""}
    assert sight["write=/proc/keys=x"] == {"result": 1}
    assert sight["list=/sys/firmware"] == {"names": []}
    assert sight["make=/sys/firmware/x=y"] == {"errno": errno.EROFS}


@pytest.mark.parametrize("path", ["/link/version", "/proc/self/../version", "/deep/version"])
def test_masks_reach_what_links_lead_to(containers: Containers, probe_rootfs: Path, path: str) -> None:
    """A path to mask that leads through links of the image, or of /proc, masks what it leads to and no file
    of the host.
    """
    (probe_rootfs / "link").symlink_to("/proc")
    (probe_rootfs / "deep").symlink_to("../../../../proc/1/../self/..")
    sight = look(containers, "read=/proc/version", rootfs=probe_rootfs, mask_paths=(path,))
    assert sight["read=/proc/version"]["text"] == ""
    assert Path("/proc/version").read_text() != ""


@pytest.mark.parametrize("path", ["/proc/1/root/etc/passwd", "/proc/self/fd/0", "/proc/self/cwd/x"])
def test_masks_go_through_no_magic_link(containers: Containers, probe_rootfs: Path, path: str) -> None:
    """A path to mask by way of what another process has open is refused."""
    with pytest.raises(OperationFailed, match="a symbolic link is in the way"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mask_paths=(path,))


@pytest.mark.parametrize(
    "path", ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/panic"]
)
def test_the_kernels_controls_are_read_only(containers: Containers, probe_rootfs: Path, path: str) -> None:
    """Root of a container cannot write what changes the host."""
    assert look(containers, f"write={path}=", rootfs=probe_rootfs)[f"write={path}="] == {"errno": errno.EROFS}


@pytest.mark.parametrize(
    "destination",
    [
        "/proc",
        "/proc/self",
        "/proc/self/attr",
        "/proc/1/attr/apparmor/exec",
        "/proc/sys/kernel",
        "/proc/sys/net/ipv4/ip_forward",
        "//proc//sys",
        "/proc/../proc/sys",
        "/sys/../proc/sys",
        "proc/sys",
        "/./proc/uptime/../sys",
        "/proc/net",
    ],
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_nothing_is_mounted_over_proc(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, destination: str, kind: str
) -> None:
    """A volume on /proc or below it is refused by name (CVE-2019-16884, CVE-2019-19921)."""
    mount = Mount(destination=destination, type="tmpfs", source="tmpfs")
    if kind == "bind":
        mount = Mount(destination=destination, type="bind", source=str(tmp_path), options=("rbind",))
    with pytest.raises(InvalidInput, match="proc"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=(*DEFAULT_MOUNTS, mount))


@pytest.mark.parametrize("destination", ["/proc/uptime", "/proc/meminfo", "/proc/stat", "/proc/cpuinfo"])
def test_files_of_lxcfs_may_be_mounted(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, destination: str
) -> None:
    """The few files of /proc that tools like lxcfs provide can be covered."""
    (tmp_path / "file").write_text("ours")
    mount = Mount(destination=destination, type="bind", source=str(tmp_path / "file"), options=("bind",))
    word = f"read={destination}"
    sight = look(containers, word, rootfs=probe_rootfs, mounts=(*DEFAULT_MOUNTS, mount))
    assert sight[word]["text"] == "ours"


@pytest.mark.parametrize(
    "target", ["/proc", "/proc/self/attr", "proc/sys/kernel", "/proc/sys/net", "../proc/1", "/proc/self"]
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_nothing_is_mounted_over_proc_by_way_of_a_link(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, target: str, kind: str
) -> None:
    """An image whose link makes an innocent volume land in /proc has that volume refused: fake attr and sys
    files would else be believed by every program inside (CVE-2019-19921).
    """
    (probe_rootfs / "innocent").symlink_to(target)
    fake = tmp_path / "fake"
    fake.mkdir()
    mount = Mount(destination="/innocent", type="tmpfs", source="tmpfs")
    if kind == "bind":
        mount = Mount(destination="/innocent", type="bind", source=str(fake), options=("rbind",))
    with pytest.raises(OperationFailed, match="/innocent: a symbolic link leads it into /proc"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=(*DEFAULT_MOUNTS, mount))


def test_a_volume_that_is_there_before_proc(
    containers: Containers, probe_rootfs: Path, tmp_path: Path
) -> None:
    """A volume that lands on /proc by a link before procfs is mounted ends up beneath procfs."""
    (probe_rootfs / "innocent").symlink_to("/proc")
    fake = tmp_path / "fake"
    (fake / "self/attr").mkdir(parents=True)
    (fake / "version").write_text("fake")
    mount = Mount(destination="/innocent", type="bind", source=str(fake), options=("rbind",))
    sight = look(
        containers,
        "stat=/proc/version",
        "read=/proc/version",
        rootfs=probe_rootfs,
        mounts=(mount, *DEFAULT_MOUNTS),
    )
    assert sight["stat=/proc/version"]["file_system"] == PROC_MAGIC
    assert sight["read=/proc/version"]["text"].startswith("Linux version")


FAKES = (
    "self/attr/exec",
    "self/attr/apparmor/exec",
    "1/attr/exec",
    "1/attr/apparmor/exec",
    "thread-self/attr/exec",
    "sys/net/ipv4/ip_forward",
    "sys/kernel/shm_rmid_forced",
    "self/timens_offsets",
)


def make_fake_proc(rootfs: Path) -> Path:
    """Files in the image where procfs has its own, as an attacker would like them to be taken for those."""
    proc = rootfs / "proc"
    for name in FAKES:
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text("fake")
    return proc


def test_kernel_parameters_go_to_the_kernel(containers: Containers, probe_rootfs: Path) -> None:
    """A parameter of the configuration is written to procfs whatever the image has there, and read back
    from it (CVE-2025-52881).
    """
    proc = make_fake_proc(probe_rootfs)
    before = fingerprint(proc)
    value = {"net.ipv4.ip_forward": "1"}
    word = "read=/proc/sys/net/ipv4/ip_forward"
    assert look(containers, word, rootfs=probe_rootfs, sysctl=value)[word]["text"] == "1\n"
    fake = look(containers, word, rootfs=probe_rootfs, sysctl=value, mounts=NO_PROC, readonly_paths=())
    assert (
        fake[word]["text"] == "fake"
    )  # without procfs the program reads the image's file, which nobody wrote
    assert fingerprint(proc) == before


@pytest.mark.parametrize("mounts", [DEFAULT_MOUNTS, NO_PROC])
@pytest.mark.parametrize("field", ["process_label", "apparmor_profile"])
def test_labels_go_to_the_kernel(
    containers: Containers, probe_rootfs: Path, field: str, mounts: tuple[Mount, ...]
) -> None:
    """A security label is written to procfs or not at all, never to a file of the image that looks like it
    (CVE-2019-16884, CVE-2025-52881)."""
    proc = make_fake_proc(probe_rootfs)
    before = fingerprint(proc)
    what: dict[str, Any] = {field: "no-such-profile"}
    with pytest.raises(OperationFailed):  # no kernel has it
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), mounts=mounts, **what)
    assert fingerprint(proc) == before


def test_time_offsets_go_to_the_kernel(containers: Containers, probe_rootfs: Path) -> None:
    """Offsets of a time namespace are written to procfs whatever the image has there."""
    from pierhead.oci.runtime import TimeOffset
    from tests.support.containers import namespaces

    if not Path("/proc/self/ns/time").exists():
        pytest.skip("needs a kernel with time namespaces")
    proc = make_fake_proc(probe_rootfs)
    before = fingerprint(proc)
    sight = look(
        containers,
        "read=/proc/self/timens_offsets",
        rootfs=probe_rootfs,
        namespaces=namespaces("mount", "pid", "time"),
        time_offsets={"boottime": TimeOffset(secs=1000)},
        networks=(),
    )
    assert "1000" in sight["read=/proc/self/timens_offsets"]["text"]
    assert fingerprint(proc) == before


def test_sysfs_shows_no_other_network(containers: Containers, probe_rootfs: Path) -> None:
    """/sys is of the container's own network namespace, and read-only."""
    sight = look(containers, "list=/sys/class/net", "make=/sys/kernel/x=y", rootfs=probe_rootfs)
    assert sight["list=/sys/class/net"]["names"] == ["lo"]
    assert sight["make=/sys/kernel/x=y"]["errno"] == errno.EROFS


def test_names_of_parameters_may_have_slashes(containers: Containers, probe_rootfs: Path) -> None:
    """Both forms of sysctl(8) name the same file, and a dot that belongs to a name stays one."""
    word = "read=/proc/sys/net/ipv4/conf/lo/forwarding"
    for name in ("net.ipv4.conf.lo.forwarding", "net/ipv4/conf/lo/forwarding"):
        assert look(containers, word, rootfs=probe_rootfs, sysctl={name: "1"})[word]["text"] == "1\n"
    with pytest.raises(OperationFailed, match=r"net/ipv4/conf/eth0\.100/forwarding"):
        containers.start(
            args=(PROBE,), rootfs=str(probe_rootfs), sysctl={"net.ipv4.conf.eth0/100.forwarding": "1"}
        )
