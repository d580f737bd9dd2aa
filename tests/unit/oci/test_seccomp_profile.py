"""The default seccomp profile: what Docker's allows and refuses."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.jsontext import format_compact, parse
from pierhead.oci.document import decode, encode
from pierhead.oci.runtime import Seccomp
from pierhead.oci.seccomp_profile import WITH_CAPABILITY, default_profile
from pierhead.runtime.plan.bpf import MAX_INSTRUCTIONS
from pierhead.runtime.plan.seccomp import MACHINES, compile_filter, load_table, unknown_syscalls
from tests.support.bpf_machine import check, run
from tests.support.seccomp_reading import ALLOW, ENOSYS, I386, X86_64, Reading

EPERM = 0x00050001
LINUX = (6, 1)
NONE: tuple[str, ...] = ()
# What a container has if nobody says otherwise.
USUAL = ("CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP", "CAP_NET_RAW")
VALUES = (0, 1, 8, 11, 12, 13, 38, 40, 45, 46, 0x20000, 0x20008, 0x7E020000, 0x10000000, 17, 2**32 - 1, 2**32)
ARGUMENTS = [(value,) * 6 for value in (*VALUES, 2**32 + 1, 2**64 - 1)]


class Filter:
    """A compiled default profile that can be asked."""

    def __init__(self, *capabilities: str, arch: str = "x86_64", kernel: tuple[int, int] = LINUX) -> None:
        self.arch = arch
        self.instructions = check(compile_filter(default_profile(capabilities, arch, kernel), arch))
        self.tables = {abi.table: (abi.audit_arch, load_table(abi, arch)) for abi in MACHINES[arch]}

    def ask(self, name: str, *arguments: int, table: str = "") -> int:
        """What it answers to a call by name."""
        audit_arch, numbers = self.tables[table or MACHINES[self.arch][0].table]
        return run(self.instructions, audit_arch, numbers[name], (*arguments, 0, 0, 0, 0, 0, 0)[:6])


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("capabilities", [NONE, USUAL, tuple(WITH_CAPABILITY)], ids=["none", "usual", "all"])
def test_every_call(machine: str, capabilities: tuple[str, ...]) -> None:
    """The filter answers what the profile says to every number of every ABI, for arguments at borders."""
    profile = default_profile(capabilities, machine, LINUX)
    instructions = check(compile_filter(profile, machine))
    reading = Reading(profile, machine)
    conditional = {name for rule in profile.syscalls for name in rule.names if rule.args}
    for abi in MACHINES[machine]:
        table = load_table(abi, machine)
        highest = max(table.values())
        looked_at = {table[name] for name in conditional if name in table}
        for number in (*range(abi.first, highest + 40), abi.last - 1, abi.last):
            for arguments in ARGUMENTS if number in looked_at else ARGUMENTS[:1]:
                expected = reading.answer(abi.audit_arch, number, arguments)
                answer = run(instructions, abi.audit_arch, number, arguments)
                assert answer == expected, (abi.name, number, arguments)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_value_of_first_arguments(machine: str) -> None:
    """Every address family and every namespace flag alone is answered as the profile says."""
    profile = default_profile(NONE, machine, LINUX)
    instructions = check(compile_filter(profile, machine))
    reading = Reading(profile, machine)
    values = {*range(70), *(1 << bit for bit in range(64)), *((1 << bit) - 1 for bit in range(65))}
    for abi in MACHINES[machine]:
        table = load_table(abi, machine)
        for name in ("socket", "clone", "personality"):
            for value in values if name in table else ():
                arguments = (value, 0, 0, 0, 0, 0)
                expected = reading.answer(abi.audit_arch, table[name], arguments)
                assert run(instructions, abi.audit_arch, table[name], arguments) == expected


def test_usual_container() -> None:
    """A usual container may do a usual program's calls, and none that reach for the host."""
    usual = Filter(*USUAL)
    allowed = ["read", "openat", "execve", "mmap", "fork", "ptrace", "chroot", "seccomp", "memfd_secret"]
    assert [name for name in allowed if usual.ask(name) != ALLOW] == []
    refused = ["mount", "setns", "unshare", "bpf", "reboot", "init_module", "kexec_load", "keyctl", "add_key"]
    refused += ["io_uring_setup", "userfaultfd", "acct", "iopl", "settimeofday", "syslog", "perf_event_open"]
    refused += ["open_by_handle_at", "vhangup", "mbind", "pivot_root", "swapon"]
    assert [name for name in refused if usual.ask(name) != EPERM] == []


@pytest.mark.parametrize(
    ("capability", "name"),
    [(capability, name) for capability, names in WITH_CAPABILITY.items() for name in names.split()],
)
def test_capabilities_open_calls(capability: str, name: str) -> None:
    """A capability opens its calls."""
    _, numbers = Filter().tables["X86_64"]
    table = "X86_64" if name in numbers else "X86"
    assert Filter(capability).ask(name, 0x10000000, table=table) == ALLOW
    before = Filter(kernel=(4, 7)).ask(name, 0x10000000, table=table)
    assert before == (0x00050026 if name == "clone3" else EPERM)


