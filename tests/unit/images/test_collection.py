"""Garbage collection, and what it says about each byte."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import Conflict
from pierhead.images.content import ContentStore
from pierhead.images.library import Item, Layer, Library, Owner
from pierhead.images.walk import chain_ids
from pierhead.oci.image import LAYER_GZIP, Descriptor
from tests.support.images import describe, make_image, make_index, put_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOUR_NS = 3600 * 10**9


class Info(NamedTuple):
    """A snapshot as it is listed."""

    name: str
    kind: str
    parent: str


class Snapshots:
    """A snapshotter's snapshots in memory: committed ones with their parents, and active ones."""

    name = "overlay"

    def __init__(self) -> None:
        """None yet."""
        self.parents: dict[str, str] = {}
        self.active: dict[str, str] = {}
        self.sharing: set[str] = set()
        self.swept = 0

    def walk(self) -> Iterable[Info]:
        """All."""
        yield from [Info(name, "committed", parent) for name, parent in self.parents.items()]
        yield from [Info(key, "active", parent) for key, parent in self.active.items()]

    def remove(self, name: str) -> None:
        """As a snapshotter does, only if nothing stands on it."""
        assert name not in (*self.parents.values(), *self.active.values())
        del (self.active if name in self.active else self.parents)[name]

    def shared_bytes(self, names: Iterable[str]) -> int:
        """Those that share have ten bytes in common."""
        return 10 * max(0, len(self.sharing.intersection(names)) - 1)

    def remove_unshared(self) -> None:
        """Counts how often it is asked to."""
        self.swept += 1


class Store:
    """A library, its contents and its snapshots."""

    def __init__(self, root: Path) -> None:
        """Everything is empty; it is the first hour."""
        self.snapshots = Snapshots()
        self.content = ContentStore(root / "content")
        self.now_ns = HOUR_NS
        self.library = Library(
            root / "images.db",
            self.content,
            snapshotters=[self.snapshots],
            clock_ns=lambda: self.now_ns,
        )
        self.leases = root / "leases"

    def image(self, *layers: bytes, architecture: str = "amd64") -> Descriptor:
        """An image's contents are here."""
        return make_image(put_in(self.content), layers, architecture=architecture)

    def unpack(self, *layers: bytes) -> tuple[str, ...]:
        """Their snapshots are there and recorded; returns the chain ids."""
        diff_ids = tuple(compute_digest(layer) for layer in layers)
        parent = ""
        for diff_id, chain_id in zip(diff_ids, chain_ids(diff_ids), strict=True):
            self.snapshots.parents[chain_id] = parent
            self.library.record_layer(
                Layer(snapshotter="overlay", chain_id=chain_id, diff_id=diff_id, parent=parent, size_bytes=50)
            )
            parent = chain_id
        return chain_ids(diff_ids)

    def has(self, *contents: bytes) -> list[bool]:
        """Which of these are here."""
        return [self.content.find_size(compute_digest(each)) is not None for each in contents]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty one."""
    made = Store(tmp_path)
    with made.library:
        yield made


def reasons(items: Iterable[Item]) -> dict[str, str]:
    """By their names."""
    return {item.name: item.reason for item in items}


def test_what_images_need_stays(store: Store) -> None:
    """The rest goes."""
    one = store.image(b"a", b"shared")
    store.library.set_image("one", one)
    two = store.image(b"b", b"shared")
    found = store.library.collect()
    assert {item.name for item in found.removed} >= {two.digest, compute_digest(b"b")}
    assert store.has(b"a", b"shared", b"b") == [True, True, False]
    store.library.remove_image("one")
    store.library.collect()
    assert not list(store.content.digests())


def test_an_index_keeps_what_is_here_of_it(store: Store) -> None:
    """Also images that are only partly here; what it lacks is no error."""
    images = [store.image(name.encode(), architecture=name) for name in ("a", "b", "c")]
    index = make_index(put_in(store.content), images)
    store.content.remove(compute_digest(b"b"))
    store.content.remove(images[2].digest)
    store.library.set_image("box", index)
    store.library.collect()
    assert store.has(b"a", b"b", b"c") == [True, False, False]
    assert store.content.find_size(images[1].digest) is not None


def test_leases_keep_what_they_pin(store: Store) -> None:
    """Contents that are there or will be, and whole graphs."""
    held = store.image(b"a")
    with store.library.lease(purpose="save of box") as lease:
        lease.pin(compute_digest(b"later"))
        lease.pin_graph(held)
        store.content.write(b"later")
        found = store.library.collect()
        assert store.has(b"a", b"later") == [True, True]
        assert reasons(found.kept)[held.digest] == "a running save of box"
    store.library.collect()
    assert store.has(b"a", b"later") == [False, False]


def test_dead_leases_keep_nothing(store: Store) -> None:
    """A lease ends with its process, whatever that died of."""
    lease = store.library.lease()
    store.content.write(b"a")
    lease.pin(compute_digest(b"a"))
    os.close(lease._fd)
    lease._fd = -1
    assert compute_digest(b"a") in reasons(store.library.plan_collection().removed)
    assert os.listdir(store.leases) == [lease.id]
    store.library.collect()
    assert store.has(b"a") == [False]
    assert not os.listdir(store.leases)


def test_a_file_of_a_lease_that_never_was(store: Store) -> None:
    """Its maker was killed before anything was written."""
    (store.leases / "0123").touch()
    store.library.collect()
    assert not os.listdir(store.leases)


def test_parts(store: Store) -> None:
    """Young ones stay if that is asked for, those that are written or pinned always."""
    for name in (b"old", b"young", b"pinned"):
        with store.content.ingest(compute_digest(name)) as ingest:
            ingest.append(name[:2])
    for path, _ in store.content.parts():
        age = 2 if compute_digest(b"old")[7:] in path else 0
        os.utime(path, ns=(0, store.now_ns - age * HOUR_NS))
    with (
        store.library.lease() as lease,
        store.content.ingest(compute_digest(b"written")) as written,
    ):
        written.append(b"w")
        lease.pin(compute_digest(b"pinned"))
        found = store.library.collect(parts_kept_s=3600)
        assert [item.reason for item in found.removed] == ["a pull that was interrupted"]
        assert found.removed_bytes == 2
        found = store.library.collect()
        assert [item.what for item in found.removed] == [compute_digest(b"young")]
        assert len(list(store.content.parts())) == 1
    assert store.library.collect().removed_bytes == 3
    assert not os.listdir(f"{store.content.root}/ingest")


def test_parts_of_what_is_here(store: Store) -> None:
    """Whoever began was killed, and the content came by another way: nobody goes on from the part, however
    young it is and whoever has the content.
    """
    with store.content.ingest(compute_digest(b"layer")) as ingest:
        ingest.append(b"la")
    store.library.set_image("box", store.image(b"layer"))
    found = store.library.collect(parts_kept_s=3600)
    assert [item.reason for item in found.removed] == ["the whole content is here"]
    assert store.has(b"layer") == [True]
    assert not os.listdir(f"{store.content.root}/ingest")


def test_layers_that_no_image_needs(store: Store) -> None:
    """Their snapshots go, topmost first; a stack's lower part that an image needs stays."""
    store.library.set_image("box", store.image(b"a", b"b"))
    a, ab, abc = store.unpack(b"a", b"b", b"c")
    others = store.unpack(b"x", b"y")
    found = store.library.collect()
    assert set(store.snapshots.parents) == {a, ab}
    assert {layer.chain_id for layer in store.library.layers()} == {a, ab}
    assert {item.name for item in found.removed} == {abc, *others}
    assert found.removed_bytes == 150


