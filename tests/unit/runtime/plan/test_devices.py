"""Device rules as lines of cgroup v1's files."""

from __future__ import annotations

import pytest

from pierhead.errors import Unsupported
from pierhead.oci.runtime import DeviceRule, Resources
from pierhead.runtime.plan.cgroups import Controllers, cgroup_writes
from pierhead.runtime.plan.devices import device_lines

V1 = Controllers(mode="v1", legacy=("devices",))
HYBRID = Controllers(mode="hybrid", legacy=("devices",), unified=("pids",))
V2 = Controllers(mode="v2", unified=("pids",))


def written(rules: tuple[DeviceRule, ...], controllers: Controllers) -> list[tuple[str, str]]:
    """File and value of each write."""
    return [(write.file, write.value) for write in cgroup_writes(Resources(devices=rules), controllers)]


@pytest.mark.parametrize(
    ("denied", "allowed", "fits"),
    [
        (
            DeviceRule(allow=False, type="c", major=1, minor=3),
            DeviceRule(allow=True, type="c", major=1),
            False,
        ),
        (
            DeviceRule(allow=False, type="c", major=1, minor=3),
            DeviceRule(allow=True, type="a", major=1),
            False,
        ),
        (
            DeviceRule(allow=False, type="a", major=1),
            DeviceRule(allow=True, type="c", major=1, minor=3),
            False,
        ),
        (DeviceRule(allow=False, type="c", major=1), DeviceRule(allow=True, type="c", major=1), True),
        (
            DeviceRule(allow=False, type="c", major=1, minor=3),
            DeviceRule(allow=True, type="c", major=2),
            True,
        ),
        (
            DeviceRule(allow=False, type="b", major=1, minor=3),
            DeviceRule(allow=True, type="c", major=1),
            True,
        ),
        (
            DeviceRule(allow=False, type="c", major=1, minor=3),
            DeviceRule(allow=True, type="c", access="m"),
            False,
        ),
        (
            DeviceRule(allow=False, type="c", major=1, minor=3, access="w"),
            DeviceRule(allow=True, type="c", access="m"),
            True,
        ),
    ],
)
def test_a_denial_that_v1_would_pass_over_is_refused(
    denied: DeviceRule, allowed: DeviceRule, *, fits: bool
) -> None:
    """The kernel keeps a wildcard whole: a rule that takes a part of it away cannot be kept there."""
    rules = (DeviceRule(allow=False, access="rwm"), allowed, denied)
    if fits:
        assert len(written(rules, V1)) >= 3
    else:
        with pytest.raises(Unsupported, match=r"devices\[2\]: cgroup v1 cannot deny a part"):
            written(rules, V1)
    assert written(rules, V2) == []


def test_devices_are_written_for_v1_only() -> None:
    """A rule that denies all begins, then come the exceptions; cgroup2 gets a program instead."""
    rules = (
        DeviceRule(allow=False, access="rwm"),
        DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm"),
        DeviceRule(allow=True, type="c", major=136, access="rwm"),
        DeviceRule(allow=True, type="b", major=-1, minor=-1, access="m"),
        DeviceRule(allow=False, type="c", major=1, minor=3, access="w"),
    )
    assert written(rules, V1) == [
        ("devices.deny", "a"),
        ("devices.allow", "c 1:3 rwm"),
        ("devices.allow", "c 136:* rwm"),
        ("devices.allow", "b *:* m"),
        ("devices.deny", "c 1:3 w"),
    ]
    assert written(rules, V2) == []
    assert len(written(rules, HYBRID)) == 5
    with pytest.raises(Unsupported, match="devices: this machine has no devices cgroup controller"):
        written(rules, Controllers(mode="hybrid", legacy=("cpu",)))


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        (DeviceRule(allow=True), ("a",)),
        (DeviceRule(allow=True, type="a", access="mrw"), ("a",)),
        (DeviceRule(allow=True, type="a", access="m"), ("b *:* m", "c *:* m")),
        (DeviceRule(allow=True, type="a", major=8), ("b 8:* rwm", "c 8:* rwm")),
        (DeviceRule(allow=True, type="u", major=1, minor=5), ("c 1:5 rwm",)),
    ],
)
def test_device_lines(rule: DeviceRule, lines: tuple[str, ...]) -> None:
    """``a`` swallows access letters in the kernel, so it stands only for really everything."""
    assert device_lines(rule) == lines
