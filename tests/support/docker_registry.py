"""Debian's docker-registry, for tests that want somebody else's."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
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


_PATIENCE_S = 60.0
_PORTS_TRIED = 5


def free_port() -> int:
    """A TCP port that nobody uses at the moment: until it is bound, anybody may take it."""
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
    configuration, log = directory / "registry.yml", directory / "registry.log"
    for _ in range(_PORTS_TRIED):
        port = free_port()
        configuration.write_text(DOCKER_REGISTRY.format(root=directory / "registry", port=port))
        with (
            log.open("wb") as output,
            subprocess.Popen(
                ["docker-registry", "serve", str(configuration)], stdout=output, stderr=output
            ) as process,
        ):
            try:
                if _comes_to_listen(port, process):
                    yield port, process.pid
                    return
            finally:
                process.terminate()
        said = log.read_text()
        assert "address already in use" in said, f"docker-registry ended:\n{said}"
    raise AssertionError("others took each port before docker-registry did")


def _comes_to_listen(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether it listens at last; False: it has ended, the port was somebody else's by then."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        with socket.socket() as probe:
            # At its own port, it would find itself: TCP lets two ends meet that both begin.
            probe.bind(("127.0.0.1", 0))
            if probe.getsockname()[1] != port and probe.connect_ex(("127.0.0.1", port)) == 0:
                return process.poll() is None
        time.sleep(0.05)
    raise AssertionError("docker-registry does not listen")
