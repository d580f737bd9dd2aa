"""SQLite's databases, as everybody here opens them."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pierhead.databases import apply_migrations, open_database, read_version, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST = ("CREATE TABLE things (name TEXT)", "INSERT INTO things VALUES ('one')")
SECOND = ("INSERT INTO things VALUES ('two')", "INSERT INTO missing VALUES (1)")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new database."""
    with contextlib.closing(open_database(str(tmp_path / "file.db"), busy_s=1)) as it:
        yield it


def names(connection: sqlite3.Connection) -> list[str]:
    """What stands in the table."""
    return [name for (name,) in connection.execute("SELECT name FROM things ORDER BY name")]


def test_a_new_file_is_its_owners(connection: sqlite3.Connection, tmp_path: Path) -> None:
    """Nobody else reads the database, nor its log."""
    apply_migrations(connection, (FIRST,))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file.db": 0o600, "file.db-wal": 0o600, "file.db-shm": 0o600}


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    """SQLite says that it cannot open the file."""
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_database(str(tmp_path / "nowhere/file.db"), busy_s=1)


def test_migrations(connection: sqlite3.Connection) -> None:
    """Each is applied once, and whole or not at all."""
    with pytest.raises(sqlite3.OperationalError, match="no such table: missing"):
        apply_migrations(connection, (FIRST, SECOND))
    assert (read_version(connection), names(connection)) == (1, ["one"])
    apply_migrations(connection, (FIRST, SECOND[:1]))
    assert (read_version(connection), names(connection)) == (2, ["one", "two"])


def test_a_transaction_that_fails(connection: sqlite3.Connection) -> None:
    """Nothing of it has happened, and the next one can begin."""
    apply_migrations(connection, (FIRST,))
    with pytest.raises(sqlite3.OperationalError, match="no such table"), transaction(connection):
        connection.executemany("INSERT INTO things VALUES (?)", [("lost",)]).execute("DELETE FROM missing")
    with transaction(connection):
        connection.execute("INSERT INTO things VALUES ('two')")
    assert names(connection) == ["one", "two"]
