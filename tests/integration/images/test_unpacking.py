"""Images unpacked to snapshots: what containers of them see, with either snapshotter."""

from __future__ import annotations

import asyncio
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.images.exchange import load_images
from pierhead.images.roots import open_root
from pierhead.images.service import SNAPSHOTTERS, ImageService
from pierhead.images.snapshots import open_mounts
from pierhead.images.unpacking import unpack_image
from tests.support.image_archives import archive, link, oci_layout, write_files
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")


@pytest.fixture(params=sorted(SNAPSHOTTERS))
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageService]:
    """Over an empty store, with each snapshotter."""
    policy = str(tmp_path / "policy.toml")
    with ImageService(tmp_path / "store", snapshotter=request.param, policy_path=policy) as found:
        yield found


def directory(mode: int = 0o755, uid: int = 0) -> tarfile.TarInfo:
    """A directory in an archive."""
    member = tarfile.TarInfo()
    member.type = tarfile.DIRTYPE
    member.mode, member.uid = mode, uid
    return member


def load(service: ImageService, tmp_path: Path, *layers: bytes) -> str:
    """An image of these layers is in the store, unpacked; its name."""
    layout = write_files(tmp_path / f"layout-{len(os.listdir(tmp_path))}", oci_layout(*layers))
    (name,) = load_images(service, str(layout), name="image")
    return name


def seen(service: ImageService, name: str) -> dict[str, str]:
    """Files of the image with their texts, links with their targets, directories with owner and mode."""
    found = {}
    with open_root(service, service.catalogue.get(name)) as root:
        fd = open_mounts(root.mounts)
        try:
            for top, names, files, top_fd in os.fwalk(dir_fd=fd):
                for each in (*names, *files):
                    path = f"{top}/{each}".removeprefix("./")
                    about = os.stat(each, dir_fd=top_fd, follow_symlinks=False)
                    if os.path.islink(f"/proc/self/fd/{top_fd}/{each}"):
                        found[path] = f"-> {os.readlink(each, dir_fd=top_fd)}"
                    elif each in names:
                        found[path] = f"{about.st_uid} {about.st_mode & 0o7777:o}"
                    else:
                        with open(os.open(each, os.O_RDONLY, dir_fd=top_fd)) as file:
                            found[path] = file.read()
        finally:
            os.close(fd)
    return found


def test_layers_lie_upon_each_other(service: ImageService, tmp_path: Path) -> None:
    """Later ones hide files of earlier ones, take them away, and hide whole directories."""
    name = load(
        service,
        tmp_path,
        archive({"a": b"1", "b": b"1", "d": directory(), "d/x": b"1"}),
        archive({"b": b"2", ".wh.a": b""}),
        archive({"d": directory(), "d/.wh..wh..opq": b"", "d/y": b"3"}),
    )
    assert seen(service, name) == {"b": "2", "d": "0 755", "d/y": "3"}


def test_a_path_through_a_link_below(service: ImageService, tmp_path: Path) -> None:
    """A layer without an entry for the directory means what the directory is below, be it a link."""
    name = load(
        service,
        tmp_path,
        archive({"usr": directory(), "usr/bin": directory(), "bin": link("usr/bin")}),
        archive({"bin/tool": b"tool"}),
    )
    assert seen(service, name) == {
        "usr": "0 755",
        "usr/bin": "0 755",
        "bin": "-> usr/bin",
        "usr/bin/tool": "tool",
    }


def test_a_directory_that_is_only_implied(service: ImageService, tmp_path: Path) -> None:
    """It keeps the owner and mode that it has below."""
    name = load(
        service,
        tmp_path,
        archive({"home": directory(), "home/app": directory(0o700, uid=1000)}),
        archive({"home/app/file": b"text"}),
    )
    assert seen(service, name) == {"home": "0 755", "home/app": "1000 700", "home/app/file": "text"}


def test_a_hard_link_to_a_file_below(service: ImageService, tmp_path: Path) -> None:
    """The file is there under both names."""
    name = load(
        service,
        tmp_path,
        archive({"a": b"text"}),
        archive({"b": link("a", tarfile.LNKTYPE)}),
        archive({"c": b"3"}),
    )
    assert seen(service, name) == {"a": "text", "b": "text", "c": "3"}


def test_a_layer_that_is_not_what_the_image_says(service: ImageService, tmp_path: Path) -> None:
    """Nothing of it becomes a snapshot, and nothing is left of the attempt."""
    good, other = archive({"a": b"1"}), archive({"a": b"2"})
    name = load(service, tmp_path, good)
    image = service.catalogue.open(service.catalogue.get(name))
    assert image.config is not None
    wrong = image.config.replace(rootfs=image.config.rootfs.replace(diff_ids=(service.content.write(other),)))
    with service.library.lease() as lease, pytest.raises(InvalidInput, match="unpacks to sha256"):
        asyncio.run(unpack_image(service, lease, image.replace(config=wrong)))
    assert [info.kind for info in service.snapshotter.walk()] == ["committed"]


def test_several_at_once(service: ImageService, tmp_path: Path) -> None:
    """Two who unpack the same image get the same snapshots."""
    layers = [archive({f"f{number}": b"x" * 1000}) for number in range(5)]
    layout = write_files(tmp_path / "layout", oci_layout(*layers))
    (name,) = load_images(service, str(layout), name="image")
    image = service.catalogue.open(service.catalogue.get(name))
    for layer in service.library.layers():
        service.library.forget_layer(layer.snapshotter, layer.chain_id)
    for info in reversed(list(service.snapshotter.walk())):
        service.snapshotter.remove(info.name)

    async def unpack_twice() -> tuple[str, str]:
        with service.library.lease() as one, service.library.lease() as two:
            return await asyncio.gather(unpack_image(service, one, image), unpack_image(service, two, image))

    first, second = asyncio.run(unpack_twice())
    assert first == second
    assert len(list(service.snapshotter.walk())) == 5
    assert set(seen(service, name)) == {f"f{number}" for number in range(5)}


@pytest.mark.parametrize("service", ["overlay"], indirect=True)
def test_many_layers(service: ImageService, tmp_path: Path) -> None:
    """An image may have more layers than fit into the options of a mount."""
    layers = [
        archive({f"f{number}": f"{number}".encode(), "last": f"{number}".encode()}) for number in range(130)
    ]
    found = seen(service, load(service, tmp_path, *layers))
    assert len(found) == 131
    assert found["last"] == "129"


def test_collections_leave_what_is_used(service: ImageService, tmp_path: Path) -> None:
    """A container's layers stay while it lives, though nobody has a name for the image any more."""
    name = load(service, tmp_path, archive({"a": b"1"}), archive({"b": b"2"}))
    with open_root(service, service.catalogue.get(name)) as root:
        list(service.remove(name))
        service.collect()
        fd = open_mounts(root.mounts)
        assert sorted(os.listdir(fd)) == ["a", "b"]
        os.close(fd)
    service.collect()
    assert not list(service.snapshotter.walk())
    assert not list(service.content.digests())
