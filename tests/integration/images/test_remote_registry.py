"""Pushing and pulling with Debian's docker-registry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import NotFound
from pierhead.images.content import ContentStore
from pierhead.images.reference import Reference, parse_reference
from pierhead.images.remote.download import DownloadSettings
from pierhead.images.remote.transfer import pull, push
from pierhead.images.remote.upload import UploadSettings
from pierhead.oci.image import decode_manifest
from tests.support.docker_registry import docker_registry
from tests.support.image_contents import AMD64, ARM64, add_image, add_index, random_bytes
from tests.support.requires import requires
from tests.support.transfers import Ended, Story, connected, pull_in_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("docker-registry")

LAYERS = [random_bytes(2_500_000, 1), random_bytes(100, 2), b""]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a registry."""
    with docker_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def here(tmp_path: Path) -> ContentStore:
    """A store to push from."""
    return ContentStore(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> ContentStore:
    """A store to pull into."""
    return ContentStore(tmp_path / "there")


def named(address: str, name: str) -> Reference:
    """The image at the registry."""
    return parse_reference(f"{address}/{name}")


def test_there_and_back(address: str, here: ContentStore, there: ContentStore) -> None:
    """Every byte of an image comes back as it went, for all platforms or for one."""
    index = add_index(here, add_image(here, LAYERS), add_image(here, LAYERS[1:], platform=ARM64))
    reference = named(address, "team/back:1")

    async def run() -> None:
        async with connected() as client:
            await push(client, here, reference, index)
            arm = await pull(client, there, reference, platforms=(ARM64,))
            assert [each.platform for each in arm.manifests] == [ARM64]
            assert len(dict(there.digests())) == 2 + 1 + 2
            whole = await pull(client, there, reference, platforms=None)
            assert (whole.descriptor.digest, whole.answered_by) == (index.digest, address)
            by_digest = reference.replace(tag="", digest=index.digest)
            assert (await pull(client, there, by_digest, platforms=None)).answered_by == ""

    asyncio.run(run())
    assert dict(there.digests()) == dict(here.digests())


@pytest.mark.parametrize("chunk_bytes", [0, 1_000_000])
def test_large_contents_go_and_come_in_pieces(
    address: str, here: ContentStore, there: ContentStore, chunk_bytes: int
) -> None:
    """Chunks on the way there, ranges on the way back."""
    image = add_image(
        here, [random_bytes(3_000_000, chunk_bytes + 5), random_bytes(1_000_000, chunk_bytes + 6)]
    )
    reference = named(address, "team/large:1")
    settings = DownloadSettings(ranges_above_bytes=300_000, range_bytes=300_000, quick_bytes_per_s=1 << 60)

    async def run() -> None:
        async with connected() as client:
            await push(client, here, reference, image, settings=UploadSettings(chunk_bytes=chunk_bytes))
            await pull(client, there, reference, platforms=(AMD64,), settings=settings)

    asyncio.run(run())
    assert dict(there.digests()) == dict(here.digests())


def test_what_is_known_is_not_sent(address: str, here: ContentStore, there: ContentStore) -> None:
    """The registry mounts what another repository of it has; what a store has is not fetched."""
    image = add_image(here, [random_bytes(5000, 7), random_bytes(6000, 8)])
    first, second = Story(), Story()

    async def run() -> None:
        async with connected() as client:
            await push(client, here, named(address, "team/first:1"), image)
            sources = (f"{address}/team/none", f"{address}/team/first", "elsewhere.example.com/a")
            await push(
                client,
                here,
                named(address, "team/second:1"),
                image,
                progress=first,
                sources=lambda _: sources,
            )
            await push(client, here, named(address, "team/second:2"), image, progress=second)

    asyncio.run(run())
    assert {each for each in first.told if "000" in each and "mounted" in each} == {
        "mounted 5000 from team/first",
        "mounted 6000 from team/first",
    }
    assert {"exists 5000", "exists 6000"} <= set(second.told)


def test_what_is_told(address: str, here: ContentStore, there: ContentStore) -> None:
    """The image before its layers, each layer where it is used, also twice; the second time all exists."""
    layer = random_bytes(7000, 9)
    image = add_image(here, [layer, layer])
    reference = named(address, "team/told:1")
    pinned: list[str] = []
    told: list[list[str]] = []

    async def run() -> None:
        async with connected() as client:
            await push(client, here, reference, image)
            for _ in range(2):
                story = Story()
                await pull(
                    client,
                    there,
                    reference,
                    platforms=(AMD64,),
                    progress=story,
                    arrivals=story,
                    pin=pinned.append,
                )
                told.append(story.told)

    asyncio.run(run())
    first, second = told
    assert first[0] == f"resolved by {address}"
    assert first[3:] == ["image of 2", "at 7000 of 7000", "complete 7000", "layer 0", "layer 1"]
    assert second[2:] == ["image of 2", "exists 7000", "layer 0", "layer 1"]
    assert set(pinned) == set(dict(there.digests()))


def test_lists_and_removal(address: str, here: ContentStore) -> None:
    """Tags, repositories in pages, and what is gone after its deletion."""
    image = add_image(here, LAYERS)
    tags = [f"v{number}" for number in range(5)]

    async def run() -> None:
        async with connected() as client:
            for tag in tags:
                await push(client, here, named(address, f"team/lists:{tag}"), image)
            repository = client.repository(named(address, "team/lists"))
            await client.check(address)
            assert sorted([tag async for tag in repository.tags()]) == tags
            assert "team/lists" in [path async for path in client.catalog(address, page=1)]
            layer = decode_manifest(here.read(image.digest, limit_bytes=9999)).layers[0]
            assert await repository.find_blob_size(layer.digest) == layer.size
            assert await repository.delete_manifest(image.digest)
            assert not await repository.delete_manifest(image.digest)
            assert await repository.find_manifest("v1") is None

    asyncio.run(run())


def test_referrers_without_the_api(address: str, here: ContentStore) -> None:
    """This registry has no referrers API: what refers to an image is found by the tag that stands for it."""
    image = add_image(here, LAYERS)
    first = add_image(here, [b"signature"], subject=image)
    second = add_image(here, [b"another"], subject=image)
    reference = named(address, "team/signed:1")

    async def run() -> None:
        async with connected() as client:
            await push(client, here, reference, image)
            for referrer in (first, second, second):
                await push(client, here, reference.replace(tag="", digest=referrer.digest), referrer)
            repository = client.repository(reference)
            found = await repository.referrers(image.digest)
            assert [each.digest for each in found] == [first.digest, second.digest]
            assert await repository.referrers(image.digest, found[0].artifact_type) == found
            assert await repository.referrers(image.digest, "something/else") == ()
            assert await repository.referrers(first.digest) == ()

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("team/none:1", "did not give the manifest 1 of team/none: MANIFEST_UNKNOWN, manifest unknown"),
        ("team/here:2", "did not give the manifest 2 of team/here: MANIFEST_UNKNOWN"),
        ("team/here:1", "is for linux/arm64 and not for linux/amd64"),
    ],
)
def test_what_is_not_there(
    address: str, here: ContentStore, there: ContentStore, name: str, message: str
) -> None:
    """The sentence names registry, repository and tag, and has the registry's own words."""
    image = add_image(here, [b"here"], platform=ARM64)

    async def run() -> None:
        async with connected() as client:
            await push(client, here, named(address, "team/here:1"), image)
            await pull(client, there, named(address, name), platforms=(AMD64,))

    with pytest.raises(NotFound, match=message) as caught:
        asyncio.run(run())
    assert address in caught.value.message


def test_incomplete_indexes_are_not_pushed(address: str, here: ContentStore) -> None:
    """A manifest that is neither here nor there is named, with its platform."""
    image = add_image(here, [b"here"])
    index = add_index(here, image)
    here.remove(image.digest)

    async def run() -> None:
        async with connected() as client:
            await push(client, here, named(address, "team/half:1"), index)

    with pytest.raises(NotFound, match=r"for linux/amd64 is neither here nor in .*/team/half"):
        asyncio.run(run())


def test_memory_does_not_grow_with_the_image(address: str, here: ContentStore, there: ContentStore) -> None:
    """A process that pulls four layers of 40 MB, side by side and in ranges, has less than 150 MB, at its
    beginning included.
    """
    image = add_image(here, [random_bytes(40 << 20, number) for number in range(4)])
    reference = named(address, "team/huge:1")

    async def run() -> Ended:
        async with connected() as client:
            await push(client, here, reference, image)
        return await pull_in_process(str(reference), there.root)

    ended = asyncio.run(run())
    print(f"{ended.peak_bytes >> 20} MiB")
    assert ended.status == 0
    assert dict(there.digests()) == dict(here.digests())
    assert 20 << 20 < ended.peak_bytes < 150 << 20
