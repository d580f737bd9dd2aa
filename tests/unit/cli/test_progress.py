"""What a person is told of transfers."""

from __future__ import annotations

import os

import pytest

from pierhead.cli.output import Output
from pierhead.cli.progress import Line, TerminalProgress, TransferProgress
from pierhead.oci.image import LAYER_GZIP, MANIFEST, Descriptor

NAME = "registry.example.com/team/box:1"
ONE = Descriptor(media_type=LAYER_GZIP, digest="sha256:" + "1" * 64, size=2_000_000)
TWO = Descriptor(media_type=LAYER_GZIP, digest="sha256:" + "2" * 64, size=0)


class Clock:
    """Seconds, as the test sets them."""

    now_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s


@pytest.mark.parametrize(
    ("done", "width", "text"),
    [
        (0, 100, "111111111111: Downloading  [>                   ]  0B/2MB"),
        (1_000_000, 100, "111111111111: Downloading  [==========>         ]  1MB/2MB"),
        (2_000_000, 100, "111111111111: Downloading  [====================]  2MB/2MB"),
        (1_000_000, 40, "111111111111: Downloading  1MB/2MB"),
    ],
)
def test_bars(done: int, width: int, text: str) -> None:
    """As long as what is done; none where there is no room."""
    line = Line(ONE)
    line.state, line.done_bytes = "Downloading", done
    assert line.format(width) == text


def test_an_end_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing follows it: neither the download of what is unpacked, nor an end of what was there."""
    progress = TransferProgress(Output("pier"))
    progress.planned((ONE, TWO))
    progress.downloading(ONE, 1)
    progress.unpacking(ONE)
    progress.unpacked(ONE)
    progress.complete(ONE)
    progress.exists(TWO)
    progress.unpacked(TWO)
    assert capfd.readouterr().err.splitlines() == [
        "111111111111: Pull complete",
        "222222222222: Already exists",
    ]


def test_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """What begins and ends is told, once, on standard error."""
    progress = TransferProgress(Output("pier"))
    progress.resolved(NAME, Descriptor(media_type=MANIFEST, digest=ONE.digest, size=1), "mirror:5000")
    progress.planned((ONE, TWO))
    for done in range(0, 2_000_001, 500_000):
        progress.downloading(ONE, done)
    progress.verifying(ONE)
    progress.complete(ONE)
    progress.exists(TWO)
    progress.unpacking(ONE)
    progress.unpacked(ONE)
    progress.close()
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "1: Pulling from registry.example.com/team/box (by mirror:5000)",
        "111111111111: Download complete",
        "222222222222: Already exists",
        "111111111111: Pull complete",
    ]


def test_on_a_terminal(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are painted over, not more often than eyes can follow; other lines come above them."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    clock = Clock()
    progress = TerminalProgress(Output("pier"), clock_s=clock)
    progress.planned((ONE, TWO))
    progress.downloading(ONE, 1)
    capfd.readouterr()
    progress.downloading(ONE, 2)
    assert capfd.readouterr().err == ""
    clock.now_s = 1.0
    progress.downloading(ONE, 1_000_000)
    painted = capfd.readouterr().err
    assert painted.startswith("\r\x1b[2A111111111111: Downloading")
    assert painted.count("\n") == 2
    progress.retrying(ONE, "it broke off")
    retold = capfd.readouterr().err
    assert retold.startswith("\r\x1b[2A\x1b[J111111111111: Retrying: it broke off\n\r")
    assert retold.endswith("222222222222: Waiting\x1b[K\n")


def test_more_lines_than_the_terminal_has(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last ones are shown, and no line is longer than the terminal is wide."""
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((20, 4)))
    contents = tuple(ONE.replace(digest=f"sha256:{number:064}") for number in range(10))
    TerminalProgress(Output("pier")).planned(contents)
    lines = capfd.readouterr().err.replace("\x1b[K", "").replace("\r", "").splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 19
