"""Questions to whoever sits at the terminal: a name, a password that nobody sees.

Questions go to the terminal, never to standard output, which is for what was asked for.
"""

from __future__ import annotations

import os
import sys

from pierhead.cli.flags import BadUsage
from pierhead.cli.output import STDERR


def ask(question: str, wanted: str, *, hint: str) -> str:
    """The answer, in one line.

    Args:
        question: what is shown, as ``Username: ``.
        wanted: what it is, with its article, for the error.
        hint: how to give it without a terminal.

    Raises:
        BadUsage: there is no terminal, or no answer.
    """
    _check_terminal(wanted, hint)
    _show(question)
    line = sys.stdin.readline()
    if not line:
        _show("\n")  # Ctrl-D leaves the cursor in the question's line
    return _answered(line.strip(), wanted, hint)


def ask_secret(question: str, wanted: str, *, hint: str) -> str:
    """As ``ask``, without echo; the terminal is as before afterwards, also after Ctrl-C."""
    from getpass import getpass

    _check_terminal(wanted, hint)
    try:
        answer = getpass(question)
    except EOFError:
        _show("\n")
        answer = ""
    except KeyboardInterrupt:
        _show("\n")
        raise
    return _answered(answer, wanted, hint)


def _check_terminal(wanted: str, hint: str) -> None:
    if not os.isatty(STDERR) or not sys.stdin.isatty():
        raise BadUsage(f"there is no terminal to ask for {wanted}", hint=hint)


def _answered(answer: str, wanted: str, hint: str) -> str:
    if not answer:
        raise BadUsage(f"{wanted} is needed, and none was given", hint=hint)
    return answer


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
