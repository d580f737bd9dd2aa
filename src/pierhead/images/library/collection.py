"""Garbage collection: what no image and no live lease needs is removed, while others pull and push.

    no transaction              snapshots on which dead leases' holders were working are removed
    one write transaction       dead leases, marking, contents and parts unlinked, rows of layers deleted
    one for each snapshot       a committed snapshot without a row is removed
    no transaction              what was kept for sharing and nobody has any more is removed

Killed anywhere, nothing is lost and nothing wrong is left: a reference is removed, for good, before the
contents that it needed are; the row of a layer before its snapshot.

Source for the order of events: ``leases``.
"""

from __future__ import annotations

import os

from pierhead.errors import NotFound
from pierhead.images.content import part_digest
from pierhead.images.library import records
from pierhead.images.library.leases import is_alive, remove_dead_leases
from pierhead.images.library.marking import Owner, Root, mark
from pierhead.images.library.stacks import find_layers, observe_stack, remove_abandoned, remove_unrecorded
from pierhead.oci.image import DOCUMENT_BYTES_MAX
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from sqlite3 import Connection
    from typing import Literal

    from pierhead.images.content import ContentStore
    from pierhead.images.library.database import Database
    from pierhead.images.library.marking import Marks
    from pierhead.images.library.stacks import Snapshots
    from pierhead.images.walk import Exists, Read


class Item(Value):
    """Something in the store that takes space.

    Fields:
        kind: ``content``, ``part`` (of a content that did not arrive whole) or ``layer`` (unpacked).
        name: digest, chain id, or the part's file.
        needed: whether it stays.
        reason: why it stays or goes, in words.
        what: what a content is in its images (``manifest``, ``config``, ``layer`` …); a layer's snapshotter.
        size_bytes: what it takes.
        owners: who needs it.
    """

    kind: Literal["content", "part", "layer"]
    name: str
    needed: bool
    reason: str
    what: str = ""
    size_bytes: int = 0
    owners: tuple[Owner, ...] = ()


class Inventory(Value):
    """Everything in the store.

    Fields:
        items: piece by piece.
        shared_bytes: what the items' sizes count more than once: files that layers share.
        kept_shared_bytes: the same of those that stay.
    """

    items: tuple[Item, ...] = ()
    shared_bytes: int = 0
    kept_shared_bytes: int = 0

    @property
    def kept(self) -> tuple[Item, ...]:
        """What a collection leaves."""
        return tuple(item for item in self.items if item.needed)

    @property
    def removed(self) -> tuple[Item, ...]:
        """What a collection takes."""
        return tuple(item for item in self.items if not item.needed)

    @property
    def removed_bytes(self) -> int:
        """What a collection frees: not what a layer that stays has too."""
        shared_bytes = self.shared_bytes - self.kept_shared_bytes
        return sum(item.size_bytes for item in self.removed) - shared_bytes


class Request(Value):
    """What is to be collected.

    Fields:
        without: names of images, as if they had been removed already; for plans only.
        parts_kept_s: parts younger than this stay, so that an interrupted pull can go on.
        now_ns: the time, in nanoseconds since 1970.
    """

    without: frozenset[str] = frozenset()
    parts_kept_s: float = 0.0
    now_ns: int = 0


class Place(Value):
    """Where everything is."""

    content: ContentStore
    leases: str
    snapshotters: tuple[Snapshots, ...]


def reader(content: ContentStore) -> Read:
    """Documents out of a store, each read once; None for what is not there."""
    seen: dict[str, bytes | None] = {}

    def read(digest: str) -> bytes | None:
        if digest not in seen:
            try:
                seen[digest] = content.read(digest, limit_bytes=DOCUMENT_BYTES_MAX)
            except NotFound:
                seen[digest] = None
        return seen[digest]

    return read


def exists_in(content: ContentStore) -> Exists:
    """Whether contents are in a store."""
    return lambda digest: content.find_size(digest) is not None


# What is there, and what for


def take_inventory(connection: Connection, place: Place, request: Request) -> Inventory:
    """What is there and what it is for; nothing is changed.

    Raises:
        Conflict: a document of an image is damaged, so that nobody knows what the image needs.
    """
    items = tuple(_items(connection, place, request, _mark(connection, place, request)))
    return _count_shared(Inventory(items=items), place)


def _count_shared(inventory: Inventory, place: Place) -> Inventory:
    """With the bytes that layers share, as long as their files are there."""
    shared = kept = 0
    for each in place.snapshotters:
        layers = [item for item in inventory.items if item.kind == "layer" and item.what == each.name]
        shared += each.shared_bytes([item.name for item in layers])
        kept += each.shared_bytes([item.name for item in layers if item.needed])
    return inventory.replace(shared_bytes=shared, kept_shared_bytes=kept)


