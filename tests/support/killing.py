"""Kills one of a launch's processes at a step of the dialogue: before a packet is sent, or when one has come.

    with killing("stage", step=3) as attempt:
        create(…)
    attempt.killed      # whether there was such a step, and such a process at it

As a program, it performs one launch and kills itself, the launcher, at a step:

    python -m tests.support.killing ROOT ROOTFS AGENT ID KIND STEP
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.linux import process
from pierhead.oci.runtime import Hook, Hooks, IDMapping, Rlimit, Seccomp, Syscall
from pierhead.runtime import (
    Config,
    Network,
    ProcessSpec,
    Route,
    Stdio,
    factory,
    handshake,
    joining,
    load,
    wire,
    wire_table,
)
from tests.support.containers import ENV, SLEEP, namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

LAUNCHES = ("create", "create supervised", "run", "run supervised", "everything")
EXECS = ("exec", "exec supervised")
NEVER = 1000
_DEATH_S = 5.0
_ALL = ("mount", "uts", "ipc", "pid", "network", "cgroup", "user", "time")
_MAPPED = (IDMapping(container_id=0, host_id=100000, size=65536),)


class Attempt:
    """One launch: counts its packets, and kills at the step."""

    def __init__(self, victim: str, step: int) -> None:
        """Args: victim is launcher, stage, joiner or init; step counts packets from 1."""
        self.victim = victim
        self.step = step
        self.packets = 0
        self.killed = False
        self._handshake: Any = None
        self._joiner = 0

    def begins(self, dialogue: Any) -> None:
        """This is the launch; helpers of a launch, which make user namespaces, have dialogues as well."""
        self._handshake = self._handshake or dialogue

    def passes(self, dialogue: Any, packet: bytes) -> None:
        """A packet is about to be sent, or has come."""
        if dialogue is not self._handshake or not packet:
            return
        message, *rest = wire.words(packet[: len(packet) // 4 * 4])
        if message == wire_table.MESSAGE_CHILD and rest[0] == wire.JOINER:
            self._joiner = rest[1]
        self.packets += 1
        if self.packets == self.step:
            self._kill()

    def _kill(self) -> None:
        if self.victim == "launcher":
            os.kill(os.getpid(), signal.SIGKILL)
        stage = self._handshake.stage_pid
        init = [pid for pid in (*_helpers(os.getpid()), *_helpers(stage)) if pid not in (stage, self._joiner)]
        victim = {"stage": stage, "joiner": self._joiner, "init": init[0] if init else 0}[self.victim]
        if not victim or process.is_zombie(victim):
            return
        pidfd = process.open_pidfd(victim)
        assert pidfd is not None
        self.killed = process.kill_pidfd(pidfd)
        process.wait_pidfd(pidfd, _DEATH_S)
        os.close(pidfd)


def _helpers(parent: int) -> Iterator[int]:
    """Children of the process that have not executed a program: of the launch, and not of the containers."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as children:
                for pid in map(int, children.read().split()):
                    if not process.has_executed(pid) and not process.is_zombie(pid):
                        yield pid


class _Tapped:
    """A socket whose packets are counted."""

    def __init__(self, behind: Any, attempt: Attempt, dialogue: Any) -> None:
        self._behind, self._attempt, self._dialogue = behind, attempt, dialogue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def send(self, data: bytes, *rest: Any) -> Any:
        self._attempt.passes(self._dialogue, data)
        return self._behind.send(data, *rest)

    def sendmsg(self, parts: list[bytes], *rest: Any) -> Any:
        self._attempt.passes(self._dialogue, b"".join(parts))
        return self._behind.sendmsg(parts, *rest)

    def recvmsg(self, *arguments: Any) -> Any:
        received = self._behind.recvmsg(*arguments)
        self._attempt.passes(self._dialogue, received[0])
        return received


@contextlib.contextmanager
def killing(victim: str, step: int) -> Iterator[Attempt]:
    """The next launch in this program loses its victim at the step."""
    attempt = Attempt(victim, step)

    class Tapped(handshake.Handshake):
        def __init__(self) -> None:
            super().__init__()
            attempt.begins(self)
            self._control: Any = _Tapped(self._control, attempt, self)
            self._channel: Any = _Tapped(self._channel, attempt, self)

    with pytest.MonkeyPatch.context() as patches:
        for module in (factory, joining):
            patches.setattr(module, "Handshake", Tapped)
        yield attempt


def launch(root: str, rootfs: str, agent: str, name: str, kind: str) -> None:
    """A launch of the kind; exec is in the container of that name, which runs, the others make it.

    ``everything`` has each line of the drawing: a joiner, network, hooks, limits, an agent for its filter.
    """
    supervise = kind in ("everything", "create supervised", "run supervised")
    process_spec = ProcessSpec(args=SLEEP, env=ENV)
    if kind.startswith("exec"):
        with load(root, name) as container:
            exec_id = "further" if "supervised" in kind else ""
            container.exec(process_spec, stdio=Stdio.null(), exec_id=exec_id).close()
        return
    config = Config(rootfs=rootfs, process=process_spec)
    if kind == "everything":
        notify = Syscall(names=("getpriority",), action="SCMP_ACT_NOTIFY")
        config = config.replace(
            namespaces=namespaces(*_ALL),
            uid_mappings=_MAPPED,
            gid_mappings=_MAPPED,
            networks=(
                Network(type="loopback"),
                Network(type="veth", host_interface_name=f"pk{time.monotonic_ns() % 10**11}"),
            ),
            routes=(Route(destination="10.9.0.0/16", interface_name="lo"),),
            hooks=Hooks(create_runtime=(Hook(path="/bin/true"),)),
            rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=100, hard=100),),
            seccomp=Seccomp(default_action="SCMP_ACT_ALLOW", listener_path=agent, syscalls=(notify,)),
        )
    make = factory.run if kind.startswith("run") else factory.create
    make(root, name, config, stdio=Stdio.null(), supervise=supervise).close()


if __name__ == "__main__":
    *words, at = sys.argv[1:]
    with killing("launcher", int(at)):
        launch(*words)
