"""Fixtures for tests on the real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.bundles import make_rootfs
from tests.support.containers import Containers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def shared_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of busybox that nobody writes to."""
    return make_rootfs(tmp_path_factory.mktemp("shared") / "rootfs")


@pytest.fixture
def containers(tmp_path: Path, shared_rootfs: Path) -> Iterator[Containers]:
    """Makes containers that end with the test."""
    made = Containers(tmp_path / "state", shared_rootfs)
    try:
        yield made
    finally:
        made.close()
