"""The library's database: SQLite, used by any number of processes and threads at once.

With ``synchronous=FULL`` what was committed is there after a power cut.  A connection serves one call at a
time and is kept for the next one.

Source: https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading

from pierhead.databases import Reserve, apply_migrations, free_bytes, open_database, read_version, transaction
from pierhead.errors import Conflict, OperationFailed, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

BUSY_S = 60.0
"""How long a writer waits for another one; a collection of very many contents takes seconds."""

_NEEDED_BYTES = 1 << 16
"""SQLite's shared memory and a page of its log; with less it speaks of an I/O error, not of a full disk."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE images (
            name TEXT PRIMARY KEY,
            digest TEXT NOT NULL,
            descriptor TEXT NOT NULL,
            created_ns INTEGER NOT NULL,
            updated_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE leases (
            id TEXT PRIMARY KEY,
            purpose TEXT NOT NULL,
            created_ns INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE pins (
            lease TEXT NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
            digest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            PRIMARY KEY (lease, digest, media_type)
        ) WITHOUT ROWID""",
        """CREATE TABLE layers (
            snapshotter TEXT NOT NULL,
            chain_id TEXT NOT NULL,
            diff_id TEXT NOT NULL,
            parent TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            compressed_bytes INTEGER NOT NULL,
            created_ns INTEGER NOT NULL,
            PRIMARY KEY (snapshotter, chain_id)
        ) WITHOUT ROWID""",
        """CREATE TABLE compressed (
            diff_id TEXT NOT NULL,
            digest TEXT NOT NULL,
            media_type TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            PRIMARY KEY (diff_id, digest)
        ) WITHOUT ROWID""",
        """CREATE TABLE sources (
            digest TEXT NOT NULL,
            repository TEXT NOT NULL,
            PRIMARY KEY (digest, repository)
        ) WITHOUT ROWID""",
    ),
)


class Database:
    """The file, and connections to it."""

    def __init__(self, path: str, *, lock_path: str) -> None:
        """The database is there and has this version's tables.

        Args:
            path: of the file; made if it is not there.
            lock_path: a file or directory that is locked while tables are made.

        Raises:
            Conflict: a newer Pierhead made it.
            OperationFailed: it cannot be opened, or is none.
        """
        self.path = path
        self._idle: list[Connection] = []
        self._guard = threading.Lock()
        self._reserve = Reserve(path)
        self._reserve.lend()
        with _locked(lock_path), self._connection() as connection:
            self._migrate(connection)

    def close(self) -> None:
        """Connections that nobody uses at the moment are closed."""
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        self.settle()

    def settle(self) -> None:
        """What a full disk needed is put back where there is room again."""
        self._reserve.restore()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Everything that is read inside is of one moment."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Nobody else writes; what is done inside is done at its end, and lasts, or not at all."""
        with self._connection() as connection, transaction(connection):
            yield connection

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._explaining():
            with self._guard:
                connection = self._idle.pop() if self._idle else None
            connection = connection or open_database(
                self.path, "synchronous=FULL", "foreign_keys=ON", busy_s=BUSY_S
            )
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        with self._guard:
            self._idle.append(connection)

    def _migrate(self, connection: Connection) -> None:
        version = read_version(connection)
        if version > len(MIGRATIONS):
            raise Conflict(
                f"the image library {self.path} was made by a newer Pierhead (its version is {version},"
                f" this Pierhead knows up to {len(MIGRATIONS)})",
                code="newer-library",
                hint="use that Pierhead, or another directory",
            )
        apply_migrations(connection, MIGRATIONS)

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        """SQLite's errors become sentences."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _explained(self.path, error) from error


def _explained(path: str, error: sqlite3.DatabaseError) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable(
            f"the image library {path} has been kept busy by another process for {BUSY_S:.0f} s",
            code="library-busy",
            hint="try again when pier prune, or whoever else uses it, is done",
        )
    if name == "SQLITE_FULL" or free_bytes(os.path.dirname(path)) < _NEEDED_BYTES:
        hint = "pier df shows what takes space, pier prune frees some"
        return OperationFailed(
            f"cannot write to the image library {path}: the disk is full", code="disk-full", hint=hint
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        hint = "move it away: images are then pulled anew, what they share with the old ones is kept"
        return OperationFailed(
            f"the image library {path} is damaged: {error}", code="damaged-library", hint=hint
        )
    return OperationFailed(f"cannot use the image library {path}: {error}", code="library-failed")


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    """Two processes that make the tables at once would find each other's half: SQLite refuses to wait when
    the journal's mode changes (https://www.sqlite.org/wal.html, "busy").
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
