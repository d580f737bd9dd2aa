"""A process of a container, as several threads and the program around the library have to do with it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.oci.runtime import Hook, Hooks, IDMapping, User
from pierhead.runtime import ProcessSpec, list_ids, load, status
from pierhead.runtime.handshake import Handshake
from tests.support.containers import SLEEP, Containers, namespaces, wait_until
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


def ends_watched() -> int:
    """How many descriptors there are that tell of ends: who waits has one of its own."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sum("pidfd" in link or link.startswith("socket:") for link in found)


@pytest.mark.parametrize("supervise", [False, True])
def test_many_threads_wait_for_one_process(containers: Containers, *, supervise: bool) -> None:
    """All of them learn how it ended, at once."""
    container = containers.running(options={"supervise": supervise})
    before = ends_watched()
    results, threads = in_threads(8, lambda: container.wait().signal)
    wait_until("all of them wait", lambda: ends_watched() == before + 8)
    container.kill(signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    assert results == [signal.SIGKILL] * 8


@pytest.mark.parametrize("supervise", [False, True])
def test_a_wait_outlives_a_close(containers: Containers, *, supervise: bool) -> None:
    """Who waits has descriptors of its own: with a monitor it learns the end although another has closed."""
    container = containers.running(options={"supervise": supervise})
    before = ends_watched()
    results, threads = in_threads(2, lambda: container.wait().signal)
    wait_until("both wait", lambda: ends_watched() == before + 2)
    pid = container.init_pid
    container.init.close()
    os.kill(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
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
            thread.join(60)
        assert results == ["closed", "closed"]
        os.kill(pid, signal.SIGKILL)
        container.delete(force=True)


def test_a_child_of_the_program_is_never_reaped(containers: Containers) -> None:
    """A process that is no child of ours any more is not waited for by its number."""
    container = containers.running()
    container.kill(signal.SIGKILL)
    assert container.wait(60).signal == signal.SIGKILL
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
    assert loaded.wait(60).signal == signal.SIGKILL
    assert container.wait(0).signal == signal.SIGKILL
    loaded.close()


# Starting what dies


@pytest.mark.parametrize("supervise", [False, True])
def test_killed_before_the_program_ran(containers: Containers, *, supervise: bool) -> None:
    """A first process that is killed while its startContainer hook runs has not been started."""
    hook = Hook(path="/bin/sleep", args=("sleep", "1000"))
    container = containers.create(
        "true", hooks=Hooks(start_container=(hook,)), options={"supervise": supervise}
    )
    results, threads = in_threads(1, container.start)
    wait_until("the hook runs", lambda: len(container.processes()) > 1)
    os.kill(container.init.pid, signal.SIGKILL)
    threads[0].join(60)
    assert isinstance(results[0], OperationFailed)
    assert "killed before it ran the program" in str(results[0])


def test_a_quick_program_has_been_started(containers: Containers) -> None:
    """One that has ended by the time we look is no failure."""
    for supervise in (False, True):
        container = containers.create("exit 3", options={"supervise": supervise})
        container.start()
        assert container.wait(60).code == 3


def test_killed_between_look_and_start(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process dies after we saw it wait: a conflict, and not the socket's own error."""
    container = containers.create("true")
    container.kill(signal.SIGKILL)
    container.wait(60)
    monkeypatch.setattr(status, "observe_status", lambda *_: "created")
    with pytest.raises(Conflict, match="it has stopped"):
        container.start()


# Ids of users


ONE_ID = (IDMapping(container_id=1000, host_id=101000, size=1),)
MAPPED: dict[str, Any] = {
    "uid_mappings": ONE_ID,
    "gid_mappings": ONE_ID,
    "namespaces": namespaces("user", "mount", "pid", "ipc", "uts", "network", "cgroup"),
}


def test_a_user_namespace_without_root(containers: Containers) -> None:
    """Users are text or numbers, processes join, and nobody needs the id 0."""
    for user in ("1000:1000", User(uid=1000, gid=1000)):
        container = containers.start(args=SLEEP, process={"user": user}, **MAPPED)
        found = containers.exec(container, "id -u; id -g", user=user)
        assert found.words == ["1000", "1000"]
        with pytest.raises(InvalidInput, match="0 is not mapped"):
            container.exec(ProcessSpec(args=("true",)))
        container.delete(force=True)


@pytest.mark.parametrize("user", ["0:1000", "1000:7", "root"])
def test_users_that_are_not_mapped(containers: Containers, user: str) -> None:
    """Text is held against the maps like numbers, names when they have been looked up."""
    with pytest.raises(InvalidInput, match="is not mapped in the user namespace"):
        containers.start(args=SLEEP, process={"user": user}, **MAPPED)


def test_exec_checks_the_process(containers: Containers) -> None:
    """A working directory that is not absolute is refused before anything is launched."""
    container = containers.running()
    with pytest.raises(InvalidInput, match="cwd"):
        container.exec(ProcessSpec(args=("true",), cwd="relative"))


# Launches that are given up


@pytest.mark.parametrize("supervise", [False, True])
def test_an_interrupt_around_the_commit(
    containers: Containers, monkeypatch: pytest.MonkeyPatch, *, supervise: bool
) -> None:
    """The stage may know of the commit already: nothing is left, and nothing hangs."""
    commit = Handshake.commit

    def interrupted(self: Handshake) -> None:
        commit(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Handshake, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        containers.start(args=SLEEP, options={"supervise": supervise})
    assert list_ids(containers.root) == []


def test_a_full_table_of_descriptors(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel drops descriptors that we have no room for: the launch fails in words."""
    send = Handshake.send
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def send_and_fill(self: Handshake, *arguments: Any) -> None:
        send(self, *arguments)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))

    containers.run("true")
    monkeypatch.setattr(Handshake, "send", send_and_fill)
    real_run = Handshake.run

    def run_and_empty(self: Handshake, steps: Any) -> Any:
        try:
            return real_run(self, steps)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            while taken:
                os.close(taken.pop())

    monkeypatch.setattr(Handshake, "run", run_and_empty)
    with pytest.raises(OperationFailed, match="too many open files"):
        containers.create("true")
    assert list_ids(containers.root) == []


def test_the_helper_has_a_name(containers: Containers) -> None:
    """ps, top and pgrep show the monitor, and what waits at its gate, as pier-init and not as a number."""
    container = containers.create(args=SLEEP, options={"supervise": True})
    names = [
        Path(f"/proc/{pid}/comm").read_text() for pid in (container.state.monitor_pid, container.init_pid)
    ]
    assert names == ["pier-init\n", "pier-init\n"]
    container.start()
    wait_until("the program", lambda: Path(f"/proc/{container.init_pid}/comm").read_text() == "sleep\n")
