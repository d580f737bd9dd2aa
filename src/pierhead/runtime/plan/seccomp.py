"""Seccomp profiles to the programs that the kernel runs at every system call.

A filter begins at the architecture, because a number means another call on each:

    load architecture
    == x86-64 ?  load number; a balanced tree over ranges of numbers:
                     0 .. 0x3fffffff           x86-64's own calls
                     0x40000000 ..             x32's: another ABI of the same architecture
    == i386 ?    load number; its tree
    otherwise    kill the thread

A leaf is an answer (``ALLOW``, ``ERRNO EPERM``) or the argument checks of one call.  Neighbouring numbers
with the same answer are one range; the kernel itself precomputes the numbers that are always allowed.

**Rules of one call** work as libseccomp makes them work for runc:

- a rule whose answer is the default's is as if it were not there;
- a rule without conditions decides for all arguments, wherever it stands; of several the first;
- the conditions of a rule must all hold; but if two of them look at the same argument, each is a rule of its
  own;
- otherwise the first rule that holds decides (libseccomp's order among rules with different answers is not
  the profile's; profiles that say two things of the same call and arguments cannot rely on it);
- the 32-bit ABIs, x32 among them, compare only the low halves of arguments and of the rule's numbers: the
  kernel itself reads no more, and what stands in the upper halves is the caller's to choose.

**Newer than the profile**: a program that meets a call that its kernel lacks falls back to an older one when
told ENOSYS, but gives up when told EPERM.  So in profiles that refuse by default (the default action is
neither ALLOW nor LOG nor TRACE) a number above the highest that the profile names for that ABI, in whatever
rule, answers ENOSYS: whoever wrote the profile did not know the call.  Gaps below the highest answer as the
default says.  ABIs of which the profile names no call have no such border; 32-bit ARM's private numbers, from
0xf0000 on, have their own.

**i386's multiplexers**: socketcall and ipc each do many calls, the first argument says which.  A rule for
``bind`` therefore also covers ``socketcall`` with the first argument 2; its own conditions cannot be checked
there, as the arguments are in memory.  So a rule with conditions is left out there when it permits, and
applies to all arguments when it refuses.  A profile that names ``socketcall`` or ``ipc`` itself,
without conditions, has its way.

Pure: knows profiles and the machine language, and neither kernel nor files.
Sources: seccomp(2), seccomp_rule_add(3), config-linux.md "Seccomp", runc's -ENOSYS stub.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.runtime.plan.bpf import (
    DATA_ARCH,
    DATA_ARGS,
    DATA_NR,
    INSTRUCTION_BYTES,
    JEQ,
    MAX_INSTRUCTIONS,
    RET_ACTION_FULL,
    RET_ALLOW,
    RET_ERRNO,
    RET_KILL_PROCESS,
    RET_KILL_THREAD,
    RET_LOG,
    RET_TRACE,
    RET_TRAP,
    RET_USER_NOTIF,
    Assembler,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg
    from pierhead.runtime.plan.bpf import Label

    Ranges: TypeAlias = tuple[tuple[int, int], ...]
    # "argument & mask lies in one of the ranges"
    Test: TypeAlias = tuple[int, int, Ranges]
    # an answer, and the tests that must all hold for it
    Case: TypeAlias = tuple[int, tuple[Test, ...]]

_PATH = "$.linux.seccomp"
_EPERM = 1
_ENOSYS = 38
_MAX_ERRNO = 4095  # the kernel cuts SECCOMP_RET_ERRNO's data to this
_MAX_TRACE_DATA = 0xFFFF
_ARGUMENTS = 6
_WORD = 0xFFFFFFFF
_X32_BIT = 0x40000000

ACTIONS = {
    "SCMP_ACT_KILL": RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": RET_TRAP,
    "SCMP_ACT_ERRNO": RET_ERRNO,
    "SCMP_ACT_TRACE": RET_TRACE,
    "SCMP_ACT_ALLOW": RET_ALLOW,
    "SCMP_ACT_LOG": RET_LOG,
    "SCMP_ACT_NOTIFY": RET_USER_NOTIF,
}
OPERATORS = (
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
)
# Flags of seccomp(2), SECCOMP_SET_MODE_FILTER (linux/seccomp.h).
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1 << 0,
    "SECCOMP_FILTER_FLAG_LOG": 1 << 1,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 1 << 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 1 << 5,
}
FLAG_NEW_LISTENER = 1 << 3
_FLAG_TSYNC_ESRCH = 1 << 4


class Abi(Value):
    """A calling convention: the numbers ``first`` to ``last`` of an architecture, as wide as its arguments.

    ``audit_arch`` is what the kernel calls the architecture (linux/audit.h), ``table`` the name of the table
    of its calls' numbers in the machine's module of tables.
    """

    name: str
    audit_arch: int
    bits: int
    first: int
    last: int
    table: str


# The ABIs that programs on a machine can use, its own first, ascending within an architecture.
MACHINES = {
    "x86_64": (
        Abi(
            name="SCMP_ARCH_X86_64",
            audit_arch=0xC000003E,
            bits=64,
            first=0,
            last=_X32_BIT - 1,
            table="X86_64",
        ),
        Abi(name="SCMP_ARCH_X32", audit_arch=0xC000003E, bits=32, first=_X32_BIT, last=_WORD, table="X32"),
        Abi(name="SCMP_ARCH_X86", audit_arch=0x40000003, bits=32, first=0, last=_WORD, table="X86"),
    ),
    "aarch64": (
        Abi(name="SCMP_ARCH_AARCH64", audit_arch=0xC00000B7, bits=64, first=0, last=_WORD, table="AARCH64"),
        Abi(name="SCMP_ARCH_ARM", audit_arch=0x40000028, bits=32, first=0, last=0xEFFFF, table="ARM"),
        Abi(
            name="SCMP_ARCH_ARM",
            audit_arch=0x40000028,
            bits=32,
            first=0xF0000,
            last=_WORD,
            table="ARM_PRIVATE",
        ),
    ),
}
# The other architectures of the runtime specification.
_MORE_ARCHITECTURES = (
    "LOONGARCH64 M68K MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64 PPC PPC64 PPC64LE "
    "RISCV64 S390 S390X SH SHEB"
)

# The calls that i386 also does through another: name -> (number of the other, bits of its argument, its
# value).
_SOCKETCALL = (102, _WORD)  # linux/net.h
_IPC = (117, 0xFFFF)  # linux/ipc.h; the upper bits are a version
_MULTIPLEXED = {
    "socket": (*_SOCKETCALL, 1),
    "bind": (*_SOCKETCALL, 2),
    "connect": (*_SOCKETCALL, 3),
    "listen": (*_SOCKETCALL, 4),
    "accept": (*_SOCKETCALL, 5),
    "getsockname": (*_SOCKETCALL, 6),
    "getpeername": (*_SOCKETCALL, 7),
    "socketpair": (*_SOCKETCALL, 8),
    "send": (*_SOCKETCALL, 9),
    "recv": (*_SOCKETCALL, 10),
    "sendto": (*_SOCKETCALL, 11),
    "recvfrom": (*_SOCKETCALL, 12),
    "shutdown": (*_SOCKETCALL, 13),
    "setsockopt": (*_SOCKETCALL, 14),
    "getsockopt": (*_SOCKETCALL, 15),
    "sendmsg": (*_SOCKETCALL, 16),
    "recvmsg": (*_SOCKETCALL, 17),
    "accept4": (*_SOCKETCALL, 18),
    "recvmmsg": (*_SOCKETCALL, 19),
    "sendmmsg": (*_SOCKETCALL, 20),
    "semop": (*_IPC, 1),
    "semget": (*_IPC, 2),
    "semctl": (*_IPC, 3),
    "semtimedop": (*_IPC, 4),
    "msgsnd": (*_IPC, 11),
    "msgrcv": (*_IPC, 12),
    "msgget": (*_IPC, 13),
    "msgctl": (*_IPC, 14),
    "shmat": (*_IPC, 21),
    "shmdt": (*_IPC, 22),
    "shmget": (*_IPC, 23),
    "shmctl": (*_IPC, 24),
}


def compile_filter(seccomp: Seccomp, arch: str) -> bytes:
    """The program for seccomp(2) that does what the profile says on a machine.

    Args:
        seccomp: the profile; names of calls that no table knows are ignored, see ``unknown_syscalls``.
        arch: the machine as uname(2) names it, ``x86_64`` or ``aarch64``.

    Raises:
        InvalidInput: an unknown machine, architecture, action, operator or argument, an errno that an action
            cannot carry, NOTIFY as the default, or a program longer than the kernel takes.
    """
    default, rules = _read_profile(seccomp)
    program = Assembler()
    sections = [
        (architecture[0].audit_arch, _compile_architecture(program, architecture, arch, default, rules))
        for architecture in _group_by_architecture(_listed_abis(seccomp, arch))
    ]
    start = program.ret(RET_KILL_THREAD)
    for audit_arch, label in reversed(sections):
        start = program.branch(JEQ, audit_arch, label, start)
    encoded = program.encode(program.load(DATA_ARCH, start))
    count = len(encoded) // INSTRUCTION_BYTES
    if count > MAX_INSTRUCTIONS:
        raise InvalidInput(
            f"the profile needs {count} BPF instructions, and the kernel takes at most {MAX_INSTRUCTIONS}",
            path=_PATH,
            hint="give fewer conditions on arguments, or fewer architectures",
        )
    return encoded


def filter_flags(seccomp: Seccomp) -> int:
    """The flags of seccomp(2) that the profile asks for, with NEW_LISTENER if one of its actions is NOTIFY.

    WAIT_KILLABLE_RECV is left out where there is no listener, and TSYNC then is joined by TSYNC_ESRCH where
    there is one: the kernel refuses either otherwise.

    Raises:
        InvalidInput: an unknown flag.
    """
    flags = 0
    for at, name in enumerate(seccomp.flags):
        if name not in FLAGS:
            raise _invalid(f"unknown seccomp flag {name!r}", f"flags[{at}]", FLAGS)
        flags |= FLAGS[name]
    if not notifies(seccomp):
        return flags & ~FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]
    if flags & FLAGS["SECCOMP_FILTER_FLAG_TSYNC"]:
        flags |= _FLAG_TSYNC_ESRCH
    return flags | FLAG_NEW_LISTENER


def notifies(seccomp: Seccomp) -> bool:
    """Whether a rule hands calls to a listener, so that loading the filter returns a descriptor."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def unknown_syscalls(seccomp: Seccomp, arch: str) -> tuple[str, ...]:
    """The names in the profile that no call of the machine's ABIs has, each once, in the profile's order."""
    known = set(_MULTIPLEXED) if arch == "x86_64" else set()
    for abi in MACHINES[arch]:
        known.update(load_table(abi, arch))
    return tuple(dict.fromkeys(name for rule in seccomp.syscalls for name in rule.names if name not in known))


