"""Images to directories of the first form."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.archive.frozen import FrozenImage, write_frozen
from pierhead.images.archive.load import load
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.oci.image import MANIFEST, Manifest
from tests.support import image_archives as made
from tests.support.image_contents import add_content, add_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.oci.image import Descriptor

ONE, TWO = made.layer(one="1"), made.layer(two="2")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty one."""
    with Library(tmp_path / "images.db", ContentStore(tmp_path / "content")) as made_library:
        yield made_library


def image(library: Library, scratch: Path, *layers: bytes) -> Descriptor:
    """An image of compressed layers in the store."""
    directory = made.write_files(scratch, made.docker_save(*layers, compressed=True))
    with library.lease() as lease:
        [loaded] = load(directory, library, lease)
        library.set_image(scratch.name, loaded.descriptor)
    return loaded.descriptor


def test_the_first_form(library: Library, tmp_path: Path) -> None:
    """Each layer has its directory, with an archive that is not compressed; a repeated one is a link."""
    descriptor = image(library, tmp_path / "image", ONE, TWO, ONE)
    frozen = FrozenImage(repository="box", tag="latest", descriptor=descriptor)
    write_frozen([frozen], library.content, tmp_path / "frozen")
    repositories = json.loads((tmp_path / "frozen/repositories").read_text())
    layer = repositories["box"]["latest"]
    found = []
    while layer:
        directory = tmp_path / "frozen" / layer
        assert (directory / "VERSION").read_text() == "1.0"
        document = json.loads((directory / "json").read_text())
        assert document["id"] == layer
        found.append(((directory / "layer.tar").read_bytes(), (directory / "layer.tar").is_symlink()))
        layer = document.get("parent")
    assert found == [(ONE, True), (TWO, False), (ONE, False)]
    [saved] = json.loads((tmp_path / "frozen/manifest.json").read_text())
    assert saved["RepoTags"] == ["box:latest"]
    assert (tmp_path / "frozen" / saved["Config"]).read_bytes() == made.config(ONE, TWO, ONE)


def test_both_of_its_forms_are_read_again(library: Library, tmp_path: Path) -> None:
    """By manifest.json, and by the layers' own documents where that is missing."""
    one, two = image(library, tmp_path / "one", ONE), image(library, tmp_path / "two", ONE, TWO)
    write_frozen(
        [
            FrozenImage(repository="a", tag="1", descriptor=one),
            FrozenImage(repository="a", tag="2", descriptor=two),
            FrozenImage(repository="b", tag="1", descriptor=two),
        ],
        library.content,
        tmp_path / "frozen",
    )
    for _ in range(2):
        with library.lease() as lease:
            images = load(tmp_path / "frozen", library, lease)
        assert sorted(each.names for each in images) == [("a:1",), ("a:2", "b:1")]
        (tmp_path / "frozen/manifest.json").unlink(missing_ok=True)


def test_an_artifact(library: Library, tmp_path: Path) -> None:
    """Has no layers that anybody could load, whatever its contents are."""
    artifact = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        config=add_content(library.content, b"{}", "application/vnd.oci.empty.v1+json"),
        layers=(),
    )
    frozen = FrozenImage(
        repository="chart", tag="1", descriptor=add_document(library.content, artifact, MANIFEST)
    )
    with pytest.raises(InvalidInput, match="chart:1 is an artifact and has no files"):
        write_frozen([frozen], library.content, tmp_path / "frozen")


def test_what_the_store_lacks(library: Library, tmp_path: Path) -> None:
    """It is named."""
    descriptor = image(library, tmp_path / "image", ONE)
    library.content.remove(f"sha256:{made.sha256(gzip.compress(ONE, mtime=0))}")
    with pytest.raises(NotFound, match="is not here"):
        write_frozen(
            [FrozenImage(repository="box", tag="1", descriptor=descriptor)],
            library.content,
            tmp_path / "frozen",
        )


def test_configurations_that_lie(library: Library, tmp_path: Path) -> None:
    """A layer that is another one, or one too many, is refused."""
    for raw, error in ((made.config(TWO), InvalidInput), (made.config(ONE, TWO), Conflict)):
        files = made.oci_layout(ONE)
        name = next(each for each in files if files[each] == made.config(ONE))
        manifest = next(each for each in files if b'"config"' in files[each])
        config = f"sha256:{made.sha256(raw)}"
        text = files[manifest].decode().replace("sha256:" + name[-64:], config)
        text = text.replace(f'"size": {len(files[name])}', f'"size": {len(raw)}')
        library.content.write(raw)
        library.content.write(ONE)
        digest = library.content.write(text.encode())
        frozen = FrozenImage(
            repository="box",
            tag="1",
            descriptor=image(library, tmp_path / "ok", ONE).replace(digest=digest, size=len(text)),
        )
        with pytest.raises(error):
            write_frozen([frozen], library.content, tmp_path / "frozen")
