"""Snapshots of unpacked layers: which stay, and how the others go.

A layer's row stands in the library, its files in a snapshotter.  The row goes first; a committed snapshot
without one is garbage that the next collection finds, and so is what a dead lease's holder was working on
(its keys begin with the lease's id).  Whoever makes a layer pins its chain id first; if the snapshotter then
says that it has that snapshot already, it is whole, and only its row is missing.
"""

from __future__ import annotations

from pierhead.errors import NotFound
from pierhead.images.library import records
from pierhead.images.library.leases import is_alive, lease_of_key
from pierhead.images.library.records import Layer
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Protocol

    from pierhead.images.library.database import Database

    class Listed(Protocol):
        """A snapshot, as a snapshotter lists it."""

        @property
        def name(self) -> str:
            """Its key, or its name when it is committed."""

        @property
        def kind(self) -> str:
            """``committed``, or else something in use."""

        @property
        def parent(self) -> str:
            """Name of the one below, "" for none."""

    class Snapshots(Protocol):
        """What a collection needs of a snapshotter."""

        @property
        def name(self) -> str:
            """As rows of layers have it."""

        def walk(self) -> Iterable[Listed]:
            """All its snapshots."""

        def remove(self, name: str, /) -> None:
            """There is no snapshot of this key or name; NotFound if there was none."""

        def shared_bytes(self, names: Iterable[str], /) -> int:
            """What the sizes of these count more than once, since they share files."""

        def remove_unshared(self) -> None:
            """Nothing is kept for sharing that no snapshot has any more."""


class Stack(Value):
    """What a snapshotter had at one moment.

    Fields:
        snapshotter: its name.
        parents: of each committed snapshot, "" for none.
        used: committed ones upon which somebody works, or a container runs.
        abandoned: keys on which nobody works any more.
    """

    snapshotter: str
    parents: dict[str, str]
    used: frozenset[str]
    abandoned: tuple[str, ...]

    def with_all_below(self, names: Iterable[str]) -> set[str]:
        """These and what they stand on."""
        found: set[str] = set()
        for each in names:
            at = each
            while at in self.parents and at not in found:
                found.add(at)
                at = self.parents[at]
        return found

    def topmost_first(self) -> list[str]:
        """Committed ones in an order in which none comes before what stands on it."""
        heights: dict[str, int] = {"": 0}
        for name in self.parents:
            path = []
            at = name
            while at in self.parents and at not in heights:
                path.append(at)
                at = self.parents[at]
            height = heights.get(at, 0)
            for each in reversed(path):
                height += 1
                heights[each] = height
        return sorted(self.parents, key=lambda name: (-heights[name], name))


def observe_stack(snapshots: Snapshots, leases: str) -> Stack:
    """What the snapshotter has; ``leases`` is the directory by which dead leases are known."""
    listed = tuple(snapshots.walk())
    abandoned = tuple(
        each.name
        for each in listed
        if each.kind != "committed" and (lease := lease_of_key(each.name)) and not is_alive(leases, lease)
    )
    return Stack(
        snapshotter=snapshots.name,
        parents={each.name: each.parent for each in listed if each.kind == "committed"},
        used=frozenset(
            each.parent for each in listed if each.kind != "committed" and each.name not in abandoned
        ),
        abandoned=abandoned,
    )


def find_layers(
    rows: tuple[Layer, ...], stacks: tuple[Stack, ...], needed: Collection[str]
) -> Iterator[tuple[Layer, str]]:
    """All layers, with the reason why each stays; "" where nothing but an owner of its own could keep it.

    Snapshots without a row are among them, with nothing but their names.

    Args:
        rows: what is recorded.
        stacks: what snapshotters have.
        needed: chain ids that have owners.
    """
    known = {stack.snapshotter: stack for stack in stacks}
    under = {stack.snapshotter: stack.with_all_below(stack.used) for stack in stacks}
    held = {
        stack.snapshotter: stack.with_all_below(each for each in stack.parents if each in needed)
        for stack in stacks
    }
    recorded = {(row.snapshotter, row.chain_id): row for row in rows}
    bare = (
        Layer(snapshotter=stack.snapshotter, chain_id=name, diff_id="", parent=parent)
        for stack in stacks
        for name, parent in stack.parents.items()
        if (stack.snapshotter, name) not in recorded
    )
    for layer in (*rows, *bare):
        if layer.snapshotter not in known:
            yield layer, f"the snapshotter {layer.snapshotter} is not looked after here"
        elif layer.chain_id in under[layer.snapshotter]:
            yield layer, "a container stands on it"
        elif layer.chain_id in held[layer.snapshotter]:
            yield layer, "a layer that is needed stands on it"
        else:
            yield layer, ""


def remove_abandoned(snapshots: Snapshots, leases: str) -> None:
    """What the holders of dead leases were working on is gone.  Nobody else knows these keys."""
    for key in observe_stack(snapshots, leases).abandoned:
        _remove(snapshots, key)


def remove_unrecorded(database: Database, snapshots: Snapshots, leases: str) -> None:
    """Committed snapshots without a row are gone, unless they are pinned or something stands on them.

    One short transaction for each: removing files takes long, and pins must not wait for all of them.
    """
    for name in observe_stack(snapshots, leases).topmost_first():
        with database.writing() as connection:
            if records.find_layer(connection, snapshots.name, name) or records.is_pinned(connection, name):
                continue
            stack = observe_stack(snapshots, leases)
            if name not in stack.used and name not in stack.parents.values():
                _remove(snapshots, name)


def _remove(snapshots: Snapshots, name: str) -> None:
    """Another collection may have been quicker."""
    try:
        snapshots.remove(name)
    except NotFound:
        return
