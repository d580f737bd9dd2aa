"""``engine.db``: containers and the journal of events, in SQLite.

    containers   id, name; record (what was asked for and decided), state (what was seen)
    events       the last 4,096, numbered without a gap from the first one on

A change and the events that tell of it are one transaction, so neither is ever there without the other.
With ``synchronous=NORMAL`` what was committed survives the engine's death at any moment;
after a power cut the last transactions may be missing, all of them together.  A commit writes to the page
cache and waits for no disk: ``checkpoint``, which does, is called in a thread.

Source: https://www.sqlite.org/pragma.html#pragma_synchronous
"""

# Annotations are read at run time: no postponed evaluation here.
import contextlib
import sqlite3
import threading

from pierhead import jsontext
from pierhead.databases import Reserve, apply_migrations, open_database, read_version, transaction
from pierhead.engine.documents import EndpointSettings, PortBinding
from pierhead.engine.record import Event, Record, State
from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.oci.document import decode, empty, encode
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from sqlite3 import Connection
    from typing import Self

EVENTS_MAX = 4096
_EVENTS_SLACK = 256
"""How many more there may be before the oldest go."""
_WRITES_BEFORE_CHECKPOINT = 256
"""Of some four pages each.  The log's size says nothing: the file stays as long as it ever was."""
_BUSY_S = 10.0
_UNDECODED = "Could not decode to UTF-8"
"""Of Python's module, which has no class of its own for it."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE containers (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            record TEXT NOT NULL,
            state TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE events (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            time_ns INTEGER NOT NULL,
            kind TEXT NOT NULL,
            action TEXT NOT NULL,
            actor TEXT NOT NULL,
            attributes TEXT NOT NULL
        )""",
    ),
)


class _Seen(Value):
    """The fields of a record that change while it lives."""

    json_case = "snake"

    state: State = State()
    endpoint: EndpointSettings | None = None
    ports: dict[str, tuple[PortBinding, ...]] = empty()
    restart_count: int = 0


_SEEN_DEFAULTS = {name: Record.defaults[name] for name in _Seen.fields}


