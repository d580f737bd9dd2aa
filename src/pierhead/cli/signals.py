"""Signals by the names and numbers that people write: ``15``, ``TERM``, ``SIGTERM``, ``RTMIN+3``."""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

NUMBERS = {
    name[3:]: number
    for name in dir(_signal)
    if name.startswith("SIG") and name[3:4] != "_" and isinstance(number := getattr(_signal, name), int)
}
_MOST = _signal.NSIG - 1


def parse_signal(text: str) -> int:
    """The number of the signal.

    Raises:
        InvalidInput: there is no such signal.
    """
    if text.isascii() and text.isdecimal():
        if int(text) <= _MOST:
            return int(text)
        raise _unknown(text)
    name, plus, offset = text.upper().removeprefix("SIG").partition("+")
    number = NUMBERS.get(name)
    if number is not None and not plus:
        return number
    if name == "RTMIN" and offset.isascii() and offset.isdecimal():
        realtime = _signal.SIGRTMIN + int(offset)
        if realtime <= _signal.SIGRTMAX:
            return int(realtime)
    raise _unknown(text)


def _unknown(text: str) -> InvalidInput:
    hint = f"give a name like TERM or a number from 0 to {_MOST}"
    return InvalidInput(f"unknown signal {text!r}", code="unknown-signal", hint=hint)
