"""Debian's Podman drives the runtime: `podman --runtime RUNTIME …`, with conmon in between.

Everything Podman keeps is in a temporary directory; containers have no network or the host's.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.bundles import make_rootfs
from tests.support.peers import (
    Client,
    cgroups_with,
    find_program,
    remove_cgroups,
    runtime_under_test,
    stays,
    wait_until,
)
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "podman", "conmon", "busybox")
IMAGE = "localhost/box:latest"
_CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
log_driver = "k8s-file"
[engine]
lock_type = "file"
events_logger = "file"
cgroup_manager = "cgroupfs"
runtime_supports_nocgroup = ["crun", "pier-runtime"]
"""
_TRAP = 'trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done'


class Podman(Client):
    """The podman command with its private storage; `run` adds what every container of these tests needs."""

    parent = f"pierhead-podman-{os.getpid()}"

    def box(self, *words: str) -> list[str]:
        """The words of `podman run` for the test image; ``words`` may begin with flags ended by ``--``."""
        flags: list[str] = []
        command = list(words)
        if "--" in command:
            place = command.index("--")
            flags, command = command[:place], command[place + 1 :]
        return ["run", "--cgroup-parent", f"/{self.parent}", *flags, IMAGE, *command]

    def background(self, *words: str) -> str:
        """The id of a detached container."""
        first, *rest = self.box(*words)
        return self(first, "-d", *rest).strip()

    def state(self, name: str, *keys: str) -> object:
        """A member of `podman inspect`."""
        value = json.loads(self("inspect", name))[0]
        for key in keys:
            value = value[key]
        return value


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with an image; afterwards no container, cgroup or mount of it is left."""
    program = find_program("podman")
    home = tmp_path_factory.mktemp("podman")
    (home / "containers.conf").write_text(_CONTAINERS_CONF)
    storage = [f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/tmp", "--storage-driver=vfs"]
    client = Podman(
        [program, *storage, "--runtime", runtime_under_test(), "--cgroup-manager", "cgroupfs"],
        env={"CONTAINERS_CONF": f"{home}/containers.conf"},
        cwd=home,
    )
    rootfs = make_rootfs(home / "rootfs")
    archive = home / "rootfs.tar"
    Client(["tar", "-C", rootfs, "-cf", archive, "."])()
    client("import", "--change", "CMD=sh", str(archive), IMAGE)
    yield client
    client("rm", "-fa", "-t", "0")
    wait_until(lambda: not remove_cgroups(client.parent), what="the end of every container's cgroup")
    assert not [line for line in _mounts() if str(home) in line]


def _mounts() -> list[str]:
    with open("/proc/self/mountinfo") as mounts:
        return mounts.readlines()


@pytest.fixture
def box(podman: Podman) -> Iterator[str]:
    """A running container that ends with status 3 on SIGTERM."""
    container = podman.background("sh", "-c", _TRAP)
    wait_until(lambda: "ready" in podman("logs", container), what="the container's first line")
    yield container
    podman("rm", "-f", "-t", "0", container)


def test_run_gives_output_and_exit_status(podman: Podman) -> None:
    """`podman run` passes both output streams and the process's exit status through."""
    result = podman.result(*podman.box("--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_run_feeds_standard_input(podman: Podman) -> None:
    """`podman run -i` gives the container its caller's input, to the end."""
    assert podman(*podman.box("--rm", "-i", "--", "wc", "-c"), stdin="x" * 70_000).strip() == "70000"


def test_missing_program_ends_with_127(podman: Podman) -> None:
    """A command that does not exist is reported the way Podman recognises: exit status 127."""
    result = podman.result(*podman.box("--rm", "--", "no-such-program"))
    assert result.returncode == 127
    assert "no-such-program" in result.stderr


def test_not_executable_ends_with_126(podman: Podman) -> None:
    """A file that is not executable is reported the way Podman recognises: exit status 126."""
    result = podman.result(*podman.box("--rm", "--", "/etc/passwd"))
    assert result.returncode == 126
    assert "permission denied" in result.stderr.lower()


def test_options_reach_the_container(podman: Podman, tmp_path: Path) -> None:
    """User, environment, directory, host name, read-only root, volumes, tmpfs and ulimits arrive."""
    tmp_path.chmod(0o755)
    (tmp_path / "given").write_text("from the host\n")
    script = (
        "id -u; id -g; echo $COLOUR; pwd; hostname; cat /given/given;"
        " touch /x 2>/dev/null || echo read-only; touch /scratch/y && echo scratch; ulimit -n"
    )
    flags = ["--rm", "--user", "1000:1000", "--env", "COLOUR=red", "--workdir", "/tmp", "--hostname", "pier"]
    flags += ["--read-only", "--volume", f"{tmp_path}:/given:ro", "--tmpfs", "/scratch:mode=1777"]
    flags += ["--ulimit", "nofile=512:512", "--ulimit", "nproc=4096:4096"]
    lines = podman(*podman.box(*flags, "--", "sh", "-c", script)).splitlines()
    assert lines == ["1000", "1000", "red", "/tmp", "pier", "from the host", "read-only", "scratch", "512"]


def test_security_options_reach_the_container(podman: Podman) -> None:
    """Dropped capabilities, no-new-privileges and the seccomp filter hold inside."""
    status = ["grep", "-E", "^(CapEff|NoNewPrivs|Seccomp):", "/proc/self/status"]
    flags = ["--rm", "--cap-drop", "all", "--cap-add", "kill", "--security-opt", "no-new-privileges"]
    found = dict(line.split(":\t") for line in podman(*podman.box(*flags, "--", *status)).splitlines())
    assert (int(found["CapEff"], 16), found["NoNewPrivs"], found["Seccomp"]) == (1 << 5, "1", "2")


def test_privileged_container_has_devices(podman: Podman) -> None:
    """`--privileged` lifts masks and the device filter."""
    script = "test -e /dev/kmsg && dd if=/dev/zero of=/dev/null count=1 2>/dev/null && mount -t tmpfs x /tmp"
    podman(*podman.box("--rm", "--privileged", "--", "sh", "-c", script))


def test_limits_are_set(podman: Podman) -> None:
    """Memory, pids and cpu limits stand in the container's cgroups."""
    flags = ["--rm", "--memory", "32m", "--pids-limit", "20", "--cpus", "0.5"]
    files = [
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/pids/pids.max",
        "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    ]
    wanted = ["33554432", "20", "50000"]
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        files = [f"/sys/fs/cgroup/{name}" for name in ("memory.max", "pids.max", "cpu.max")]
        wanted = ["33554432", "20", "50000 100000"]
    assert podman(*podman.box(*flags, "--", "cat", *files)).splitlines() == wanted


def test_exec_runs_in_the_container(podman: Podman, box: str) -> None:
    """`podman exec` runs as the wanted user with the wanted environment, and tells its exit status."""
    script = "id -u; echo $COLOUR; pwd; test -d /proc/1 && cat /proc/1/comm; exit 9"
    flags = ["--user", "app", "--env", "COLOUR=blue", "--workdir", "/tmp"]
    result = podman.result("exec", *flags, box, "sh", "-c", script)
    assert (result.returncode, result.stdout.split()) == (9, ["1000", "blue", "/tmp", "sh"])


def test_exec_feeds_standard_input(podman: Podman, box: str) -> None:
    """`podman exec -i` gives the process its caller's input, to the end."""
    assert podman("exec", "-i", box, "cat", stdin="hello\n") == "hello\n"


def test_exec_of_a_missing_program_ends_with_127(podman: Podman, box: str) -> None:
    """A command that does not exist is recognised in `exec` as well."""
    assert podman.result("exec", box, "no-such-program").returncode == 127


def test_exec_shares_descriptors(podman: Podman, box: str, tmp_path: Path) -> None:
    """`exec --preserve-fds` hands descriptor 3 to the process."""
    words = ["exec", "--preserve-fds", "1", box, "sh", "-c", "echo hi >&3"]
    Client(["sh", "-c", f'exec "$@" 3>{tmp_path}/told', "sh", *podman.words], env=podman.env, cwd=tmp_path)(
        *words
    )
    assert (tmp_path / "told").read_text() == "hi\n"


def test_terminal(podman: Podman) -> None:
    """`-t` gives run and exec a terminal of the container's own."""
    assert podman(*podman.box("--rm", "-t", "--", "tty")).strip().startswith("/dev/")
    container = podman.background("-t", "--", "sh", "-c", "tty; sleep 100")
    assert podman("exec", "-t", container, "tty").strip().startswith("/dev/pts/")
    wait_until(lambda: "/dev/" in podman("logs", container), what="the terminal's first line")
    podman("rm", "-f", "-t", "0", container)


def test_stop_asks_first(podman: Podman, box: str) -> None:
    """`podman stop` sends SIGTERM; the container's own exit status is kept."""
    podman("stop", "-t", "10", box)
    assert podman.state(box, "State", "Status") == "exited"
    assert podman.state(box, "State", "ExitCode") == 3


def test_stop_insists(podman: Podman) -> None:
    """A container that ignores SIGTERM is killed after the grace time."""
    container = podman.background("sh", "-c", 'trap "" TERM; while :; do sleep 0.05; done')
    podman("stop", "-t", "1", container)
    assert podman.state(container, "State", "ExitCode") == 137
    podman("rm", container)


def test_kill_sends_the_signal(podman: Podman) -> None:
    """`podman kill --signal` delivers exactly that signal."""
    container = podman.background("sh", "-c", 'trap "exit 42" USR1; echo ready; while :; do sleep 0.05; done')
    wait_until(lambda: "ready" in podman("logs", container), what="the container's first line")
    podman("kill", "--signal", "USR1", container)
    assert podman("wait", container).strip() == "42"
    podman("rm", container)


def test_restart_and_start_again(podman: Podman, box: str) -> None:
    """A stopped container starts again, as does a restarted one."""
    podman("stop", box)
    podman("start", box)
    assert podman.state(box, "State", "Running") is True
    podman("restart", "-t", "1", box)
    assert podman.state(box, "State", "Running") is True


def test_pause_freezes_and_unpause_thaws(podman: Podman) -> None:
    """A paused container makes no progress, says so, refuses exec, and continues afterwards."""
    container = podman.background("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    podman("pause", container)
    assert podman.state(container, "State", "Status") == "paused"
    before = stays(lambda: podman("logs", container), what="the end of its progress")
    assert podman.result("exec", container, "true").returncode != 0
    podman("unpause", container)
    wait_until(lambda: podman("logs", container) != before, what="progress after unpause")
    podman("rm", "-f", "-t", "0", container)


def test_stats_and_top(podman: Podman, box: str) -> None:
    """`podman stats` reads memory and pids, `podman top` the processes."""
    stats = json.loads(podman("stats", "--no-stream", "--format", "json", box))[0]
    assert int(stats["pids"]) >= 1
    assert stats["mem_usage"].split()[0] != "0B"
    assert "sh" in podman("top", box, "pid", "comm")


def test_logs_follow_to_the_end(podman: Podman) -> None:
    """`podman logs -f` gives every line and returns when the container ends."""
    container = podman.background("sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done")
    assert podman("logs", "-f", container).splitlines() == ["line 1", "line 2", "line 3"]
    podman("rm", "-f", container)


def test_inspect_names_the_runtime_and_the_process(podman: Podman, box: str) -> None:
    """`podman inspect` shows the runtime, the running process and its status."""
    assert podman.state(box, "OCIRuntime") == str(runtime_under_test())
    pid = podman.state(box, "State", "Pid")
    with open(f"/proc/{pid}/comm") as comm:
        assert comm.read() == "sh\n"
    assert podman.state(box, "State", "OOMKilled") is False


def test_info_reads_the_runtime_version(podman: Podman) -> None:
    """`podman info` shows what the runtime's --version printed."""
    info = json.loads(podman("info", "--format", "json"))["host"]["ociRuntime"]
    assert info["path"] == str(runtime_under_test())
    assert "version" in info["version"]


def test_containers_share_namespaces(podman: Podman, box: str) -> None:
    """`--pid container:` and `--ipc container:` join the other container's namespaces by path."""
    flags = [
        "--rm",
        "--pid",
        f"container:{box}",
        "--ipc",
        f"container:{box}",
        "--network",
        f"container:{box}",
    ]
    script = ["sh", "-c", "for name in pid ipc net; do readlink /proc/self/ns/$name; done"]
    assert podman(*podman.box(*flags, "--", *script)) == podman("exec", box, *script)


def test_host_network(podman: Podman) -> None:
    """`--network host` keeps the host's network namespace."""
    found = podman(*podman.box("--rm", "--network", "host", "--", "readlink", "/proc/self/ns/net"))
    assert found.strip() == os.readlink("/proc/self/ns/net")


def test_user_namespace(podman: Podman) -> None:
    """`--uidmap` runs root of the container as somebody harmless outside."""
    flags = ["--rm", "--uidmap", "0:200000:65536", "--gidmap", "0:200000:65536"]
    lines = podman(*podman.box(*flags, "--", "cat", "/proc/self/uid_map", "/proc/self/gid_map")).splitlines()
    assert [line.split() for line in lines] == [["0", "200000", "65536"]] * 2


def test_sysctl(podman: Podman) -> None:
    """`--sysctl` sets a namespaced kernel parameter."""
    flags = ["--rm", "--sysctl", "kernel.msgmax=4096"]
    assert podman(*podman.box(*flags, "--", "cat", "/proc/sys/kernel/msgmax")).strip() == "4096"


def test_out_of_memory_is_told(podman: Podman) -> None:
    """Podman's monitor sees an out-of-memory kill (conmon 2.1.6 tells so in a file in its directory)."""
    script = ["sh", "-c", "tail /dev/zero; echo $?; sleep 1"]
    container = podman.background("--memory", "16m", "--memory-swap", "16m", "--", *script)
    podman("wait", container)
    assert "137" in podman("logs", container)
    assert podman.state(container, "State", "OOMKilled") is True or (podman.cwd / "oom").exists()
    podman("rm", container)


def test_create_then_start(podman: Podman) -> None:
    """`podman create` followed by `start -a` runs once and gives the output."""
    _, *rest = podman.box("echo", "later")
    container = podman("create", *rest).strip()
    assert podman.state(container, "State", "Status") == "created"
    assert podman("start", "-a", container) == "later\n"
    podman("rm", container)


def test_no_cgroups(podman: Podman) -> None:
    """`--cgroups=disabled` (crun's `--cgroup-manager disabled`) leaves it in its caller's cgroup."""
    if runtime_under_test().name == "runc":
        pytest.skip("runc has no --cgroup-manager disabled")
    assert podman("run", "--rm", "--cgroups", "disabled", IMAGE, "echo", "free") == "free\n"


def test_removal_leaves_nothing(podman: Podman) -> None:
    """After `podman rm -f` the runtime knows nothing of the container, nor do the cgroups."""
    container = podman.background("sleep", "1000")
    runtime = Client([runtime_under_test()])
    assert container in runtime("list", "-q").split()
    assert cgroups_with(container)
    podman("rm", "-f", "-t", "0", container)
    assert container not in runtime("list", "-q").split()
    assert cgroups_with(container) == []
