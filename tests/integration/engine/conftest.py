"""Fixtures for tests of engines on the real kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.engines import IMAGE, Engines
from tests.support.pier import Pier, busybox_layer, greeting_layer, write_image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def engine_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers, as a directory."""
    directory = tmp_path_factory.mktemp("engine-image")
    layers = busybox_layer(directory), greeting_layer("hello\n")
    execution = {"Cmd": ["cat", "/etc/motd"], "Env": ["PATH=/bin", "WHO=image"], "Labels": {"from": "image"}}
    return write_image(directory / "layout", *layers, **execution)


@pytest.fixture(scope="session")
def engine_store(tmp_path_factory: pytest.TempPathFactory, engine_image: Path) -> Path:
    """A data root that has the image, to be copied: quicker than to load it for each test."""
    root = tmp_path_factory.mktemp("engine-store") / "data"
    Pier(root)("load", "--quiet", "--input", str(engine_image), "--name", IMAGE)
    return root


@pytest.fixture
def engines(tmp_path: Path, engine_store: Path) -> Engines:
    """Engines over directories of the test's."""
    return Engines(tmp_path, engine_store)
