"""Device rules to the eBPF program that a v2 cgroup asks at every mknod(2) and open(2) of a device.

On cgroup v2 there is no devices controller: a program of the type BPF_PROG_TYPE_CGROUP_DEVICE is attached
to the cgroup (bpf(2), BPF_CGROUP_DEVICE) and answers 1 for yes and 0 for no, EPERM.  It is given:

    struct bpf_cgroup_dev_ctx {      linux/bpf.h
        __u32 access_type;           access << 16 | type: mknod 1, read 2, write 4; block 1, char 2
        __u32 major;
        __u32 minor;
    };

**What the rules mean**: each of the wanted kinds of access is decided by the last rule that is about the
device and that kind; what no rule is about is refused; a request is granted if all it wants is granted.  So
the program goes through the rules from the last to the first, and strikes off what is decided:

    a deny rule about the device, of which something still wanted is denied:     answer 0
    an allow rule about the device:    strike its kinds off; nothing more wanted: answer 1
    after the first rule:              answer 0

A request that wants nothing, as a question whether a device may be executed, is decided by the last rule
about the device that allows something or denies everything.

runc and crun let a rule decide only requests of which it names every kind: there ``deny w`` after ``allow
rwm`` does not keep anybody from opening for reading and writing, here it does.  For the rules that engines
write (deny all, then allow some) the three agree.

An instruction is eight bytes (linux/bpf.h; all our machines are little-endian):

     0        1         2        4        8
     +--------+----+----+--------+--------+
     | code   | dst|src | offset | imm    |     dst and src: four bits each, dst the lower
     +--------+----+----+--------+--------+

Pure: knows rules and the machine language, and neither kernel nor cgroups.
Source: config-linux.md "Allowed Device list", Documentation/admin-guide/cgroup-v2.rst "Device controller".
"""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.oci.runtime import DeviceRule

# Instruction codes: class | operation or size | source or mode (linux/bpf_common.h, linux/bpf.h).
LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W: dst = *(u32 *)(src + offset)
MOVE = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X: dst = src
SET = 0xB7  # BPF_ALU64 | BPF_MOV | BPF_K: dst = imm
AND = 0x57  # BPF_ALU64 | BPF_AND | BPF_K: dst &= imm
SHIFT_RIGHT = 0x77  # BPF_ALU64 | BPF_RSH | BPF_K: dst >>= imm
JUMP_NOT_EQUAL = 0x55  # BPF_JMP | BPF_JNE | BPF_K: if dst != imm skip offset instructions
JUMP_ANY_SET = 0x45  # BPF_JMP | BPF_JSET | BPF_K: if dst & imm skip offset instructions
JUMP = 0x05  # BPF_JMP | BPF_JA: skip offset instructions
EXIT = 0x95  # BPF_JMP | BPF_EXIT: the answer is in r0

INSTRUCTION_BYTES = 8
_R0, _CONTEXT, _TYPE, _WANTED, _MAJOR, _MINOR = range(6)

ACCESS_MKNOD = 1  # BPF_DEVCG_ACC_MKNOD
ACCESS_READ = 2  # BPF_DEVCG_ACC_READ
ACCESS_WRITE = 4  # BPF_DEVCG_ACC_WRITE
ACCESS_ALL = ACCESS_MKNOD | ACCESS_READ | ACCESS_WRITE
TYPE_BLOCK = 1  # BPF_DEVCG_DEV_BLOCK
TYPE_CHAR = 2  # BPF_DEVCG_DEV_CHAR

_ACCESS = {"m": ACCESS_MKNOD, "r": ACCESS_READ, "w": ACCESS_WRITE}
_TYPES = {"": None, "a": None, "b": TYPE_BLOCK, "c": TYPE_CHAR}
_ANY = -1
_MAX_NUMBER = 2**31 - 1  # what an instruction's imm holds; the kernel's own numbers are far smaller
_PATH = "$.linux.resources.devices"


