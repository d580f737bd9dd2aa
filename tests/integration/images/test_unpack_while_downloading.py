"""Layers are unpacked as they come, and nothing of it counts that was not verified."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, PierheadError, Unavailable
from pierhead.images.content import ContentStore
from pierhead.images.pulling import pull_image
from pierhead.images.service import ImageService
from tests.support.image_archives import archive
from tests.support.image_contents import AMD64, add_image, random_bytes
from tests.support.misbehaving import MisbehavingRegistry, drops, gives
from tests.support.repository import ROOT
from tests.support.requires import requires
from tests.support.transfers import connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp import web

pytestmark = requires("root")
LARGE = archive({f"file{number:02}": random_bytes(100_000, number) for number in range(40)})
OTHER = archive({f"file{number:02}": random_bytes(100_000, number + 100) for number in range(40)})
SMALL = archive({"small": b"text"})

PULL = """
import asyncio, sys
from pierhead.images.platforms import parse_platform
from pierhead.images.pulling import pull_image
from pierhead.images.service import ImageService
from pierhead.images.unpackprogress import UnpackProgress

class Dots(UnpackProgress):
    def downloading(self, content, done_bytes):
        print(".", end="", flush=True)

with ImageService(sys.argv[2], policy_path=sys.argv[2] + "-policy.toml") as service:
    asyncio.run(pull_image(service, sys.argv[1], platforms=(parse_platform("linux/amd64"),), progress=Dots()))
"""


class Scene:
    """A registry that has an image of these layers, and a store without any."""

    def __init__(self, path: Path, *layers: bytes) -> None:
        self.path = path
        self.there = ContentStore(path / "there")
        self.image = add_image(self.there, layers)
        self.registry = MisbehavingRegistry(self.there)
        self.registry.tags["team/app:1"] = self.image.digest

    @property
    def name(self) -> str:
        """Of the image."""
        return f"{self.registry.address}/team/app:1"

    def open(self) -> ImageService:
        """Over the store."""
        return ImageService(self.path / "store", policy_path=f"{self.path}/policy.toml")

    def pull(self, *, times: int = 1) -> None:
        """The image is here, pulled so many times at once; or nothing is left but parts."""

        async def pull_once() -> None:
            async with connected() as client:
                with self.open() as service:
                    await pull_image(service, self.name, platforms=(AMD64,), client=client)

        async def run() -> None:
            async with self.registry:
                await asyncio.gather(*(pull_once() for _ in range(times)))

        asyncio.run(run())

    def kinds(self) -> list[str]:
        """Of all snapshots."""
        with self.open() as service:
            return sorted(info.kind for info in service.snapshotter.walk())

    def unpacked(self) -> dict[str, bytes]:
        """All files of all snapshots, by their names."""
        found = self.path.glob("store/snapshots/**/fs/*")
        return {path.name: path.read_bytes() for path in found}


def holds_back(after: int, is_time: Callable[[], bool]) -> Callable[..., object]:
    """Gives the first bytes of a stream, and the others when it is time."""

    async def act(request: web.Request, data: bytes) -> web.StreamResponse:
        from aiohttp import web

        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[:after])
        while not is_time():
            await asyncio.sleep(0.01)
        await response.write(data[after:])
        return response

    return act


def files_of(data: bytes) -> dict[str, bytes]:
    """What the large archives unpack to."""
    first = 0 if data == LARGE else 100
    return {f"file{number:02}": random_bytes(100_000, number + first) for number in range(40)}


def test_files_are_there_before_the_layer_is(tmp_path: Path) -> None:
    """The registry gives the end only when the beginning has been unpacked."""
    scene = Scene(tmp_path, LARGE)
    seen: list[list[str]] = []

    def is_time() -> bool:
        names = sorted(path.name for path in tmp_path.glob("store/snapshots/**/fs/file*"))
        if "file10" in names:
            seen.append(scene.kinds())
        return "file10" in names

    scene.registry.fault("GET", compute_digest(LARGE), holds_back(2_200_000, is_time))  # type: ignore[arg-type]
    scene.pull()
    assert seen == [["active"]]
    assert scene.kinds() == ["committed"]
    assert scene.unpacked() == files_of(LARGE)


def test_a_layer_that_breaks_off(tmp_path: Path) -> None:
    """For good: there is a sentence, the beginning stays, and no snapshot."""
    scene = Scene(tmp_path, SMALL, LARGE)
    scene.registry.fault("GET", compute_digest(LARGE), drops(2_000_000))
    scene.registry.fault("GET", compute_digest(LARGE), drops(), times=99)
    with pytest.raises(Unavailable, match="did not give the content"):
        scene.pull()
    assert scene.unpacked().keys() <= {"small"}
    assert "active" not in scene.kinds()
    with scene.open() as service:
        assert sum(size for _, size in service.content.parts()) >= 1_000_000
    resumed = Scene(tmp_path, SMALL, LARGE)
    resumed.pull()
    assert resumed.registry.sent_bytes < len(LARGE)
    assert resumed.unpacked() == {**files_of(LARGE), "small": b"text"}


def test_a_layer_that_is_another_one(tmp_path: Path) -> None:
    """What was unpacked of it is gone before anybody could see it, and the sentence is about the digest."""
    assert len(OTHER) == len(LARGE)
    scene = Scene(tmp_path, LARGE)
    scene.registry.fault("GET", compute_digest(LARGE), gives(OTHER), times=99)
    with pytest.raises(InvalidInput, match="what came is not sha256"):
        scene.pull()
    assert scene.kinds() == []
    assert scene.unpacked() == {}


def test_garbage_in_the_place_of_a_layer(tmp_path: Path) -> None:
    """No archive at all: the registry's lie is told of, not what the unpacking makes of it."""
    scene = Scene(tmp_path, LARGE)
    scene.registry.fault("GET", compute_digest(LARGE), gives(random_bytes(len(LARGE))), times=99)
    with pytest.raises(InvalidInput, match="what came is not sha256"):
        scene.pull()
    assert scene.kinds() == []


