"""Kills one of a launch's processes at a step of the dialogue: before a packet is sent, or when one has come.

with killing("stage", step=3) as attempt:
create(…)
attempt.killed      # whether there was such a step, and such a process at it

with Launchers(root, rootfs, agent) as launchers:
launchers.killed_at(3, "web", "create")    # the launcher itself, which is another process
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pierhead.linux import process, procstat
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
    from typing import Self

LAUNCHES = ("create", "create supervised", "run", "run supervised", "everything")
EXECS = ("exec", "exec supervised")
NEVER = 1000
_DEATH_S = 30.0
_ORPHANS_S = 0.01
_PR_SET_CHILD_SUBREAPER = 36
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
        pidfd = process.open_pidfd(victim) if victim else None
        if pidfd is not None:
            self.killed = not procstat.is_zombie(victim) and process.kill_pidfd(pidfd)
            process.wait_pidfd(pidfd, _DEATH_S)
            os.close(pidfd)


def _helpers(parent: int) -> Iterator[int]:
    """Children of the process that have not executed a program: of the launch, and not of the containers."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as children:
                for pid in map(int, children.read().split()):
                    if not procstat.has_executed(pid) and not procstat.is_zombie(pid):
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

    modules: tuple[Any, ...] = (factory, joining)
    for module in modules:
        module.Handshake = Tapped
    try:
        yield attempt
    finally:
        for module in modules:
            module.Handshake = handshake.Handshake


def launch(root: str, rootfs: str, agent: str, name: str, kind: str) -> None:
    """A launch of the kind; exec is in the container of that name, which runs, the others make it.

    ``everything`` has each line of the drawing: a joiner, network, hooks, limits, an agent for its filter.
    """
    supervise = kind in ("everything", "create supervised", "run supervised")
    process_spec = ProcessSpec(args=SLEEP, env=ENV)
    if kind.startswith("exec"):
        with load(root, name) as container:
            exec_id = f"at-{time.monotonic_ns()}" if "supervised" in kind else ""
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


class Launchers:
    """Starts launchers that are processes of their own and kill themselves; use as a context manager.

    They are forked from one that has everything loaded, which also is the reaper of what they leave behind.
    """

    def __init__(self, root: str, rootfs: str, agent: str = "") -> None:
        """Args: as of ``launch``."""
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__, root, rootfs, agent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._server:
            assert self._server.stdin is not None
            self._server.stdin.close()
            self._server.wait(60)

    def killed_at(self, step: int, name: str, kind: str) -> bool:
        """Whether the launcher came as far as the step, and was killed there; else its launch went well."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(f"{step} {name} {kind}", file=self._server.stdin, flush=True)
        status = int(self._server.stdout.readline())
        assert status in (0, -signal.SIGKILL), status
        return status != 0


def _serve(root: str, rootfs: str, agent: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while line := _next_line():
        step, name, kind = line.split(maxsplit=2)
        pid = os.fork()
        if pid == 0:
            with killing("launcher", int(step)):
                launch(root, rootfs, agent, name, kind)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _next_line() -> str:
    """The next line of standard input; until it comes, orphans are reaped."""
    while not select.select([sys.stdin], [], [], _ORPHANS_S)[0]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return sys.stdin.readline().strip()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
