"""A terminal's master, from the runtime program to whoever keeps it.

The program connects to a socket (``--console-socket``) and sends the master with its name (SCM_RIGHTS,
unix(7)).
"""

from __future__ import annotations

import os
import socket

from pierhead.errors import OperationFailed
from pierhead.linux.files import remove_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

NAME = "console"
_PATIENCE_S = 10.0
_NAME_MAX = 31
"""Of the terminal, what the monitor takes (init/streams.c)."""


class ConsoleSocket:
    """Listens in a directory, by a name that is short from there.  A context manager."""

    def __init__(self, directory: str) -> None:
        """It can be connected to."""
        self._path = f"{directory}/{NAME}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{directory_fd}/{NAME}")
            self._socket.listen(1)
            self._socket.settimeout(_PATIENCE_S)
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(directory_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        remove_if_there(self._path)

    def hand_on(self, keeper_fd: int) -> None:
        """The terminal that the program, which has ended, has sent is its keeper's.

        Args:
            keeper_fd: of a connected socket; stays the caller's.

        Raises:
            OperationFailed: the program has sent none.
        """
        try:
            connection, _ = self._socket.accept()
            with connection:
                connection.settimeout(_PATIENCE_S)
                name, fds, _, _ = socket.recv_fds(connection, 4096, 1)
        except TimeoutError:
            raise OperationFailed("the runtime program has sent no terminal", code="no-terminal") from None
        if not fds:
            raise OperationFailed("the runtime program has sent no terminal", code="no-terminal")
        try:
            with socket.socket(fileno=os.dup(keeper_fd)) as keeper:
                socket.send_fds(keeper, [name[:_NAME_MAX] or b"terminal"], fds)
        finally:
            for fd in fds:
                os.close(fd)
