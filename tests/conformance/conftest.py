"""A ``pierd`` of a file's own, and the command lines of docker and Podman for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.support.docker_cli import Docker
from tests.support.pierds import served
from tests.support.podman_remote import Podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.daemons import Daemon

AnyClient = TypeVar("AnyClient", bound=Docker)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a network of its own."""
    with served(tmp_path_factory.mktemp("pierd")) as it:
        yield it


@pytest.fixture
def docker(running: Daemon, tmp_path: Path) -> Iterator[Docker]:
    """Docker; what a test leaves of containers and volumes is removed."""
    yield from tidied(Docker(f"unix://{running.socket_path}", tmp_path))


@pytest.fixture
def podman(running: Daemon, tmp_path: Path) -> Iterator[Podman]:
    """Podman's remote client; the same is removed."""
    yield from tidied(Podman(f"unix://{running.socket_path}", tmp_path))


def tidied(it: AnyClient) -> Iterator[AnyClient]:
    """The client; afterwards there are no containers and no volumes."""
    yield it
    if left := it.lines("ps", "--all", "--quiet"):
        it("rm", "--force", "--volumes", *left)
    if left := it.lines("volume", "ls", "--quiet"):
        it("volume", "rm", *left)
