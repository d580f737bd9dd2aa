"""Real monitors over ordinary programs, by init/test/monitor_driver.c, which ``make -C init drivers`` builds.

    with Monitored(driver, tmp_path, [sys.executable, "-c", "print('hello')"], log="json") as monitored:
        record = monitored.wait()

Knows the driver's arguments and what a monitor serves; asks nothing of the runtime that launches containers.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.runtime import wire_table
from pierhead.runtime.attach import AttachClient
from pierhead.runtime.exitrecord import ExitRecord, read_exit_record
from pierhead.runtime.logs import read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Self

    Monitor = Callable[..., "Monitored"]

INIT = Path(__file__).parents[2] / "init"
_FORMATS = {"": wire_table.LOG_NONE, "json": wire_table.LOG_JSON, "cri": wire_table.LOG_CRI}
_PATIENCE_S = 60.0


@cache
def build_drivers() -> None:
    """The driver programs are up to date."""
    done = subprocess.run(["make", "-C", INIT, "drivers"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def until(claim: Callable[[], object], patience_s: float = _PATIENCE_S) -> None:
    """The claim holds, now or within the time."""
    deadline = time.monotonic() + patience_s
    while not claim():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


class Monitored:
    """A program with a monitor over it.

    Attributes:
        directory: where everything of it is: ``attach``, ``log``, ``exit``.
        process: the monitor.
        control: the launcher's end of its socket.
        init_pid: the program.
    """

    def __init__(
        self,
        driver: str,
        directory: Path,
        command: Sequence[str],
        *,
        stdin: bool = False,
        terminal: bool = False,
        late: bool = False,
        log: str = "",
        log_bytes: int = 0,
        log_files: int = 1,
        log_path: Path | None = None,
        oom_path: str = "",
        prefix: Sequence[str] = (),
    ) -> None:
        """``late``: the terminal comes after a while; ``prefix`` is a command that runs the driver."""
        build_drivers()
        self.directory = directory
        self.log_path = log_path or directory / "log"
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        state = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, theirs:
            listener.bind(str(directory / "attach"))
            listener.listen(64)
            fields = {
                "control": theirs.fileno(),
                "state": state,
                "attach": listener.fileno(),
                "stdin": int(stdin),
                "terminal": int(terminal) + int(late),
                "log_format": _FORMATS[log],
                "log_bytes": log_bytes,
                "log_files": log_files,
                "log_path": self.log_path if log else "",
                "oom_path": oom_path,
            }
            arguments = [f"{name}={value}" for name, value in fields.items()]
            self.process = subprocess.Popen(
                [
                    *prefix,
                    INIT / "build" / driver,
                    *arguments,
                    "--",
                    shutil.which(command[0]) or "",
                    *command[1:],
                ],
                pass_fds=(theirs.fileno(), state, listener.fileno()),
                env={**os.environ, "ASAN_OPTIONS": f"log_path={directory}/asan:detect_leaks=0"},
            )
        os.close(state)
        self.control.settimeout(_PATIENCE_S)
        message, self.init_pid = struct.unpack("2I", self.control.recv(64))
        assert message == wire_table.MESSAGE_CHILD
        until(lambda: prefix or self._has_taken_over())

    def _has_taken_over(self) -> bool:
        """Whether it has come as far as waiting, or further."""
        try:
            return os.readlink(f"/proc/{self.process.pid}/cwd") == "/"
        except FileNotFoundError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        if self.process.poll() is None:
            self.process.kill()
            subprocess.run(["kill", "-9", str(self.init_pid)], stderr=subprocess.DEVNULL, check=False)
        self.process.wait()
        complaints = [path.read_text() for path in self.directory.glob("asan*")]
        assert not complaints, complaints[0]

    def attach(self) -> AttachClient:
        """A new client."""
        return AttachClient(self.directory / "attach")

    def record(self) -> ExitRecord | None:
        """The exit record, if it has been written."""
        return read_exit_record(str(self.directory / "exit"))

    def told(self) -> tuple[int, ...]:
        """What the launcher is told of the exit: code, signal, oom."""
        message, *rest = struct.unpack("4I", self.control.recv(64))
        assert message == wire_table.MESSAGE_EXITED
        return tuple(rest)

    def wait(self) -> ExitRecord:
        """The exit record, when the monitor has ended."""
        assert self.process.wait(_PATIENCE_S) == 0
        record = self.record()
        assert record is not None
        return record

    def log_text(self) -> str:
        """The newest log file."""
        return self.log_path.read_text()


# What a program gets to say things byte by byte.
PRELUDE = """\
import os, sys, time, signal
def out(data, fd=1):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
"""


def python(text: str) -> list[str]:
    """A program."""
    return [sys.executable, "-IS", "-c", PRELUDE + text]


KINDS = ("monitor_driver", "monitor_driver_sanitized")


@contextlib.contextmanager
def monitors(kind: str, directory: Path) -> Iterator[Monitor]:
    """Starts programs with monitors; all are gone at the end, and the sanitizers have said nothing."""
    started: list[Monitored] = []

    def start(command: list[str], **options: Any) -> Monitored:
        own = options.pop("directory", None) or directory / str(len(started))
        own.mkdir(exist_ok=True)
        started.append(Monitored(kind, own, command, **options))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def logged(monitored: Monitored) -> bytes:
    """Everything that the log has, streams joined."""
    return b"".join(entry.data for entry in read_log(monitored.log_path))


def collect(client: AttachClient, into: list[bytes]) -> None:
    """Everything that the client sees is appended."""
    into.extend(data for _, data in client)
