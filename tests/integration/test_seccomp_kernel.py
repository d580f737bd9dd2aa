"""Compiled seccomp filters, run by the real kernel.

No right is needed: the probe sets no_new_privs.  To try every call there is, however harmful, a filter's
answers are exchanged for errno values of their own: then nothing is executed, and the kernel tells what it
would have answered.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg
from pierhead.oci.seccomp_profile import WITH_CAPABILITY, default_profile
from pierhead.runtime.plan.seccomp import FLAGS, MACHINES, compile_filter, filter_flags, load_table
from tests.support.bpf_machine import check
from tests.support.requires import requires
from tests.support.seccomp_reading import I386, Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [
    requires("gcc"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 machine"),
]

PROBE = Path(__file__).parents[1] / "support" / "seccomp_probe.c"
LISTENER = Path(__file__).parents[1] / "support" / "seccomp_listener.py"
RET = 0x06
FIRST_ERRNO = 3000  # of the exchanged answers: nothing else answers with such numbers
X86_64_ABI, X32_ABI, I386_ABI = MACHINES["x86_64"]
NUMBERS = load_table(X86_64_ABI, "x86_64")
LINUX = (6, 1)
USUAL = ("CAP_CHOWN", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_NET_RAW")

Call = tuple[int, int, tuple[int, ...]]
# Recent kernels filter neither uretprobe nor uprobe, and kill whoever calls them outside of a probe.
UNFILTERED = [(0, NUMBERS["uretprobe"]), (0, NUMBERS["uprobe"])]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe, built."""
    program = tmp_path_factory.mktemp("probe") / "seccomp_probe"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-mno-red-zone", "-o", str(program), str(PROBE)]
    subprocess.run(command, check=True)
    return program


class Outcome:
    """What became of the probe: its exit status, and the result of each call that it came to make."""

    def __init__(self, status: int, results: list[int]) -> None:
        self.status = status
        self.results = results


def make_calls(probe: Path, place: Path, program: bytes, calls: Sequence[Call], *, flags: int = 0) -> Outcome:
    """Run the probe: a call is (1 for int 0x80, number, arguments)."""
    (place / "filter").write_bytes(program)
    (place / "calls").write_bytes(b"".join(struct.pack("<II6Q", way, nr, *args) for way, nr, args in calls))
    (place / "results").write_bytes(struct.pack("<q", 2**62) * len(calls))
    command = [str(probe), *(str(place / name) for name in ("filter", "calls", "results"))]
    command.insert(2, str(flags))
    done = subprocess.run(command, check=False, capture_output=True, timeout=60)
    assert done.returncode != 2, done.stderr
    results = struct.iter_unpack("<q", (place / "results").read_bytes())
    return Outcome(done.returncode, [result for (result,) in results])


def call(name: str, *arguments: int) -> Call:
    """A call of x86-64 by name."""
    return 0, NUMBERS[name], (*arguments, 0, 0, 0, 0, 0, 0)[:6]


def exchange_answers(program: bytes) -> tuple[bytes, dict[int, int]]:
    """The program with an errno of its own for each answer, and which errno means which answer."""
    meanings: dict[int, int] = {}
    exchanged = b""
    for code, jt, jf, k in check(program):
        if code == RET:
            number = meanings.setdefault(k, FIRST_ERRNO + len(meanings))
            k = 0x00050000 | number  # noqa: PLW2901
        exchanged += struct.pack("<HBBI", code, jt, jf, k)
    return exchanged, {number: answer for answer, number in meanings.items()}


def answers_of_the_kernel(probe: Path, place: Path, profile: Seccomp, calls: Sequence[Call]) -> list[int]:
    """What the kernel finds the compiled profile to answer to each call."""
    program, meanings = exchange_answers(compile_filter(profile, "x86_64"))
    outcome = make_calls(probe, place, program, calls)
    assert outcome.status in (-signal.SIGILL, -signal.SIGTRAP)
    return [meanings[-result] for result in outcome.results]


