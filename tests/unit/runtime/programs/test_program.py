"""What runtime programs are called with, and what they say."""

from __future__ import annotations

import pytest

from pierhead.errors import OperationFailed, TimedOut
from pierhead.runtime.programs.program import Program, environment, find_program, last_words

RUNC = Program(command=("/usr/sbin/runc", "--debug"), bundle="/run/b")
NOT_FOUND = 'exec: \\"x\\": executable file not found in $PATH'


def test_words() -> None:
    """Its own arguments stand before the verb, and so do ours; each container has a state root of its own."""
    assert RUNC.words("kill", "web", "9", log="/run/b/log") == (
        *("/usr/sbin/runc", "--debug", "--root", "/run/b/state"),
        *("--log", "/run/b/log", "--log-format", "json", "kill", "web", "9"),
    )


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("", ""),
        ("no such container\n", "no such container"),
        ('{"level":"info","msg":"begins"}\n{"level":"error","msg":"it broke."}\n', "it broke"),
        ('{"level":"error","msg":"first"}\n{"level":"error","msg":"last"}\n', "last"),
        ('{"level":"error","msg":"it broke"}\n{"level":"warning","msg":"odd"}\n', "it broke"),
        ('{"level":"error","msg":"' + NOT_FOUND + '"}', NOT_FOUND.replace("\\", "")),
        ('{"cut off', ""),
        (
            "executable file `no-such` not found in $PATH: No such file or directory",
            'exec: "no-such": executable file not found in $PATH',
        ),
        (
            "executable file `/no/such` not found: No such file or directory",
            'exec: "/no/such": executable file not found in $PATH',
        ),
        ("open executable: Permission denied", "open executable: permission denied"),
    ],
)
def test_last_words(said: str, words: str) -> None:
    """Of log lines the last error counts; of text the last line."""
    assert last_words(said) == words


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("runc create failed: out of luck", "runc create failed: out of luck"),
        ("out of luck", "runc create failed: out of luck"),
        ("", "runc create failed: it did not say why"),
    ],
)
def test_failure(said: str, message: str) -> None:
    """The sentence names program and verb once, whether or not the program does."""
    assert RUNC.failure("create", said).message == message


def test_a_program_that_is_not_there() -> None:
    """The error says where it was looked for, and what to do."""
    with pytest.raises(OperationFailed, match="the runtime program /no/such is not there") as caught:
        find_program("/no/such")
    assert "settings" in caught.value.hint
    assert find_program("sh").endswith("/sh")


def test_a_program_that_hangs() -> None:
    """Who asks says how long it may take."""
    hanging = Program(command=("/bin/sh", "-c", "exec sleep 100"), bundle="/run/b")
    with pytest.raises(TimedOut, match="sh state did not end within 0 s"):
        hanging.call("state", "web", timeout_s=0.05)


def test_systemd_speaks_to_us_only() -> None:
    """A runtime would tell our systemd that the container is ready, and hand our sockets to it."""
    own = dict.fromkeys(("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "KEPT"), "1")
    assert environment(own) == {"KEPT": "1"}
