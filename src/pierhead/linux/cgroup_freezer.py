"""Stopping, waking and killing all processes of a cgroup, and waiting for what the kernel says about it.

v1: the freezer controller (cgroup-v1/freezer-subsystem.rst).  cgroup2: cgroup.freeze, cgroup.kill and
cgroup.events (cgroup-v2.rst, "Core Interface Files").
"""

from __future__ import annotations

import errno
import os
import time

from pierhead.errors import Forbidden, OperationFailed, TimedOut
from pierhead.linux.cgroupfs import procs, read_text, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    FreezeState = Literal["thawed", "freezing", "frozen"]

SIGKILL = 9


def freeze_state(directory: str, version: int) -> FreezeState:
    """What the processes of the cgroup do; a cgroup that does not exist counts as thawed.

    A group that is frozen only because its parent is counts as frozen: its processes do not run.
    """
    if version == 1:
        state = (read_text(directory, "freezer.state") or "").strip()
        return {"FROZEN": "frozen", "FREEZING": "freezing"}.get(state, "thawed")  # type: ignore[return-value]
    if _event(directory, "frozen") == "1":
        return "frozen"
    asked = (read_text(directory, "cgroup.freeze") or "0").strip()
    return "freezing" if asked == "1" else "thawed"


def freeze(directory: str, version: int, *, timeout_s: float = 10.0) -> None:
    """No process of the cgroup runs.

    Raises:
        TimedOut: a process could not be stopped in time; the cgroup is thawed again.
    """
    try:
        if version == 1:
            _freeze_v1(directory, timeout_s)
        else:
            write_lines(directory, "cgroup.freeze", ("1",))
            wait_event(directory, "frozen", "1", timeout_s=timeout_s)
    except BaseException:
        # A cgroup that stays half frozen cannot even be killed (v1).
        try:
            thaw(directory, version)
        except (OperationFailed, Forbidden):
            pass
        raise


def _freeze_v1(directory: str, timeout_s: float) -> None:
    """FROZEN is written until it is read back.

    While processes appear in the group (forks, joins), it can stay FREEZING for good; writing again freezes
    the newcomers, and a thaw now and then helps where that does not.
    """
    deadline = time.monotonic() + timeout_s
    attempt = 0
    while True:
        write_lines(directory, "freezer.state", ("FROZEN",))
        if (read_text(directory, "freezer.state") or "").strip() == "FROZEN":
            return
        if time.monotonic() > deadline:
            raise TimedOut(
                f"cgroup {directory} did not freeze within {timeout_s:g} s", code="freeze-timed-out"
            )
        attempt += 1
        if attempt % 50 == 0:
            write_lines(directory, "freezer.state", ("THAWED",))
        time.sleep(0.00005 if attempt < 20 else 0.002)


def thaw(directory: str, version: int) -> None:
    """The processes of the cgroup run again, unless a parent is frozen."""
    if version == 1:
        write_lines(directory, "freezer.state", ("THAWED",))
    else:
        write_lines(directory, "cgroup.freeze", ("0",))


def kill_all(directory: str, version: int, *, freezer: str = "", timeout_s: float = 10.0) -> None:
    """Every process of the cgroup and of all below it is dead (its parent may still have to reap it).

    Args:
        directory: the cgroup whose members are meant.
        version: 1 or 2, of that cgroup.
        freezer: the same group in the v1 freezer tree, so that forks cannot outrun the killing; may be empty.
        timeout_s: how long to go on.

    Raises:
        TimedOut: a process does not die, say in an uninterruptible sleep.
    """
    deadline = time.monotonic() + timeout_s
    pause = 0.0002
    while pids := procs(directory):
        if time.monotonic() > deadline:
            raise TimedOut(
                f"{len(pids)} processes of cgroup {directory} survive SIGKILL, first {pids[0]}",
                code="kill-timed-out",
            )
        if version == 2:
            _kill_unified(directory)
            if freezer:
                # What v1 has frozen dies only when it is thawed, with the signal already there.
                thaw(freezer, 1)
        else:
            _kill_frozen(directory, freezer)
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _kill_unified(directory: str) -> None:
    """All get SIGKILL at once by cgroup.kill (Linux 5.14), else one by one while frozen."""
    try:
        write_lines(directory, "cgroup.kill", ("1",))
    except OperationFailed as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):
            raise
        signal_all(directory, SIGKILL)
        thaw(directory, 2)


def _kill_frozen(directory: str, freezer: str) -> None:
    """Freeze so that no fork escapes, kill, thaw: a frozen v1 process dies when it is thawed."""
    if freezer:
        try:
            freeze(freezer, 1, timeout_s=0.5)
        except (TimedOut, OperationFailed):
            pass
    try:
        signal_all(directory, SIGKILL)
    finally:
        if freezer:
            thaw(freezer, 1)


def signal_all(directory: str, signal: int) -> None:
    """Each process that is in the cgroup, or in one below it, now, was sent the signal."""
    for pid in procs(directory):
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            continue


def wait_event(directory: str, key: str, value: str, *, timeout_s: float) -> None:
    """The cgroup2 group's cgroup.events says ``key value``, or the group is gone.

    The kernel wakes whoever polls that file when a value changes; nothing is asked again and again.

    Raises:
        TimedOut: it does not say so in time.
    """
    if _event(directory, key) == value:
        return
    import select

    try:
        fd = os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        poller = select.poll()
        poller.register(fd, select.POLLPRI)
        deadline = time.monotonic() + timeout_s
        while _event_in(_reread(fd), key) not in (value, None):
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(
                    f"cgroup {directory} did not reach {key} {value} within {timeout_s:g} s",
                    code="cgroup-timed-out",
                )
            poller.poll(left * 1000)
    finally:
        os.close(fd)


def _reread(fd: int) -> str:
    try:
        return os.pread(fd, 4096, 0).decode()
    except OSError as error:
        if error.errno == errno.ENODEV:
            return ""
        raise


def _event(directory: str, key: str) -> str | None:
    return _event_in(read_text(directory, "cgroup.events") or "", key)


def _event_in(text: str, key: str) -> str | None:
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return value
    return None
