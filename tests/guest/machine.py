"""One machine: boots the image, runs one command, passes its output on as it comes, and leaves no trace.

    here (run)                                 the guest
      | settings, command, sources.tar  ------>  hostfs, read-only
      | setpriv - unshare - sh - linux
      |        <---- console: the kernel's and systemd's words (kept, shown when something fails)
      |        <---- events:  ready | exit N | failed WHY
      |        <---- output, errors of the command, byte for byte
      | end of all four lines: the machine is off

The kernel has a pid namespace of its own that dies with us (PR_SET_PDEATHSIG): no process survives us.
"""

from __future__ import annotations

import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.guest.image import HERE, REPOSITORY, GuestError, Image
from tests.support.debian import ENDS_WITH_US

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

BOOT_TIMEOUT_S = 300
END_TIMEOUT_S = 60
CONSOLE_LINES = 40
NOT_COPIED = {".git", ".venv", "build", "dist", "bench-results"}  # at the top
_ESCAPES = re.compile(rb"\x1b(\[[0-9;:?!]*[A-Za-z]|[()][A-Z0-9]|[A-Z=>])|\r|[\x00-\x08\x0b-\x1f]")


class TimedOut(GuestError):
    """The command ran longer than it may."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a machine is to do, and within which limits.

    Attributes:
        command: the words of the command; run as root, in `directory`.
        directory: its working directory, inside the repository or anywhere in the guest.
        environment: variables that it gets besides the guest's own.
        copy: work on a copy of the repository in the guest's memory, not on the host's files (read-only).
        extra: what to copy besides, of the folders that are left out (build, dist), as repository paths.
        timeout_s: how long the command may take.
        memory_mib: the guest's memory, taken from the host as it is touched.
        kernel_words: more of the kernel's command line.
    """

    command: Sequence[str]
    directory: str
    environment: Mapping[str, str]
    copy: bool
    extra: Sequence[str]
    timeout_s: float
    memory_mib: int
    kernel_words: Sequence[str]


@dataclass(kw_only=True)
class _Observed:
    """What the machine has told so far."""

    console: deque[bytes] = field(default_factory=lambda: deque(maxlen=CONSOLE_LINES))
    events: bytearray = field(default_factory=bytearray)

    def add_console(self, data: bytes) -> None:
        first, *rest = _ESCAPES.sub(b"", data).split(b"\n")
        last = self.console.pop() if self.console else b""
        self.console.extend([last + first, *rest])

    def has(self, event: str) -> str | None:
        for line in self.events.decode(errors="replace").splitlines():
            word, _, value = line.partition(" ")
            if word == event:
                return value
        return None

    def tail(self) -> str:
        lines = [f"  | {line.decode(errors='replace')}" for line in self.console if line.strip()]
        return "\n".join(["the end of its console:", *(lines or ["  (nothing)"])])


