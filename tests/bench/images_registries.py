"""Registries beside each other: ours and Debian's, with a large blob, and with many clients at once."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.images_cost import Contest, Cost, take_turns, tree_cpu_s
from tests.bench.programs import Launcher, find_program, launcher
from tests.support.docker_registry import docker_registry_process
from tests.support.registries import Registry, registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BLOB_BYTES = 150_000_000
CLIENTS = 64


@dataclass(frozen=True)
class Crowd:
    """What many clients at once do to a registry: memory in kB before, at most, and after; bytes a second."""

    name: str
    before_kb: int
    peak_kb: int
    after_kb: int
    mb_per_s: float
    cpu_s: float


@contextmanager
def registries(home: Path) -> Iterator[dict[str, Registry]]:
    """Ours, and Debian's if it is installed."""
    with ExitStack() as stack:
        found = {"pier registry": stack.enter_context(registry(home / "registry"))}
        if find_program("docker-registry"):
            found["docker-registry"] = stack.enter_context(fresh_docker_registry(home / "docker-registry"))
        yield found


@contextmanager
def fresh_docker_registry(home: Path) -> Iterator[Registry]:
    """Debian's registry on a directory that is made."""
    home.mkdir()
    with docker_registry_process(home) as (port, pid):
        yield Registry(port, pid)


def compare_blobs(home: Path, *, rounds: int) -> tuple[list[Contest], list[Crowd]]:
    """A large blob down and up with curl, the processors' time being the server's; then a crowd."""
    blob = home / "blob"
    with registries(home) as servers, launcher() as usual:
        content = bytearray(os.urandom(BLOB_BYTES))
        digests = {name: server.push_blob("bench/blob", bytes(content)) for name, server in servers.items()}
        down = {name: _downloading(usual, server, digests[name]) for name, server in servers.items()}
        up = {name: _uploading(usual, server, content, blob) for name, server in servers.items()}
        contests = [
            _contest(f"GET of a blob of {BLOB_BYTES / 1e6:.0f} MB", take_turns(down, rounds=rounds)),
            _contest(f"Upload of a blob of {BLOB_BYTES / 1e6:.0f} MB", take_turns(up, rounds=rounds)),
        ]
        crowds = [_crowd(usual, name, server, digests[name]) for name, server in servers.items()]
    blob.unlink()
    return contests, crowds


def _contest(name: str, costs: Mapping[str, list[Cost]]) -> Contest:
    return Contest(name=name, target=1, ours=("pier registry",), peers=("docker-registry",), costs=costs)


def _curl(*words: str) -> list[str]:
    curl = find_program("curl")
    assert curl is not None, "curl is not installed"
    return [curl, "--no-progress-meter", "--fail", *words]


def _downloading(usual: Launcher, server: Registry, digest: str) -> Callable[[], Cost]:
    url = f"http://{server.address}/v2/bench/blob/blobs/{digest}"

    def download() -> Cost:
        return _served(server, lambda: usual.run_us(_curl("-o", os.devnull, url)))

    return download


def _uploading(usual: Launcher, server: Registry, content: bytearray, blob: Path) -> Callable[[], Cost]:
    def upload() -> Cost:
        """Another blob each time: nobody has it already."""
        content[:16] = os.urandom(16)
        blob.write_bytes(content)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        location = server.begin("bench/blob")
        where = location if location.startswith("http") else f"http://{server.address}{location}"
        where += ("&" if "?" in where else "?") + f"digest={digest}"
        cost = _served(server, lambda: usual.run_us(_curl("-T", str(blob), where)))
        server.delete(f"/v2/bench/blob/blobs/{digest}")
        return cost

    return upload


def _served(server: Registry, action: Callable[[], float]) -> Cost:
    before_s = tree_cpu_s(server.pid)
    wall_us = action()
    return Cost(wall_us / 1e6, tree_cpu_s(server.pid) - before_s)


def _crowd(usual: Launcher, name: str, server: Registry, digest: str) -> Crowd:
    """So many clients download the blob at the same time."""
    url = f"http://{server.address}/v2/bench/blob/blobs/{digest}"
    words = [word for _ in range(CLIENTS) for word in ("-o", os.devnull, url)]
    before_kb = _memory_kb(server.pid, "VmRSS")
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # proc(5): the peak begins anew
    before_s = tree_cpu_s(server.pid)
    elapsed_us = usual.run_us(_curl("-Z", "--parallel-immediate", "--parallel-max", str(CLIENTS), *words))
    time.sleep(1)
    return Crowd(
        name=name,
        before_kb=before_kb,
        peak_kb=_memory_kb(server.pid, "VmHWM"),
        after_kb=_memory_kb(server.pid, "VmRSS"),
        mb_per_s=round(CLIENTS * BLOB_BYTES / elapsed_us, 1),
        cpu_s=round(tree_cpu_s(server.pid) - before_s, 2),
    )


def _memory_kb(pid: int, what: str) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().partition(f"{what}:")[2].split()[0])
