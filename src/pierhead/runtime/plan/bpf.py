"""Classic BPF: an assembler for seccomp filters, and a disassembler for people.

A filter is a list of instructions, each eight bytes in the machine's byte order (both of our machines are
little-endian; linux/filter.h, seccomp(2)):

     0        2    3    4        8
     +--------+----+----+--------+
     | code   | jt | jf | k      |     jt, jf: how many instructions to skip if the condition is true, false
     +--------+----+----+--------+

Jumps go forward only, and ``jt`` and ``jf`` reach 255 instructions.  So the assembler builds a program **from
its end to its beginning**: what an instruction refers to is already there, its distance is known, and where
it is too far a stepping stone is put in between.  No second pass, no labels to resolve:

    program = Assembler()
    allow = program.ret(RET_ALLOW)
    refuse = program.ret(RET_ERRNO | 1)
    check = program.branch(JEQ, 41, allow, refuse)      # if A == 41 go to allow, else to refuse
    start = program.load(DATA_NR, check)                # A = the system call's number, then go to check
    program.encode(start)

A place in the program is a ``Label``: its distance from the end.

Knows the machine language and seccomp's constants, nothing of profiles.
"""

from __future__ import annotations

from errno import errorcode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Label: TypeAlias = int

# Instruction codes: class | size or operation | mode or source (linux/bpf_common.h).
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS: A = the 32-bit word at offset k
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K: A &= k
JA = 0x05  # BPF_JMP | BPF_JA: skip k instructions
JEQ = 0x15  # BPF_JMP | BPF_JEQ | BPF_K: A == k
JGT = 0x25  # BPF_JMP | BPF_JGT | BPF_K: A > k
JGE = 0x35  # BPF_JMP | BPF_JGE | BPF_K: A >= k
JSET = 0x45  # BPF_JMP | BPF_JSET | BPF_K: A & k
RET = 0x06  # BPF_RET | BPF_K: the filter's answer is k

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_BYTES = 8

# Offsets in struct seccomp_data (linux/seccomp.h): the number, the architecture, the six 64-bit arguments.
DATA_NR = 0
DATA_ARCH = 4
DATA_ARGS = 16

# Answers of a seccomp filter (linux/seccomp.h): the action, with 16 bits of data below it.
RET_KILL_THREAD = 0x00000000
RET_TRAP = 0x00030000
RET_ERRNO = 0x00050000
RET_USER_NOTIF = 0x7FC00000
RET_TRACE = 0x7FF00000
RET_LOG = 0x7FFC0000
RET_ALLOW = 0x7FFF0000
RET_KILL_PROCESS = 0x80000000
RET_ACTION_FULL = 0xFFFF0000
RET_DATA = 0x0000FFFF

_REACH = 255