def every_call(profile: Seccomp) -> list[Call]:
    """Every number of every ABI; the calls that a condition looks at with many arguments."""
    conditional = {name for rule in profile.syscalls for name in rule.names if rule.args}
    values = {0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1}
    for rule in profile.syscalls:
        for condition in rule.args:
            values |= {condition.value + step & 2**64 - 1 for step in (-1, 0, 1, 2**32)}
    calls: list[Call] = []
    for abi in (X86_64_ABI, X32_ABI, I386_ABI):
        table = load_table(abi, "x86_64")
        looked_at = {table[name] for name in conditional if name in table} | {102, 117}
        way = int(abi is I386_ABI)
        for number in (*range(abi.first, abi.first + 640), abi.last - 1, abi.last):
            firsts = values if number in looked_at else {1}
            calls += [(way, number, (value, 2, value, 0, value, value)) for value in firsts]
    return [made for made in calls if made[:2] not in UNFILTERED]


def arch_of(way: int) -> int:
    """The architecture that the kernel reports for a call."""
    return I386 if way else X86_64_ABI.audit_arch


@pytest.mark.parametrize("capabilities", [(), USUAL, tuple(WITH_CAPABILITY)], ids=["none", "usual", "all"])
def test_default_profile(probe: Path, tmp_path: Path, capabilities: tuple[str, ...]) -> None:
    """The kernel finds in the default filter what the profile says, for every call of three ABIs."""
    profile = default_profile(capabilities, "x86_64", LINUX)
    calls = every_call(profile)
    reading = Reading(profile, "x86_64")
    expected = [reading.answer(arch_of(way), number, arguments) for way, number, arguments in calls]
    assert answers_of_the_kernel(probe, tmp_path, profile, calls) == expected


def test_every_comparison(probe: Path, tmp_path: Path) -> None:
    """The kernel compares 64-bit arguments as the profile says, on i386 their lower halves."""
    operators = ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
    rules = tuple(
        Syscall(
            names=("read" if index < 6 else "write",),
            action="SCMP_ACT_ERRNO",
            errno_ret=100 + 10 * index + at,
            args=(
                SyscallArg(index=index % 6, value=value, value_two=value & 0xF0F0F0F0F, op=f"SCMP_CMP_{op}"),
                SyscallArg(index=(index + 1) % 6, value=index, op="SCMP_CMP_EQ"),
            ),
        )
        for index, value in enumerate((5, 2**32, 2**32 + 5, 2**63, 2**64 - 1, 0xFF00FF00FF, 1, 0))
        for at, op in enumerate(operators)
    )
    profile = Seccomp(
        default_action="SCMP_ACT_LOG", architectures=("SCMP_ARCH_X86", "SCMP_ARCH_X32"), syscalls=rules
    )
    calls = every_call(profile)
    reading = Reading(profile, "x86_64")
    expected = [reading.answer(arch_of(way), number, arguments) for way, number, arguments in calls]
    assert answers_of_the_kernel(probe, tmp_path, profile, calls) == expected


def test_unlisted_abis(probe: Path, tmp_path: Path) -> None:
    """A profile of x86-64 alone kills the calls of the other two ABIs."""
    profile = default_profile((), "x86_64", LINUX).replace(architectures=("SCMP_ARCH_X86_64",))
    calls = [(0, 0, (0,) * 6), (1, 3, (0,) * 6), (0, X32_ABI.first, (0,) * 6), (0, 2**32 - 1, (0,) * 6)]
    answers = answers_of_the_kernel(probe, tmp_path, profile, calls)
    assert answers == [0x7FFF0000, 0, 0, 0x00050001]