def test_layers_that_are_stood_on(store: Store) -> None:
    """What a container or a lease uses stays, with all that is below it."""
    under, over = store.unpack(b"a", b"b")
    pinned_under, pinned = store.unpack(b"c", b"d")
    store.snapshots.active = {"box": over}
    with store.library.lease(purpose="run") as lease:
        lease.pin(pinned)
        found = store.library.collect()
    assert set(store.snapshots.parents) == {under, over, pinned_under, pinned}
    assert reasons(found.kept) == {
        under: "a container stands on it",
        over: "a container stands on it",
        pinned_under: "a layer that is needed stands on it",
        pinned: "a running run",
    }
    store.snapshots.active = {}
    store.library.collect()
    assert not store.snapshots.parents


def test_snapshots_that_nobody_recorded(store: Store) -> None:
    """Whoever committed them, or a collection that removed their rows, was killed; pinned ones stay."""
    chains = chain_ids(tuple(compute_digest(each) for each in (b"a", b"b")))
    store.snapshots.parents = {chains[0]: "", chains[1]: chains[0], "made now": ""}
    with store.library.lease() as lease:
        lease.pin("made now")
        found = store.library.collect()
    assert {item.reason for item in found.removed} == {"no image has it"}
    assert list(store.snapshots.parents) == ["made now"]


def test_snapshots_that_somebody_was_working_on(store: Store) -> None:
    """They go when the lease by which they were made is dead, and then what they stood on; others stay."""
    [chain] = store.unpack(b"a")
    with store.library.lease() as lease:
        store.snapshots.active = {lease.snapshot_key("0"): chain, "lease-of-a-house": "", "box": ""}
        assert not store.library.collect().removed
        assert len(store.snapshots.active) == 3
    assert [item.name for item in store.library.plan_collection().removed] == [chain]
    store.library.collect()
    assert list(store.snapshots.active) == ["lease-of-a-house", "box"]
    assert not store.snapshots.parents


