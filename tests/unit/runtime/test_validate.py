"""Checks of configurations, one wrong thing at a time."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci import numbers
from pierhead.oci import runtime as oci
from pierhead.runtime.config import (
    DEFAULT_NAMESPACES,
    Config,
    Device,
    Mount,
    Network,
    ProcessSpec,
    RootOverlay,
    Route,
)
from pierhead.runtime.plan import seccomp
from pierhead.runtime.validate import check_config, check_process_spec
from pierhead.runtime.wire import Operation, encode_operations

SHELL = ProcessSpec(args=("sh",))
LONG_MAPS = tuple(
    oci.IDMapping(container_id=1_000_000_000 + number, host_id=2_000_000_000 + number, size=1)
    for number in range(330)
)
VETH = Network(type="veth", name="eth0")


def veth(**fields: Any) -> dict[str, Any]:
    """The change that makes one veth the only interface."""
    return {"networks": (VETH.replace(**fields),)}


def route(**fields: Any) -> dict[str, Any]:
    """The change that makes one route."""
    return {"routes": (Route(**fields),)}


def overlay(*lower: str, **fields: Any) -> dict[str, Any]:
    """The change that makes the root an overlay."""
    return {"root_overlay": RootOverlay(lower=lower, **fields)}


def process(**fields: Any) -> dict[str, Any]:
    """The change that changes the process."""
    return {"process": SHELL.replace(**fields)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rootfs": "root"}, "$.rootfs: expected an absolute path, found 'root'"),
        ({"rootfs": "/a\0"}, "$.rootfs: contains a NUL character"),
        ({"pivot_dir": "/old"}, "$.pivot_dir: expected the name of one directory, found '/old'"),
        ({"pivot_dir": "a/old"}, "$.pivot_dir: expected the name of one directory, found 'a/old'"),
        ({"pivot_dir": ".."}, "$.pivot_dir: expected the name of one directory, found '..'"),
        ({"cgroup_manager": "docker"}, "$.cgroup_manager: unknown cgroup manager 'docker'"),
        ({"freezer_state": "FROZEN"}, "$.freezer_state: unknown freezer state 'FROZEN'"),
        ({"cgroup_parent": "/a/.."}, "$.cgroup_parent: '/a/..' contains '..'"),
        ({"cgroup_path": ".."}, "$.cgroup_path: '..' contains '..'"),
        ({"seccomp": "none"}, "$.seccomp: unknown seccomp profile 'none'"),
        ({"seccomp": oci.Seccomp(default_action="X")}, "$.seccomp.defaultAction: unknown action 'X'"),
        ({"parent_death_signal": 65}, "$.parent_death_signal: expected a signal's number or 0, found 65"),
        ({"umask": 0o1000}, "$.umask: expected 0 to 511 (0777), found 512"),
        ({"systemd_properties": {"a b": ""}}, "$.systemd_properties: 'a b' cannot be the name of a systemd"),
        (
            {"devices": (Device(path="/d", type="c", permissions="x"),)},
            "$.devices[0].permissions: expected letters of rwm, found 'x'",
        ),
        (
            {"devices": (Device(path="d", type="c"),)},
            "$.devices[0].path: expected an absolute path, found 'd'",
        ),
        (overlay(), "$.root_overlay.lower: expected 1 to 500 directories, found 0"),
        (overlay(*map(str, range(501))), "$.root_overlay.lower: expected 1 to 500 directories, found 501"),
        (overlay("/a", "b"), "$.root_overlay.lower[1]: expected an absolute path, found 'b'"),
        (overlay("/a\0"), "$.root_overlay.lower[0]: contains a NUL character"),
        (overlay("/a", "/b", "/a/"), "$.root_overlay.lower[2]: /a/ is there already"),
        (overlay("/a", upper="/b"), "$.root_overlay.work: expected an absolute path, found ''"),
        (overlay("/a", work="/b"), "$.root_overlay.upper: expected an absolute path, found ''"),
        (overlay(upper="/a", work="/b"), "$.root_overlay.work: has no use without lower"),
        (overlay(upper="a"), "$.root_overlay.upper: expected an absolute path, found 'a'"),
        (overlay("/a", upper="/a", work="/b"), "$.root_overlay.upper: /a is there already"),
        (overlay("/a", upper="/b", work="/b"), "$.root_overlay.work: /b is there already"),
        (overlay("/a", upper="/b", work="/b/c"), "$.root_overlay.work: upper and work may not be one inside"),
        (overlay("/a", upper="/b/c", work="/b"), "$.root_overlay.work: upper and work may not be one inside"),
        ({**overlay("/a"), "copy_on_write": True}, "$.root_overlay: cannot be together with copy_on_write"),
        # what OCI documents say too, under the library's names
        ({"mask_paths": ("\0",)}, "$.mask_paths[0]: contains a NUL character"),
        ({"mask_paths": ("/x", "/")}, "$.mask_paths[1]: names the root itself, which cannot be covered"),
        ({"readonly_paths": ("/dev/..//",)}, "$.readonly_paths[0]: names the root itself"),
        (
            {"mounts": (Mount(destination="/x", source="/y", options=("rbind",), label="system_u"),)},
            "$.mounts[0].label: is of no effect: a bind has its source's labels",
        ),
        (
            {
                "namespaces": (*DEFAULT_NAMESPACES, oci.Namespace(type="user")),
                "uid_mappings": LONG_MAPS,
                "gid_mappings": LONG_MAPS,
            },
            "$.uid_mappings: is 7920 bytes as text, and the kernel takes 4095",
        ),
        ({"namespaces": (), "networks": ()}, "$.mounts: needs a mount namespace"),
        ({"namespaces": (), "networks": (), "mounts": ()}, "$.mask_paths: needs a mount namespace"),
        (
            {"uid_mappings": (oci.IDMapping(container_id=0, host_id=0, size=1),)},
            "$.uid_mappings: needs a user",
        ),
        ({"sysctl": {"vm.x": "1"}}, '$.sysctl["vm.x"]: is not a parameter of any namespace'),
        (
            {"resources": oci.Resources(memory=oci.Memory(limit=-5))},
            "$.resources.memory.limit: expected bytes or",
        ),
        ({"rootfs_propagation": "x"}, "$.rootfs_propagation: unknown propagation 'x'"),
        (
            {"mounts": (Mount(destination="/proc/self", type="proc"),)},
            "$.mounts[0].destination: '/proc/self' cannot",
        ),
        (
            {"hooks": oci.Hooks(poststop=(oci.Hook(path="x"),))},
            "$.hooks.poststop[0].path: expected an absolute",
        ),
        ({"time_offsets": {"boottime": oci.TimeOffset()}}, "$.time_offsets: needs a new time namespace"),
        # of every process, or of the first alone
        ({"oom_score_adj": 2000}, "$.oom_score_adj: expected -1000 to 1000, found 2000"),
        (process(oom_score_adj=2000), "$.process.oom_score_adj: expected -1000 to 1000, found 2000"),
        ({"oom_score_adj": 2000, "process": None}, "$.oom_score_adj: expected -1000 to 1000, found 2000"),
        (
            {"rlimits": (oci.Rlimit(type="X", soft=0, hard=0),)},
            "$.rlimits[0].type: unknown resource limit 'X'",
        ),
        (
            process(io_priority=oci.IOPriority(class_="X")),
            "$.process.io_priority.class: unknown I/O priority class 'X'",
        ),
        ({"scheduler": oci.Scheduler(policy="X")}, "$.scheduler.policy: unknown scheduling policy 'X'"),
        (process(args=()), "$.process.args: is empty"),
        (process(cwd="x"), "$.process.cwd: expected an absolute path, found 'x'"),
        # users
        (process(user=""), "$.process.user: '' is neither an id nor a name"),
        (process(user="a:b:c"), "$.process.user: expected user[:group], found 'a:b:c'"),
        (process(user="a:"), "$.process.user: '' is neither an id nor a name"),
        (process(user="1000 "), "$.process.user: '1000 ' is neither an id nor a name"),
        (process(user="-1"), "$.process.user: '-1' is neither an id nor a name"),
        (process(user="+5"), "$.process.user: '+5' is neither an id nor a name"),
        (process(user="4294967295"), "$.process.user: 4294967295 is not an id"),
        (process(user="a\nb"), "$.process.user: 'a\\nb' is neither an id nor a name"),
        (process(additional_groups=(-1,)), "$.process.additional_groups: -1 is not an id"),
        ({"additional_groups": ("a,b",)}, "$.additional_groups: 'a,b' is neither an id nor a name"),
        # networks
        ({"networks": (Network(type="macvlan"),)}, "$.networks[0].type: unknown network type 'macvlan'"),
        (
            {"namespaces": (oci.Namespace(type="mount"),), **veth()},
            "$.networks[0]: needs a new network namespace",
        ),
        ({"networks": (VETH, VETH)}, "$.networks[1].name: two interfaces are called eth0"),
        (veth(name="a/b"), "$.networks[0].name: 'a/b' cannot be the name of a network interface"),
        (
            veth(bridge="x" * 16),
            f"$.networks[0].bridge: '{'x' * 16}' cannot be the name of a network interface",
        ),
        (veth(mac_address="02:42"), "$.networks[0].mac_address: expected an address like 02:42:ac:11:00:02"),
        (veth(mac_address="0:2:4:2:a:c"), "$.networks[0].mac_address: expected an address like"),
        (
            veth(mac_address="01:00:5e:00:00:01"),
            "$.networks[0].mac_address: 01:00:5e:00:00:01 is not the address of",
        ),
        (veth(mtu=67), "$.networks[0].mtu: expected 68 to 65535, found 67"),
        (veth(tx_queue_len=-1), "$.networks[0].tx_queue_len: expected 0 to 4294967295, found -1"),
        (
            veth(address="10.0.0.2"),
            "$.networks[0].address: expected an address with a prefix length like /24",
        ),
        (
            veth(address="10.0.0.2/33"),
            "$.networks[0].address: expected an address with a prefix length like /24",
        ),
        (veth(address="10.0.2/24"), "$.networks[0].address: expected an IPv4 address, found '10.0.2/24'"),
        (veth(address="fd00::2/64"), "$.networks[0].address: expected an IPv4 address, found 'fd00::2/64'"),
        (veth(gateway="10.0.0.1/24"), "$.networks[0].gateway: expected an address without a prefix length"),
        (veth(ipv6_address="10.0.0.2/24"), "$.networks[0].ipv6_address: expected an IPv6 address, found"),
        (
            veth(ipv6_gateway="fd00::g"),
            "$.networks[0].ipv6_gateway: expected an IPv6 address, found 'fd00::g'",
        ),
        # routes
        (route(destination="10.0.0.0/8"), "$.routes[0]: needs a gateway or an interface_name"),
        (
            route(destination="x/8", gateway="10.0.0.1"),
            "$.routes[0].destination: expected an IPv4 or IPv6 address",
        ),
        (route(gateway="fd00::1", source="10.0.0.1"), "$.routes[0]: mixes IPv4 and IPv6"),
        (
            {"namespaces": (oci.Namespace(type="mount"),), **route(gateway="10.0.0.1")},
            "$.routes[0]: needs a new network namespace",
        ),
    ],
)
def test_wrong_configurations(changes: dict[str, Any], message: str) -> None:
    """Each is refused by a sentence that begins with the path of the culprit in the library's own form."""
    config = Config(**{"rootfs": "/r", "process": SHELL, **changes})
    with pytest.raises(InvalidInput) as caught:
        check_config(config)
    assert str(caught.value).startswith(message)
    assert message.startswith(f"{caught.value.path}: ")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"process": None},
        {
            "cgroup_manager": "systemd",
            "cgroup_parent": "system.slice",
            "systemd_properties": {"CPUWeight": "uint64 5"},
        },
        {"freezer_state": "frozen", "seccomp": "unconfined", "parent_death_signal": 9, "umask": 0o077},
        process(user="1000"),
        process(user="www-data:adm", additional_groups=("docker", 5)),
        process(user=oci.User(uid=5, gid=5, additional_gids=(7,))),
        {"networks": ()},
        veth(
            bridge="docker0",
            mac_address="02:42:ac:11:00:02",
            address="172.17.0.2/16",
            gateway="172.17.0.1",
            ipv6_address="fd00::2/64",
            ipv6_gateway="fe80::1",
            mtu=1500,
            tx_queue_len=1000,
            hairpin_mode=True,
            host_interface_name="veth1",
        ),
        overlay("/a"),
        overlay(upper="/a"),
        overlay("/a", "/b", upper="/box/fs", work="/box/work", mapped=False),
        overlay("/a", upper="/box", work="/box-work"),
        route(gateway="172.17.0.1"),
        route(destination="fd01::/64", interface_name="eth0"),
    ],
)
def test_right_configurations(changes: dict[str, Any]) -> None:
    """Each is accepted without a warning."""
    assert check_config(Config(**{"rootfs": "/r", "process": SHELL, **changes})) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rootfs": Path("/r")},
            # Python 3.13 moved the class to another module
            f"$.rootfs: expected a string, found a {type(Path()).__module__}.PosixPath",
        ),
        ({"hostname": 5}, "$.hostname: expected a string, found a whole number"),
        ({"umask": True}, "$.umask: expected a whole number, found true or false"),
        ({"capabilities": ["CAP_KILL"]}, "$.capabilities: expected a Capabilities, found a list"),
        ({"seccomp": None}, "$.seccomp: expected a Seccomp or a string, found null"),
        ({"mask_paths": ["/x"]}, "$.mask_paths: expected a tuple, found a list"),
        ({"mask_paths": (5,)}, "$.mask_paths[0]: expected a string, found a whole number"),
        ({"annotations": {"a": 1}}, "$.annotations.a: expected a string, found a whole number"),
        ({"annotations": {1: "a"}}, "$.annotations: expected strings as names, found 1"),
        (
            {"mounts": (oci.Mount(destination="/x"),)},
            "$.mounts[0]: expected a Mount, found a pierhead.oci.runtime.Mount",
        ),
        (process(args="/bin/true"), "$.process.args: expected a tuple, found a string"),
        (process(user=1000), "$.process.user: expected a User or a string, found a whole number"),
        (veth(mtu="1500"), "$.networks[0].mtu: expected a whole number, found a string"),
        (
            {"resources": oci.Resources(memory=oci.Memory().replace(limit="64M"))},
            "$.resources.memory.limit: expected a whole number, found a string",
        ),
        # what would be another number on its way to the kernel
        (
            {"rlimits": (oci.Rlimit(type="RLIMIT_NOFILE", soft=2**64 + 50, hard=2**64 + 100),)},
            "$.rlimits[0].soft: expected 0 to 18446744073709551615, found 18446744073709551666",
        ),
        (
            {"time_offsets": {"boottime": oci.TimeOffset(secs=2**70)}},
            "$.time_offsets.boottime.secs: expected -9223372036854775808 to 9223372036854775807, found",
        ),
        (process(user=oci.User(uid=2**32)), "$.process.user.uid: expected 0 to 4294967295, found 4294967296"),
        (process(user=oci.User(additional_gids=(-1,))), "$.process.user.additionalGids[0]: expected 0 to"),
        (
            {"resources": oci.Resources(cpu=oci.Cpu(shares=-5))},
            "$.resources.cpu.shares: expected 0 to 18446744073709551615, found -5",
        ),
    ],
)
def test_wrong_types(changes: dict[str, Any], message: str) -> None:
    """What no document could say is refused by the place that holds it, before anybody trips over it."""
    config = Config(**{"rootfs": "/r", "process": SHELL, **changes})
    with pytest.raises(InvalidInput) as caught:
        check_config(config)
    assert str(caught.value).startswith(message)
    assert message.startswith(f"{caught.value.path}: ")


