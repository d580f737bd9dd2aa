"""Docker's command line in tests; PIERHEAD_TEST_DOCKER names another program than Debian's."""

from __future__ import annotations

import os
import select
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.peers import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEADLINE_S = 60


class Docker:
    """The command, told where its daemon is."""

    def __init__(self, host: str, home: Path, *flags: str) -> None:
        program = os.environ.get("PIERHEAD_TEST_DOCKER") or find_program("docker")
        self.words = [program, "--host", host, *flags]
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def __call__(self, *words: str, feed: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
        """A call that ended so."""
        done = subprocess.run(
            [*self.words, *words],
            input=feed,
            env=self.environment,
            capture_output=True,
            check=False,
            timeout=_DEADLINE_S,
        )
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def says(self, *words: str, feed: bytes = b"") -> str:
        """What a call that went well has printed."""
        return self(*words, feed=feed).stdout.decode().strip()

    def lines(self, *words: str) -> list[str]:
        """The same, line by line."""
        return self.says(*words).splitlines()

    def refuses(self, *words: str, status: int = 1) -> str:
        """What a call that failed has said."""
        return self(*words, status=status).stderr.decode()

    def begin(self, *words: str, feed: bytes) -> subprocess.Popen[bytes]:
        """The call runs, has this to read and then the end of it; nobody sees what it writes."""
        ours, theirs = os.pipe()
        os.write(theirs, feed)
        os.close(theirs)
        try:
            return subprocess.Popen(
                [*self.words, *words],
                stdin=ours,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment,
            )
        finally:
            os.close(ours)

    @contextmanager
    def typing(self, *words: str) -> Iterator[Typing]:
        """The call runs at a terminal."""
        ours, theirs = os.openpty()
        try:
            process = subprocess.Popen(
                [*self.words, *words],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=self.environment,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        try:
            yield Typing(process, ours)
        finally:
            process.kill()
            process.wait()
            os.close(ours)


class Typing:
    """Somebody at a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], fd: int) -> None:
        self._process = process
        self._fd = fd
        self._seen = b""

    def type(self, data: bytes) -> None:
        """Keys are pressed."""
        os.write(self._fd, data)

    def see(self, text: bytes) -> None:
        """The text has appeared."""
        deadline_s = time.monotonic() + _DEADLINE_S
        while text not in self._seen:
            assert time.monotonic() < deadline_s, self._seen
            if select.select([self._fd], [], [], 1)[0]:
                try:
                    self._seen += os.read(self._fd, 4096)
                except OSError:  # EIO: nobody has the other end open any more (pty(7))
                    assert text in self._seen, self._seen
        self._seen = self._seen.partition(text)[2]

    def end(self) -> int:
        """How the command ended."""
        return self._process.wait(_DEADLINE_S)
