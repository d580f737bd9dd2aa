"""Device programs, against a plain reading of the rules."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import DeviceRule
from pierhead.runtime.plan.device_program import compile_device_program, disassemble
from tests.support.ebpf_machine import check, run

BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
KINDS = {BLOCK: "b", CHAR: "c"}
LETTERS = {MKNOD: "m", READ: "r", WRITE: "w"}

rules = st.builds(
    lambda allow, kind, major, minor, access: DeviceRule(
        allow=allow, type=kind, major=major, minor=minor, access=access
    ),
    st.booleans(),
    st.sampled_from(("", "a", "b", "c")),
    st.sampled_from((None, -1, 0, 1, 8, 2**31 - 1)),
    st.sampled_from((None, -1, 0, 3, 5)),
    st.sampled_from(("", "r", "w", "m", "rw", "rm", "mw", "rwm", "rr")),
)


def about(rule: DeviceRule, kind: int, major: int, minor: int) -> bool:
    """Whether a rule is about a device."""
    return (
        rule.type in ("", "a", KINDS[kind])
        and rule.major in (None, -1, major)
        and rule.minor in (None, -1, minor)
    )


def granted(rules: list[DeviceRule], kind: int, access: int, major: int, minor: int) -> bool:
    """Whether the rules grant a request: each kind of access by the last rule about it."""
    matching = [rule for rule in rules if about(rule, kind, major, minor)]
    if not access:
        decisive = [rule for rule in matching if rule.allow or set(rule.access or "rwm") == set("rwm")]
        return bool(decisive) and decisive[-1].allow
    for bit, letter in LETTERS.items():
        if access & bit:
            last = [rule for rule in matching if letter in (rule.access or "rwm")][-1:]
            if not last or not last[0].allow:
                return False
    return True


@settings(max_examples=400)
@given(rules=st.lists(rules, max_size=7))
def test_any_rules(rules: list[DeviceRule]) -> None:
    """The program of any rules answers every request as the rules say."""
    instructions = check(compile_device_program(rules))
    for kind, access, major, minor in product(
        (BLOCK, CHAR), range(8), (0, 1, 2, 8, 2**31 - 1, 2**32 - 1), (0, 3, 4, 5)
    ):
        expected = int(granted(rules, kind, access, major, minor))
        assert run(instructions, kind, access, major, minor) == expected


def test_container_rules() -> None:
    """Deny all, then allow the usual devices: what every engine writes."""
    rules = [
        DeviceRule(allow=False, access="rwm"),
        DeviceRule(allow=True, type="c", access="m"),
        DeviceRule(allow=True, type="b", access="m"),
        DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm"),
        DeviceRule(allow=True, type="c", major=136, access="rwm"),
        DeviceRule(allow=True, type="c", major=1, minor=5, access="r"),
    ]
    instructions = check(compile_device_program(rules))
    assert run(instructions, CHAR, READ | WRITE, 1, 3) == 1
    assert run(instructions, CHAR, READ | WRITE, 136, 77) == 1
    assert run(instructions, CHAR, READ, 1, 5) == 1
    assert run(instructions, CHAR, READ | WRITE, 1, 5) == 0
    assert run(instructions, BLOCK, MKNOD, 8, 0) == 1
    assert run(instructions, BLOCK, READ, 8, 0) == 0
    assert run(instructions, BLOCK, READ, 1, 3) == 0


def test_denied_write_cannot_be_had_by_asking_for_more() -> None:
    """Denying writing also refuses to open for reading and writing."""
    rules = [DeviceRule(allow=True), DeviceRule(allow=False, type="b", access="w")]
    instructions = check(compile_device_program(rules))
    assert run(instructions, BLOCK, READ, 8, 0) == 1
    assert run(instructions, BLOCK, READ | WRITE, 8, 0) == 0


def test_rules_add_up() -> None:
    """Reading and writing that two rules allow may be asked for at once."""
    rules = [
        DeviceRule(allow=True, type="c", major=1, access="r"),
        DeviceRule(allow=True, type="c", minor=3, access="w"),
    ]
    instructions = check(compile_device_program(rules))
    assert run(instructions, CHAR, READ | WRITE, 1, 3) == 1
    assert run(instructions, CHAR, READ | WRITE, 1, 4) == 0


def test_no_rules_refuse() -> None:
    """What no rule is about is refused."""
    assert run(check(compile_device_program([])), CHAR, READ, 1, 3) == 0


def test_rules_before_one_about_everything_are_left_out() -> None:
    """A rule about all access to all devices ends the program: what stands before it decides nothing."""
    everything = DeviceRule(allow=True, type="a", major=-1, minor=-1, access="rwm")
    noise = [DeviceRule(allow=False, type="c", major=major) for major in range(50)]
    assert compile_device_program([*noise, everything]) == compile_device_program([everything])


def test_disassembly() -> None:
    """Every instruction is one line that says what it does and where it goes on."""
    rules = [
        DeviceRule(allow=True, type="c", major=1, access="rw"),
        DeviceRule(allow=False, minor=3, access="w"),
    ]
    assert disassemble(compile_device_program(rules)) == [
        "   0: type = word at 0 of context",
        "   1: wanted = type",
        "   2: type &= 0xffff",
        "   3: wanted >>= 16",
        "   4: major = word at 4 of context",
        "   5: minor = word at 8 of context",
        "   6: if minor != 3 go to 11",
        "   7: if wanted & 0x4 go to 9",
        "   8: go to 11",
        "   9: answer = 0",
        "  10: exit",
        "  11: if type != 2 go to 17",
        "  12: if major != 1 go to 17",
        "  13: wanted &= 0x1",
        "  14: if wanted != 0 go to 17",
        "  15: answer = 1",
        "  16: exit",
        "  17: answer = 0",
        "  18: exit",
    ]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (DeviceRule(allow=True, type="x"), "$.linux.resources.devices[1].type: unknown device type 'x'"),
        (DeviceRule(allow=True, access="rx"), "$.linux.resources.devices[1].access: unknown access 'x'"),
        (
            DeviceRule(allow=True, major=-2),
            "$.linux.resources.devices[1].major: no device has the number -2",
        ),
        (
            DeviceRule(allow=True, minor=2**31),
            "$.linux.resources.devices[1].minor: no device has the number 2147483648",
        ),
    ],
)
def test_bad_rules(rule: DeviceRule, message: str) -> None:
    """What is wrong with a rule is said with its JSON path."""
    with pytest.raises(InvalidInput) as caught:
        compile_device_program([DeviceRule(allow=False), rule])
    assert str(caught.value) == message
