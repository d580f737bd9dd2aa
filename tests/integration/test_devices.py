"""Device nodes in a container, and which devices its cgroup lets it use."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError, Unsupported
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Capabilities, DeviceRule, IDMapping, Resources
from pierhead.runtime import Device
from pierhead.runtime.config import DEFAULT_CAPABILITIES
from tests.support.containers import Containers, namespaces
from tests.support.requires import requires

pytestmark = requires("root")

# Numbers 1:12 and 1:13 are nobody's: where the cgroup allows them, opening fails with another error.


def denied(path: str) -> str:
    """A script that prints 1 if the cgroup denies to read the device, else 0."""
    return f"(exec 3<{path}) 2>&1 | grep -c 'not permitted'"


DENY_ALL = DeviceRule(allow=False, access="rwm")


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (Device(path="/dev/a", type="c", major=1, minor=3), "character special file 1:3 666 0:0"),
        (
            Device(path="/dev/b", type="b", major=7, minor=0, file_mode=0o640, uid=5, gid=6),
            "block special file 7:0 640 5:6",
        ),
        (Device(path="/dev/p", type="p", file_mode=0o600), "fifo 0:0 600 0:0"),
        (Device(path="/dev/u", type="u", major=1, minor=5), "character special file 1:5 666 0:0"),
        (Device(path="/dev/deep/er/c", type="c", major=10, minor=200), "character special file a:c8 666 0:0"),
        (
            Device(path="/dev/big", type="b", major=4095, minor=1048575),
            "block special file fff:fffff 666 0:0",
        ),
        (
            Device(path="/dev/x", type="c", major=1, minor=3, file_mode=0o7777),
            "character special file 1:3 7777 0:0",
        ),
        (Device(path="/elsewhere", type="c", major=1, minor=3), "character special file 1:3 666 0:0"),
    ],
)
def test_a_node(containers: Containers, device: Device, said: str) -> None:
    """Type, number, mode and owner are as asked for; its directory is made."""
    script = f"stat -c '%F %t:%T %a %u:%g' {device.path}"
    assert containers.run(script, devices=(device,), copy_on_write=True).output == f"{said}\n"


def test_a_default_node_can_be_another(containers: Containers) -> None:
    """A device of the configuration takes a default one's place."""
    mine = Device(path="/dev/full", type="c", major=1, minor=7, file_mode=0o600, uid=3)
    assert containers.run("stat -c '%a %u' /dev/full", devices=(mine,)).output == "600 3\n"


def test_a_device_of_the_configuration_may_be_used(containers: Containers) -> None:
    """Its access is allowed in the cgroup without a further word; other devices are not."""
    mine = Device(path="/dev/one", type="c", major=1, minor=12)
    script = f"mknod /dev/two c 1 13; {denied('/dev/one')}; {denied('/dev/two')}"
    assert containers.run(script, devices=(mine,)).words == ["0", "1"]


@pytest.mark.parametrize(
    ("permissions", "reads", "writes"),
    [("r", True, False), ("w", False, True), ("rw", True, True), ("m", False, False)],
)
def test_permissions(containers: Containers, permissions: str, *, reads: bool, writes: bool) -> None:
    """The letters of a device are what the cgroup allows."""
    device = Device(path="/dev/mem1", type="c", major=1, minor=12, permissions=permissions)
    for redirect, allowed in (("3</dev/mem1", reads), ("3>/dev/mem1", writes)):
        said = containers.run(f"exec {redirect}", devices=(device,)).output
        assert ("Operation not permitted" in said) == (not allowed), redirect


def test_a_node_made_inside_gives_no_access(containers: Containers) -> None:
    """Root in a container may make a node of any device, and not open it."""
    said = containers.run("mknod /tmp/kmsg c 1 11 && head -c1 /tmp/kmsg", copy_on_write=True)
    assert "Operation not permitted" in said.output


@pytest.mark.parametrize("exec_too", [False, True])
def test_rules_in_order(containers: Containers, *, exec_too: bool) -> None:
    """Of several rules the last that fits decides."""
    rules = (
        DENY_ALL,
        DeviceRule(allow=True, type="c", major=1, minor=12, access="rwm"),
        DeviceRule(allow=True, type="c", major=1, minor=13, access="rwm"),
        DeviceRule(allow=False, type="c", major=1, minor=13, access="r"),
    )
    script = f"mknod /tmp/m c 1 12; mknod /tmp/k c 1 13; {denied('/tmp/m')}; {denied('/tmp/k')}"
    resources = Resources(devices=rules)
    if exec_too:
        container = containers.running(resources=resources, copy_on_write=True)
        said = containers.exec(container, script)
    else:
        said = containers.run(script, resources=resources, copy_on_write=True)
    assert said.words == ["0", "1"]


