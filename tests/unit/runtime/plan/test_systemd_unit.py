"""What a container's systemd unit is told."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Cpu, DeviceRule, Memory, Pids, Resources
from pierhead.runtime.plan.cgroup_paths import SystemdUnit
from pierhead.runtime.plan.cgroups import Controllers, cgroup_writes
from pierhead.runtime.plan.systemd_unit import (
    UNLIMITED,
    annotation_properties,
    bits_of_set,
    device_properties,
    limit_properties,
    parse_variant,
    unit_properties,
)

V1 = Controllers(mode="hybrid", legacy=("cpu", "cpuset", "memory", "pids"))
V2 = Controllers(mode="v2", unified=("cpu", "cpuset", "memory", "pids"))


def limits(resources: Resources, controllers: Controllers = V2, version: int = 257) -> dict[str, Any]:
    """Value by property."""
    properties = limit_properties(cgroup_writes(resources, controllers), version=version)
    return {name: value for name, (_, value) in properties}


def test_a_scope_holds_its_first_process_and_is_delegated() -> None:
    """Its slice, its process, accounting for all, nothing that stops it with the system's services."""
    unit = SystemdUnit(name="x.scope", slice_name="a.slice", path="/a.slice/x.scope")
    properties = dict(unit_properties(unit, "container x", pid=7, legacy=False))
    assert properties == {
        "Description": ("s", "container x"),
        "Slice": ("s", "a.slice"),
        "Delegate": ("b", True),
        "PIDs": ("au", [7]),
        "MemoryAccounting": ("b", True),
        "CPUAccounting": ("b", True),
        "IOAccounting": ("b", True),
        "TasksAccounting": ("b", True),
        "DefaultDependencies": ("b", False),
    }


def test_a_slice_wants_its_parent_and_holds_no_process() -> None:
    """The parent of a slice is in its name."""
    unit = SystemdUnit(name="a-b.slice", slice_name="a.slice", path="/a.slice/a-b.slice")
    properties = dict(unit_properties(unit, "x", pid=7, legacy=True))
    assert properties["Wants"] == ("as", ["a.slice"])
    assert "PIDs" not in properties
    assert "BlockIOAccounting" in properties


RESOURCES = Resources(
    memory=Memory(limit=100, swap=150, reservation=50),
    cpu=Cpu(shares=1024, quota=25000, period=50000, cpus="0-2", mems="0"),
    pids=Pids(limit=64),
    unified={"memory.high": "90", "memory.oom.group": "1"},
)


def test_limits_say_what_the_files_say_on_v2() -> None:
    """The writes that have a property, and the raw files too."""
    assert limits(RESOURCES) == {
        "AllowedCPUs": b"\x07",
        "AllowedMemoryNodes": b"\x01",
        "CPUWeight": 100,
        "MemorySwapMax": 50,
        "MemoryMax": 100,
        "MemoryLow": 50,
        "TasksMax": 64,
        "MemoryHigh": 90,
        "OOMPolicy": "kill",
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": 500000,
    }


def test_limits_say_what_the_files_say_on_v1() -> None:
    """There are fewer properties, with older names."""
    resources = RESOURCES.replace(unified={}, memory=Memory(limit=100))
    assert limits(resources, V1) == {
        "AllowedCPUs": b"\x07",
        "AllowedMemoryNodes": b"\x01",
        "CPUShares": 1024,
        "MemoryLimit": 100,
        "TasksMax": 64,
        "CPUQuotaPeriodUSec": 50000,
        "CPUQuotaPerSecUSec": 500000,
    }


def test_no_limit_is_infinity() -> None:
    """For memory, tasks and quota alike."""
    resources = Resources(memory=Memory(limit=-1), cpu=Cpu(quota=-1), pids=Pids(limit=-1))
    assert limits(resources) == {
        "MemorySwapMax": UNLIMITED,
        "MemoryMax": UNLIMITED,
        "TasksMax": UNLIMITED,
        "CPUQuotaPerSecUSec": UNLIMITED,
    }


def test_an_old_systemd_gets_only_what_it_knows() -> None:
    """AllowedCPUs came with 244, the quota's period with 242, idle with 252."""
    names = set(limits(RESOURCES, version=241))
    assert not names & {"AllowedCPUs", "AllowedMemoryNodes", "CPUQuotaPeriodUSec"}
    assert limits(Resources(cpu=Cpu(idle=1)), version=251) == {}
    assert limits(Resources(cpu=Cpu(idle=1)), version=252) == {"CPUWeight": 0}


