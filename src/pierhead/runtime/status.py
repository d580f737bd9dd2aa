"""A container's status, observed: the kernel first, files second.

    creating ──▶ created ──▶ running ◀──▶ paused
        │            │           │           │
        └────────────┴───────────┴───────────┴──▶ stopped

Source: runtime-spec runtime.md, "State"; ``paused`` is what runtimes add.
"""

from __future__ import annotations

import _socket
import os

from pierhead.linux import process, procstat
from pierhead.runtime import state, wire_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.runtime.cgroups import CgroupManager
    from pierhead.runtime.state import ContainerState, StateDirectory

    Status = Literal["creating", "created", "running", "paused", "stopped"]

_DYING_S = 1.0
"""How long a process that was killed may take to close its descriptors and be gone."""


def init_lives(known: ContainerState) -> bool:
    """Whether the init process is the one we knew and has not ended."""
    observed = procstat.observe(known.init_pid)
    return observed is not None and observed == (known.init_start_time, False)


def never_executed(known: ContainerState) -> bool:
    """Whether the init process, dead or alive, has not executed the program; False when it is gone."""
    observed = procstat.observe(known.init_pid)
    same = observed is not None and observed[0] == known.init_start_time
    return same and not procstat.has_executed(known.init_pid)


def ends_unexecuted(known: ContainerState) -> bool:
    """Whether the init process has ended without its program, which it was to execute; False when gone."""
    pidfd = open_init(known)
    if pidfd < 0:
        return False
    try:
        return not procstat.executes(known.init_pid, pidfd)
    finally:
        os.close(pidfd)


def ends_soon(known: ContainerState) -> bool:
    """Whether the init process has ended, or does within the time that one may take which was killed."""
    pidfd = open_init(known)
    if pidfd < 0:
        return True
    try:
        return process.wait_pidfd(pidfd, _DYING_S)
    finally:
        os.close(pidfd)


def open_init(known: ContainerState) -> int:
    """A pidfd of the init process; -1 when that is gone, and its number perhaps another's."""
    pidfd = process.open_pidfd(known.init_pid)
    if pidfd is None:
        return -1
    observed = procstat.observe(known.init_pid)
    if observed is None or observed[0] != known.init_start_time:
        os.close(pidfd)
        return -1
    return pidfd


def observe_status(directory: StateDirectory, known: ContainerState, cgroups: CgroupManager) -> Status:
    """The status at this moment."""
    if not init_lives(known):
        return "stopped"
    if known.cgroup.trees and cgroups.freeze_state() == "frozen":
        return "paused"
    return "created" if is_waiting(directory) else "running"


def is_waiting(directory: StateDirectory) -> bool:
    """Whether the init process waits at its gate: its socket is there and somebody listens."""
    return directory.has(state.GATE) and has_listener(directory, state.GATE)


def has_listener(directory: StateDirectory, name: str) -> bool:
    """Whether somebody listens at the socket of this name."""
    kind = _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    gate = _socket.socket(_socket.AF_UNIX, kind)
    try:
        gate.connect(f"/proc/self/fd/{directory.fd}/{name}")
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except BlockingIOError:  # as many have asked as may wait in line: a stopped process answers none of them
        return True
    finally:
        gate.close()
    return True


def say_go(directory: StateDirectory) -> _socket.socket:
    """The init process goes on; the connection to its gate, on which an error would come.

    Raises:
        ConnectionError, FileNotFoundError: it does not wait there any more.
    """
    gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        gate.connect(f"/proc/self/fd/{directory.fd}/{state.GATE}")
        gate.send(wire_table.MESSAGE_GO.to_bytes(4, "little"), _socket.MSG_NOSIGNAL)
    except BaseException:
        gate.close()
        raise
    return gate


def make_gate(directory: StateDirectory) -> int:
    """A listening socket at which the init process waits; its descriptor."""
    return make_listener(directory, state.GATE)


def make_listener(directory: StateDirectory, name: str) -> int:
    """A listening packet socket in the state directory; its descriptor."""
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        # the kernel gives the file the socket's mode; a umask would hold for every thread of the program
        os.fchmod(socket.fileno(), 0o600)
        socket.bind(f"/proc/self/fd/{directory.fd}/{name}")
        socket.listen(8)
    except BaseException:
        socket.close()
        raise
    return socket.detach()
