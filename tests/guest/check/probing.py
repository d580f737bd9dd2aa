"""What the checks are made of: their list, and ways to ask the kernel."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LIBC = ctypes.CDLL(None, use_errno=True)
FACTS: list[tuple[str, bool, Callable[[], str]]] = []


def fact(name: str, *, needed: bool = True) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Registers a check: it returns the detail to print, or raises."""

    def register(check: Callable[[], str]) -> Callable[[], str]:
        FACTS.append((name, needed, check))
        return check

    return register


def output(*command: str, stdin: str | None = None) -> str:
    """Returns what the command printed; raises with its error output when it fails."""
    ended = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=90)
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).strip().splitlines()
        raise RuntimeError(f"{command[0]}: {said[0] if said else ended.returncode}")
    return ended.stdout.strip()


def shell(script: str, *, unshare: str = "", user: str = "root") -> str:
    """Returns what a shell printed, in the namespaces of unshare's options; raises at its first error."""
    as_user = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    into = ["unshare", *unshare.split()] if unshare else []
    return output(*as_user, *into, "sh", "-euc", script)


def syscall(number: int, *arguments: object) -> int:
    """Returns the result of a system call; raises OSError as the wrappers of os do."""
    result: int = LIBC.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def in_child(work: Callable[[], int]) -> int:
    """Returns the wait status of a child that did the work and exits with its result."""
    pid = os.fork()
    if pid == 0:
        code = 99
        with contextlib.suppress(Exception):
            code = work()
        os._exit(code)
    return os.waitpid(pid, 0)[1]
