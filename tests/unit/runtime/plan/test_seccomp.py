"""Compiled seccomp filters, against a plain reading of the profile."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg
from pierhead.runtime.plan.bpf import disassemble
from pierhead.runtime.plan.seccomp import (
    MACHINES,
    OPERATORS,
    compile_filter,
    filter_flags,
    load_table,
    notifies,
    unknown_syscalls,
)
from tests.support.bpf_machine import check, reachable, run
from tests.support.seccomp_reading import AARCH64, ALLOW, ARM, ENOSYS, I386, X86_64, Reading

ARCHES = {"x86_64": (X86_64, I386), "aarch64": (AARCH64, ARM)}
KILL = 0
EPERM = 0x00050001
ERRNO = 0x00050000
X32 = 0x40000000
NO_ARGUMENTS = (0,) * 6
EVERY_ARCHITECTURE = tuple({abi.name: 1 for abis in MACHINES.values() for abi in abis})

NAMES = (
    "read",
    "write",
    "personality",
    "clone",
    "mseal",
    "ioctl",  # another number on x32
    "socket",
    "bind",
    "sendmmsg",
    "semop",  # only through ipc on i386
    "shmat",
    "socketcall",
    "ipc",
    "set_tls",  # one of ARM's private numbers
    "arm_sync_file_range",  # two names, one number
    "sync_file_range2",
    "no_such_call",
)
EDGES = (0, 1, 2, 5, 7, 0x7FFFFFFF, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**63, 2**64 - 2, 2**64 - 1)
REFUSING = ("SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP")
PERMITTING = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")

numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1))
conditions = st.builds(
    lambda index, value, two, op: SyscallArg(index=index, value=value, value_two=two, op=op),
    st.integers(0, 5),
    numbers,
    numbers,
    st.sampled_from(OPERATORS),
)
rules = st.builds(
    lambda names, action, errno_ret, args: Syscall(
        names=tuple(names),
        action=action,
        errno_ret=errno_ret if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE") else None,
        args=tuple(args),
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    st.sampled_from((*REFUSING, *PERMITTING, "SCMP_ACT_NOTIFY", "SCMP_ACT_KILL_THREAD")),
    st.one_of(st.none(), st.integers(0, 4095)),
    st.lists(conditions, max_size=3),
)
profiles = st.builds(
    lambda action, architectures, rules: Seccomp(
        default_action=action, architectures=tuple(architectures), syscalls=tuple(rules)
    ),
    st.sampled_from((*REFUSING, *PERMITTING)),
    st.lists(st.sampled_from((*EVERY_ARCHITECTURE, "SCMP_ARCH_MIPS")), unique=True),
    st.lists(rules, max_size=8),
)


def profile(*rules: Syscall, default: str = "SCMP_ACT_ERRNO", architectures: tuple[str, ...] = ()) -> Seccomp:
    """A profile of the rules."""
    return Seccomp(default_action=default, architectures=architectures, syscalls=rules)


def allow(*names: str, args: tuple[SyscallArg, ...] = ()) -> Syscall:
    """A rule that allows."""
    return Syscall(names=names, action="SCMP_ACT_ALLOW", args=args)


def refuse(*names: str, errno_ret: int = 1, args: tuple[SyscallArg, ...] = ()) -> Syscall:
    """A rule that refuses with an errno."""
    return Syscall(names=names, action="SCMP_ACT_ERRNO", errno_ret=errno_ret, args=args)


def compare(op: str, value: int, *, index: int = 0, two: int = 0) -> SyscallArg:
    """A condition."""
    return SyscallArg(index=index, value=value, value_two=two, op=f"SCMP_CMP_{op}")


def ask(seccomp: Seccomp, number: int, *arguments: int, arch: int = X86_64, machine: str = "x86_64") -> int:
    """What the compiled filter answers."""
    instructions = check(compile_filter(seccomp, machine))
    return run(instructions, arch, number, (*arguments, *NO_ARGUMENTS)[:6])


def interesting_arguments(seccomp: Seccomp) -> list[int]:
    """Values around every number of the profile's conditions, and the edges of words."""
    values = {*EDGES}
    for rule in seccomp.syscalls:
        for condition in rule.args:
            for value in (condition.value, condition.value_two, condition.value_two & condition.value):
                for near in (value - 1, value, value + 1, value ^ 2**32, value ^ 2**63, value & 0xFFFFFFFF):
                    values.add(near % 2**64)
    return sorted(values)


