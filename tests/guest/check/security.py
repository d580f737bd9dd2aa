"""What confines a process."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from pathlib import Path

from tests.guest.check.probing import LIBC, fact, in_child, output, shell, syscall

SYS_GETPPID = 110
SYS_SECCOMP = 317
SYS_IO_URING_SETUP = 425
SYS_LANDLOCK_CREATE_RULESET = 444
SECCOMP_SET_MODE_FILTER = 1
PR_SET_NO_NEW_PRIVS = 38


@fact("seccomp filters")
def _seccomp() -> str:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().strip()
    program = b"".join(
        struct.pack("=HBBI", *instruction)
        for instruction in (
            (0x20, 0, 0, 0),  # load the number
            (0x15, 0, 1, SYS_GETPPID),
            (0x06, 0, 0, 0x0005_0000 | 77),  # SECCOMP_RET_ERRNO
            (0x06, 0, 0, 0x7FFF_0000),  # SECCOMP_RET_ALLOW
        )
    )
    code = ctypes.create_string_buffer(program)
    filters = struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(code))

    def work() -> int:
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, filters)
        try:
            syscall(SYS_GETPPID)
        except OSError as error:
            return error.errno or 0
        return 0

    status = in_child(work)
    assert os.waitstatus_to_exitcode(status) == 77, f"getppid under the filter: {status}"
    return actions


@fact("AppArmor confines")
def _apparmor() -> str:
    profile = "profile pierhead-check flags=(attach_disconnected) { file, capability, deny /etc/hostname r, }"
    output("apparmor_parser", "--replace", stdin=profile)
    try:
        own = shell("aa-exec -p pierhead-check -- cat /proc/self/attr/current")
        denied = shell("aa-exec -p pierhead-check -- cat /etc/hostname 2>&1 || true")
        assert "Permission denied" in denied, f"reading a denied file: {denied}"
    finally:
        output("apparmor_parser", "--remove", stdin=profile)
    return f"{own}; LSMs: {Path('/sys/kernel/security/lsm').read_text()}"


@fact("system calls of the i386 ABI (int 0x80)", needed=False)
def _i386() -> str:
    # mov eax, 20 (getpid there, writev of x86_64); int 0x80; ret
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("b814000000cd80c3"))
    result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
    assert result == os.getpid(), "taken for calls of x86_64"
    return "getpid"


@fact("Landlock", needed=False)
def _landlock() -> str:
    return f"ABI {syscall(SYS_LANDLOCK_CREATE_RULESET, None, ctypes.c_long(0), 1)}"


@fact("io_uring", needed=False)
def _io_uring() -> str:
    parameters = ctypes.create_string_buffer(120)
    os.close(syscall(SYS_IO_URING_SETUP, 1, parameters))
    return "io_uring_setup"


@fact("checkpoint/restore (CONFIG_CHECKPOINT_RESTORE)", needed=False)
def _checkpoint() -> str:
    assert Path("/proc/sys/kernel/ns_last_pid").exists(), "no /proc/sys/kernel/ns_last_pid"
    return "ns_last_pid"
