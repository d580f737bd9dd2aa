"""The library: names, leases, layers, facts."""

from __future__ import annotations

import itertools
import os
import sqlite3
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import Conflict, NotFound, OperationFailed
from pierhead.images.content import ContentStore
from pierhead.images.library import Layer, Library
from pierhead.images.library.database import MIGRATIONS
from pierhead.oci.image import LAYER, LAYER_GZIP, LAYER_ZSTD
from tests.support.images import describe, make_image, make_index, put_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B = compute_digest(b"a"), compute_digest(b"b")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty one whose clock counts from 1."""
    content = ContentStore(tmp_path / "content")
    with Library(tmp_path / "images.db", content, clock_ns=itertools.count(1).__next__) as made:
        yield made


def test_names(library: Library) -> None:
    """A name stands for what it was set to last; it remembers when it was made and changed."""
    put = put_in(library.content)
    one, two = make_image(put, [b"a"]), make_image(put, [b"b"])
    library.set_image("box", one)
    library.set_image("alias", one)
    library.set_image("box", two)
    assert [(image.name, image.descriptor) for image in library.images()] == [("alias", one), ("box", two)]
    box = library.get_image("box")
    assert (box.created_ns, box.updated_ns) == (1, 3)
    assert library.remove_image("box") == box
    assert library.find_image("box") is None
    for action in (library.get_image, library.remove_image):
        with pytest.raises(NotFound, match="there is no image box"):
            action("box")


def test_a_name_never_stands_for_what_is_not_here(library: Library) -> None:
    """An incomplete image is refused, and the name stays what it was."""
    put = put_in(library.content)
    whole, lacking = make_image(put, [b"a"]), make_image(put, [b"b", b"c"])
    library.set_image("box", whole)
    for each in (b"b", b"c"):
        library.content.remove(compute_digest(each))
    with pytest.raises(Conflict, match=f"box is incomplete: the content {B} and 1 more is not here"):
        library.set_image("box", lacking)
    with pytest.raises(Conflict, match="incomplete"):
        library.set_image("box", describe(b"nowhere", whole.media_type))
    assert library.get_image("box").descriptor == whole


def test_one_platform_of_an_index_is_enough(library: Library) -> None:
    """The others may come later."""
    put = put_in(library.content)
    one, two = make_image(put, [b"a"]), make_image(put, [b"b"], architecture="arm64")
    index = make_index(put, [one, two])
    library.content.remove(two.digest)
    library.set_image("box", index)
    assert [each.state for each in library.presences(index)] == ["whole", "absent"]


def test_what_is_written_lasts(tmp_path: Path, library: Library) -> None:
    """Another process finds it."""
    image = make_image(put_in(library.content), [b"a"])
    library.set_image("box", image)
    with Library(tmp_path / "images.db", library.content) as other:
        assert other.get_image("box").descriptor == image
        other.remove_image("box")
    assert not library.images()


def test_layers(library: Library) -> None:
    """Found by snapshotter and chain id."""
    layer = Layer(snapshotter="overlay", chain_id=A, diff_id=A, size_bytes=5, compressed_bytes=3)
    library.record_layer(layer)
    assert library.find_layer("overlay", A) == layer.replace(created_ns=1)
    assert library.find_layer("plain", A) is None
    assert library.layers() == (layer.replace(created_ns=1),)
    library.forget_layer("overlay", A)
    assert not library.layers()


def test_compressed_forms(library: Library) -> None:
    """All forms of an archive are known, smallest first, and the archive of each form."""
    large, small = describe(b"large", LAYER_GZIP), describe(b"few", LAYER_ZSTD)
    for form in (large, small, large):
        library.record_compressed(A, form)
    assert library.compressed(A) == (small, large)
    assert library.find_diff_id(small.digest) == A
    assert library.find_diff_id(B) == ""


def test_sources(library: Library) -> None:
    """Which repositories have a content."""
    library.record_source(A, "host/one")
    library.record_sources([A, B], "host/two")
    assert library.sources(A) == ("host/one", "host/two")
    library.forget_source(A, "host/one")
    assert library.sources(A) == ("host/two",)


def test_many_threads(library: Library) -> None:
    """Each call has a connection to itself; nothing that was written is missing."""

    def write(number: int) -> None:
        for each in range(10):
            library.record_source(A, f"host/{number}-{each}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(library.sources(A)) == 40


def test_two_that_open_a_new_library_at_once(tmp_path: Path) -> None:
    """Both find its tables."""
    content = ContentStore(tmp_path / "content")
    errors: list[Exception] = []

    def use() -> None:
        try:
            with Library(tmp_path / "images.db", content) as library:
                library.record_source(A, "host/one")
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_newer_library(tmp_path: Path) -> None:
    """Its tables may mean something else: it is not touched."""
    with sqlite3.connect(tmp_path / "images.db") as connection:
        connection.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(Conflict, match="was made by a newer Pierhead"):
        Library(tmp_path / "images.db", ContentStore(tmp_path / "content"))


def test_something_else_in_its_place(tmp_path: Path) -> None:
    """It is called damaged, in a sentence."""
    (tmp_path / "images.db").write_bytes(b"certainly not a database" * 100)
    with pytest.raises(OperationFailed, match="is damaged"):
        Library(tmp_path / "images.db", ContentStore(tmp_path / "content"))


def test_a_lease_ends(library: Library, tmp_path: Path) -> None:
    """With its file; afterwards it keeps nothing more."""
    with library.lease(purpose="pull of box") as lease:
        assert os.listdir(tmp_path / "leases") == [lease.id]
        lease.pin(A)
    assert os.listdir(tmp_path / "leases") == []
    with pytest.raises(Conflict, match="has ended"):
        lease.pin(A)


def test_what_a_lease_writes_is_pinned_first(library: Library) -> None:
    """A collection right after the content appeared leaves it."""
    with library.lease() as lease:
        digest = lease.content.write(b"new")
        library.collect()
        assert library.content.find_size(digest) == 3
        with lease.content.ingest(A) as ingest:
            ingest.append(b"a")
            ingest.commit()
        library.collect()
        assert library.content.find_size(A) == 1
    library.collect()
    assert not list(library.content.digests())


def test_an_uncompressed_form_is_a_form(library: Library) -> None:
    """Its digest is the diff id."""
    library.record_compressed(A, describe(b"a", LAYER))
    assert library.find_diff_id(A) == A
