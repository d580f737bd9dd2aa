"""A machine with an engine's network, and another one on a cable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.networks import Machine, ServiceOn, machine, neighbour

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host() -> Iterator[Machine]:
    """The machine with the engine."""
    with machine() as made:
        yield made


@pytest.fixture
def outside(host: Machine) -> Iterator[Machine]:
    """Another machine on a cable."""
    with neighbour(host) as made:
        yield made


@pytest.fixture
def service(host: Machine, tmp_path: Path) -> Iterator[ServiceOn]:
    """The service on ``host``."""
    made = ServiceOn(host, str(tmp_path / "network"))
    assert made.ensure() == ()
    yield made
    made.close()
