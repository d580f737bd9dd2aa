"""Command lines: tables of flags, and the words of a call read by them.

    pier-runtime [global flags] VERB [flags] ARGUMENTS

    --flag VALUE   --flag=VALUE   -flag VALUE   -f VALUE   -f=VALUE   a value
    --flag   --flag=false   -f   -df   -dfVALUE                       a switch; short ones may be joined
    --                                                                the rest are arguments

A long flag may have one dash: callers of runc write ``-no-subreaper``, as its flag library lets them.  The
tables say everything there is to know about a flag, so that help and the reference pages are made of them.

Pure, and small on purpose: argparse alone takes longer to import than a container takes to start.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Literal

    from pierhead.cli.call import Call

    Kind = Literal["switch", "text", "number", "list"]

TRUE_WORDS = frozenset(("1", "t", "T", "true", "TRUE", "True"))
FALSE_WORDS = frozenset(("0", "f", "F", "false", "FALSE", "False"))


class Flag(Value):
    """One flag.

    Fields:
        name: long name without dashes.
        short: one letter, or "" for none.
        kind: ``switch``, ``text``, ``number`` (whole, maybe negative) or ``list`` (may be repeated).
        value: what the value is called in the help, ``DIR``.
        about: what it does, one line, no full stop.
        default: the value when it is not given, in words.
        choices: the only values there are; empty for any.
    """

    name: str
    short: str = ""
    kind: Kind = "text"
    value: str = ""
    about: str
    default: str = ""
    choices: tuple[str, ...] = ()


def quiet_flag(about: str) -> Flag:
    """``--quiet`` of a verb that does this then."""
    return Flag(name="quiet", short="q", kind="switch", about=about)


def at_flag(error: InvalidInput, flags: Mapping[str, str], options: Options) -> InvalidInput:
    """The error, and if it is about what a flag gave, that flag in the place of a document's JSON path.

    Args:
        error: what a check of the whole has found.
        flags: names of flags by the paths of what they give.
        options: the flags of the call.
    """
    for path, name in flags.items():
        if options.given(name) and (error.path == path or error.path.startswith((f"{path}.", f"{path}["))):
            message = error.message.removeprefix(f"{error.path}: ")
            return InvalidInput(f"--{name}: {message}", code=error.code, hint=error.hint)
    return error


class Verb(Value):
    """One verb of a program.

    Fields:
        name: the word.
        arguments: its arguments as in a usage line, ``ID [SIGNAL]``.
        least, most: how many arguments there may be; ``most`` None is any number.
        about: one line, no full stop.
        text: further paragraphs for its help.
        flags: its own.
        examples: pairs of a command line's rest and what it does.
        literal: whether the first argument ends the flags, because a command with its own may follow.
        stateless: whether it needs no place for state, and so works where nobody has one.
        error_status: the program's exit status when the verb fails.
        error_prefix: what errors begin with, where callers expect it.
        perform: does it; returns the exit status.
    """

    name: str
    arguments: str = ""
    least: int = 0
    most: int | None = 0
    about: str
    text: str = ""
    flags: tuple[Flag, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    literal: bool = False
    stateless: bool = False
    error_status: int = 1
    error_prefix: str = ""
    perform: Callable[[Call], int]


class BadUsage(InvalidInput):
    """The words of a call are not of its verb's form."""

    default_code = "bad-usage"


class Options:
    """The values of a table's flags.  Asking for a flag that the table does not have is a KeyError."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._values: dict[str, list[str]] = {flag.name: [] for flag in flags}

    def add(self, name: str, value: str) -> None:
        """The flag was given once more."""
        self._values[name].append(value)

    def given(self, name: str) -> bool:
        """Whether the flag was given at all."""
        return bool(self._values[name])

    def text(self, name: str, default: str = "") -> str:
        """The last value given."""
        values = self._values[name]
        return values[-1] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value given, in order."""
        return tuple(self._values[name])

    def number(self, name: str) -> int | None:
        """The last number given; None when none was."""
        values = self._values[name]
        return int(values[-1]) if values else None

    def switch(self, name: str) -> bool:
        """Whether the switch is on."""
        values = self._values[name]
        return bool(values) and values[-1] == "true"


