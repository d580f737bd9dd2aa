"""Writes the tables of system call numbers, ``pierhead/runtime/plan/syscalls_*.py``, from kernel headers.

    tools/gen_syscalls.py HEADERS

HEADERS is an unpacked Debian ``linux-libc-dev`` of trixie or later, whose one package holds the headers of
every architecture (``apt-get download linux-libc-dev``, ``dpkg-deb -x FILE HEADERS``):

    HEADERS/usr/include/linux/version.h
    HEADERS/usr/lib/linux/uapi/{x86,arm64,arm}/asm/unistd*.h

The C preprocessor evaluates the numbers, so this needs a C compiler.  The kernel never takes a number back:
newer headers only add names.  They matter only to profiles that name the newest calls, for a call that no
profile names needs no entry; see "Newer than the profile" in ``pierhead/runtime/plan/seccomp.py``.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

PLAN = Path(__file__).parent.parent / "src" / "pierhead" / "runtime" / "plan"
WIDTH = 108

# name of the table -> (directory, header, prefix of the macros, extra preprocessor options)
ABIS = {
    "X86_64": ("x86", "asm/unistd_64.h", "NR", ()),
    "X86": ("x86", "asm/unistd_32.h", "NR", ()),
    "X32": ("x86", "asm/unistd_x32.h", "NR", ("-D__X32_SYSCALL_BIT=0x40000000",)),
    "AARCH64": ("arm64", "asm/unistd_64.h", "NR", ()),
    "ARM": ("arm", "asm/unistd.h", "NR", ("-D__ARM_EABI__",)),
    "ARM_PRIVATE": ("arm", "asm/unistd.h", "ARM_NR", ("-D__ARM_EABI__",)),
}
MODULES = {
    "syscalls_x86_64": ("an x86-64 machine: its own, i386's and x32's", ("X86_64", "X86", "X32")),
    "syscalls_aarch64": ("a 64-bit ARM machine: its own and 32-bit ARM's", ("AARCH64", "ARM", "ARM_PRIVATE")),
}
# Macros of these headers that look like system calls and are none.
NOT_CALLS = {"SYSCALL_BASE", "SYSCALL_MASK", "OABI_SYSCALL_BASE", "BASE", "syscalls"}


def preprocess(source: str, headers: Path, abi: str, *options: str) -> str:
    """What the C preprocessor makes of the source with the headers of the ABI."""
    directory, _, _, more = ABIS[abi]
    places = (headers / "usr/lib/linux/uapi" / directory, headers / "usr/include")
    command = ["cc", "-E", "-P", "-nostdinc", *(f"-I{place}" for place in places), *more, *options, "-"]
    return subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout


def read_table(headers: Path, abi: str) -> dict[str, int]:
    """The system calls of an ABI by name, in the order of their numbers."""
    _, header, prefix, _ = ABIS[abi]
    include = f"#include <{header}>\n"
    macros = preprocess(include, headers, abi, "-dM")
    names = re.findall(rf"^#define __{prefix}_(\w+)[ \t]", macros, re.MULTILINE)
    source = include + "".join(f"@ {name}@ __{prefix}_{name}\n" for name in names if name not in NOT_CALLS)
    table = {}
    for line in preprocess(source, headers, abi).splitlines():
        if line.startswith("@"):
            # The second "@" keeps the name itself from being taken for a macro (arm defines some such).
            _, name, number = line.split("@")
            table[name.strip()] = sum(int(part, 0) for part in re.findall(r"\w+", number))
    return dict(sorted(table.items(), key=lambda item: (item[1], item[0])))


def kernel_version(headers: Path) -> str:
    """The version of Linux that the headers are of."""
    text = (headers / "usr/include/linux/version.h").read_text()
    found = re.search(r"LINUX_VERSION_CODE (\d+)", text)
    if found is None:
        sys.exit(f"{headers}: no version of Linux in usr/include/linux/version.h")
    code = int(found[1])
    return f"{code >> 16}.{code >> 8 & 0xFF}"


def spell_table(table: dict[str, int]) -> str:
    """The table as text: names in the order of their numbers, and a number wherever there is a gap."""
    words = []
    following = 0
    for name, number in table.items():
        if number != following:
            words.append(str(number))
        words.append(name)
        following = number + 1
    return " ".join(words)


def render(machine: str, tables: dict[str, dict[str, int]], version: str) -> str:
    """The text of one module of tables."""
    lines = [
        f'"""System call numbers of {machine}; of Linux {version}.',
        "",
        "Written by ``tools/gen_syscalls.py``; do not edit.  A table is one text, which loads fastest:",
        "names in the order of their numbers, and a number wherever the next is not one more than the last.",
        '"""',
    ]
    for abi, table in tables.items():
        rows = textwrap.wrap(spell_table(table), WIDTH - 8, break_on_hyphens=False)
        if len(rows) == 1:
            lines += ["", f'{abi} = "{rows[0]}"']
            continue
        lines += ["", f"{abi} = ("]
        lines += [f'    "{row} "' for row in rows[:-1]] + [f'    "{rows[-1]}"', ")"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    """Write every module of tables."""
    if len(arguments) != 1:
        sys.exit("usage: tools/gen_syscalls.py HEADERS")
    headers = Path(arguments[0])
    version = kernel_version(headers)
    for module, (machine, abis) in MODULES.items():
        tables = {abi: read_table(headers, abi) for abi in abis}
        (PLAN / f"{module}.py").write_text(render(machine, tables, version))
        counts = ", ".join(f"{abi} {len(table)}" for abi, table in tables.items())
        sys.stdout.write(f"{module}.py: Linux {version}: {counts}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
