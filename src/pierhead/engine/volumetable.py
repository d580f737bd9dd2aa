"""Volumes and their users in ``engine.db``: two tables of their own beside the engine's.

    volumes      name, options, labels, created_ns, removing
    volume_uses  volume, container, mounted      a container that is there, and whether it runs

Every method is one transaction; the store's lock lets one thread in at a time.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pierhead import jsontext
from pierhead.databases import open_database, transaction
from pierhead.engine.store import explaining
from pierhead.engine.volumewords import Volume
from pierhead.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

_BUSY_S = 60.0
_TABLES = (
    """CREATE TABLE IF NOT EXISTS volumes (
        name TEXT PRIMARY KEY,
        options TEXT NOT NULL,
        labels TEXT NOT NULL,
        created_ns INTEGER NOT NULL,
        removing INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS volume_uses (
        volume TEXT NOT NULL,
        container TEXT NOT NULL,
        mounted INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (volume, container)
    ) WITHOUT ROWID""",
)


class VolumeTable:
    """The tables."""

    def __init__(self, database: str, directory: str) -> None:
        """The tables are there.

        Args:
            database: path of ``engine.db``.
            directory: of volumes, for their mountpoints.
        """
        self._database, self._directory = database, directory
        self._lock = threading.RLock()
        self._connection = open_database(database, "synchronous=NORMAL", busy_s=_BUSY_S)
        with self.writing():
            for statement in _TABLES:
                self._connection.execute(statement)

    def close(self) -> None:
        """The connection is closed."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """What is done inside is done as one, or not at all; nobody else changes anything meanwhile."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            with explaining(self._database), transaction(self._connection):
                yield

    # Volumes

    def find(self, name: str) -> Volume | None:
        """The volume, or None."""
        row = self._one(
            "SELECT name, options, labels, created_ns FROM volumes WHERE name = ? AND removing = 0", (name,)
        )
        return None if row is None else self._volume(row)

    def get(self, name: str) -> Volume:
        """The volume.

        Raises:
            NotFound: there is none; Docker's sentence.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"get {name}: no such volume", code="no-such-volume")
        return found

    def all(self) -> list[Volume]:
        """All volumes, by name."""
        rows = self._many(
            "SELECT name, options, labels, created_ns FROM volumes WHERE removing = 0 ORDER BY name"
        )
        return [self._volume(row) for row in rows]

    def _volume(self, row: tuple[str, str, str, int]) -> Volume:
        name, options, labels, created_ns = row
        return Volume(
            name=name,
            options=jsontext.parse(options),
            labels=jsontext.parse(labels),
            created_ns=created_ns,
            mountpoint=f"{self._directory}/{name}/_data",
        )

    def add(self, volume: Volume) -> None:
        """The volume is there."""
        texts = (jsontext.format_compact(volume.options), jsontext.format_compact(volume.labels))
        with self.writing():
            self._connection.execute(
                "INSERT INTO volumes (name, options, labels, created_ns) VALUES (?, ?, ?, ?)",
                (volume.name, *texts, volume.created_ns),
            )

    def begin_removal(self, name: str) -> None:
        """The volume is no longer there for anybody, though its files still are.

        Raises:
            NotFound: there is none.
            Conflict: containers have it.
        """
        with self.writing():
            self.get(name)
            users = self.users(name)
            if users:
                raise Conflict(
                    f"remove {name}: volume is in use - [{', '.join(users)}]",
                    code="volume-in-use",
                    hint="remove these containers first",
                )
            self._connection.execute("UPDATE volumes SET removing = 1 WHERE name = ?", (name,))

    def end_removal(self, name: str) -> None:
        """Nothing of the volume is remembered."""
        with self.writing():
            self._connection.execute("DELETE FROM volumes WHERE name = ? AND removing = 1", (name,))

    def being_removed(self) -> list[str]:
        """Names of volumes whose removal has begun and not ended."""
        return [row[0] for row in self._many("SELECT name FROM volumes WHERE removing = 1 ORDER BY name")]

    # Users

    def use(self, volumes: Iterable[str], container_id: str) -> None:
        """The container has the volumes: they cannot be removed."""
        rows = [(name, container_id) for name in volumes]
        if not rows:  # most containers have none, and a transaction takes as long as a plan
            return
        with self.writing():
            self._connection.executemany(
                "INSERT OR IGNORE INTO volume_uses (volume, container) VALUES (?, ?)",
                rows,
            )

    def drop(self, container_id: str, *, anonymous: bool) -> list[str]:
        """The container has no volumes; those whose removal has begun with that, in one step.

        Args:
            container_id: whose they were.
            anonymous: whether those are removed that nobody has named and nobody else has.
        """
        had = self.volumes_of(container_id)
        if not had:
            return []
        with self.writing():
            self._connection.execute("DELETE FROM volume_uses WHERE container = ?", (container_id,))
            found = [self.find(name) for name in had] if anonymous else []
            gone = [each.name for each in found if each and each.anonymous and not self.users(each.name)]
            for name in gone:
                self.begin_removal(name)
        return gone

    def users(self, name: str) -> list[str]:
        """Containers that have the volume."""
        statement = "SELECT container FROM volume_uses WHERE volume = ? ORDER BY container"
        return [row[0] for row in self._many(statement, (name,))]

    def volumes_of(self, container_id: str) -> list[str]:
        """Volumes that the container has."""
        statement = "SELECT volume FROM volume_uses WHERE container = ? ORDER BY volume"
        return [row[0] for row in self._many(statement, (container_id,))]

    def used(self) -> frozenset[str]:
        """Volumes that some container has."""
        return frozenset(row[0] for row in self._many("SELECT DISTINCT volume FROM volume_uses"))

    def mark_mounted(self, container_id: str, *, mounted: bool) -> None:
        """The container runs with its volumes, or no longer does."""
        if not self.volumes_of(container_id):  # as most have none: nothing is written at their starts
            return
        with self.writing():
            self._connection.execute(
                "UPDATE volume_uses SET mounted = ? WHERE container = ?", (mounted, container_id)
            )

    def is_mounted(self, name: str) -> bool:
        """Whether some container runs with the volume."""
        return self._one("SELECT 1 FROM volume_uses WHERE volume = ? AND mounted", (name,)) is not None

    def settle(self, there: Collection[str], running: Collection[str]) -> None:
        """Only containers that are there have volumes, only those that run have them mounted.

        One that is not there has never been: its making was cut off, and what was made for it goes.
        """
        with self.writing():
            known = [row[0] for row in self._many("SELECT DISTINCT container FROM volume_uses")]
            for container_id in known:
                if container_id not in there:
                    self.drop(container_id, anonymous=True)
                elif container_id not in running:
                    self.mark_mounted(container_id, mounted=False)

    def _one(self, statement: str, values: tuple[str, ...] = ()) -> tuple[str, str, str, int] | None:
        with self._lock, explaining(self._database):
            row: tuple[str, str, str, int] | None = self._connection.execute(statement, values).fetchone()
        return row

    def _many(self, statement: str, values: tuple[str, ...] = ()) -> list[tuple[str, str, str, int]]:
        with self._lock, explaining(self._database):
            return self._connection.execute(statement, values).fetchall()
