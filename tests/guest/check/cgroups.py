"""Control groups, version 2."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.guest.check.probing import fact, output, shell, syscall

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUP = Path("/sys/fs/cgroup")
SYS_CLONE3 = 435
SYS_BPF = 321
BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
CLONE_INTO_CGROUP = 0x2_0000_0000


@contextlib.contextmanager
def cgroup(**settings: str) -> Iterator[Path]:
    """A fresh group at the root of the hierarchy, with these files written (memory_max for memory.max)."""
    assert (GROUP / "cgroup.controllers").exists(), "/sys/fs/cgroup is not cgroup v2"
    path = GROUP / f"check-{os.getpid()}"
    path.mkdir()
    try:
        for name, value in settings.items():
            (path / name.replace("_", ".", 1)).write_text(value)
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        for _ in range(100):
            with contextlib.suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.02)


@contextlib.contextmanager
def member(group: Path, script: str) -> Iterator[subprocess.Popen[str]]:
    """A shell that is in the group, and runs the script there."""
    command = ["sh", "-c", f"echo $$ >{group}/cgroup.procs || exit 99; {script}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            # One that has ended by now has been there too: the script comes after the shell's entry.
            while (
                str(process.pid) not in (group / "cgroup.procs").read_text().split()
                and process.poll() is None
            ):
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def numbers(path: Path) -> dict[str, int]:
    """Reads a flat keyed cgroup file."""
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


@fact("cgroup v2 alone, controllers enabled at the root")
def _controllers() -> str:
    kind = output("stat", "-f", "-c", "%T", str(GROUP))
    assert kind == "cgroup2fs", f"/sys/fs/cgroup is {kind}"
    assert " - cgroup " not in Path("/proc/self/mountinfo").read_text(), "a v1 hierarchy is mounted"
    enabled = (GROUP / "cgroup.subtree_control").read_text().split()
    assert {"cpu", "io", "memory", "pids"} <= set(enabled), f"enabled: {enabled}"
    return " ".join(enabled)


@fact("controllers delegated to the command's own group")
def _delegated() -> str:
    own = GROUP / Path("/proc/self/cgroup").read_text().split("::/", 1)[1].strip()
    enabled = (own / "cgroup.controllers").read_text().split()
    assert {"cpu", "io", "memory", "pids"} <= set(enabled), f"enabled: {enabled}"
    return str(own)


@fact("cgroup files of a group")
def _files() -> str:
    with cgroup() as group:
        names = {path.name for path in group.iterdir()}
    wanted = {
        "cgroup.kill",
        "cgroup.freeze",
        "cpu.max",
        "cpu.weight",
        "cpu.max.burst",
        "cpu.idle",
        "io.max",
        "memory.max",
        "memory.high",
    }
    wanted |= {
        "memory.low",
        "memory.swap.max",
        "memory.peak",
        "memory.oom.group",
        "memory.events.local",
        "pids.max",
        "pids.peak",
    }
    assert wanted <= names, f"missing: {wanted - names}"
    return f"{len(names)} of them"


@fact("pids.max refuses a fork")
def _pids() -> str:
    with cgroup(pids_max="2") as group, member(group, "sleep 5 & sleep 5 & sleep 5 & wait") as process:
        process.wait()
        refused = numbers(group / "pids.events")["max"]
        assert refused > 0, "pids.events counts no fork that was refused"
        return f"pids.events max {refused}"


@fact("memory.max kills")
def _memory() -> str:
    hog = f"exec {sys.executable} -c 'bytearray(1 << 27)'"
    with cgroup(memory_max=str(32 << 20)) as group, member(group, hog) as process:
        code = process.wait()
        events = numbers(group / "memory.events")
        assert code == -signal.SIGKILL, f"exit {code}"
        assert events["oom_kill"] == 1, f"{events}"
        peak = (group / "memory.peak").read_text().strip()
        return f"memory.events oom {events['oom']} oom_kill {events['oom_kill']}, peak {peak}"


@fact("memory.oom.group kills the whole group")
def _memory_group() -> str:
    hog = f"sleep 50 & {sys.executable} -c 'bytearray(1 << 27)'; sleep 50"
    with cgroup(memory_max=str(32 << 20)) as group:
        (group / "memory.oom.group").write_text("1")
        with member(group, hog) as process:
            assert process.wait() == -signal.SIGKILL, "the shell lived on"
        return f"oom_group_kill {numbers(group / 'memory.events')['oom_group_kill']}"


@fact("memory.swap.max")
def _swap() -> str:
    with cgroup(memory_max=str(32 << 20)) as group:
        (group / "memory.swap.max").write_text("0")
        return "accepted"


@fact("cpu.max throttles")
def _cpu() -> str:
    with cgroup(cpu_max="10000 100000", cpu_weight="50") as group, member(group, "while :; do :; done"):
        begin = time.monotonic()
        while not (stat := numbers(group / "cpu.stat"))["nr_throttled"]:
            assert time.monotonic() < begin + 20, f"{stat}"
            time.sleep(0.2)
        took = time.monotonic() - begin
        return f"nr_throttled {stat['nr_throttled']}, usage_usec {stat['usage_usec']} in {took:.1f} s at 10 %"


@fact("io.max limits")
def _io() -> str:
    rate = 4 << 20
    with cgroup() as group, tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        device = os.fstat(file.fileno()).st_dev
        # With no udev, the block device of the root file system is what stat says.
        (group / "io.max").write_text(f"{os.major(device)}:{os.minor(device)} wbps={rate}")
        write = f"dd if=/dev/zero of={file.name} bs=1M count=4 oflag=direct 2>&1"
        begin = time.monotonic()
        with member(group, write) as process:
            said = process.communicate()[0]
        took = time.monotonic() - begin
        assert process.returncode == 0, said
        stat = (group / "io.stat").read_text().strip()
        assert took > 0.5, f"4 MiB at 4 MiB/s took {took:.1f} s; io.stat: {stat or 'empty'}"
        return f"4 MiB at 4 MiB/s took {took:.1f} s; {stat}"


@fact("cgroup.freeze")
def _freeze() -> str:
    with cgroup() as group, member(group, "while :; do :; done"):
        for _ in range(1000):
            if numbers(group / "cpu.stat")["usage_usec"] > 10_000:
                break
            time.sleep(0.02)
        else:
            raise RuntimeError("the loop uses no processor time")
        (group / "cgroup.freeze").write_text("1")
        for _ in range(250):
            if numbers(group / "cgroup.events")["frozen"]:
                break
            time.sleep(0.02)
        else:
            raise RuntimeError("cgroup.events never said frozen 1")
        before = numbers(group / "cpu.stat")["usage_usec"]
        time.sleep(0.2)
        assert numbers(group / "cpu.stat")["usage_usec"] == before, "it still runs"
        return "frozen 1, and no processor time used"


@fact("cgroup.kill")
def _kill() -> str:
    with cgroup() as group, member(group, "sleep 50") as process:
        (group / "cgroup.kill").write_text("1")
        assert process.wait() == -signal.SIGKILL, "not killed"
        return "SIGKILL"


@fact("CLONE_INTO_CGROUP")
def _clone_into() -> str:
    with cgroup() as group:
        fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        arguments = struct.pack("=11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, fd)
        pid = syscall(SYS_CLONE3, arguments, ctypes.c_long(len(arguments)))
        if pid == 0:
            os._exit(0 if group.name in Path("/proc/self/cgroup").read_text() else 1)
        status = os.waitpid(pid, 0)[1]
        os.close(fd)
        assert status == 0, "the child was elsewhere"
        return "the child began in the group"


@fact("device access by an eBPF program")
def _devices() -> str:
    # mov r0, 0 ; exit  -  refuses every device
    program = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    code, name = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
    load = struct.pack(
        "=IIQQIIQII",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        2,
        ctypes.addressof(code),
        ctypes.addressof(name),
        0,
        0,
        0,
        0,
        0,
    )
    with cgroup() as group:
        loaded = syscall(SYS_BPF, BPF_PROG_LOAD, load, ctypes.c_long(len(load)))
        fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        attach = struct.pack("=IIII", fd, loaded, BPF_CGROUP_DEVICE, 0)
        syscall(SYS_BPF, BPF_PROG_ATTACH, attach, ctypes.c_long(len(attach)))
        with member(group, "exec cat /dev/null 2>&1") as process:
            said = process.communicate()[0]
        os.close(fd)
        os.close(loaded)
        assert "/dev/null: Operation not permitted" in said, f"opening /dev/null: {said!r}"
        return "attached; /dev/null refused with EPERM"


@fact("cgroup namespace")
def _cgroup_namespace() -> str:
    return shell("cat /proc/self/cgroup", unshare="--cgroup")


@fact("cpuset controller", needed=False)
def _cpuset() -> str:
    controllers = (GROUP / "cgroup.controllers").read_text().split()
    assert "cpuset" in controllers, "not in cgroup.controllers (the kernel has one processor)"
    return "present"


@fact("hugetlb controller", needed=False)
def _hugetlb() -> str:
    assert "hugetlb" in (GROUP / "cgroup.controllers").read_text().split(), "not in cgroup.controllers"
    return "present"


@fact("pressure (PSI)", needed=False)
def _pressure() -> str:
    return Path("/proc/pressure/cpu").read_text().splitlines()[0]
