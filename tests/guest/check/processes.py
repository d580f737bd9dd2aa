"""Namespaces and what else belongs to processes."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

from tests.guest.check.probing import fact, in_child, shell, syscall

SYS_KEYCTL = 250
KEYCTL_JOIN_SESSION_KEYRING = 1


ALL_NAMESPACES = "--user --map-root-user --pid --fork --mount --net --uts --ipc --cgroup"


@fact("all namespaces, of root and of an ordinary user")
def _user_namespaces() -> str:
    shell("true", unshare=ALL_NAMESPACES)
    return "ids " + shell("id -u; id -g", unshare=ALL_NAMESPACES, user="pier").replace("\n", " ")


@fact("an ordinary user's subordinate ids (newuidmap)")
def _subordinate() -> str:
    return " ".join(
        shell("cat /proc/self/uid_map", unshare="--map-auto --map-root-user", user="pier").split()
    )


@fact("namespaces: mnt pid net ipc uts cgroup user")
def _namespaces() -> str:
    names = os.listdir("/proc/self/ns")
    assert {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"} <= set(names), f"{names}"
    return " ".join(sorted(names))


@fact("time namespaces", needed=False)
def _time_namespaces() -> str:
    return shell("cat /proc/uptime", unshare="--time --boottime 1000 --fork")


@fact("pidfd_open, waiting on it")
def _pidfd() -> str:
    with subprocess.Popen(["true"]) as process:
        fd = os.pidfd_open(process.pid)
        result = os.waitid(os.P_PIDFD, fd, os.WEXITED)
        os.close(fd)
        process.returncode = 0
        assert result is not None
        return f"status {result.si_status}"


@fact("sealed memfd, executed")
def _memfd() -> str:
    fd = os.memfd_create("check", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, Path("/bin/busybox").read_bytes())
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    pid = os.fork()
    if pid == 0:
        os.execve(fd, ["true"], {})
    assert os.waitpid(pid, 0)[1] == 0, "it failed"
    os.close(fd)
    return "busybox from a memfd"


@fact("keyrings")
def _keys() -> str:
    status = in_child(lambda: 0 if syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, b"check") > 0 else 1)
    assert status == 0, "KEYCTL_JOIN_SESSION_KEYRING failed"
    return "KEYCTL_JOIN_SESSION_KEYRING"
