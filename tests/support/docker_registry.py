"""Debian's docker-registry, for tests that want somebody else's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCKER_REGISTRY = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
compatibility: {{schema1: {{enabled: true}}}}
"""


def free_port() -> int:
    """A TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def docker_registry(directory: Path) -> Iterator[str]:
    """Debian's registry, on a directory; gives its address."""
    with docker_registry_process(directory) as (port, _):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def docker_registry_process(directory: Path) -> Iterator[tuple[int, int]]:
    """Debian's registry, on a directory; gives its port and its process id."""
    port = free_port()
    configuration = directory / "registry.yml"
    configuration.write_text(DOCKER_REGISTRY.format(root=directory / "registry", port=port))
    with subprocess.Popen(
        ["docker-registry", "serve", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _await_listening(port, process)
            yield port, process.pid
        finally:
            process.terminate()


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError("docker-registry ended")
    raise AssertionError("docker-registry does not listen")
