"""Podman's remote client in tests; PIERHEAD_TEST_PODMAN names another program than Debian's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.docker_cli import Docker
from tests.support.peers import find_program

if TYPE_CHECKING:
    from pathlib import Path


class Podman(Docker):
    """The command, called as docker's is; it is told where its service is, and has nothing of its own."""

    def __init__(self, url: str, home: Path) -> None:
        super().__init__(url, home)
        program = os.environ.get("PIERHEAD_TEST_PODMAN") or find_program("podman")
        self.words = [program, "--remote", "--url", url]
        self.environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"
