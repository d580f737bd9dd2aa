"""Where a process's standard streams come from and go to."""

from __future__ import annotations

import os

import pytest

from pierhead.errors import InvalidInput
from pierhead.runtime import Stdio


def opened_by(stdio: Stdio, *, supervise: bool) -> tuple[dict[str, int], dict[str, int | str | bytes]]:
    """The descriptors and header fields of such streams; what was opened for them is closed again."""
    given: dict[str, int] = {}
    header: dict[str, int | str | bytes] = {}
    opened: list[int] = []
    stdio.open(given, header, opened, supervise=supervise)
    for fd in opened:
        os.close(fd)
    return given, header


def test_inherited_streams_are_passed_on() -> None:
    """By default the process has the caller's own three streams."""
    assert opened_by(Stdio(), supervise=False) == ({"input": 0, "output": 1, "error": 2}, {})


def test_no_stream_is_the_null_device() -> None:
    """None is a descriptor of its own for each stream."""
    given: dict[str, int] = {}
    header: dict[str, int | str | bytes] = {}
    opened: list[int] = []
    Stdio.null().open(given, header, opened, supervise=False)
    try:
        assert sorted(given.values()) == sorted(set(opened))
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in given.values()] == ["/dev/null"] * 3
    finally:
        for fd in opened:
            os.close(fd)
    assert not header


def test_kept_streams_are_pipes() -> None:
    """The monitor has the other end of what it keeps; standard input only where it was asked for."""
    given, header = opened_by(Stdio.kept(), supervise=True)
    assert {"output", "error"} == set(header)
    assert {"monitor output", "monitor error", "input", "output", "error"} == set(given)
    assert "input" in opened_by(Stdio.kept(stdin=True), supervise=True)[1]


def test_nobody_keeps_streams_without_a_monitor() -> None:
    """What a monitor was to keep is not lost silently where there is none."""
    with pytest.raises(InvalidInput, match="standard output is to be kept by a monitor") as caught:
        opened_by(Stdio.kept("/var/log/x"), supervise=False)
    assert caught.value.code == "no-monitor"


WRONG = {
    "standard input is a descriptor, None or 'keep', not 'foo'": Stdio(input="foo"),
    "the path of a log has to be absolute, and is 'x.log'": Stdio.kept("x.log"),
    "there is no log format 'xml': json and cri are known": Stdio(log_path="/x", log_format="xml"),  # type: ignore[arg-type]
    "the log /x has no format": Stdio(log_path="/x"),
    "a log cannot have 1 files of -1 bytes": Stdio.kept("/x", log_bytes=-1),
    "a log cannot have 0 files of 0 bytes": Stdio.kept("/x", log_files=0),
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_streams(words: str) -> None:
    """Each is refused before anything is launched."""
    with pytest.raises(InvalidInput) as caught:
        WRONG[words].check()
    assert str(caught.value) == words


@pytest.mark.parametrize("right", [Stdio(), Stdio.null(), Stdio.kept(), Stdio.kept("/x", log_format="cri")])
def test_right_streams(right: Stdio) -> None:
    """What the constructors give is in order."""
    right.check()
