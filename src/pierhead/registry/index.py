"""What each repository has, in SQLite: blobs, manifests, tags, who refers to whom, uploads on their way.

    repositories    names
    blobs           digest and size of what was uploaded or mounted, and when it was last asked for
    manifests       what a list of referrers says of them; their bytes are contents of the store
    edges           manifest -> digest: a manifest, and what it needs (blobs, an index's manifests)
    tags            name -> digest of a manifest
    uploads         id, repository, algorithm
    copies          which blobs and manifests came from an upstream, and not from a client

A change is one transaction that holds SQLite's write lock, so that changes of all processes come one after
another: who asks in a change whether a blob is there may rely on the answer until the change is made.
Whatever a change refers to is on the disk before it is committed.

Knows nothing of files of contents: ``storage`` does.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import contextmanager

from pierhead import jsontext
from pierhead.databases import open_database, read_version, transaction
from pierhead.errors import OperationFailed, Unsupported
from pierhead.oci.image import Descriptor
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from pierhead.registry.documents import Facts

_VERSION = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS repositories (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS blobs (
  repository INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, used_s INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_digest ON blobs (digest);
CREATE TABLE IF NOT EXISTS manifests (
  repository INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL,
  artifact_type TEXT NOT NULL, subject TEXT NOT NULL, annotations TEXT NOT NULL, used_s INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS manifests_by_digest ON manifests (digest);
CREATE INDEX IF NOT EXISTS manifests_by_subject ON manifests (repository, subject, digest);
CREATE TABLE IF NOT EXISTS edges (
  repository INTEGER NOT NULL, manifest TEXT NOT NULL, digest TEXT NOT NULL,
  PRIMARY KEY (repository, manifest, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS edges_by_digest ON edges (repository, digest);
CREATE TABLE IF NOT EXISTS tags (
  repository INTEGER NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, updated_s INTEGER NOT NULL,
  PRIMARY KEY (repository, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags (repository, digest);
CREATE TABLE IF NOT EXISTS uploads (
  id TEXT PRIMARY KEY, repository TEXT NOT NULL, algorithm TEXT NOT NULL, used_s INTEGER NOT NULL
  ) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS copies (
  digest TEXT NOT NULL, repository INTEGER NOT NULL, PRIMARY KEY (digest, repository)) WITHOUT ROWID;
"""
_BUSY_S = 60
_WANTED = """SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs WHERE digest = ?)
  OR EXISTS (SELECT 1 FROM manifests WHERE digest = ?)"""
_BROUGHT = """SELECT 1 FROM {table} AS brought WHERE brought.digest = copies.digest AND NOT EXISTS (
  SELECT 1 FROM copies AS copy WHERE copy.digest = brought.digest AND copy.repository = brought.repository)"""
_COPIES = f"""
SELECT copies.digest, max(ifnull(blobs.size, manifests.size)) AS bytes,
  max(ifnull(blobs.used_s, manifests.used_s)) AS used_s
FROM copies LEFT JOIN blobs USING (repository, digest) LEFT JOIN manifests USING (repository, digest)
WHERE NOT EXISTS ({_BROUGHT.format(table="blobs")})
  AND NOT EXISTS ({_BROUGHT.format(table="manifests")})
GROUP BY copies.digest HAVING bytes NOT NULL ORDER BY 3, bytes DESC
"""  # noqa: S608 - what is put in are names of tables
_OF_NAME = "(SELECT id FROM repositories WHERE name = ?)"


class UploadRecord(Value):
    """An upload on its way."""

    id: str
    repository: str
    algorithm: str
    used_s: int


class CopyRecord(Value):
    """A content that only copies of upstreams' repositories have.

    Fields:
        digest: its name.
        size: in bytes.
        used_s: when it was last asked for.
    """

    digest: str
    size: int
    used_s: int


