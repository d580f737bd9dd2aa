"""What a snapshotter knows of its snapshots, and their directories: both change together or not at all.

    ROOT/
      index.db            SQLite: name, kind, parent, directory
      ID/fs               a snapshot's files; ID is 12 hexadecimal digits by chance: names never become paths
      new-ID/             one that is being filled; locked (flock) by whoever does
      removed-ID/         one that is being deleted
      shared/             files that layers share, where they do: see ``sharing``

A directory counts from the moment on that the index names it.  The index is changed in transactions that
exclude each other over all processes (BEGIN IMMEDIATE); a directory without a name is made, renamed or taken
for a leftover only within one.  So whoever is killed leaves what nobody has a name for, and the next who
opens the index removes it.

Knows nothing of how the directories become what a container sees.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import sqlite3
import threading
import time

from pierhead.databases import read_version, transaction
from pierhead.errors import Conflict, NotFound, OperationFailed, Unavailable, Unsupported
from pierhead.images.filetrees import copy_directory, count_tree
from pierhead.images.removal import remove_or_say, remove_tree
from pierhead.images.sharing import FilePool, count_shared, has_pool, remove_unshared
from pierhead.images.snapshots import SnapshotInfo, Usage, check_name
from pierhead.linux import mounts as calls
from pierhead.linux.files import lock_at_once
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from pierhead.images.sharing import Sharing
    from pierhead.images.snapshots import Kind, Mount, Owners

_log = logging.getLogger(__name__)
_VERSION = 1
_PATIENCE_S = 60.0
_DIRECTORY = re.compile(r"(?:new-|removed-)?[0-9a-f]{12}")
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS snapshots (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    parent TEXT REFERENCES snapshots (name),
    directory TEXT NOT NULL,
    created_s INTEGER NOT NULL,
    size_bytes INTEGER,
    inodes INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS children ON snapshots (parent);
PRAGMA user_version = {_VERSION};
"""
_CHAIN = """
WITH RECURSIVE chain (name, parent, directory, depth) AS (
    SELECT name, parent, directory, 0 FROM snapshots WHERE name = ?
    UNION ALL
    SELECT below.name, below.parent, below.directory, depth + 1
    FROM chain JOIN snapshots AS below ON below.name = chain.parent
)
SELECT directory FROM chain WHERE directory != '' ORDER BY depth
"""


class Row(Value):
    """One snapshot in the index; ``directory`` is empty for one that has none of its own."""

    name: str
    kind: Kind
    parent: str
    directory: str
    created_s: int
    usage: Usage | None


def _no_such(name: str) -> NotFound:
    return NotFound(f"there is no snapshot {name}", code="no-such-snapshot")


