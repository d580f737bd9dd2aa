"""A layer in a process of its own: the same result, the same errors, and an end with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput, OperationFailed, Unsupported
from pierhead.images.compression import Compressor
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.unpack import UnpackLimits
from pierhead.images.unpackworker import start_unpack
from pierhead.linux.process import kill_pidfd, open_pidfd, wait_pidfd
from tests.support.repository import ROOT
from tests.support.requires import requires
from tests.support.tars import pack
from tests.support.unpacking import describe, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pierhead.images.unpackworker import UnpackWorker

pytestmark = requires("root", "python:isal", "python:backports.zstd")

PATIENCE_S = 60.0
ARCHIVE = pack(
    Entry(name=b"d", kind="directory", mode=0o3777, uid=5),
    (Entry(name=b"d/file", mode=0o666, mtime_ns=10**18), b"content"),
    (Entry(name="e/größe\udc80".encode(errors="surrogateescape")), b"x"),
    (Entry(name="f\udc81/x".encode(errors="surrogateescape")), b"x"),
)


class Layers:
    """Archives in files, directories for them, and descriptors that are closed at the end."""

    def __init__(self, tmp_path: Path) -> None:
        self._tmp_path = tmp_path
        self._fds: list[int] = []

    def start(self, archive: bytes, name: str = "root", limits: UnpackLimits | None = None) -> UnpackWorker:
        """A worker unpacks the archive into a directory of this name."""
        (self._tmp_path / f"{name}.tar").write_bytes(archive)
        (self._tmp_path / name).mkdir()
        self._fds.append(os.open(self._tmp_path / f"{name}.tar", os.O_RDONLY))
        self._fds.append(os.open(self._tmp_path / name, os.O_RDONLY))
        return start_unpack(*self._fds[-2:], whiteouts="overlay", limits=limits)

    def close(self) -> None:
        """Nothing is open."""
        for fd in self._fds:
            os.close(fd)


@pytest.fixture
def layers(tmp_path: Path) -> Iterator[Layers]:
    """None yet."""
    made = Layers(tmp_path)
    yield made
    made.close()


@pytest.fixture
def endless() -> Iterator[int]:
    """A pipe from which somebody reads and to which nobody writes."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    yield reading
    os.close(reading)
    os.close(writing)


def test_the_same_comes_of_it(tmp_path: Path, layers: Layers) -> None:
    """As if it were unpacked here, names that are no text included."""
    with layers.start(ARCHIVE) as worker:
        assert wait_pidfd(worker.pidfd, PATIENCE_S)
        result = worker.wait()
    assert result == unpack(ARCHIVE, tmp_path / "here")
    assert result.implied == ("e", "f\udc81")
    ours = {
        name: about
        for name, about in describe(tmp_path / "root").items()
        if name not in (".", "e/.", "f\udc81/.")
    }
    assert {name: about[:3] for name, about in ours.items()} == {
        name: about[:3] for name, about in describe(tmp_path / "here").items() if name in ours
    }


def test_several_at_once(tmp_path: Path, layers: Layers) -> None:
    """Each in its own directory."""
    workers = [layers.start(ARCHIVE, f"layer{number}") for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda worker: worker.wait(), workers))
    for worker in workers:
        worker.close()
    assert len(set(results)) == 1
    assert all((tmp_path / f"layer{number}/d/file").read_bytes() == b"content" for number in range(6))


def test_errors_come_back(layers: Layers) -> None:
    """With their kind, code and hint."""
    with (
        layers.start(pack(Entry(name=b"../x"))) as worker,
        pytest.raises(InvalidInput, match="leads out of the directory") as caught,
    ):
        worker.wait()
    assert caught.value.code == "invalid-name"
    assert "do not trust" in caught.value.hint
    with (
        layers.start(ARCHIVE, "limited", UnpackLimits(entries=2)) as worker,
        pytest.raises(InvalidInput, match="more than the 2 entries"),
    ):
        worker.wait()


def test_a_bomb_in_a_worker(layers: Layers) -> None:
    """What unpacks to too much ends there."""
    compressor = Compressor("gzip")
    bomb = bytes(compressor.compress(pack((Entry(name=b"zeros"), bytes(50 << 20))))) + compressor.flush()
    with (
        layers.start(bomb, limits=UnpackLimits(archive_bytes=10 << 20)) as worker,
        pytest.raises(InvalidInput, match="more than the 10485760 bytes"),
    ):
        worker.wait()


def test_killing(tmp_path: Path, endless: int) -> None:
    """Whoever waits is told, and nothing is left."""
    directory_fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with start_unpack(endless, directory_fd, whiteouts="overlay") as worker:
            assert not wait_pidfd(worker.pidfd, 0.3)
            worker.kill()
            with pytest.raises(OperationFailed, match="was ended by signal 9"):
                worker.wait()
        with start_unpack(endless, directory_fd, whiteouts="overlay") as worker:
            pidfd = os.dup(worker.pidfd)
        assert wait_pidfd(pidfd, 0)
        os.close(pidfd)
    finally:
        os.close(directory_fd)


PARENT = """
import os, sys, time
from pierhead.images.unpackworker import start_unpack
worker = start_unpack(int(sys.argv[1]), os.open(sys.argv[2], os.O_RDONLY), whiteouts="overlay")
print(worker._pid, flush=True)
time.sleep(100)
"""


@pytest.mark.parametrize("delay_s", [0, 0.5])
def test_it_ends_with_us(tmp_path: Path, endless: int, delay_s: float) -> None:
    """A worker whose parent is killed at any moment does not go on by itself."""
    environment = dict(os.environ, PYTHONPATH=str(ROOT / "src"))
    command = [sys.executable, "-c", PARENT, str(endless), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, pass_fds=(endless,)) as parent:
        assert parent.stdout is not None
        pidfd = open_pidfd(int(parent.stdout.readline()))
        assert pidfd is not None
        time.sleep(delay_s)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    ended = wait_pidfd(pidfd, PATIENCE_S)
    kill_pidfd(pidfd)
    os.close(pidfd)
    assert ended


def test_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is a sentence, and no descriptor is lost."""
    for program, kind in (("", Unsupported), (str(tmp_path / "missing"), OperationFailed)):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(kind):
            start_unpack(0, 0, whiteouts="overlay")


def test_a_worker_that_breaks(monkeypatch: pytest.MonkeyPatch, layers: Layers) -> None:
    """What it said last is the hint."""
    monkeypatch.setattr(sys, "path", ["/nonexistent"])
    with (
        layers.start(ARCHIVE) as worker,
        pytest.raises(OperationFailed, match="ended with status 1") as caught,
    ):
        worker.wait()
    assert "Error" in caught.value.hint
