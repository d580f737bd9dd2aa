"""Help: tables of verbs and flags as text for people.  Loaded when somebody asks, or mistypes."""

from __future__ import annotations

import textwrap

from pierhead.cli.output import STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

    from pierhead.cli.flags import Flag, Verb
    from pierhead.cli.output import Output

_WIDTH, _WIDTH_MIN = 110, 60
_GAP = 2
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


class Painter:
    """Puts emphasis on words, where that is wanted, and knows how long lines may be."""

    def __init__(self, *, colour: bool, width: int = _WIDTH) -> None:
        self._colour = colour
        self.width = max(_WIDTH_MIN, min(_WIDTH, width))

    @classmethod
    def of(cls, output: Output) -> Self:
        """As standard output shows it: a narrow terminal would break lines within words."""
        return cls(colour=output.colour(STDOUT), width=output.width(_WIDTH))

    def bold(self, text: str) -> str:
        """Headings and names."""
        return f"{_BOLD}{text}{_PLAIN}" if self._colour else text

    def dim(self, text: str) -> str:
        """What one may pass over."""
        return f"{_DIM}{text}{_PLAIN}" if self._colour else text


def program_help(
    name: str, about: str, text: str, verbs: Iterable[tuple[str, str]], flags: Sequence[Flag], paint: Painter
) -> str:
    """What ``PROGRAM --help`` prints."""
    lines = [f"{paint.bold(name)}: {about}", "", paint.bold("Usage")]
    lines += [f"  {name} [GLOBAL FLAGS] VERB [FLAGS] [ARGUMENTS]", f"  {name} VERB --help", ""]
    lines += [*_paragraphs(text, paint), paint.bold("Verbs"), *_two_columns(list(verbs), paint), ""]
    lines += [paint.bold("Global flags"), *_flag_lines(flags, paint)]
    return "\n".join(lines) + "\n"


def daemon_help(name: str, about: str, text: str, flags: Sequence[Flag], paint: Painter) -> str:
    """What ``PROGRAM --help`` prints of a program without verbs."""
    lines = [f"{paint.bold(name)}: {about}", "", paint.bold("Usage"), f"  {name} [FLAGS]", ""]
    return (
        "\n".join([*lines, *_paragraphs(text, paint), paint.bold("Flags"), *_flag_lines(flags, paint)]) + "\n"
    )


def verb_help(program: str, verb: Verb, paint: Painter) -> str:
    """What ``PROGRAM VERB --help`` prints."""
    flags = " [FLAGS]" if verb.flags else ""
    usage = f"  {program} {verb.name}{flags} {verb.arguments}".rstrip()
    lines = [f"{paint.bold(f'{program} {verb.name}')}: {verb.about}", "", paint.bold("Usage"), usage, ""]
    lines += _paragraphs(verb.text, paint)
    if verb.flags:
        lines += [paint.bold("Flags"), *_flag_lines(verb.flags, paint), ""]
    if verb.examples:
        lines.append(paint.bold("Examples"))
        for words, about in verb.examples:
            lines += [f"  {paint.dim(f'# {about}')}", f"  {program} {words}"]
        lines.append("")
    lines.append(paint.dim(f"Flags that every verb has, before the verb: {program} --help"))
    return "\n".join(lines) + "\n"


def flag_names(flag: Flag) -> str:
    """``-b, --bundle DIR``."""
    short = f"-{flag.short}, " if flag.short else ""
    return f"{short}--{flag.name} {flag.value}".rstrip()


def flag_about(flag: Flag) -> str:
    """What the flag does, its values and its default."""
    notes = []
    if flag.choices:
        notes.append("or ".join((", ".join(flag.choices[:-1]) + " ", flag.choices[-1])))
    if flag.kind == "list":
        notes.append("may be repeated")
    if flag.default:
        notes.append(f"default: {flag.default}")
    return f"{flag.about} ({'; '.join(notes)})" if notes else flag.about


def _flag_lines(flags: Sequence[Flag], paint: Painter) -> list[str]:
    """Long names stand below each other, whether or not there is a short one."""
    rows = [
        (flag_names(flag) if flag.short else f"    {flag_names(flag)}", flag_about(flag)) for flag in flags
    ]
    return _two_columns(rows, paint)


def _two_columns(rows: Sequence[tuple[str, str]], paint: Painter) -> list[str]:
    left = min(max((len(name) for name, _ in rows), default=0), paint.width // 2)
    indent = " " * (2 + left + _GAP)
    lines = []
    for name, about in rows:
        first, *more = textwrap.wrap(about, paint.width - len(indent)) or [""]
        if len(name) > left:  # too long to stand beside its meaning
            lines.append(f"  {paint.bold(name)}")
            more = [first, *more]
        else:
            lines.append(f"  {paint.bold(name)}{' ' * (left - len(name) + _GAP)}{first}")
        lines += [indent + line for line in more]
    return lines


def _paragraphs(text: str, paint: Painter) -> list[str]:
    lines = []
    for paragraph in text.split("\n\n"):
        if paragraph.strip():
            lines += [*textwrap.wrap(" ".join(paragraph.split()), paint.width), ""]
    return lines