@pytest.mark.parametrize("machine", MACHINES)
@settings(max_examples=150)
@given(seccomp=profiles, seed=st.integers(0, 2**16))
def test_any_profile(machine: str, seccomp: Seccomp, seed: int) -> None:
    """The filter of any profile answers what the profile says, on every architecture, for any arguments."""
    instructions = check(compile_filter(seccomp, machine))
    reading = Reading(seccomp, machine)
    values = interesting_arguments(seccomp)
    chance = random.Random(seed)
    for abi in MACHINES[machine]:
        table = load_table(abi, machine)
        known = {table[name] for name in NAMES if name in table}
        beside = {number + step for number in known for step in (-1, 1)}
        for number in known | beside | {abi.first, abi.last, 471, 500}:
            if not 0 <= number < 2**32:
                continue
            for _ in range(4):
                arguments = tuple(chance.choices(values, k=6))
                answer = run(instructions, abi.audit_arch, number, arguments)
                assert answer == reading.answer(abi.audit_arch, number, arguments), (abi.name, number)
    assert run(instructions, 0x08, 1) == KILL


@settings(max_examples=200)
@given(op=st.sampled_from(OPERATORS), value=numbers, two=numbers, more=st.lists(numbers, max_size=20))
def test_every_comparison(op: str, value: int, two: int, more: list[int]) -> None:
    """Every comparison looks at all 64 bits of an argument, on 32-bit ABIs at the lower 32."""
    condition = SyscallArg(index=3, value=value, value_two=two, op=op)
    seccomp = profile(allow("read", args=(condition,)), architectures=EVERY_ARCHITECTURE)
    instructions = check(compile_filter(seccomp, "x86_64"))
    reading = Reading(seccomp, "x86_64")
    for argument in {*more, *interesting_arguments(seccomp)}:
        for arch, number in ((X86_64, 0), (X86_64, X32), (I386, 3)):
            arguments = (0, 0, 0, argument, 0, 0)
            assert run(instructions, arch, number, arguments) == reading.answer(arch, number, arguments)


def test_rule_like_the_default_is_void() -> None:
    """A rule that answers as the default does not shadow a later one."""
    seccomp = profile(refuse("read"), allow("read"))
    assert ask(seccomp, 0) == ALLOW


def test_unconditional_rule_decides() -> None:
    """A rule without conditions wins over those with conditions, even earlier ones; of two the first wins."""
    seccomp = profile(
        refuse("read", errno_ret=5, args=(compare("EQ", 1),)),
        refuse("read", errno_ret=6),
        refuse("read", errno_ret=7),
    )
    assert ask(seccomp, 0, 1) == ERRNO | 6


def test_rules_of_one_call_are_alternatives() -> None:
    """Several rules for one call are or-ed, the conditions of one rule and-ed."""
    seccomp = profile(
        allow("read", args=(compare("EQ", 1), compare("GT", 5, index=1))),
        allow("read", args=(compare("EQ", 2),)),
    )
    answers = {arguments: ask(seccomp, 0, *arguments) for arguments in ((1, 5), (1, 6), (2, 0), (3, 6))}
    assert answers == {(1, 5): EPERM, (1, 6): ALLOW, (2, 0): ALLOW, (3, 6): EPERM}


def test_repeated_argument_makes_alternatives() -> None:
    """Two conditions of one rule on the same argument are rules of their own, as runc has it."""
    seccomp = profile(allow("read", args=(compare("EQ", 1), compare("EQ", 2), compare("EQ", 9, index=1))))
    answers = [ask(seccomp, 0, *arguments) for arguments in ((1, 0), (2, 0), (3, 9), (3, 0))]
    assert answers == [ALLOW, ALLOW, ALLOW, EPERM]


def test_newer_calls_answer_enosys() -> None:
    """Above the highest number that a refusing profile names, in any rule, the answer is ENOSYS."""
    seccomp = profile(allow("read"), refuse("mseal"))
    answers = [ask(seccomp, number) for number in (0, 1, 461, 462, 463, 1000, 0x3FFFFFFF)]
    assert answers == [ALLOW, EPERM, EPERM, EPERM, ENOSYS, ENOSYS, ENOSYS]


