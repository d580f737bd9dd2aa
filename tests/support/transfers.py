"""Transfers in tests: a client, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

from pierhead.images.remote.client import Client
from pierhead.images.remote.connection import Connection, Patience
from pierhead.images.remote.progress import Arrivals, Progress
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pierhead.images.remote.hosts import Hosts
    from pierhead.oci.image import Descriptor, Manifest

QUICK = Patience(first_delay_s=0.01, longest_delay_s=0.05)
"""It tries again soon; how long it waits for an answer is as ever, for a busy machine is not a silent one."""

PULL = """
import asyncio, sys
from pierhead.images.content import ContentStore
from pierhead.images.platforms import parse_platform
from pierhead.images.reference import parse_reference
from pierhead.images.remote.client import Client
from pierhead.images.remote.connection import Connection
from pierhead.images.remote.progress import Progress
from pierhead.images.remote.transfer import pull

class Dots(Progress):
    def downloading(self, content, done_bytes):
        print(".", end="", flush=True)

async def main():
    async with Connection() as connection:
        await pull(
            Client(connection),
            ContentStore(sys.argv[2]),
            parse_reference(sys.argv[1]),
            platforms=(parse_platform("linux/amd64"),),
            progress=Dots(),
        )

asyncio.run(main())
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@contextlib.asynccontextmanager
async def connected(hosts: Hosts | None = None, **options: Any) -> AsyncIterator[Client]:
    """A client that waits no longer than tests like to."""
    async with Connection(**{"patience": QUICK, **options}) as connection:
        yield Client(connection, hosts)


class Story(Progress, Arrivals):
    """What is told, as words."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def resolved(self, name: str, descriptor: Descriptor, answered_by: str) -> None:
        """By whom."""
        self.told.append(f"resolved by {answered_by}")

    def exists(self, content: Descriptor) -> None:
        """By its size."""
        self.told.append(f"exists {content.size}")

    def downloading(self, content: Descriptor, done_bytes: int) -> None:
        """How far."""
        self.told.append(f"at {done_bytes} of {content.size}")

    def retrying(self, content: Descriptor, reason: str) -> None:
        """Why."""
        self.told.append(f"again: {reason}")

    def mounted(self, content: Descriptor, source: str) -> None:
        """From where."""
        self.told.append(f"mounted {content.size} from {source}")

    def complete(self, content: Descriptor) -> None:
        """By its size."""
        self.told.append(f"complete {content.size}")

    def image(self, descriptor: Descriptor, manifest: Manifest) -> None:
        """By the number of its layers."""
        self.told.append(f"image of {len(manifest.layers)}")

    def layer(self, descriptor: Descriptor, position: int) -> None:
        """By its position."""
        self.told.append(f"layer {position}")

    def has(self, words: str) -> bool:
        """Whether something with these words was told."""
        return any(words in each for each in self.told)


@dataclasses.dataclass
class Ended:
    """A process's exit status, and the most memory that it had."""

    status: int
    peak_bytes: int


async def pull_in_process(name: str, store: str, *, kill_after: int = 0) -> Ended:
    """How a process that pulls ended; it is killed when it has told so often that something came."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PULL,
        name,
        store,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    if kill_after:
        try:
            await process.stdout.readexactly(kill_after)
            process.send_signal(signal.SIGKILL)
        except asyncio.IncompleteReadError:  # it was quicker
            pass
    said = (await process.stdout.read()).decode()
    peak = re.search(r"VmHWM:\s+(\d+) kB", said)
    return Ended(await process.wait(), int(peak[1]) << 10 if peak else 0)
