"""A process of a container, as several threads and the program around the library have to do with it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict
from pierhead.runtime import ProcessSpec, load
from tests.support.containers import SLEEP, Containers, wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = requires("root")


def in_threads(count: int, action: Callable[[], object]) -> tuple[list[object], list[threading.Thread]]:
    """Threads that run the action; what it returned or raised is listed as they end."""
    results: list[object] = []

    def note() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            results.append(error)

    threads = [threading.Thread(target=note) for _ in range(count)]
    for thread in threads:
        thread.start()
    return results, threads


@pytest.mark.parametrize("supervise", [False, True])
def test_many_threads_wait_for_one_process(containers: Containers, *, supervise: bool) -> None:
    """All of them learn how it ended, at once."""
    container = containers.running(options={"supervise": supervise})
    results, threads = in_threads(8, lambda: container.wait(20).signal)
    time.sleep(0.1)
    container.kill(signal.SIGKILL)
    killed = time.monotonic()
    for thread in threads:
        thread.join(20)
    assert results == [signal.SIGKILL] * 8
    assert time.monotonic() - killed < 5


@pytest.mark.parametrize("supervise", [False, True])
def test_a_wait_outlives_a_close(containers: Containers, *, supervise: bool) -> None:
    """Who waits has descriptors of its own: with a monitor it learns the end although another has closed."""
    container = containers.running(options={"supervise": supervise})
    results, threads = in_threads(2, lambda: container.wait(20).signal)
    time.sleep(0.1)
    pid = container.init_pid
    container.init.close()
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    if supervise:
        assert results == [signal.SIGKILL] * 2


def test_signals_never_reach_a_number_that_was_reused(containers: Containers) -> None:
    """While one thread closes, others signal: they get an error of ours, and nobody else is hit."""
    for _ in range(20):
        container = containers.running()
        further = container.exec(ProcessSpec(args=SLEEP))
        pid = further.pid

        def signals(process: object = further) -> str:
            with contextlib.suppress(Conflict):
                while True:
                    process.signal(0)  # type: ignore[attr-defined]
            return "closed"

        results, threads = in_threads(2, signals)
        further.close()
        for thread in threads:
            thread.join(20)
        assert results == ["closed", "closed"]
        os.kill(pid, signal.SIGKILL)
        container.delete(force=True)


def test_a_child_of_the_program_is_never_reaped(containers: Containers) -> None:
    """A process that is no child of ours any more is not waited for by its number."""
    container = containers.running()
    container.kill(signal.SIGKILL)
    assert container.wait(20).signal == signal.SIGKILL
    child = os.posix_spawn("/bin/true", ("true",), {})
    container.init.pid = child  # as if the number had come round
    wait_until("the child has ended", lambda: b"Z" in _stat(child))
    container.init.collect()
    assert os.waitpid(child, 0) == (child, 0)


def _stat(pid: int) -> bytes:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2][:3]


def test_a_loaded_container_is_waited_for_by_its_parent(containers: Containers) -> None:
    """Both objects of one container know how it ended, whichever was asked first."""
    container = containers.running()
    loaded = load(containers.root, container.id)
    container.kill(signal.SIGKILL)
    assert loaded.wait(20).signal == signal.SIGKILL
    assert container.wait(0).signal == signal.SIGKILL
    loaded.close()
