"""An eBPF machine for the programs that guard devices, as strict as it takes.

Written from linux/bpf.h and Documentation/bpf alone, so that it shares no mistake with the encoder.
"""

from __future__ import annotations

import struct

CONTEXT = 0x1000_0000_0000  # where r1 points
MASK = 2**64 - 1


class BadProgram(Exception):
    """The kernel's verifier would refuse the program."""


def check(program: bytes) -> list[tuple[int, int, int, int, int]]:
    """The program's instructions as (code, dst, src, offset, imm), if its shape is right."""
    if not program or len(program) % 8:
        raise BadProgram(f"{len(program)} bytes")
    instructions = [
        (code, registers & 0xF, registers >> 4, offset, imm)
        for code, registers, offset, imm in struct.iter_unpack("<BBhi", program)
    ]
    reached = set()
    waiting = [0]
    while waiting:
        at = waiting.pop()
        if not 0 <= at < len(instructions):
            raise BadProgram(f"control leaves the program at {at}")
        if at in reached:
            continue
        reached.add(at)
        code, dst, src, offset, _ = instructions[at]
        if dst > 9 or src > 10:
            raise BadProgram(f"{at}: no such register")
        if code == 0x05:
            waiting.append(at + offset + 1)
        elif code in (0x55, 0x45):
            waiting += [at + 1, at + offset + 1]
        elif code != 0x95:
            waiting.append(at + 1)
    if len(reached) != len(instructions):
        raise BadProgram("unreachable instructions")
    return instructions


def run(  # noqa: C901 - one case per instruction
    instructions: list[tuple[int, int, int, int, int]], kind: int, access: int, major: int, minor: int
) -> int:
    """What the checked program answers to a request for a device."""
    context = struct.unpack("<III", struct.pack("<III", access << 16 | kind, major, minor))
    registers: list[int | None] = [None] * 11
    registers[1] = CONTEXT

    def read(register: int) -> int:
        """The value of a register that has one."""
        value = registers[register]
        if value is None:
            raise BadProgram(f"r{register} is not set")
        return value

    at = 0
    while True:
        code, dst, src, offset, imm = instructions[at]
        at += 1
        unsigned = imm & MASK  # imm is sign-extended to 64 bits
        match code:
            case 0x61:
                place, rest = divmod(read(src) + offset - CONTEXT, 4)
                if rest or not 0 <= place < 3:
                    raise BadProgram(f"{at - 1}: load at {place}")
                registers[dst] = context[place]
            case 0xBF:
                registers[dst] = read(src)
            case 0xB7:
                registers[dst] = unsigned
            case 0x57:
                registers[dst] = read(dst) & unsigned
            case 0x77:
                registers[dst] = read(dst) >> imm
            case 0x55:
                at += offset if read(dst) != unsigned else 0
            case 0x45:
                at += offset if read(dst) & unsigned else 0
            case 0x05:
                at += offset
            case 0x95:
                return read(0)
            case _:
                raise BadProgram(f"{at - 1}: unknown code {code:#x}")