def test_layers_of_snapshotters_that_are_not_given(store: Store) -> None:
    """Their rows stay: the snapshots could not be removed."""
    store.library.record_layer(Layer(snapshotter="other", chain_id="c", diff_id="d"))
    found = store.library.collect()
    assert [item.reason for item in found.kept] == ["the snapshotter other is not looked after here"]
    assert len(store.library.layers()) == 1


def test_facts_go_with_what_they_are_about(store: Store) -> None:
    """Forms of archives that an image still has are remembered, though they are not here."""
    store.library.set_image("box", store.image(b"a"))
    form, useless = describe(b"form", LAYER_GZIP), describe(b"useless", LAYER_GZIP)
    store.library.record_compressed(compute_digest(b"a"), form)
    store.library.record_compressed(compute_digest(b"gone"), useless)
    for digest in (form.digest, useless.digest, compute_digest(b"a")):
        store.library.record_source(digest, "host/box")
    store.library.collect()
    assert store.library.compressed(compute_digest(b"a")) == (form,)
    assert not store.library.compressed(compute_digest(b"gone"))
    known = [store.library.sources(each) for each in (form.digest, useless.digest, compute_digest(b"a"))]
    assert known == [("host/box",), (), ("host/box",)]


def test_a_plan_changes_nothing(store: Store) -> None:
    """It says what would go, also as if images were gone already."""
    image = store.image(b"a")
    store.library.set_image("box", image)
    store.content.write(b"loose")
    plan = store.library.plan_collection(without=["box"])
    assert {item.name for item in plan.removed} >= {image.digest, compute_digest(b"loose")}
    assert set(reasons(plan.removed).values()) == {"no image has it"}
    assert store.has(b"a", b"loose") == [True, True]
    kept = {item.name: item for item in store.library.plan_collection().kept}
    assert (kept[image.digest].what, kept[image.digest].reason) == ("manifest", "the image box")
    assert kept[compute_digest(b"a")].owners == (Owner(image="box"),)


def test_damage_stops_a_collection(store: Store) -> None:
    """What a damaged manifest pointed at is unknown; the image is named, and nothing is removed."""
    image = store.image(b"a")
    store.library.set_image("box", image)
    store.content.write(b"loose")
    raw = store.content.read(image.digest, limit_bytes=10000)
    Path(store.content.path(image.digest)).write_bytes(raw[:-1] + b" ")
    with pytest.raises(Conflict, match=re.escape("what the image box needs cannot be told")):
        store.library.collect()
    assert store.has(b"a", b"loose") == [True, True]
    store.library.remove_image("box")
    store.library.collect()
    assert not list(store.content.digests())


def test_usage(store: Store) -> None:
    """Each image with what it shares; names of one image share everything and count once."""
    one, two = store.image(b"a" * 100, b"shared" * 100), store.image(b"b" * 10, b"shared" * 100)
    for name, image in (("one", one), ("one-too", one), ("two", two)):
        store.library.set_image(name, image)
    store.content.write(b"loose")
    store.unpack(b"a" * 100)
    usage = store.library.usage()
    first, second = usage.images
    assert (first.names, second.names) == (("one", "one-too"), ("two",))
    assert first.shared_bytes == second.shared_bytes == 600
    assert first.unique_bytes == first.size_bytes - 600
    everything = sum(size for _, size in store.content.digests())
    assert first.unique_bytes + second.unique_bytes + 600 + 5 == everything + 50
    assert (usage.contents_bytes, usage.layers_bytes, usage.parts_bytes) == (everything, 50, 0)
    assert usage.total_bytes == everything + 50
    assert usage.reclaimable_bytes == 5


def test_what_layers_share_is_counted_once(store: Store) -> None:
    """A removal frees what no layer that stays has; when all is removed, what was kept for sharing goes."""
    for name, layers in (("one", (b"a",)), ("two", (b"b",))):
        store.library.set_image(name, store.image(*layers))
        store.snapshots.sharing.update(store.unpack(*layers))
    usage = store.library.usage()
    assert (usage.layers_bytes, usage.inventory.shared_bytes) == (100, 10)
    assert usage.total_bytes == usage.contents_bytes + 90
    plan = store.library.plan_collection(without=["one"])
    (layer,) = (item for item in plan.removed if item.kind == "layer")
    assert plan.removed_bytes == sum(item.size_bytes for item in plan.removed) - 10
    store.library.remove_image("one")
    assert store.library.collect().removed_bytes == plan.removed_bytes
    assert layer.name not in store.snapshots.parents
    assert store.snapshots.swept == 1
