"""Leases: what somebody is working with, kept from collections as long as that somebody lives.

    ROOT/leases/ID       locked (flock) by the lease's holder
    table leases         a row for each
    table pins           the digests it holds

The kernel lets go of a lock when its holder dies, however it dies: a lease whose file nobody has locked is
dead.  The file is locked before the row is written, and the row is removed before the file.

A pin is committed before its holder asks whether a content is there.  A collection marks and removes within
one write transaction.  So a content that was found after it was pinned stays: the collection either came
before, and then the content would not have been found, or comes later, and sees the pin.
"""

from __future__ import annotations

import fcntl
import os

from pierhead.errors import Conflict
from pierhead.images.content import ContentStore
from pierhead.linux.files import lock_at_once, remove_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sqlite3 import Connection
    from typing import Self

    from pierhead.images.library.database import Database
    from pierhead.oci.image import Descriptor


_KEY = "lease-"
_ID_LENGTH = 16


class Lease:
    """Keeps contents and layers from collections until it is closed, or its process ends.

    Used by any number of threads.  A context manager.
    """

    def __init__(self, database: Database, content_root: str, path: str, fd: int) -> None:
        """``Library.lease`` makes them; takes the descriptor of the locked file over."""
        self._database = database
        self._path = path
        self._fd = fd
        self.id = os.path.basename(path)
        self.content = ContentStore(content_root, announce=self.pin)
        """The library's contents; whatever is written through this object is pinned first."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pin(self, *digests: str) -> None:
        """No collection takes contents of these digests, nor layers of these chain ids; there or not yet.

        One commit, however many they are.
        """
        self._pin([(self.id, digest, "") for digest in digests])

    def pin_graph(self, root: Descriptor) -> None:
        """No collection takes the root, nor what its documents point at as far as they are here by then."""
        self._pin([(self.id, root.digest, root.media_type)])

    def snapshot_key(self, name: str) -> str:
        """A key for a snapshot that is only worked on while the lease lasts; collections remove it later."""
        return f"{_KEY}{self.id}-{name}"

    def _pin(self, rows: list[tuple[str, str, str]]) -> None:
        if self._fd < 0:
            raise Conflict(f"the lease {self.id} has ended", code="lease-ended")
        with self._database.writing() as connection:
            connection.executemany("INSERT OR IGNORE INTO pins VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Nothing is kept for it any more."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            with self._database.writing() as connection:
                connection.execute("DELETE FROM leases WHERE id = ?", (self.id,))
            remove_if_there(self._path)
        finally:
            os.close(fd)


def take_lease(database: Database, content_root: str, directory: str, *, purpose: str, now_ns: int) -> Lease:
    """A lease without pins."""
    path, fd = _make_locked_file(directory)
    try:
        lease = Lease(database, content_root, path, fd)
        with database.writing() as connection:
            connection.execute("INSERT INTO leases VALUES (?, ?, ?)", (lease.id, purpose, now_ns))
    except BaseException:
        remove_if_there(path)
        os.close(fd)
        raise
    return lease


def _make_locked_file(directory: str) -> tuple[str, int]:
    """A collection may find the file before it is locked, and remove it as a dead one's: then another."""
    while True:
        path = f"{directory}/{os.urandom(_ID_LENGTH // 2).hex()}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.stat(path), os.fstat(fd)):
                return path, fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def lease_of_key(key: str) -> str:
    """The id of the lease that a snapshot's key was made by; "" for other keys."""
    lease_id, dash, _ = key.removeprefix(_KEY).partition("-")
    return lease_id if key.startswith(_KEY) and dash and len(lease_id) == _ID_LENGTH else ""


def is_alive(directory: str, lease_id: str) -> bool:
    """Whether the lease's holder lives."""
    try:
        fd = os.open(f"{directory}/{lease_id}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not lock_at_once(fd)
    finally:
        os.close(fd)


def remove_dead_leases(connection: Connection, directory: str) -> None:
    """Leases whose holders were killed are gone, with their pins, and files that never became leases.

    The caller holds the write transaction.
    """
    for name in os.listdir(directory):
        _remove_if_dead(f"{directory}/{name}")
    known = [row[0] for row in connection.execute("SELECT id FROM leases")]
    dead = [(lease_id,) for lease_id in known if not os.path.exists(f"{directory}/{lease_id}")]
    connection.executemany("DELETE FROM leases WHERE id = ?", dead)


def _remove_if_dead(path: str) -> None:
    """Removed while it is locked: whoever has just made it, and waits for the lock, sees that it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if lock_at_once(fd):
            remove_if_there(path)
    finally:
        os.close(fd)