def parse(flags: Sequence[Flag], words: Sequence[str], *, literal: bool) -> tuple[Options, list[str]]:
    """Values of flags, and the arguments between and after them.

    Args:
        flags: those that are known.
        words: of the command line.
        literal: whether the first argument ends the flags.

    Raises:
        BadUsage: an unknown flag, a missing or unfit value.
    """
    reader = _Reader(flags, words)
    arguments: list[str] = []
    while reader.more():
        word = reader.next()
        if word == "--":
            return reader.options, arguments + reader.rest()
        if len(word) > 1 and word[0] == "-":
            reader.flag(word)
        else:
            arguments.append(word)
            if literal:
                return reader.options, arguments + reader.rest()
    return reader.options, arguments


def count_arguments(verb: Verb, arguments: Sequence[str]) -> None:
    """The verb can be called with so many arguments.

    Raises:
        BadUsage: it cannot.
    """
    count = len(arguments)
    if count < verb.least:
        wanted = verb.arguments.split()[count].strip("[].") if verb.arguments else "more"
        raise BadUsage(f"{verb.name} needs {_a(wanted)}", hint=f"the form is: {verb.name} {verb.arguments}")
    if verb.most is not None and count > verb.most:
        form = f"{verb.name} {verb.arguments}".rstrip()
        raise BadUsage(f"{verb.name} does not take {arguments[verb.most]!r}", hint=f"the form is: {form}")


def _a(noun: str) -> str:
    return f"an {noun}" if noun[0] in "AEIO" else f"a {noun}"


class _Reader:
    """The words of one command line, consumed from the left."""

    def __init__(self, flags: Sequence[Flag], words: Sequence[str]) -> None:
        self.options = Options(flags)
        self._words = words
        self._at = 0
        self._long = {flag.name: flag for flag in flags}
        self._short = {flag.short: flag for flag in flags if flag.short}

    def more(self) -> bool:
        return self._at < len(self._words)

    def next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def rest(self) -> list[str]:
        return list(self._words[self._at :])

    def flag(self, word: str) -> None:
        """Takes a word that begins with a dash, and its value where that is a word of its own."""
        name, equals, value = word.lstrip("-").partition("=")
        flag = self._long.get(name) or self._short.get(name)
        if flag is None or word.startswith("---"):
            self._cluster(word, name)
            return
        self._take(flag, word.partition("=")[0], value if equals else None)

    def _take(self, flag: Flag, shown: str, value: str | None) -> None:
        if flag.kind == "switch":
            self.options.add(flag.name, _truth(shown, value))
            return
        if value is None:
            if not self.more():
                raise BadUsage(f"{shown} needs a value", hint=f"{shown} {flag.value}: {flag.about}")
            value = self.next()
        _check(flag, shown, value)
        self.options.add(flag.name, value)

    def _cluster(self, word: str, name: str) -> None:
        """Short flags behind one dash, ``-dt``; what follows one that is no switch is its value, ``-p80``."""
        if word.startswith("--"):
            raise self._unknown(word)
        found: list[Flag] = []
        after = word[1:]
        while after and after[0] != "=" and (not found or found[-1].kind == "switch"):
            flag = self._short.get(after[0])
            if flag is None:
                raise self._unknown(word)
            found.append(flag)
            after = after[1:]
        if after and after[0] != "=" and self._near(name):
            raise self._unknown(word)
        for flag in found[:-1]:
            self._take(flag, f"-{flag.short}", None)
        self._take(found[-1], f"-{found[-1].short}", after.removeprefix("=") if after else None)

    def _near(self, name: str) -> str:
        """The long flag that somebody who typed ``name`` meant; "" if none is near."""
        from pierhead.nearest import nearest

        return nearest(name, list(self._long))

    def _unknown(self, word: str) -> BadUsage:
        shown = word.partition("=")[0]
        near = self._near(shown.lstrip("-"))
        return BadUsage(f"unknown flag {shown}", hint=f"did you mean --{near}?" if near else "see --help")


def _truth(shown: str, value: str | None) -> str:
    if value is None or value in TRUE_WORDS:
        return "true"
    if value in FALSE_WORDS:
        return "false"
    raise BadUsage(f"{shown} is a switch: true or false, not {value!r}")


def _check(flag: Flag, shown: str, value: str) -> None:
    if flag.kind == "number":
        digits = value[1:] if value[:1] in ("-", "+") else value
        if not (digits.isascii() and digits.isdecimal()):
            raise BadUsage(f"{shown} needs a whole number, not {value!r}")
    if flag.choices and value not in flag.choices:
        raise BadUsage(f"{shown} cannot be {value!r}", hint=f"it can be {' or '.join(flag.choices)}")
