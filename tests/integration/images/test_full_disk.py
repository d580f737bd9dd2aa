"""A full disk: what cannot be written is said, nothing is lost, and space can be freed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import OperationFailed
from pierhead.images.archive.load import load
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from tests.support import image_archives as made
from tests.support.images import make_image, put_in
from tests.support.peers import Client
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "mount")
MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    Client(["mount", "-t", "tmpfs", "-o", "size=12m", "none", path])()
    try:
        yield path
    finally:
        Client(["umount", path])()


@contextmanager
def opened(disk: Path) -> Iterator[Library]:
    """The library on the disk."""
    with Library(disk / "images.db", ContentStore(disk / "content")) as library:
        yield library


def fill(disk: Path) -> None:
    """Somebody else takes every byte that is left."""
    with (disk / "filler").open("ab") as file:
        for size in (MIB, 4096):
            while True:
                try:
                    os.write(file.fileno(), bytes(size))
                except OSError:
                    break


def test_images_are_removed_from_a_full_disk(disk: Path) -> None:
    """Listing, removing and collecting work, also twice; then there is room, and what was kept is whole."""
    with opened(disk) as library:
        for name in ("one", "two", "three"):
            library.set_image(name, make_image(put_in(library.content), [os.urandom(2 * MIB)]))
    for name, left in (("one", 2), ("two", 1)):
        fill(disk)
        with opened(disk) as library:
            library.remove_image(name)
            assert library.collect().removed_bytes > 2 * MIB
            assert len(library.images()) == left
        with opened(disk) as library:
            assert [each.state for each in library.presences(library.images()[0].descriptor)] == ["whole"]
        assert (disk / "images.db-reserve").stat().st_size == MIB


def test_what_does_not_fit_is_not_loaded(disk: Path, tmp_path: Path) -> None:
    """The sentence says that the disk is full; what was there before is whole, what had come can be freed."""
    (tmp_path / "big.tar").write_bytes(made.archive(made.docker_save(os.urandom(30 * MIB))))
    with opened(disk) as library:
        library.set_image("small", make_image(put_in(library.content), [os.urandom(MIB)]))
        with library.lease() as lease, pytest.raises(OperationFailed, match="the disk is full") as caught:
            load(tmp_path / "big.tar", library, lease)
        assert "pier prune" in caught.value.hint
        library.set_image("again", library.get_image("small").descriptor)
        library.collect()
        assert [image.name for image in library.images()] == ["again", "small"]
        assert not list(library.content.parts())


def test_a_library_that_cannot_even_be_opened(disk: Path) -> None:
    """Without its reserve it says why."""
    with opened(disk) as library:
        library.set_image("small", make_image(put_in(library.content), [os.urandom(MIB)]))
    (disk / "images.db-reserve").unlink()
    fill(disk)
    with pytest.raises(OperationFailed, match=r"cannot write to the image library .*: the disk is full"):
        Library(disk / "images.db", ContentStore(disk / "content"))
