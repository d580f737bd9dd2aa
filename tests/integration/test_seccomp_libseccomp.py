"""Compiled seccomp filters, against those that libseccomp makes of the same profile for runc and crun."""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import tempfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg
from pierhead.oci.seccomp_profile import default_profile
from pierhead.runtime.plan.seccomp import ACTIONS, MACHINES, OPERATORS, compile_filter, load_table
from tests.support.bpf_machine import check, run

if TYPE_CHECKING:
    from collections.abc import Collection

LIBRARY = ctypes.util.find_library("seccomp")
pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs libseccomp2")

ENOSYS = 0x00050026
SCMP_ARCH = {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E}
NAMES = ("read", "write", "personality", "clone", "ioctl", "openat", "futex")
EDGES = (0, 1, 5, 0x7FFFFFFF, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**63, 2**64 - 1)

Instructions = list[tuple[int, int, int, int]]


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def answer_of(action: str, errno_ret: int | None) -> int:
    """The number of an action, which libseccomp has in common with the kernel."""
    return ACTIONS[action] | (
        1 if errno_ret is None and action.endswith(("ERRNO", "TRACE")) else errno_ret or 0
    )


def compile_by_libseccomp(seccomp: Seccomp) -> Instructions:
    """What libseccomp makes of a profile when runc tells it of the rules."""
    library = ctypes.CDLL(LIBRARY)
    library.seccomp_init.restype = ctypes.c_void_p
    default = answer_of(seccomp.default_action, seccomp.default_errno_ret)
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(default)))
    assert context.value
    for name in seccomp.architectures:
        assert library.seccomp_arch_add(context, ctypes.c_uint32(SCMP_ARCH[name])) in (0, -17)
    for rule in seccomp.syscalls:
        answer = answer_of(rule.action, rule.errno_ret)
        repeated = len({condition.index for condition in rule.args}) < len(rule.args)
        for conditions in [(condition,) for condition in rule.args] if repeated else [rule.args]:
            for name in rule.names if answer != default else ():
                add_rule(library, context, answer, name, conditions)
    with tempfile.TemporaryFile() as file:
        assert library.seccomp_export_bpf(context, file.fileno()) == 0
        library.seccomp_release(context)
        file.seek(0)
        return check(file.read())


def add_rule(
    library: ctypes.CDLL,
    context: ctypes.c_void_p,
    answer: int,
    name: str,
    conditions: tuple[SyscallArg, ...],
) -> None:
    """Tell libseccomp of one rule."""
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:
        return
    array = (Comparison * max(1, len(conditions)))(
        *(
            Comparison(
                condition.index, OPERATORS.index(condition.op) + 1, condition.value, condition.value_two
            )
            for condition in conditions
        )
    )
    added = library.seccomp_rule_add_array(context, ctypes.c_uint32(answer), number, len(conditions), array)
    assert added in (0, -17), (name, added)


def compare(seccomp: Seccomp, numbers: dict[int, set[int]], chance: random.Random, *, tries: int) -> None:
    """Ask both filters about the numbers of each architecture, with arguments near those of the profile."""
    ours = check(compile_filter(seccomp, "x86_64"))
    theirs = compile_by_libseccomp(seccomp)
    values = [*EDGES]
    for rule in seccomp.syscalls:
        for condition in rule.args:
            values += [condition.value + step & 2**64 - 1 for step in (-1, 0, 1, 2**32)]
            values.append(condition.value & condition.value_two)
    for arch, asked in numbers.items():
        for number in asked:
            for _ in range(tries):
                arguments = tuple(chance.choices(values, k=6))
                answer = run(ours, arch, number, arguments)
                # The border of ENOSYS is runc's, not libseccomp's.
                if answer != ENOSYS:
                    assert answer == run(theirs, arch, number, arguments), (arch, number, arguments)


