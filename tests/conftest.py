"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.support.leaks import leaks_since, observe, states_below
from tests.support.probe import build_probe, make_probe_rootfs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

_failed = pytest.StashKey[bool]()

# How long an example takes is no claim of any test, and a machine that is busy is no failure.  What is drawn
# is the same in each run: examples that nobody has seen are looked for on purpose, and not by who merges.
settings.register_profile(
    "pierhead",
    deadline=None,
    derandomize=not os.environ.get("PIERHEAD_TEST_EXAMPLES"),
    max_examples=int(os.environ.get("PIERHEAD_TEST_EXAMPLES", "100")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pierhead")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes on a test whether it has failed, for the fixtures that end after it."""
    report = yield
    item.stash[_failed] = item.stash.get(_failed, False) or report.failed
    return report


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test on the real kernel leaves the machine as it was: mounts, cgroups, links, processes,
    descriptors, states.

    It says nothing of a test that has failed: its traceback keeps what it made alive.
    """
    if "integration" not in request.path.parts:
        yield
        return
    directory: Path = request.getfixturevalue("tmp_path")
    before = observe((directory,))
    gc.freeze()  # thousands of tests pile up what need not be looked through for garbage each time
    yield
    if request.node.stash.get(_failed, False):
        return
    found = leaks_since(before, lambda: observe((directory,))) + states_below(directory)
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)


@pytest.fixture(scope="session")
def probe_program() -> Path:
    """The probe, built."""
    return build_probe()


@pytest.fixture
def probe_rootfs(tmp_path: Path, probe_program: Path) -> Path:
    """A root file system with the probe in it, which the test may change."""
    return make_probe_rootfs(tmp_path / "probe-rootfs", probe_program)