def test_multiplexers_count_as_named() -> None:
    """A profile that names only semop on i386 knows all calls up to ipc."""
    seccomp = profile(allow("semop"), architectures=("SCMP_ARCH_X86",))
    answers = [ask(seccomp, number, 1, arch=I386) for number in (1, 116, 117, 118)]
    assert answers == [EPERM, EPERM, ALLOW, ENOSYS]


@pytest.mark.parametrize("action", PERMITTING)
def test_permitting_profile_has_no_enosys(action: str) -> None:
    """A profile that permits by default permits newer calls as well."""
    seccomp = profile(refuse("read"), default=action)
    assert (
        ask(seccomp, 463) & 0xFFFF0000
        == {
            "SCMP_ACT_ALLOW": 0x7FFF0000,
            "SCMP_ACT_LOG": 0x7FFC0000,
            "SCMP_ACT_TRACE": 0x7FF00000,
        }[action]
    )


def test_private_numbers_of_arm_have_their_own_border() -> None:
    """Naming set_tls does not make the profile know all of 32-bit ARM's calls."""
    seccomp = profile(allow("read", "mseal", "set_tls"), architectures=("SCMP_ARCH_ARM",))
    answers = [
        ask(seccomp, number, arch=ARM, machine="aarch64")
        for number in (3, 4, 462, 463, 0xEFFFF, 0xF0000, 0xF0005, 0xF0006)
    ]
    assert answers == [ALLOW, EPERM, ALLOW, ENOSYS, ENOSYS, EPERM, ALLOW, ENOSYS]


def test_empty_profile() -> None:
    """A profile without rules answers as its default says to everything."""
    assert ask(profile(), 0) == EPERM
    assert ask(profile(), 5000) == EPERM
    assert ask(profile(default="SCMP_ACT_ALLOW"), 0) == ALLOW


def test_unlisted_architectures_are_killed() -> None:
    """An architecture that the profile does not list is killed, x32 too; -1, a tracer's leavings, is not."""
    seccomp = profile(allow("read"))
    assert ask(seccomp, 0) == ALLOW
    assert ask(seccomp, 3, arch=I386) == KILL
    assert ask(seccomp, X32) == KILL
    assert ask(seccomp, 2**32 - 2) == KILL
    assert ask(seccomp, 2**32 - 1) == EPERM


def test_own_architecture_is_always_there() -> None:
    """The machine's own architecture is filtered even where a profile lists others only."""
    seccomp = profile(allow("read"), architectures=("SCMP_ARCH_X86", "SCMP_ARCH_S390X", "SCMP_ARCH_AARCH64"))
    assert ask(seccomp, 0) == ALLOW
    assert ask(seccomp, 3, arch=I386) == ALLOW
    assert ask(seccomp, 63, arch=AARCH64) == KILL


def test_upper_halves_do_not_hide_32_bit_arguments() -> None:
    """A 64-bit program cannot get a refused argument past the filter by int 0x80 and an upper half."""
    seccomp = profile(
        refuse("personality", args=(compare("EQ", 8),)),
        default="SCMP_ACT_ALLOW",
        architectures=("SCMP_ARCH_X86",),
    )
    assert ask(seccomp, 136, 8 + 2**32, arch=I386) == EPERM
    assert ask(seccomp, 135, 8 + 2**32) == ALLOW


def test_multiplexed_calls() -> None:
    """On i386 a rule for socket or semop covers socketcall and ipc too, refusals with any conditions."""
    x86 = ("SCMP_ARCH_X86",)
    permits = profile(allow("bind", "semop"), allow("socket", args=(compare("EQ", 1),)), architectures=x86)
    assert [ask(permits, 102, call, arch=I386) for call in (1, 2, 3)] == [EPERM, ALLOW, EPERM]
    assert [ask(permits, 117, call, arch=I386) for call in (1, 2, 0x10001)] == [ALLOW, EPERM, ALLOW]
    refuses = profile(
        refuse("socket", args=(compare("EQ", 40),)), default="SCMP_ACT_ALLOW", architectures=x86
    )
    assert [ask(refuses, 102, call, arch=I386) for call in (1, 2)] == [EPERM, ALLOW]
    named = profile(refuse("socket"), allow("socketcall"), default="SCMP_ACT_TRAP", architectures=x86)
    assert [ask(named, 102, call, arch=I386) for call in (1, 2)] == [ALLOW, ALLOW]