class SnapshotIndex:
    """Snapshots by name, with their directories.  For any number of threads and processes."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Makes what is missing of the root; what was left half done is removed."""
        self.root = os.path.abspath(os.fspath(root))
        os.makedirs(self.root, mode=0o700, exist_ok=True)
        self._lock = threading.RLock()
        self._database = sqlite3.connect(
            os.fsencode(f"{self.root}/index.db"),
            timeout=_PATIENCE_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._prepare_database()
            self.remove_leftovers()
        except BaseException:
            self._database.close()
            raise

    def _prepare_database(self) -> None:
        with _explained(self.root), _alone(self.root):
            self._database.execute("PRAGMA journal_mode = WAL")
            # what a power cut takes from the index is a snapshot that is made anew, never a wrong one
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            version = read_version(self._database)
            if version not in (0, _VERSION):
                message = f"the snapshots in {self.root} are of another version of Pierhead ({version})"
                raise Unsupported(message, code="other-snapshots", hint="give another directory")
            if version == 0:
                self._database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")

    def close(self) -> None:
        """The index is closed."""
        with self._lock:
            self._database.close()

    def path(self, directory: str) -> str:
        """Where a snapshot's directory is."""
        return f"{self.root}/{directory}"

    # Reading

    def find(self, name: str) -> Row | None:
        """The snapshot of this name."""
        rows = self._rows("WHERE name = ?", name)
        return rows[0] if rows else None

    def get(self, name: str) -> Row:
        """The snapshot of this name.

        Raises:
            NotFound: there is none.
        """
        row = self.find(name)
        if row is None:
            raise _no_such(name)
        return row

    def rows(self) -> list[Row]:
        """All snapshots, parents first."""
        below: dict[str, list[Row]] = {}
        for row in self._rows("ORDER BY created_s, name"):
            below.setdefault(row.parent, []).append(row)
        found = below.get("", [])
        for row in found:  # grows meanwhile
            found += below.get(row.name, [])
        return found

    def layers(self, name: str) -> tuple[str, ...]:
        """Directories with the files of the snapshot and of those that it lies upon, the topmost first.

        Raises:
            NotFound: there is none, perhaps no more.
        """
        with self._lock, _explained(self.root):
            found = self._database.execute(_CHAIN, (name,)).fetchall()
        if not found:
            raise _no_such(name)
        return tuple(f"{self.path(directory)}/fs" for (directory,) in found)

    def _rows(self, clause: str, *values: str) -> list[Row]:
        columns = "name, kind, coalesce(parent, ''), directory, created_s, size_bytes, inodes"
        with self._lock, _explained(self.root):
            found = self._database.execute(f"SELECT {columns} FROM snapshots {clause}", values)  # noqa: S608
            return [_row(*fields) for fields in found]

    # Changing

    def add(
        self,
        name: str,
        kind: Kind,
        parent: str,
        fill: Callable[[str], None] | None = None,
        *,
        slowly: bool = False,
    ) -> Row:
        """A snapshot of this name is there, upon a parent that is committed.

        Args:
            name: new.
            kind: active, view, or committed from the start (slowly).
            parent: empty for none.
            fill: puts into the directory (a path) what it begins with; None for one without a directory.
            slowly: filling takes a while, during which others are not held up.

        Raises:
            Conflict: the name is taken.
            NotFound: there is no such parent.
        """
        check_name(name, "key")
        if not slowly or fill is None:
            with self.changing():
                self._check_new(name, parent)
                directory = self._fill_now(fill) if fill else ""
                return self._insert(name, kind, parent, directory)
        return self._add_slowly(name, kind, parent, fill)

    def _add_slowly(self, name: str, kind: Kind, parent: str, fill: Callable[[str], None]) -> Row:
        with self.changing():
            self._check_new(name, parent)
            directory = os.urandom(6).hex()
            prepared = self.path(f"new-{directory}")
            os.mkdir(prepared, 0o700)
            lock_fd = os.open(prepared, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            lock_at_once(lock_fd)
        try:
            try:
                with _explained(self.root):
                    fill(prepared)
                    if kind == "committed":
                        calls.syncfs(lock_fd)
            except OperationFailed:
                if parent:
                    self._check_parent(parent)  # that it is gone meanwhile says more
                raise
            with self.changing():
                self._check_new(name, parent)
                os.rename(prepared, self.path(directory))
                return self._insert(name, kind, parent, directory)
        except BaseException:
            for path in (prepared, self.path(directory)):
                remove_tree(path)
            raise
        finally:
            os.close(lock_fd)

    def _fill_now(self, fill: Callable[[str], None]) -> str:
        directory = os.urandom(6).hex()
        path = self.path(directory)
        os.mkdir(path, 0o700)
        try:
            fill(path)
        except BaseException:
            remove_tree(path)
            raise
        return directory

    def _check_new(self, name: str, parent: str) -> None:
        if self.find(name):
            raise Conflict(f"there is a snapshot {name} already", code="snapshot-exists")
        if parent:
            self._check_parent(parent)

    def _check_parent(self, parent: str) -> None:
        check_name(parent, "parent")
        if self.get(parent).kind != "committed":
            message = f"the snapshot {parent} is not committed, so nothing can lie upon it"
            raise Conflict(message, code="snapshot-not-committed")

    def _insert(self, name: str, kind: Kind, parent: str, directory: str) -> Row:
        row = Row(
            name=name, kind=kind, parent=parent, directory=directory, created_s=int(time.time()), usage=None
        )
        self._database.execute(
            "INSERT INTO snapshots (name, kind, parent, directory, created_s) VALUES (?, ?, ?, ?, ?)",
            (name, kind, parent or None, directory, row.created_s),
        )
        return row

    def commit(
        self, name: str, key: str, parent: str, check: Callable[[Row], None], share: Callable[[str], None]
    ) -> None:
        """The active snapshot has become a committed one of this name, upon this parent.

        Args:
            name: new.
            key: of the active one.
            parent: empty keeps the one that it has.
            check: refuses a parent by raising; gets the active one.
            share: gets the path of its files, which nobody writes to any more.
        """
        check_name(name)
        directory = self._get_active(key).directory
        with _explained(self.root):
            share(f"{self.path(directory)}/fs")
            fd = os.open(self.path(directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                calls.syncfs(fd)  # files first, then the index: what it names is whole
            finally:
                os.close(fd)
        with self.changing():
            row = self._get_active(key)
            self._check_new(name, parent)
            check(row)
            self._database.execute(
                "UPDATE snapshots SET name = ?, kind = 'committed', parent = ?, created_s = ? WHERE name = ?",
                (name, parent or row.parent or None, int(time.time()), key),
            )

    def _get_active(self, key: str) -> Row:
        row = self.get(key)
        if row.kind != "active":
            raise Conflict(f"the snapshot {key} is not active", code="snapshot-not-active")
        return row

    def count(self, name: str) -> Usage:
        """What the snapshot's files take; of a committed one it is counted once."""
        row = self.get(name)
        if not row.directory:
            return Usage(size_bytes=0, inodes=0)
        if row.usage:
            return row.usage
        with _explained(self.root):
            fd = os.open(f"{self.path(row.directory)}/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                usage = count_tree(fd)
            finally:
                os.close(fd)
        if row.kind == "committed":
            with self.changing():
                self._database.execute(
                    "UPDATE snapshots SET size_bytes = ?, inodes = ? WHERE name = ? AND directory = ?",
                    (usage.size_bytes, usage.inodes, row.name, row.directory),
                )
        return usage

    def remove(self, name: str) -> None:
        """There is no such snapshot and no directory of it.

        Raises:
            Conflict: others lie upon it.
        """
        directory = self.detach(name)
        if directory:
            with _explained(self.root):
                remove_tree(directory)

    def detach(self, name: str) -> str:
        """There is no such snapshot; returns the path of its directory, "" for none.

        Raises:
            Conflict: others lie upon it.
        """
        with self.changing():
            row = self.get(name)
            above = self._rows("WHERE parent = ? LIMIT 1", name)
            if above:
                message = f"the snapshot {name} has others upon it: {above[0].name}"
                raise Conflict(message, code="snapshot-in-use", hint="remove those first")
            self._database.execute("DELETE FROM snapshots WHERE name = ?", (name,))
        return self.path(row.directory) if row.directory else ""

    def remove_leftovers(self) -> None:
        """No directory is there that the index does not name, but those that are being filled, and those that
        cannot be removed: the log says why.
        """
        with self.changing():
            known = {name for (name,) in self._database.execute("SELECT directory FROM snapshots")}
            found = [name for name in os.listdir(self.root) if _DIRECTORY.fullmatch(name)]
            unknown = [name for name in found if name not in known and not self._is_being_filled(name)]
            for name in unknown:
                if not name.startswith("removed-"):
                    self._note_removal(name)
        for name in unknown:
            remove_or_say(self.path(f"removed-{name.removeprefix('new-').removeprefix('removed-')}"))

    def _note_removal(self, name: str) -> None:
        """Everybody can tell by its name that the directory is being removed."""
        try:
            os.rename(self.path(name), self.path(f"removed-{name.removeprefix('new-')}"))
        except FileNotFoundError:  # who made it has just given it up
            return
        except OSError as error:
            _log.warning("what is left in %s cannot be removed: %s", self.path(name), error)

    def _is_being_filled(self, name: str) -> bool:
        if not name.startswith("new-"):
            return False
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has just been given up
            return True
        try:
            return not lock_at_once(fd)
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile; what an error interrupts has not happened."""
        with self._lock, _explained(self.root), transaction(self._database):
            yield


class IndexedSnapshotter:
    """A snapshotter (see ``snapshots``) that keeps a directory for each snapshot."""

    def __init__(self, root: str | os.PathLike[str], *, share_files: Sharing = "none") -> None:
        """Opens it.

        Args:
            root: a directory of its own; what is missing of it is made.
            share_files: how layers that are committed from now on share equal files; see ``sharing``.

        Raises:
            Unsupported: the file system cannot share them so.
        """
        self._index = SnapshotIndex(root)
        self.root = self._index.root
        self._pool = contextlib.ExitStack()
        self._share: Callable[[str], None] = _share_nothing
        if share_files != "none":
            try:
                self._share = self._pool.enter_context(FilePool(self.root, share_files)).share
            except BaseException:
                self._index.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is open any more."""
        self._pool.close()
        self._index.close()

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """See ``Snapshotter``."""
        row = self._index.get(key)
        if row.kind == "committed":
            message = f"the snapshot {key} is committed: only a view of it can be mounted"
            raise Conflict(message, code="snapshot-committed")
        return (self._mount(row),)

    def _mount(self, row: Row) -> Mount:
        raise NotImplementedError

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """See ``Snapshotter``."""
        check_name(parent, "parent")
        self._index.add(key, "view", parent)
        return self.mounts(key)

    def shift(self, name: str, shifted: str, owners: Owners, *, parent: str = "") -> None:
        """See ``Snapshotter``."""
        check_name(shifted)

        def fill(directory: str) -> None:
            os.mkdir(f"{directory}/fs", 0o700)
            copy_directory(self._index.layers(name)[0], f"{directory}/fs", owners)

        if self._index.get(name).kind != "committed":
            raise Conflict(f"the snapshot {name} is not committed", code="snapshot-not-committed")
        self._index.add(shifted, "committed", parent, fill, slowly=True)

    def remove(self, name: str) -> None:
        """See ``Snapshotter``."""
        self._index.remove(name)

    def detach(self, name: str) -> str:
        """See ``Snapshotter``."""
        return self._index.detach(name)

    def usage(self, name: str) -> Usage:
        """See ``Snapshotter``."""
        return self._index.count(name)

    def shared_bytes(self, names: Iterable[str]) -> int:
        """See ``Snapshotter``."""
        if not has_pool(self.root):
            return 0
        rows = [row for row in map(self._index.find, names) if row is not None and row.directory]
        with _explained(self.root):
            return count_shared(self.root, [f"{self._index.path(row.directory)}/fs" for row in rows])

    def remove_unshared(self) -> None:
        """See ``Snapshotter``."""
        with _explained(self.root):
            remove_unshared(self.root)

    def stat(self, name: str) -> SnapshotInfo:
        """See ``Snapshotter``."""
        return _info(self._index.get(name))

    def walk(self) -> Iterator[SnapshotInfo]:
        """See ``Snapshotter``."""
        return map(_info, self._index.rows())


def _share_nothing(_: str) -> None:
    """A layer's files are left as they are."""


def _info(row: Row) -> SnapshotInfo:
    return SnapshotInfo(name=row.name, kind=row.kind, parent=row.parent, created_s=row.created_s)


def _row(
    name: str,
    kind: Kind,
    parent: str,
    directory: str,
    created_s: int,
    size_bytes: int | None,
    inodes: int | None,
) -> Row:
    usage = None
    if size_bytes is not None and inodes is not None:
        usage = Usage(size_bytes=size_bytes, inodes=inodes)
    return Row(name=name, kind=kind, parent=parent, directory=directory, created_s=created_s, usage=usage)


@contextlib.contextmanager
def _alone(root: str) -> Iterator[None]:
    """No other process sets the index up: SQLite does not wait for a change of the journal's mode."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _explained(root: str) -> Iterator[None]:
    """What SQLite or the file system refuses becomes an error that names the snapshots."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            message = f"somebody else has been changing the snapshots in {root} for {_PATIENCE_S:.0f} s"
            raise Unavailable(message, code="snapshots-busy") from error
        raise OperationFailed(f"cannot use the snapshots in {root}: {error}", code="cannot-write") from error
    except sqlite3.DatabaseError as error:
        message = f"the index of the snapshots in {root} is damaged: {error}"
        raise OperationFailed(message, code="damaged-snapshots") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OperationFailed(
            f"cannot change the snapshots in {root}: {reason}",
            errno=error.errno or 0,
            code="disk-full" if full else "cannot-write",
            hint="pier df shows what takes space, pier prune frees some" if full else "",
        ) from error
