"""An OCI runtime program, and what it says.

Source: runtime-spec runtime.md; the command line that runc, crun and runsc share
(https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md).
"""

from __future__ import annotations

import os
import re

from pierhead import jsontext
from pierhead.errors import InvalidInput, OperationFailed, PierheadError, TimedOut
from pierhead.linux import files, process
from pierhead.linux.refusals import refused
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOG = "log"
PID_FILE = "pid"
_PROGRAM_FILE = "program.json"
VERB_S = 120.0
"""How long a verb of the program may take."""
ASIDE_S = 10.0
"""The same of one that an engine's start waits for, and can do without."""
_SAID_MAX = 65536
_MISSING = re.compile("executable file `([^`]*)` not found(?: in \\$PATH)?: No such file or directory")
_NOT_FOR_PROGRAMS = ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What systemd says to us: a runtime would hand it on to the container."""


class Program(Value):
    """An OCI runtime program, as it is called for one container.

    Fields:
        command: its path, and the options that stand before every verb.
        bundle: the container's directory; see the package.
    """

    command: tuple[str, ...]
    bundle: str

    @property
    def name(self) -> str:
        """As people call it."""
        return os.path.basename(self.command[0])

    def words(self, verb: str, *arguments: str, log: str = "/dev/stderr") -> tuple[str, ...]:
        """The whole command line; what the program has to say goes to the log, one JSON object a line."""
        options = ("--root", f"{self.bundle}/state", "--log", log, "--log-format", "json")
        return (*self.command, *options, verb, *arguments)

    def call(self, verb: str, *arguments: str, log: str = "/dev/stderr", timeout_s: float = VERB_S) -> str:
        """The verb has been done; returns what the program said.

        Args:
            verb: one that ends when it is done.
            arguments: of the verb.
            log: where its messages go; from standard error they come into what is returned.
            timeout_s: after which it is killed.

        Raises:
            OperationFailed: the program failed; the message has its words.
            TimedOut: it took too long, and was killed.
        """
        try:
            code, said = process.run_program(
                self.words(verb, *arguments, log=log),
                path=self.command[0],
                environment=environment(),
                timeout_s=timeout_s,
                said_bytes_max=_SAID_MAX,
            )
        except FileNotFoundError:
            raise missing(self.command[0]) from None
        except TimeoutError:
            raise TimedOut(f"{self.name} {verb} did not end within {timeout_s:.0f} s") from None
        except OSError as error:
            raise refused(f"run {self.command[0]}", error) from error
        if code != 0:
            raise self.failure(verb, said)
        return said

    def failure(self, verb: str, said: str) -> OperationFailed:
        """The error for what the program said when it failed."""
        words = last_words(said).removeprefix(f"{self.name} {verb} failed: ")
        return OperationFailed(
            f"{self.name} {verb} failed: {words or 'it did not say why'}", code="runtime-program"
        )

    def note(self) -> None:
        """How it is called stands in the bundle."""
        write_document(f"{self.bundle}/{_PROGRAM_FILE}", list(self.command))


def write_document(path: str, document: object) -> None:
    """The file, which is new or the program's only, holds the document as JSON."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(jsontext.format_compact(document))


def find_program(path: str) -> str:
    """Where the program is: its absolute path; a name without a slash is looked up in PATH.

    Raises:
        OperationFailed: it is not there, or cannot be run.
    """
    import shutil

    found = shutil.which(path)
    if found is None:
        raise missing(path)
    return os.path.abspath(found)


def missing(path: str) -> OperationFailed:
    """The error for a program that is not there."""
    return OperationFailed(
        f"the runtime program {path} is not there, or cannot be run",
        code="runtime-program-missing",
        hint="install it, or name another path for it in the engine's settings (runtimes)",
    )


def remove_bundle(bundle: str, container_id: str, *, timeout_s: float = VERB_S) -> None:
    """The program knows the container no more, and nothing of its directory is left.

    A program that fails, hangs or is gone takes nothing with it: all that it keeps is in the bundle, and the
    container's processes and cgroup are ended and removed by us as well.
    """
    import shutil

    try:
        words: Any = jsontext.parse(files.read_file(f"{bundle}/{_PROGRAM_FILE}"))
        Program(command=tuple(str(word) for word in words), bundle=bundle).call(
            "delete", "--force", container_id, timeout_s=timeout_s
        )
    except (PierheadError, OSError):
        pass
    shutil.rmtree(bundle, ignore_errors=True)


def environment(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the program has of our environment."""
    return {name: value for name, value in own.items() if name not in _NOT_FOR_PROGRAMS}


def last_words(said: str) -> str:
    """The last error among log lines, as JSON or as text, as the end of a sentence."""
    found = ""
    for line in said.splitlines():
        text = line.strip()
        if text.startswith("{"):
            try:
                entry: Any = jsontext.parse(text)
            except InvalidInput:
                entry = {}
            text = str(entry.get("msg", "")) if entry.get("level") in ("error", "fatal") else ""
        found = text.strip() or found
    return _in_known_words(found.rstrip("."))


def _in_known_words(text: str) -> str:
    """Callers of runtimes know what a missing program is called, as Go has it; crun has words of its own."""
    text = _MISSING.sub(r'exec: "\1": executable file not found in $PATH', text)
    for reason in ("No such file or directory", "Permission denied"):
        text = text.replace(reason, reason.lower())
    return text
