"""SQLite's databases, as everybody here opens them.

Write-ahead log: readers do not wait for writers, and writers wait for one another.  ``user_version`` counts
the migrations that were applied.  A migration never changes once it is released.
Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3

from pierhead.linux.files import ensure_private_file, remove_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from sqlite3 import Connection

RESERVE_BYTES = 1 << 20
_ROOMY_BYTES = 2 * RESERVE_BYTES


def open_database(path: str, *settings: str, busy_s: float) -> Connection:
    """A connection to the database, for any thread; the file is made where there is none.

    It is for its owner alone: environments of containers stand in it, or names of what private registries
    have.  Its companions get its mode from SQLite.

    Args:
        path: of the file.
        settings: of the connection, as ``PRAGMA`` has them.
        busy_s: how long a writer waits for another one.

    Raises:
        sqlite3.Error: it cannot be opened, or is none.
    """
    with contextlib.suppress(OSError):  # SQLite has the words for it
        ensure_private_file(path)
    connection = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        for setting in ("journal_mode=WAL", *settings):
            connection.execute(f"PRAGMA {setting}").close()
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Nobody else writes; what is done inside is done at its end, or not at all."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have ended it: on a full disk, for one
            connection.execute("ROLLBACK")
        raise


def read_version(connection: Connection) -> int:
    """How many migrations have been applied."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def apply_migrations(connection: Connection, migrations: Sequence[Sequence[str]]) -> None:
    """All migrations have been applied, each with all of its statements or not at all."""
    version = read_version(connection)
    for number, statements in enumerate(migrations[version:], version + 1):
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number}")


class Reserve:
    """A file beside a database, there to be removed: on a full disk it makes room for what frees the disk.

    SQLite needs some space before it can even read (its shared memory is a file), and more to note that
    something was removed.  Without a reserve nobody could remove anything from a disk that something else has
    filled.
    """

    def __init__(self, database: str) -> None:
        """Nothing happens yet."""
        self._path = f"{database}-reserve"

    def lend(self) -> None:
        """If the disk is full, there is a little room."""
        if free_bytes(os.path.dirname(self._path)) < RESERVE_BYTES:
            remove_if_there(self._path)

    def spend(self) -> bool:
        """Whether it was there; there is room now."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            return False
        return True

    def restore(self) -> None:
        """If the disk has room, the file is there."""
        if os.path.exists(self._path) or free_bytes(os.path.dirname(self._path)) < _ROOMY_BYTES:
            return
        try:
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(fd, 0, RESERVE_BYTES)
        except OSError:  # somebody else was quicker; or a file system that cannot do this
            remove_if_there(self._path)
        finally:
            os.close(fd)


def free_bytes(directory: str) -> int:
    """What can still be written on the directory's file system; very much where that is not known."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize if found.f_blocks else 1 << 62
