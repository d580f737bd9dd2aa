"""What a server wants to know of us: the header ``WWW-Authenticate``, read.

    Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push"
    Basic realm="registry", Bearer realm=…            several challenges may share a header

Source: RFC 9110, 11.2 to 11.6.1; Docker's "Token Authentication Specification".  Pure.
"""

from __future__ import annotations

from pierhead.values import Value

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TOKEN68 = _TOKEN | frozenset("/=")
_SPACE = " \t"


class Challenge(Value):
    """One way in which a server may be satisfied; scheme and names of parameters are in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """A parameter's value."""
        return dict(self.parameters).get(name, default)


def parse_challenges(header: str) -> tuple[Challenge, ...]:
    """The challenges of a header's value; what comes after something malformed is passed over."""
    reader = _Reader(header)
    found: list[Challenge] = []
    while True:
        reader.skip(_SPACE + ",")
        scheme = reader.take(_TOKEN)
        if not scheme:
            return tuple(found)
        found.append(Challenge(scheme=scheme.lower(), parameters=tuple(reader.parameters())))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def skip(self, characters: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1

    def take(self, characters: frozenset[str]) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
        return self._text[start : self._at]

    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of one challenge; stops before the name of the next scheme."""
        found: list[tuple[str, str]] = []
        while True:
            self.skip(_SPACE + ",")
            start = self._at
            name = self.take(_TOKEN)
            self.skip(_SPACE)
            value = self._value() if name else ""
            if value is None or not name:
                self._at = start
                if not found:
                    self._skip_token68()
                return found
            found.append((name.lower(), value))

    def _value(self) -> str | None:
        """What follows a parameter's name; None if the name was none."""
        if self._peek() != "=":
            return None
        self._at += 1
        self.skip(_SPACE)
        if self._peek() == '"':
            return self._quoted()
        return self.take(_TOKEN) or None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _skip_token68(self) -> None:
        """A challenge may have, in place of parameters, one word: it says nothing to us."""
        start = self._at
        word = self.take(_TOKEN68)
        self.skip(_SPACE)
        if not word or self._peek() not in ("", ","):
            self._at = start

    def _quoted(self) -> str:
        self._at += 1
        parts = []
        while self._at < len(self._text) and self._text[self._at] != '"':
            if self._text[self._at] == "\\":
                self._at += 1
            parts.append(self._text[self._at : self._at + 1])
            self._at += 1
        self._at += 1
        return "".join(parts)
