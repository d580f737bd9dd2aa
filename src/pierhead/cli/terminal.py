"""Our own terminal and a container's, joined.  Loaded only when a process in the foreground has a terminal.

Ours is put into raw mode, so that ^C and the rest reach the container's as keys; it is put back whatever
happens.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import termios

from pierhead.cli.output import STDERR, STDIN, STDOUT, write_all
from pierhead.errors import OperationFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

_READ_BYTES = 65536
_END_OF_INPUT = b"\x04"
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6
_RAW_IFLAG = (
    termios.IGNBRK
    | termios.BRKINT
    | termios.PARMRK
    | termios.ISTRIP
    | termios.INLCR
    | termios.IGNCR
    | termios.ICRNL
    | termios.IXON
)
_RAW_LFLAG = termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN


def own_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal that we were called on; None where there is none."""
    for fd in (STDIN, STDOUT, STDERR):
        try:
            size = os.get_terminal_size(fd)
        except OSError:
            continue
        if size.lines and size.columns:
            return size.lines, size.columns
    return None


def channel() -> tuple[_socket.socket, _socket.socket]:
    """Our end, on which the master will come, and the end that the container's launch is given."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def receive_master(ours: _socket.socket) -> int:
    """The master side of the container's terminal."""
    room = _socket.CMSG_SPACE(4)
    _, ancillary, _, _ = ours.recvmsg(4096, room, _socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            return int.from_bytes(data[:4], "little")
    raise OperationFailed("the container's terminal did not arrive", code="no-terminal")


def raw_mode(attributes: list[Any]) -> list[Any]:
    """The attributes as cfmakeraw(3) makes them."""
    raw = [*attributes[:_CC], list(attributes[_CC])]
    raw[_IFLAG] &= ~_RAW_IFLAG
    raw[_OFLAG] &= ~termios.OPOST
    raw[_LFLAG] &= ~_RAW_LFLAG
    raw[_CFLAG] = (raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
    return raw


class RawTerminal:
    """Our terminal in raw mode.  A context manager: afterwards it is as it was."""

    def __init__(self, fd: int) -> None:
        """Args: fd is of a terminal."""
        self._fd = fd
        self._saved: list[Any] = []

    def __enter__(self) -> Self:
        self._saved = termios.tcgetattr(self._fd)
        termios.tcsetattr(self._fd, termios.TCSANOW, raw_mode(self._saved))
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._fd, self._saved)


class Terminal:
    """The join.  A context manager: afterwards our terminal is as it was."""

    def __init__(self, master: int) -> None:
        """Takes over the container's master.

        Args:
            master: becomes ours to close.
        """
        self._master = master
        os.set_blocking(master, False)  # a program that reads nothing must not stop its own output
        self._pending = b""
        self._input_open = True
        self._output_open = True
        self._watched = True
        self._armed: dict[int, int] = {}
        self._saved: tuple[int, list[Any]] | None = None

    def __enter__(self) -> Self:
        self.match_size()
        if os.isatty(STDIN):
            attributes = termios.tcgetattr(STDIN)
            self._saved = (STDIN, attributes)
            termios.tcsetattr(STDIN, termios.TCSANOW, raw_mode(attributes))
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            _restore(*self._saved)
        os.close(self._master)

    def match_size(self) -> None:
        """The container's terminal has the size of ours."""
        size = own_size()
        if size is not None:
            packed = b"".join(number.to_bytes(2, "little") for number in (*size, 0, 0))
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, packed)

    def arm(self, poll: select.poll) -> None:
        """The poll waits for what can be moved now: keys are read only when those before have been taken."""
        wanted = {}
        if self._output_open:
            wanted[self._master] = select.POLLIN | (select.POLLOUT if self._pending else 0)
            if self._input_open and not self._pending:
                wanted[STDIN] = select.POLLIN
        for fd in self._armed.keys() - wanted.keys():
            poll.unregister(fd)
        for fd, events in wanted.items():
            if self._armed.get(fd) != events:
                poll.register(fd, events)
        self._armed = wanted

    def move(self, ready: Mapping[int, int]) -> None:
        """What can be moved is moved."""
        if ready.get(self._master, 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._show()
        if STDIN in ready:
            self._read_keys()
        if self._pending:
            self._send_keys()

    def drain(self) -> None:
        """All that the process printed before its end is shown."""
        while self._output_open and self._show():
            pass

    def _show(self) -> bool:
        """What is there to be read is shown; whether there was anything."""
        try:
            data = os.read(self._master, _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: every process has closed its side
                raise
            data = b""
        self._output_open = bool(data)
        if self._watched:
            self._watched = _write_to_reader(data)
        return self._output_open

    def _read_keys(self) -> None:
        try:
            self._pending = os.read(STDIN, _READ_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:  # we are in the background
                raise
        if not self._pending:
            self._input_open = False
            self._pending = _END_OF_INPUT

    def _send_keys(self) -> None:
        try:
            sent = os.write(self._master, self._pending)
        except BlockingIOError:
            return
        except OSError:  # nobody is there to read
            self._pending, self._input_open = b"", False
            return
        self._pending = self._pending[sent:]


def _restore(fd: int, attributes: list[Any]) -> None:
    """Our terminal has its settings back, if it is still there."""
    try:
        termios.tcsetattr(fd, termios.TCSADRAIN, attributes)
    except termios.error as error:
        if error.args[0] != errno.EIO:
            raise


def _write_to_reader(data: bytes) -> bool:
    """Whether somebody is there who reads what we print; what nobody reads must not stop the process."""
    try:
        write_all(STDOUT, data)
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EPIPE):
            raise
        return False
    return True