def load_table(abi: Abi, arch: str) -> dict[str, int]:
    """The numbers of an ABI's calls by name; several names may have one number."""
    if arch == "x86_64":
        from pierhead.runtime.plan import syscalls_x86_64 as tables
    else:
        from pierhead.runtime.plan import syscalls_aarch64 as tables  # type: ignore[no-redef]
    table = {}
    number = 0
    for word in getattr(tables, abi.table).split():
        if word.isdigit():
            number = int(word)
        else:
            table[word] = number
            number += 1
    return table


def _listed_abis(seccomp: Seccomp, arch: str) -> list[Abi]:
    """The machine's ABIs that the profile lists; its own always is."""
    abis = MACHINES.get(arch)
    if abis is None:
        raise InvalidInput(
            f"no table of system calls for machine {arch!r}",
            code="unsupported-machine",
            hint=f"seccomp profiles can be compiled for {' and '.join(MACHINES)}",
        )
    usable = [abi.name for abi in abis]
    for at, name in enumerate(seccomp.architectures):
        if name not in usable and name not in _foreign_architectures():
            raise _invalid(f"unknown architecture {name!r}", f"architectures[{at}]")
    return [abi for abi in abis if abi.name == usable[0] or abi.name in seccomp.architectures]


def _foreign_architectures() -> set[str]:
    """What a profile may name besides: no program can use these on the machine, so nothing is compiled."""
    names = {f"SCMP_ARCH_{word}" for word in _MORE_ARCHITECTURES.split()}
    return names.union(abi.name for abis in MACHINES.values() for abi in abis)


