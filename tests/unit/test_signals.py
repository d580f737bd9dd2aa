"""Signals as people write them."""

from __future__ import annotations

import signal

import pytest

from pierhead.errors import InvalidInput
from pierhead.signals import parse_signal


@pytest.mark.parametrize("text", ["15", "TERM", "SIGTERM", "term", "sigTerm"])
def test_forms_of_one_signal(text: str) -> None:
    """Number, name, and name with its prefix, in any case."""
    assert parse_signal(text) == signal.SIGTERM


@pytest.mark.parametrize("each", signal.Signals)
def test_every_signal_has_its_name(each: signal.Signals) -> None:
    """What the kernel knows by a name, we do."""
    assert parse_signal(each.name) == each


def test_realtime_signals() -> None:
    """Realtime signals are counted from the first, as kill(1) writes them."""
    assert parse_signal("RTMIN+3") == signal.SIGRTMIN + 3
    assert parse_signal("RTMAX-1") == signal.SIGRTMAX - 1
    assert parse_signal("64") == 64


def test_the_null_signal() -> None:
    """It is one where only somebody's presence is asked for."""
    assert parse_signal("0", least=0) == 0
    with pytest.raises(InvalidInput, match="invalid signal: 0"):
        parse_signal("0")


@pytest.mark.parametrize("text", ["", "NOPE", "65", "-9", "9.0", "TERM+1", "RTMIN+99", "_DFL", "²"])
def test_what_is_no_signal(text: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(InvalidInput, match="invalid signal"):
        parse_signal(text)
