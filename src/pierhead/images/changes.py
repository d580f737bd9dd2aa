"""Changes to what an image runs, in the words of a Dockerfile: ``CMD ["/bin/sh"]``, ``ENV PATH=$PATH:/opt``.

Pure.  Source: docker import's and docker commit's ``--change``; the Dockerfile reference, "Environment
replacement", ENTRYPOINT, HEALTHCHECK and WORKDIR.
"""

from __future__ import annotations

import posixpath
import re

from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.figures import parse_span_ns
from pierhead.oci.image import Healthcheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.oci.image import Execution

    Change = Callable[[Execution, str], Execution]

_SHELL = ("/bin/sh", "-c")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:[-+])([^{}]*))?\})", re.ASCII)
_OPTION = re.compile(r"--([a-z-]+)=(\S+)\s*")
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_PORT_MAX = 65535
_TIMES = ("interval", "timeout", "start-period", "start-interval")


def apply_changes(execution: Execution, changes: Iterable[str]) -> Execution:
    """The execution with each of the instructions applied.

    Raises:
        InvalidInput: one is none, or has no such form.
    """
    said: set[str] = set()
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        word, rest = word.upper(), rest.strip()
        if not rest:
            raise InvalidInput(f"the change {change!r} says nothing", code="bad-change", hint=_HINT)
        if word not in _CHANGES:
            raise InvalidInput(f"{word or change!r} is no change of an image", code="bad-change", hint=_HINT)
        execution = _CHANGES[word](execution, rest)
        if word == "ENTRYPOINT" and execution.entrypoint and "CMD" not in said:
            execution = execution.replace(cmd=())  # it was for another program
        said.add(word)
    return execution


def _cmd(execution: Execution, rest: str) -> Execution:
    return execution.replace(cmd=_command(rest))


def _entrypoint(execution: Execution, rest: str) -> Execution:
    return execution.replace(entrypoint=_command(rest))


def _env(execution: Execution, rest: str) -> Execution:
    names = dict(_pairs(execution, rest))
    kept = (entry for entry in execution.env if entry.partition("=")[0] not in names)
    return execution.replace(env=(*kept, *(f"{name}={value}" for name, value in names.items())))


def _label(execution: Execution, rest: str) -> Execution:
    return execution.replace(labels={**execution.labels, **dict(_pairs(execution, rest))})


def _expose(execution: Execution, rest: str) -> Execution:
    ports: dict[str, dict[str, str]] = {port: {} for word in _words(execution, rest) for port in _ports(word)}
    return execution.replace(exposed_ports={**execution.exposed_ports, **ports})


def _ports(text: str) -> Iterable[str]:
    """``80/tcp``; of ``80-82`` each."""
    match = _PORTS.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if match is None or not first <= last <= _PORT_MAX:
        hint = "write it as 80, 53/udp or 8000-8010"
        raise InvalidInput(f"EXPOSE cannot be {text!r}", code="bad-change", hint=hint)
    return (f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1))


def _volume(execution: Execution, rest: str) -> Execution:
    paths = _array(rest) or _words(execution, rest)
    return execution.replace(volumes={**execution.volumes, **{path: {} for path in paths}})


def _user(execution: Execution, rest: str) -> Execution:
    return execution.replace(user=_text(execution, rest))


def _workdir(execution: Execution, rest: str) -> Execution:
    """A relative one is below the one before."""
    path = posixpath.normpath(posixpath.join("/", execution.working_dir, _text(execution, rest)))
    return execution.replace(working_dir=f"/{path.lstrip('/')}")


def _stopsignal(execution: Execution, rest: str) -> Execution:
    return execution.replace(stop_signal=_text(execution, rest))


def _onbuild(execution: Execution, rest: str) -> Execution:
    return execution.replace(on_build=(*execution.on_build, rest))


def _healthcheck(execution: Execution, rest: str) -> Execution:
    """``NONE``, or ``[--interval=30s …] CMD COMMAND``."""
    given: dict[str, int] = {}
    text = rest
    while option := _OPTION.match(text):
        name, value = option.groups()
        found = parse_span_ns(value) if name in _TIMES else None
        if name == "retries" and value.isascii() and value.isdecimal() and len(value) < 10:
            found = int(value)
        if found is None:
            hint = "there are --interval, --timeout, --start-period, --start-interval and --retries"
            raise InvalidInput(f"HEALTHCHECK cannot have {option[0].strip()!r}", code="bad-change", hint=hint)
        given[name.replace("-", "_")] = found
        text = text[option.end() :]
    word, _, command = text.partition(" ")
    if word.upper() == "NONE" and not command and not given:
        return execution.replace(healthcheck=Healthcheck(test=("NONE",)))
    command = command.strip()
    if word.upper() != "CMD" or not command:
        hint = "write it as HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE"
        raise InvalidInput(f"the change HEALTHCHECK cannot be {rest!r}", code="bad-change", hint=hint)
    listed = _array(command)
    test = ("CMD-SHELL", command) if listed is None else ("CMD", *listed)
    return execution.replace(healthcheck=Healthcheck(test=test, **given))


