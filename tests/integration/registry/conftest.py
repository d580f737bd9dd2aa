"""A registry for the tests of this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.registries import Registry, registry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def reg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """One that all tests of a module share: each uses repositories of its own."""
    with registry(tmp_path_factory.mktemp("registry") / "root", chunk_least_bytes=1024) as running:
        yield running
