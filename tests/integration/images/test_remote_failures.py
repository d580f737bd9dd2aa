"""Pulling from registries that lie, break off, forget and drag on: nothing wrong is kept, nothing is lost."""

from __future__ import annotations

import asyncio
import random
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, NotFound, OperationFailed, TimedOut, Unavailable
from pierhead.images.content import ContentStore
from pierhead.images.reference import Reference, parse_reference
from pierhead.images.remote.connection import Patience
from pierhead.images.remote.download import DownloadSettings
from pierhead.images.remote.transfer import Pulled, pull
from pierhead.oci.document import encode
from pierhead.oci.image import (
    CONFIG,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    INDEX,
    MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode_config,
    decode_manifest,
)
from tests.support.image_contents import (
    AMD64,
    add_content,
    add_document,
    add_image,
    add_index,
    add_schema1,
    random_bytes,
    sign_schema1,
)
from tests.support.misbehaving import (
    MisbehavingRegistry,
    answers,
    drops,
    ends_early,
    gives,
    never_ends,
    redirects,
)
from tests.support.requires import requires
from tests.support.transfers import QUICK, Story, connected

if TYPE_CHECKING:
    from collections.abc import Callable

LAYER = random_bytes(3_000_000, 1)
SMALL = random_bytes(50_000, 2)
IN_RANGES = DownloadSettings(
    ranges_above_bytes=400_000, range_bytes=200_000, ranges_at_once=2, quick_bytes_per_s=1 << 60
)


