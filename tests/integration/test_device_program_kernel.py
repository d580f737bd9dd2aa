"""Device programs, loaded and attached for real: in a cgroup of their own, on whatever cgroup2 there is."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import platform
import random
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.oci.runtime import DeviceRule
from pierhead.runtime.plan.device_program import compile_device_program
from tests.support.ebpf_machine import check, run
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [
    requires("root"),
    pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="needs a machine of ours"),
]

SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(platform.machine(), 0)
BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6

BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
# What the guarded process tries: the kind, the numbers, and where there is a node to open.
DEVICES = [
    (CHAR, 1, 3, "/dev/null"),
    (CHAR, 1, 5, "/dev/zero"),
    (CHAR, 1, 7, "/dev/full"),
    (BLOCK, 7, 91, ""),
]
FLAGS = {READ: os.O_RDONLY, WRITE: os.O_WRONLY, READ | WRITE: os.O_RDWR}

# Joins the cgroup, then answers a list of orders, each [path, flags or -1, mode, device], with their errnos.
GUARDED = """
import json, os, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write("0")
print("ready", flush=True)
def attempt(path, flags, mode, device):
    try:
        if flags < 0:
            os.mknod(path, mode, device)
            os.unlink(path)
        else:
            os.close(os.open(path, flags))
    except OSError as error:
        return error.errno
    return 0
for line in sys.stdin:
    print(json.dumps([attempt(*order) for order in json.loads(line)]), flush=True)
"""

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    """The system call of this name, which libc does not wrap."""
    result = libc.syscall(SYS_BPF, command, attributes, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def load(program: bytes) -> int:
    """The descriptor of the loaded program; the verifier's words if it refuses."""
    instructions = ctypes.create_string_buffer(program, len(program))
    words = ctypes.create_string_buffer(1 << 20)
    attributes = struct.pack(
        "<IIQQIIQII",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(instructions),
        ctypes.cast(ctypes.c_char_p(b"Apache"), ctypes.c_void_p).value or 0,
        1,
        len(words),
        ctypes.addressof(words),
        0,
        0,
    )
    try:
        return bpf(BPF_PROG_LOAD, attributes)
    except OSError as error:
        error.add_note(words.value.decode()[-2000:])
        raise


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of its own below the root of cgroup2."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    if not roots:
        pytest.skip("needs cgroup2, in hybrid form too")
    place = Path(roots[0]) / f"pierhead-test-devices-{os.getpid()}"
    place.mkdir()
    yield place
    place.rmdir()


class Guarded:
    """A process in the cgroup that tries what it is told."""

    def __init__(self, process: subprocess.Popen[str], cgroup: Path, place: Path) -> None:
        self._process = process
        self._cgroup = cgroup
        self._place = place
        assert self._read() == "ready\n"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def obey(self, rules: Sequence[DeviceRule]) -> None:
        """Attach the program of the rules, in the place of the last one."""
        program = load(compile_device_program(rules))
        directory = os.open(self._cgroup, os.O_RDONLY | os.O_DIRECTORY)
        try:
            bpf(BPF_PROG_ATTACH, struct.pack("<IIII", directory, program, BPF_CGROUP_DEVICE, 0))
        finally:
            os.close(directory)
            os.close(program)

    def attempt(self) -> dict[tuple[int, int, int, int], int]:
        """The errno of each thing to try: (kind, access, major, minor)."""
        orders: dict[tuple[int, int, int, int], tuple[str, int, int, int]] = {}
        for kind, major, minor, node in DEVICES:
            mode = (0o060000 if kind == BLOCK else 0o020000) | 0o600
            orders[kind, MKNOD, major, minor] = (
                str(self._place / "node"),
                -1,
                mode,
                os.makedev(major, minor),
            )
            for access, flags in FLAGS.items() if node else ():
                orders[kind, access, major, minor] = (node, flags, 0, 0)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(orders.values())) + "\n")
        self._process.stdin.flush()
        return dict(zip(orders, json.loads(self._read()), strict=True))


@pytest.fixture
def guarded(cgroup: Path, tmp_path: Path) -> Iterator[Guarded]:
    """A process in the cgroup."""
    command = [sys.executable, "-c", GUARDED, str(cgroup)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Guarded(process, cgroup, tmp_path)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def test_container_rules(guarded: Guarded) -> None:
    """With all denied and some allowed, mknod and open of the rest fail with EPERM."""
    guarded.obey(
        [
            DeviceRule(allow=False, access="rwm"),
            DeviceRule(allow=True, type="c", access="m"),
            DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm"),
            DeviceRule(allow=True, type="c", major=1, minor=5, access="r"),
        ]
    )
    assert guarded.attempt() == {
        (CHAR, MKNOD, 1, 3): 0,
        (CHAR, READ, 1, 3): 0,
        (CHAR, WRITE, 1, 3): 0,
        (CHAR, READ | WRITE, 1, 3): 0,
        (CHAR, MKNOD, 1, 5): 0,
        (CHAR, READ, 1, 5): 0,
        (CHAR, WRITE, 1, 5): errno.EPERM,
        (CHAR, READ | WRITE, 1, 5): errno.EPERM,
        (CHAR, MKNOD, 1, 7): 0,
        (CHAR, READ, 1, 7): errno.EPERM,
        (CHAR, WRITE, 1, 7): errno.EPERM,
        (CHAR, READ | WRITE, 1, 7): errno.EPERM,
        (BLOCK, MKNOD, 7, 91): errno.EPERM,
    }


def test_many_rule_lists(guarded: Guarded) -> None:
    """The kernel loads the program of any rules, and grants what interpreting it grants."""
    chance = random.Random(4)
    for _ in range(150):
        rules = [
            DeviceRule(
                allow=chance.random() < 0.6,
                type=chance.choice(("a", "b", "c")),
                major=chance.choice((None, -1, 1, 7)),
                minor=chance.choice((None, -1, 3, 5, 91)),
                access=chance.choice(("rwm", "r", "w", "m", "rw", "")),
            )
            for _ in range(chance.randrange(7))
        ]
        guarded.obey(rules)
        instructions = check(compile_device_program(rules))
        for request, failure in guarded.attempt().items():
            assert failure == (0 if run(instructions, *request) else errno.EPERM), (rules, request)


def test_long_list() -> None:
    """The kernel loads a program of a thousand rules."""
    rules = [
        DeviceRule(allow=allow, type=kind, major=major, minor=minor, access=access)
        for allow, kind, major, minor, access in product(
            (True, False), ("b", "c"), range(64), (3, None), ("rwm", "r")
        )
    ]
    assert len(rules) == 1024
    os.close(load(compile_device_program(rules)))
