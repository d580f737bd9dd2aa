"""Signals by the names and numbers that people write: ``15``, ``TERM``, ``SIGTERM``, ``RTMIN+3``.  Pure."""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal  # the C module alone: `signal` makes enumerations, for 2 ms

NUMBERS = {
    name[3:]: number
    for name in dir(_signal)
    if name.startswith("SIG") and name[3:4] != "_" and isinstance(number := getattr(_signal, name), int)
}
_MOST = _signal.NSIG - 1
_REALTIME = (("RTMIN", "+", _signal.SIGRTMIN, 1), ("RTMAX", "-", _signal.SIGRTMAX, -1))


def parse_signal(text: str, *, least: int = 1) -> int:
    """The number of the signal.

    Args:
        text: as people write it.
        least: 0 where the null signal, which only asks whether a process is there, is one too.

    Raises:
        InvalidInput: there is no such signal.
    """
    found = _number(text.upper().removeprefix("SIG"))
    if found is None or not least <= found <= _MOST:
        hint = f"give a name like TERM or a number from {least} to {_MOST}"
        raise InvalidInput(f"invalid signal: {text}", code="unknown-signal", hint=hint)
    return found


def _number(text: str) -> int | None:
    if text.isascii() and text.isdecimal():
        return int(text) if len(text) < 4 else None
    for name, sign, first, step in _REALTIME:
        found, separator, offset = text.partition(sign)
        if found == name and separator and offset.isdecimal() and len(offset) < 3:
            number = int(first) + step * int(offset)
            return number if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX else None
    return NUMBERS.get(text)