class Scene:
    """A registry with one image, and a store to pull it into."""

    def __init__(self, path: Path) -> None:
        self.there = ContentStore(path / "there")
        self.here = ContentStore(path / "here")
        self.image = add_image(self.there, [LAYER, SMALL])
        self.layer = compute_digest(LAYER)
        self.small = compute_digest(SMALL)
        self.story = Story()

    def name(self, registry: MisbehavingRegistry) -> Reference:
        """Of the image."""
        registry.tags["team/app:1"] = self.image.digest
        return parse_reference(f"{registry.address}/team/app:1")

    def pull(
        self,
        arrange: Callable[[MisbehavingRegistry], object],
        *,
        settings: DownloadSettings | None = None,
        patience: Patience = QUICK,
    ) -> MisbehavingRegistry:
        """Pulls the image after the registry was told how to misbehave; returns the registry."""

        async def run() -> MisbehavingRegistry:
            async with MisbehavingRegistry(self.there) as registry, connected(patience=patience) as client:
                arrange(registry)
                await pull(
                    client,
                    self.here,
                    self.name(registry),
                    platforms=(AMD64,),
                    settings=settings,
                    progress=self.story,
                )
                return registry

        return asyncio.run(run())

    def is_whole(self) -> bool:
        """Whether all of the image is here, and nothing else."""
        return dict(self.here.digests()) == dict(self.there.digests()) and not list(self.here.parts())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A fresh one."""
    return Scene(tmp_path)


@pytest.mark.parametrize("settings", [None, IN_RANGES], ids=["stream", "ranges"])
def test_a_registry_that_behaves(scene: Scene, settings: DownloadSettings | None) -> None:
    """In one stream or in ranges, the image is there, and every byte came once."""
    registry = scene.pull(lambda _: None, settings=settings)
    assert scene.is_whole()
    assert registry.count("GET", scene.layer) == (15 if settings else 1)
    assert scene.story.told[-1].startswith("complete")


def test_wrong_contents_are_refused(scene: Scene) -> None:
    """What is of the right size and of another digest is not kept, and the sentence names both."""
    wrong = random_bytes(len(SMALL), 99)
    with pytest.raises(InvalidInput, match=rf"of team/app: what came is not {scene.small} but sha256"):
        scene.pull(lambda registry: registry.fault("GET", scene.small, gives(wrong), times=9))
    assert scene.here.find_size(scene.small) is None
    assert scene.small.replace(":", "-") not in "".join(path for path, _ in scene.here.parts())


def test_wrong_manifests_are_refused(scene: Scene) -> None:
    """A manifest that is not what the registry itself called it is not believed."""
    other = scene.there.read(add_image(scene.there, [b"other"]).digest, limit_bytes=1 << 20)
    with pytest.raises(InvalidInput, match=rf"what came is not {scene.image.digest} but sha256"):
        scene.pull(lambda registry: registry.fault("GET", "manifests/", gives(other, content_type=MANIFEST)))
    assert not list(scene.here.digests())


def test_a_manifest_sent_as_something_else(scene: Scene) -> None:
    """Header and document have to agree (CVE-2021-41190)."""
    raw = scene.there.read(scene.image.digest, limit_bytes=1 << 20)
    sent = "application/vnd.oci.image.index.v1+json"
    with pytest.raises(InvalidInput, match=r"it was sent as .*index.* and says that it is .*manifest"):
        scene.pull(lambda registry: registry.fault("GET", "manifests/", gives(raw, content_type=sent)))


def test_what_is_no_manifest_at_all(scene: Scene) -> None:
    """The page of a proxy, say: the sentence names the registry and what was asked for."""
    page = gives(b"<html>Please log in</html>", content_type="text/html")

    def arrange(registry: MisbehavingRegistry) -> None:
        registry.fault("HEAD", "manifests/", page)
        registry.fault("GET", "manifests/", page)

    with pytest.raises(InvalidInput, match=r"did not give the manifest 1 of team/app: manifest is not JSON"):
        scene.pull(arrange)


@pytest.mark.parametrize("status", [405, 501])
def test_registries_without_head(scene: Scene, status: int) -> None:
    """Are asked for the manifest itself."""
    scene.pull(lambda registry: registry.fault("HEAD", "manifests/", answers(status), times=9))
    assert scene.is_whole()


def test_huge_manifests_are_not_read(scene: Scene) -> None:
    """Not more than a manifest may have."""
    huge = gives(b" " * (5 << 20), content_type=MANIFEST)
    with pytest.raises(InvalidInput, match="it sent more than 4194304 bytes"):
        scene.pull(lambda registry: registry.fault("GET", "manifests/", huge))


@pytest.mark.parametrize("settings", [None, IN_RANGES], ids=["stream", "ranges"])
def test_another_size_is_noticed_at_once(scene: Scene, settings: DownloadSettings | None) -> None:
    """By the length that is announced, before anything is fetched."""
    longer = gives(LAYER + b"more")
    with pytest.raises(InvalidInput, match="it has 3000004 bytes and was to have 3000000"):
        scene.pull(lambda registry: registry.fault("GET", scene.layer, longer, times=9), settings=settings)


def test_endless_contents_are_cut(scene: Scene) -> None:
    """A body that goes on is left where the content has to end."""
    with pytest.raises(InvalidInput, match="it goes on after 50000 bytes"):
        scene.pull(lambda registry: registry.fault("GET", scene.small, never_ends(), times=9))
    assert sum(size for _, size in scene.here.parts()) <= len(LAYER) + len(SMALL)


def test_truncated_contents_go_on_where_they_ended(scene: Scene) -> None:
    """What has come is not fetched again."""
    registry = scene.pull(lambda registry: registry.fault("GET", scene.layer, ends_early(1_234_567)))
    assert scene.is_whole()
    assert [each.headers.get("Range") for each in registry.seen if scene.layer in each.path] == [
        None,
        "bytes=1234567-2999999",
    ]
    assert scene.story.has("it ended 1765433 bytes early")


def test_contents_that_are_too_short_are_given_up(scene: Scene) -> None:
    """A registry that never has the rest is not asked for ever."""
    short = add_content(scene.there, SMALL[:100], "x")

    def arrange(registry: MisbehavingRegistry) -> None:
        registry.fault("GET", scene.small, ends_early(100), times=1)
        registry.fault("GET", scene.small, answers(416), times=1)
        registry.fault("GET", scene.small, ends_early(100), times=1)
        registry.fault("GET", scene.small, answers(416), times=9)

    with pytest.raises(InvalidInput, match=r"it has less than the \d+ bytes that were here"):
        scene.pull(arrange)
    assert scene.here.find_size(short.digest) is None


def test_too_many_requests(scene: Scene) -> None:
    """Waits as long as it is told, and goes on."""
    waited: list[float] = []

    async def pause(seconds: float) -> None:
        waited.append(seconds)

    async def run() -> None:
        busy = answers(429, headers={"Retry-After": "7"})
        async with (
            MisbehavingRegistry(scene.there) as registry,
            connected(patience=Patience(), pause=pause) as client,
        ):
            registry.fault("GET", scene.small, busy, times=2)
            await pull(client, scene.here, scene.name(registry), platforms=(AMD64,))

    asyncio.run(run())
    assert scene.is_whole()
    assert len(waited) == 2
    assert all(7 <= seconds < 8 for seconds in waited)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_giving_up(scene: Scene, status: int) -> None:
    """After a bounded number of attempts, with the registry's own words."""
    text = '{"errors":[{"code":"BUSY","message":"come again later."}]}'
    with pytest.raises(Unavailable, match=r"of team/app: BUSY, come again later$"):
        scene.pull(lambda registry: registry.fault("GET", scene.small, answers(status, text=text), times=99))


