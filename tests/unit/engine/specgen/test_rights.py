"""Capabilities, system call filters, security options."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pierhead.engine.documents import HostConfig
from pierhead.engine.specgen import Ground, Root
from pierhead.engine.specgen.rights import granted_capabilities, parse_security_options
from pierhead.engine.specgen.seccompprofile import parse_profile
from pierhead.errors import InvalidInput
from pierhead.oci.numbers import CAPABILITIES
from pierhead.oci.runtime import Seccomp
from pierhead.runtime.config import DEFAULT_CAPABILITIES
from tests.support.requests import MACHINE, filled, planned

USUAL = set(DEFAULT_CAPABILITIES.bounding)
WORK = {"names": ["execve"], "action": "SCMP_ACT_ALLOW"}


def granted(**fields: Any) -> set[str]:
    """Capabilities of a container."""
    sets = granted_capabilities(HostConfig(**fields), MACHINE)
    assert sets.bounding == sets.effective == sets.permitted
    assert sets.inheritable == sets.ambient == ()
    return set(sets.bounding)


def test_capabilities() -> None:
    """Docker's set, more and less; any case, with and without the prefix."""
    assert granted() == USUAL
    assert granted(cap_add=("net_admin",), cap_drop=("CAP_CHOWN",)) == USUAL - {"CAP_CHOWN"} | {
        "CAP_NET_ADMIN"
    }
    assert granted(cap_drop=("all",), cap_add=("Chown",)) == {"CAP_CHOWN"}
    assert granted(cap_drop=("ALL",)) == set()
    assert granted(cap_add=("ALL",), cap_drop=("SYS_ADMIN",)) == set(CAPABILITIES) - {"CAP_SYS_ADMIN"}
    assert granted(privileged=True, cap_drop=("CHOWN",)) == set(CAPABILITIES)


def test_nobody_hands_on_what_they_lack() -> None:
    """Not even a privileged container has what the engine has not."""
    weak = MACHINE.replace(capabilities=("CAP_CHOWN", "CAP_SYS_ADMIN"))
    assert granted_capabilities(HostConfig(privileged=True), weak).bounding == ("CAP_CHOWN", "CAP_SYS_ADMIN")
    assert granted_capabilities(HostConfig(), weak).bounding == ("CAP_CHOWN",)


def test_security_options() -> None:
    """Both separators, words without a value, the last of a kind."""
    found = parse_security_options(
        ("apparmor:one", "apparmor=two", "no-new-privileges", "label:disable", "seccomp={}")
    )
    assert (found.apparmor, found.no_new_privileges, found.seccomp) == ("two", True, "{}")
    assert found.labels == ("disable",)
    assert not parse_security_options(("no-new-privileges=false",)).no_new_privileges


def test_apparmor_where_there_is_none() -> None:
    """A profile that would protect nothing is refused, and ``unconfined`` is not."""
    with pytest.raises(InvalidInput, match="AppArmor is not enabled"):
        filled(HostConfig(security_opt=("apparmor=mine",)))
    filled(HostConfig(security_opt=("apparmor=unconfined",)))
    able = MACHINE.replace(apparmor=True)
    made = planned(HostConfig(security_opt=("apparmor=mine",)), machine=able)
    assert made.apparmor_profile == "mine"


def test_filters() -> None:
    """The default, none, none for privileged ones, one that is given."""
    text = json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [WORK]})
    ground = Ground(root=Root(rootfs="/r"), apparmor_profile="engine-default")
    for fields, expected in (
        ({}, "default"),
        ({"security_opt": ("seccomp=unconfined",)}, "unconfined"),
        ({"privileged": True}, "unconfined"),
        ({"security_opt": ("seccomp=builtin",), "privileged": True}, "default"),
    ):
        made = planned(HostConfig(**fields), ground=ground)
        assert made.seccomp == expected
        assert made.apparmor_profile == ("" if "privileged" in fields else "engine-default")
    of_the_engine = planned(ground=ground.replace(seccomp=text)).seccomp
    given = planned(HostConfig(security_opt=(f"seccomp={text}",)))
    assert of_the_engine == given.seccomp
    assert isinstance(given.seccomp, Seccomp)
    assert given.seccomp.syscalls[0].names == ("execve",)


def test_a_filter_that_is_none_is_found_at_creation() -> None:
    """Who gives a text that is no profile is told so before there is a container."""
    with pytest.raises(InvalidInput, match=r"^Decoding seccomp profile failed: "):
        filled(HostConfig(security_opt=("seccomp=/etc/profile.json",)))


def profile(**changes: Any) -> str:
    """A profile's text."""
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [WORK], **changes})


def names(text: str, *capabilities: str, arch: str = "x86_64", kernel: tuple[int, int] = (6, 1)) -> list[str]:
    """System calls for which the profile has rules here."""
    return [name for rule in parse_profile(text, capabilities, arch, kernel).syscalls for name in rule.names]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"includes": {"caps": ["CAP_BPF"]}}, False),
        ({"includes": {"caps": ["CAP_KILL"]}}, True),
        ({"excludes": {"caps": ["CAP_KILL"]}}, False),
        ({"includes": {"arches": ["arm64"]}}, False),
        ({"includes": {"arches": ["amd64", "x32"]}}, True),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"minKernel": "6.2"}}, True),
    ],
)
def test_rules_that_hold_here(condition: dict[str, Any], *, holds: bool) -> None:
    """Docker's conditions choose rules by capabilities, machine and kernel."""
    text = profile(syscalls=[WORK, {"name": "bpf", "action": "SCMP_ACT_ALLOW", **condition}])
    assert ("bpf" in names(text, "CAP_KILL")) == holds


def test_architectures() -> None:
    """The machine's own and its older ones; nothing where the map does not know the machine."""
    maps = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ]
    found = parse_profile(profile(archMap=maps), (), "aarch64", (6, 1))
    assert found.architectures == ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")
    with pytest.raises(InvalidInput, match="use either 'architectures' or 'archMap'"):
        parse_profile(profile(archMap=maps, architectures=["SCMP_ARCH_X86"]), (), "x86_64", (6, 1))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"defaultAction": "SCMP_ACT_NO"}', profile(syscalls=[{"action": "SCMP_ACT_ALLOW"}])],
)
def test_no_profiles(text: str) -> None:
    """What is no profile is refused."""
    with pytest.raises(InvalidInput, match=r"^Decoding seccomp profile failed: "):
        parse_profile(text, (), "x86_64", (6, 1))