def test_life_under_the_default_profile(probe: Path, tmp_path: Path) -> None:
    """Under the filter as it is, calls work or fail as a container's must."""
    program = compile_filter(default_profile(USUAL, "x86_64", LINUX), "x86_64")
    calls = {
        "getppid": (call("getppid"), os.getpid()),
        "unix": (call("socket", 1, 1 | 0o2000000, 0), None),
        "alg": (call("socket", 38, 5, 0), -errno.EPERM),
        "vsock": (call("socket", 40, 1, 0), -errno.EPERM),
        "mount": (call("mount", 0, 0, 0, 0, 0), -errno.EPERM),
        "unshare": (call("unshare", 0x00020000), -errno.EPERM),
        "user namespace": (call("clone", 0x10000000 | 17), -errno.EPERM),
        "clone3": (call("clone3", 0, 0), -errno.ENOSYS),
        "newer": ((0, 600, (0,) * 6), -errno.ENOSYS),
        "personality": (call("personality", 0xFFFFFFFF), 0),
        "no personality": (call("personality", 4), -errno.EPERM),
        "i386 getppid": ((1, 64, (0,) * 6), os.getpid()),
        "i386 mount": ((1, 21, (0,) * 6), -errno.EPERM),
    }
    outcome = make_calls(probe, tmp_path, program, [made for made, _ in calls.values()])
    assert outcome.status == 0
    results = dict(zip(calls, outcome.results, strict=True))
    assert results.pop("unix") >= 0
    assert results == {name: expected for name, (_, expected) in calls.items() if expected is not None}


@pytest.mark.parametrize(
    ("action", "errno_ret", "status", "result"),
    [
        ("SCMP_ACT_ALLOW", None, 0, os.getpid()),
        ("SCMP_ACT_LOG", None, 0, os.getpid()),
        ("SCMP_ACT_ERRNO", None, 0, -1),
        ("SCMP_ACT_ERRNO", 4095, 0, -4095),
        ("SCMP_ACT_ERRNO", 0, 0, 0),
        ("SCMP_ACT_TRACE", None, 0, -errno.ENOSYS),  # there is no tracer
        ("SCMP_ACT_TRAP", None, -signal.SIGSYS, 2**62),
        ("SCMP_ACT_KILL", None, -signal.SIGSYS, 2**62),
        ("SCMP_ACT_KILL_THREAD", None, -signal.SIGSYS, 2**62),
        ("SCMP_ACT_KILL_PROCESS", None, -signal.SIGSYS, 2**62),
    ],
)
def test_actions(
    probe: Path, tmp_path: Path, action: str, errno_ret: int | None, status: int, result: int
) -> None:
    """Every action does in the kernel what its name says."""
    default = "SCMP_ACT_ERRNO" if action == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    rules = [Syscall(names=("getppid",), action=action, errno_ret=errno_ret)]
    if default == "SCMP_ACT_ERRNO":
        rules.append(Syscall(names=("exit_group",), action="SCMP_ACT_ALLOW"))
    program = compile_filter(Seccomp(default_action=default, syscalls=tuple(rules)), "x86_64")
    outcome = make_calls(probe, tmp_path, program, [call("getppid")])
    assert (outcome.status, outcome.results) == (status, [result])


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_flags(probe: Path, tmp_path: Path, name: str) -> None:
    """The kernel takes every flag of the runtime specification."""
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", flags=(name,))
    program = compile_filter(profile, "x86_64")
    outcome = make_calls(probe, tmp_path, program, [call("getppid")], flags=filter_flags(profile))
    assert (outcome.status, outcome.results) == (0, [os.getpid()])


@pytest.mark.parametrize("flags", [(), tuple(FLAGS)], ids=["none", "all"])
def test_listener(flags: tuple[str, ...]) -> None:
    """With NOTIFY loading the filter returns a descriptor, through which another thread answers the call."""
    rule = Syscall(names=("getppid",), action="SCMP_ACT_NOTIFY")
    profile = Seccomp(default_action="SCMP_ACT_ALLOW", flags=flags, syscalls=(rule,))
    order = {"filter": compile_filter(profile, "x86_64").hex(), "flags": filter_flags(profile)}
    done = subprocess.run(
        [sys.executable, LISTENER],
        input=json.dumps(order),
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {"notified": NUMBERS["getppid"], "result": 4711}