def test_numbers_of_enumerations() -> None:
    """Python's own names of numbers and texts count as what they are."""
    config = Config(rootfs="/r", process=SHELL, parent_death_signal=signal.SIGTERM)
    assert check_config(config) == []


def test_warnings_have_own_paths() -> None:
    """Warnings too speak of the configuration, not of a document that nobody wrote."""
    config = Config(rootfs="/r", capabilities=oci.Capabilities(bounding=("CAP_FLY",)))
    assert check_config(config) == ["$.capabilities.bounding: CAP_FLY is not known and is ignored"]


def test_process_alone() -> None:
    """The process of an exec is checked alone."""
    assert check_process_spec(SHELL) == []
    with pytest.raises(InvalidInput, match=r"^\$\.oom_score_adj: expected"):
        check_process_spec(SHELL.replace(oom_score_adj=5000))
    with pytest.raises(InvalidInput, match=r"^\$\.user: "):
        check_process_spec(SHELL.replace(user="root:"))
    with pytest.raises(InvalidInput, match=r"^\$\.args: expected a tuple, found a string"):
        check_process_spec(SHELL.replace(args="true"))


def test_filter_names_are_one_list() -> None:
    """What the checks accept in a filter is what the compiler of filters knows."""
    assert set(numbers.SECCOMP_ACTIONS) == set(seccomp.ACTIONS)
    assert set(numbers.SECCOMP_OPERATORS) == set(seccomp.OPERATORS)
    assert set(numbers.SECCOMP_FLAGS) == set(seccomp.FLAGS)


def test_numbers_keep_their_value_on_the_wire() -> None:
    """One that 64 bits cannot hold is an error of ours, and never becomes another one."""
    encoded = [encode_operations([Operation(name="umask", arguments=(number,))], {}) for number in (-1, 7)]
    assert [each[-8:] for each in encoded] == [b"\xff" * 8, b"\x07" + bytes(7)]
    for number in (2**64, -(2**63) - 1):
        with pytest.raises(OverflowError):
            encode_operations([Operation(name="umask", arguments=(number,))], {})
