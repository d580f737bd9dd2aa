"""The tables of system call numbers."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from pierhead.runtime.plan.seccomp import MACHINES, Abi, load_table

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")
GENERATOR = Path(__file__).parents[4] / "tools" / "gen_syscalls.py"
ABIS = [(machine, abi) for machine, abis in MACHINES.items() for abi in abis]


@pytest.mark.parametrize(("machine", "abi"), ABIS, ids=[abi.table for _, abi in ABIS])
def test_tables_are_whole(machine: str, abi: Abi) -> None:
    """Every table holds only numbers of its ABI, ascending, under names that look like calls."""
    table = load_table(abi, machine)
    numbers = list(table.values())
    assert numbers == sorted(numbers)
    assert all(abi.first <= number <= abi.last for number in numbers)
    assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", name) for name in table)
    assert len(table) > 300 or abi.table == "ARM_PRIVATE"


@pytest.mark.parametrize(
    ("machine", "table", "name", "number"),
    [
        ("x86_64", "X86_64", "read", 0),
        ("x86_64", "X86_64", "clone3", 435),
        ("x86_64", "X86_64", "mseal", 462),
        ("x86_64", "X86_64", "uretprobe", 335),
        ("x86_64", "X86", "exit", 1),
        ("x86_64", "X86", "socketcall", 102),
        ("x86_64", "X86", "clock_gettime64", 403),
        ("x86_64", "X32", "read", 0x40000000),
        ("x86_64", "X32", "ioctl", 0x40000000 + 514),
        ("aarch64", "AARCH64", "read", 63),
        ("aarch64", "AARCH64", "newfstatat", 79),
        ("aarch64", "AARCH64", "mseal", 462),
        ("aarch64", "ARM", "read", 3),
        ("aarch64", "ARM", "arm_sync_file_range", 341),
        ("aarch64", "ARM", "sync_file_range2", 341),
        ("aarch64", "ARM_PRIVATE", "cacheflush", 0xF0002),
    ],
)
def test_known_numbers(machine: str, table: str, name: str, number: int) -> None:
    """Some numbers that everybody knows."""
    abi = next(abi for abi in MACHINES[machine] if abi.table == table)
    assert load_table(abi, machine)[name] == number


@pytest.mark.skipif(not HEADERS.exists(), reason="needs linux-libc-dev of an x86-64 machine")
@pytest.mark.parametrize(
    ("header", "table", "base"),
    [("unistd_64.h", "X86_64", 0), ("unistd_32.h", "X86", 0), ("unistd_x32.h", "X32", 0x40000000)],
)
def test_installed_headers_agree(header: str, table: str, base: int) -> None:
    """What the installed kernel headers know has the same number in our table."""
    text = (HEADERS / header).read_text()
    found = re.findall(r"#define __NR_(\w+) \(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?$", text, re.MULTILINE)
    installed = {name: base + int(number) for name, number in found if name != "syscalls"}
    abi = next(abi for abi in MACHINES["x86_64"] if abi.table == table)
    ours = load_table(abi, "x86_64")
    assert len(installed) > 300
    known = {name: ours.get(name, installed[name]) for name in installed}
    assert known == installed
    # Names that are missing can only be newer than our tables.
    newest = max(ours.values())
    assert all(installed[name] > newest for name in installed if name not in ours)


def test_generator_spells_tables_as_they_are_read() -> None:
    """A table's text has a number at each gap, and two names of one number both keep it."""
    spell = runpy.run_path(str(GENERATOR))["spell_table"]
    assert spell({"a": 0, "b": 1, "c": 5, "d": 5, "e": 6}) == "a b 5 c 5 d e"
