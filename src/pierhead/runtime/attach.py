r"""A client of a monitor's attach socket: sees what a process writes from now on, and types into it.

    with AttachClient(f"{state_directory}/attach") as client:
        client.write(b"echo hello\n")
        client.close_input()
        for stream, data in client:
            show(stream, data)
        print(client.ending)

The packets are described in init/attach.h.  A client gets every byte, and the process waits for a client
that does not read (its queue is about 200 KB); one that reads nothing for ten seconds is hung up on.  So
whoever writes much must read meanwhile: from another thread, or with ``set_blocking(False)`` and a poll.
"""

import os
from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from errno import ECONNREFUSED, ENOENT
from time import monotonic

from pierhead.errors import Conflict, OperationFailed, Unavailable
from pierhead.runtime import wire_table
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

ATTACH_DATA = 32768
"""The most bytes that one packet carries."""

_ADDRESS_MAX = 107  # unix(7): sun_path, without its final NUL
_STREAMS = {wire_table.ATTACH_OUTPUT: "stdout", wire_table.ATTACH_ERROR: "stderr"}


class Ending(Value):
    """How the process ended: one of the two is a number (neither: the kernel would not say)."""

    code: int | None
    signal: int | None


class AttachClient:
    """One connection to a monitor.  Reading and writing may be done by two threads.

    Attributes:
        ending: how the process ended; None until iteration has come to it.
    """

    def __init__(self, where: str | os.PathLike[str] | int) -> None:
        """Connects.

        Args:
            where: path of the socket, or a connected socket's descriptor, which becomes the client's.

        Raises:
            Conflict: nobody serves the socket: the process has ended.
        """
        self.ending: Ending | None = None
        self._socket = socket(fileno=where) if isinstance(where, int) else _connect(os.fspath(where))

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The connection is given up; what was written before still arrives."""
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to poll."""
        return self._socket.fileno()

    def set_blocking(self, blocking: bool) -> None:  # noqa: FBT001 - as os.set_blocking and socket.setblocking
        """Whether calls wait; where they do not they raise BlockingIOError."""
        self._socket.setblocking(blocking)

    # From the process

    def __iter__(self) -> "Iterator[tuple[str, bytes]]":
        """Each piece of output with its stream, ``stdout`` or ``stderr``, until the process has ended."""
        while (piece := self.read()) is not None:
            yield piece

    def read(self) -> tuple[str, bytes] | None:
        """The next piece of output with its stream; None when the process has ended and ``ending`` says how.

        Raises:
            Unavailable: the monitor hung up before that.
        """
        if self.ending is not None:
            return None
        packet = self._receive()
        if not packet:
            raise Unavailable(
                "the monitor hung up before the process ended: this client read nothing for ten seconds,"
                " or the monitor was killed",
                code="attach-lost",
                hint="what was missed is in the log",
            )
        if packet[0] == wire_table.ATTACH_EXIT:
            code, signal = (int.from_bytes(packet[at : at + 4], "little", signed=True) for at in (1, 5))
            self.ending = Ending(code=code if code >= 0 else None, signal=signal if signal >= 0 else None)
            return None
        return _STREAMS[packet[0]], packet[1:]

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(ATTACH_DATA + 1)
        except ConnectionResetError:
            # Said once, before what is still queued, when the monitor left input of ours unread.
            return self._socket.recv(ATTACH_DATA + 1)

    # To the process

    def write(self, data: bytes) -> int:
        """The process will read ``data``; returns how many bytes were taken: all, unless calls do not wait.

        Raises:
            Conflict: the process has ended.
        """
        view = memoryview(data)
        taken = 0
        while taken < len(view):
            part = view[taken : taken + ATTACH_DATA]
            try:
                self._send(wire_table.ATTACH_INPUT, part)
            except BlockingIOError:
                if taken == 0:
                    raise
                break
            taken += len(part)
        return taken

    def close_input(self) -> None:
        """The process reads end-of-file after what was written; on a terminal it is as Ctrl-D typed."""
        self._send(wire_table.ATTACH_CLOSE_INPUT, b"")

    def resize(self, rows: int, columns: int) -> None:
        """The process's terminal has this size; nothing happens where there is none."""
        self._send(wire_table.ATTACH_RESIZE, rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))

    def finish(self, timeout_s: float) -> None:
        """The monitor has acted upon all that was sent, or the time is up; nothing more will be sent, and
        output is passed over.
        """
        deadline = monotonic() + timeout_s
        self._socket.shutdown(SHUT_WR)
        try:
            while (left := deadline - monotonic()) > 0:
                self._socket.settimeout(left)
                if not self._receive():
                    return
        except TimeoutError:
            return

    def _send(self, kind: int, payload: "bytes | memoryview") -> None:
        try:
            self._socket.sendmsg((bytes((kind,)), payload))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise Conflict(
                "the process has ended, or its monitor hung up", code="process-finished"
            ) from error


def _connect(path: str) -> socket:
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    directory = -1
    try:
        address = path
        if len(os.fsencode(path)) > _ADDRESS_MAX:
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            address = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        connection.connect(address)
    except OSError as error:
        connection.close()
        if error.errno in (ENOENT, ECONNREFUSED):
            raise Conflict(
                f"no monitor serves {path}: the process has ended", code="process-finished"
            ) from error
        raise OperationFailed(
            f"cannot attach at {path}: {os.strerror(error.errno or 0).lower()}", errno=error.errno or 0
        ) from error
    finally:
        if directory >= 0:
            os.close(directory)
    return connection