@pytest.mark.parametrize(
    ("action", "errno_ret", "answer"),
    [
        ("SCMP_ACT_KILL", None, 0),
        ("SCMP_ACT_KILL_THREAD", None, 0),
        ("SCMP_ACT_KILL_PROCESS", None, 0x80000000),
        ("SCMP_ACT_TRAP", None, 0x00030000),
        ("SCMP_ACT_ERRNO", None, 0x00050001),
        ("SCMP_ACT_ERRNO", 0, 0x00050000),
        ("SCMP_ACT_ERRNO", 4095, 0x00050FFF),
        ("SCMP_ACT_TRACE", None, 0x7FF00001),
        ("SCMP_ACT_TRACE", 65535, 0x7FF0FFFF),
        ("SCMP_ACT_ALLOW", None, 0x7FFF0000),
        ("SCMP_ACT_LOG", None, 0x7FFC0000),
        ("SCMP_ACT_NOTIFY", None, 0x7FC00000),
    ],
)
def test_actions(action: str, errno_ret: int | None, answer: int) -> None:
    """Every action of the runtime specification is the kernel's, with its errno; EPERM if none is said."""
    rule = Syscall(names=("read",), action=action, errno_ret=errno_ret)
    assert ask(profile(rule, default="SCMP_ACT_ERRNO", architectures=()), 0) == answer
    if action != "SCMP_ACT_NOTIFY":
        seccomp = Seccomp(default_action=action, default_errno_ret=errno_ret)
        assert ask(seccomp, 0) == answer


@pytest.mark.parametrize(
    ("seccomp", "message"),
    [
        (profile(default="ALLOW"), "$.linux.seccomp.defaultAction: unknown seccomp action 'ALLOW'"),
        (
            profile(default="SCMP_ACT_NOTIFY"),
            "$.linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action",
        ),
        (
            Seccomp(default_action="SCMP_ACT_ALLOW", default_errno_ret=1),
            "$.linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no errno",
        ),
        (
            profile(Syscall(names=("read",), action="allow")),
            "$.linux.seccomp.syscalls[0].action: unknown seccomp action 'allow'",
        ),
        (
            profile(allow("read"), refuse("read", errno_ret=4096)),
            "$.linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_ERRNO takes 0 to 4095, not 4096",
        ),
        (
            profile(Syscall(names=("read",), action="SCMP_ACT_KILL", errno_ret=1)),
            "$.linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_KILL takes no errno",
        ),
        (profile(Syscall(names=(), action="SCMP_ACT_KILL")), "$.linux.seccomp.syscalls[0].names: "),
        (
            profile(allow("read", args=(compare("EQ", 1, index=6),))),
            "$.linux.seccomp.syscalls[0].args[0].index: system calls have arguments 0 to 5, not 6",
        ),
        (
            profile(allow("read", args=(compare("EQ", 1), compare("LIKE", 1)))),
            "$.linux.seccomp.syscalls[0].args[1].op: unknown comparison 'SCMP_CMP_LIKE'",
        ),
        (
            profile(architectures=("SCMP_ARCH_X86", "x86_64")),
            "$.linux.seccomp.architectures[1]: unknown architecture 'x86_64'",
        ),
    ],
)
def test_bad_profiles(seccomp: Seccomp, message: str) -> None:
    """What is wrong with a profile is said with its JSON path."""
    with pytest.raises(InvalidInput) as caught:
        compile_filter(seccomp, "x86_64")
    assert str(caught.value).startswith(message)


def test_unknown_machine() -> None:
    """A machine without a table of calls is refused by name."""
    with pytest.raises(InvalidInput, match="no table of system calls for machine 'mips'"):
        compile_filter(profile(), "mips")


def test_too_long_profile() -> None:
    """A profile that needs more instructions than the kernel takes is refused, one just within is not."""

    def build(count: int) -> Seccomp:
        """A profile with as many rules that cannot be merged."""
        return profile(
            *(
                allow("read", args=(compare("EQ", at), compare("EQ", at, index=1 + at % 2)))
                for at in range(count)
            )
        )

    assert len(check(compile_filter(build(500), "x86_64"))) <= 4096
    with pytest.raises(InvalidInput, match=r"needs \d+ BPF instructions, and the kernel takes at most 4096"):
        compile_filter(build(600), "x86_64")


