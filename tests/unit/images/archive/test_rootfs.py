"""Archives of root file systems to images of one layer."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.images.archive.rootfs import RootfsImage, import_rootfs
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.oci.image import (
    LAYER,
    LAYER_GZIP,
    Descriptor,
    Execution,
    ImageConfig,
    Manifest,
    Platform,
    decode_config,
    decode_manifest,
)
from tests.support import image_archives as made

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT = made.layer(**{"etc/hostname": "box"})
IMAGE = RootfsImage(
    platform=Platform(os="linux", architecture="arm64", variant="v8"),
    execution=Execution(cmd=("sh",), env=("A=1",)),
    created="2026-01-01T00:00:00Z",
    comment="imported",
)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty one."""
    with Library(tmp_path / "images.db", ContentStore(tmp_path / "content")) as made_library:
        yield made_library


def imported(library: Library, data: bytes) -> Descriptor:
    """The image of an archive that comes from a pipe."""
    with library.lease() as lease:
        descriptor = made.through_pipe(data, lambda fd: import_rootfs(fd, library, lease, IMAGE))
        library.set_image("box", descriptor)
    return descriptor


def documents(library: Library, descriptor: Descriptor) -> tuple[Manifest, ImageConfig]:
    """Its manifest and configuration."""
    manifest = decode_manifest(library.content.read(descriptor.digest, limit_bytes=1 << 20))
    return manifest, decode_config(library.content.read(manifest.config.digest, limit_bytes=1 << 20))


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(ROOT, LAYER), (gzip.compress(ROOT), LAYER_GZIP), (lzma.compress(ROOT), LAYER)],
    ids=["plain", "gzip", "xz"],
)
def test_one_layer(library: Library, data: bytes, media_type: str) -> None:
    """It is the archive as it came, where OCI knows its compression; its diff id is the archive's."""
    manifest, config = documents(library, imported(library, data))
    [layer] = manifest.layers
    assert layer.media_type == media_type
    assert config.rootfs.diff_ids == (f"sha256:{made.sha256(ROOT)}",)
    assert config.platform == IMAGE.platform
    assert config.config == IMAGE.execution
    assert [each.comment for each in config.history] == ["imported"]
    assert library.compressed(config.rootfs.diff_ids[0]) == (layer,)


def test_the_same_archive_is_the_same_image(library: Library) -> None:
    """Nothing of the time or the machine is in it but what is given."""
    assert imported(library, ROOT) == imported(library, ROOT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"certainly no archive" * 100,
        gzip.compress(b"no archive" * 100),
        ROOT[:514],
        gzip.compress(ROOT)[:-9],
    ],
    ids=["nothing", "text", "compressed text", "truncated", "truncated gzip"],
)
def test_what_is_no_archive(library: Library, data: bytes) -> None:
    """It is refused, and nothing stays."""
    with pytest.raises(InvalidInput):
        imported(library, data)
    library.collect()
    assert not list(library.content.digests())
