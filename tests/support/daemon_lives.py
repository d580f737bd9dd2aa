"""Lives of ``pierd``, one after the other, over the same directories; most of them end by SIGKILL.

    with Lives(directory, "--bridge", "none") as lives:
        lives.begin()
        lives.kill()

A process that has loaded everything already forks for each: a life begins in a tenth of the time that the
interpreter needs, so a hundred of them fit into a test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.api_server import Client
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

_PROGRAM = """
import gc, os, sys
import pierhead.cli.daemon_run
from pierhead.cli.daemon import main

gc.freeze()
for line in sys.stdin:
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pid = os.fork()
    if not pid:
        os.dup2(os.open("/dev/null", os.O_RDWR), 0)
        os.dup2(log, 2)
        os.dup2(log, 1)
        os._exit(main(sys.argv[2:]))
    os.close(log)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
_READY_S = 60.0


class Lives:
    """One daemon at a time."""

    def __init__(self, directory: Path, *words: str) -> None:
        """Args: words are the daemon's flags; its roots are ``data`` and ``exec`` in the directory."""
        self.log_path = directory / "pierd.log"
        self.client = Client(str(directory / "exec/pierd.sock"))
        self.pid = 0
        roots = ("--data-root", str(directory / "data"), "--exec-root", str(directory / "exec"))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(self.log_path), *roots, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pid:
            self.end(signal.SIGTERM)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(_READY_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def begin(self) -> None:
        """A daemon has begun; it may not serve yet."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self.pid = self._read()

    def await_ready(self) -> None:
        """It serves."""
        deadline_s = time.monotonic() + _READY_S
        while True:
            try:
                assert self.client.get("/_ping").status == 200
            except OSError:
                assert time.monotonic() < deadline_s, f"pierd did not start:\n{self.log_path.read_text()}"
                time.sleep(0.02)
            else:
                return

    def end(self, number: int = signal.SIGKILL) -> int:
        """It has ended by the signal; its status as of ``waitpid``."""
        pid, self.pid = self.pid, 0
        os.kill(pid, number)
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())
