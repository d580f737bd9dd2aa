"""Our standard streams and a container's process's, joined over a connection to the engine.

    stdin (raw on a terminal) ──▶ detach keys? ──▶ connection ──▶ the process
    stdout, stderr            ◀── frames       ◀── connection ◀──
    SIGWINCH ──▶ resize       SIGTERM, SIGINT, … ──▶ kill, unless --sig-proxy=false

Nothing polls by time.  Input is read only when what was read before has been taken, so that neither side can
make the other one wait for ever.
"""

from __future__ import annotations

import errno
import os
import select

from pierhead.cli.output import STDERR, STDIN, STDOUT, write_all
from pierhead.errors import PierheadError
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
    from typing import Any

    from pierhead.cli.foreground import SignalPipe
    from pierhead.client.streams import Streams
else:
    import _signal

_READ_BYTES = 65536
_ENOUGH_SIGNALS = 3
FORCED = 1


class Ends(Value):
    """How a join can tell the engine something.

    Fields:
        resize: the process's terminal gets so many rows and columns.
        kill: the process gets the signal; None where signals are not passed on.
    """

    resize: Callable[[int, int], Any]
    kill: Callable[[int], Any] | None = None


class Detached(Exception):
    """Somebody pressed the keys that leave the process alone."""


class Forced(Exception):
    """Somebody asked three times for an end that did not come."""


class Join:
    """The join; ``run`` returns when the process's output has ended."""

    def __init__(
        self,
        streams: Streams,
        signals: SignalPipe,
        ends: Ends,
        *,
        takes_input: bool,
        terminal: bool,
        keys: bytes,
    ) -> None:
        """Args:
        streams: of the process.
        signals: catches since before the process was started.
        ends: how the engine is told of sizes and signals.
        takes_input: whether our standard input goes there.
        terminal: whether the process has a terminal.
        keys: that detach; b"" for none.
        """
        from pierhead.cli.detachkeys import KeyWatch

        self._streams = streams
        self._signals = signals
        self._ends = ends
        self._input_open = takes_input
        self._terminal = terminal
        self._watch = KeyWatch(keys) if terminal and takes_input else None
        self._pending = b""
        self._detaching = False
        self._ending = 0
        self._closed_outputs: set[int] = set()

    def run(self) -> None:
        """The process's output has ended, and all of it is shown.

        Raises:
            Detached: the keys were pressed.
            Forced: three signals asked for an end.
        """
        if self._terminal and self._input_open and os.isatty(STDIN):
            from pierhead.cli.terminal import RawTerminal

            with RawTerminal(STDIN):
                self._loop()
        else:
            self._loop()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        while True:
            self._arm(poll)
            ready = dict(poll.poll(0 if self._streams.pending() else None))
            if self._signals.fd in ready:
                self._take_signals()
            more = ready.get(self._streams.fileno(), 0) & ~select.POLLOUT
            if (more or self._streams.pending()) and not self._show():
                if self._detaching:
                    raise Detached
                return
            if STDIN in ready:
                self._read_input()
            if self._pending:
                self._send()

    def _arm(self, poll: select.poll) -> None:
        poll.register(self._streams.fileno(), select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._input_open and not self._pending:
            poll.register(STDIN, select.POLLIN)
        else:
            try:
                poll.unregister(STDIN)
            except KeyError:
                return

    def _show(self) -> bool:
        """What came is shown; whether more can come."""
        pieces = self._streams.read()
        for stream, data in pieces or ():
            self._print(STDERR if stream == "stderr" else STDOUT, data)
        return pieces is not None

    def _print(self, fd: int, data: bytes) -> None:
        """What nobody reads must not stop the process."""
        if fd in self._closed_outputs:
            return
        try:
            write_all(fd, data)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE, errno.EBADF):
                raise
            self._closed_outputs.add(fd)

    def _read_input(self) -> None:
        try:
            data = os.read(STDIN, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EBADF, errno.EISDIR):  # in the background, or nothing
                raise
            data = b""
        if not data:
            self._input_open = False
            self._streams.close_input()
            return
        if self._watch is not None:
            data, self._detaching = self._watch.pass_on(data)
            self._input_open = not self._detaching
        self._pending = data

    def _send(self) -> None:
        try:
            self._pending = self._pending[self._streams.write_some(self._pending) :]
        except OSError:  # nobody is there to read
            self._pending, self._input_open = b"", False

    def _take_signals(self) -> None:
        for number in self._signals.take():
            if number == _signal.SIGWINCH:
                self.match_size()
                continue
            if number in (_signal.SIGINT, _signal.SIGTERM):
                self._ending += 1
                if self._ending == _ENOUGH_SIGNALS:
                    raise Forced
            if self._ends.kill is not None:
                self._kill(self._ends.kill, number)
            elif number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
                raise Detached

    def _kill(self, kill: Callable[[int], Any], number: int) -> None:
        self._tell(lambda: kill(number))

    def match_size(self) -> None:
        """The process's terminal has the size of ours."""
        if not self._terminal:
            return
        from pierhead.cli.terminal import own_size

        size = own_size()
        if size is not None:
            self._tell(lambda: self._ends.resize(*size))

    def _tell(self, tell: Callable[[], Any]) -> None:
        """The engine is told; a process that has just ended needs to hear nothing."""
        try:
            tell()
        except PierheadError:
            return
