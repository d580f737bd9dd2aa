"""A classic BPF machine as strict as the kernel's: checks a seccomp filter, and runs it.

Written from linux/bpf_common.h and kernel/seccomp.c alone, so that it shares no mistake with the assembler.
"""

from __future__ import annotations

import struct

MAX_INSTRUCTIONS = 4096
DATA_BYTES = 64


class BadProgram(Exception):
    """The kernel would refuse the program, or fail in it."""


def check(program: bytes) -> list[tuple[int, int, int, int]]:
    """The program's instructions as (code, jt, jf, k), if the kernel would load it (bpf_check_classic)."""
    if not program or len(program) % 8:
        raise BadProgram(f"{len(program)} bytes")
    instructions = list(struct.iter_unpack("<HBBI", program))
    count = len(instructions)
    if count > MAX_INSTRUCTIONS:
        raise BadProgram(f"{count} instructions")
    for at, (code, jt, jf, k) in enumerate(instructions):
        match code:
            case 0x20:  # ld [k]
                if k % 4 or k >= DATA_BYTES:
                    raise BadProgram(f"{at}: load at {k}")
            case 0x54 | 0x06:  # and, ret
                pass
            case 0x05:  # ja
                if at + k + 1 >= count:
                    raise BadProgram(f"{at}: jump behind the end")
            case 0x15 | 0x25 | 0x35 | 0x45:  # jeq, jgt, jge, jset
                if at + max(jt, jf) + 1 >= count:
                    raise BadProgram(f"{at}: jump behind the end")
            case _:
                raise BadProgram(f"{at}: unknown code {code:#x}")
    if instructions[-1][0] != 0x06:
        raise BadProgram("does not end in a return")
    return instructions


def run(
    instructions: list[tuple[int, int, int, int]],
    arch: int,
    number: int,
    arguments: tuple[int, ...] = (0,) * 6,
) -> int:
    """What the checked program answers to a system call."""
    data = struct.unpack("<16I", struct.pack("<IIQ6Q", number, arch, 0x7F0000001000, *arguments))
    accumulator = 0
    at = 0
    while True:
        code, jt, jf, k = instructions[at]
        at += 1
        match code:
            case 0x20:
                accumulator = data[k // 4]
            case 0x54:
                accumulator &= k
            case 0x05:
                at += k
            case 0x15:
                at += jt if accumulator == k else jf
            case 0x25:
                at += jt if accumulator > k else jf
            case 0x35:
                at += jt if accumulator >= k else jf
            case 0x45:
                at += jt if accumulator & k else jf
            case _:
                return k


def reachable(instructions: list[tuple[int, int, int, int]]) -> set[int]:
    """The indexes of the instructions that some run may come to."""
    seen: set[int] = set()
    waiting = [0]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        code, jt, jf, k = instructions[at]
        if code in (0x15, 0x25, 0x35, 0x45):
            waiting += [at + jt + 1, at + jf + 1]
        elif code == 0x05:
            waiting.append(at + k + 1)
        elif code != 0x06:
            waiting.append(at + 1)
    return seen
