"""Copies of upstreams' contents, kept within a size and an age: the least recently used go first.

What goes is fetched again when it is asked for.  What a client has pushed or mounted is no copy, and a
content that a repository of our own has as well is left alone: nothing would be gained.  What is being served
stays:

    who serves a content holds it        flock(2), shared, on the descriptor that it reads from
    who evicts it tries to hold it alone; whoever has it open already reads on, since an unlinked file stays

Eviction runs beside clients, downloads, collections, and in another process as well.  Rows go first, in one
change, then contents that nobody has (``collect``): whoever asks in between fetches the content anew.

Recency is known to a minute (``USE_STEP_S``), so that not every request writes to the disk.
"""

from __future__ import annotations

import fcntl
import os

from pierhead.errors import NotFound
from pierhead.linux.files import lock_at_once
from pierhead.registry.collect import remove_unwanted
from pierhead.registry.uploads import USE_STEP_S
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pierhead.registry.index import CopyRecord
    from pierhead.registry.settings import Settings
    from pierhead.registry.storage import Storage

_AT_ONCE = 64
"""Copies whose rows go in one change: each flushes the disk, and keeps clients that push waiting."""


class Room(Value):
    """What copies may take: ``bytes_most``, and ``age_s`` since they were last asked for; 0 is no limit."""

    bytes_most: int = 0
    age_s: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Room:
        """As the settings say."""
        return cls(bytes_most=settings.copies_bytes_most, age_s=settings.copies_age_s)

    def __bool__(self) -> bool:
        return bool(self.bytes_most or self.age_s)


class Evicted(Value):
    """How many copies went, and the bytes that were freed."""

    copies: int = 0
    freed_bytes: int = 0


def evict(storage: Storage, room: Room, *, give_up: Callable[[], bool] = lambda: False) -> Evicted:
    """Copies take the room that they may have, or what is left is being served.

    Args:
        storage: the registry's.
        room: what they may take.
        give_up: asked again and again: whether to leave the rest to the next time.
    """
    if not room:
        return Evicted()
    copies = storage.index.copies()
    too_many_bytes = sum(each.size for each in copies) - room.bytes_most if room.bytes_most else 0
    # A note of a copy's use may be this much older than its last use.
    before_s = storage.index.now_s() - room.age_s - USE_STEP_S if room.age_s else -1
    gone, freed_bytes, rest = 0, 0, iter(copies)
    while not give_up():
        batch = _remove_rows(storage, rest, too_many_bytes, before_s)
        if not batch:
            break
        too_many_bytes -= sum(each.size for each in batch)
        gone += len(batch)
        freed_bytes += sum(max(remove_unwanted(storage, each.digest), 0) for each in batch)
    if gone:
        with storage.index.change() as change:
            change.remove_empty_repositories()
    return Evicted(copies=gone, freed_bytes=freed_bytes)


def _remove_rows(
    storage: Storage, copies: Iterator[CopyRecord], too_many_bytes: int, before_s: int
) -> list[CopyRecord]:
    """The next copies that have to go belong to no repository any more."""
    batch: list[CopyRecord] = []
    with storage.index.change() as change:
        for copy in copies:
            if too_many_bytes <= 0 and copy.used_s >= before_s:
                break  # and so were all that follow
            if _is_served(storage, copy.digest):
                continue
            change.remove_copies(copy.digest)
            batch.append(copy)
            too_many_bytes -= copy.size
            if len(batch) == _AT_ONCE:
                break
    return batch


def hold(fd: int) -> None:
    """What is read from this descriptor is not evicted until it is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # it is being evicted at this moment; the open file stays whole


def _is_served(storage: Storage, digest: str) -> bool:
    """Whether somebody holds the content."""
    try:
        fd = storage.content.open(digest)
    except NotFound:
        return False
    try:
        return not lock_at_once(fd)
    finally:
        os.close(fd)
