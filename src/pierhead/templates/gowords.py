"""The inside of a template's action as words.  Pure."""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Kind = Literal["field", "variable", "name", "value", "sign"]

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_CONSTANTS = {"true": True, "false": False, "nil": None}
_PART = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.")


class BadTemplate(InvalidInput):
    """A template is none, or does not go with the value."""

    default_code = "bad-template"


class Word(Value):
    """One word.

    Fields:
        kind: a ``field`` begins with a dot, a ``variable`` with a dollar, a ``name`` is a function's; a
            ``value`` is a constant; a ``sign`` is one of ``( ) | := = ,``.
        text: as it was written.
        value: of a constant.
        joined: whether it follows the one before without a blank.
    """

    kind: Kind
    text: str
    value: Any = None
    joined: bool = False


def split_words(text: str) -> list[Word]:
    """The words.

    Raises:
        BadTemplate: something is no word.
    """
    found: list[Word] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        joined = at > 0 and not text[at - 1].isspace()
        word, at = _word(text, at)
        found.append(word.replace(joined=joined))
    return found


def _word(text: str, at: int) -> tuple[Word, int]:
    letter = text[at]
    if text.startswith(":=", at):
        return Word(kind="sign", text=":="), at + 2
    if letter in "()|,=":
        return Word(kind="sign", text=letter), at + 1
    if letter in '"`':
        return _quoted(text, at)
    if letter in ".$" or letter.isalpha() or letter == "_":
        end = at + 1
        while end < len(text) and text[end] in _PART:
            end += 1
        return _named(text[at:end]), end
    if letter.isdecimal() or letter in "-+":
        end = at + 1
        while end < len(text) and (text[end] in _PART):
            end += 1
        return _number(text[at:end]), end
    raise BadTemplate(f"the template has an unexpected {letter!r}")


def _named(text: str) -> Word:
    if text[0] == ".":
        return Word(kind="field", text=text)
    if text[0] == "$":
        return Word(kind="variable", text=text)
    if text in _CONSTANTS:
        return Word(kind="value", text=text, value=_CONSTANTS[text])
    return Word(kind="name", text=text)


def _number(text: str) -> Word:
    try:
        return Word(kind="value", text=text, value=float(text) if "." in text else int(text, 0))
    except ValueError:
        raise BadTemplate(f"the template has {text!r}, which is no number") from None


def _quoted(text: str, at: int) -> tuple[Word, int]:
    quote = text[at]
    letters: list[str] = []
    begin = at
    at += 1
    while at < len(text):
        letter = text[at]
        if letter == quote:
            return Word(kind="value", text=text[begin : at + 1], value="".join(letters)), at + 1
        if letter == "\\" and quote == '"' and at + 1 < len(text):
            at += 1
            letter = _ESCAPES.get(text[at], text[at])
        letters.append(letter)
        at += 1
    raise BadTemplate("the template has a text without its closing quote")