@pytest.mark.parametrize("settings", [None, IN_RANGES], ids=["stream", "ranges"])
@pytest.mark.parametrize("seed", range(3))
def test_connections_drop_at_random(scene: Scene, settings: DownloadSettings | None, seed: int) -> None:
    """Wherever they break, the image comes whole in the end."""
    chance = random.Random(seed)

    def arrange(registry: MisbehavingRegistry) -> None:
        for part in ("manifests/", scene.layer, scene.small, scene.layer, scene.layer):
            after = chance.choice([0, 1, chance.randrange(100_000), chance.randrange(1_000_000)])
            registry.fault("GET", part, drops(0 if part == "manifests/" else after))

    scene.pull(arrange, settings=settings)
    assert scene.is_whole()


def test_ranges_that_are_ignored(scene: Scene) -> None:
    """A registry without ranges gives all in one stream; what was here is passed over and still counts."""

    def arrange(registry: MisbehavingRegistry) -> None:
        registry.ranges = False
        registry.fault("GET", scene.layer, ends_early(1_000_000))

    registry = scene.pull(arrange, settings=IN_RANGES)
    assert scene.is_whole()
    assert registry.count("GET", scene.layer) == 2


def test_a_wrong_beginning_is_fetched_anew(scene: Scene) -> None:
    """What lay here from before, and is no part of the content, does not make it impossible."""
    with scene.here.ingest(scene.small) as ingest:
        ingest.append(b"something else")
    with scene.here.ingest(scene.layer) as ingest:
        ingest.append(LAYER[:1_000_000])
    registry = scene.pull(lambda _: None)
    assert scene.is_whole()
    assert registry.count("GET", scene.small) == 2
    assert scene.story.has("what was here from before is not part of it")
    (resumed,) = [each.headers["Range"] for each in registry.seen if scene.layer in each.path]
    assert resumed == "bytes=1000000-2999999"


def test_more_than_there_is_lies_here(scene: Scene) -> None:
    """A part that is longer than the content begins anew."""
    with scene.here.ingest(scene.small) as ingest:
        ingest.append(SMALL + b"more")
    scene.pull(lambda _: None)
    assert scene.is_whole()


def test_silence(scene: Scene) -> None:
    """A registry that says nothing is given up in time."""

    async def never(*_: object) -> None:
        await asyncio.sleep(60)

    patience = QUICK.replace(read_timeout_s=0.1, attempts=2)
    with pytest.raises(TimedOut, match="did not give the manifest 1 of team/app: it does not answer"):
        scene.pull(lambda registry: registry.fault("HEAD", "manifests/", never, times=9), patience=patience)  # type: ignore[arg-type]


def test_nobody_there(scene: Scene) -> None:
    """A registry that cannot be reached is named."""

    async def run() -> None:
        async with connected() as client:
            await pull(client, scene.here, parse_reference("127.0.0.1:1/team/app:1"), platforms=(AMD64,))

    with pytest.raises(Unavailable, match=r"registry 127\.0\.0\.1:1 did not give the manifest 1 of team/app"):
        asyncio.run(run())


