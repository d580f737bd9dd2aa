"""Where an engine listens, as ``--host`` and DOCKER_HOST write it.

unix:///run/pierhead/pierd.sock
tcp://192.0.2.7:2376
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.values import Value

_PLAIN_PORT, _TLS_PORT = 2375, 2376


class Address(Value):
    """One engine's place.

    Fields:
        path: of a unix socket; "" for TCP.
        host, port: of a TCP socket.
    """

    path: str = ""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


def parse_address(text: str, *, tls: bool = False) -> Address:
    """The place that the text denotes.

    Raises:
        InvalidInput: it denotes none.
    """
    scheme, separator, rest = text.partition("://")
    if scheme == "unix" and separator and rest.startswith("/"):
        return Address(path=rest)
    if scheme in ("tcp", "http", "https") and separator:
        return _parse_tcp(
            text, rest.partition("/")[0], _TLS_PORT if tls or scheme == "https" else _PLAIN_PORT
        )
    hint = "write unix:///PATH or tcp://HOST:PORT"
    raise InvalidInput(f"{text!r} is no engine's address", code="bad-address", hint=hint)


def _parse_tcp(text: str, rest: str, port: int) -> Address:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        digits = after.removeprefix(":")
        fits = bool(bracket) and (not after or after[0] == ":")
    else:
        host, _, digits = rest.partition(":")
        fits = ":" not in digits
    if not fits or not host or (digits and not (digits.isdecimal() and 0 < int(digits) < 65536)):
        raise InvalidInput(
            f"{text!r} is no engine's address", code="bad-address", hint="write tcp://HOST:PORT"
        )
    return Address(host=host, port=int(digits) if digits else port)
