"""Functions of templates, and how Go writes values.  Pure.

Source: the documentation of Go's packages text/template and fmt; docker's "Format command and log output".
"""

from __future__ import annotations

from pierhead.jsontext import format_compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Nothing:
    """What a map has for a name that it does not have."""


NOTHING = _Nothing()
LAZY = ("and", "or")
"""Functions whose arguments are looked at only as far as they are needed."""


def format_value(value: Any) -> str:
    """The value as Go's fmt writes it."""
    if value is None or value is NOTHING:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}" if value != int(value) or abs(value) >= 1e21 else str(int(value))
    if isinstance(value, dict):
        pairs = (f"{key}:{_inner(each)}" for key, each in sorted(value.items()) if not callable(each))
        return f"map[{' '.join(pairs)}]"
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(_inner, value))}]"
    return str(value)


def _inner(value: Any) -> str:
    return "<nil>" if value is None else format_value(value)


def is_true(value: Any) -> bool:
    """Whether Go's ``if`` takes it for true: what is not empty and not zero."""
    return value is not NOTHING and bool(value)


def to_json(value: Any) -> str:
    """The value as JSON, without the methods."""
    if value is NOTHING:
        return "null"
    if isinstance(value, dict):
        value = {key: each for key, each in value.items() if not callable(each)}
    return format_compact(value)


def _join(values: Any, separator: str = "") -> str:
    return separator.join(format_value(each) for each in values or ())


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or value is NOTHING:
            return NOTHING
        if isinstance(value, dict):
            value = value.get(key, NOTHING)
        else:
            if not -1 < key < len(value):
                raise IndexError(f"there is no item {key}")
            value = value[key]
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[slice(*bounds[:2])] if len(bounds) > 1 else value[bounds[0] if bounds else 0 :]


def _length(value: Any) -> int:
    return 0 if value is None else len(value)


def _and(*parts: Callable[[], Any]) -> Any:
    value: Any = False
    for part in parts:
        value = part()
        if not is_true(value):
            return value
    return value


def _or(*parts: Callable[[], Any]) -> Any:
    value: Any = False
    for part in parts:
        value = part()
        if is_true(value):
            return value
    return value


def _equal(first: Any, *others: Any) -> bool:
    return any(first == other for other in others)


def _pad(text: str, before: int, after: int) -> str:
    return f"{' ' * before}{text}{' ' * after}" if text else text


def _printf(form: str, *values: Any) -> str:
    """Fmt's verbs that one writes in a ``--format``: %s %v %q %d %t %f %x with flags and widths."""
    given = list(values)
    parts = []
    at = 0
    while at < len(form):
        percent = form.find("%", at)
        if percent < 0:
            parts.append(form[at:])
            break
        parts.append(form[at:percent])
        end = percent + 1
        while end < len(form) and form[end] in "+-# 0123456789.":
            end += 1
        verb = form[end : end + 1]
        at = end + 1
        if verb == "%":
            parts.append("%")
            continue
        parts.append(_one(form[percent + 1 : end], verb, given.pop(0)) if given else f"%!{verb}(MISSING)")
    return "".join(parts)


def _one(flags: str, verb: str, value: Any) -> str:
    if verb in ("s", "v", "t"):
        return f"%{flags}s" % format_value(value)
    if verb == "q":
        return f"%{flags}s" % format_compact(format_value(value))
    if verb in ("d", "x", "X", "o", "f", "e", "g", "c"):
        return str(f"%{flags}{verb}" % value)
    return f"%!{verb}({format_value(value)})"


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": to_json,
    "join": _join,
    "split": lambda text, separator: text.split(separator),
    "lower": lambda text: str(text).lower(),
    "upper": lambda text: str(text).upper(),
    "title": lambda text: str(text).title(),
    "pad": _pad,
    "truncate": lambda text, length: text[:length],
    "println": lambda *values: " ".join(map(format_value, values)) + "\n",
    "print": lambda *values: "".join(map(format_value, values)),
    "printf": _printf,
    "len": _length,
    "index": _index,
    "slice": _slice,
    "not": lambda value: not is_true(value),
    "and": _and,
    "or": _or,
    "eq": _equal,
    "ne": lambda first, second: first != second,
    "lt": lambda first, second: first < second,
    "le": lambda first, second: first <= second,
    "gt": lambda first, second: first > second,
    "ge": lambda first, second: first >= second,
}
