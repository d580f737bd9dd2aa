"""What contents are for: names of images, leases, unpacked layers, and facts that save work.

    with Library("/var/lib/pierhead/images.db", content) as library, library.lease(purpose="pull") as lease:
        lease.pin(digest)                                   # then ask whether it is there, fetch it if not
        library.set_image("docker.io/library/debian:trixie", descriptor)
    library.collect()                                       # at any time, in any process

    database     the file, its tables and transactions
    records      rows as values
    leases       what is being worked with
    marking      what is needed, by whom (pure)
    stacks       snapshots of unpacked layers
    collection   removal of the rest
    usage        sums (pure)

A reference never stands for something that is not here: ``set_image`` looks, within the transaction that
makes it, and a collection runs in one too.  Names of images are kept as they are given.
"""

from __future__ import annotations

import os
import time

from pierhead.errors import Conflict, NotFound
from pierhead.images.library import records
from pierhead.images.library.collection import (
    Inventory,
    Item,
    Place,
    Request,
    collect,
    exists_in,
    reader,
    take_inventory,
)
from pierhead.images.library.database import Database
from pierhead.images.library.leases import Lease, take_lease
from pierhead.images.library.marking import Owner
from pierhead.images.library.records import Image, Layer
from pierhead.images.library.usage import ImageUsage, Usage, compute_usage
from pierhead.images.walk import find_missing, find_presences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self

    from pierhead.images.content import ContentStore
    from pierhead.images.library.stacks import Snapshots
    from pierhead.images.walk import Presence
    from pierhead.oci.image import Descriptor

__all__ = ["Image", "ImageUsage", "Inventory", "Item", "Layer", "Lease", "Library", "Owner", "Usage"]


