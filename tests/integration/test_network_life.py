"""Links of the host's own, through the lives of containers that get them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import OperationFailed, PierheadError
from pierhead.linux.netlink import NetlinkSocket
from pierhead.oci.runtime import NetDevice
from pierhead.runtime import Network
from pierhead.runtime.state import StateDirectory
from tests.support.containers import Containers, namespaces
from tests.support.netns import private_namespace
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

USUAL = ("mount", "uts", "ipc", "pid", "network", "cgroup")
OUTER = "pierlife0"
"""A veth's end on the host; no other test has this name."""


@pytest.fixture
def device() -> Iterator[str]:
    """A device of the host, up and with an address."""
    name = "pierdev0"
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "192.0.2.7/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", f"{name}p"], check=False, capture_output=True)


def veth() -> Network:
    """A pair whose outer end has a name of its own."""
    return Network(type="veth", name="eth0", host_interface_name=OUTER)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"args": ("/nope",)},
        {"process": {"cwd": "/etc/passwd"}},
        {"readonly_paths": ("/etc/../etc/" + "n" * 300,)},
    ],
    ids=["program", "directory", "path"],
)
def test_a_launch_that_fails_gives_devices_back(
    containers: Containers, device: str, changes: dict[str, Any], *, gate: bool
) -> None:
    """Whatever fails after it was moved: the host's device is there, with its name, up, with its address."""
    make = containers.create if gate else containers.start
    with pytest.raises(PierheadError) as caught:
        make("true", net_devices={device: NetDevice(name="inner")}, networks=(veth(),), **changes)
    assert not getattr(caught.value, "__notes__", [])
    with NetlinkSocket.open() as host:
        link = host.get_link(device)
        assert link.up
        assert "192.0.2.7/24" in {each.address for each in host.addresses(link)}
        assert host.find_link(OUTER) is None


@pytest.mark.parametrize("gate", [True, False])
def test_a_launch_that_cannot_be_recorded_gives_devices_back(
    containers: Containers, device: str, monkeypatch: pytest.MonkeyPatch, *, gate: bool
) -> None:
    """The last step before a launch holds fails: what runs already loses the device all the same."""

    def save(*_: object) -> None:
        raise OperationFailed("cannot write state.json: no space left on device")

    monkeypatch.setattr(StateDirectory, "save", save)
    make = containers.create if gate else containers.start
    with pytest.raises(OperationFailed, match="no space") as caught:
        make("sleep 100", net_devices={device: NetDevice(name="inner")})
    assert not getattr(caught.value, "__notes__", [])
    with NetlinkSocket.open() as host:
        assert host.get_link(device).up


def test_devices_move_into_a_namespace_that_is_joined(containers: Containers, device: str) -> None:
    """As in a Kubernetes pod, whose network others have made."""
    with private_namespace() as pod:
        joined = namespaces(
            *(kind for kind in USUAL if kind != "network"), network=f"/proc/{pod.holder_pid}/ns/net"
        )
        finished = containers.run(
            "cat /proc/net/dev", namespaces=joined, net_devices={device: NetDevice(name="inner")}
        )
        assert "inner:" in finished.output
        assert pod.netlink.get_link("inner").up
        assert not Path("/sys/class/net", device).exists()


def test_a_missing_device_of_a_joined_namespace(containers: Containers) -> None:
    """Is told, and not passed over."""
    with private_namespace() as pod:
        joined = namespaces(
            *(kind for kind in USUAL if kind != "network"), network=f"/proc/{pod.holder_pid}/ns/net"
        )
        with pytest.raises(PierheadError, match="there is no network device pierdev9 on the host"):
            containers.create("true", namespaces=joined, net_devices={"pierdev9": NetDevice()})


def test_a_deleted_container_has_no_link_on_the_host(containers: Containers) -> None:
    """The next one may have a link of the same name at once: the kernel would take its time.

    Asked by netlink: in sysfs a link may be seen a moment longer, where no new one's name is looked for.
    """
    with NetlinkSocket.open() as host:
        for _ in range(12):
            container = containers.running(networks=(veth(),))
            assert host.find_link(OUTER) is not None
            container.kill(9)
            container.wait(60)
            container.delete()
            assert host.find_link(OUTER) is None
