r"""The machine's journal, by its own protocol: one packet for each line, fields in it.

    MESSAGE=hello\nPRIORITY=6\nCONTAINER_NAME=web\n…
    MESSAGE\n<length, 64 bits little endian><bytes>\n        where a value has a line end in it

Source: systemd's "Native Journal Protocol"; docker's documentation of its driver, for the names of fields.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from typing import TYPE_CHECKING

from pierhead.engine.logship.tags import attributes_of, tag_of
from pierhead.engine.naming import SHORT_LENGTH
from pierhead.errors import Unavailable

if TYPE_CHECKING:
    from pierhead.engine.record import Record
    from pierhead.runtime.logs import LogEntry

JOURNAL_SOCKET = "/run/systemd/journal/socket"
_PRIORITIES = {"stdout": b"6", "stderr": b"3"}
_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]")


def encode_fields(fields: dict[str, bytes]) -> bytes:
    """One packet of the protocol."""
    parts = []
    for name, value in fields.items():
        key = name.encode()
        if b"\n" in value:
            parts.append(key + b"\n" + len(value).to_bytes(8, "little") + value + b"\n")
        else:
            parts.append(key + b"=" + value + b"\n")
    return b"".join(parts)


def field_name(name: str) -> str:
    """A label's or a variable's name as the journal takes it: capitals, digits, ``_``, never first."""
    return _NOT_IN_NAMES.sub("_", name.upper()).lstrip("_")


class JournalFields:
    """The fields of a container's lines; parts of a longer line are counted."""

    def __init__(self, record: Record) -> None:
        """Raises InvalidInput where the container's options are none."""
        tag = tag_of(record)
        fields = {
            "CONTAINER_ID": record.id[:SHORT_LENGTH],
            "CONTAINER_ID_FULL": record.id,
            "CONTAINER_NAME": record.name,
            "CONTAINER_TAG": tag,
            "IMAGE_NAME": record.image,
            "SYSLOG_IDENTIFIER": tag,
        }
        extra = {field_name(name): value for name, value in attributes_of(record).items()}
        chosen = {name: value for name, value in extra.items() if name} | fields
        self._fields = encode_fields({name: value.encode() for name, value in chosen.items()})
        self._parts: dict[str, tuple[str, int]] = {}

    def packet(self, entry: LogEntry) -> bytes:
        """What is sent for a line, or for a part of one."""
        fields = {
            "MESSAGE": entry.data.removesuffix(b"\n"),
            "PRIORITY": _PRIORITIES[entry.stream],
            "SYSLOG_TIMESTAMP": entry.time.encode(),
        }
        last = entry.data.endswith(b"\n")
        before = self._parts.pop(entry.stream, None)
        if before is not None or not last:
            name, number = before or (entry.time, 0)
            fields["CONTAINER_PARTIAL_ID"] = name.encode()
            fields["CONTAINER_PARTIAL_ORDINAL"] = b"%d" % (number + 1)
            fields["CONTAINER_PARTIAL_LAST"] = b"true" if last else b"false"
            if not last:
                fields["CONTAINER_PARTIAL_MESSAGE"] = b"true"
                self._parts[entry.stream] = name, number + 1
        return encode_fields(fields) + self._fields


class JournalSink:
    """A connection with the journal."""

    def __init__(self, record: Record, path: str = JOURNAL_SOCKET) -> None:
        """Not connected yet; ``path`` is the journal's socket."""
        self._fields = JournalFields(record)
        self._path = path
        self._socket: socket.socket | None = None

    async def open(self) -> None:
        """It can be sent to.

        Raises:
            Unavailable: there is no journal.
        """
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            channel.setblocking(False)
            channel.connect(self._path)
        except OSError as error:
            channel.close()
            reason = "nobody has made" if error.errno == errno.ENOENT else "nobody listens on"
            raise Unavailable(
                f"journald is not enabled on this host: {reason} {self._path}",
                code="no-journal",
                hint="start systemd-journald, or choose another log driver",
            ) from None
        self._socket = channel

    async def send(self, entry: LogEntry) -> None:
        """The journal has the line; waits while its queue is full.

        Raises:
            OSError: the journal is gone.
        """
        assert self._socket is not None
        await asyncio.get_running_loop().sock_sendall(self._socket, self._fields.packet(entry))

    def close(self) -> None:
        """The connection is given up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
