"""Output of processes on the wire, and the talk between a client and a process.

With a terminal there is one stream, and it is sent as it is.  Without, each piece has a head:

    [stream, 0, 0, 0]  stream: 1 stdout, 2 stderr, 3 an error of the engine's
    [size]             32 bits, big-endian
    [piece]            size bytes
"""

from __future__ import annotations

import asyncio
import logging
import struct
from contextlib import aclosing

from pierhead.errors import InvalidInput, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import TypeVar

    from pierhead.api.duplex import Duplex
    from pierhead.api.ports import Attachment

    T = TypeVar("T")

_log = logging.getLogger(__name__)

STREAMS = {"stdout": 1, "stderr": 2, "systemerr": 3}
_HEAD = struct.Struct(">BxxxL")
DEFAULT_DETACH_KEYS = b"\x10\x11"
"""Ctrl-P, Ctrl-Q."""


def frame(stream: str, piece: bytes) -> bytes:
    """The piece with its head."""
    return _HEAD.pack(STREAMS[stream], len(piece)) + piece


def frame_lines(stream: str, piece: bytes) -> bytes:
    """Each line of the piece with a head of its own: many a client takes a frame of a log for a line."""
    number = STREAMS[stream]
    *lines, last = piece.split(b"\n")
    frames = [_HEAD.pack(number, len(line) + 1) + line + b"\n" for line in lines]
    return b"".join(frames) + (frame(stream, last) if last else b"")


def show(stream: str, piece: bytes, *, terminal: bool) -> bytes:
    """The piece as it is sent."""
    return piece if terminal else frame(stream, piece)


async def framed(pieces: AsyncIterator[tuple[str, bytes]], *, terminal: bool) -> AsyncGenerator[bytes, None]:
    """All lines of a log as they are sent; an error on the way is the last of them."""
    async with closing(pieces):
        try:
            async for stream, piece in pieces:
                yield piece if terminal else frame_lines(stream, piece)
        except PierheadError as error:
            yield show("systemerr", f"{error.message}\n".encode(), terminal=terminal)


class _Closable:
    """An iterator that is no generator has nothing to close."""

    async def aclose(self) -> None:
        """Nothing."""


def closing(iterator: AsyncIterator[T]) -> aclosing[_Closable]:
    """A context manager: the iterator is closed at its end."""
    return aclosing(iterator if hasattr(iterator, "aclose") else _Closable())  # type: ignore[arg-type]


# Keys that end an attachment


def parse_detach_keys(text: str) -> bytes:
    r"""``ctrl-p,ctrl-q``: characters, or ``ctrl-`` and one of ``a-z @ [ \ ] ^ _``; "" is the default.

    Raises:
        InvalidInput: it is something else.
    """
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(letter) != 1 or not letter.isascii():
            raise _unknown_keys(text)
        if letter == word:
            keys += letter.encode()
        elif letter in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            keys.append(ord(letter.upper()) & 0x1F)
        else:
            raise _unknown_keys(text)
    return bytes(keys)


def _unknown_keys(text: str) -> InvalidInput:
    hint = "write them as ctrl-p,ctrl-q"
    return InvalidInput(f"Invalid detach keys ({text}) provided", code="bad-keys", hint=hint)


class DetachKeys:
    """Looks for keys in what a client types; they may come one by one."""

    def __init__(self, keys: bytes) -> None:
        """Looks for these."""
        self._keys = keys
        self._seen = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What the process is to read, and whether the keys were pressed.

        What may be their beginning is held back until more comes.
        """
        text = self._keys[: self._seen] + data
        at = text.find(self._keys)
        if at >= 0:
            return text[:at], True
        self._seen = next(
            (
                size
                for size in range(min(len(self._keys), len(text)), 0, -1)
                if self._keys.startswith(text[-size:])
            ),
            0,
        )
        return text[: len(text) - self._seen], False


# The talk


class _Detached(Exception):
    """The keys were pressed."""


async def talk(
    attachment: Attachment, duplex: Duplex, *, stdin: bool, detach_keys: bytes, framed: bool
) -> None:
    """What the process writes has gone to the client, and the other way round, until one of them ended.

    Args:
        attachment: with the process; closed at the end.
        duplex: with the client.
        stdin: whether the process is to read what the client sends.
        detach_keys: end the talk, and not the process; where there is a terminal.
        framed: whether pieces have heads.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            keys = DetachKeys(detach_keys) if attachment.terminal else None
            feeding = tasks.create_task(_feed(attachment, duplex, stdin=stdin, keys=keys))
            output = attachment.output()
            async with closing(output):
                async for stream, piece in output:
                    await duplex.write(show(stream, piece, terminal=not framed))
            await duplex.end()
            feeding.cancel()
    except* (_Detached, ConnectionError):
        pass  # the process goes on, whoever listens
    except* PierheadError as errors:
        _log.debug("a talk has ended: %s", errors.exceptions[0])
    finally:
        await attachment.close()


async def _feed(attachment: Attachment, duplex: Duplex, *, stdin: bool, keys: DetachKeys | None) -> None:
    while data := await duplex.read():
        if not stdin:
            continue
        pressed = False
        if keys is not None:
            data, pressed = keys.feed(data)
        try:
            await attachment.write(data)
        except (PierheadError, ConnectionError):
            stdin = False  # the process has closed its input, and may still write
        if pressed:
            attachment.detached()
            raise _Detached
    if stdin:
        await attachment.close_input()
