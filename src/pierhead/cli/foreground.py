"""Stands in for a process in the foreground: passes signals and the terminal on, and takes its exit status.

        our terminal (raw)          this loop                 the process
            stdin  ──────────▶  keys, as they come  ──────▶  its terminal's master
            stdout ◀──────────  what it prints      ◀──────
        SIGWINCH ────────────▶  our size            ──────▶  TIOCSWINSZ
        SIGTERM, SIGINT, … ──▶                      ──────▶  the same signal, by its pidfd

Nothing polls by time: signals come through a pipe (set_wakeup_fd), the end through the pidfd.  ``_signal``
is used because ``signal`` makes enums of its numbers, which takes as long as a container.
"""

from __future__ import annotations

import os

from pierhead.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Self, TypeAlias

    from pierhead.cli.notify import NotifyProxy
    from pierhead.cli.terminal import Terminal
    from pierhead.runtime.process import ExitStatus, Process

    Action: TypeAlias = Callable[[int, FrameType | None], Any] | int | _signal.Handlers | None
else:
    import _signal


# Not passed on: what cannot be caught, what says something about us, and what has its own meaning here.
_OWN = frozenset(
    (
        _signal.SIGKILL,
        _signal.SIGSTOP,
        _signal.SIGCHLD,
        _signal.SIGPIPE,
        _signal.SIGWINCH,
        _signal.SIGSEGV,
        _signal.SIGBUS,
        _signal.SIGFPE,
        _signal.SIGILL,
        _signal.SIGTRAP,
        _signal.SIGABRT,
        _signal.SIGSYS,
        _signal.SIGURG,
        # The shell's job control is of us: ^Z stops the one who stands in, not the container.
        _signal.SIGTSTP,
        _signal.SIGTTIN,
        _signal.SIGTTOU,
    )
)
_ENDING = (_signal.SIGTERM, _signal.SIGHUP)
_C_LIBRARY = (32, 33)  # the C library's own, which it does not let anybody catch


class SignalPipe:
    """Every signal that can be passed on is a byte in a pipe.  A context manager; leaving it undoes that."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._old: dict[int, Action] = {}
        self._old_fd = -1

    def __enter__(self) -> Self:
        """From here on no signal ends us: what comes before the process is there waits in the pipe."""
        self._old_fd = _signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in range(1, _signal.NSIG):
            caught = number == _signal.SIGWINCH or number not in _OWN
            if caught and number not in _C_LIBRARY and _signal.getsignal(number) != _signal.SIG_IGN:
                self._old[number] = _signal.signal(number, _nothing)
        return self

    def __exit__(self, *_: object) -> None:
        for number, action in self._old.items():
            if action is not None:
                _signal.signal(number, action)
        _signal.set_wakeup_fd(self._old_fd)
        os.close(self.fd)
        os.close(self._write_fd)

    def take(self) -> bytes:
        """The numbers of the signals since the last time."""
        try:
            return os.read(self.fd, 4096)
        except BlockingIOError:
            return b""


class Undoing:
    """A context manager within which SIGTERM and SIGHUP let us undo what we have begun, and end us then.

    The helper undoes its part when we are killed; a hook that runs for us only we can end.
    """

    def __init__(self) -> None:
        self._number = 0

    def __enter__(self) -> Self:
        for number in _ENDING:
            if _signal.getsignal(number) == _signal.SIG_DFL:
                _signal.signal(number, self._interrupt)
        return self

    def _interrupt(self, number: int, _frame: FrameType | None) -> None:
        self._number = number
        self._let_end()  # who asks twice is in a hurry
        raise KeyboardInterrupt

    def _let_end(self) -> None:
        for number in _ENDING:
            if _signal.getsignal(number) == self._interrupt:
                _signal.signal(number, _signal.SIG_DFL)

    def __exit__(self, *_: object) -> None:
        self._let_end()
        if self._number:
            os.kill(os.getpid(), self._number)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """What a signal does by itself: its byte in the pipe does the rest."""


def stand_in(
    launch: Callable[[int], Process],
    signals: SignalPipe,
    *,
    terminal: bool,
    proxy: NotifyProxy | None = None,
) -> int:
    """Launches a process, stands in for it until it has ended, and returns its exit status as a shell has it.

    Args:
        launch: launches it; is given the descriptor of the socket that gets its terminal's master, or -1.
        signals: catches from before; what comes early waits for the process.
        terminal: whether it has one, to be joined with ours.
        proxy: passes on what the container tells systemd.
    """
    if not terminal:
        return attend(launch(-1), signals, proxy=proxy).shell_code
    from pierhead.cli.terminal import Terminal, channel, receive_master

    ours, theirs = channel()
    try:
        process = launch(theirs.fileno())
    finally:
        theirs.close()
    with Terminal(receive_master(ours)) as joined:
        ours.close()
        return attend(process, signals, joined, proxy).shell_code


def attend(
    process: Process,
    signals: SignalPipe,
    terminal: Terminal | None = None,
    proxy: NotifyProxy | None = None,
) -> ExitStatus:
    """Stands in for the process until it has ended.

    Args:
        process: a child of ours, or one with a monitor.
        signals: catches since before the process was made.
        terminal: ours and the process's, if it has one.
        proxy: passes on what the container tells systemd.
    """
    import select

    poll = select.poll()
    poll.register(signals.fd, select.POLLIN)
    if process.pidfd >= 0:
        poll.register(process.pidfd, select.POLLIN)
    if proxy is not None:
        poll.register(proxy.fileno(), select.POLLIN)
    ended = process.pidfd < 0
    while not ended:
        if terminal is not None:
            terminal.arm(poll)
        ready = dict(poll.poll())
        if signals.fd in ready:
            _pass_on(signals.take(), process, terminal)
        if terminal is not None:
            terminal.move(ready)
        if proxy is not None and proxy.fileno() in ready:
            proxy.forward()
        ended = process.pidfd in ready
    if terminal is not None:
        terminal.drain()
    return process.wait()


def _pass_on(numbers: bytes, process: Process, terminal: Terminal | None) -> None:
    for number in numbers:
        if number == _signal.SIGWINCH:
            if terminal is not None:
                terminal.match_size()
            continue
        try:
            process.signal(number)
        except Conflict:
            return
