"""Hands a seccomp notify descriptor to the agent that a profile names.

Source: runtime-spec config-linux.md, "Seccomp", ``listenerPath`` and "The Container Process State".
"""

from __future__ import annotations

import _socket
import os

from pierhead import jsontext
from pierhead.errors import OperationFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config


def send_listener(config: Config, notify_fd: int, pid: int, state: bytes) -> None:
    """The agent has the descriptor and the process's state; ours is closed.

    Raises:
        OperationFailed: nobody listens at the profile's listenerPath.
    """
    seccomp = config.seccomp
    path = getattr(seccomp, "listener_path", "")
    document = {
        "ociVersion": config.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": getattr(seccomp, "listener_metadata", ""),
        "state": jsontext.parse(state) if state else {},
    }
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, notify_fd.to_bytes(4, "little"))]
    try:
        if not path:
            raise OperationFailed(
                "the seccomp profile notifies but names no listenerPath", code="no-listener"
            )
        agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            agent.connect(path)
            agent.sendmsg([jsontext.format_compact(document).encode()], rights)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise OperationFailed(
                f"cannot hand the seccomp descriptor to the agent at {path}: {reason}",
                errno=error.errno or 0,
            ) from None
        finally:
            agent.close()
    finally:
        os.close(notify_fd)