def _group_by_architecture(abis: list[Abi]) -> list[list[Abi]]:
    """The ABIs in one list per architecture, in their order."""
    groups: dict[int, list[Abi]] = {}
    for abi in abis:
        groups.setdefault(abi.audit_arch, []).append(abi)
    return list(groups.values())


# --- reading a profile


class _Rule:
    """A rule of the profile, checked: the names, the answer, and the cases in which it is given."""

    def __init__(self, names: tuple[str, ...], answer: int, conditions: tuple[SyscallArg, ...]) -> None:
        self.names = names
        self.answer = answer
        self.conditions = conditions
        self._cases: dict[int, list[Case]] = {}

    def cases(self, bits: int) -> list[Case]:
        """The cases for arguments of so many bits."""
        if bits not in self._cases:
            self._cases[bits] = _read_cases(self.answer, self.conditions, bits)
        return self._cases[bits]


def _read_profile(seccomp: Seccomp) -> tuple[int, list[_Rule]]:
    """The default answer and the rules, all checked."""
    default = _read_answer(seccomp.default_action, seccomp.default_errno_ret, "default")
    if default == RET_USER_NOTIF:
        raise _invalid("SCMP_ACT_NOTIFY cannot be the default action", "defaultAction")
    rules = []
    for at, rule in enumerate(seccomp.syscalls):
        _check_conditions(rule, at)
        answer = _read_answer(rule.action, rule.errno_ret, f"syscalls[{at}].")
        rules.append(_Rule(rule.names, answer, rule.args))
    return default, rules