_CHANGES: dict[str, Change] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
_HINT = f"there are {', '.join(sorted(_CHANGES)[:-1])} and {max(_CHANGES)}"


def _command(rest: str) -> tuple[str, ...]:
    """A JSON list as it is, also an empty one; everything else for a shell."""
    listed = _array(rest)
    return (*_SHELL, rest) if listed is None else listed


def _array(rest: str) -> tuple[str, ...] | None:
    if not rest.startswith("["):
        return None
    try:
        found = jsontext.parse(rest)
    except InvalidInput:
        return None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        return None
    return tuple(found)


def _pairs(execution: Execution, rest: str) -> list[tuple[str, str]]:
    """``NAME=VALUE …``, or ``NAME VALUE`` to the end."""
    first, _, value = rest.partition(" ")
    if "=" not in first:
        if not value.strip():
            raise InvalidInput(f"the change {rest!r} has no value", code="bad-change")
        return [(_text(execution, first), _text(execution, value.strip()))]
    words = _words(execution, rest)
    pairs = [word.partition("=")[::2] for word in words]
    if any(not name for name, _ in pairs) or any("=" not in word for word in words):
        raise InvalidInput(f"the change {rest!r} is not of the form NAME=VALUE", code="bad-change")
    return [(name, value) for name, value in pairs]


# Words, their quotes and variables


def _text(execution: Execution, text: str) -> str:
    """The text as one word, blanks included."""
    return "".join(_Reader(execution, text).words(splits=False))


def _words(execution: Execution, text: str) -> tuple[str, ...]:
    """The text at its blanks; what is quoted is no blank."""
    return tuple(_Reader(execution, text).words(splits=True))


class _Reader:
    """Reads words as a Dockerfile's: with quotes, escapes, and variables of the image's environment."""

    def __init__(self, execution: Execution, text: str) -> None:
        self._variables = dict(entry.partition("=")[::2] for entry in execution.env)
        self._text = text
        self._at = 0

    def words(self, *, splits: bool) -> Iterable[str]:
        """Each word, without its quotes and with its variables' values."""
        word: list[str] = []
        begun = False
        while self._at < len(self._text):
            if splits and self._text[self._at].isspace():
                self._at += 1
                if begun:
                    yield "".join(word)
                word, begun = [], False
                continue
            word.append(self._piece(self._text[self._at]))
            begun = True
        if begun:
            yield "".join(word)

    def _piece(self, letter: str) -> str:
        """What the next letter begins: something quoted, escaped, a variable, or only itself."""
        if letter == "'":
            return self._take_until("'")
        if letter == '"':
            return self._double_quoted()
        self._at += 1
        if letter == "\\" and self._at < len(self._text):
            self._at += 1
            return self._text[self._at - 1]
        return self._variable() if letter == "$" else letter

    def _take_until(self, quote: str) -> str:
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            raise self._unclosed()
        found, self._at = self._text[self._at + 1 : end], end + 1
        return found

    def _double_quoted(self) -> str:
        found: list[str] = []
        self._at += 1
        while self._text[self._at : self._at + 1] != '"':
            letter = self._text[self._at : self._at + 1]
            if not letter:
                raise self._unclosed()
            self._at += 1
            if letter == "\\" and self._text[self._at : self._at + 1] in ('"', "$", "\\"):
                letter = self._text[self._at]
                self._at += 1
            elif letter == "$":
                letter = self._variable()
            found.append(letter)
        self._at += 1
        return "".join(found)

    def _unclosed(self) -> InvalidInput:
        return InvalidInput(f"the change {self._text!r}: no closing quotation", code="bad-change")

    def _variable(self) -> str:
        """The value of what stands behind a ``$``; of a name that is none the sign itself."""
        match = _VARIABLE.match(self._text, self._at - 1)
        if match is None:
            return "$"
        self._at = match.end()
        value = self._variables.get(match[1] or match[2], "")
        if match[3] == ":+":
            return match[4] if value else ""
        return value or match[4] or ""
