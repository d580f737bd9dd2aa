"""A program of verbs: reads global flags, finds the verb, performs it, turns errors into words and a status.

Every verb's module is loaded when the verb is called and not before: starting a container takes less time
than loading what all verbs together need.
"""

from __future__ import annotations

import sys

from pierhead.cli.call import Call
from pierhead.cli.flags import BadUsage, Flag, Options, Verb, count_arguments, parse
from pierhead.cli.output import Output, open_log
from pierhead.errors import InvalidInput, PierheadError, Unavailable
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HELP = Flag(name="help", short="h", kind="switch", about="print this")
LOG_FORMAT = Flag(
    name="log-format", value="FORMAT", about="of the log's lines", default="text", choices=("text", "json")
)
DEBUG = Flag(name="debug", kind="switch", about="say what is done, and where an error came from")
VERSION = Flag(name="version", short="v", kind="switch", about="print the version")
SPEAKING = (
    Flag(name="log", value="FILE", about="keep errors and warnings there, too"),
    LOG_FORMAT,
    DEBUG,
    VERSION,
)
"""Flags of programs that people call: where they speak, and how much."""
INTERRUPTED = 130


class Entry(Value):
    """A verb in a program's table.

    Fields:
        name: the word, or two for a verb of a group: ``registry serve``.
        module: where its Verb stands, below ``pierhead.cli``.
        about: one line; the same as the Verb's own.
    """

    name: str
    module: str
    about: str


class Program(Value):
    """A program.

    Fields:
        name: of the command.
        about: one line.
        text: paragraphs for its help.
        flags: global ones, given before the verb.
        entries: its verbs in the order of the help.
        version: what ``--version`` prints.
        settle: makes of the global flags what calls need: (root, cgroup manager).
        aliases: verbs by further names, which the help does not list: ``container ls`` is ``ps``.
        absent: words for verbs that people know from elsewhere, and what there is instead.
    """

    name: str
    about: str
    text: str
    flags: tuple[Flag, ...]
    entries: tuple[Entry, ...]
    version: Callable[[], str]
    settle: Callable[[Options], tuple[str, str]]
    aliases: Mapping[str, str] = {}
    absent: Mapping[str, str] = {}


def find_verb(program: Program, name: str) -> Verb:
    """The verb of this name.

    Raises:
        BadUsage: there is none.
    """
    wanted = program.aliases.get(name, name)
    for entry in program.entries:
        if entry.name == wanted:
            module = __import__(f"pierhead.cli.{entry.module}", fromlist=("VERBS",))
            verb: Verb = module.VERBS[wanted]
            return verb
    group, _, rest = name.partition(" ")
    names = (*(entry.name for entry in program.entries), *program.aliases)
    verbs = sorted(each.partition(" ")[2] for each in names if each.startswith(f"{group} "))
    if verbs and (not rest or rest.startswith("-")):
        hint = f"{program.name} {group} {', '.join(verbs[:-1])} or {verbs[-1]}"
        raise BadUsage(f"{group} needs a verb", hint=hint)
    if group in program.absent:
        raise BadUsage(f"there is no {program.name} {group}", hint=program.absent[group])
    from pierhead.nearest import nearest

    near = nearest(name, names)
    hint = f"did you mean {program.name} {near}?" if near else f"{program.name} --help lists all verbs"
    raise BadUsage(f"unknown verb {name!r}", hint=hint)


def split_verb(program: Program, words: Sequence[str]) -> tuple[str, list[str]]:
    """The verb that the words begin with, of one word or two, and the words after it."""
    names = (*(entry.name for entry in program.entries), *program.aliases)
    count = 2 if any(name.startswith(f"{words[0]} ") for name in names) else 1
    return " ".join(words[:count]), list(words[count:])


