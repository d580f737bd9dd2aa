"""What a test needs of the machine: a test whose need is not met is skipped, and the skip names the need.

    pytestmark = requires("root")

    @requires("root", "podman")
    def test_something() -> None: ...

A need is ``root`` or the name of a program on PATH.
"""

from __future__ import annotations

import os
import shutil

import pytest


def _is_met(need: str) -> bool:
    return os.geteuid() == 0 if need == "root" else shutil.which(need) is not None


def requires(*needs: str) -> pytest.MarkDecorator:
    """A mark that skips the test unless the machine has all of ``needs``."""
    missing = [need for need in needs if not _is_met(need)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
