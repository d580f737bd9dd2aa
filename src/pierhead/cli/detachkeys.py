"""The keys that leave a container alone: ``ctrl-p,ctrl-q`` as docker writes them.  Pure."""

from __future__ import annotations

from pierhead.cli.flags import BadUsage, Flag

DEFAULT_KEYS = "ctrl-p,ctrl-q"
DETACH_KEYS = Flag(
    name="detach-keys", value="KEYS", about="leave it alone when these are pressed", default=DEFAULT_KEYS
)
_CONTROL = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


def parse_keys(text: str) -> bytes:
    """The bytes of the keys.

    Raises:
        BadUsage: one of them is no key.
    """
    found = b""
    for key in (text or DEFAULT_KEYS).split(","):
        letter = key.removeprefix("ctrl-").lower()
        if len(key) == 1 and key.isascii():
            found += key.encode()
        elif key.startswith("ctrl-") and len(letter) == 1 and "a" <= letter <= "z":
            found += bytes([ord(letter) - ord("a") + 1])
        elif key.startswith("ctrl-") and letter in _CONTROL:
            found += bytes([_CONTROL[letter]])
        else:
            hint = "write them as ctrl-p,ctrl-q or x,y,z"
            raise BadUsage(f"--detach-keys cannot be {text!r}", hint=hint)
    return found


class KeyWatch:
    """Looks for the keys among those that are pressed.  The engine looks for them too, and then hangs up."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._before = b""

    def pass_on(self, data: bytes) -> tuple[bytes, bool]:
        """What is sent of it, up to the keys with them, and whether they were pressed."""
        text = self._before + data
        at = text.find(self._keys)
        if at >= 0:
            return data[: at + len(self._keys) - len(self._before)], True
        self._before = text[max(0, len(text) - len(self._keys) + 1) :]
        return data, False