def test_clone() -> None:
    """Without CAP_SYS_ADMIN clone makes threads and processes, no namespaces; and clone3 is not there."""
    plain, admin = Filter(), Filter("CAP_SYS_ADMIN")
    for flags in (0x11, 0x3D0F00, 0x00000100):
        assert plain.ask("clone", flags) == ALLOW
    for flags in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert plain.ask("clone", flags | 0x11) == EPERM
        assert admin.ask("clone", flags | 0x11) == ALLOW
    assert plain.ask("clone3") == ENOSYS
    assert admin.ask("clone3") == ALLOW


@pytest.mark.parametrize("table", ["X86_64", "X32"])
def test_sockets(table: str) -> None:
    """AF_ALG, AF_VSOCK and families that are gone or unborn are refused, on every direct socket call."""
    usual = Filter(*USUAL)
    refused = {family for family in range(64) if usual.ask("socket", family, 1, table=table) == EPERM}
    assert refused == {12, 19, 20, 23, 25, 34, 37, 38, 40, *range(46, 64)}


def test_socketcall_stays_open() -> None:
    """i386's socketcall is allowed, as in Docker's profile: 32-bit programs of old use nothing else."""
    assert Filter(*USUAL).ask("socketcall", 1, table="X86") == ALLOW
    assert Filter(*USUAL).ask("socket", 38, table="X86") == EPERM


def test_personality() -> None:
    """A program may ask for its personality and set the four harmless ones."""
    usual = Filter(*USUAL)
    for table in ("X86_64", "X86", "X32"):
        allowed = [value for value in VALUES if usual.ask("personality", value, table=table) == ALLOW]
        expected = [0, 8, 0x20000, 0x20008, 2**32 - 1]
        assert allowed == (expected if table == "X86_64" else [*expected, 2**32])


def test_ptrace_on_old_kernels() -> None:
    """Before Linux 4.8 tracing needs CAP_SYS_PTRACE."""
    assert Filter(kernel=(4, 7)).ask("ptrace") == EPERM
    assert Filter(kernel=(4, 8)).ask("ptrace") == ALLOW
    assert Filter("CAP_SYS_PTRACE", kernel=(4, 7)).ask("ptrace") == ALLOW


def test_machines_own_calls() -> None:
    """Calls that only one machine has are allowed there."""
    arm = Filter(arch="aarch64")
    assert arm.ask("set_tls", table="ARM_PRIVATE") == ALLOW
    assert arm.ask("sync_file_range2", table="ARM") == ALLOW
    assert Filter().ask("modify_ldt") == ALLOW


def test_newer_calls() -> None:
    """What the profile does not know yet is not there."""
    for name in ("open_tree_attr", "file_getattr", "listns"):
        assert Filter(*USUAL).ask(name) == ENOSYS
        assert Filter(*USUAL, arch="aarch64").ask(name) == ENOSYS


def test_size() -> None:
    """The filter for three ABIs has a tenth of the instructions that the kernel takes."""
    assert len(Filter(*USUAL).instructions) < MAX_INSTRUCTIONS // 10


def test_hot_calls_are_precomputed() -> None:
    """That a call is always allowed is decided by number and architecture alone: the kernel caches it."""
    instructions = Filter(*USUAL).instructions
    for number in (0, 1, 3, 9, 202, 232, 257):
        at, loads = 0, set()
        accumulator = 0
        while instructions[at][0] != 0x06:
            code, jt, jf, k = instructions[at]
            at += 1
            if code == 0x20:
                loads.add(k)
                accumulator = X86_64 if k == 4 else number
            elif code == 0x05:
                at += k
            else:
                taken = {0x15: accumulator == k, 0x35: accumulator >= k}[code]
                at += jt if taken else jf
        assert loads == {0, 4}


def test_names_are_known() -> None:
    """Every name of the profile is a call on the machine, but for one of RISC-V's."""
    profile = default_profile(tuple(WITH_CAPABILITY), "x86_64", LINUX)
    assert set(unknown_syscalls(profile, "x86_64")) == {"riscv_hwprobe"}


def test_document() -> None:
    """The profile goes into a config.json and comes back the same."""
    profile = default_profile(USUAL, "x86_64", LINUX)
    assert decode(Seccomp, parse(format_compact(encode(profile)))) == profile


def test_i386_is_filtered_like_the_rest() -> None:
    """A 32-bit program cannot make the calls that a 64-bit program cannot."""
    usual = Filter(*USUAL)
    for name in ("mount", "setns", "unshare", "bpf", "reboot", "init_module", "kexec_load"):
        assert usual.ask(name, table="X86") == EPERM
    assert run(usual.instructions, I386, 4) == ALLOW


def test_unknown_machine() -> None:
    """There is no profile for a machine that we do not know."""
    with pytest.raises(InvalidInput, match="no default seccomp profile for machine 'm68k'"):
        default_profile(NONE, "m68k", LINUX)
