r"""Our own programs for tests: called as people call them, also on a terminal.

runtime = Command("pier-runtime", "--root", state)
runtime("list")                                            # what it printed; it must succeed
runtime.result("state", "none").returncode                 # 1
with Screen([*runtime.words, "run", "box"], rows=24, columns=80) as screen:
    screen.type("stty size\n")
    screen.wait_for("24 80")
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pierhead
from tests.support.bundles import make_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE_S = 60.0
_numbers = count()
_ENTRIES = {
    "nsinit": "pierhead.cli.nsinit",
    "pier": "pierhead.cli.pier",
    "pier-runtime": "pierhead.cli.runtime",
}


def program(name: str) -> list[str]:
    """The words that call the program: the installed one, or its module where there is none."""
    installed = Path(sys.executable).with_name(name)
    if installed.exists():
        return [str(installed)]
    source = str(Path(pierhead.__file__).parents[1])
    path = f"import sys; sys.path.insert(0, {source!r}); "
    code = path + f"from {_ENTRIES[name]} import main; sys.exit(main(sys.argv[1:]))"
    alone = "-I" if name == "pier" else "-IS"  # images need packages of others
    return [sys.executable, alone, "-c", code]


class Command:
    """A program with its first words; call it with the rest."""

    def __init__(self, name: str, *words: str | os.PathLike[str]) -> None:
        self.words = [*program(name), *(os.fspath(word) for word in words)]

    def result(self, *words: str | os.PathLike[str], **popen: Any) -> subprocess.CompletedProcess[str]:
        """The finished call, whatever its status; output is text."""
        if "input" not in popen:
            popen.setdefault("stdin", subprocess.DEVNULL)
        command = [*self.words, *(os.fspath(word) for word in words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **popen)

    def __call__(self, *words: str | os.PathLike[str], **popen: Any) -> str:
        """What a successful call printed."""
        result = self.result(*words, **popen)
        told = f"{words}: status {result.returncode}\n{result.stdout}{result.stderr}"
        assert result.returncode == 0, told
        return result.stdout

    def start(self, *words: str | os.PathLike[str], **popen: Any) -> subprocess.Popen[str]:
        """The call, running, with its streams piped."""
        for stream in ("stdin", "stdout", "stderr"):
            popen.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen([*self.words, *(os.fspath(word) for word in words)], text=True, **popen)


class Runtime(Command):
    """pier-runtime with a state root, and bundles for it."""

    def __init__(self, directory: Path, rootfs: Path) -> None:
        """Args: directory is the test's own; rootfs is shared by all tests."""
        super().__init__("pier-runtime", "--root", directory / "state")
        self.directory = directory
        self.rootfs = rootfs
        self.root = directory / "state"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """What is left of the test's containers is deleted."""
        for name in self("list", "-q").split():
            self("delete", "--force", name)

    def bundle(self, *args: str, **changes: Any) -> str:
        """A bundle whose process runs ``args``."""
        made = make_bundle(
            self.directory / f"bundle-{next(_numbers)}", args=args or ("true",), rootfs=self.rootfs, **changes
        )
        return str(made)

    def quietly(self, *words: str) -> None:
        """A successful call whose streams, which the container keeps, are nobody's."""
        null = subprocess.DEVNULL
        subprocess.run([*self.words, *words], stdin=null, stdout=null, stderr=null, check=True, timeout=60)

    def id(self) -> str:
        """An id that nobody else uses."""
        return f"pierhead-cli-{os.getpid()}-{next(_numbers)}"

    def run(
        self, *args: str, flags: tuple[str, ...] = (), **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        """A finished ``run`` of a container."""
        return self.result("run", *flags, "--bundle", self.bundle(*args, **changes), self.id())

    def running(self, *args: str, flags: tuple[str, ...] = (), **changes: Any) -> str:
        """The id of a container in the background; its process sleeps if it is not told otherwise."""
        name = self.id()
        bundle = self.bundle(*(args or ("sleep", "1000")), **changes)
        self.quietly("run", "--detach", *flags, "--bundle", bundle, name)
        return name

    def state(self, name: str) -> dict[str, Any]:
        """What ``state`` prints."""
        document: dict[str, Any] = json.loads(self("state", name))
        return document

    def wait_for(self, name: str, status: str) -> None:
        """The container has come to this status."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.state(name)["status"] != status:
            assert time.monotonic() < deadline, f"{name} is {self.state(name)['status']}, not {status}"
            time.sleep(0.02)


class Screen:
    """A command on a terminal of its own.  A context manager: it has ended, by force if need be."""

    def __init__(
        self, words: Sequence[str], *, rows: int = 24, columns: int = 80, cwd: Path | None = None
    ) -> None:
        """Starts the command as the leader of a session that has the terminal."""
        self._master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        env = {**os.environ, "TERM": "xterm"}
        command = ["env", "--default-signal", "setsid", "--ctty", "--wait", *words]  # as from a login
        self._slave = slave
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=cwd)
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(_PATIENCE_S)
        self.hang_up()
        os.close(self._slave)

    def hang_up(self) -> None:
        """The terminal is gone, as when its window is closed."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def resize(self, rows: int, columns: int) -> None:
        """The terminal has this size, and whoever is on it is told."""
        size = b"".join(number.to_bytes(2, "little") for number in (rows, columns, 0, 0))
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def type(self, text: str) -> None:
        """Keys are pressed."""
        os.write(self._master, text.encode())

    def wait_for(self, text: str) -> str:
        """The text has been shown; returns everything shown since the last time, up to it."""
        deadline = time.monotonic() + _PATIENCE_S
        while text not in self.text:
            self._read(deadline, text)
        shown, _, self.text = self.text.partition(text)
        return shown + text

    def _read(self, deadline: float, text: str) -> None:
        left = deadline - time.monotonic()
        ready = select.select([self._master], [], [], max(0.0, left))[0]
        assert ready, f"{text!r} was not shown, but:\n{self.text}"
        self.text += os.read(self._master, 65536).decode(errors="replace")

    def wait(self) -> int:
        """The command's exit status, once it has ended."""
        return self.process.wait(_PATIENCE_S)

    def attributes(self) -> list[Any]:
        """The terminal's present settings."""
        return termios.tcgetattr(self._slave)
