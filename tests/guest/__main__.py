"""The command line of the guest machine: see README.md."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.guest import image, machine
from tests.support.debian import DebianError

EXIT_TIMED_OUT = 124
EXIT_NO_MACHINE = 125


def say(text: str) -> None:
    """Writes a line about the machine, never mixed with the command's own output on stdout."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


def _parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/guest/run",
        description="Runs COMMAND here as root in a virtual machine with cgroup v2, systemd and AppArmor.",
        epilog=f"Exits as COMMAND does; {EXIT_TIMED_OUT}: it took too long; {EXIT_NO_MACHINE}: no machine.",
    )
    parser.add_argument(
        "--copy",
        action="store_true",
        help="work on a copy of the repository (default: the host's files, read-only)",
    )
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="PATH",
        help="with --copy: also this file or folder of build/ or dist/",
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable for COMMAND"
    )
    parser.add_argument(
        "--memory", type=int, default=1536, metavar="MIB", help="the guest's memory (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=600,
        metavar="S",
        help="how long COMMAND may take (default: %(default)s)",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the guest's console and what took how long"
    )
    parser.add_argument(
        "--kernel", action="append", default=[], metavar="WORD", help="a word for the kernel's command line"
    )
    parser.add_argument("--image", action="store_true", help="only make the image, if there is none")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args(words)
    if options.command[:1] == ["--"]:
        del options.command[0]
    for pair in options.env:
        if "=" not in pair:
            parser.error(f"--env {pair}: not NAME=VALUE")
    for path in options.add:
        if not (image.REPOSITORY / path).exists():
            parser.error(f"--add {path}: there is no such file in the repository")
    if not options.command and not options.image:
        parser.error("which command?")
    return options


def main(words: list[str]) -> int:
    """Returns the exit code of the command line given as `words`."""
    options = _parse(words)
    cache = Path(os.environ.get("PIERHEAD_GUEST_CACHE") or image.REPOSITORY / "build" / "guest")
    try:
        return _run(options, cache.absolute())
    except machine.TimedOut as error:
        say(str(error))
        return EXIT_TIMED_OUT
    except (image.GuestError, DebianError) as error:
        say(str(error))
        return EXIT_NO_MACHINE
    except BrokenPipeError:
        return 128 + signal.SIGPIPE


def _run(options: argparse.Namespace, cache: Path) -> int:
    with machine.signals_raise():
        made = image.ensure(cache, say=say)
        if options.image:
            return 0
        session = machine.Session(
            command=options.command,
            directory=os.getcwd(),
            environment=dict(pair.split("=", 1) for pair in options.env),
            copy=options.copy,
            extra=options.add,
            timeout_s=options.timeout,
            memory_mib=options.memory,
            kernel_words=options.kernel,
        )
        return machine.run(made, session, say=say, verbose=options.verbose)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
