"""Who is to keep the contracts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pierhead.images.overlay import OverlaySnapshotter
from pierhead.images.plaindir import PlainSnapshotter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.images.snapshots import Snapshotter

SNAPSHOTTERS: dict[str, type[OverlaySnapshotter | PlainSnapshotter]] = {
    each.name: each for each in (OverlaySnapshotter, PlainSnapshotter)
}


@pytest.fixture(params=sorted(SNAPSHOTTERS))
def snapshotter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Snapshotter]:
    """An empty one of each kind."""
    before = set(os.listdir("/proc/self/fd"))
    with SNAPSHOTTERS[request.param](tmp_path / "snapshots") as made:
        yield made
    assert set(os.listdir("/proc/self/fd")) <= before, "a descriptor stays open"