class Index:
    """The tables; used by any number of threads and processes."""

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """Makes the file and its tables where they are missing; ``clock`` gives seconds since 1970.

        Raises:
            Unsupported: a newer version's tables are there.
        """
        self._path = path
        self._clock = clock
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._writer = self._connect(path)
        self._make_tables()
        self._reader = self._connect(path)

    def _make_tables(self) -> None:
        if read_version(self._writer) > _VERSION:
            self._writer.close()
            hint = "serve it with the version that made it, or a newer one"
            message = f"{self._path} was made by a newer version of the registry"
            raise Unsupported(message, code="newer-registry", hint=hint)
        self._writer.executescript(_SCHEMA)
        self._writer.execute(f"PRAGMA user_version = {_VERSION}")

    @staticmethod
    def _connect(path: str) -> sqlite3.Connection:
        # With NORMAL a power cut may take the last changes back, although they were reported as made.
        return open_database(path, "synchronous=FULL", busy_s=_BUSY_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The file is closed."""
        self._writer.close()
        self._reader.close()

    def now_s(self) -> int:
        """The clock's time in whole seconds."""
        return int(self._clock())

    @contextmanager
    def change(self) -> Iterator[Change]:
        """A change, made when the block ends well, and not at all when it raises.

        Raises:
            OperationFailed: the disk is full or fails, or other processes' changes do not end.
        """
        with self._write_lock:
            try:
                with transaction(self._writer):
                    yield Change(self._writer, self.now_s())
            except sqlite3.OperationalError as error:
                code = "disk-full" if "full" in str(error) else "cannot-write"
                raise OperationFailed(f"cannot write to {self._path}: {error}", code=code) from error

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._read_lock:
            return self._reader.execute(sql, values).fetchall()

    # Repositories

    def has_repository(self, name: str) -> bool:
        """Whether anything was ever put there (and not collected since)."""
        return bool(self._rows("SELECT 1 FROM repositories WHERE name = ?", name))

    def repositories(self, *, after: str = "", count: int = -1) -> list[str]:
        """Names in their order; ``count`` of them at most if not negative."""
        sql = "SELECT name FROM repositories WHERE name > ? ORDER BY name LIMIT ?"
        return [name for (name,) in self._rows(sql, after, count)]

    # Blobs

    def find_blob(self, repository: str, digest: str) -> tuple[int, int] | None:
        """A blob's size in bytes, and when it was last asked for; None if the repository has none."""
        sql = f"SELECT size, used_s FROM blobs WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        rows = self._rows(sql, repository, digest)
        return (rows[0][0], rows[0][1]) if rows else None

    def is_wanted(self, digest: str) -> bool:
        """Whether any repository has a blob or a manifest of this digest; a change may know better."""
        return bool(self._rows(_WANTED, digest, digest))

    def repositories_of_blob(self, digest: str) -> list[str]:
        """Names of the repositories that have the blob."""
        sql = "SELECT name FROM blobs JOIN repositories ON id = repository WHERE digest = ? ORDER BY name"
        return [name for (name,) in self._rows(sql, digest)]

    # Manifests and tags

    def find_manifest(self, repository: str, digest: str) -> str | None:
        """A manifest's media type; None if the repository has none."""
        sql = f"SELECT media_type FROM manifests WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        rows = self._rows(sql, repository, digest)
        return rows[0][0] if rows else None

    def find_tag(self, repository: str, tag: str) -> str | None:
        """The digest that a tag means; None if there is no such tag."""
        sql = f"SELECT digest FROM tags WHERE repository = {_OF_NAME} AND name = ?"  # noqa: S608
        rows = self._rows(sql, repository, tag)
        return rows[0][0] if rows else None

    def tags(self, repository: str, *, after: str = "", count: int = -1) -> list[str]:
        """Tags in their order; ``count`` of them at most if not negative."""
        sql = f"SELECT name FROM tags WHERE repository = {_OF_NAME} AND name > ? ORDER BY name LIMIT ?"  # noqa: S608
        return [name for (name,) in self._rows(sql, repository, after, count)]

    def referrers(self, repository: str, subject: str, *, after: str = "") -> Iterator[Descriptor]:
        """What refers to the subject, in the order of digests, read as far as it is taken."""
        sql = f"""SELECT media_type, digest, size, artifact_type, annotations FROM manifests
          WHERE repository = {_OF_NAME} AND subject = ? AND digest > ? ORDER BY digest LIMIT 1"""  # noqa: S608
        while rows := self._rows(sql, repository, subject, after):
            media_type, after, size, artifact_type, annotations = rows[0]
            yield Descriptor(
                media_type=media_type,
                digest=after,
                size=size,
                artifact_type=artifact_type,
                annotations=jsontext.parse(annotations),
            )

    # Uploads

    def find_upload(self, upload_id: str) -> UploadRecord | None:
        """An upload on its way."""
        rows = self._rows("SELECT id, repository, algorithm, used_s FROM uploads WHERE id = ?", upload_id)
        return _upload_record(rows[0]) if rows else None

    def uploads(self) -> list[UploadRecord]:
        """All that are on their way."""
        return [
            _upload_record(row)
            for row in self._rows("SELECT id, repository, algorithm, used_s FROM uploads ORDER BY id")
        ]

    # Copies

    def copies(self) -> list[CopyRecord]:
        """What came from upstreams and nobody else has, the least recently used first; of those that were
        used at the same time the largest.
        """
        return [
            CopyRecord(digest=digest, size=size, used_s=used_s)
            for digest, size, used_s in self._rows(_COPIES)
        ]

    def count_copies(self) -> tuple[int, int]:
        """How many such contents there are, and their bytes."""
        ((count, size),) = self._rows(f"SELECT count(*), ifnull(sum(bytes), 0) FROM ({_COPIES})")  # noqa: S608
        return count, size

    def find_manifest_use(self, repository: str, digest: str) -> int | None:
        """When a manifest was put or last asked for; None if the repository has none."""
        sql = f"SELECT used_s FROM manifests WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        rows = self._rows(sql, repository, digest)
        return rows[0][0] if rows else None

    def totals(self) -> dict[str, int]:
        """Rows of each table, for those who watch."""
        tables = ("repositories", "blobs", "manifests", "tags", "uploads")
        return {name: self._rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}  # noqa: S608


def _upload_record(row: tuple[str, str, str, int]) -> UploadRecord:
    return UploadRecord(id=row[0], repository=row[1], algorithm=row[2], used_s=row[3])


class Change:
    """One transaction.  Used inside of ``Index.change`` only."""

    def __init__(self, db: sqlite3.Connection, now_s: int) -> None:
        """``now_s`` becomes the time of what is added."""
        self._db = db
        self._now_s = now_s

    def _repository(self, name: str) -> int:
        """The repository's number; it is made if need be."""
        self._db.execute("INSERT OR IGNORE INTO repositories (name) VALUES (?)", (name,))
        row = self._db.execute("SELECT id FROM repositories WHERE name = ?", (name,)).fetchone()
        return int(row[0])

    def _has(self, table: str, repository: str, digest: str) -> bool:
        sql = f"SELECT 1 FROM {table} WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        return self._db.execute(sql, (repository, digest)).fetchone() is not None

    def _delete(self, table: str, repository: str, column: str, value: str) -> bool:
        sql = f"DELETE FROM {table} WHERE repository = {_OF_NAME} AND {column} = ?"  # noqa: S608
        return self._db.execute(sql, (repository, value)).rowcount > 0

    # Blobs

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether the repository has the blob."""
        return self._has("blobs", repository, digest)

    def add_blob(self, repository: str, digest: str, size: int, *, copied: bool = False) -> None:
        """The repository has the blob, and it was asked for now; ``copied``: it came from an upstream."""
        number = self._repository(repository)
        self._note_origin("blobs", number, digest, copied=copied)
        sql = "INSERT OR REPLACE INTO blobs (repository, digest, size, used_s) VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (number, digest, size, self._now_s))

    def _note_origin(self, table: str, number: int, digest: str, *, copied: bool) -> None:
        """What a client has brought stays a client's, whatever comes from an upstream later.

        Called before the row is written.
        """
        if not copied:
            self._db.execute("DELETE FROM copies WHERE digest = ? AND repository = ?", (digest, number))
            return
        sql = f"""INSERT OR IGNORE INTO copies (digest, repository) SELECT ?, ? WHERE NOT EXISTS (
          SELECT 1 FROM {table} WHERE repository = ? AND digest = ?)"""  # noqa: S608
        self._db.execute(sql, (digest, number, number, digest))

    def use_blob(self, repository: str, digest: str) -> None:
        """The blob was asked for now."""
        sql = f"UPDATE blobs SET used_s = ? WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        self._db.execute(sql, (self._now_s, repository, digest))

    def remove_blob(self, repository: str, digest: str) -> bool:
        """The repository does not have the blob; False: it had none."""
        return self._delete("blobs", repository, "digest", digest)

    def remove_forgotten_blobs(self, before_s: int) -> int:
        """Blobs that no manifest of their repository needs, and that nobody asked for since then, are gone;
        returns how many.
        """
        sql = """DELETE FROM blobs WHERE used_s < ? AND NOT EXISTS (
          SELECT 1 FROM edges WHERE edges.repository = blobs.repository AND edges.digest = blobs.digest)"""
        return self._db.execute(sql, (before_s,)).rowcount

    def is_wanted(self, digest: str) -> bool:
        """Whether any repository has a blob or a manifest of this digest."""
        return self._db.execute(_WANTED, (digest, digest)).fetchone() is not None

    # Manifests and tags

    def has_manifest(self, repository: str, digest: str) -> bool:
        """Whether the repository has the manifest."""
        return self._has("manifests", repository, digest)

    def add_manifest(
        self, repository: str, digest: str, size: int, facts: Facts, *, copied: bool = False
    ) -> None:
        """The repository has the manifest; ``copied``: it came from an upstream."""
        number = self._repository(repository)
        self._note_origin("manifests", number, digest, copied=copied)
        annotations = jsontext.format_compact(facts.annotations)
        self._db.execute(
            "INSERT OR REPLACE INTO manifests VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(number, digest, size, facts.media_type, facts.artifact_type),
                *(facts.subject, annotations, self._now_s),
            ),
        )
        needed = (*facts.blobs, *facts.elsewhere, *facts.manifests)
        self._add_edges((number, digest, each) for each in needed)

    def _add_edges(self, edges: Iterable[tuple[int, str, str]]) -> None:
        self._db.executemany("INSERT OR IGNORE INTO edges VALUES (?, ?, ?)", edges)

    def use_manifest(self, repository: str, digest: str) -> None:
        """The manifest was asked for now."""
        sql = f"UPDATE manifests SET used_s = ? WHERE repository = {_OF_NAME} AND digest = ?"  # noqa: S608
        self._db.execute(sql, (self._now_s, repository, digest))

    def remove_manifest(self, repository: str, digest: str) -> bool:
        """The repository has neither the manifest nor tags that mean it; False: it had none."""
        if not self._delete("manifests", repository, "digest", digest):
            return False
        self._delete("edges", repository, "manifest", digest)
        self._delete("tags", repository, "digest", digest)
        return True

    def remove_untagged_manifests(self, before_s: int) -> int:
        """Manifests that were put before then, and that nothing leads to, are gone; returns how many.

        A tag leads to a manifest, and so do a manifest's index and its subject, if those stay.
        """
        sql = """
        WITH RECURSIVE kept (repository, digest) AS (
          SELECT repository, digest FROM tags
          UNION SELECT repository, digest FROM manifests WHERE used_s >= ?
          UNION SELECT edges.repository, edges.digest FROM kept JOIN edges
            ON edges.repository = kept.repository AND edges.manifest = kept.digest
          UNION SELECT manifests.repository, manifests.digest FROM kept JOIN manifests
            ON manifests.repository = kept.repository AND manifests.subject = kept.digest)
        DELETE FROM manifests WHERE (repository, digest) NOT IN (SELECT repository, digest FROM kept)"""
        self._db.execute(sql, (before_s,))
        # The cursor's own count knows nothing of statements that begin with WITH.
        count = int(self._db.execute("SELECT changes()").fetchone()[0])
        self._db.execute(
            "DELETE FROM edges WHERE (repository, manifest) NOT IN (SELECT repository, digest FROM manifests)"
        )
        return count

    def set_tag(self, repository: str, tag: str, digest: str) -> None:
        """The tag means this manifest."""
        sql = "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (self._repository(repository), tag, digest, self._now_s))

    def remove_tag(self, repository: str, tag: str) -> bool:
        """There is no such tag; False: there was none."""
        return self._delete("tags", repository, "name", tag)

    def remove_copies(self, digest: str) -> None:
        """Of the copies of upstreams' repositories none has this content any more, nor tags that mean it."""
        for table in ("tags", "edges", "manifests", "blobs"):
            column = "manifest" if table == "edges" else "digest"
            sql = f"""DELETE FROM {table} WHERE {column} = ?
              AND repository IN (SELECT repository FROM copies WHERE digest = ?)"""  # noqa: S608
            self._db.execute(sql, (digest, digest))
        self._db.execute("DELETE FROM copies WHERE digest = ?", (digest,))

    def forget_origins(self) -> None:
        """Where contents came from is not kept longer than they are."""
        self._db.execute("""DELETE FROM copies WHERE
          (repository, digest) NOT IN (SELECT repository, digest FROM blobs)
          AND (repository, digest) NOT IN (SELECT repository, digest FROM manifests)""")

    def remove_empty_repositories(self) -> int:
        """Repositories without anything are gone; returns how many."""
        sql = """DELETE FROM repositories WHERE id NOT IN (
          SELECT repository FROM blobs UNION SELECT repository FROM manifests
          UNION SELECT repository FROM tags)"""
        return self._db.execute(sql).rowcount

    # Uploads

    def add_upload(self, upload_id: str, repository: str, algorithm: str) -> None:
        """The upload is on its way."""
        sql = "INSERT INTO uploads VALUES (?, ?, ?, ?)"
        self._db.execute(sql, (upload_id, repository, algorithm, self._now_s))

    def use_upload(self, upload_id: str) -> None:
        """Something came for the upload now."""
        self._db.execute("UPDATE uploads SET used_s = ? WHERE id = ?", (self._now_s, upload_id))

    def remove_upload(self, upload_id: str) -> bool:
        """There is no such upload; False: there was none."""
        return self._db.execute("DELETE FROM uploads WHERE id = ?", (upload_id,)).rowcount > 0