def numbers_of(names: Collection[str]) -> dict[int, set[int]]:
    """The numbers of calls, and those beside them, by architecture."""
    numbers: dict[int, set[int]] = {0x08: {0}}
    for abi in MACHINES["x86_64"]:
        table = load_table(abi, "x86_64")
        found = {table[name] for name in names if name in table}
        numbers.setdefault(abi.audit_arch, set()).update(found, (number + 1 for number in found), {2**32 - 1})
    return numbers


conditions = st.builds(
    lambda index, value, two, op: SyscallArg(index=index, value=value, value_two=two, op=op),
    st.integers(0, 5),
    st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1)),
    st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1)),
    st.sampled_from(OPERATORS),
)


@st.composite
def rules_of_one_call(draw: st.DrawFn, name: str) -> list[Syscall]:
    """Rules that libseccomp can combine.

    Of those with conditions, either one, or several with one answer that look for equality: its own order of
    conditions decides between different answers, and it misses cases where ranges of one argument overlap.
    """
    action = draw(st.sampled_from(("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRAP")))
    if draw(st.booleans()):
        args = draw(st.lists(conditions, min_size=1, max_size=3, unique_by=lambda condition: condition.index))
        rules = [Syscall(names=(name,), action=action, args=tuple(args))]
    else:
        values = draw(st.lists(st.sampled_from(EDGES), max_size=4, unique=True))
        equal = [SyscallArg(index=2, value=value, op="SCMP_CMP_EQ") for value in values]
        rules = [Syscall(names=(name,), action=action, args=(condition,)) for condition in equal]
    if draw(st.integers(0, 3)) == 0:
        final = draw(st.sampled_from(("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS")))
        rules.append(Syscall(names=(name,), action=final, errno_ret=7 if "ERRNO" in final else None))
    return draw(st.permutations(rules))


@st.composite
def profiles(draw: st.DrawFn) -> Seccomp:
    """A profile with rules for some calls, in any order."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    rules = [rule for name in names for rule in draw(rules_of_one_call(name))]
    return Seccomp(
        default_action=draw(st.sampled_from(("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", "SCMP_ACT_KILL"))),
        architectures=tuple(draw(st.lists(st.sampled_from(sorted(SCMP_ARCH)), unique=True))),
        syscalls=tuple(draw(st.permutations(rules))),
    )


@settings(max_examples=200)
@given(seccomp=profiles(), seed=st.integers(0, 2**16))
def test_any_profile(seccomp: Seccomp, seed: int) -> None:
    """Our filter and libseccomp's give the same answers."""
    compare(seccomp, numbers_of(NAMES), random.Random(seed), tries=8)


@pytest.mark.parametrize("capabilities", [(), ("CAP_SYS_ADMIN", "CAP_SYS_CHROOT")], ids=["none", "admin"])
def test_default_profile(capabilities: tuple[str, ...]) -> None:
    """Of the calls that libseccomp knows, both filters of the default profile say the same."""
    profile = default_profile(capabilities, "x86_64", (6, 1))
    known = {name for rule in profile.syscalls for name in rule.names if is_known(name)}
    reduced = profile.replace(
        syscalls=tuple(
            rule.replace(names=names)
            for rule in profile.syscalls
            if (names := tuple(name for name in rule.names if name in known))
        )
    )
    compare(reduced, numbers_of(known), random.Random(1), tries=20)
    assert len(check(compile_filter(reduced, "x86_64"))) < len(compile_by_libseccomp(reduced))


def is_known(name: str) -> bool:
    """Whether the installed libseccomp has our numbers for a call, or its own for what it multiplexes."""
    library = ctypes.CDLL(LIBRARY)
    for abi in MACHINES["x86_64"]:
        number = load_table(abi, "x86_64").get(name)
        theirs = library.seccomp_syscall_resolve_name_arch(
            ctypes.c_uint32(SCMP_ARCH[abi.name]), name.encode()
        )
        if number is not None and theirs != number and not -300 < theirs < -1:
            return False
    return True