@pytest.mark.parametrize(
    ("quota", "period", "expected"), [(1, 100000, 10000), (33333, 100000, 340000), (5000, 0, 50000)]
)
def test_quotas_are_rounded_up_to_percents(quota: int, period: int, expected: int) -> None:
    """Whole percents are all that systemd keeps: rounding down would take from what the file allows."""
    assert limits(Resources(cpu=Cpu(quota=quota, period=period)))["CPUQuotaPerSecUSec"] == expected


@pytest.mark.parametrize(
    ("text", "mask"),
    [("0", b"\x01"), ("0-7", b"\xff"), ("8", b"\x00\x01"), ("0,2-3, 9", b"\x0d\x02"), ("", b"\x00")],
)
def test_sets_become_masks(text: str, mask: bytes) -> None:
    """Lowest byte first."""
    assert bits_of_set(text) == mask


def test_a_set_that_is_none_is_refused() -> None:
    """Words are not numbers."""
    with pytest.raises(InvalidInput):
        bits_of_set("a-b")


def rule(*, allow: bool, text: str = "a *:* rwm") -> DeviceRule:
    """A rule from a line like ``c 1:3 rwm``."""
    kind, numbers, access = text.split()
    major, minor = (None if word == "*" else int(word) for word in numbers.split(":"))
    return DeviceRule(allow=allow, type=kind, major=major, minor=minor, access=access)


def test_device_rules_become_an_allow_list() -> None:
    """Nodes by number, groups by major number or star; what is denied later is taken off."""
    rules = [
        rule(allow=False),
        rule(allow=True, text="c 1:3 rwm"),
        rule(allow=True, text="c 136:* rwm"),
        rule(allow=True, text="b *:* m"),
        rule(allow=True, text="b 8:0 rw"),
        rule(allow=False, text="b 8:0 w"),
        rule(allow=False, text="c 1:3 rwm"),
    ]
    assert device_properties(rules) == [
        ("DevicePolicy", ("s", "strict")),
        ("DeviceAllow", ("a(ss)", [("char-136", "rwm"), ("block-*", "m"), ("/dev/block/8:0", "r")])),
    ]


def test_all_devices_allowed_switches_systemds_policy_off() -> None:
    """There is no way to say "all but these": our own rules alone do then."""
    for rules in (
        [rule(allow=True)],
        [rule(allow=False), rule(allow=True), rule(allow=False, text="c 1:3 w")],
    ):
        assert device_properties(rules)[0] == ("DevicePolicy", ("s", "auto"))


@pytest.mark.parametrize(
    ("text", "signature", "value"),
    [
        ("true", "b", True),
        ("5", "i", 5),
        ("-5", "i", -5),
        ("1.5", "d", 1.5),
        ("'it\\'s'", "s", "it's"),
        ('"a"', "s", "a"),
        ("uint64 90", "t", 90),
        ("byte 0x10", "y", 16),
        ("@as []", "as", []),
        ("['a', 'b, c']", "as", ["a", "b, c"]),
        ("[uint32 1, uint32 2]", "au", [1, 2]),
        ("objectpath '/x'", "o", "/x"),
    ],
)
def test_annotations_are_gvariant_text(text: str, signature: str, value: object) -> None:
    """As systemd-run's users write it, and runc's."""
    assert parse_variant(text) == (signature, value)


@pytest.mark.parametrize(
    "text", ["", "word", "'open", "[]", "[1, 'a']", "uint64 x", "@a{sv} {}", "maybe 1", "boolean 3"]
)
def test_other_text_is_refused(text: str) -> None:
    """With the text in the message."""
    with pytest.raises(InvalidInput):
        parse_variant(text)


def test_annotations_name_properties() -> None:
    """Seconds become microseconds; other annotations are not ours."""
    found = annotation_properties(
        {
            "org.systemd.property.TimeoutStopSec": "90",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.TimeoutStopUSec": "uint64 5",
            "com.example": "x",
        }
    )
    assert found == [
        ("TimeoutStopUSec", ("t", 90_000_000)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("TimeoutStopUSec", ("t", 5)),
    ]


@pytest.mark.parametrize(("name", "value"), [("", "1"), ("ab", "1"), ("a1b", "1"), ("TimeoutStopSec", "'x'")])
def test_bad_annotations_are_refused(name: str, value: str) -> None:
    """A property's name has letters only; seconds are a number."""
    with pytest.raises(InvalidInput, match="annotation org"):
        annotation_properties({f"org.systemd.property.{name}": value})