class Library:
    """The references, leases and facts about one content store, shared by any number of processes."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        content: ContentStore,
        *,
        snapshotters: Iterable[Snapshots] = (),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """The database is there; leases are files in ``leases`` beside it.

        Args:
            path: of the database.
            content: the contents it speaks of.
            snapshotters: those whose unneeded layers collections remove.
            clock_ns: nanoseconds since 1970.

        Raises:
            Conflict: a newer Pierhead made the database.
            OperationFailed: it cannot be opened.
        """
        path = os.path.abspath(os.fspath(path))
        leases = f"{os.path.dirname(path)}/leases"
        os.makedirs(leases, mode=0o700, exist_ok=True)
        self.content = content
        self._place = Place(content=content, leases=leases, snapshotters=tuple(snapshotters))
        self._clock_ns = clock_ns
        self._database = Database(path, lock_path=leases)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Connections are closed.  Leases that are still held keep what they pin."""
        self._database.close()

    # Images

    def set_image(self, name: str, descriptor: Descriptor) -> None:
        """The name stands for this manifest or index, also after a power cut.

        Raises:
            Conflict: something that the image needs is not here (of an index: of every image in it).
            InvalidInput: a document is not what its media type says.
        """
        with self._database.writing() as connection:
            missing = find_missing(descriptor, reader(self.content), exists_in(self.content))
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise Conflict(
                    f"the image {name} is incomplete: the content {missing[0].digest}{more} is not here",
                    code="incomplete-image",
                    hint="pull it again",
                )
            records.put_image(connection, name, descriptor, self._clock_ns())

    def find_image(self, name: str) -> Image | None:
        """The image of this name."""
        with self._database.reading() as connection:
            return records.find_image(connection, name)

    def get_image(self, name: str) -> Image:
        """The image of this name.

        Raises:
            NotFound: there is none.
        """
        image = self.find_image(name)
        if image is None:
            raise _no_image(name)
        return image

    def images(self) -> tuple[Image, ...]:
        """All, by their names."""
        with self._database.reading() as connection:
            return records.list_images(connection)

    def remove_image(self, name: str) -> Image:
        """The name stands for nothing; returns what it stood for.  A collection removes the contents.

        Raises:
            NotFound: there is no such image.
        """
        with self._database.writing() as connection:
            image = records.find_image(connection, name)
            if image is None:
                raise _no_image(name)
            records.delete_image(connection, name)
        return image

    def presences(self, descriptor: Descriptor) -> tuple[Presence, ...]:
        """Of each platform's image in an index, or of the one that it is: how much is here."""
        return find_presences(descriptor, reader(self.content), exists_in(self.content))

    # Leases

    def lease(self, *, purpose: str = "") -> Lease:
        """Protection for what is being worked with; a context manager.

        Args:
            purpose: what for, as people read it in ``pier df``: ``pull of debian:trixie``.
        """
        return take_lease(
            self._database,
            self.content.root,
            self._place.leases,
            purpose=purpose,
            now_ns=self._clock_ns(),
        )

    # Layers

    def record_layer(self, layer: Layer) -> None:
        """A committed snapshot is known; its ``created_ns`` is set where it is 0."""
        with self._database.writing() as connection:
            made_ns = layer.created_ns or self._clock_ns()
            records.put_layer(connection, layer.replace(created_ns=made_ns))

    def find_layer(self, snapshotter: str, chain_id: str) -> Layer | None:
        """The layer, if this snapshotter has it.  It stays only while it is pinned or an image needs it."""
        with self._database.reading() as connection:
            return records.find_layer(connection, snapshotter, chain_id)

    def layers(self) -> tuple[Layer, ...]:
        """All, in the order in which they were recorded."""
        with self._database.reading() as connection:
            return records.list_layers(connection)

    def forget_layer(self, snapshotter: str, chain_id: str) -> None:
        """The snapshotter has turned out not to have the layer."""
        with self._database.writing() as connection:
            records.delete_layers(connection, [(snapshotter, chain_id)])

    # Facts about contents; they may outlive the contents

    def record_compressed(self, diff_id: str, descriptor: Descriptor) -> None:
        """The content is a form of the uncompressed archive ``diff_id``, compressed or not."""
        with self._database.writing() as connection:
            records.put_compressed(connection, diff_id, descriptor)

    def record_forms(self, forms: Iterable[tuple[str, Descriptor]]) -> None:
        """As ``record_compressed`` for many diff ids; one commit."""
        with self._database.writing() as connection:
            for diff_id, descriptor in forms:
                records.put_compressed(connection, diff_id, descriptor)

    def compressed(self, diff_id: str) -> tuple[Descriptor, ...]:
        """Known forms of an archive, smallest first; ask the store which of them are here."""
        with self._database.reading() as connection:
            return records.list_compressed(connection, diff_id)

    def find_diff_id(self, digest: str) -> str:
        """Of which uncompressed archive the content is a form; "" if that is not known."""
        with self._database.reading() as connection:
            return records.find_diff_id(connection, digest)

    def record_source(self, digest: str, repository: str) -> None:
        """The repository (``HOST/PATH``) has the content."""
        with self._database.writing() as connection:
            records.put_source(connection, digest, repository)

    def record_sources(self, digests: Iterable[str], repository: str) -> None:
        """The repository has all these contents; one commit."""
        with self._database.writing() as connection:
            for digest in digests:
                records.put_source(connection, digest, repository)

    def sources(self, digest: str) -> tuple[str, ...]:
        """Repositories that are known to have, or to have had, the content."""
        with self._database.reading() as connection:
            return records.list_sources(connection, digest)

    def forget_source(self, digest: str, repository: str) -> None:
        """The repository has turned out not to have the content."""
        with self._database.writing() as connection:
            records.delete_source(connection, digest, repository)

    # Space

    def usage(self) -> Usage:
        """What each byte is for.

        Raises:
            Conflict: as ``collect``.
        """
        with self._database.reading() as connection:
            inventory = take_inventory(connection, self._place, Request(now_ns=self._clock_ns()))
            return compute_usage(records.list_images(connection), inventory)

    def plan_collection(self, *, without: Iterable[str] = (), parts_kept_s: float = 0.0) -> Inventory:
        """What ``collect`` would remove and leave, and why.

        Args:
            without: names of images that would be removed before.
            parts_kept_s: as for ``collect``.

        Raises:
            Conflict: as ``collect``.
        """
        request = Request(without=frozenset(without), parts_kept_s=parts_kept_s, now_ns=self._clock_ns())
        with self._database.reading() as connection:
            return take_inventory(connection, self._place, request)

    def collect(self, *, parts_kept_s: float = 0.0) -> Inventory:
        """What no image and no live lease needs is gone; the inventory tells what went and what stays.

        Args:
            parts_kept_s: the beginnings of contents that are younger than this stay, for a pull to go on.

        Raises:
            Conflict: a document of an image is damaged, so that nobody knows what the image needs; nothing
                was removed.
        """
        request = Request(parts_kept_s=parts_kept_s, now_ns=self._clock_ns())
        return collect(self._database, self._place, request)


def _no_image(name: str) -> NotFound:
    return NotFound(
        f"there is no image {name}", code="image-not-found", hint="pier images lists those there are"
    )
