"""What a container's object knows of it, and what it says when it does not."""

from __future__ import annotations

import contextlib
import os
import resource

import pytest

from pierhead.errors import Conflict, NotFound, OperationFailed
from pierhead.oci.runtime import Capabilities, Memory, Pids, Resources
from pierhead.runtime import Stdio, create, load
from tests.support.containers import Containers, status_of
from tests.support.requires import requires

pytestmark = requires("root")


def test_what_is_known_of_one_just_made(containers: Containers) -> None:
    """Its state is the state file's, whoever holds it; and it follows updates."""
    container = containers.running(hostname="box")
    container.update(Resources(pids=Pids(limit=77)))
    with load(containers.root, container.id) as again:
        assert container.state == again.state
        assert container.state.config["hostname"] == "box"
        assert container.state.config["resources"]["pids"] == {"limit": 77}  # type: ignore[index]


def test_warnings_reach_the_maker(containers: Containers) -> None:
    """What is strange about a configuration, and what the kernel no longer knows."""
    strange = Capabilities(bounding=("CAP_FLY",))
    limits = Resources(memory=Memory(limit=64 << 20, kernel=1 << 20))
    for make in (containers.create, containers.start):
        made = make("true", capabilities=strange, resources=limits)
        assert any("CAP_FLY is not known" in warning for warning in made.warnings)
        assert any("kernel" in warning for warning in made.warnings[1:])
    assert containers.running().warnings == ()


def test_a_closed_object_is_not_a_deleted_container(containers: Containers) -> None:
    """It says what it is; after delete the container is what is gone."""
    container = containers.running()
    with load(containers.root, container.id) as again:
        pass
    with pytest.raises(Conflict, match="closed"):
        status_of(again)
    container.delete(force=True)
    with pytest.raises(NotFound, match="does not exist"):
        status_of(container)


def test_a_full_table_of_descriptors_is_no_missing_root(containers: Containers) -> None:
    """What is not there is not to be looked for because nothing can be opened."""
    config = containers.config("true")
    table = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, table[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                opened.append(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(OperationFailed, match="too many open files"):
            create(containers.root, containers.id(), config, stdio=Stdio.null())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, table)
        for fd in opened:
            os.close(fd)
