"""What flags and the configuration file say, brought to one form: keys to values.  Pure.

Whoever says a thing in both places means one of the two, and we do not know which: it is an error, as for
dockerd.
"""

from __future__ import annotations

import tomllib

from pierhead.cli.daemon_options import OPTIONS, OPTIONS_BY_KEY, PASSED_OVER
from pierhead.cli.flags import TRUE_WORDS
from pierhead.errors import InvalidInput
from pierhead.jsontext import parse as parse_json
from pierhead.nearest import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.daemon_options import Option
    from pierhead.cli.flags import Options

    Given = dict[str, Any]
    """Keys to a text, a number, a truth, a tuple of texts, or a dictionary."""


def given_by_flags(options: Options) -> Given:
    """What the command line says.

    Raises:
        InvalidInput: a value is not of its form.
    """
    given: Given = {}
    for option in OPTIONS:
        name = option.flag.name
        if not options.given(name):
            continue
        if option.form != "plain":
            given[option.key] = dict(_pair(f"--{name}", text) for text in options.all(name))
        elif option.flag.kind == "list":
            given[option.key] = options.all(name)
        elif option.flag.kind == "number":
            given[option.key] = options.number(name)
        elif option.flag.kind == "switch":
            given[option.key] = options.switch(name)
        else:
            given[option.key] = options.text(name)
    return given


def _pair(where: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InvalidInput(f"{where} cannot be {text!r}", code="bad-usage", hint="write it as NAME=VALUE")
    return name, value


def parse_file(text: str, path: str) -> dict[str, Any]:
    """The document of a configuration file: TOML by its ending, else JSON.

    Raises:
        InvalidInput: it is none.
    """
    if path.endswith(".toml"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidInput(f"{path} is not TOML: {error}", code="bad-configuration") from None
    found = parse_json(text, name=path) if text.strip() else {}
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}: expected an object", code="bad-configuration")
    return found


def given_by_file(document: dict[str, Any], path: str) -> tuple[Given, tuple[str, ...]]:
    """What a configuration file says, and the keys of docker's that change nothing here.

    Raises:
        InvalidInput: an unknown key, or a value of another type.
    """
    given: Given = {}
    passed_over = tuple(key for key in document if key in PASSED_OVER)
    for key, value in document.items():
        if key in PASSED_OVER:
            continue
        option = OPTIONS_BY_KEY.get(key)
        if option is None:
            near = nearest(key, list(OPTIONS_BY_KEY))
            hint = f"did you mean {near}?" if near else "pierd --help lists what there is"
            raise InvalidInput(f"{path}: unknown key {key!r}", code="unknown-key", hint=hint)
        given[key] = _read(option, value, f"{path}: {key}")
    return given, passed_over


def _read(option: Option, value: Any, where: str) -> Any:
    kind = option.flag.kind
    if option.form != "plain":
        if not isinstance(value, dict):
            raise _wrong(where, "names and values")
        return value
    if kind == "list":
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise _wrong(where, "a list of texts")
        return tuple(value)
    if kind == "number":
        if type(value) is not int:
            raise _wrong(where, "a whole number")
    elif kind == "switch":
        if isinstance(value, str) and value in TRUE_WORDS:
            return True
        if type(value) is not bool:
            raise _wrong(where, "true or false")
    elif not isinstance(value, str):
        raise _wrong(where, "a text")
    if option.flag.choices and value not in option.flag.choices:
        raise _wrong(where, " or ".join(option.flag.choices))
    return value


def _wrong(where: str, expected: str) -> InvalidInput:
    return InvalidInput(f"{where}: expected {expected}", code="bad-configuration")


def merge(by_flags: Given, by_file: Given, path: str) -> Given:
    """Both together.

    Raises:
        InvalidInput: something is said twice.
    """
    both = sorted(by_flags.keys() & by_file.keys())
    if both:
        names = ", ".join(f"{key} (--{OPTIONS_BY_KEY[key].flag.name})" for key in both)
        message = f"given as a flag and in {path}: {names}"
        raise InvalidInput(message, code="given-twice", hint="take it from one of them")
    return {**by_file, **by_flags}
