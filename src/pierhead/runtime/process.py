"""A process that runs in a container, as its launcher or another process sees it."""

from __future__ import annotations

import _socket
import os
from _thread import RLock
from _weakref import ref

from pierhead.errors import Conflict, InvalidInput, TimedOut, Unsupported
from pierhead.linux import process, procstat
from pierhead.linux.refusals import Refusals
from pierhead.runtime import wire, wire_table
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.runtime.exitrecord import ExitRecord

_SIGKILL = 9
_TRACED_S = 0.005
_NEWCOMERS_S = 1.0
"""How long a child may wait that another thread has launched since a wait began."""
_RESIZED_S = 1.0
"""How long a terminal's new size may take; what is typed after that is read by a program that has it."""
_SIGNAL_MAX = 64
_RECORD_WAIT_S = 5.0


class ExitStatus(Value):
    """How a process ended: by ``exit`` with a code, or by a signal.

    Fields:
        code: what it exited with; None if a signal ended it.
        signal: number of the signal that ended it; None if it exited.
        oom: whether the kernel killed something of the container for want of memory meanwhile; known of
            processes that have a monitor.
    """

    code: int | None
    signal: int | None = None
    oom: bool = False

    @property
    def shell_code(self) -> int:
        """As a shell has it: the code, or 128 and the signal's number."""
        return self.code if self.code is not None else 128 + (self.signal or 0)


def check_signal(number: int) -> None:
    """The number can be sent: 1 to 64, or 0, which only asks whether there is a process.

    Raises:
        InvalidInput: it is no signal.
    """
    if not 0 <= number <= _SIGNAL_MAX:
        raise InvalidInput(f"there is no signal {number}", code="bad-signal")


def status_of_wait(wait_status: int) -> ExitStatus:
    """From what wait(2) gave."""
    code = os.waitstatus_to_exitcode(wait_status)
    return ExitStatus(code=code) if code >= 0 else ExitStatus(code=None, signal=-code)


_lock = RLock()
"""Held while a descriptor of a Process is used or closed, and while a child is reaped; never while one waits.
It may be taken again by its holder: an object that is collected meanwhile closes what it has.
"""
_children: dict[int, ref[Process]] = {}


def collect_children() -> None:
    """Processes of containers that are children of ours and have ended are reaped; their statuses are kept.

    A child that nobody has waited for yet keeps the pid namespace that it was in from ending.
    """
    for pid, reference in list(_children.items()):
        child = reference()
        if child is None:
            _children.pop(pid, None)  # it is reaped later, as linux.process was told
        else:
            child.collect()
    process.reap_ended()


def _wait_readable(fd: int, timeout_s: float | None) -> bool:
    """Whether the descriptor tells of an end within the time; meanwhile our children that end are reaped.

    The first process of a pid namespace ends only when every other one there has been reaped, and further
    processes that we put there are ours to reap (pid_namespaces(7)).
    """
    import select
    import time

    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        for reference in list(_children.values()):
            child = reference()
            with _lock:  # one that is closed from now on only wakes us in vain
                if child is not None and child.pidfd >= 0 and child._status is None:
                    poll.register(child.pidfd, select.POLLIN)
        left = _NEWCOMERS_S if deadline is None else min(_NEWCOMERS_S, max(0.0, deadline - time.monotonic()))
        ready = [number for number, _ in poll.poll(left * 1000)]
        if fd in ready:
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False
        collect_children()
        if ready:
            time.sleep(_TRACED_S)  # one that a tracer holds stays ready


def _wait_ms(deadline: float | None) -> float:
    """How long to wait for a record before it is looked for again, in case its coming was missed."""
    import time

    left = _RECORD_WAIT_S if deadline is None else deadline - time.monotonic()
    return max(0.0, min(_RECORD_WAIT_S, left)) * 1000


