"""What an archive says of one file."""

from __future__ import annotations

from typing import Literal

from pierhead.values import Value

Kind = Literal["file", "directory", "symlink", "hardlink", "character", "block", "fifo"]


class Entry(Value):
    """One member of an archive, without its data.

    Fields:
        name: as the archive has it, but for a directory's slashes at the end; never to be trusted.
        mode: permission bits with setuid, setgid and sticky (0o7777); the kind stands in ``kind``.
        mtime_ns: nanoseconds since the epoch; negative before 1970.
        size: bytes of a file, holes included; 0 for everything else.
        linkname: a symbolic link's target, or the name of the entry that a hard link is another name of.
        xattrs: extended attributes by their whole names (``user.x``).
        sparse: (offset, length) of what has data, ascending; None for a file without holes.
    """

    name: bytes
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    linkname: bytes = b""
    device_major: int = 0
    device_minor: int = 0
    xattrs: dict[bytes, bytes] = {}  # noqa: RUF012 - nobody changes it
    sparse: tuple[tuple[int, int], ...] | None = None


def shown(name: bytes) -> str:
    """A name from an archive as sentences have it: quoted, printable, and not too long."""
    text = name.decode(errors="replace")
    return repr(text if len(text) <= 160 else f"{text[:120]}...{text[-30:]}")
