"""Pushing to registries that break off, forget, and want chunks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Forbidden, InvalidInput, PierheadError, Unavailable
from pierhead.images.content import ContentStore
from pierhead.images.reference import parse_reference
from pierhead.images.remote.transfer import push
from pierhead.images.remote.upload import UploadSettings
from tests.support.image_contents import add_image, random_bytes
from tests.support.misbehaving import answers
from tests.support.taking_registry import TakingRegistry, takes_half
from tests.support.transfers import Story, connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYER = random_bytes(3_000_000, 1)


class Scene:
    """An image to push, and a registry that has nothing."""

    def __init__(self, path: Path) -> None:
        self.here = ContentStore(path / "here")
        self.there = ContentStore(path / "there")
        self.image = add_image(self.here, [LAYER])
        self.story = Story()

    def push(
        self, arrange: Callable[[TakingRegistry], object], *, settings: UploadSettings | None = None
    ) -> TakingRegistry:
        """Pushes the image after the registry was told how to misbehave."""

        async def run() -> TakingRegistry:
            async with TakingRegistry(self.there) as registry, connected() as client:
                registry.started = {}
                arrange(registry)
                reference = parse_reference(f"{registry.address}/team/app:1")
                await push(client, self.here, reference, self.image, settings=settings, progress=self.story)
                return registry

        return asyncio.run(run())

    def is_whole(self) -> bool:
        """Whether all of the image is there."""
        return dict(self.here.digests()) == dict(self.there.digests())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A fresh one."""
    return Scene(tmp_path)


def test_in_one_piece(scene: Scene) -> None:
    """As long as nothing is wrong, a content is one POST and one PUT."""
    registry = scene.push(lambda _: None)
    assert scene.is_whole()
    assert (registry.count("POST", "uploads"), registry.count("PATCH", "")) == (2, 0)


def test_a_registry_without_head(scene: Scene) -> None:
    """Gets what it cannot be asked for."""
    scene.push(lambda registry: registry.fault("HEAD", "", answers(405), times=9))
    assert scene.is_whole()


def test_a_broken_upload_goes_on(scene: Scene) -> None:
    """The registry is asked what it has; the rest follows, and not the whole again."""
    registry = scene.push(
        lambda registry: registry.fault("PUT", "uploads", takes_half(registry, 100), times=2)
    )
    assert scene.is_whole()
    ranges = [each.headers["Content-Range"] for each in registry.seen if each.method == "PATCH"]
    assert f"100-{len(LAYER) - 1}" in ranges


def test_an_upload_that_is_nowhere(scene: Scene) -> None:
    """A registry that opens one and does not say where is told so."""
    with pytest.raises(InvalidInput, match="it does not say where to"):
        scene.push(lambda registry: registry.fault("POST", "uploads", answers(202), times=9))


def test_an_upload_that_has_too_much(scene: Scene) -> None:
    """Is of something else, and begins anew."""

    def arrange(registry: TakingRegistry) -> None:
        registry.fault("PUT", "uploads", answers(503))
        registry.fault("GET", "uploads", answers(204, headers={"Range": f"0-{len(LAYER)}"}))

    scene.push(arrange)
    assert scene.is_whole()


def test_a_forgotten_upload_begins_anew(scene: Scene) -> None:
    """A registry that has lost what came gets it once more."""

    def arrange(registry: TakingRegistry) -> None:
        registry.fault("PUT", "uploads", answers(503))
        registry.fault("GET", "uploads", answers(404))

    assert scene.push(arrange).count("POST", "uploads") == 3
    assert scene.is_whole()


@pytest.mark.parametrize(("wanted", "least"), [(1_000_000, 0), (1000, 1_500_000)])
def test_chunks(scene: Scene, wanted: int, least: int) -> None:
    """Of the size that was asked for, or of the least that the registry takes."""
    registry = scene.push(
        lambda registry: setattr(registry, "chunk_bytes_min", least),
        settings=UploadSettings(chunk_bytes=wanted),
    )
    assert scene.is_whole()
    assert registry.count("PATCH", "") == (4 if not least else 3)


def test_chunks_out_of_order(scene: Scene) -> None:
    """A 416 says that other bytes come first: those."""
    settings = UploadSettings(chunk_bytes=1_000_000)
    scene.push(lambda registry: registry.fault("PATCH", "", answers(416)), settings=settings)
    assert scene.is_whole()
    assert scene.story.has("other bytes are to come first")


def test_giving_up(scene: Scene) -> None:
    """After a bounded number of failures."""
    with pytest.raises(Unavailable, match=r"take the content sha256:\w+ of team/app: HTTP status 503"):
        scene.push(lambda registry: registry.fault("PUT", "uploads", answers(503), times=99))


@pytest.mark.parametrize(
    ("status", "kind"), [(403, Forbidden), (400, InvalidInput), (413, InvalidInput), (405, PierheadError)]
)
def test_refusals(scene: Scene, status: int, kind: type[PierheadError]) -> None:
    """Are not tried again, and have the registry's words."""
    text = '{"errors":[{"code":"DENIED","message":"not you","detail":"really"}]}'
    registries: list[TakingRegistry] = []

    def arrange(registry: TakingRegistry) -> None:
        registries.append(registry)
        registry.fault("PUT", "manifests/1", answers(status, text=text), times=99)

    with pytest.raises(kind, match=r"did not take the manifest 1 of team/app: DENIED, not you \(really\)"):
        scene.push(arrange)
    assert registries[0].count("PUT", "manifests") == 1


def test_a_manifest_that_was_misunderstood(scene: Scene) -> None:
    """A registry that calls what it got by another digest is not trusted with it."""
    headers = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    with pytest.raises(InvalidInput, match="took the manifest 1 of team/app for sha256:000"):
        scene.push(lambda registry: registry.fault("PUT", "manifests", answers(201, headers=headers)))
