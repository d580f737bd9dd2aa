"""What this machine has, against what the kernel says elsewhere."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from pierhead.engine.documents import DeviceMapping, HostConfig, ThrottleDevice
from pierhead.engine.hostdevices import block_device_numbers, find_devices, list_devices, observe_machine
from pierhead.errors import InvalidInput
from tests.support.requires import requires

pytestmark = requires("root")


def make_node(path: Path, kind: int, major: int, minor: int, mode: int = 0o640) -> None:
    """A device node."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, kind | mode, os.makedev(major, minor))
    os.chmod(path, mode)


def test_machine() -> None:
    """Processors, limits and capabilities are this process's own."""
    machine = observe_machine()
    assert machine.cpus == len(os.sched_getaffinity(0))
    hard = dict(machine.hard_limits)
    if "CAP_SYS_RESOURCE" in machine.capabilities:
        assert not hard
    else:
        assert hard["RLIMIT_NOFILE"] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert "CAP_CHOWN" in machine.capabilities
    assert machine.arch == os.uname().machine


def test_all_devices() -> None:
    """Those of the machine, each once, without what every container has and without terminals."""
    path = Path(f"/dev/pierhead-test-{os.getpid()}/one")
    make_node(path, stat.S_IFCHR, 1, 7)
    try:
        found = list_devices()
    finally:
        path.unlink()
        path.parent.rmdir()
    paths = [device.path for device in found]
    assert str(path) in paths
    assert len(set(paths)) == len(paths)
    assert not {"/dev/null", "/dev/ptmx", "/dev/console"} & set(paths)
    assert not [path for path in paths if path.startswith(("/dev/pts/", "/dev/shm/"))]


def test_devices_of_a_request(tmp_path: Path) -> None:
    """A device under another name; a link to one; all devices below a directory."""
    make_node(tmp_path / "dir/one", stat.S_IFCHR, 1, 3)
    make_node(tmp_path / "dir/sub/two", stat.S_IFBLK, 7, 200, 0o600)
    (tmp_path / "dir/file").write_text("no device")
    (tmp_path / "link").symlink_to("dir/one")
    host = HostConfig(
        devices=(
            DeviceMapping(
                path_on_host=f"{tmp_path}/link", path_in_container="/dev/x", cgroup_permissions="r"
            ),
            DeviceMapping(path_on_host=f"{tmp_path}/dir", path_in_container="/dev/d"),
        )
    )
    found = {device.path: device for device in find_devices(host)}
    assert set(found) == {"/dev/x", "/dev/d/one", "/dev/d/sub/two"}
    assert (found["/dev/x"].type, found["/dev/x"].major, found["/dev/x"].minor) == ("c", 1, 3)
    assert (found["/dev/x"].permissions, found["/dev/x"].file_mode) == ("r", 0o640)
    two = found["/dev/d/sub/two"]
    assert (two.type, two.major, two.minor, two.permissions) == ("b", 7, 200, "rwm")


def test_no_devices(tmp_path: Path) -> None:
    """A missing path and a plain file are refused with Docker's sentence."""
    (tmp_path / "file").touch()
    for name, reason in (("none", "no such file or directory"), ("file", "not a device node")):
        path = f"{tmp_path}/{name}"
        message = f'error gathering device information while adding custom device "{path}": {reason}'
        for call in (
            lambda path=path: find_devices(HostConfig(devices=(DeviceMapping(path_on_host=path),))),
            lambda path=path: block_device_numbers(
                HostConfig(blkio_device_read_bps=(ThrottleDevice(path=path, rate=1),))
            ),
        ):
            with pytest.raises(InvalidInput) as caught:
                call()
            assert caught.value.message == message


def test_block_devices(tmp_path: Path) -> None:
    """Limits of disks name them by number."""
    make_node(tmp_path / "disk", stat.S_IFBLK, 7, 201)
    host = HostConfig(blkio_device_write_iops=(ThrottleDevice(path=f"{tmp_path}/disk", rate=5),))
    assert block_device_numbers(host) == {f"{tmp_path}/disk": (7, 201)}
