"""Transfers in tests: a client, and what it tells."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from pierhead.images.remote.client import Client
from pierhead.images.remote.connection import Connection, Patience
from pierhead.images.remote.progress import Arrivals, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pierhead.images.remote.hosts import Hosts
    from pierhead.oci.image import Descriptor, Manifest

QUICK = Patience(first_delay_s=0.01, longest_delay_s=0.05, connect_timeout_s=5, read_timeout_s=5)


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