def test_many_conditions_far_apart() -> None:
    """Argument checks longer than a conditional jump's reach still lead to the right answers."""
    seccomp = profile(
        *(
            Syscall(
                names=(name,),
                action="SCMP_ACT_ERRNO",
                errno_ret=at + 2,
                args=(compare("EQ", at, index=at % 6), compare("NE", at, index=(at + 1) % 6)),
            )
            for at in range(40)
            for name in ("read", "write", "ioctl")
        ),
        architectures=EVERY_ARCHITECTURE,
    )
    instructions = check(compile_filter(seccomp, "x86_64"))
    reading = Reading(seccomp, "x86_64")
    for arch, number in ((X86_64, 0), (X86_64, 1), (X86_64, 16), (I386, 3), (X86_64, X32 + 514)):
        for at in range(45):
            for arguments in ((at,) * 6, tuple(at if i == at % 6 else 99 for i in range(6))):
                assert run(instructions, arch, number, arguments) == reading.answer(arch, number, arguments)


def test_merged_conditions_are_short() -> None:
    """Equalities of one argument become one tree, not a chain of comparisons."""
    scattered = profile(*(allow("read", args=(compare("EQ", 2 * at),)) for at in range(100)))
    assert len(check(compile_filter(scattered, "x86_64"))) < 230
    together = profile(*(allow("read", args=(compare("EQ", at),)) for at in range(100)))
    assert len(check(compile_filter(together, "x86_64"))) < 20


def test_no_dead_instructions() -> None:
    """Everything in a filter can be reached."""
    seccomp = profile(allow("read"), allow("ioctl", args=(compare("GE", 2**32 + 7),)))
    instructions = check(compile_filter(seccomp, "x86_64"))
    assert reachable(instructions) == set(range(len(instructions)))


@pytest.mark.parametrize(
    ("flags", "actions", "expected"),
    [
        ((), ("SCMP_ACT_ALLOW",), 0),
        (("SECCOMP_FILTER_FLAG_TSYNC",), (), 1),
        (("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"), (), 6),
        (("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",), (), 0),
        (("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",), ("SCMP_ACT_NOTIFY",), 0x28),
        (("SECCOMP_FILTER_FLAG_TSYNC",), ("SCMP_ACT_NOTIFY",), 0x19),
        ((), ("SCMP_ACT_ALLOW", "SCMP_ACT_NOTIFY"), 8),
    ],
)
def test_flags(flags: tuple[str, ...], actions: tuple[str, ...], expected: int) -> None:
    """The flags are the kernel's, and only such combinations as it takes."""
    seccomp = Seccomp(
        default_action="SCMP_ACT_ERRNO",
        flags=flags,
        syscalls=tuple(Syscall(names=("read",), action=action) for action in actions),
    )
    assert filter_flags(seccomp) == expected
    assert notifies(seccomp) == ("SCMP_ACT_NOTIFY" in actions)


def test_unknown_flag() -> None:
    """An unknown flag is refused by name."""
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW", flags=("SECCOMP_FILTER_FLAG_LOG", "TSYNC"))
    with pytest.raises(InvalidInput, match=r"flags\[1\]: unknown seccomp flag 'TSYNC'"):
        filter_flags(seccomp)


def test_unknown_names_are_collected() -> None:
    """Names that no ABI of the machine has are left out and can be asked for."""
    seccomp = profile(allow("read", "flush_toilet", "set_tls"), refuse("flush_toilet", "socketcall"))
    assert unknown_syscalls(seccomp, "x86_64") == ("flush_toilet", "set_tls")
    assert unknown_syscalls(seccomp, "aarch64") == ("flush_toilet", "socketcall")
    assert ask(seccomp, 0) == ALLOW


def test_explained() -> None:
    """A filter can be read: architecture, number, answer."""
    lines = disassemble(compile_filter(profile(allow("read", "mseal")), "x86_64"))
    assert lines == [
        "   0: load architecture",
        "   1: if == 0xc000003e go to 2 else 8",
        "   2: load number",
        "   3: if >= 0x1cf go to 6 else 4",
        "   4: if >= 0x1 go to 5 else 10",
        "   5: if >= 0x1ce go to 10 else 11",
        "   6: if >= 0x40000000 go to 7 else 9",
        "   7: if >= 0xffffffff go to 11 else 8",
        "   8: return KILL_THREAD",
        "   9: return ERRNO ENOSYS",
        "  10: return ALLOW",
        "  11: return ERRNO EPERM",
    ]