@pytest.mark.parametrize("foreign", [True, False])
def test_layers_from_elsewhere(scene: Scene, *, foreign: bool) -> None:
    """A layer with addresses of its own comes from there, and else from the registry."""
    manifest = decode_manifest(scene.there.read(scene.image.digest, limit_bytes=1 << 20))

    async def run() -> MisbehavingRegistry:
        async with (
            MisbehavingRegistry(scene.there) as registry,
            MisbehavingRegistry(scene.there) as elsewhere,
            connected() as client,
        ):
            url = f"http://{elsewhere.address}/v2/any/blobs/{scene.small}"
            layers = (manifest.layers[0], manifest.layers[1].replace(urls=(url, "ftp://x")))
            scene.image = add_document(scene.there, manifest.replace(layers=layers), MANIFEST)
            if not foreign:
                elsewhere.fault("GET", "", answers(404), times=9)
            await pull(client, scene.here, scene.name(registry), platforms=(AMD64,))
            assert elsewhere.count("GET", scene.small) == 1
            return registry

    registry = asyncio.run(run())
    assert registry.count("GET", scene.small) == (0 if foreign else 1)
    assert scene.here.find_size(scene.small) == len(SMALL)


def test_circles(scene: Scene) -> None:
    """Redirects are followed a few times and no more."""

    async def run() -> None:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            registry.fault("GET", scene.small, redirects(f"http://{registry.address}"), times=99)
            await pull(client, scene.here, scene.name(registry), platforms=(AMD64,))

    with pytest.raises(InvalidInput, match="it sends us around in circles"):
        asyncio.run(run())


def test_two_pulls_at_once(scene: Scene) -> None:
    """Each content is fetched by one of them, and both have the image."""

    async def run() -> list[str]:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            registry.pace = 0.002
            name = scene.name(registry)

            async def one() -> Pulled:
                return await pull(client, scene.here, name, platforms=(AMD64,))

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(3)]
            assert len({task.result().descriptor.digest for task in tasks}) == 1
            return [each.path for each in registry.seen if "/blobs/" in each.path]

    fetched = asyncio.run(run())
    assert scene.is_whole()
    assert len(fetched) == len(set(fetched)) == 3


def test_cancelling(scene: Scene) -> None:
    """A pull that is cancelled leaves what has come, and no lock."""

    async def run() -> None:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            registry.pace = 0.1
            running = asyncio.ensure_future(
                pull(client, scene.here, scene.name(registry), platforms=(AMD64,), settings=IN_RANGES)
            )
            while not running.done() and not any(size > 100_000 for _, size in _parts(scene.here)):
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(run())
    assert any(size > 100_000 for _, size in scene.here.parts())
    scene.pull(lambda _: None)
    assert scene.is_whole()


def _parts(store: ContentStore) -> list[tuple[str, int]]:
    """Also those that are being written."""
    found = []
    for path in Path(store.root, "ingest").glob("*.part"):
        with suppress(FileNotFoundError):  # it has become a content
            found.append((str(path), path.stat().st_size))
    return found


@pytest.mark.parametrize("signed", [False, True])
def test_old_manifests(scene: Scene, *, signed: bool) -> None:
    """A manifest of schema 1 becomes one of today's, with the diff ids of its layers; in a signed one nothing
    counts that was not signed.
    """
    contents = [b"lower" * 1000, b"upper" * 1000]
    raw, layers = add_schema1(scene.there, contents)
    media_type, headers = DOCKER_SCHEMA1, {"Docker-Content-Digest": compute_digest(raw.strip())}
    raw = raw.strip()
    if signed:
        media_type, raw = DOCKER_SCHEMA1_SIGNED, sign_schema1(raw, b', "fsLayers": [], "history": []')

    async def run() -> Descriptor:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            for method in ("HEAD", "GET"):
                old = gives(raw, content_type=media_type, headers=headers)
                registry.fault(method, "manifests/", old, times=9)
            return (await pull(client, scene.here, scene.name(registry), platforms=(AMD64,))).descriptor

    descriptor = asyncio.run(run())
    manifest = decode_manifest(scene.here.read(descriptor.digest, limit_bytes=1 << 20))
    config = scene.here.read(manifest.config.digest, limit_bytes=1 << 20)
    assert [scene.here.read(layer.digest, limit_bytes=1 << 20) for layer in manifest.layers] == layers
    assert decode_config(config).rootfs.diff_ids == tuple(compute_digest(content) for content in contents)
    assert [step.empty_layer for step in decode_config(config).history] == [False, False, True]
    assert jsontext.parse(config)["config"] == {"Env": ["A=1"]}


