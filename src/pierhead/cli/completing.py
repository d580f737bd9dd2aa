"""What can stand at the end of a command line that is being typed.  Pure; names of things others ask for."""

from __future__ import annotations

from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.program import HELP, find_verb, help_flag, split_verb
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.program import Program

CONTAINER, IMAGE, VOLUME, NETWORK, CONTEXT = "container", "image", "volume", "network", "context"
_NOUNS = {"CONTAINER": (CONTAINER,), "IMAGE": (IMAGE,), "VOLUME": (VOLUME,), "NETWORK": (NETWORK,)}
_VERBS = {
    "inspect": (CONTAINER, IMAGE, VOLUME, NETWORK),
    "export": (CONTAINER, IMAGE),
    "images": (IMAGE,),
    "tag": (IMAGE,),
    "context export": (CONTEXT,),
    "context inspect": (CONTEXT,),
    "context rm": (CONTEXT,),
    "context update": (CONTEXT,),
    "context use": (CONTEXT,),
    "container inspect": (CONTAINER,),
    "image inspect": (IMAGE,),
    "volume inspect": (VOLUME,),
    "network inspect": (NETWORK,),
}
"""Verbs whose arguments say NAME, or patterns, and what may be meant."""
_FLAGS = {
    "context": (CONTEXT,),
    "from": (CONTEXT,),
    "network": (NETWORK,),
    "net": (NETWORK,),
    "link": (CONTAINER,),
    "volumes-from": (CONTAINER,),
}
_MODES = (("bridge", ""), ("host", "this machine's"), ("none", "no links"))
_SHELLS = ("bash", "fish", "zsh")


class Wanted(Value):
    """What can stand there.

    Fields:
        words: those that are known, each with what it means.
        kinds: of things whose names can stand there.
        files: whether paths can.
    """

    words: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ()
    files: bool = False


def find_wanted(program: Program, words: Sequence[str]) -> Wanted:
    """What can stand in the place of the last word, which may be begun.

    Args:
        program: that is called.
        words: after its name; the last one may be "".
    """
    *before, begun = words or ("",)
    left, flag = _read_flags((*program.flags, HELP), before, literal=True)
    if flag is not None:
        return _of_flag(flag)
    if not left:
        return _flags_of((*program.flags, HELP)) if begun.startswith("-") else Wanted(words=_first(program))
    name, rest = split_verb(program, left)
    if name in _groups(program):
        return Wanted(words=_seconds(program, name))
    try:
        verb = find_verb(program, name)
    except BadUsage:
        return Wanted()
    return _of_verb(verb, rest, begun)


def _of_verb(verb: Verb, before: Sequence[str], begun: str) -> Wanted:
    flags = (*verb.flags, help_flag(verb))
    arguments, flag = _read_flags(flags, before, literal=verb.literal)
    if flag is not None:
        return _of_flag(flag)
    name, equals, _ = begun.partition("=")
    if begun.startswith("-") and not (verb.literal and arguments):
        if not equals:
            return _flags_of(flags)
        known = next((each for each in flags if f"--{each.name}" == name), None)
        choices = known.choices if known is not None else ()
        return Wanted(words=tuple((f"{name}={choice}", "") for choice in choices))
    if verb.most is not None and len(arguments) >= verb.most:
        return Wanted()
    return _of_argument(verb, len(arguments))


def _of_argument(verb: Verb, at: int) -> Wanted:
    if verb.name == "completion":
        return Wanted(words=tuple((shell, "") for shell in _SHELLS))
    forms = verb.arguments.split()
    if verb.name in _VERBS and (at == 0 or "..." in verb.arguments):
        return Wanted(kinds=_VERBS[verb.name])
    form = forms[at] if at < len(forms) else forms[-1] if forms else ""
    noun = form.strip("[].").partition("[")[0]
    if noun == "CONTAINER:]PATH":
        return Wanted(kinds=(CONTAINER,), files=True)
    if "..." not in form and at >= len(forms):
        return Wanted(files=True)
    return Wanted(kinds=_NOUNS[noun]) if noun in _NOUNS else Wanted(files=True)


def _of_flag(flag: Flag) -> Wanted:
    """Of a flag's value."""
    if flag.choices:
        return Wanted(words=tuple((choice, "") for choice in flag.choices))
    if flag.name in _FLAGS:
        return Wanted(kinds=_FLAGS[flag.name], words=_MODES if NETWORK in _FLAGS[flag.name] else ())
    return Wanted(files=flag.value.startswith(("FILE", "DIR", "[SOURCE", "DEVICE")))


def _flags_of(flags: Sequence[Flag]) -> Wanted:
    return Wanted(words=tuple((f"--{flag.name}", flag.about) for flag in flags))


def _read_flags(
    flags: Sequence[Flag], words: Sequence[str], *, literal: bool
) -> tuple[list[str], Flag | None]:
    """The arguments among the words, and the flag whose value comes next; what is wrong is passed over."""
    by_name = {f"--{flag.name}": flag for flag in flags} | {
        f"-{flag.short}": flag for flag in flags if flag.short
    }
    arguments: list[str] = []
    waiting: Flag | None = None
    for at, word in enumerate(words):
        if waiting is not None:
            waiting = None
        elif word == "--":
            return [*arguments, *words[at + 1 :]], None
        elif len(word) > 1 and word[0] == "-":
            last = by_name.get(word) or by_name.get(f"-{word[-1]}" if word[1] != "-" else "")
            waiting = last if last is not None and last.kind != "switch" else None
        elif literal:
            return list(words[at:]), None
        else:
            arguments.append(word)
    return arguments, waiting


def _groups(program: Program) -> tuple[str, ...]:
    """Words that are verbs only with a second one."""
    names = {entry.name for entry in program.entries}
    firsts = (name.partition(" ")[0] for name in (*names, *program.aliases) if " " in name)
    return tuple(dict.fromkeys(first for first in firsts if first not in names))


def _first(program: Program) -> tuple[tuple[str, str], ...]:
    verbs = [(entry.name, entry.about) for entry in program.entries if " " not in entry.name]
    return (*verbs, *((group, f"verbs of {group}") for group in _groups(program)))


def _seconds(program: Program, group: str) -> tuple[tuple[str, str], ...]:
    about = {entry.name: entry.about for entry in program.entries}
    names = {**{name: name for name in about}, **program.aliases}
    return tuple(
        (name.partition(" ")[2], about[verb]) for name, verb in names.items() if name.startswith(f"{group} ")
    )
