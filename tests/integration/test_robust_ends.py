"""Launches that end at an awkward moment, or cannot end as they are used to."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import OperationFailed
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import IDMapping, Seccomp, Syscall, SyscallArg
from pierhead.runtime import Stdio, factory, handshake, list_ids
from tests.support.containers import SLEEP, Containers, namespaces
from tests.support.requires import requires

pytestmark = requires("root")

NEVER_EXECVE = Syscall(
    names=("execve",),
    action="SCMP_ACT_ALLOW",
    args=(SyscallArg(index=2, value=12345, op="SCMP_CMP_EQ"),),
)
NOTHING = Seccomp(default_action="SCMP_ACT_ERRNO", syscalls=(NEVER_EXECVE,))
"""A profile that refuses every call, exit_group among them, by an errno."""


def test_a_filter_that_refuses_even_to_exit(containers: Containers) -> None:
    """A first process whose filter lets it neither run its program nor say why nor exit ends all the same."""
    with pytest.raises(OperationFailed, match="was killed"):
        containers.start("true", seccomp=NOTHING)
    assert list_ids(containers.root) == []
    container = containers.create("true", seccomp=NOTHING)
    with pytest.raises(OperationFailed, match="its first process was killed before it ran the program"):
        container.start()
    assert container.status == "stopped"
    container.delete()


@pytest.fixture
def nobody_waits_for_execve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations end when the process says that it is about to execute, as where the kernel closes its
    descriptors before it has.
    """

    class Early(handshake.Handshake):
        def _await_execution(self) -> None:
            self._outcome = "executing"

    monkeypatch.setattr(factory, "Handshake", Early)
    monkeypatch.setattr("pierhead.runtime.container.receive", lambda _: (b"", []))


@pytest.mark.usefixtures("nobody_waits_for_execve")
def test_a_process_that_is_about_to_execute_has_not_been_killed(containers: Containers) -> None:
    """A launch and a start wait for what comes of it."""
    for _ in range(20):
        run = containers.start("exit 3")
        assert run.wait(60).code == 3
        started = containers.create("exit 4")
        started.start()
        assert started.wait(60).code == 4


@pytest.fixture
def killed_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage is killed when it has been sent the commit, and before it can read it."""

    class Killing(handshake.Handshake):
        def commit(self) -> None:
            os.kill(self.stage_pid, signal.SIGSTOP)
            super().commit()
            os.kill(self.stage_pid, signal.SIGKILL)

    monkeypatch.setattr(factory, "Handshake", Killing)


@pytest.mark.usefixtures("killed_when_told")
def test_a_stage_that_never_hears_the_commit(containers: Containers) -> None:
    """A container needs no stage once it is made: it can be started, updated and deleted."""
    container = containers.create(args=SLEEP)
    container.start()
    container.pause()
    container.resume()
    container.delete(force=True)


@pytest.mark.usefixtures("killed_when_told")
@pytest.mark.parametrize("make", ["create", "start"])
def test_a_monitor_that_never_hears_the_commit(containers: Containers, make: str) -> None:
    """A container that was to have a monitor is not made without one."""
    with pytest.raises(OperationFailed, match="pier-init was killed while it launched the container"):
        getattr(containers, make)(args=SLEEP, options={"supervise": True})
    assert list_ids(containers.root) == []


def test_an_init_process_that_dies_when_it_is_ready(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the first process is killed while its state is being written, the launch fails in words."""

    class Killing(handshake.Handshake):
        def commit(self) -> None:
            os.kill(self.init_pid, signal.SIGKILL)
            os.waitid(os.P_PID, self.init_pid, os.WEXITED | os.WNOWAIT)
            super().commit()

    monkeypatch.setattr(factory, "Handshake", Killing)
    with pytest.raises(OperationFailed, match="was killed while it was being set up"):
        containers.create(args=SLEEP)
    assert list_ids(containers.root) == []


@pytest.mark.parametrize("joined", [{}, {"uts": "/proc/self/ns/uts"}])
def test_a_cgroup_that_was_killed_once(containers: Containers, joined: dict[str, str]) -> None:
    """A container can have it, though the kernel kills what is cloned into it: it is made anew."""
    unified = next((tree for tree in discover().trees if tree.version == 2), None)
    if unified is None:
        pytest.skip("needs cgroup2")
    name = containers.id()
    directory = Path(unified.directory(f"/{name}"))
    directory.mkdir()
    (directory / "cgroup.kill").write_text("1")
    container = containers.start(
        args=SLEEP, cgroup_path=f"/{name}", namespaces=namespaces("pid", "mount", **joined)
    )
    assert container.processes() == [container.init_pid]
    (directory / "cgroup.kill").write_text("1")
    assert container.wait(60).signal == signal.SIGKILL
    container.delete()


def test_a_user_namespace_without_pivot(containers: Containers) -> None:
    """A container with a user namespace of its own gets its root also where that is not pivoted into."""
    mapped = (IDMapping(container_id=0, host_id=100000, size=65536),)
    options: dict[str, Any] = {"no_pivot_root": True, "uid_mappings": mapped, "gid_mappings": mapped}
    finished = containers.run(
        "ls / && cat /proc/self/uid_map",
        rootfs=str(containers.own_rootfs()),
        namespaces=namespaces("mount", "uts", "ipc", "pid", "network", "user"),
        **options,
    )
    assert {"bin", "proc", "home"} <= set(finished.words)
    assert finished.words[-3:] == ["0", "100000", "65536"]


def test_a_log_in_no_directory(containers: Containers) -> None:
    """A container whose log cannot be written is not made."""
    missing = str(containers.directory() / "none" / "log")
    for make in (containers.create, containers.start):
        with pytest.raises(OperationFailed, match=f"cannot write the log: {missing}: no such file"):
            make(args=SLEEP, options={"supervise": True, "stdio": Stdio.kept(missing)})
    assert list_ids(containers.root) == []