@requires("root")
def test_a_full_disk(scene: Scene, tmp_path: Path) -> None:
    """Is told as what it is, at once; when there is room, the pull goes on."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], check=True)
    try:
        scene.here = ContentStore(small / "here")
        with pytest.raises(OperationFailed, match="the disk is full"):
            scene.pull(lambda _: None)
        assert not scene.story.has("again")
        subprocess.run(["mount", "-o", "remount,size=8m", str(small)], check=True)
        scene.pull(lambda _: None)
        assert scene.is_whole()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_nothing_is_not_something(scene: Scene) -> None:
    """A content that is said to have no bytes has the digest of nothing, or is none."""
    manifest = decode_manifest(scene.there.read(scene.image.digest, limit_bytes=1 << 20))
    empty = manifest.layers[1].replace(size=0)
    scene.image = add_document(scene.there, manifest.replace(layers=(empty,)), MANIFEST)
    with pytest.raises(InvalidInput, match=rf"what came is not {empty.digest} but sha256:e3b0c442"):
        scene.pull(lambda _: None)


def test_what_an_index_says_of_platforms_counts(scene: Scene) -> None:
    """A configuration that says otherwise, as some builders leave it, is no reason to refuse the image."""
    image = add_image(scene.there, [b"sloppy"], platform=AMD64.replace(architecture="s390x"))
    scene.image = add_index(scene.there, image.replace(platform=AMD64))
    scene.pull(lambda _: None)
    assert scene.here.find_size(image.digest) == image.size


def test_all_of_a_long_index(scene: Scene) -> None:
    """Every manifest is fetched once, and they come in the order of the index."""
    platforms = [AMD64.replace(architecture=f"a{number}") for number in range(20)]
    images = [add_image(scene.there, [b"same"], platform=platform) for platform in platforms]
    scene.image = add_index(scene.there, *images, images[3])

    async def run() -> Pulled:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            pulled = await pull(client, scene.here, scene.name(registry), platforms=None)
            assert registry.count("GET", "/manifests/") == 21
            return pulled

    assert [each.digest for each in asyncio.run(run()).manifests] == [each.digest for each in images]


def test_huge_indexes_are_given_up(scene: Scene) -> None:
    """Before their manifests fill the memory."""
    config = add_content(scene.there, b"{}", CONFIG)
    manifests = [
        Manifest(schema_version=2, media_type=MANIFEST, config=config, annotations={"x": letter * 3_000_000})
        for letter in "abcdef"
    ]
    described = [add_document(scene.there, manifest, MANIFEST) for manifest in manifests]
    scene.image = add_index(scene.there, *described)

    async def run() -> None:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            await pull(client, scene.here, scene.name(registry), platforms=None)

    with pytest.raises(InvalidInput, match="has too many manifests"):
        asyncio.run(run())


def test_referrers_in_pages(scene: Scene) -> None:
    """A registry with the API lists them page by page; what it did not sort out is sorted out here."""
    one = Descriptor(media_type=MANIFEST, digest="sha256:" + "1" * 64, size=1, artifact_type="a/one")
    pages = [
        jsontext.format_compact(encode(Index(schema_version=2, media_type=INDEX, manifests=each))).encode()
        for each in ((one,), (one.replace(artifact_type="a/two"),))
    ]

    async def run() -> None:
        async with MisbehavingRegistry(scene.there) as registry, connected() as client:
            for _ in range(2):
                following = {"Link": '</v2/team/app/referrers/more>; rel="next"'}
                registry.fault(
                    "GET", f"referrers/{scene.small}", answers(200, headers=following, text=pages[0].decode())
                )
                registry.fault("GET", "referrers/more", gives(pages[1]))
            repository = client.repository(scene.name(registry))
            assert len(await repository.referrers(scene.small)) == 2
            assert await repository.referrers(scene.small, "a/one") == (one,)

    asyncio.run(run())


def test_what_nobody_has(scene: Scene) -> None:
    """A layer that the registry lacks is named."""
    scene.there.remove(scene.small)
    with pytest.raises(NotFound, match=rf"did not give the content {scene.small} of team/app: BLOB_UNKNOWN"):
        scene.pull(lambda _: None)
