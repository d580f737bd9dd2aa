"""Checks of the parts of ``linux`` that are also checked alone."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci.default import default_spec
from pierhead.oci.document import decode
from pierhead.oci.runtime import Linux, Namespace, Resources, Seccomp, Syscall, SyscallArg
from pierhead.oci.validate import check_spec
from pierhead.oci.validate_linux import check_resources, check_seccomp, sysctl_path

MOUNT_AND_UTS = (Namespace(type="mount"), Namespace(type="uts"))

WRONG_RESOURCES = [
    ({"devices": [{"allow": True, "type": "x"}]}, "devices[0].type: unknown device type 'x'"),
    (
        {"devices": [{"allow": True, "type": "c", "major": -2}]},
        "devices[0].major: expected a device number or -1",
    ),
    (
        {"devices": [{"allow": True, "access": "rwx"}]},
        "devices[0].access: expected letters of rwm, found 'rwx'",
    ),
    ({"memory": {"limit": -2}}, "memory.limit: expected bytes or -1 for no limit, found -2"),
    ({"memory": {"kernelTCP": -2}}, "memory.kernelTCP: expected bytes or -1 for no limit, found -2"),
    (
        {"memory": {"limit": 100, "swap": 50}},
        "memory.swap: 50 is less than the memory limit 100, which it includes",
    ),
    ({"memory": {"limit": -1, "swap": 50}}, "memory.swap: cannot be limited while memory is not"),
    ({"memory": {"swappiness": 201}}, "memory.swappiness: expected 0 to 200, found 201"),
    ({"cpu": {"cpus": "0-"}}, "cpu.cpus: expected a list like 0-3,7, found '0-'"),
    ({"cpu": {"mems": "0;1"}}, "cpu.mems: expected a list like 0-3,7, found '0;1'"),
    ({"cpu": {"idle": 2}}, "cpu.idle: expected 0 or 1, found 2"),
    ({"blockIO": {"weight": 5}}, "blockIO.weight: expected 10 to 1000, found 5"),
    (
        {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 1001}]}},
        "blockIO.weightDevice[0].leafWe",
    ),
    (
        {"network": {"priorities": [{"name": "", "priority": 1}]}},
        "network.priorities[0].name: '' cannot be the name",
    ),
    (
        {"hugepageLimits": [{"pageSize": "2M", "limit": 0}]},
        "hugepageLimits[0].pageSize: expected a size like 2MB",
    ),
    (
        {"hugepageLimits": [{"pageSize": "../MB", "limit": 0}]},
        "hugepageLimits[0].pageSize: expected a size like",
    ),
    ({"rdma": {"a b": {}}}, "rdma: 'a b' cannot be a device's name"),
    ({"unified": {"../memory.max": "1"}}, "unified: '../memory.max' is not the name of a cgroup file"),
    ({"unified": {"memory": "1"}}, "unified: 'memory' is not the name of a cgroup file"),
    ({"unified": {"memory.max": "\0"}}, 'unified["memory.max"]: contains a NUL character'),
]


@pytest.mark.parametrize(("document", "message"), WRONG_RESOURCES)
def test_wrong_resources(document: dict[str, object], message: str) -> None:
    """Each is refused, in a document and, under its own path, for update."""
    resources = decode(Resources, document)
    with pytest.raises(InvalidInput) as caught:
        check_spec(default_spec().replace(linux=Linux(namespaces=MOUNT_AND_UTS, resources=resources)))
    assert str(caught.value).startswith(f"$.linux.resources.{message}")
    with pytest.raises(InvalidInput) as caught:
        check_resources(resources, path="$")
    assert str(caught.value).startswith(f"$.{message}")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
    ],
)
def test_sysctl_path(name: str, path: str) -> None:
    """Both ways of sysctl(8) to write a parameter lead to its file."""
    assert sysctl_path(name) == path


def profile(default: str, *rules: Syscall) -> Seccomp:
    """A profile."""
    return Seccomp(default_action=default, syscalls=rules)


REFUSE = Syscall(names=("execve",), action="SCMP_ACT_ERRNO")
ALLOW = Syscall(names=("read", "execve"), action="SCMP_ACT_ALLOW")


@pytest.mark.parametrize(
    "seccomp",
    [
        profile("SCMP_ACT_ERRNO"),
        profile("SCMP_ACT_KILL"),
        profile("SCMP_ACT_ERRNO", REFUSE),
        profile("SCMP_ACT_ALLOW", REFUSE),
    ],
)
def test_a_profile_under_which_nothing_can_start(seccomp: Seccomp) -> None:
    """A profile that never lets execve through is refused."""
    with pytest.raises(InvalidInput, match=r"^\$\.linux\.seccomp: refuses execve"):
        check_seccomp(seccomp)


@pytest.mark.parametrize(
    "seccomp",
    [
        profile("SCMP_ACT_ALLOW"),
        profile("SCMP_ACT_LOG"),
        profile("SCMP_ACT_ERRNO", ALLOW),
        profile("SCMP_ACT_ERRNO", ALLOW.replace(args=(SyscallArg(index=0, value=1, op="SCMP_CMP_NE"),))),
        profile("SCMP_ACT_ALLOW", REFUSE.replace(args=(SyscallArg(index=0, value=1, op="SCMP_CMP_EQ"),))),
    ],
)
def test_a_profile_under_which_something_can_start(seccomp: Seccomp) -> None:
    """A profile that lets some execve through is not refused."""
    assert check_seccomp(seccomp) == []