def _read_answer(action: str, errno_ret: int | None, place: str) -> int:
    """The answer of an action; ``place`` is the path of its fields, up to their names."""
    answer = ACTIONS.get(action)
    if answer is None:
        raise _invalid(f"unknown seccomp action {action!r}", _field(place, "action"), ACTIONS)
    if answer in (RET_ERRNO, RET_TRACE):
        highest = _MAX_ERRNO if answer == RET_ERRNO else _MAX_TRACE_DATA
        data = _EPERM if errno_ret is None else errno_ret
        if not 0 <= data <= highest:
            raise _invalid(f"{action} takes 0 to {highest}, not {data}", _field(place, "errnoRet"))
        return answer | data
    if errno_ret is not None:
        raise _invalid(f"{action} takes no errno", _field(place, "errnoRet"))
    return answer


def _field(place: str, name: str) -> str:
    """The path of a field: ``defaultAction`` of ``default``, ``syscalls[0].action`` of ``syscalls[0].``."""
    return place + (name if place.endswith(".") else name[0].upper() + name[1:])


def _check_conditions(rule: Syscall, at: int) -> None:
    """Raise InvalidInput for a condition that cannot be."""
    if not rule.names:
        raise _invalid("the rule names no system call", f"syscalls[{at}].names")
    for position, condition in enumerate(rule.args):
        place = f"syscalls[{at}].args[{position}]"
        if condition.op not in OPERATORS:
            raise _invalid(f"unknown comparison {condition.op!r}", f"{place}.op", OPERATORS)
        if not 0 <= condition.index < _ARGUMENTS:
            raise _invalid(f"system calls have arguments 0 to 5, not {condition.index}", f"{place}.index")


