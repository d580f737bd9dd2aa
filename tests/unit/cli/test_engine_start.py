"""What is told of a daemon that was started and ended instead of serving."""

from __future__ import annotations

import pytest

from pierhead.cli.engine_start import read_failure


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["pierd: no tun", "hint: make one"], ("no tun", "make one")),
        (["pierd: warning: a thing", "pierd: no tun", "more"], ("no tun", "")),
        (["level=info", "pierd: no tun"], ("no tun", "")),
        (["Segmentation fault"], ("Segmentation fault", "")),
        ([], ("no word", "")),
    ],
)
def test_why_it_ended(lines: list[str], told: tuple[str, str]) -> None:
    """Its error and not its warnings, with its hint; else its last word."""
    assert read_failure(lines) == told