class Process:
    """A process in a container.  Thread-safe: any number of threads may wait, signal and close at once.

    Attributes:
        pid: number in the caller's pid namespace.
        pidfd: descriptor that becomes readable when it ends; -1 when it had ended before we looked.
    """

    def __init__(
        self,
        pid: int,
        pidfd: int,
        *,
        stage_pid: int = 0,
        control: _socket.socket | None = None,
        read_record: Callable[[], ExitRecord | None] | None = None,
        attach_path: str = "",
        monitor_pid: int = 0,
        is_child: bool = False,
    ) -> None:
        """Args: stage_pid and control of a monitor of ours; read_record reads the exit record, if there is
        a monitor; is_child tells that the process is our own child, and so ours to reap.
        """
        self.pid = pid
        self.pidfd = pidfd
        self._stage_pid = stage_pid
        self._control = control
        self._read_record = read_record
        self._attach_path = attach_path
        self._monitor_pid = monitor_pid
        self._is_child = is_child
        self._status: ExitStatus | None = None
        self._reference = ref(self)
        if is_child:
            _children[pid] = self._reference

    def __repr__(self) -> str:
        return f"Process(pid={self.pid})"

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """The descriptor is given back; the process goes on.

        A child that nobody waited for is reaped later.
        """
        with _lock:
            pidfd, self.pidfd = self.pidfd, -1
            orphaned = self._is_child and self._status is None
            self.disown()
            self._close_control()
        if pidfd >= 0 and orphaned:
            process.reap_behind(pidfd)
        elif pidfd >= 0:
            os.close(pidfd)

    def _close_control(self) -> None:
        """The monitor, which goes on, is reaped later; who waits on a copy of the conversation waits on."""
        control, self._control = self._control, None
        if control is not None:
            control.close()
            process.reap_later(self._stage_pid)

    def disown(self) -> None:
        """The process is never reaped by us: its status is for whoever inherits it when we have ended."""
        with _lock:
            self._is_child = False
            if _children.get(self.pid) is self._reference:
                del _children[self.pid]

    @property
    def start_time(self) -> int | None:
        """When it started, in clock ticks since boot; None when it is gone."""
        return procstat.start_time(self.pid)

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        """How the process ended, once it has.

        Raises:
            TimedOut: it runs on.
            Unsupported: the status cannot be known: it is neither our child nor has it a monitor.
        """
        if self._status is None:
            with Refusals(f"wait for process {self.pid}"):
                status = self._await(timeout_s)
            with _lock:
                self._status = self._status or status
        return self._status

    def ends_within(self, timeout_s: float | None) -> bool:
        """Whether the process has ended within the time; also when we have no descriptor of it."""
        pidfd = self._copy_pidfd()
        if pidfd < 0:
            return True
        try:
            return _wait_readable(pidfd, timeout_s)
        finally:
            os.close(pidfd)

    def _copy_pidfd(self) -> int:
        """For a wait, during which another thread may close ours; -1 for none."""
        with _lock:
            return os.dup(self.pidfd) if self.pidfd >= 0 else -1

    def _await(self, timeout_s: float | None) -> ExitStatus:
        with _lock:
            control = os.dup(self._control.fileno()) if self._control is not None else -1
        if control >= 0:
            conversation = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, control)
            try:
                return self._await_monitor(conversation, timeout_s)
            finally:
                conversation.close()
        if not self.ends_within(timeout_s):
            raise TimedOut(f"process {self.pid} did not end within {timeout_s} s")
        if self._status is not None:
            return self._status
        if self._read_record is not None:
            return self._await_record(timeout_s)
        self.collect()
        if self._status is None and self._is_child:
            self._await_tracer(timeout_s)
        if self._status is None:
            raise Unsupported(
                f"how process {self.pid} ended is known to its parent only",
                hint="launch the container with supervise=True to have it recorded",
            )
        return self._status

    def _await_tracer(self, timeout_s: float | None) -> None:
        """A process of the container that traces this one learns of its end first, and we when it likes."""
        import time

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._status is None and procstat.is_zombie(self.pid):
            if deadline is not None and time.monotonic() > deadline:
                raise TimedOut(f"process {self.pid} has ended, and its tracer kept it {timeout_s} s")
            time.sleep(_TRACED_S)
            self.collect()

    def collect(self) -> None:
        """If it is a child of ours and has ended, it is no zombie any more, and its status is known.

        It is reaped by its descriptor: its number may have come to be that of another child of our program.
        """
        with _lock:
            if self._status is not None or self.pidfd < 0:
                return
            wait_status = process.reap_if_ended(self.pidfd)
            if wait_status is not None:
                self._status = status_of_wait(wait_status)
                reference = _children.pop(self.pid, None)
                launched = reference() if reference else None
                if launched is not None:
                    launched._status = self._status

    def _await_monitor(self, conversation: _socket.socket, timeout_s: float | None) -> ExitStatus:
        """One of those that wait reads what the monitor says, and wakes the others."""
        from pierhead.runtime.packets import receive

        if not _wait_readable(conversation.fileno(), timeout_s):
            raise TimedOut(f"process {self.pid} did not end within {timeout_s} s")
        with _lock:
            if self._status is not None:
                return self._status
            packet, _ = receive(self._control or conversation)
            self._close_control()
            if packet and wire.words(packet)[0] == wire_table.MESSAGE_EXITED:
                _, code, signal, oom = wire.words(packet)
                status = ExitStatus(code=code if signal == 0 else None, signal=signal or None, oom=bool(oom))
                self._status = status
                conversation.shutdown(_socket.SHUT_RDWR)
                return status
        return self._await_record(timeout_s)

    def _await_record(self, timeout_s: float | None) -> ExitStatus:
        """The monitor writes the record as soon as its child has ended, however long it goes on itself.

        On a full disk it tries again and again.
        """
        record = self._read_record() if self._read_record else None
        if record is None and self._read_record and self._monitor_pid:
            record = self._watch_for_record(self._read_record, timeout_s)
        if record is None:
            raise Unsupported(f"how process {self.pid} ended was not recorded: its monitor was killed")
        return ExitStatus(code=record.code, signal=record.signal, oom=record.oom)

    def _watch_for_record(
        self, read_record: Callable[[], ExitRecord | None], timeout_s: float | None
    ) -> ExitRecord | None:
        """The record, once it is renamed into place or the monitor is gone."""
        import select
        import time

        from pierhead.linux.inotify import DirectoryWatch

        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        monitor = process.open_pidfd(self._monitor_pid)
        if monitor is None:
            return read_record()
        poll = select.poll()
        poll.register(monitor, select.POLLIN)
        try:
            with DirectoryWatch(os.path.dirname(self._attach_path)) as watch:
                poll.register(watch.fileno(), select.POLLIN)
                while True:
                    record = read_record()
                    if record is not None or monitor in dict(poll.poll(_wait_ms(deadline))):
                        return record or read_record()
                    if deadline is not None and time.monotonic() >= deadline:
                        message = f"process {self.pid} has ended, and its monitor has not recorded how"
                        raise TimedOut(message, hint="the disk that holds the container's state may be full")
                    watch.drain()
        finally:
            os.close(monitor)

    def reap(self) -> None:
        """The process, which has ended, is no zombie if it was our child.

        ``wait`` still tells how it ended.
        """
        if self._is_child:
            self.collect()
        process.reap_ended()

    def signal(self, number: int) -> None:
        """The signal has been sent.

        Raises:
            Conflict: the process has ended.
            InvalidInput: there is no such signal.
        """
        check_signal(number)
        if not self._send(number):
            raise Conflict(f"process {self.pid} has ended: process already finished", code="process-finished")

    def terminate(self) -> None:
        """The process has been killed (SIGKILL); nothing happens if it had ended."""
        self._send(_SIGKILL)

    def _send(self, number: int) -> bool:
        with _lock:
            return self.pidfd >= 0 and process.kill_pidfd(self.pidfd, number)

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal, which the monitor keeps, has this size in characters; when a monitor that is stopped
        goes on.

        Raises:
            Unsupported: the process has no monitor.
        """
        if not self._attach_path:
            raise Unsupported(f"process {self.pid} has no monitor that keeps its terminal")
        from pierhead.runtime.attach import AttachClient

        with AttachClient(self._attach_path) as client:
            client.resize(rows, columns)
            client.finish(_RESIZED_S)
