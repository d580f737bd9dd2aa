"""What programs say, and the forms of their logs."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.cli.logsocket import JournalLog, SyslogLog
from pierhead.cli.output import FileLog, Output, format_entry, pretty_object, write_all
from pierhead.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.cli.output import Level

MEMBERS = st.dictionaries(
    st.text(max_size=5),
    st.one_of(
        st.text(), st.integers(), st.booleans(), st.none(), st.dictionaries(st.text(max_size=5), st.text())
    ),
)


@given(MEMBERS)
def test_pretty_objects_are_json(document: dict[str, object]) -> None:
    """The short printer writes what the json module writes."""
    assert pretty_object(document) == json.dumps(document, indent=2) + "\n"


@given(st.text())
def test_json_entries(message: str) -> None:
    """An entry is one line of JSON, whatever the message."""
    line = format_entry("error", message, "2026-11-23T07:53:21Z", json=True)
    assert line.count("\n") == 1
    assert json.loads(line) == {"level": "error", "msg": message, "time": "2026-11-23T07:53:21Z"}


def test_text_entries() -> None:
    """Quotes and line breaks of a message do not break an entry."""
    line = format_entry("warning", 'a "b"\nc', "T", json=False)
    assert line == 'time="T" level=warning msg="a \\"b\\"\\nc"\n'


def test_an_error_and_its_hint(capfd: pytest.CaptureFixture[str]) -> None:
    """An error is a line with the program's name, its hint a line of its own, without colours in a pipe."""
    Output("pier-runtime").error(NotFound("no such thing", hint="make it"), prefix="exec failed: ")
    assert capfd.readouterr().err == "pier-runtime: exec failed: no such thing\nhint: make it\n"


def test_warnings_go_to_the_log_if_there_is_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Callers that give a log read standard error as the container's; only errors are said there too."""
    path = tmp_path / "log"
    output = Output("x", log=FileLog(str(path), json=True), debug=True)
    output.warn("odd")
    output.debug("detail")
    output.error(NotFound("gone"))
    levels = [json.loads(line)["level"] for line in path.read_text().splitlines()]
    assert levels == ["warning", "debug", "error"]
    assert capfd.readouterr().err == "x: gone\n"


def test_warnings_without_a_log(capfd: pytest.CaptureFixture[str]) -> None:
    """Without a log a warning is said; debugging is not unless it is wanted."""
    output = Output("x")
    output.warn("odd")
    output.debug("detail")
    assert capfd.readouterr().err == "x: warning: odd\n"


class _Full:
    """A log on a disk that is full."""

    def add(self, level: Level, message: str) -> None:
        """Fails."""
        raise OSError(28, "no space left on device")

    def close(self) -> None:
        """Nothing to do."""


def test_a_log_that_fails_does_not_hide_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    """An error is said on standard error even when its log takes nothing."""
    Output("x", log=_Full()).error(NotFound("gone"))
    assert capfd.readouterr().err == "x: warning: cannot write to the log: no space left on device\nx: gone\n"


def test_writing_to_a_slow_reader() -> None:
    """All of a text is written, also to a pipe that does not block and is read late."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = bytes(300_000)
    child = os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", f"sleep 0.1; test $(wc -c) -eq {len(data)}"],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), (os.POSIX_SPAWN_CLOSE, writing)],
    )
    os.close(reading)
    write_all(writing, data)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    """A datagram socket in the place of the machine's log."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "log"))
    sock.settimeout(60)
    return sock


def test_journal(listener: socket.socket) -> None:
    """An entry of the journal has its fields one a line; those of several lines have a length."""
    with listener:
        log = JournalLog("box", listener.getsockname())
        log.add("error", "one line")
        assert listener.recv(4096) == b"PRIORITY=3\nSYSLOG_IDENTIFIER=box\nMESSAGE=one line\n"
        log.add("debug", "two\nlines")
        assert listener.recv(4096) == (
            b"PRIORITY=7\nSYSLOG_IDENTIFIER=box\nMESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n"
        )
        log.close()


def test_syslog(listener: socket.socket) -> None:
    """An entry of syslog has facility and severity, name and pid, and is one line."""
    with listener:
        log = SyslogLog("", listener.getsockname())
        log.add("warning", "two\nlines")
        log.close()
        assert listener.recv(4096) == f"<28>pier-runtime[{os.getpid()}]: two lines".encode()
