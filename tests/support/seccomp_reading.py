"""What a seccomp profile says about one system call, read rule by rule: what its filter must answer.

The definition to which compiled filters are compared; as slow and as plain as the documentation it follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.runtime.plan.seccomp import MACHINES, load_table

if TYPE_CHECKING:
    from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg

KILL_THREAD = 0
ENOSYS = 0x00050000 | 38
ALLOW = 0x7FFF0000
LOG = 0x7FFC0000
TRACE = 0x7FF00000
ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_NOTIFY": 0x7FC00000,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_ALLOW": ALLOW,
}
X86_64, I386, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
SOCKET_CALLS = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
]
IPC_CALLS = {
    **dict(zip(("semop", "semget", "semctl", "semtimedop"), range(1, 5), strict=True)),
    **dict(zip(("msgsnd", "msgrcv", "msgget", "msgctl"), range(11, 15), strict=True)),
    **dict(zip(("shmat", "shmdt", "shmget", "shmctl"), range(21, 25), strict=True)),
}


def answer_of(action: str, errno_ret: int | None) -> int:
    """The kernel's number for an action."""
    answer = ACTIONS[action]
    if action in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        answer |= 1 if errno_ret is None else errno_ret
    return answer


def holds(condition: SyscallArg, argument: int, bits: int) -> bool:
    """Whether the condition is true of an argument."""
    top = (1 << bits) - 1
    argument, value, two = argument & top, condition.value & top, condition.value_two & top
    truths = {
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_MASKED_EQ": argument & value == two & value,
    }
    return truths[condition.op]


def applies(rule: Syscall, arguments: tuple[int, ...], bits: int) -> bool:
    """Whether a rule's conditions hold: all of them; any, if two of them are about the same argument."""
    truths = [holds(condition, arguments[condition.index], bits) for condition in rule.args]
    repeated = len({condition.index for condition in rule.args}) < len(rule.args)
    return any(truths) if repeated else all(truths)


class Reading:
    """A profile on a machine, ready to be asked."""

    def __init__(self, seccomp: Seccomp, machine: str) -> None:
        own = MACHINES[machine][0].name
        self.default = answer_of(seccomp.default_action, seccomp.default_errno_ret)
        self.tables = {abi.table: load_table(abi, machine) for abi in MACHINES[machine]}
        self.listed = {own, *seccomp.architectures}
        self.rules = [
            (answer, rule)
            for rule in seccomp.syscalls
            if (answer := answer_of(rule.action, rule.errno_ret)) != self.default
        ]
        self.named = {name for rule in seccomp.syscalls for name in rule.names}

    def answer(self, arch: int, number: int, arguments: tuple[int, ...]) -> int:
        """What must be answered to a system call."""
        table, listed, bits = self._abi(arch, number)
        if listed not in self.listed:
            return self.default if listed == "SCMP_ARCH_X32" and number == 2**32 - 1 else KILL_THREAD
        names = {name for name, own in self.tables[table].items() if own == number}
        about = [(answer, rule) for answer, rule in self.rules if names & set(rule.names)]
        for answer, rule in about:
            if not rule.args:
                return answer
        for answer, rule in self.rules:
            if names & set(rule.names) and applies(rule, arguments, bits):
                return answer
            if table == "X86" and self._covers_multiplexed(answer, rule, number, arguments[0]):
                return answer
        known = [own for name, own in self.tables[table].items() if name in self.named]
        if table == "X86":
            known += self._multiplexers()
        refuses = self.default & 0xFFFF0000 not in (ALLOW, LOG, TRACE)
        return ENOSYS if refuses and known and number > max(known) else self.default

    def _abi(self, arch: int, number: int) -> tuple[str, str, int]:
        """The table, the name and the width of the ABI that a call is made by."""
        if arch == X86_64 and number < 0x40000000:
            return "X86_64", "SCMP_ARCH_X86_64", 64
        if arch == X86_64:
            return "X32", "SCMP_ARCH_X32", 32
        if arch == I386:
            return "X86", "SCMP_ARCH_X86", 32
        if arch == AARCH64:
            return "AARCH64", "SCMP_ARCH_AARCH64", 64
        if arch == ARM:
            return "ARM" if number < 0xF0000 else "ARM_PRIVATE", "SCMP_ARCH_ARM", 32
        return "", "none", 0

    def _multiplexers(self) -> list[int]:
        """The numbers of socketcall and ipc, as far as rules for what they do apply to them."""
        rules = [rule for answer, rule in self.rules if not rule.args or answer not in (ALLOW, LOG)]
        named = {name for rule in rules for name in rule.names}
        return [102] * bool(named & {*SOCKET_CALLS}) + [117] * bool(named & {*IPC_CALLS})

    def _covers_multiplexed(self, answer: int, rule: Syscall, number: int, first: int) -> bool:
        """Whether a rule for one of the calls that socketcall and ipc do applies to such a call."""
        if rule.args and answer in (ALLOW, LOG):
            return False
        if number == 102:
            called = (first & 0xFFFFFFFF) - 1
            return 0 <= called < len(SOCKET_CALLS) and SOCKET_CALLS[called] in rule.names
        if number == 117:
            return any(IPC_CALLS.get(name) == first & 0xFFFF for name in rule.names)
        return False