def _invalid(what: str, place: str, known: Iterable[str] = ()) -> InvalidInput:
    return InvalidInput(what, path=f"{_PATH}.{place}", hint=f"known are {', '.join(known)}" if known else "")


# --- numbers to answers


def _compile_architecture(
    program: Assembler, abis: list[Abi], arch: str, default: int, rules: list[_Rule]
) -> Label:
    """The part of the program for the numbers of one architecture: which ABI, which call."""
    starts: list[int] = []
    labels: list[Label] = []
    otherwise = program.ret(default)
    for abi in abis:
        calls, border = _compile_calls(program, abi, arch, default, rules)
        number = abi.first
        last = -1
        for call in sorted(calls):
            label = calls[call]
            if call != number:
                starts.append(number)
                labels.append(otherwise)
                last = otherwise
            if label != last:
                starts.append(call)
                labels.append(label)
                last = label
            number = call + 1
        if number != border:
            starts.append(number)
            labels.append(otherwise)
        if border is not None:
            starts.append(border)
            labels.append(program.ret(RET_ERRNO | _ENOSYS))
    if abis[-1].last < _WORD:
        # x32's numbers where the profile does not list x32, which libseccomp takes for a bad architecture.  A
        # tracer leaves -1 of a call that it has taken away: that one is none of x32's.
        starts += [abis[-1].last + 1, _WORD]
        labels += [program.ret(RET_KILL_THREAD), otherwise]
    return program.load(DATA_NR, program.ranges(starts, labels))


def _compile_calls(
    program: Assembler, abi: Abi, arch: str, default: int, rules: list[_Rule]
) -> tuple[dict[int, Label], int | None]:
    """Where to go for each number of an ABI that a rule is about, and from which number on ENOSYS begins."""
    table = load_table(abi, arch)
    highest = -1
    decided: dict[int, Label] = {}
    cases: dict[int, list[Case]] = {}
    for rule in rules:
        numbers = [table[name] for name in rule.names if name in table]
        if numbers:
            highest = max(highest, *numbers)
        if rule.answer == default:
            continue
        if rule.conditions:
            for number in numbers:
                cases.setdefault(number, []).extend(rule.cases(abi.bits))
        else:
            label = program.ret(rule.answer)
            for number in numbers:
                decided.setdefault(number, label)
        if abi.table == "X86":
            _add_multiplexed(cases, rule)
    if cases:
        highest = max(highest, *cases)  # socketcall and ipc may be there by the names of what they do only
    for number, alternatives in cases.items():
        if number not in decided:
            decided[number] = _compile_cases(program, _merge(alternatives), abi.bits, program.ret(default))
    refuses = default & RET_ACTION_FULL not in (RET_ALLOW, RET_LOG, RET_TRACE)
    return decided, highest + 1 if refuses and 0 <= highest < abi.last else None


def _add_multiplexed(cases: dict[int, list[Case]], rule: _Rule) -> None:
    """Add what a rule means for socketcall and ipc."""
    if rule.conditions and rule.answer in (RET_ALLOW, RET_LOG):
        return
    for name in rule.names:
        if name in _MULTIPLEXED:
            number, mask, value = _MULTIPLEXED[name]
            cases.setdefault(number, []).append((rule.answer, ((0, mask, ((value, value),)),)))


# --- conditions on arguments


def _read_cases(answer: int, conditions: tuple[SyscallArg, ...], bits: int) -> list[Case]:
    """The cases, any of which may hold, that the conditions of one rule make."""
    top = (1 << bits) - 1
    if len(conditions) == 1:
        return [(answer, (_read_test(conditions[0], top),))]
    tests = [_read_test(condition, top) for condition in conditions]
    if len({condition.index for condition in conditions}) < len(conditions):
        return [(answer, (test,)) for test in tests]
    return [(answer, tuple(tests))]