class Store:
    """The database, open.  Used by one thread at a time, but for ``checkpoint``."""

    def __init__(self, path: str) -> None:
        """The database is there and has this version's tables.

        Raises:
            Conflict: a newer Pierhead made it.
            OperationFailed: it cannot be opened, or is none.
        """
        self.path = path
        self._checkpointing = threading.Lock()
        self._reserve = Reserve(path)
        self._last_event: int
        with explaining(path):
            self._connection = _connect(path)
            try:
                _migrate(self._connection, path)
                _check(self._connection, path)
                [self._last_event] = self._connection.execute(
                    "SELECT coalesce(max(sequence), 0) FROM events"
                ).fetchone()
            except BaseException:
                self._connection.close()
                raise
        self._oldest_kept = self._last_event
        self._writes = 0
        self._reserve.restore()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is open any more."""
        self._connection.close()

    @property
    def last_event(self) -> int:
        """Number of the newest event; 0 before the first."""
        return self._last_event

    # Containers

    def containers(self) -> "Iterator[Record]":
        """All, in no order.

        Raises:
            OperationFailed: what stands there cannot be read.
        """
        with explaining(self.path):
            for record, state in self._connection.execute("SELECT record, state FROM containers").fetchall():
                seen = decode(_Seen, jsontext.parse(state))
                known = decode(Record, jsontext.parse(record))
                yield known.replace(**{name: getattr(seen, name) for name in _Seen.fields})

    def write(
        self,
        *,
        put: Record | None = None,
        was: Record | None = None,
        drop: str = "",
        events: "Sequence[Event]" = (),
    ) -> tuple[Event, ...]:
        """The change and its events are there, or neither; returns the events with their numbers.

        On a full disk the reserve is used up, though not for new containers: ends are noted, and room can be
        made by removing.

        Args:
            put: a record that is new or has changed.
            was: the same as it was before, so that only what has changed is written.
            drop: id of a container that is gone.
            events: what happened.

        Raises:
            OperationFailed: the disk is full, or the file is damaged.
        """
        try:
            told = self._write(put, was, drop, events)
        except sqlite3.DatabaseError as error:
            is_new = put is not None and was is None
            if getattr(error, "sqlite_errorname", "") != "SQLITE_FULL" or is_new or not self._reserve.spend():
                raise _explained(self.path, error) from error
            try:
                told = self._write(put, was, drop, events)
            except sqlite3.DatabaseError as further:
                raise _explained(self.path, further) from further
        self._writes += 1
        if told:
            self._last_event = told[-1].sequence
        return told

    def _write(
        self, put: Record | None, was: Record | None, drop: str, events: "Sequence[Event]"
    ) -> tuple[Event, ...]:
        with transaction(self._connection):
            if put is not None:
                self._put(put, was)
            if drop:
                self._connection.execute("DELETE FROM containers WHERE id = ?", (drop,))
            return tuple(self._tell(events))

    def _put(self, record: Record, was: Record | None) -> None:
        seen = jsontext.format_compact(
            encode(_Seen(**{name: getattr(record, name) for name in _Seen.fields}))
        )
        if was is not None and _asked(was) == _asked(record):
            self._connection.execute("UPDATE containers SET state = ? WHERE id = ?", (seen, record.id))
            return
        known = jsontext.format_compact(encode(record.replace(**_SEEN_DEFAULTS)))
        self._connection.execute(
            "INSERT INTO containers VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET name = excluded.name, record = excluded.record, state = excluded.state",
            (record.id, record.name, known, seen),
        )

    # Events

    def _tell(self, events: "Iterable[Event]") -> "Iterator[Event]":
        for event in events:
            row = self._connection.execute(
                "INSERT INTO events (time_ns, kind, action, actor, attributes) VALUES (?, ?, ?, ?, ?)",
                (
                    event.time_ns,
                    event.kind,
                    event.action,
                    event.actor,
                    jsontext.format_compact(event.attributes),
                ),
            )
            number = int(row.lastrowid or 0)
            if number - self._oldest_kept > _EVENTS_SLACK:
                self._connection.execute("DELETE FROM events WHERE sequence <= ?", (number - EVENTS_MAX,))
                self._oldest_kept = number
            yield event.replace(sequence=number)

    def events_after(self, sequence: int, most: int = 256) -> list[Event]:
        """The next ones after this number, oldest first.

        Raises:
            OperationFailed: what stands there cannot be read.
        """
        with explaining(self.path):
            rows = self._connection.execute(
                "SELECT sequence, time_ns, kind, action, actor, attributes FROM events"
                " WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, most),
            )
            return [
                Event(
                    sequence=number,
                    time_ns=time_ns,
                    kind=kind,
                    action=action,
                    actor=actor,
                    attributes=jsontext.parse(attributes),
                )
                for number, time_ns, kind, action, actor, attributes in rows
            ]

    def find_event(self, since_ns: int) -> int:
        """Number of the newest event that is older than this; 0 if none is.

        Raises:
            OperationFailed: what stands there cannot be read.
        """
        with explaining(self.path):
            [found] = self._connection.execute(
                "SELECT coalesce(max(sequence), 0) FROM events WHERE time_ns < ?", (since_ns,)
            ).fetchone()
        return int(found)

    # The log

    def wants_checkpoint(self) -> bool:
        """Whether so much stands in the write-ahead log that it should be worked in."""
        return self._writes >= _WRITES_BEFORE_CHECKPOINT

    def checkpoint(self) -> None:
        """What stands in the write-ahead log stands in the database; waits for the disk, holds up nobody."""
        if not self._checkpointing.acquire(blocking=False):
            return
        self._writes = 0
        try:
            with explaining(self.path), contextlib.closing(_connect(self.path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
                self._reserve.restore()
        finally:
            self._checkpointing.release()


def _asked(record: Record) -> list[object]:
    """What is not seen but asked for or decided, to be compared quickly: most of it is the same object."""
    return [getattr(record, name) for name in Record.fields if name not in _SEEN_DEFAULTS]


def _connect(path: str) -> "Connection":
    return open_database(
        path, "synchronous=NORMAL", "wal_autocheckpoint=0", "cache_size=-512", busy_s=_BUSY_S
    )


def _migrate(connection: "Connection", path: str) -> None:
    version = read_version(connection)
    if version > len(MIGRATIONS):
        raise Conflict(
            f"the engine's database {path} was made by a newer Pierhead (its version is {version},"
            f" this Pierhead knows up to {len(MIGRATIONS)})",
            code="newer-database",
            hint="use that Pierhead, or another --data-root",
        )
    apply_migrations(connection, MIGRATIONS)


def _check(connection: "Connection", path: str) -> None:
    """Every page is where it belongs: what is read later can be read.

    Raises:
        OperationFailed: it is damaged.
    """
    [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise _damaged(path, str(found).splitlines()[-1])


@contextlib.contextmanager
def explaining(path: str) -> "Iterator[None]":
    """What the database, or what stands in it, is to blame for becomes an error of ours that says so.

    Raises:
        OperationFailed: it is damaged, or its disk is full.
        Conflict: it has such an entry.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explained(path, error) from error
    except InvalidInput as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: str, what: str) -> OperationFailed:
    message = f"the engine's database {path} is damaged: {what}"
    return OperationFailed(message, code="damaged-database", hint="move it away; images are not in it")


def _explained(path: str, error: sqlite3.DatabaseError) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_CONSTRAINT"):
        return Conflict(f"the engine's database {path} has such a container already", code="name-taken")
    if name == "SQLITE_FULL":
        message = f"cannot write to the engine's database {path}: the disk is full"
        return OperationFailed(message, code="disk-full", hint="make room on that disk")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or str(error).startswith(_UNDECODED):
        return _damaged(path, str(error))
    return OperationFailed(f"cannot use the engine's database {path}: {error}", code="database-failed")