def compile_device_program(rules: Sequence[DeviceRule]) -> bytes:
    """The program that answers as the rules say.

    Raises:
        InvalidInput: an unknown type or access, or a number that no device has.
    """
    checked = [_read_rule(rule, at) for at, rule in enumerate(rules)]
    program = [
        _encode(LOAD_WORD, _TYPE, _CONTEXT, 0, 0),
        _encode(MOVE, _WANTED, _TYPE, 0, 0),
        _encode(AND, _TYPE, 0, 0, 0xFFFF),
        _encode(SHIFT_RIGHT, _WANTED, 0, 0, 16),
        _encode(LOAD_WORD, _MAJOR, _CONTEXT, 4, 0),
        _encode(LOAD_WORD, _MINOR, _CONTEXT, 8, 0),
    ]
    for matches, allow, access in reversed(checked):
        block = _compile_decision(access, allow=allow)
        after = len(matches) + len(block)
        for register, number in matches:
            after -= 1
            program.append(_encode(JUMP_NOT_EQUAL, register, 0, after, number))
        program += block
        if not matches and access == ACCESS_ALL:
            return b"".join(program)  # a rule about everything: those before it decide nothing
    return b"".join(program + _answer(0))


def disassemble(program: bytes) -> list[str]:
    """One readable line per instruction of a device program."""
    lines = []
    for at in range(len(program) // INSTRUCTION_BYTES):
        word = int.from_bytes(program[at * INSTRUCTION_BYTES :][:INSTRUCTION_BYTES], "little")
        code, dst, src, offset = word & 0xFF, word >> 8 & 0xF, word >> 12 & 0xF, word >> 16 & 0xFFFF
        lines.append(f"{at:4}: {_spell(at, code, dst, src, offset, word >> 32)}")
    return lines


def _read_rule(rule: DeviceRule, at: int) -> tuple[list[tuple[int, int]], bool, int]:
    """What registers must be for the rule to be about the device, whether it allows, and what."""
    path = f"{_PATH}[{at}]"
    if rule.type not in _TYPES:
        raise InvalidInput(
            f"unknown device type {rule.type!r}", path=f"{path}.type", hint="known are a, b, c"
        )
    if unknown := [letter for letter in rule.access if letter not in _ACCESS]:
        raise InvalidInput(f"unknown access {unknown[0]!r}", path=f"{path}.access", hint="known are r, w, m")
    matches = []
    kind = _TYPES[rule.type]
    if kind is not None:
        matches.append((_TYPE, kind))
    for register, name, number in ((_MAJOR, "major", rule.major), (_MINOR, "minor", rule.minor)):
        if number is None or number == _ANY:
            continue
        if not 0 <= number <= _MAX_NUMBER:
            raise InvalidInput(f"no device has the number {number}", path=f"{path}.{name}")
        matches.append((register, number))
    access = 0
    for letter in rule.access or "rwm":
        access |= _ACCESS[letter]
    return matches, rule.allow, access


def _compile_decision(access: int, *, allow: bool) -> list[bytes]:
    """What a rule does when it is about the device."""
    if not allow:
        if access == ACCESS_ALL:
            return _answer(0)
        # Skip the answer unless something of the access is wanted.
        return [_encode(JUMP_ANY_SET, _WANTED, 0, 1, access), _encode(JUMP, 0, 0, 2, 0), *_answer(0)]
    if access == ACCESS_ALL:
        return _answer(1)
    return [
        _encode(AND, _WANTED, 0, 0, ACCESS_ALL & ~access),
        _encode(JUMP_NOT_EQUAL, _WANTED, 0, 2, 0),
        *_answer(1),
    ]


def _answer(value: int) -> list[bytes]:
    return [_encode(SET, _R0, 0, 0, value), _encode(EXIT, 0, 0, 0, 0)]


def _encode(code: int, dst: int, src: int, offset: int, imm: int) -> bytes:
    word = code | dst << 8 | src << 12 | offset << 16 | imm << 32
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def _spell(at: int, code: int, dst: int, src: int, offset: int, imm: int) -> str:
    """One instruction in words; ``at`` is its index."""
    names = ("answer", "context", "type", "wanted", "major", "minor")
    target = at + offset + 1
    match code:
        case 0x61:
            return f"{names[dst]} = word at {offset} of {names[src]}"
        case 0xBF:
            return f"{names[dst]} = {names[src]}"
        case 0xB7:
            return f"{names[dst]} = {imm}"
        case 0x57:
            return f"{names[dst]} &= {imm:#x}"
        case 0x77:
            return f"{names[dst]} >>= {imm}"
        case 0x55:
            return f"if {names[dst]} != {imm} go to {target}"
        case 0x45:
            return f"if {names[dst]} & {imm:#x} go to {target}"
        case 0x05:
            return f"go to {target}"
        case 0x95:
            return "exit"
        case _:
            return f"code {code:#x}"