def _read_test(condition: SyscallArg, top: int) -> Test:
    """A condition as ranges for the argument, or for its masked bits; ``top`` is the highest number."""
    value = condition.value & top
    ranges: Ranges
    match condition.op:
        case "SCMP_CMP_EQ":
            return condition.index, top, ((value, value),)
        case "SCMP_CMP_MASKED_EQ":
            datum = condition.value_two & value
            return condition.index, value, ((datum, datum),)
        case "SCMP_CMP_NE":
            ranges = ((0, value - 1), (value + 1, top))
        case "SCMP_CMP_LT":
            ranges = ((0, value - 1),)
        case "SCMP_CMP_LE":
            ranges = ((0, value),)
        case "SCMP_CMP_GE":
            ranges = ((value, top),)
        case _:
            ranges = ((value + 1, top),)
    return condition.index, top, tuple((low, high) for low, high in ranges if low <= high)


def _merge(cases: list[Case]) -> tuple[Case, ...]:
    """The same cases, in which neighbours that test the same one argument for the same answer are one."""
    merged: list[Case] = []
    for answer, tests in cases:
        if merged and len(tests) == 1 and len(merged[-1][1]) == 1 and merged[-1][0] == answer:
            (index, mask, ranges), (last_index, last_mask, last_ranges) = tests[0], merged[-1][1][0]
            if (index, mask) == (last_index, last_mask):
                merged[-1] = (answer, ((index, mask, last_ranges + ranges),))
                continue
        merged.append((answer, tests))
    return tuple(
        (answer, tuple((i, mask, _unite(ranges)) for i, mask, ranges in tests)) for answer, tests in merged
    )


def _unite(ranges: Ranges) -> Ranges:
    """The ranges in order, without overlaps."""
    united: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if united and low <= united[-1][1] + 1:
            united[-1] = (united[-1][0], max(high, united[-1][1]))
        else:
            united.append((low, high))
    return tuple(united)


def _compile_cases(program: Assembler, cases: tuple[Case, ...], bits: int, otherwise: Label) -> Label:
    """Answer as the first case that holds says; if none does, go to ``otherwise``."""
    label = otherwise
    for answer, tests in reversed(cases):
        failed = label
        label = program.ret(answer)
        for test in reversed(tests):
            label = _compile_test(program, test, bits, label, failed)
    return label


def _compile_test(program: Assembler, test: Test, bits: int, held: Label, failed: Label) -> Label:
    """Go to ``held`` if the test holds and to ``failed`` if not.

    A 64-bit number is compared by its halves: a tree over the high half, and below each of its values that
    alone does not decide, a tree over the low half.
    """
    index, mask, ranges = test
    offset = DATA_ARGS + 8 * index  # of the low half: our machines are little-endian
    borders = sorted({border for low, high in ranges for border in (low, high + 1)})

    def target(value: int) -> Label:
        """Where to go for a value of the argument."""
        return held if any(low <= value <= high for low, high in ranges) else failed

    def compile_low(base: int) -> Label:
        """Where to go for the values of which ``base`` is the high half."""
        starts = [0, *(border - base for border in borders if base < border <= base + _WORD)]
        return _compile_word(
            program, offset, mask & _WORD, starts, [target(base + start) for start in starts]
        )

    if bits == 32 or mask <= _WORD:
        return compile_low(0)
    halves = {border >> 32 for border in borders}
    starts = sorted({0, *halves, *(half + 1 for half in halves)})
    labels = [compile_low(start << 32) for start in starts if start <= _WORD]
    return _compile_word(program, offset + 4, mask >> 32, starts[: len(labels)], labels)


def _compile_word(
    program: Assembler, offset: int, mask: int, starts: list[int], labels: list[Label]
) -> Label:
    """Go to the label of the range that a word of the data, of it the bits of the mask, is in."""
    tree = program.ranges(starts, labels)
    if tree in labels:
        return tree  # one range only: nothing to look at
    return program.load(offset, tree if mask == _WORD else program.mask(mask, tree))
