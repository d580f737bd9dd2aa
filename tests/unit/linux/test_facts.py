"""What is read of the kernel's version."""

from __future__ import annotations

import pytest

from pierhead.linux.facts import kernel_version, parse_kernel_version


@pytest.mark.parametrize(
    ("release", "version"),
    [("6.1.0-13-amd64", (6, 1)), ("6.18-rc1", (6, 18)), ("5.12", (5, 12)), ("7", (7, 0)), ("6.x", (6, 0))],
)
def test_versions(release: str, version: tuple[int, int]) -> None:
    """The first two numbers count, whatever follows."""
    assert parse_kernel_version(release) == version


def test_this_kernel() -> None:
    """It is one that Pierhead runs on."""
    assert kernel_version() >= (5, 12)
