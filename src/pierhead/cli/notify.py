"""Readiness that a container tells systemd of (sd_notify(3)), passed through.

    host      NOTIFY_SOCKET of whoever called us                   ◀─┐
    between   ROOT-notify/ID/notify.sock, ours while we wait       ──┘  READY=1, STATUS=…
    container NOTIFY_SOCKET=/run/notify/notify.sock: the directory  ──▶ between

The directory is mounted, not the socket: ``create`` makes the directory, and who waits (``start``, ``run``)
makes the socket.  The names in the container are runc's.  Loaded only when NOTIFY_SOCKET is set.
"""

from __future__ import annotations

import _socket
import os
import select

from pierhead.errors import OperationFailed
from pierhead.ids import check_container_id
from pierhead.runtime.config import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from pierhead.runtime import Config, Process

VARIABLE = "NOTIFY_SOCKET"
_NAME = "notify.sock"
_IN_CONTAINER = "/run/notify"
_DATAGRAM_BYTES = 4096


class NotifyDirectory:
    """The directory of the socket between.  A context manager: unless it is kept, it is gone afterwards."""

    def __init__(self, path: str) -> None:
        """Makes the directory."""
        self.path = path
        self._kept = False
        os.makedirs(path, mode=0o755, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            remove_directory(self.path)

    def keep(self) -> None:
        """The container lives on, and with it the directory; ``delete`` removes it."""
        self._kept = True

    def added_to(self, config: Config) -> Config:
        """The container sees the directory, and its process knows the socket."""
        options = ("bind", "nosuid", "noexec", "nodev", "ro")
        mount = Mount(destination=_IN_CONTAINER, type="bind", source=self.path, options=options)
        process = config.process
        if process is not None:
            env = [entry for entry in process.env if not entry.startswith(f"{VARIABLE}=")]
            process = process.replace(env=(*env, f"{VARIABLE}={_IN_CONTAINER}/{_NAME}"))
        return config.replace(mounts=(*config.mounts, mount), process=process)


def notify_directory(root: str, container_id: str) -> NotifyDirectory:
    """A new directory beside the state root.

    Raises:
        InvalidInput: no container can have this id.
    """
    check_container_id(container_id)
    return NotifyDirectory(f"{root}-notify/{container_id}")


def remove_directory(directory: str) -> None:
    """Nothing is left of the socket between."""
    for path, remove in ((f"{directory}/{_NAME}", os.unlink), (directory, os.rmdir)):
        try:
            remove(path)
        except FileNotFoundError:
            continue


class NotifyProxy:
    """The socket between.  A context manager."""

    def __init__(self, directory: str) -> None:
        """Makes the socket, to which anybody in the container may write.

        Raises:
            OperationFailed: it cannot be made.
        """
        self._host = os.environ[VARIABLE]
        self._directory = directory
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        self.ready = False
        try:
            _bind(self._socket, directory)
        except OSError as error:
            self._socket.close()
            reason = (error.strerror or str(error)).lower()
            raise OperationFailed(f"cannot make {directory}/{_NAME}: {reason}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, to poll."""
        return self._socket.fileno()

    def forward(self, main_pid: int = 0) -> None:
        """One message goes on to the host.

        Args:
            main_pid: the process that systemd is to watch from now on; 0 leaves that to us.
        """
        message = self._socket.recv(_DATAGRAM_BYTES)
        ready = b"READY=1" in message.split(b"\n")
        if ready and main_pid:
            message = b"%s\nMAINPID=%d\n" % (message.rstrip(b"\n"), main_pid)
        self._send(message)
        self.ready = self.ready or ready

    def _send(self, message: bytes) -> None:
        host = self._host
        address = b"\0" + host[1:].encode() if host.startswith("@") else host.encode()
        out = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        try:
            out.connect(address)
            out.send(message)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OperationFailed(f"cannot tell {host} of the container's readiness: {reason}") from None
        finally:
            out.close()

    def await_ready(self, process: Process) -> None:
        """The host knows that the container is ready; or the process has ended before it was."""
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        poll.register(process.pidfd, select.POLLIN)
        while not self.ready:
            ready = dict(poll.poll())
            if self._socket.fileno() in ready:
                self.forward(process.pid)
            elif process.pidfd in ready:
                return


def _bind(socket: _socket.socket, directory: str) -> None:
    """By the directory's descriptor, since an address is short; what an earlier proxy left is replaced."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"/proc/self/fd/{fd}/{_NAME}"
    try:
        if os.path.lexists(path):
            os.unlink(path)
        socket.bind(path)
        os.chmod(path, 0o777)
    finally:
        os.close(fd)