class Assembler:
    """Builds one program from its end to its beginning; every method returns the label of what it put."""

    def __init__(self) -> None:
        self._words: list[int] = []  # the instructions, the last one first
        self._rets: dict[int, Label] = {}
        self._stones: dict[Label, Label] = {}

    def ret(self, value: int) -> Label:
        """End with the answer ``value``; the same answer has one label however often it is asked for."""
        label = self._rets.get(value)
        if label is None:
            label = self._rets[value] = self._put(RET | value << 32)
        return label

    def branch(self, code: int, k: int, if_true: Label, if_false: Label) -> Label:
        """Go to ``if_true`` or ``if_false`` as the comparison ``code`` (JEQ, JGT, JGE, JSET) with k says."""
        words = self._words
        here = len(words)
        if here - if_true >= _REACH or here - if_false >= _REACH:
            if_true, if_false = self._near(if_true), self._near(if_false)
            here = len(words)
        words.append(code | (here - if_true - 1) << 16 | (here - if_false - 1) << 24 | k << 32)
        return here

    def load(self, offset: int, then: Label) -> Label:
        """A = the 32-bit word at ``offset`` of the data, and go on at ``then``."""
        self._put_before(then)
        return self._put(LOAD | offset << 32)

    def mask(self, bits: int, then: Label) -> Label:
        """Keep of A only ``bits``, and go on at ``then``."""
        self._put_before(then)
        return self._put(AND | bits << 32)

    def ranges(self, starts: Sequence[int], labels: Sequence[Label]) -> Label:
        """Go to the label of the range that A is in, by a balanced tree of comparisons.

        Args:
            starts: the first number of each range, ascending; the first is 0.
            labels: where to go for each range; neighbours with the same label become one range.
        """
        firsts = [0]
        targets = [labels[0]]
        for start, label in zip(starts, labels, strict=True):
            if label != targets[-1]:
                firsts.append(start)
                targets.append(label)
        return self._tree(firsts, targets, 0, len(firsts))

    def _tree(self, starts: list[int], labels: list[Label], low: int, high: int) -> Label:
        """The tree for the ranges ``low`` to ``high`` - 1."""
        count = high - low
        if count == 1:
            return labels[low]
        if count == 2:
            return self.branch(JGE, starts[low + 1], labels[low + 1], labels[low])
        if count == 3 and labels[low] == labels[low + 2] and starts[low + 2] == starts[low + 1] + 1:
            return self.branch(JEQ, starts[low + 1], labels[low + 1], labels[low])
        middle = low + count // 2
        above = self._tree(starts, labels, middle, high)
        below = self._tree(starts, labels, low, middle)
        return self.branch(JGE, starts[middle], above, below)

    def encode(self, start: Label) -> bytes:
        """The finished program, which begins at ``start``."""
        self._put_before(start)
        return b"".join([word.to_bytes(INSTRUCTION_BYTES, "little") for word in reversed(self._words)])

    def _put(self, word: int) -> Label:
        self._words.append(word)
        return len(self._words) - 1

    def _put_before(self, label: Label) -> None:
        """Make what comes next the instruction before ``label``, by a jump if something else already is."""
        distance = len(self._words) - label - 1
        if distance:
            self._put(self._towards(label, distance))

    def _near(self, label: Label) -> Label:
        """The label itself, or a stepping stone to it, within the reach of a conditional jump put next.

        One instruction of the reach is left free: the other arm of the same jump may need its own stone.
        """
        for near in (label, self._stones.get(label)):
            if near is not None and len(self._words) - near < _REACH:
                return near
        stone = self._put(self._towards(label, len(self._words) - label - 1))
        self._stones[label] = stone
        return stone

    def _towards(self, label: Label, distance: int) -> int:
        """An instruction that does what a jump over ``distance`` instructions to ``label`` does."""
        word = self._words[label]
        return word if word & 0xFFFF == RET else JA | distance << 32


def decode(program: bytes) -> list[tuple[int, int, int, int]]:
    """The instructions of a program as (code, jt, jf, k)."""
    words = [
        int.from_bytes(program[at : at + INSTRUCTION_BYTES], "little")
        for at in range(0, len(program), INSTRUCTION_BYTES)
    ]
    return [(word & 0xFFFF, word >> 16 & 0xFF, word >> 24 & 0xFF, word >> 32) for word in words]


def disassemble(program: bytes) -> list[str]:
    """One readable line per instruction of a seccomp filter.

    0: load arch
    1: if == 0xc000003e go to 2 else 130
    """
    return [f"{at:4}: {_spell(at, *instruction)}" for at, instruction in enumerate(decode(program))]


def describe_answer(value: int) -> str:
    """A filter's answer in words: ``ALLOW``, ``ERRNO EPERM``."""
    action, data = value & RET_ACTION_FULL, value & RET_DATA
    if action == RET_ERRNO:
        return f"ERRNO {errorcode.get(data, data)}"
    if action == RET_TRACE:
        return f"TRACE {data}"
    names = {
        RET_KILL_THREAD: "KILL_THREAD",
        RET_KILL_PROCESS: "KILL_PROCESS",
        RET_TRAP: "TRAP",
        RET_USER_NOTIF: "NOTIFY",
        RET_LOG: "LOG",
        RET_ALLOW: "ALLOW",
    }
    return names.get(action, f"{action:#x}")


def _spell(at: int, code: int, jt: int, jf: int, k: int) -> str:
    """One instruction in words; ``at`` is its index."""
    tests = {JEQ: "==", JGT: ">", JGE: ">=", JSET: "&"}
    if code in tests:
        return f"if {tests[code]} {k:#x} go to {at + jt + 1} else {at + jf + 1}"
    if code == LOAD:
        return f"load {_describe_offset(k)}"
    if code == AND:
        return f"keep bits {k:#x}"
    if code == JA:
        return f"go to {at + k + 1}"
    if code == RET:
        return f"return {describe_answer(k)}"
    return f"code {code:#x} {jt} {jf} {k:#x}"


def _describe_offset(offset: int) -> str:
    """What stands at an offset of struct seccomp_data."""
    if offset < DATA_ARGS:
        return {DATA_NR: "number", DATA_ARCH: "architecture"}.get(offset, f"offset {offset}")
    index, half = divmod(offset - DATA_ARGS, 8)
    return f"argument {index}, {'high' if half else 'low'} half"
