"""Overlay mounts: as many layers as images have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.runtime.config import DEFAULT_MOUNTS, Mount
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.containers import Containers

pytestmark = requires("root")

LAYERS = 60


def test_sixty_layers(containers: Containers, tmp_path: Path) -> None:
    """An overlay of more layers than one value of fsconfig(2) holds shows every one of them."""
    layers = [tmp_path / f"layer:{number}" for number in range(LAYERS)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"file{number}").write_text("")
    lower = ":".join(str(layer).replace(":", "\\:") for layer in layers)
    mount = Mount(destination="/layers", type="overlay", source="overlay", options=(f"lowerdir={lower}",))
    finished = containers.run("ls /layers | wc -l", mounts=(*DEFAULT_MOUNTS, mount))
    assert finished.words == [str(LAYERS)]
