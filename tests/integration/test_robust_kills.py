"""SIGKILL at every step of the dialogue that ARCHITECTURE.md draws, of each process that takes part in it.

What is left is a container that can be used, or none and nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, NotFound, PierheadError
from pierhead.linux import procstat
from pierhead.linux.cgroupfs import discover
from pierhead.runtime import Config, Container, ProcessSpec, Stdio, launcher, list_ids, load, state
from pierhead.runtime.handshake import Handshake
from tests.support.containers import ENV, Containers, wait_until
from tests.support.killing import EXECS, LAUNCHES, NEVER, Launchers, killing, launch
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

PATIENCE_S = 60.0
VICTIMS = [
    *((victim, kind) for victim in ("stage", "init") for kind in LAUNCHES),
    ("joiner", "everything"),  # the others have none
]
TRUE = ProcessSpec(args=("/bin/true",), env=ENV)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[str]:
    """A seccomp agent that closes every descriptor it is handed."""
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def take() -> None:
            while True:
                connection, _ = listener.accept()
                with connection:
                    if not connection.recv(1, socket.MSG_PEEK):
                        return
                    _, fds, _, _ = socket.recv_fds(connection, 65536, 1)
                    for fd in fds:
                        os.close(fd)

        thread = threading.Thread(target=take)
        thread.start()
        yield path
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as last:
            last.connect(path)
        thread.join(60)


@pytest.fixture
def rootfs(containers: Containers) -> str:
    """A root that a mapped user may enter."""
    return str(containers.own_rootfs())


def cgroups_of(name: str) -> list[str]:
    """Cgroups of this container, in all hierarchies."""
    manager = launcher.new_manager(Config(rootfs="/"), name, discover())
    return [tree.directory() for tree in manager.state.trees if Path(tree.directory()).exists()]


def use(container: Container) -> None:
    """A further process has run in the container to its end.

    Raises:
        Conflict: the container has ended meanwhile, and the process with it.
    """
    ended = container.exec(TRUE, stdio=Stdio.null()).wait(PATIENCE_S)
    if ended.signal == 9 and container.status == "stopped":
        raise Conflict("it has ended")
    assert ended.code == 0


def found_at(root: str, name: str) -> str:
    """The status of the container that is there, or "none"; it has been used, if that can be, and deleted."""
    try:
        with load(root, name) as container:
            found: str = container.status
            if found == "created":
                container.start()
            if container.status == "running":
                use(container)
            container.delete(force=True)
    except NotFound:
        found = "none"
    except Conflict:  # what we have just seen is being undone
        wait_until("the launch is undone", lambda: not Path(root, name, "state.json").exists())
        found = "none"
    wait_until("no cgroup is left", lambda: not cgroups_of(name))
    wait_until("its state is gone", lambda: name not in list_ids(root) and not Path(root, name).exists())
    return found


@pytest.mark.parametrize(("victim", "kind"), VICTIMS)
def test_a_helper_is_killed(containers: Containers, rootfs: str, agent: str, kind: str, victim: str) -> None:
    """Whichever process of pier-init is killed, and at whichever packet: a launch that fails leaves
    nothing, and one that succeeds a container that can be started, joined and deleted.
    """
    failures = kills = 0
    for step in range(1, NEVER):
        name = containers.id()
        error: PierheadError | None = None
        with killing(victim, step) as attempt:
            try:
                launch(containers.root, rootfs, agent, name, kind)
            except PierheadError as failure:
                error = failure
        kills += attempt.killed
        ended = found_at(containers.root, name)
        said = f"at packet {step} of {attempt.packets}: {error}; the container is: {ended}"
        if error is not None:
            failures += 1
            assert attempt.killed, said
            assert ended == "none", said
        elif attempt.killed and victim == "init":  # or one that had not said a word, and another was launched
            assert ended in ("stopped", "created", "running"), said
        else:
            assert ended in ("created", "running"), said
        if attempt.packets < step:
            break
    assert kills
    assert failures or victim == "init"


@pytest.mark.parametrize("kind", EXECS)
@pytest.mark.parametrize("victim", ["stage", "joiner", "init"])
def test_a_helper_is_killed_while_a_process_joins(
    containers: Containers, rootfs: str, kind: str, victim: str
) -> None:
    """An exec that fails, because a process of pier-init was killed at any packet, leaves no process in the
    container, and the container can be used and deleted.
    """
    container = containers.running()
    failures = 0
    for step in range(1, NEVER):
        before = container.processes()
        failed = False
        with killing(victim, step) as attempt:
            try:
                launch(containers.root, rootfs, "", container.id, kind)
            except PierheadError:
                failed = True
        use(container)
        if failed:
            failures += 1
            assert attempt.killed
            wait_until("its process is gone", lambda: container.processes() == before)  # noqa: B023
        if attempt.packets < step:
            break
    assert failures or victim != "stage"  # the others may be through by the time that we know of them
    container.delete(force=True)


def helpers_below(root: str) -> list[str]:
    """Processes of pier-init that have something below the root open."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path(f"/proc/{name}/cmdline").read_bytes() != b"pier-init\0":
                continue
            links = [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
        except OSError:
            continue
        if any(link.startswith(f"{root}/") for link in links):
            found.append(name)
    return found


@pytest.mark.parametrize("kind", LAUNCHES)
def test_the_launcher_is_killed(containers: Containers, rootfs: str, agent: str, kind: str) -> None:
    """When Python is killed before the commit nothing is left, and after it a container that stands by
    itself.
    """
    found: list[str] = []
    killed = True
    with Launchers(containers.root, rootfs, agent) as launchers:
        while killed:
            name = containers.id()
            killed = launchers.killed_at(len(found) + 1, name, kind)
            found.append(found_at(containers.root, name))
            wait_until("the helper has ended", lambda: not helpers_below(containers.root))
    assert found[-1] == ("running" if kind.startswith("run") else "created")
    lost = found.count("none")
    assert lost
    assert found == ["none"] * lost + [found[-1]] * (len(found) - lost)


def launching(pids: list[int]) -> list[int]:
    """Those of the processes that have not executed a program yet."""
    return [pid for pid in pids if not procstat.has_executed(pid)]


@pytest.mark.parametrize("kind", EXECS)
def test_the_launcher_is_killed_while_a_process_joins(containers: Containers, rootfs: str, kind: str) -> None:
    """When Python is killed before the commit, no process of its launch is left in the container, which can
    be used and deleted.
    """
    container = containers.running()
    step = lost = 0
    killed = True
    with Launchers(containers.root, rootfs) as launchers:
        while killed:
            step += 1
            before = container.processes()
            killed = launchers.killed_at(step, container.id, kind)
            wait_until("what was launched runs, or is gone", lambda: not launching(container.processes()))
            use(container)
            lost += container.processes() == before
    assert lost
    container.delete(force=True)


def test_a_launch_that_is_undone_slowly(containers: Containers) -> None:
    """Of a launcher that was killed before it had sent its plan: until the helper has removed what was made,
    nobody makes the container anew, which would lose its cgroups and its state to that.
    """
    name = containers.id()
    cgroups = launcher.new_manager(Config(rootfs="/"), name, discover())
    with state.claim(containers.root, name) as directory:
        undo = launcher.undo_list(launcher.missing_directories(cgroups.state), directory.path)
        dialogue = Handshake()
        os.kill(dialogue.stage_pid, signal.SIGSTOP)
        dialogue.promise(undo, directory.fd)
        cgroups.create()
    giving_up = threading.Thread(target=dialogue.give_up)  # our end closes, as when we are killed
    giving_up.start()
    try:
        with pytest.raises(Conflict, match="already exists"):
            state.claim(containers.root, name)
    finally:
        os.kill(dialogue.stage_pid, signal.SIGCONT)
        giving_up.join()
    assert not Path(containers.root, name).exists()
    assert not cgroups_of(name)


def test_a_start_after_the_first_process_was_killed(containers: Containers) -> None:
    """Start of a container whose first process has just been killed says so, every time."""
    for _ in range(20):
        container = containers.create("true")
        container.init.signal(9)
        with pytest.raises(PierheadError, match=r"it has stopped|was killed before it ran"):
            container.start()
        container.delete()
