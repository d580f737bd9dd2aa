"""Debian's containerd and its runc shim drive the runtime: `ctr run --runc-binary RUNTIME …`.

The containerd is private: its state is in a temporary directory, /run/containerd in its own mount namespace.
The shim calls the runtime as it would call runc (--root, --log, create, start, state, kill, delete, exec).
"""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.archives import make_image_archive
from tests.support.bundles import make_rootfs
from tests.support.peers import (
    CGROUP_ROOT,
    Client,
    cgroups_with,
    daemon,
    find_program,
    inside,
    remove_cgroups,
    runtime_under_test,
    stays,
    wait_until,
)
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "containerd", "ctr", "script", "busybox")
IMAGE = "localhost/box:latest"
_PARENT = f"pierhead-containerd-{os.getpid()}"
_CONFIG = """
version = 2
root = "{home}/root"
state = "{home}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{home}/containerd.sock"
[ttrpc]
  address = "{home}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{home}/opt"
"""


class Ctr(Client):
    """The ctr command beside a private containerd."""

    runtime_root = Path("/nonexistent")

    def run(self, name: str, *words: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `ctr run` for the test image."""
        given = ["--runc-binary", str(runtime_under_test()), "--runc-root", str(self.runtime_root)]
        return ["run", *given, "--cgroup", f"/{_PARENT}/{name}", *flags, IMAGE, name, *words]

    def status(self, name: str) -> str:
        """RUNNING, PAUSED, STOPPED, … or an empty word for no task."""
        rows = [line.split() for line in self("task", "ls").splitlines()]
        return next((row[2] for row in rows if row[0] == name), "")

    def pid(self, name: str) -> int:
        """The container's init process, seen from the host."""
        rows = [line.split() for line in self("task", "ls").splitlines()]
        return next(int(row[1]) for row in rows if row[0] == name)

    def remove(self, name: str) -> None:
        """The container and its task are gone."""
        self.result("task", "delete", "-f", name)
        self.result("container", "rm", name)


@pytest.fixture(scope="module")
def ctr(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ctr]:
    """A client of a private containerd with an image; afterwards no cgroup or mount of it is left."""
    containerd = find_program("containerd")
    program = find_program("ctr")
    home = tmp_path_factory.mktemp("containerd")
    (home / "config.toml").write_text(_CONFIG.format(home=home))
    archive = make_image_archive(home / "box.tar", make_rootfs(home / "rootfs"), name=IMAGE)
    arguments = [program, "-a", f"{home}/containerd.sock", "-n", "tests"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *arguments)).result("version").returncode == 0

    command = [containerd, "-c", f"{home}/config.toml", "-l", "info"]
    with daemon(command, log=home / "log", private=["/run/containerd"], ready=ready) as pid:
        client = Ctr(inside(pid, *arguments))
        client.runtime_root = home / "runtime"
        client("image", "import", str(archive))
        yield client
        for name in client("container", "ls", "-q").split():
            client.remove(name)
    wait_until(lambda: not remove_cgroups(_PARENT), what="the end of every container's cgroup")
    assert str(home) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def box(ctr: Ctr) -> Iterator[str]:
    """The name of a running container that ends with status 3 on SIGTERM."""
    name = "box"
    script = 'trap "exit 3" TERM; touch /ready; while :; do sleep 0.05; done'
    ready = [
        "task",
        "exec",
        "--exec-id",
        "ready",
        name,
        "sh",
        "-c",
        "until test -e /ready; do sleep 0.01; done",
    ]
    try:
        ctr(*ctr.run(name, "sh", "-c", script, flags=("-d",)))
        ctr(*ready)
        yield name
    finally:
        ctr.remove(name)


def told(script: str, status: int = 0) -> str:
    """The script, then a moment: ctr 1.6 now and then drops the output of a process that ends at once."""
    return f"{script}; sleep 0.2; exit {status}"


def test_run_gives_output_and_exit_status(ctr: Ctr) -> None:
    """`ctr run --rm` passes output streams and the exit status through and leaves no container."""
    result = ctr.result(*ctr.run("once", "sh", "-c", told("echo out; echo err >&2", 7), flags=("--rm",)))
    assert (result.returncode, result.stdout) == (7, "out\n")
    assert "err\n" in result.stderr
    assert ctr("container", "ls", "-q") == ""


