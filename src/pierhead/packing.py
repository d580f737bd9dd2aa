"""Writes the pack that ``pierhead.pack`` reads: every module of the package, compiled from its source."""

import os
import time
from marshal import dumps

from pierhead.pack import DIRECTORY, LENGTH_BYTES, MAGIC, PACKAGE, fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.pack import Entry

_SETTLED_NS = 2_000_000_000
"""A source that changed so short a time ago may change again and have the same time: clocks of file systems
tick slowly."""


class Unsettled(Exception):
    """A source has just been changed."""


def write_pack(path: str, directory: str = DIRECTORY, *, now_ns: int = 0) -> bool:
    """Whether there is a new pack: not if we may not write there, or a source has just been changed.

    Nothing waits for it, so nothing is an error: commands work without a pack.

    Args:
        path: of the pack.
        directory: of the package.
        now_ns: nanoseconds since 1970; 0 asks the clock.
    """
    temporary = f"{path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError:
        return False
    try:
        with open(fd, "wb") as file:
            file.write(encode_pack(directory, now_ns or time.time_ns()))
        os.rename(temporary, path)
    except (OSError, SyntaxError, Unsettled, KeyboardInterrupt):  # who types ^C has the command's result
        os.unlink(temporary)
        return False
    return True


def encode_pack(directory: str, now_ns: int) -> bytes:
    """The content of a pack of the sources in the package directory.

    Raises:
        Unsettled: one of them has been changed shortly before ``now_ns``.
        SyntaxError: one of them is not Python.
        OSError: one of them cannot be read.
    """
    entries: dict[str, Entry] = {}
    parts: list[bytes] = []
    offset = 0
    for name, place in _modules(directory):
        seen, code = _compile(directory + place, now_ns)
        entries[name] = (place, seen, offset, len(code))
        parts.append(code)
        offset += len(code)
    index = dumps((offset, entries))
    return b"".join((MAGIC, len(index).to_bytes(LENGTH_BYTES, "little"), index, *parts))


def _modules(directory: str) -> list[tuple[str, str]]:
    """Name of each module below the package directory, and its source's path there."""
    found = []
    for parent, _, names in os.walk(directory):
        for name in names:
            if name.endswith(".py"):
                place = f"{parent}/{name}".removeprefix(directory)
                dotted = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                found.append((PACKAGE + dotted, place))
    return sorted(found)


def _compile(path: str, now_ns: int) -> "tuple[tuple[int, int, int], bytes]":
    """The source's fingerprint, from before it was read, and its code."""
    with open(path, "rb") as file:
        seen = fingerprint(os.fstat(file.fileno()))
        source = file.read()
    if now_ns - seen[2] < _SETTLED_NS:
        raise Unsettled
    return seen, dumps(compile(source, path, "exec", dont_inherit=True))