def run(program: Program, words: Sequence[str]) -> int:
    """Performs a call; returns the exit status.

    Args:
        program: the program that was called.
        words: what followed its name.
    """
    output = Output(program.name)
    debug = False
    verb: Verb | None = None
    try:
        options, rest = parse((*program.flags, HELP), words, literal=True)
        debug = options.switch("debug")
        output = Output(
            program.name, log=open_log(options.text("log"), options.text("log-format", "text")), debug=debug
        )
        if options.switch("version"):
            output.print(program.version())
            return 0
        if options.switch("help") or not rest or rest[0] == "help":
            return _help(program, rest[1:], output)
        name, rest = split_verb(program, rest)
        verb = find_verb(program, name)
        return _perform(program, verb, rest, options, output)
    except PierheadError as error:
        _fail(output, verb, error, debug=debug)
    except BrokenPipeError:  # who read what we print has read enough
        return 1
    except OSError as error:
        _fail(output, verb, _as_failure(error), debug=debug)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ModuleNotFoundError as error:
        _fail(output, verb, _as_missing_package(error), debug=debug)
    except Exception as error:  # noqa: BLE001 - the edge of the process: callers read the log, not a traceback
        words_of_it = f"internal error: {type(error).__name__}: {error}"
        hint = "" if debug else "this is a bug; --debug before the verb shows where"
        _fail(output, verb, PierheadError(words_of_it, hint=hint), debug=debug)
    finally:
        output.close()
    return verb.error_status if verb is not None else 1


def help_flag(verb: Verb) -> Flag:
    """``--help``, and ``-h`` unless that means something else to the verb."""
    return HELP.replace(short="") if any(flag.short == "h" for flag in verb.flags) else HELP


def _perform(program: Program, verb: Verb, words: Sequence[str], options: Options, output: Output) -> int:
    given, arguments = parse((*verb.flags, help_flag(verb)), words, literal=verb.literal)
    if given.switch("help"):
        from pierhead.cli.help import Painter, verb_help

        output.print(verb_help(program.name, verb, Painter.of(output)))
        return 0
    count_arguments(verb, arguments)
    root, cgroup_manager = ("", "") if verb.stateless else program.settle(options)
    call = Call(
        options=given,
        arguments=tuple(arguments),
        output=output,
        root=root,
        cgroup_manager=cgroup_manager,
        debug=options.switch("debug"),
        program=options,
    )
    output.debug(f"{verb.name} {' '.join(words)} (state under {root}, cgroups by {cgroup_manager})")
    return verb.perform(call)


def _help(program: Program, words: Sequence[str], output: Output) -> int:
    from pierhead.cli.help import Painter, program_help, verb_help

    paint = Painter.of(output)
    if words:
        output.print(verb_help(program.name, find_verb(program, split_verb(program, words)[0]), paint))
        return 0
    rows = [(entry.name, entry.about) for entry in program.entries]
    output.print(program_help(program.name, program.about, program.text, rows, (*program.flags, HELP), paint))
    return 0


def _fail(output: Output, verb: Verb | None, error: PierheadError, *, debug: bool) -> None:
    prefix = verb.error_prefix if verb is not None and not isinstance(error, BadUsage) else ""
    if verb is not None and isinstance(error, BadUsage) and error.hint == "see --help":
        error.hint = f"{output.program} {verb.name} --help lists the flags"
    output.error(error, prefix=prefix)
    for note in getattr(error, "__notes__", ()):
        output.warn(note)
    if debug and sys.exc_info()[0] is not None:
        from traceback import format_exc

        output.debug(format_exc().rstrip())


def _as_missing_package(error: ModuleNotFoundError) -> PierheadError:
    """A package that only some verbs need, and that was not installed with ours."""
    if (error.name or "").partition(".")[0] in ("", "pierhead"):
        return PierheadError(f"internal error: {error}", hint="install the package anew, or run make")
    hint = "pip install 'pierhead[images]'"
    return Unavailable(f"this needs the Python package {error.name}", code="package-missing", hint=hint)


def _as_failure(error: OSError) -> PierheadError:
    """An error of the system that nobody put into words: its file, if it has one, and its reason."""
    reason = (error.strerror or str(error)).lower()
    return InvalidInput(f"{error.filename}: {reason}" if error.filename else reason, code="system-error")
