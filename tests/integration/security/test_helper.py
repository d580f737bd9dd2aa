"""The helper program while it is in a container's reach: nobody inside may read, write, trace or abuse it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import TimedOut
from pierhead.linux import procstat
from pierhead.linux.process import helper_path
from pierhead.oci.runtime import Capabilities
from pierhead.runtime import ProcessSpec, Stdio
from pierhead.runtime.config import DEFAULT_CAPABILITIES
from tests.support.containers import PATIENCE_S, read_to_end, wait_until
from tests.support.probe import PROBE, look, read_sight
from tests.support.requires import requires

if TYPE_CHECKING:
    from typing import Self

    from tests.support.containers import Containers

pytestmark = requires("root")

HUNT_S = 1.7
ENOUGH = 4
"""Processes of the helper that a hunter must have met for its failure to say something."""


def with_ptrace() -> Capabilities:
    """Docker's capabilities and CAP_SYS_PTRACE."""
    names = (*DEFAULT_CAPABILITIES.bounding, "CAP_SYS_PTRACE")
    return Capabilities(bounding=names, effective=names, permitted=names)


class Hunter:
    """A container whose process looks into every process that comes to it, until it is told to end.

    Attributes:
        container: it runs in the block.
        report: what its process could get hold of; there after the block.
    """

    def __init__(self, containers: Containers, rootfs: Path, **what: Any) -> None:
        """Args: what is the container's configuration."""
        self._containers = containers
        self._reader, writer = os.pipe2(os.O_CLOEXEC)
        given, self._end = os.pipe2(os.O_CLOEXEC)
        stdio = Stdio(input=given, output=writer, error=writer)
        self.container = containers.start(
            args=(PROBE, "hunt"), rootfs=str(rootfs), options={"stdio": stdio}, **what
        )
        os.close(writer)
        os.close(given)
        self._said = ""
        self.report: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        os.close(self._end)
        said = self._said + read_to_end(self._reader)
        if kind is None:
            self.report = read_sight(said)["hunt"]

    def has_met(self, count: int) -> bool:
        """Whether its process has looked into so many."""
        while select.select([self._reader], [], [], 0)[0]:
            part = os.read(self._reader, 4096)
            assert part, f"the hunter has ended: {self._said}"
            self._said += part.decode()
        return self._said.count("met") >= count

    def meet(self, *args: str, enough: int = ENOUGH, log: Path | None = None) -> None:
        """Processes have run in the container one after the other, for a while, and until it has met enough
        of them; with a log, each has a monitor.
        """
        began = time.monotonic()
        for number in count():
            if log is None:
                self._containers.exec(self.container, args=args)
            else:
                spec = ProcessSpec(args=args)
                kept = Stdio.kept(str(log))
                self.container.exec(spec, stdio=kept, exec_id=f"number-{number}").wait(PATIENCE_S)
            if time.monotonic() > began + HUNT_S and self.has_met(enough):
                return


def test_a_joining_process_shows_nothing(containers: Containers, probe_rootfs: Path) -> None:
    """Root of a container finds no window into a process that joins: not its program, memory, descriptors or
    environment (CVE-2019-5736, CVE-2016-9962).
    """
    with Hunter(containers, probe_rootfs) as hunter:
        hunter.meet(PROBE, "cwd")
    hunt = hunter.report
    assert hunt["seen"] >= ENOUGH
    windows = ("exe", "exe_write", "chmod", "fd", "directory", "outside", "mem", "environ", "attach")
    assert {name: hunt[name] for name in windows} == dict.fromkeys(windows, 0)


def test_a_joining_process_of_a_supervised_container_shows_nothing(
    containers: Containers, probe_rootfs: Path, tmp_path: Path
) -> None:
    """The same where a monitor with the state directory and a log stays behind."""
    with Hunter(containers, probe_rootfs) as hunter:
        hunter.meet(PROBE, "cwd", enough=1, log=tmp_path / "log")
    hunt = hunter.report
    assert hunt["seen"] > 0
    assert (hunt["exe"], hunt["fd"], hunt["mem"], hunt["attach"]) == (0, 0, 0, 0)


@pytest.mark.parametrize("supervise", [False, True])
def test_even_ptrace_finds_nothing_of_the_host(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, *, supervise: bool
) -> None:
    """A container that was given CAP_SYS_PTRACE may look into what joins it, but there is no directory of the
    host to be had there, and the program cannot be written (CVE-2016-9962, CVE-2019-5736).
    """
    before = Path(helper_path()).read_bytes()
    with Hunter(containers, probe_rootfs, capabilities=with_ptrace()) as hunter:
        hunter.meet(PROBE, "cwd", enough=1, log=tmp_path / "log" if supervise else None)
    hunt = hunter.report
    assert hunt["seen"] > 0
    assert (hunt["outside"], hunt["exe_write"], hunt["chmod"]) == (0, 0, 0), hunt["targets"]
    assert Path(helper_path()).read_bytes() == before