def _mark(connection: Connection, place: Place, request: Request) -> Marks:
    roots, names = records.list_pins(connection)
    alive = {
        owner.lease
        for owner in {root.owner for root in roots} | {owner for _, owner in names}
        if is_alive(place.leases, owner.lease)
    }
    images = [
        Root(owner=Owner(image=image.name), descriptor=image.descriptor)
        for image in records.list_images(connection)
        if image.name not in request.without
    ]
    return mark(
        [*images, *(root for root in roots if root.owner.lease in alive)],
        [(name, owner) for name, owner in names if owner.lease in alive],
        reader(place.content),
        exists_in(place.content),
    )


def _items(connection: Connection, place: Place, request: Request, marks: Marks) -> Iterator[Item]:
    yield from _contents(place.content, marks)
    yield from _parts(place.content, marks, request)
    rows = records.list_layers(connection)
    stacks = tuple(observe_stack(each, place.leases) for each in place.snapshotters)
    for layer, reason in find_layers(rows, stacks, marks.chains):
        owners = _sorted(marks.chains.get(layer.chain_id, ()))
        yield Item(
            kind="layer",
            name=layer.chain_id,
            needed=bool(owners or reason),
            reason=_reason(owners) or reason or "no image has it",
            what=layer.snapshotter,
            size_bytes=layer.size_bytes,
            owners=owners,
        )


def _contents(content: ContentStore, marks: Marks) -> Iterator[Item]:
    for digest, size in content.digests():
        owners = _sorted(marks.contents.get(digest, ()))
        yield Item(
            kind="content",
            name=digest,
            needed=bool(owners),
            reason=_reason(owners) or "no image has it",
            what=marks.kinds.get(digest, "content"),
            size_bytes=size,
            owners=owners,
        )


def _parts(content: ContentStore, marks: Marks, request: Request) -> Iterator[Item]:
    for path, size in content.parts():
        digest = part_digest(path)
        owners = _sorted(marks.contents.get(digest, ()))
        is_here = bool(digest) and content.find_size(digest) is not None
        keeping = bool(digest) and request.parts_kept_s > 0
        young = keeping and _age_s(path, request.now_ns) < request.parts_kept_s
        if is_here:  # by another way, after whoever began was killed
            reason = "the whole content is here"
        elif owners:
            reason = _reason(owners)
        elif young:
            reason = "the next pull goes on from it"
        else:
            reason = "a pull that was interrupted" if digest else "somebody who wrote it was stopped"
        yield Item(
            kind="part",
            name=path,
            needed=not is_here and (bool(owners) or young),
            reason=reason,
            what=digest,
            size_bytes=size,
            owners=() if is_here else owners,
        )


def _age_s(path: str, now_ns: int) -> float:
    try:
        return (now_ns - os.stat(path).st_mtime_ns) / 1e9
    except FileNotFoundError:
        return 0.0


def _sorted(owners: Iterable[Owner]) -> tuple[Owner, ...]:
    return tuple(sorted(owners, key=lambda owner: (owner.image, owner.lease)))


def _reason(owners: tuple[Owner, ...]) -> str:
    """Words for the first three."""
    shown = [owner.words for owner in owners[:3]]
    more = [f"{len(owners) - 3} more"] if len(owners) > 3 else []
    return ", ".join(shown + more)


# Removal


def collect(database: Database, place: Place, request: Request) -> Inventory:
    """What nobody needs is gone; the inventory tells what was there.

    Raises:
        Conflict: as ``take_inventory``; nothing was removed.
    """
    for each in place.snapshotters:
        remove_abandoned(each, place.leases)
    with database.writing() as connection:
        remove_dead_leases(connection, place.leases)
        marks = _mark(connection, place, request)
        inventory = Inventory(items=tuple(_items(connection, place, request, marks)))
        for item in inventory.removed:
            if item.kind == "content":
                place.content.remove(item.name)
            elif item.kind == "part":
                place.content.remove_part(item.name)
        place.content.remove_locks()
        records.delete_layers(
            connection, [(item.what, item.name) for item in inventory.removed if item.kind == "layer"]
        )
        records.forget_facts(
            connection,
            contents={item.name for item in inventory.kept if item.kind == "content"},
            diff_ids=marks.diff_ids | {row.diff_id for row in records.list_layers(connection)},
        )
    inventory = _count_shared(inventory, place)
    for each in place.snapshotters:
        remove_unrecorded(database, each, place.leases)
        each.remove_unshared()
    database.settle()
    return inventory