def test_missing_program_is_told(ctr: Ctr) -> None:
    """The runtime's own sentence about a missing program reaches the person at ctr."""
    result = ctr.result(*ctr.run("missing", "no-such-program", flags=("--rm",)))
    assert result.returncode != 0
    assert "no-such-program" in result.stderr
    ctr.remove("missing")


def test_terminal(ctr: Ctr) -> None:
    """A container with a terminal sends its master side to the shim over the console socket."""
    script = "tty; until stty size 2>/dev/null | grep 33; do sleep 0.02; done; sleep 0.2"
    words = ctr.run("terminal", "sh", "-c", script, flags=("--rm", "-t"))
    output = Client(
        ["script", "-qec", f"stty rows 33 cols 99; exec {shlex.join(ctr.words + words)}", "/dev/null"]
    )()
    assert "/dev/" in output
    assert "33 99" in output


def test_exec_runs_in_the_container(ctr: Ctr, box: str) -> None:
    """`ctr task exec` runs beside the container's process and tells its exit status."""
    script = told("tr '\\0' ' ' </proc/1/cmdline | cut -c1-5", 9)
    result = ctr.result("task", "exec", "--exec-id", "one", box, "sh", "-c", script)
    assert (result.returncode, result.stdout) == (9, "sh -c\n")


def test_exec_as_user_in_directory(ctr: Ctr, box: str) -> None:
    """User and working directory of an exec arrive."""
    words = ["task", "exec", "--exec-id", "user", "--user", "1000:1000", "--cwd", "/tmp", box]
    assert ctr(*words, "sh", "-c", told("id -u; pwd")).split() == ["1000", "/tmp"]


def test_many_execs_one_after_another(ctr: Ctr, box: str) -> None:
    """Execs do not get in each other's way and leave no process in the container."""
    for number in range(10):
        words = ["task", "exec", "--exec-id", f"n{number}", box, "sh", "-c", told(f"echo {number}")]
        assert ctr(*words).strip() == str(number)
    wait_until(lambda: _busy_processes(ctr, box) <= 2, what="the end of every exec'd process")


def _busy_processes(ctr: Ctr, name: str) -> int:
    return len(ctr("task", "ps", name).splitlines()) - 1


def test_pause_freezes_and_resume_thaws(ctr: Ctr, box: str) -> None:
    """A paused task makes no progress, says so, and continues afterwards."""
    pid = ctr.pid(box)

    def switches() -> str:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(line for line in lines if line.startswith("voluntary_ctxt_switches"))

    ctr("task", "pause", box)
    assert ctr.status(box) == "PAUSED"
    before = stays(switches, what="the end of its progress")
    ctr("task", "resume", box)
    assert ctr.status(box) == "RUNNING"
    wait_until(lambda: switches() != before, what="progress after resume")


def test_kill_delivers_the_signal(ctr: Ctr, box: str) -> None:
    """SIGTERM reaches the container's process, which ends with a status of its own."""
    ctr("task", "kill", "-s", "SIGTERM", box)
    wait_until(lambda: ctr.status(box) == "STOPPED", what="the container's end")
    result = ctr.result("task", "delete", box)
    assert "exit code 3" in result.stderr, result.stderr


def test_kill_all_reaches_every_process(ctr: Ctr, box: str) -> None:
    """`kill --all` ends exec'd processes too."""
    ctr("task", "exec", "--exec-id", "sleeper", "-d", box, "sleep", "1000")
    wait_until(lambda: "sleep\x001000" in _command_lines(ctr, box), what="the exec'd process")
    ctr("task", "kill", "--all", "-s", "SIGKILL", box)
    wait_until(lambda: ctr.status(box) == "STOPPED", what="the container's end")


def _command_lines(ctr: Ctr, name: str) -> str:
    pids = [line.split()[0] for line in ctr("task", "ps", name).splitlines()[1:]]
    texts = [Path(f"/proc/{pid}/cmdline") for pid in pids]
    return "\n".join(path.read_text() for path in texts if path.exists())


def test_kill_of_a_finished_task_is_told(ctr: Ctr, box: str) -> None:
    """A second kill is answered as "not found", which the shim reads from the runtime's words."""
    ctr("task", "kill", "-s", "SIGKILL", box)
    wait_until(lambda: ctr.status(box) == "STOPPED", what="the container's end")
    result = ctr.result("task", "kill", "-s", "SIGKILL", box)
    assert result.returncode != 0
    assert "not found" in result.stderr or "finished" in result.stderr


