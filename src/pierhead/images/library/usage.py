"""What each byte of the store is for: images with what they share, layers, and what nobody needs.

Computed from an inventory alone.  Pure.
"""

from __future__ import annotations

from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.images.library.collection import Inventory, Item
    from pierhead.images.library.records import Image


class ImageUsage(Value):
    """One image, under all its names.

    Fields:
        digest: of its manifest or index.
        names: references that stand for it.
        size_bytes: of its contents and unpacked layers that are here.
        shared_bytes: of those that other images have too.
        unique_bytes: of those that no other image has: what its removal frees.
    """

    digest: str
    names: tuple[str, ...]
    size_bytes: int
    shared_bytes: int
    unique_bytes: int


class Usage(Value):
    """The whole store.

    Fields:
        images: each with what it takes, by first name.
        contents_bytes: of all contents.
        layers_bytes: of all unpacked layers, each with all its files.
        parts_bytes: of what has not arrived whole.
        inventory: everything piece by piece.
    """

    images: tuple[ImageUsage, ...]
    contents_bytes: int
    layers_bytes: int
    parts_bytes: int
    inventory: Inventory

    @property
    def total_bytes(self) -> int:
        """Of everything, what layers share once."""
        return self.contents_bytes + self.layers_bytes + self.parts_bytes - self.inventory.shared_bytes

    @property
    def reclaimable_bytes(self) -> int:
        """What a collection would free."""
        return self.inventory.removed_bytes


def compute_usage(images: Iterable[Image], inventory: Inventory) -> Usage:
    """What the inventory says about these images."""
    names: dict[str, list[str]] = {}
    for image in images:
        names.setdefault(image.descriptor.digest, []).append(image.name)
    digests = {name: digest for digest, each in names.items() for name in each}
    totals = dict.fromkeys(names, 0)
    shared = dict.fromkeys(names, 0)
    for item in inventory.items:
        having = {digests[owner.image] for owner in item.owners if owner.image in digests}
        for digest in having:
            totals[digest] += item.size_bytes
            shared[digest] += item.size_bytes if len(having) > 1 else 0
    return Usage(
        images=tuple(
            ImageUsage(
                digest=digest,
                names=tuple(each),
                size_bytes=totals[digest],
                shared_bytes=shared[digest],
                unique_bytes=totals[digest] - shared[digest],
            )
            for digest, each in names.items()
        ),
        contents_bytes=_sum(inventory.items, "content"),
        layers_bytes=_sum(inventory.items, "layer"),
        parts_bytes=_sum(inventory.items, "part"),
        inventory=inventory,
    )


def _sum(items: Iterable[Item], kind: str) -> int:
    return sum(item.size_bytes for item in items if item.kind == kind)
