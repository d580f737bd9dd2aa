"""``pierd`` in a process of its own, in directories of its own.

with daemon(tmp_path) as it:
it.client.get("/_ping")
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.api_server import Client
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CODE = (
    "import os, sys; from pierhead.cli.daemon import main; os._exit(main(sys.argv[1:]))"  # as scripts/program
)
_READY_S = 60.0
_END_S = 60.0


@dataclass
class Daemon:
    """A daemon that serves."""

    directory: Path
    process: subprocess.Popen[bytes]
    notified: socket.socket

    @property
    def socket_path(self) -> str:
        """Where it listens."""
        return str(self.directory / "exec/pierd.sock")

    @property
    def client(self) -> Client:
        """Requests to it."""
        return Client(self.socket_path)

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.directory / "pierd.log").read_text()

    def told(self) -> dict[str, str]:
        """The next thing that it tells systemd."""
        lines = self.notified.recv(4096).decode().splitlines()
        return dict(line.partition("=")[::2] for line in lines)

    def end(self, number: int = signal.SIGTERM) -> int:
        """It has ended by the signal; its status."""
        self.process.send_signal(number)
        return self.process.wait(_END_S)


def command(directory: Path, *words: str) -> list[str]:
    """A call of ``pierd`` in these directories."""
    roots = ("--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"))
    program = os.environ.get("PIERHEAD_TEST_RUNTIME")
    other = ("--add-runtime", f"other={program}", "--default-runtime", "other") if program else ()
    return [sys.executable, "-c", _CODE, *roots, *other, *words]


@contextmanager
def daemon(
    directory: Path, *words: str, pass_fds: tuple[int, ...] = (), before: tuple[str, ...] = ()
) -> Iterator[Daemon]:
    """It serves inside, from when it has said so; told to stop at the end, unless it has ended.

    Args:
        directory: has its roots, its socket and its log.
        words: its flags.
        pass_fds: descriptors that it gets.
        before: words of a program that becomes it, like unshare(1).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = directory / "notify.sock"
        path.unlink(missing_ok=True)
        notified.bind(str(path))
        notified.settimeout(_READY_S)
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NOTIFY_SOCKET": str(path)}
        with (directory / "pierd.log").open("ab") as log:
            process = subprocess.Popen(
                [*before, *command(directory, *words)], stderr=log, env=environment, pass_fds=pass_fds
            )
        it = Daemon(directory, process, notified)
        try:
            told = it.told()
            assert told.get("READY") == "1", told
            yield it
        except TimeoutError:
            raise AssertionError(f"pierd did not start:\n{it.log}") from None
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(_END_S)
    assert "Traceback" not in it.log, it.log