def test_an_archive_that_may_not_be_unpacked(tmp_path: Path) -> None:
    """A layer that is what its digest says, and hostile, is refused with the sentence about it."""
    scene = Scene(tmp_path, SMALL, archive({"../outside": b"x", "more": random_bytes(1_000_000)}))
    with pytest.raises(InvalidInput, match="leads out of the directory"):
        scene.pull()
    assert "active" not in scene.kinds()
    assert not list(tmp_path.rglob("outside"))


def test_what_was_here_before_was_wrong(tmp_path: Path) -> None:
    """A damaged beginning is found at the end; all of it comes again, and is unpacked again."""
    scene = Scene(tmp_path, SMALL, LARGE)
    with scene.open() as service, service.content.ingest(compute_digest(LARGE)) as ingest:
        ingest.append(OTHER[:3_000_000])
    scene.pull()
    assert scene.kinds() == ["committed"] * 2
    assert scene.unpacked() == {**files_of(LARGE), "small": b"text"}


def test_two_pulls_at_once(tmp_path: Path) -> None:
    """One unpacks what comes, the other what has come; each content comes once."""
    scene = Scene(tmp_path, SMALL, LARGE)
    scene.registry.pace = 0.005
    scene.pull(times=2)
    assert scene.kinds() == ["committed"] * 2
    assert scene.unpacked() == {**files_of(LARGE), "small": b"text"}
    assert scene.registry.count("GET", compute_digest(LARGE)) == 1


def test_the_same_layer_twice_in_an_image(tmp_path: Path) -> None:
    """The second is unpacked from the store."""
    scene = Scene(tmp_path, LARGE, SMALL, LARGE)
    scene.pull()
    assert scene.kinds() == ["committed"] * 3


@pytest.mark.parametrize("dots", [1, 2, 3])
def test_killed_and_gone_on(tmp_path: Path, dots: int) -> None:
    """A pull that is killed while it unpacks leaves no committed snapshot of what is not whole."""
    scene = Scene(tmp_path, SMALL, LARGE)
    scene.registry.pace = 0.01

    async def run() -> None:
        async with scene.registry:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                PULL,
                scene.name,
                str(tmp_path / "store"),
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
                stdout=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            await process.stdout.readexactly(dots)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
            with scene.open() as service:
                rows = len(service.library.layers())
                committed = [info for info in service.snapshotter.walk() if info.kind == "committed"]
                assert service.content.find_size(compute_digest(LARGE)) is None
                assert max(rows, len(committed)) <= 1
                async with connected() as client:
                    await pull_image(service, scene.name, platforms=(AMD64,), client=client)
                service.collect(parts_kept_s=0)

    asyncio.run(run())
    assert scene.kinds() == ["committed"] * 2
    assert scene.unpacked() == {**files_of(LARGE), "small": b"text"}


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """Neither of pulls that end well, nor of others."""
    before = len(os.listdir("/proc/self/fd"))
    Scene(tmp_path / "good", SMALL, LARGE).pull()
    for number, act in enumerate((gives(OTHER), drops())):
        scene = Scene(tmp_path / f"bad{number}", SMALL, LARGE)
        scene.registry.fault("GET", compute_digest(LARGE), act, times=99)
        with pytest.raises(PierheadError):
            scene.pull()
    assert len(os.listdir("/proc/self/fd")) == before
