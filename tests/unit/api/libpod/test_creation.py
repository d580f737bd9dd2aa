"""Containers that libpod's clients want: what is understood, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.api.libpod.creation import Creation, read_spec, translate
from pierhead.engine.documents import DeviceMapping, PortBinding, ThrottleDevice, Ulimit
from pierhead.errors import InvalidInput, Unsupported


def made(**fields: Any) -> Creation:
    """What becomes of a body."""
    return translate(read_spec({"image": "box", **fields}))


@pytest.mark.parametrize(
    "field",
    [
        {"pod": "web"},
        {"secrets": [{"source": "key"}]},
        {"umask": "0077"},
        {"timeout": 5},
        {"systemd": "always"},
        {"rootfs": "/srv"},
        {"env_host": True},
        {"overlay_volumes": [{"destination": "/o"}]},
        {"cgroups_mode": "disabled"},
        {"image_volume_mode": "tmpfs"},
        {"timezone": "local"},
        {"unified": {"memory.high": "1"}},
        {"resource_limits": {"hugepageLimits": [{"pageSize": "2MB"}]}},
        {"idmappings": {"AutoUserNs": True}},
        {"netns": {"nsmode": "slirp4netns"}},
        {"netns": {"nsmode": "path", "value": "/run/netns/x"}},
        {"userns": {"nsmode": "keep-id"}},
        {"utsns": {"nsmode": "container", "value": "web"}},
        {"mounts": [{"type": "devpts", "destination": "/p"}]},
        {"mounts": [{"type": "bind", "source": "/a", "destination": "/b", "options": ["noexec"]}]},
        {"volumes": [{"Name": "v", "Dest": "/v", "Options": ["U"]}]},
        {"image_volumes": [{"Source": "i", "Destination": "/i", "ReadWrite": True}]},
        {"seccomp_profile_path": "/etc/profile.json"},
        {"mask": ["/proc/x"]},
        {"unmask": ["/proc/x"]},
    ],
)
def test_what_has_no_counterpart_is_refused(field: dict[str, Any]) -> None:
    """Nothing that matters is passed over."""
    with pytest.raises(Unsupported, match=r"engine|client's"):
        made(**field)


@pytest.mark.parametrize(
    "field",
    [
        {"containerCreateCommand": ["podman", "run"]},
        {"umask": "0022"},
        {"systemd": "true"},
        {"unified": {}},
        {"pod": ""},
        {"resource_limits": {"network": {}}},
        {"idmappings": {"HostUIDMapping": True, "HostGIDMapping": True}},
        {"annotations": {"io.podman.annotations.seccomp": "x"}},
    ],
)
def test_what_says_nothing_is_passed_over(field: dict[str, Any]) -> None:
    """Clients send much that means what is so anyway."""
    assert made(**field) == made()


def test_an_image_is_needed() -> None:
    """Without one there is nothing to make."""
    with pytest.raises(InvalidInput, match="needs an image"):
        translate(read_spec({}))


def test_a_wrong_type_names_its_place() -> None:
    """As for Docker's clients."""
    with pytest.raises(InvalidInput, match="portmappings"):
        made(portmappings=[{"container_port": "x"}])


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ({}, ""),
        ({"nsmode": "private"}, "bridge"),
        ({"nsmode": "bridge"}, "bridge"),
        ({"nsmode": "host"}, "host"),
        ({"nsmode": "none"}, "none"),
        ({"nsmode": "container", "value": "web"}, "container:web"),
    ],
)
def test_networks(mode: dict[str, str], wanted: str) -> None:
    """A mode of libpod's is one of Docker's."""
    assert made(netns=mode).host.network_mode == wanted


@pytest.mark.parametrize("name", ["default", "podman", "bridge"])
def test_the_default_network_has_three_names(name: str) -> None:
    """And takes an address."""
    endpoints = made(networks={}, Networks={name: {"static_ips": ["10.0.0.9"]}}).networking.endpoints_config
    wanted = endpoints["bridge"].ipam_config
    assert wanted is not None
    assert wanted.ipv4_address == "10.0.0.9"


def test_ports() -> None:
    """Of a range each, of several protocols each; 0 is any of the host's."""
    host = made(
        portmappings=[
            {"container_port": 80, "host_port": 8080, "range": 2, "protocol": "tcp,udp"},
            {"container_port": 90, "host_ip": "127.0.0.1"},
        ]
    ).host
    assert host.port_bindings == {
        "80/tcp": (PortBinding(host_port="8080"),),
        "81/tcp": (PortBinding(host_port="8081"),),
        "80/udp": (PortBinding(host_port="8080"),),
        "81/udp": (PortBinding(host_port="8081"),),
        "90/tcp": (PortBinding(host_ip="127.0.0.1"),),
    }
    with pytest.raises(InvalidInput, match="no port 65536"):
        made(portmappings=[{"container_port": 65535, "range": 2}])


def test_limits() -> None:
    """No limit is a number of its own in either API; a device may have no place of its own."""
    host = made(
        r_limits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 2**64 - 1}],
        devices=[{"path": "/dev/null:rw"}, {"path": "/dev/a:/dev/b:r"}],
        device_cgroup_rule=[{"allow": True, "type": "c", "major": 1, "access": "rw"}],
        throttleReadBpsDevice={"/dev/null": {"rate": 5}},
        resource_limits={"cpu": {"quota": 5}, "memory": {"disableOOMKiller": True}},
    ).host
    assert host.ulimits == (Ulimit(name="nofile", soft=100, hard=-1),)
    assert host.devices[0] == DeviceMapping(
        path_on_host="/dev/null", path_in_container="/dev/null", cgroup_permissions="rw"
    )
    assert host.devices[1].path_in_container == "/dev/b"
    assert host.device_cgroup_rules == ("c 1:* rw",)
    assert host.blkio_device_read_bps == (ThrottleDevice(path="/dev/null", rate=5),)
    assert (host.cpu_quota, host.oom_kill_disable, host.memory) == (5, True, 0)


def test_scratch_of_a_read_only_root() -> None:
    """Clients of the fifth version leave it to the server; what is mounted there already stays."""
    host = made(
        read_only_filesystem=True,
        read_write_tmpfs=True,
        mounts=[{"type": "bind", "source": "/a", "destination": "/run"}],
    ).host
    assert set(host.tmpfs) == {"/tmp", "/var/tmp"}
    assert not made(read_only_filesystem=True).host.tmpfs


def test_tmpfs() -> None:
    """Everybody may write there, unless a mode is said."""
    mounts = [
        {"type": "tmpfs", "destination": "/a", "options": ["tmpcopyup", "size=1m"]},
        {"type": "tmpfs", "destination": "/b", "options": ["mode=700"]},
    ]
    assert made(mounts=mounts).host.tmpfs == {"/a": "size=1m,mode=1777", "/b": "mode=700"}


def test_logs() -> None:
    """Podman's own file is what ours is; a size is an option of it."""
    config = made(log_configuration={"driver": "k8s-file", "size": 100}).host.log_config
    assert (config.type, config.config) == ("json-file", {"max-size": "100"})
    assert made(log_configuration={"driver": "none"}).host.log_config.type == "none"
