"""Signals by the names and numbers that people write: ``15``, ``TERM``, ``SIGTERM``, ``RTMIN+3``.  Pure."""

from __future__ import annotations

import signal

from pierhead.errors import InvalidInput


def parse_signal(text: str) -> int:
    """The signal's number.

    Raises:
        InvalidInput: there is none; Docker's sentence.
    """
    found = _number(text.upper().removeprefix("SIG"))
    if found is None or not 0 < found < signal.NSIG:
        raise InvalidInput(
            f"invalid signal: {text}", code="unknown-signal", hint="say a number or a name like SIGTERM"
        )
    return found


def _number(text: str) -> int | None:
    if text.isascii() and text.isdecimal():
        return int(text) if len(text) < 4 else None
    for name, sign, first in (("RTMIN", "+", signal.SIGRTMIN), ("RTMAX", "-", signal.SIGRTMAX)):
        found, separator, offset = text.partition(sign)
        if found == name and separator and offset.isdecimal() and len(offset) < 3:
            number = first + (int(offset) if sign == "+" else -int(offset))
            return number if signal.SIGRTMIN <= number <= signal.SIGRTMAX else None
    known = signal.__dict__.get(f"SIG{text}")
    return int(known) if isinstance(known, signal.Signals) else None
