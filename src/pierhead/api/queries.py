"""What a query and its headers say, as Docker's server reads them.  Pure."""

from __future__ import annotations

import base64
import binascii

from pierhead import jsontext
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Query = Mapping[str, list[str]]

_FALSE = ("", "0", "no", "false", "none")
_NS = 1_000_000_000
_NS_DIGITS = 9
_SIDE_MOST = 65535


def text(query: Query, name: str, default: str = "") -> str:
    """The first value; the default where there is none."""
    values = query.get(name)
    return values[0] if values else default


def boolean(query: Query, name: str, *, default: bool = False) -> bool:
    """Everything is true but the words for false (moby, httputils.BoolValue)."""
    values = query.get(name)
    return values[0].strip().lower() not in _FALSE if values else default


def number(query: Query, name: str) -> int | None:
    """The number; None where there is none.

    Raises:
        InvalidInput: it is something else.
    """
    value = text(query, name).strip()
    return parse_number(value, name) if value else None


def needed_number(query: Query, name: str) -> int:
    """The number.

    Raises:
        InvalidInput: it is missing, or something else.
    """
    return parse_number(text(query, name).strip(), name)


def parse_number(value: str, name: str) -> int:
    """The whole number that a parameter must be.

    Raises:
        InvalidInput: it is not, or has more than 64 bits.
    """
    digits = value[1:] if value[:1] in ("-", "+") else value
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise InvalidInput(f'invalid value for "{name}": "{value}" is no whole number', code="bad-parameter")
    return int(value)


def size(query: Query) -> tuple[int, int]:
    """A terminal's rows and columns, each of 16 bits (struct winsize, ioctl_tty(2)).

    Raises:
        InvalidInput: one is missing, or no such number.
    """
    found = []
    for name in ("h", "w"):
        wanted = needed_number(query, name)
        if not 0 <= wanted <= _SIDE_MOST:
            message = f'invalid value for "{name}": {wanted} is not within 0 and {_SIDE_MOST}'
            raise InvalidInput(message, code="bad-parameter")
        found.append(wanted)
    return found[0], found[1]


def moment_ns(query: Query, name: str) -> int:
    """Unix time from ``SECONDS[.FRACTION]``; 0 where there is none.

    Raises:
        InvalidInput: it is something else.
    """
    value = text(query, name).strip()
    if not value:
        return 0
    seconds, _, fraction = value.partition(".")
    if fraction and not (fraction.isascii() and fraction.isdecimal()):
        raise InvalidInput(f'invalid value for "{name}": "{value}" is no Unix time', code="bad-parameter")
    nanoseconds = int(fraction[:_NS_DIGITS].ljust(_NS_DIGITS, "0")) if fraction else 0
    return max(0, parse_number(seconds, name) * _NS + nanoseconds)


def filters(query: Query) -> dict[str, list[str]]:
    """``{"label": ["a"]}``, or in the older form ``{"label": {"a": true}}``.

    Raises:
        InvalidInput: it is neither.
    """
    value = text(query, "filters")
    if not value:
        return {}
    try:
        found = jsontext.parse(value)
    except InvalidInput:
        raise _bad_filters(f"{value[:80]!r} is not JSON") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _bad_filters("expected an object")
    return {name: _filter_values(name, values) for name, values in found.items()}


def _filter_values(name: str, values: object) -> list[str]:
    if isinstance(values, dict):
        values = list(values)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise _bad_filters(f'expected a list of strings for "{name}"')
    return values


def _bad_filters(what: str) -> InvalidInput:
    hint = 'write filters as {"label": ["name=value"]}'
    return InvalidInput(f"invalid filter: {what}", code="bad-filter", hint=hint)


def credentials(value: str) -> dict[str, Any]:
    """What ``X-Registry-Auth`` has: base64 of a JSON object, of either alphabet, padded or not.

    Raises:
        InvalidInput: it has something else.
    """
    if not value:
        return {}
    plain = value.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        found = jsontext.parse(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    except (ValueError, binascii.Error, InvalidInput):
        raise InvalidInput("invalid X-Registry-Auth header", code="bad-credentials") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput("invalid X-Registry-Auth header", code="bad-credentials")
    return found


def platform(query: Query) -> str:
    """``OS/ARCHITECTURE[/VARIANT]``, also of the JSON that versions from 1.48 on may send; "" for none.

    Raises:
        InvalidInput: it is neither.
    """
    value = text(query, "platform")
    if not value.startswith("{"):
        return value
    try:
        found = jsontext.parse(value)
    except InvalidInput:
        raise InvalidInput(f"invalid platform: {value[:80]!r} is not JSON", code="bad-platform") from None
    parts = [found.get(name, "") for name in ("os", "architecture", "variant")]
    return "/".join(str(part) for part in parts if part)