def run(image: Image, session: Session, *, say: Callable[[str], None], verbose: bool) -> int:
    """Returns the command's exit code; by then, also when it raises, the machine and its files are gone.

    Raises:
        TimedOut: the command took longer than `session.timeout_s`.
        GuestError: the machine did not come up, or ended before the command did; with its console's end.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pierhead-guest-")))
        _write_session(directory, session)
        started = time.monotonic()
        lines = {name: stack.enter_context(_pipe()) for name in ("console", "output", "errors", "events")}
        stack.enter_context(_kernel(image, directory, session, lines))
        observed = _Observed()
        with selectors.DefaultSelector() as selector:
            sinks: dict[str, Callable[[bytes], None]] = {
                "console": _both(observed.add_console, _to(sys.stderr.fileno()))
                if verbose
                else observed.add_console,
                "output": _to(sys.stdout.fileno()),
                "errors": _to(sys.stderr.fileno()),
                "events": observed.events.extend,
            }
            for name, line in lines.items():
                selector.register(line.reader, selectors.EVENT_READ, sinks[name])
            _listen(selector, observed, until="ready", deadline=started + BOOT_TIMEOUT_S)
            _check_ready(selector, observed, started)
            ready = time.monotonic()
            observed.console.clear()
            _listen(selector, observed, until="exit", deadline=ready + session.timeout_s)
            status = _exit_code(selector, observed, session)
            done = time.monotonic()
            _listen(selector, observed, until=None, deadline=done + END_TIMEOUT_S)
            if verbose:
                ended = time.monotonic() - done
                boot, command = ready - started, done - ready
                say(f"{boot:.1f} s to boot, {command:.1f} s for the command, {ended:.1f} s to end")
        return status


def _listen(
    selector: selectors.BaseSelector, observed: _Observed, *, until: str | None, deadline: float
) -> None:
    """Passes on what comes until the event, the end of all lines, or the deadline."""
    while (
        selector.get_map()
        and (until is None or observed.has(until) is None)
        and observed.has("failed") is None
    ):
        ready = selector.select(deadline - time.monotonic())
        if not ready and time.monotonic() >= deadline:
            return
        for key, _ in ready:
            data = os.read(key.fd, 1 << 16)
            if data:
                key.data(data)
            else:
                selector.unregister(key.fileobj)


def _check_ready(selector: selectors.BaseSelector, observed: _Observed, started: float) -> None:
    if observed.has("ready") is not None:
        return
    failed = observed.has("failed")
    if failed is not None:
        raise GuestError(f"the guest came up but {failed}\n{observed.tail()}")
    if selector.get_map():
        raise GuestError(f"the guest did not come up in {BOOT_TIMEOUT_S} s; {observed.tail()}")
    raise GuestError(f"the guest ended {time.monotonic() - started:.1f} s after its start; {observed.tail()}")


def _exit_code(selector: selectors.BaseSelector, observed: _Observed, session: Session) -> int:
    status = observed.has("exit")
    if status is not None:
        return int(status)
    if selector.get_map():
        raise TimedOut(
            f"{shlex.join(session.command)} took longer than {session.timeout_s:g} s; {observed.tail()}"
        )
    raise GuestError(f"the guest ended before the command did; {observed.tail()}")


@dataclass(kw_only=True)
class _Line:
    """A pipe from the guest to us."""

    reader: int
    writer: int


@contextmanager
def _pipe() -> Iterator[_Line]:
    reader, writer = os.pipe()
    line = _Line(reader=reader, writer=writer)
    try:
        yield line
    finally:
        os.close(line.reader)
        if line.writer >= 0:
            os.close(line.writer)


@contextmanager
def _kernel(image: Image, directory: Path, session: Session, lines: Mapping[str, _Line]) -> Iterator[None]:
    memory_mib = session.memory_mib
    writers = {name: line.writer for name, line in lines.items()}
    process = subprocess.Popen(
        [
            *ENDS_WITH_US,
            # UML must not be process 1: it ends a panic by SIGABRT, which process 1 does not get.
            *("sh", "-c", '"$@"; exit', "sh"),
            *(
                "env",
                f"LD_LIBRARY_PATH={image.directory}",
                f"TMPDIR={_memory_directory(directory, memory_mib)}",
            ),
            *("./linux", f"mem={memory_mib}M", "umid=guest", f"uml_dir={directory}/"),
            *(f"ubd0={directory}/cow,{image.root}", "root=/dev/ubda", "rw"),
            *("con=null", "con0=null,fd:1", f"con1=null,fd:{writers['output']}"),
            *(f"con2=null,fd:{writers['errors']}", f"con3=null,fd:{writers['events']}"),
            *("console=tty0", "loglevel=6", "panic=1", "lsm=apparmor", "TERM=dumb"),
            *("systemd.unit=guest.target", f"guest.run={directory}"),
            *session.kernel_words,
        ],
        cwd=image.directory,
        stdin=subprocess.DEVNULL,
        stdout=writers["console"],
        stderr=writers["console"],
        pass_fds=list(writers.values()),
        start_new_session=True,
    )
    try:
        for line in lines.values():
            os.close(line.writer)
            line.writer = -1
        yield
    finally:
        process.kill()
        process.wait()
        # unshare's child, process 1 of the namespace, dies of that; the lines end when all in it is gone.
        with selectors.DefaultSelector() as selector:
            for line in lines.values():
                selector.register(line.reader, selectors.EVENT_READ, bytes)
            _listen(selector, _Observed(), until=None, deadline=time.monotonic() + END_TIMEOUT_S)


def _memory_directory(directory: Path, memory_mib: int) -> Path:
    """Where the guest's memory lies as an unlinked file: in the host's memory if there is room."""
    shared = Path("/dev/shm")
    executable = shared.is_dir() and not os.statvfs(shared).f_flag & os.ST_NOEXEC
    if executable and shutil.disk_usage(shared).free > memory_mib << 20:
        return shared
    return directory


def _write_session(directory: Path, session: Session) -> None:
    shutil.copy(HERE / "session", directory)
    copy = "yes" if session.copy else "no"
    (directory / "settings").write_text(f"repository={shlex.quote(str(REPOSITORY))}\ncopy={copy}\n")
    environment = {"HOME": "/root", "USER": "root", "LANG": "C.UTF-8", **session.environment}
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    change = f"cd {shlex.quote(session.directory)} || exit 125\n"
    (directory / "command").write_text("".join(exports) + change + f"exec {shlex.join(session.command)}\n")
    if session.copy:
        with tarfile.open(directory / "sources.tar", "w") as archive:
            for path in sorted(REPOSITORY.iterdir()):
                if path.name not in NOT_COPIED:
                    archive.add(path, path.name, filter=_copied)
            for name in session.extra:
                archive.add(REPOSITORY / name, name)


def _copied(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if member.name.endswith(("_cache", "__pycache__")):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _to(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(fd, data) :]

    return write


def _both(first: Callable[[bytes], None], second: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def call(data: bytes) -> None:
        first(data)
        second(data)

    return call


@contextmanager
def signals_raise() -> Iterator[None]:
    """A signal to end unwinds like an error and takes everything down; a second one cannot disturb that."""
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, _frame: object) -> None:
        for each in wanted:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
