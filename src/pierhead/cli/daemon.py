"""``pierd``: the engine, served by Docker's API.

    pierd                                              at /run/pierhead/pierd.sock
    pierd -H tcp://0.0.0.0:2376 --tlsverify …          for other machines
    docker -H unix:///run/pierhead/pierd.sock run …

Containers do not need it to go on: it may end, be killed and be replaced at any time.
"""

from __future__ import annotations

import gc
import os
from contextlib import suppress

from pierhead.cli.daemon_options import CONFIG_FILE, OPTIONS, VALIDATE
from pierhead.cli.flags import BadUsage, Flag, parse
from pierhead.cli.output import Output
from pierhead.cli.program import HELP, INTERRUPTED, VERSION
from pierhead.errors import InvalidInput, PierheadError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.daemon_settings import DaemonSettings
    from pierhead.cli.flags import Options
    from pierhead.engine.rootlesswords import Rootless

FLAGS: tuple[Flag, ...] = (*(option.flag for option in OPTIONS), CONFIG_FILE, VALIDATE, VERSION)
ABOUT = "the engine: containers, images, volumes and networks, by Docker's API"
TEXT = """
Everything that can be said by a flag can be said in the configuration file, and not in both. SIGTERM stops it
when requests have ended; SIGHUP reads the file anew for levels of the log, times and certificates. Containers
go on without it.
"""


def main(words: Sequence[str]) -> int:
    """Performs a call of ``pierd``; returns the exit status when it has ended."""
    return serve(words, None)


def serve(words: Sequence[str], rootless: Rootless | None) -> int:
    """The same; ``rootless`` tells one that is in an ordinary user's namespaces whose they are."""
    output = Output("pierd")
    try:
        options, arguments = parse((*FLAGS, HELP), words, literal=False)
        if options.switch("version"):
            output.print(_version())
        elif options.switch("help"):
            from pierhead.cli.help import Painter, daemon_help

            output.print(daemon_help("pierd", ABOUT, TEXT, (*FLAGS, HELP), Painter.of(output)))
        elif arguments:
            raise BadUsage(f"pierd does not take {arguments[0]!r}", hint="see --help")
        else:
            return _run(options, words, output, rootless)
    except PierheadError as error:
        output.error(error)
        for note in getattr(error, "__notes__", ()):
            output.warn(note)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _version() -> str:
    import pierhead

    return f"pierd version {pierhead.__version__}\n"


def _run(options: Options, words: Sequence[str], output: Output, rootless: Rootless | None) -> int:
    settings, passed_over = read_settings(options, rootless)
    if options.switch("validate"):
        for key in passed_over:
            output.warn(f"{key} changes nothing")
        output.print("configuration OK\n")
        return 0
    gc.enable()
    if rootless is None and os.geteuid() != 0:
        from pierhead.cli.daemon_rootless import run_rootless

        return run_rootless(settings, words, output)
    try:
        from pierhead.cli.daemon_run import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("", "pierhead"):
            raise
        hint = "pip install 'pierhead[images]'"
        message = f"this needs the Python package {error.name}"
        raise Unavailable(message, code="package-missing", hint=hint) from None
    run(settings, reread=lambda: read_settings(options, rootless)[0], passed_over=passed_over)
    return 0


def read_settings(
    options: Options, rootless: Rootless | None = None
) -> tuple[DaemonSettings, tuple[str, ...]]:
    """What flags and file say now, and the keys of the file that change nothing.

    Args:
        options: the flags.
        rootless: of a daemon in an ordinary user's namespaces.

    Raises:
        InvalidInput: they are not right.
    """
    from pierhead.cli.daemon_given import given_by_file, given_by_flags, merge, parse_file
    from pierhead.cli.daemon_settings import default_roots, make_settings

    user_id = os.geteuid() if rootless is None else rootless.user_id
    roots = default_roots(os.environ, user_id)
    named = options.text("config-file")
    path = named or roots.config_file
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        if named:
            raise InvalidInput(f"{path} does not exist", code="no-configuration") from None
        text = ""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidInput(f"cannot read {path}: {reason}", code="no-configuration") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path} is not UTF-8", code="bad-configuration") from None
    by_file, passed_over = given_by_file(parse_file(text, path), path)
    by_flags = given_by_flags(options)
    try:
        settings = make_settings(merge(by_flags, by_file, path), roots, user_id)
    except InvalidInput as error:
        message = error.message
        with suppress(InvalidInput):
            make_settings(by_flags, roots, user_id)
            message = f"{path}: {message}"  # it is not the flags
        raise InvalidInput(message, code=error.code, hint=error.hint) from None
    if rootless is not None:
        from pierhead.cli.daemon_settings import settle_rootless

        settings = settle_rootless(settings, rootless)
    return settings, passed_over