def test_a_part_of_what_is_allowed(containers: Containers) -> None:
    """A denial within a wildcard holds on cgroup v2; v1 cannot keep it, and that is an error."""
    rules = (
        DENY_ALL,
        DeviceRule(allow=True, type="c", major=1, access="rwm"),
        DeviceRule(allow=False, type="c", major=1, minor=13, access="r"),
    )
    options: dict[str, Any] = {"resources": Resources(devices=rules), "copy_on_write": True}
    if discover().mode != "v2":
        with pytest.raises(Unsupported, match=r"resources.devices\[2\]"):
            containers.create("true", **options)
        return
    script = f"mknod /tmp/m c 1 12; mknod /tmp/k c 1 13; {denied('/tmp/m')}; {denied('/tmp/k')}"
    assert containers.run(script, **options).words == ["0", "1"]


def test_everything_allowed(containers: Containers) -> None:
    """One rule opens all devices."""
    rules = (DeviceRule(allow=True, access="rwm"),)
    script = f"mknod /tmp/k c 1 12; {denied('/tmp/k')}"
    assert containers.run(script, resources=Resources(devices=rules), copy_on_write=True).output == "0\n"


def test_everything_denied_leaves_what_every_container_needs(containers: Containers) -> None:
    """null, zero, random, tty and its own terminals stay usable, as with every runtime."""
    script = "head -c1 /dev/zero > /dev/null && head -c1 /dev/urandom >/dev/null && echo fine"
    assert containers.run(script, resources=Resources(devices=(DENY_ALL,))).output == "fine\n"


def test_nodes_of_the_host_in_a_user_namespace(containers: Containers) -> None:
    """A node cannot be made there: the host's is bound, if it is the same device."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    kinds = namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user")
    about = os.stat("/dev/full")
    options: dict[str, Any] = {"namespaces": kinds, "uid_mappings": maps, "gid_mappings": maps}
    same = Device(path="/dev/full", type="c", major=os.major(about.st_rdev), minor=os.minor(about.st_rdev))
    assert stat.S_ISCHR(about.st_mode)
    assert containers.run("stat -c %t:%T /dev/full", devices=(same,), **options).output == "1:7\n"
    other = Device(path="/dev/full", type="c", major=1, minor=11)
    with pytest.raises(PierheadError, match="/dev/full"):
        containers.create("true", devices=(other,), **options)


@pytest.mark.parametrize(
    "device",
    [
        Device(path="relative", type="c", major=1, minor=3),
        Device(path="/dev/x", type="z", major=1, minor=3),
        Device(path="/dev/x", type="c", major=-1, minor=3),
        Device(path="/dev/x", type="c", major=1, minor=3, permissions="q"),
    ],
)
def test_devices_that_cannot_be(containers: Containers, device: Device) -> None:
    """They are refused with their path."""
    with pytest.raises(InvalidInput, match="devices"):
        containers.create("true", devices=(device,))


def test_a_file_in_the_nodes_place(containers: Containers) -> None:
    """What stands in the rootfs under that name and is another thing is an error, not a silent success."""
    rootfs = containers.own_rootfs()
    (rootfs / "node").write_text("")
    with pytest.raises(OperationFailed, match=r"/node.*exists"):
        containers.create(
            "true", rootfs=str(rootfs), devices=(Device(path="/node", type="c", major=1, minor=3),)
        )


def test_mknod_needs_its_capability(containers: Containers) -> None:
    """Without CAP_MKNOD none can be made inside."""
    without = tuple(name for name in DEFAULT_CAPABILITIES.bounding if name != "CAP_MKNOD")
    few = Capabilities(bounding=without, effective=without, permitted=without)
    said = containers.run("mknod /tmp/n c 1 3 2>&1", capabilities=few, copy_on_write=True)
    assert "Operation not permitted" in said.output


def test_the_hosts_dev_is_untouched(containers: Containers) -> None:
    """Nothing is made on the host."""
    before = sorted(os.listdir("/dev"))
    containers.run("ls /dev", devices=(Device(path="/dev/pierhead-test", type="c", major=1, minor=3),))
    assert sorted(os.listdir("/dev")) == before
    assert not Path("/dev/pierhead-test").exists()