def test_an_entrypoint_that_is_the_helper_itself(containers: Containers, probe_rootfs: Path) -> None:
    """An image whose program is a script for /proc/self/exe gets the helper to run, which says that there is
    nothing to do; nothing of it can be changed then, and the next launches work (CVE-2019-5736).
    """
    entry = probe_rootfs / "entry"
    entry.write_text("#!/proc/self/exe\n")
    entry.chmod(0o755)
    finished = containers.run(args=("/entry",), rootfs=str(probe_rootfs))
    assert finished.status.code == 2
    assert "nothing to type here" in finished.output
    (probe_rootfs / "link").symlink_to("/proc/self/exe")
    finished = containers.run(args=("/link",), rootfs=str(probe_rootfs))
    assert finished.status.code == 2
    before = Path(helper_path()).read_bytes()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fds = (theirs.fileno(), theirs.fileno())
    with ours, theirs, Hunter(containers, probe_rootfs, capabilities=with_ptrace()) as hunter:
        waiting = hunter.container.exec(
            ProcessSpec(args=("/entry",), user="app"), stdio=Stdio.null(), preserve_fds=fds
        )
        wait_until("the hunter has looked again and again", lambda: hunter.has_met(16))
        assert not waiting.ends_within(0)  # the helper waits for a plan
    hunter.container.wait(PATIENCE_S)
    waiting.wait(PATIENCE_S)
    hunt = hunter.report
    assert hunt["exe"] > 0  # it may be read
    assert (hunt["exe_write"], hunt["chmod"], hunt["outside"]) == (0, 0, 0)
    assert Path(helper_path()).read_bytes() == before
    assert look(containers, "cwd", rootfs=probe_rootfs)["cwd"]["path"] == "/"


def test_the_helper_by_hand(containers: Containers, probe_rootfs: Path) -> None:
    """The helper run inside a container, also with sockets in the places that it looks at, does nothing
    that the container could not do itself.
    """
    target = probe_rootfs / "pier-init"
    target.write_bytes(Path(helper_path()).read_bytes())
    target.chmod(0o4755)  # set-user-id does not matter either
    finished = containers.run(args=("/pier-init",), rootfs=str(probe_rootfs), process={"user": "app"})
    assert (finished.status.code, "nothing to type here" in finished.output) == (2, True)
    given = (os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY))
    finished = containers.run(args=("/pier-init",), rootfs=str(probe_rootfs), options={"preserve_fds": given})
    for fd in given:
        os.close(fd)
    assert finished.status.code == 3


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x01",
        b"\x01\0\0\0" + b"\xff" * 8,
        b"\x01\0\0\0" + b"\0" * 8 + b"A" * 1000,
        b"\x01\0\0\0\xff\xff\x3f\0" + b"\0" * 4 + b"\x01\0\0\0" * 500,
    ],
)
def test_the_helper_refuses_what_is_no_plan(packet: bytes) -> None:
    """Whatever comes in the place of a plan, the helper ends with an error and starts nothing."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, channel, other:
        actions = f"exec 3<&{theirs.fileno()} 4<&{other.fileno()}; exec {helper_path()}"
        fds = (theirs.fileno(), other.fileno())
        with subprocess.Popen(["bash", "-c", actions], pass_fds=fds) as helper:
            theirs.close()
            if packet:
                ours.send(packet)
            ours.shutdown(socket.SHUT_WR)
            code = helper.wait(60)
    assert code == (0 if not packet else 3 if len(packet) < 12 else 1)


def test_a_sealed_copy_runs(containers: Containers, probe_rootfs: Path) -> None:
    """What runs is a copy in memory that nobody can write, resize, or make unexecutable, and not the
    installed file.
    """
    import fcntl

    container = containers.create(args=(PROBE,), rootfs=str(probe_rootfs))
    path = f"/proc/{container.init_pid}/exe"
    assert os.readlink(path).startswith("/memfd:pier-init")
    fd = os.open(path, os.O_RDONLY)
    seals = fcntl.fcntl(fd, 1034)  # F_GET_SEALS
    assert seals & 0xF == 0xF
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 3):
        with pytest.raises(PermissionError):
            os.fchmod(fd, 0o644)
    os.close(fd)
    container.delete(force=True)


def test_a_tracer_inside_cannot_hold_the_host_up(containers: Containers, probe_rootfs: Path) -> None:
    """A process of the container that traces another one, and takes no notice of its end, keeps us from its
    status until it dies; a wait with a limit ends by that limit.
    """
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    given, end = os.pipe2(os.O_CLOEXEC)
    stdio = Stdio(input=given, output=None, error=None)
    victim = container.exec(ProcessSpec(args=(PROBE, "sleep=input")), stdio=stdio)
    os.close(given)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    tracer = container.exec(
        ProcessSpec(args=(PROBE, "trace=sleep")), stdio=Stdio(input=None, output=writer, error=writer)
    )
    os.close(writer)
    assert read_sight(os.read(reader, 1000).decode())["trace=sleep"] == {"traced": 2}
    os.close(reader)
    os.close(end)
    wait_until("the victim has ended", lambda: procstat.is_zombie(victim.pid))
    with pytest.raises(TimedOut, match="its tracer kept it"):
        victim.wait(1)
    tracer.terminate()
    assert victim.wait(PATIENCE_S).code == 0
    tracer.wait(PATIENCE_S)


def test_signals_and_tracing_stay_inside(containers: Containers, probe_rootfs: Path) -> None:
    """A container sees its own processes alone, and signals to all reach no other."""
    other = containers.running()
    finished = containers.run(
        "kill -9 -1; ls /proc | grep -c '^[0-9]'", namespaces=containers.config("").namespaces
    )
    assert int(finished.words[-1]) <= 4
    assert other.status == "running"
    sight = look(containers, "processes", rootfs=probe_rootfs)
    assert [each["pid"] for each in sight["processes"]["processes"]] == [1]
