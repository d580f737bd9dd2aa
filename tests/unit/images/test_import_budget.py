"""Commands about images load what they need: a client of registries is no part of reading an archive."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pierhead

SOURCE = Path(pierhead.__file__).parents[1]


def loaded_by(module: str) -> set[str]:
    """The modules that importing this one loads."""
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); import {module}; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return set(told.stdout.split())


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("pierhead.images.service", {"aiohttp", "asyncio", "ssl"}),
        ("pierhead.images.exchange", {"aiohttp", "cryptography"}),
        ("pierhead.images.unpackworker", {"asyncio", "sqlite3", "ssl"}),
    ],
)
def test_what_is_not_loaded(module: str, foreign: set[str]) -> None:
    """None of what takes a tenth of a second and has nothing to do with it."""
    loaded = loaded_by(module)
    assert module in loaded
    assert not {name.partition(".")[0] for name in loaded} & foreign
