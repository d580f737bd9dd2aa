"""Processes that pull: killed ones, and two at once; nothing that had come is fetched again."""

from __future__ import annotations

import asyncio
import random
import signal
from typing import TYPE_CHECKING

from pierhead.images.content import ContentStore
from tests.support.image_contents import add_image, random_bytes
from tests.support.misbehaving import MisbehavingRegistry
from tests.support.transfers import pull_in_process

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (24 << 20, 9 << 20, 3 << 20)
KILLS = 5


def test_killed_and_gone_on(tmp_path: Path) -> None:
    """Killed five times at random moments, the pull that is left alone fetches the rest and no more.

    What was in memory when a process was killed is lost: a range and its successors, or a block, of each
    layer.
    """
    there, here = ContentStore(tmp_path / "there"), ContentStore(tmp_path / "here")
    image = add_image(there, [random_bytes(size, size) for size in SIZES])
    chance = random.Random(1)
    gained: list[int] = []

    async def run() -> int:
        async with MisbehavingRegistry(there) as registry:
            registry.tags["team/app:1"] = image.digest
            registry.pace = 0.01
            name = f"{registry.address}/team/app:1"
            for _ in range(KILLS):
                killed = await pull_in_process(name, here.root, kill_after=chance.randrange(2, 6))
                assert killed.status == -signal.SIGKILL, "it was quicker than we"
                gained.append(sum(size for _, size in (*here.digests(), *here.parts())))
            registry.pace = 0
            assert (await pull_in_process(name, here.root)).status == 0
            return registry.sent_bytes

    sent_bytes = asyncio.run(run())
    assert dict(here.digests()) == dict(there.digests())
    assert not list(here.parts())
    assert gained == sorted(gained)
    assert gained[0] > 0
    print(f"{sum(SIZES)} bytes; sent {sent_bytes} over {KILLS} kills; kept after each: {gained}")
    assert sent_bytes < sum(SIZES) + KILLS * (2 * 3 * (4 << 20) + len(SIZES) * (2 << 20))


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Each content is fetched by one of them while the other waits, and both end well."""
    there, here = ContentStore(tmp_path / "there"), ContentStore(tmp_path / "here")
    image = add_image(there, [random_bytes(3 << 20, 1), random_bytes(1 << 20, 2), b"small"])

    async def run() -> list[str]:
        async with MisbehavingRegistry(there) as registry:
            registry.tags["team/app:1"] = image.digest
            registry.pace = 0.02
            name = f"{registry.address}/team/app:1"
            ended = await asyncio.gather(*(pull_in_process(name, here.root) for _ in range(2)))
            assert [each.status for each in ended] == [0, 0]
            return [each.path for each in registry.seen if "/blobs/" in each.path]

    fetched = asyncio.run(run())
    assert dict(here.digests()) == dict(there.digests())
    assert len(fetched) == len(set(fetched)) == 4