def test_ps_lists_the_processes(ctr: Ctr, box: str) -> None:
    """`ctr task ps` names the container's init by its host process id."""
    assert str(ctr.pid(box)) in ctr("task", "ps", box).split()


def test_metrics_come_from_its_cgroups(ctr: Ctr, box: str) -> None:
    """The shim finds the container's cgroups where the runtime made them."""
    metrics = dict(line.split(None, 1) for line in ctr("task", "metrics", box).splitlines() if " " in line)
    assert int(metrics["pids.current"]) >= 1
    memory = next(value for name, value in metrics.items() if name.startswith("memory.usage"))
    assert int(memory) > 0


def test_limits_are_set(ctr: Ctr) -> None:
    """Memory and cpu limits of `ctr run` stand in the container's cgroups."""
    flags = ("-d", "--memory-limit", "33554432", "--cpus", "0.5")
    ctr(*ctr.run("limited", "sleep", "1000", flags=flags))
    try:
        if (CGROUP_ROOT / "cgroup.controllers").exists():
            directory = CGROUP_ROOT / _PARENT / "limited"
            values = [(directory / "memory.max").read_text(), (directory / "cpu.max").read_text().split()[0]]
        else:
            values = [
                (CGROUP_ROOT / f"memory/{_PARENT}/limited/memory.limit_in_bytes").read_text(),
                (CGROUP_ROOT / f"cpu/{_PARENT}/limited/cpu.cfs_quota_us").read_text(),
            ]
        assert [value.strip() for value in values] == ["33554432", "50000"]
    finally:
        ctr.remove("limited")


def test_options_reach_the_container(ctr: Ctr, tmp_path: Path) -> None:
    """Environment, directory, read-only root and bind mounts arrive."""
    (tmp_path / "given").write_text("from the host\n")
    mount = f"type=bind,src={tmp_path},dst=/given,options=rbind:ro"
    flags = ("--rm", "--read-only", "--env", "COLOUR=red", "--cwd", "/tmp", "--mount", mount)
    script = "echo $COLOUR; pwd; cat /given/given; touch /x 2>/dev/null || echo read-only; sleep 0.2"
    lines = ctr(*ctr.run("options", "sh", "-c", script, flags=flags)).splitlines()
    assert lines == ["red", "/tmp", "from the host", "read-only"]


def test_seccomp_and_privileges(ctr: Ctr) -> None:
    """`--seccomp` installs containerd's own profile; `--privileged` has every capability."""
    script = ("sh", "-c", told("grep -E ^Seccomp: /proc/self/status"))
    assert ctr(*ctr.run("filtered", *script, flags=("--rm", "--seccomp"))).split() == ["Seccomp:", "2"]
    words = ("sh", "-c", told("mount -t tmpfs x /tmp && echo mounted"))
    result = ctr.result(*ctr.run("strong", *words, flags=("--rm", "--privileged")))
    assert result.stdout == "mounted\n", result.stderr


def test_host_network(ctr: Ctr) -> None:
    """`--net-host` keeps the host's network namespace."""
    found = ctr(
        *ctr.run("hostnet", "sh", "-c", told("readlink /proc/self/ns/net"), flags=("--rm", "--net-host"))
    )
    assert found.strip() == os.readlink("/proc/self/ns/net")


def test_the_runtime_keeps_its_state_where_told(ctr: Ctr, box: str) -> None:
    """The runtime's own `state`, asked with the shim's --root, agrees with containerd."""
    runtime = Client([runtime_under_test(), "--root", ctr.runtime_root / "tests"])
    state = json.loads(runtime("state", box))
    assert (state["id"], state["status"], state["pid"]) == (box, "running", ctr.pid(box))


def test_removal_leaves_nothing(ctr: Ctr) -> None:
    """After the task is deleted no cgroup and no state of it is left."""
    ctr(*ctr.run("gone", "sleep", "1000", flags=("-d",)))
    assert cgroups_with(f"/{_PARENT}/gone")
    assert (ctr.runtime_root / "tests/gone").exists()
    ctr.remove("gone")
    assert cgroups_with(f"/{_PARENT}/gone") == []
    assert not (ctr.runtime_root / "tests/gone").exists()
