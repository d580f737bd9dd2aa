"""JSON text to Python objects and back, without what ``import json`` costs at start-up (it pulls in ``re``).

CPython's own C scanner and encoder (the ``_json`` module) do the work; the full ``json`` module is loaded
only to say precisely what is wrong with a text that does not parse, or where ``_json`` is missing.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NUMBERS = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


class _ScannerContext:
    """The attributes that the C scanner reads from its context, as json.decoder.JSONDecoder has them."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_NUMBERS.__getitem__)
    memo: dict[str, str] = {}  # noqa: RUF012 - the scanner clears it itself


def _load_scanner() -> Callable[[str, int], tuple[Any, int]] | None:
    try:
        from _json import make_scanner
    except ImportError:
        return None
    context: Any = _ScannerContext()
    return make_scanner(context)


_scan = _load_scanner()


def parse(text: str | bytes, *, name: str = "document") -> Any:
    """The object that a JSON text denotes.

    Args:
        text: UTF-8 bytes or a string.
        name: what the text is, for the error message (a file's path, say).

    Raises:
        InvalidInput: not UTF-8, not JSON; the message gives line and column.
    """
    try:
        string = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not UTF-8 text: {error}", code="not-json") from None
    string = string.strip(" \t\r\n")
    if _scan is not None:
        try:
            value, end = _scan(string, 0)
        except (StopIteration, ValueError, RecursionError, SystemError):
            # SystemError: the scanner takes JSONDecodeError from the json module, and where nobody has
            # imported that it fails without an error (raise_errmsg in CPython's _json.c)
            pass
        else:
            if end == len(string):
                return value
    return _parse_carefully(text if isinstance(text, str) else text.decode(), name)


def _parse_carefully(text: str, name: str) -> Any:
    import json

    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidInput(f"{name} is not JSON: {error.msg} ({where})", code="not-json") from None
    except RecursionError:
        raise InvalidInput(f"{name} is not usable JSON: nested too deeply", code="not-json") from None
    except ValueError:  # Python reads no number of more than 4300 digits
        raise InvalidInput(f"{name} is not usable JSON: a number is too long", code="not-json") from None


def format_compact(value: Any) -> str:
    """``value`` as JSON text on one line, keys in their given order."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value, separators=(",", ":"))
    encode = make_encoder({}, _refuse, encode_basestring_ascii, None, ":", ",", False, False, True)
    return "".join(encode(value, 0))


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} has no JSON form")


def format_indented(value: Any) -> str:
    """``value`` as JSON text for people: two spaces of indent, a final newline."""
    import json

    return json.dumps(value, indent=2) + "\n"
