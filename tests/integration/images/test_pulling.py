"""Pulls of the whole service: beside collections, beside each other, and of nothing."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import pytest

from pierhead.errors import NotFound
from pierhead.images.exchange import load_images
from pierhead.images.platforms import format_platform, host_platform
from pierhead.images.pulling import open_client, pull_image, push_image
from pierhead.images.reference import parse_reference
from pierhead.images.service import ImageService
from pierhead.images.unpackprogress import UnpackProgress
from pierhead.oci.image import Platform
from tests.support.image_archives import archive, oci_layout, write_files
from tests.support.image_contents import add_image, random_bytes
from tests.support.registries import Registry, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")
LAYERS = tuple(archive({f"file{number}": random_bytes(200_000, seed=number)}) for number in range(4))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Registry]:
    """A registry."""
    with registry(tmp_path / "registry") as found:
        yield found


def open_service(path: Path) -> ImageService:
    """Over a store of its own, without a policy."""
    return ImageService(path, policy_path=f"{path}-policy.toml")


@pytest.fixture
def name(server: Registry, tmp_path: Path) -> str:
    """An image of four layers that the registry has."""
    name = f"{server.address}/team/box:1"
    layout = write_files(tmp_path / "layout", oci_layout(*LAYERS))
    with open_service(tmp_path / "pushing") as service:
        load_images(service, str(layout), name=name)
        asyncio.run(push_image(service, name))
    return name


def is_whole(service: ImageService, name: str) -> bool:
    """Whether everything of the image is here, and unpacked."""
    image = service.library.get_image(name)
    shown = service.catalogue.open(image)
    states = {presence.state for presence in service.library.presences(image.descriptor)}
    return states == {"whole"} and len(list(service.snapshotter.walk())) >= len(shown.manifest.layers)


def test_collections_while_pulls_run(name: str, tmp_path: Path) -> None:
    """Nothing that a pull needs is taken from it, however often and whenever garbage is collected."""
    ended = threading.Event()
    collections = 0

    def collect() -> None:
        nonlocal collections
        with open_service(tmp_path / "store") as service:
            while not ended.is_set():
                service.collect(parts_kept_s=0)
                collections += 1

    with open_service(tmp_path / "store") as service:
        collecting = threading.Thread(target=collect)
        collecting.start()
        try:
            pulls = 0
            while pulls < 5 or collections <= 5:
                assert collecting.is_alive()
                pulls += 1
                asyncio.run(pull_image(service, name))
                assert is_whole(service, name)
                list(service.remove(name))
        finally:
            ended.set()
            collecting.join()
        service.collect(parts_kept_s=0)
        assert not list(service.content.digests())
        assert not list(service.snapshotter.walk())


def test_the_same_image_twice_at_once(name: str, tmp_path: Path) -> None:
    """Each content comes once, and both have the image."""

    async def pull_twice(one: ImageService, two: ImageService) -> None:
        async with open_client() as client:
            await asyncio.gather(pull_image(one, name, client=client), pull_image(two, name, client=client))

    with open_service(tmp_path / "store") as one, open_service(tmp_path / "store") as two:
        asyncio.run(pull_twice(one, two))
        assert is_whole(one, name)
        assert is_whole(two, name)


def test_a_pull_that_fails_leaves_no_name(name: str, tmp_path: Path) -> None:
    """Nor a lease, nor a snapshot."""
    with open_service(tmp_path / "store") as service:
        with pytest.raises(NotFound):
            asyncio.run(pull_image(service, f"{name}-none"))
        assert service.library.images() == ()
        assert not list((tmp_path / "store/leases").iterdir())
        assert not list(service.snapshotter.walk())


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layers_without_compression_get_one(
    server: Registry, tmp_path: Path, compression: Literal["gzip", "zstd"]
) -> None:
    """Once: whoever pushes the same layers again sends what is known; users see the same files."""
    name, other = f"{server.address}/box:1", f"{server.address}/other:1"
    text = archive({"file": b"the same again and again " * 10000})
    layout = write_files(tmp_path / "layout", oci_layout(text, LAYERS[0]))
    with open_service(tmp_path / "store") as service:
        (loaded,) = load_images(service, str(layout), name=name)
        before = service.library.get_image(loaded).descriptor
        service.library.set_image(other, before)
        pushed = asyncio.run(push_image(service, name, compression=compression))
        contents = dict(service.content.digests())
        assert service.library.get_image(name).descriptor.digest == pushed.digest != before.digest
        assert asyncio.run(push_image(service, other, compression=compression)).digest == pushed.digest
        assert dict(service.content.digests()) == contents
        shown = service.catalogue.open(service.library.get_image(name))
        assert [layer.media_type.endswith(f"+{compression}") for layer in shown.manifest.layers] == [True] * 2
        assert shown.manifest.layers[0].size < len(text) / 10
    with open_service(tmp_path / "pulling") as service:
        asyncio.run(pull_image(service, name))
        assert is_whole(service, name)


@pytest.mark.parametrize(
    ("platform", "told"),
    [(Platform(os="linux", architecture="s390x"), ["linux/s390x"]), (Platform(os="linux"), [])],
)
def test_an_image_for_no_machine_of_this_kind(
    server: Registry, tmp_path: Path, platform: Platform, told: list[str]
) -> None:
    """An image that is no index comes where nobody asks for a platform, and it is told what it is for; one
    that does not say comes in any case.
    """
    name = f"{server.address}/foreign:1"
    with open_service(tmp_path / "pushing") as service:
        image = add_image(service.content, LAYERS[:1], platform=platform)
        service.library.set_image(str(parse_reference(name).canonical()), image)
        asyncio.run(push_image(service, name))
    machine = host_platform()
    with open_service(tmp_path / "store") as service:
        with pytest.raises(NotFound, match="is for linux/s390x and not for") if told else nullcontext():
            asyncio.run(pull_image(service, name, platforms=(machine,)))
        heard = Foreign()
        asyncio.run(pull_image(service, name, progress=heard))
        assert heard.platforms == told
        found = service.catalogue.get(name)
        assert service.catalogue.open(found).descriptor.digest == image.digest
        with pytest.raises(NotFound, match="there is nothing for") if told else nullcontext():
            service.catalogue.open(found, machine)


class Foreign(UnpackProgress):
    """Notes what images are for."""

    def __init__(self) -> None:
        self.platforms: list[str] = []

    def foreign(self, platform: str, machine: str) -> None:
        """See ``Progress``."""
        assert machine == format_platform(host_platform())
        self.platforms.append(platform)


def test_an_image_for_another_system(server: Registry, tmp_path: Path) -> None:
    """Does not come unasked: nothing here runs its programs."""
    name = f"{server.address}/foreign:1"
    with open_service(tmp_path / "store") as service:
        image = add_image(service.content, LAYERS[:1], platform=Platform(os="windows", architecture="amd64"))
        service.library.set_image(str(parse_reference(name).canonical()), image)
        asyncio.run(push_image(service, name))
        with pytest.raises(NotFound, match="is for windows/amd64"):
            asyncio.run(pull_image(service, name))
