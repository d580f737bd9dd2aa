"""Words of a command line, read by tables of flags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.cli.flags import BadUsage, Flag, Options, Verb, count_arguments, parse

FLAGS = (
    Flag(name="bundle", short="b", value="DIR", about="the bundle"),
    Flag(name="detach", short="d", kind="switch", about="return at once"),
    Flag(name="tty", short="t", kind="switch", about="a terminal"),
    Flag(name="env", short="e", kind="list", value="NAME=VALUE", about="a variable"),
    Flag(name="preserve-fds", kind="number", value="N", about="descriptors"),
    Flag(name="no-subreaper", kind="switch", about="nothing"),
    Flag(name="format", short="f", about="of output", choices=("table", "json")),
)


def read(*words: str, literal: bool = False) -> tuple[Options, list[str]]:
    """The words read with the flags above."""
    return parse(FLAGS, words, literal=literal)


@pytest.mark.parametrize(
    "words",
    [
        ("--bundle", "x"),
        ("--bundle=x",),
        ("-bundle", "x"),
        ("-bundle=x",),
        ("-b", "x"),
        ("-b=x",),
        ("--b", "x"),
        ("--bundle", "y", "-b", "x"),
    ],
)
def test_forms_of_a_value(words: tuple[str, ...]) -> None:
    """A value may follow as a word or after an equals sign, with one dash or two; the last one holds."""
    options, arguments = read(*words, "id")
    assert options.text("bundle") == "x"
    assert arguments == ["id"]


@pytest.mark.parametrize(
    ("word", "on"),
    [
        ("-d", True),
        ("--detach", True),
        ("-detach", True),
        ("--detach=true", True),
        ("--detach=1", True),
        ("--detach=false", False),
        ("-d=F", False),
    ],
)
def test_switches(word: str, *, on: bool) -> None:
    """A switch is on when it is given, unless it says false as Go's flag library writes it."""
    options, _ = read(word)
    assert options.switch("detach") is on
    assert options.given("detach")


def test_single_dash_of_containerd() -> None:
    """The shim of containerd writes ``-no-subreaper``."""
    assert read("-no-subreaper", "x")[0].switch("no-subreaper")


def test_short_flags_together() -> None:
    """``-dt`` is ``-d -t``, and the last of a cluster may take a value."""
    options, _ = read("-dt", "-tb", "x")
    assert options.switch("detach")
    assert options.switch("tty")
    assert options.text("bundle") == "x"


def test_repeated_flags_are_kept_in_order() -> None:
    """Every value of a list flag is kept."""
    options, _ = read("-e", "A=1", "--env=B=2=3", "-e=C=")
    assert options.all("env") == ("A=1", "B=2=3", "C=")


def test_values_that_look_like_flags() -> None:
    """A value is taken as it is, so that -1 and - can be given."""
    options, _ = read("--preserve-fds", "-1", "--bundle", "-")
    assert options.number("preserve-fds") == -1
    assert options.text("bundle") == "-"


def test_flags_and_arguments_mix() -> None:
    """Where no command can follow, flags may stand behind arguments, as runc's callers write them."""
    options, arguments = read("id", "-d", "KILL", "-b", "x")
    assert arguments == ["id", "KILL"]
    assert options.switch("detach")


def test_a_command_keeps_its_flags() -> None:
    """Where a command can follow, the first argument ends the flags."""
    options, arguments = read("-d", "id", "ls", "-d", "--", "-x", literal=True)
    assert arguments == ["id", "ls", "-d", "--", "-x"]
    assert options.switch("detach")


def test_two_dashes_end_the_flags() -> None:
    """What follows ``--`` is arguments; ``-`` is one anyway."""
    assert read("--", "-d")[1] == ["-d"]
    assert read("-", "x")[1] == ["-", "x"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--bundel", "x"), "unknown flag --bundel", "did you mean --bundle?"),
        (("--detahc=true",), "unknown flag --detahc", "did you mean --detach?"),
        (("-x",), "unknown flag -x", "see --help"),
        (("-dz", "x"), "unknown flag -dz", "see --help"),
        (("---bundle", "x"), "unknown flag ---bundle", "did you mean --bundle?"),
        (("--bundle",), "--bundle needs a value", "--bundle DIR: the bundle"),
        (("--detach=maybe",), "--detach is a switch: true or false, not 'maybe'", ""),
        (("--preserve-fds", "two"), "--preserve-fds needs a whole number, not 'two'", ""),
        (("--preserve-fds=",), "--preserve-fds needs a whole number, not ''", ""),
        (("-f", "xml"), "-f cannot be 'xml'", "it can be table or json"),
    ],
)
def test_mistakes_are_named(words: tuple[str, ...], message: str, hint: str) -> None:
    """A mistake is one sentence with the flag's name, and what to do about it."""
    with pytest.raises(BadUsage) as caught:
        read(*words)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_values_that_were_not_given() -> None:
    """Each kind of question has its answer for a flag that was not given; others are our mistake."""
    options, _ = read()
    assert options.text("bundle", "here") == "here"
    assert options.number("preserve-fds") is None
    assert options.all("env") == ()
    assert not options.switch("detach")
    assert not options.given("detach")
    with pytest.raises(KeyError):
        options.text("bundel")


@given(st.lists(st.text(max_size=8), max_size=6))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    """No words make the reader fail in another way than by saying what is wrong with them."""
    try:
        _, arguments = read(*words)
    except BadUsage:
        return
    assert all(word in "\0".join(words) for word in arguments)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_everything_after_two_dashes_is_literal(words: list[str]) -> None:
    """A caller who puts -- before unknown words gets them back unchanged."""
    assert read("-d", "--", *words)[1] == words


VERB = Verb(name="kill", arguments="ID [SIGNAL]", least=1, most=2, about="", perform=lambda _: 0)


@pytest.mark.parametrize("count", [1, 2])
def test_counts_that_fit(count: int) -> None:
    """As many arguments as the verb's form has are fine."""
    count_arguments(VERB, ["x"] * count)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "kill needs an ID"), (["a", "b", "c"], "kill does not take 'c'")],
)
def test_counts_that_do_not(arguments: list[str], message: str) -> None:
    """A missing argument is named by the verb's form, a spare one by itself."""
    with pytest.raises(BadUsage, match=message) as caught:
        count_arguments(VERB, arguments)
    assert caught.value.hint == "the form is: kill ID [SIGNAL]"
