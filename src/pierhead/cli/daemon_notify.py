"""What the daemon tells systemd of itself (sd_notify(3)); nothing where nobody asked."""

from __future__ import annotations

import socket
import time

VARIABLE = "NOTIFY_SOCKET"


class Notifier:
    """Tells the socket of ``NOTIFY_SOCKET``."""

    def __init__(self, address: str) -> None:
        """Tells nobody if the address is empty."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address

    def ready(self, status: str) -> None:
        """It serves."""
        self._tell(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def reloading(self) -> None:
        """It reads its configuration anew; ``ready`` says when it has."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            try:
                out.sendto(text.encode(), self._address)
            except OSError:
                pass  # whoever does not listen has no need to know
