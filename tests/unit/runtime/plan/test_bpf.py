"""The classic BPF assembler, against a machine written from the kernel's headers."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.runtime.plan.bpf import (
    DATA_ARCH,
    DATA_ARGS,
    DATA_NR,
    JEQ,
    JGE,
    JGT,
    JSET,
    Assembler,
    describe_answer,
    disassemble,
)
from tests.support.bpf_machine import BadProgram, check, reachable, run

WORD = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        *((JEQ, number, number == 7) for number in (6, 7, 8)),
        *((JGT, number, number > 7) for number in (6, 7, 8)),
        *((JGE, number, number >= 7) for number in (6, 7, 8)),
        *((JSET, number, number & 7 != 0) for number in (0, 1, 8, 15)),
    ],
)
def test_branches(code: int, number: int, expected: bool) -> None:  # noqa: FBT001
    """A branch goes to its first label if the comparison holds, else to its second."""
    program = Assembler()
    branch = program.branch(code, 7, program.ret(1), program.ret(2))
    instructions = check(program.encode(program.load(DATA_NR, branch)))
    assert run(instructions, 0, number) == (1 if expected else 2)


def test_load_goes_on_elsewhere() -> None:
    """Load and mask go on at any label, not only at what was put last."""
    program = Assembler()
    first = program.branch(JEQ, 0x30, program.ret(1), program.ret(2))
    program.branch(JEQ, 5, program.ret(3), program.ret(4))
    start = program.load(DATA_ARGS + 8, program.mask(0xF0, first))
    instructions = check(program.encode(start))
    assert run(instructions, 0, 0, (0, 0x3A, 0, 0, 0, 0)) == 1
    assert run(instructions, 0, 0, (0, 0x4A, 0, 0, 0, 0)) == 2


def test_encode_starts_anywhere() -> None:
    """A program may begin at a label that was not put last."""
    program = Assembler()
    start = program.load(DATA_NR, program.branch(JEQ, 1, program.ret(1), program.ret(2)))
    program.branch(JEQ, 2, program.ret(3), program.ret(4))
    assert run(check(program.encode(start)), 0, 1) == 1


@pytest.mark.parametrize("padding", [*range(248, 262), 600, 3000])
@pytest.mark.parametrize("far", ["true", "false", "both"])
def test_branches_over_any_distance(padding: int, far: str) -> None:
    """A target beyond a conditional jump's 255 instructions is reached all the same."""
    program = Assembler()
    target = program.branch(JEQ, 9, program.ret(1), program.ret(2))
    far_other = program.branch(JEQ, 8, program.ret(4), program.ret(5))
    label = program.ret(6)
    for k in range(padding):
        label = program.branch(JSET, k, label, label)
    near = program.load(DATA_ARCH, program.branch(JEQ, 0, program.ret(7), program.ret(8)))
    arms = {"true": (target, near), "false": (near, target), "both": (target, far_other)}[far]
    start = program.load(DATA_NR, program.branch(JGE, 100, *arms))
    instructions = check(program.encode(start))
    for number in (0, 8, 9, 99, 100, 108, 109):
        chosen = arms[0] if number >= 100 else arms[1]
        expected = {target: 1 if number == 9 else 2, far_other: 4 if number == 8 else 5, near: 7}[chosen]
        assert run(instructions, 0, number) == expected


@given(starts=st.sets(WORD.filter(bool), max_size=700), data=st.data())
def test_ranges(starts: set[int], data: st.DataObject) -> None:
    """A tree of ranges finds the range of any number, however many ranges there are."""
    firsts = [0, *sorted(starts)]
    answers = data.draw(st.lists(st.integers(1, 5), min_size=len(firsts), max_size=len(firsts)))
    program = Assembler()
    tree = program.ranges(firsts, [program.ret(answer) for answer in answers])
    instructions = check(program.encode(program.load(DATA_NR, tree)))
    numbers = data.draw(st.lists(WORD, max_size=5))
    for number in {*numbers, *firsts, *(first - 1 for first in firsts[1:]), 2**32 - 1}:
        assert run(instructions, 0, number) == answers[bisect_right(firsts, number) - 1]


def test_ranges_are_balanced() -> None:
    """A tree over 1,000 ranges takes at most eleven comparisons."""
    program = Assembler()
    labels = [program.ret(answer) for answer in range(1, 4)]
    tree = program.ranges(range(0, 3000, 3), [labels[at % 3] for at in range(1000)])
    instructions = check(program.encode(program.load(DATA_NR, tree)))
    depth = [0] * len(instructions)
    for at in reversed(range(len(instructions))):
        code, jt, jf, k = instructions[at]
        if code in (JGE, JEQ):
            depth[at] = 1 + max(depth[at + jt + 1], depth[at + jf + 1])
        elif code == 0x05:
            depth[at] = depth[at + k + 1]
        elif code == 0x20:
            depth[at] = depth[at + 1]
    assert depth[0] <= 11


def test_equal_neighbours_are_one_range() -> None:
    """Neighbouring ranges with one label need no comparison between them; a lone number needs one."""
    program = Assembler()
    allow, refuse = program.ret(1), program.ret(2)
    tree = program.ranges((0, 5, 6, 9), (allow, refuse, allow, allow))
    instructions = check(program.encode(program.load(DATA_NR, tree)))
    assert [code for code, *_ in instructions] == [0x20, JEQ, 0x06, 0x06]
    assert len(reachable(instructions)) == 4


def test_disassembly() -> None:
    """Every instruction is one line that says what it does and where it goes on."""
    program = Assembler()
    low = program.load(DATA_ARGS + 8, program.mask(0xFF, program.branch(JEQ, 3, program.ret(0x7FFF0000), 0)))
    tree = program.branch(JGT, 9, low, program.ret(0x50001))
    start = program.load(DATA_ARCH, program.branch(JEQ, 0xC000003E, program.load(DATA_NR, tree), 0))
    assert disassemble(program.encode(start)) == [
        "   0: load architecture",
        "   1: if == 0xc000003e go to 2 else 8",
        "   2: load number",
        "   3: if > 0x9 go to 5 else 4",
        "   4: return ERRNO EPERM",
        "   5: load argument 1, low half",
        "   6: keep bits 0xff",
        "   7: if == 0x3 go to 8 else 8",
        "   8: return ALLOW",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "KILL_THREAD"),
        (0x80000000, "KILL_PROCESS"),
        (0x00030000, "TRAP"),
        (0x00050026, "ERRNO ENOSYS"),
        (0x00050FFF, "ERRNO 4095"),
        (0x7FC00000, "NOTIFY"),
        (0x7FF00007, "TRACE 7"),
        (0x7FFC0000, "LOG"),
        (0x7FFF0000, "ALLOW"),
        (0x12340000, "0x12340000"),
    ],
)
def test_answers_in_words(value: int, words: str) -> None:
    """A filter's answer is named as seccomp(2) names it."""
    assert describe_answer(value) == words


def test_machine_is_strict() -> None:
    """The tests' machine refuses what the kernel refuses."""
    for program in (
        b"",
        b"\x06" + bytes(6),
        bytes.fromhex("0500000000000000"),  # a jump behind the end
        bytes.fromhex("2000000003000000") + bytes.fromhex("0600000000000000"),  # an odd offset
        bytes.fromhex("2000000000000000"),  # no return
        bytes.fromhex("0000000000000000"),  # no such instruction
        bytes.fromhex("0600000000000000") * 4097,
    ):
        with pytest.raises(BadProgram):
            check(program)
