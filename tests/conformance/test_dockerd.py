"""Debian's Docker daemon drives the runtime: dockerd --add-runtime pier=RUNTIME, docker run --runtime pier.

The daemon is private: data and sockets in a temporary directory, /run/docker, /run/containerd, /etc/docker in
its own mount namespace, no bridge, no firewall rules; containers have no network or the host's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.archives import make_image_archive
from tests.support.bundles import make_rootfs
from tests.support.commands import program
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

pytestmark = requires("root", "dockerd", "docker", "containerd", "script", "busybox")
IMAGE = "localhost/box:latest"
_PARENT = f"pierhead-dockerd-{os.getpid()}"
_PRIVATE = ["/run/docker", "/run/containerd", "/etc/docker"]
_QUIET = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]
_TRAP = 'trap "exit 3" TERM; echo ready; while :; do sleep 0.05; done'
_BOUNDING_SET = int(
    next(line for line in Path("/proc/self/status").read_text().splitlines() if "CapBnd" in line).split()[1],
    16,
)
_EVERY_CAPABILITY = (_BOUNDING_SET + 1) & _BOUNDING_SET == 0
_V2 = (CGROUP_ROOT / "cgroup.controllers").exists()


class Docker(Client):
    """Debian's docker command beside a private daemon."""

    def box(self, *words: str) -> list[str]:
        """The words of `docker run` for the test image; ``words`` may begin with flags ended by ``--``."""
        flags: list[str] = ["--network", "none"]
        command = list(words)
        if "--" in command:
            place = command.index("--")
            flags, command = flags + command[:place], command[place + 1 :]
        if flags.count("--network") > 1:
            flags = flags[2:]
        return ["run", "--runtime", "pier", *flags, IMAGE, *command]

    def background(self, *words: str) -> str:
        """The id of a detached container."""
        first, *rest = self.box(*words)
        return self(first, "-d", *rest).strip()

    def state(self, name: str, *keys: str) -> object:
        """A member of `docker inspect`."""
        value = json.loads(self("inspect", name))[0]
        for key in keys:
            value = value[key]
        return value

    def limit(self, container: str, *, v1: str, v2: str) -> str:
        """What stands in a limit's file of the container's cgroup."""
        path = f"{_PARENT}/{container}/{v2}" if _V2 else f"{v1.partition('.')[0]}/{_PARENT}/{container}/{v1}"
        return (CGROUP_ROOT / path).read_text().strip()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A client of a private daemon with an image; afterwards no cgroup or mount of it is left."""
    dockerd = find_program("dockerd")
    docker_program = find_program("docker")
    home = tmp_path_factory.mktemp("dockerd")
    archive = make_image_archive(home / "box.tar", make_rootfs(home / "rootfs"), name=IMAGE)
    arguments = [docker_program, "-H", f"unix://{home}/docker.sock"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *arguments)).result("version").returncode == 0

    command = [dockerd, "-H", f"unix://{home}/docker.sock", "--data-root", f"{home}/data"]
    command += ["--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid", "--storage-driver", "vfs", *_QUIET]
    command += ["--add-runtime", f"pier={runtime_under_test()}", "--cgroup-parent", f"/{_PARENT}"]
    with daemon(command, log=home / "log", private=_PRIVATE, ready=ready) as pid:
        client = Docker(inside(pid, *arguments))
        client("load", "-i", str(archive))
        yield client
        for container in client("ps", "-aq").split():
            client("rm", "-f", container)
    wait_until(lambda: not remove_cgroups(_PARENT), what="the end of every container's cgroup")
    assert str(home) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def box(docker: Docker) -> Iterator[str]:
    """A running container that ends with status 3 on SIGTERM."""
    container = docker.background("sh", "-c", _TRAP)
    wait_until(lambda: "ready" in docker("logs", container), what="the container's first line")
    yield container
    docker("rm", "-f", container)


def test_run_gives_output_and_exit_status(docker: Docker) -> None:
    """`docker run` passes both output streams and the process's exit status through."""
    result = docker.result(*docker.box("--rm", "--", "sh", "-c", "echo out; echo err >&2; exit 7"))
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_run_feeds_standard_input(docker: Docker) -> None:
    """`docker run -i` gives the container its caller's input, to the end."""
    assert docker(*docker.box("--rm", "-i", "--", "wc", "-c"), stdin="x" * 70_000).strip() == "70000"


def test_missing_program_ends_with_127(docker: Docker) -> None:
    """A command that does not exist is reported the way dockerd recognises: exit status 127."""
    result = docker.result(*docker.box("--rm", "--", "no-such-program"))
    assert result.returncode == 127
    assert "no-such-program" in result.stderr


def test_not_executable_ends_with_126(docker: Docker) -> None:
    """A file that is not executable is reported the way dockerd recognises: exit status 126."""
    result = docker.result(*docker.box("--rm", "--", "/etc/passwd"))
    assert result.returncode == 126
    assert "permission denied" in result.stderr.lower()


def test_options_reach_the_container(docker: Docker, tmp_path: Path) -> None:
    """User, environment, directory, host name, read-only root, volumes, tmpfs and shm size arrive."""
    tmp_path.chmod(0o755)
    (tmp_path / "given").write_text("from the host\n")
    script = (
        "id -u; id -g; echo $COLOUR; pwd; hostname; cat /given/given;"
        " touch /x 2>/dev/null || echo read-only; touch /scratch/y && echo scratch;"
        " df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2"
    )
    flags = ["--rm", "--user", "1000:1000", "--env", "COLOUR=red", "--workdir", "/tmp", "--hostname", "pier"]
    flags += ["--read-only", "--volume", f"{tmp_path}:/given:ro", "--tmpfs", "/scratch:mode=1777"]
    lines = docker(*docker.box(*flags, "--shm-size", "4m", "--", "sh", "-c", script)).splitlines()
    wanted = ["1000", "1000", "red", "/tmp", "pier", "from the host", "read-only", "scratch", "4096"]
    assert lines == wanted


def test_security_options_reach_the_container(docker: Docker) -> None:
    """Dropped capabilities, no-new-privileges and the seccomp filter hold inside."""
    status = ["grep", "-E", "^(CapEff|NoNewPrivs|Seccomp):", "/proc/self/status"]
    flags = ["--rm", "--cap-drop", "all", "--cap-add", "kill", "--security-opt", "no-new-privileges"]
    found = dict(line.split(":\t") for line in docker(*docker.box(*flags, "--", *status)).splitlines())
    assert (int(found["CapEff"], 16), found["NoNewPrivs"], found["Seccomp"]) == (1 << 5, "1", "2")


def test_privileged_container_has_devices(docker: Docker) -> None:
    """`--privileged` lifts masks and device filter; a capability nobody can grant is told in plain words."""
    script = "test -e /dev/kmsg && mount -t tmpfs x /tmp && echo free"
    result = docker.result(*docker.box("--rm", "--privileged", "--", "sh", "-c", script))
    if _EVERY_CAPABILITY:
        assert result.stdout == "free\n", result.stderr
    else:
        assert re.search("cap.*operation not permitted", result.stderr)


def test_limits_are_set(docker: Docker) -> None:
    """Memory, pids, cpu and cpuset limits stand in the container's cgroups."""
    flags = ["--memory", "32m", "--pids-limit", "20", "--cpus", "0.5", "--cpuset-cpus", "0"]
    container = docker.background(*flags, "--", "sleep", "1000")
    assert docker.limit(container, v1="memory.limit_in_bytes", v2="memory.max") == "33554432"
    assert docker.limit(container, v1="pids.max", v2="pids.max") == "20"
    assert docker.limit(container, v1="cpu.cfs_quota_us", v2="cpu.max").split()[0] == "50000"
    assert docker.limit(container, v1="cpuset.cpus", v2="cpuset.cpus") == "0"
    docker("rm", "-f", container)


def test_update_changes_limits(docker: Docker) -> None:
    """`docker update` changes limits of a running container (`update --resources -`)."""
    flags = ["--memory", "32m", "--memory-swap", "64m"]
    container = docker.background(*flags, "--", "sleep", "1000")
    docker("update", "--memory", "48m", "--memory-swap", "96m", "--pids-limit", "33", container)
    assert docker.limit(container, v1="memory.limit_in_bytes", v2="memory.max") == str(48 << 20)
    assert docker.limit(container, v1="pids.max", v2="pids.max") == "33"
    docker("rm", "-f", container)


def test_exec_runs_in_the_container(docker: Docker, box: str) -> None:
    """`docker exec` runs as the wanted user with the wanted environment, and tells its exit status."""
    script = "id -u; echo $COLOUR; pwd; cat /proc/1/comm; exit 9"
    flags = ["--user", "app", "--env", "COLOUR=blue", "--workdir", "/tmp"]
    result = docker.result("exec", *flags, box, "sh", "-c", script)
    assert (result.returncode, result.stdout.split()) == (9, ["1000", "blue", "/tmp", "sh"])


def test_exec_feeds_standard_input(docker: Docker, box: str) -> None:
    """`docker exec -i` gives the process its caller's input, to the end."""
    assert docker("exec", "-i", box, "cat", stdin="hello\n") == "hello\n"


def test_exec_of_a_missing_program(docker: Docker, box: str) -> None:
    """A command that does not exist is told with the runtime's words and status 126 or 127."""
    result = docker.result("exec", box, "no-such-program")
    assert result.returncode in (126, 127)
    assert "no-such-program" in result.stdout + result.stderr


def test_privileged_exec(docker: Docker, box: str) -> None:
    """`exec --privileged` has every capability, where the machine can grant every one."""
    result = docker.result("exec", "--privileged", box, "grep", "CapEff", "/proc/self/status")
    if _EVERY_CAPABILITY:
        assert int(result.stdout.split()[1], 16) == _BOUNDING_SET
    else:
        assert re.search("cap.*operation not permitted", result.stdout + result.stderr)


def test_terminal(docker: Docker) -> None:
    """`-t` gives run and exec a terminal of the container's own, in the size of the person's."""
    script = "tty; until stty size 2>/dev/null | grep 33; do sleep 0.02; done"
    words = docker.words + docker.box("--rm", "-it", "--", "sh", "-c", script)
    typed = Client(["script", "-qec", f"stty rows 33 cols 99; exec {shlex.join(words)}", "/dev/null"])
    output = typed()
    assert "/dev/" in output
    assert "33 99" in output
    container = docker.background("-t", "--", "sleep", "1000")
    assert docker("exec", "-t", container, "tty").strip().startswith("/dev/pts/")
    docker("rm", "-f", container)


def test_stop_asks_first(docker: Docker, box: str) -> None:
    """`docker stop` sends SIGTERM; the container's own exit status is kept."""
    docker("stop", box)
    assert docker.state(box, "State", "Status") == "exited"
    assert docker.state(box, "State", "ExitCode") == 3


def test_stop_insists(docker: Docker) -> None:
    """A container that ignores SIGTERM is killed after the grace time."""
    container = docker.background("sh", "-c", 'trap "" TERM; while :; do sleep 0.05; done')
    docker("stop", "-t", "1", container)
    assert docker.state(container, "State", "ExitCode") == 137
    docker("rm", container)


def test_kill_sends_the_signal(docker: Docker) -> None:
    """`docker kill --signal` delivers exactly that signal."""
    container = docker.background("sh", "-c", 'trap "exit 42" USR1; echo ready; while :; do sleep 0.05; done')
    wait_until(lambda: "ready" in docker("logs", container), what="the container's first line")
    docker("kill", "--signal", "USR1", container)
    assert docker("wait", container).strip() == "42"
    docker("rm", container)


def test_restart(docker: Docker, box: str) -> None:
    """A stopped container starts again, as does a restarted one."""
    docker("stop", box)
    docker("start", box)
    assert docker.state(box, "State", "Running") is True
    docker("restart", "-t", "1", box)
    assert docker.state(box, "State", "Running") is True


def test_restart_policy(docker: Docker) -> None:
    """A container that fails is started again, as often as its policy says."""
    container = docker.background("--restart", "on-failure:2", "--", "sh", "-c", "echo try; exit 5")
    wait_until(lambda: docker("logs", container).count("try") == 3, what="the third try")
    wait_until(lambda: docker.state(container, "State", "Status") == "exited", what="the last end")
    docker("rm", container)


def test_pause_freezes_and_unpause_thaws(docker: Docker) -> None:
    """A paused container makes no progress, says so, refuses exec, and continues afterwards."""
    container = docker.background("sh", "-c", "while :; do echo tick; sleep 0.02; done")
    docker("pause", container)
    assert docker.state(container, "State", "Status") == "paused"
    before = stays(lambda: docker("logs", container), what="the end of its progress")
    assert docker.result("exec", container, "true").returncode != 0
    docker("unpause", container)
    wait_until(lambda: docker("logs", container) != before, what="progress after unpause")
    docker("rm", "-f", container)


def test_stats_and_top(docker: Docker, box: str) -> None:
    """`docker stats` reads memory and pids, `docker top` the processes."""
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", box))
    assert int(stats["PIDs"]) >= 1
    assert not stats["MemUsage"].startswith("0B")
    assert "trap" in docker("top", box)


def test_logs_follow_to_the_end(docker: Docker) -> None:
    """`docker logs -f` gives every line and returns when the container ends."""
    container = docker.background("sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done")
    assert docker("logs", "-f", container).splitlines() == ["line 1", "line 2", "line 3"]
    docker("rm", "-f", container)


def test_inspect_names_the_runtime_and_the_process(docker: Docker, box: str) -> None:
    """`docker inspect` shows the runtime and the running process."""
    assert docker.state(box, "HostConfig", "Runtime") == "pier"
    assert Path(f"/proc/{docker.state(box, 'State', 'Pid')}/comm").read_text() == "sh\n"


def test_containers_share_namespaces(docker: Docker, box: str) -> None:
    """`--pid container:`, `--ipc` and `--network` join the other container's namespaces by path."""
    shared = docker.background("--ipc", "shareable", "--", "sleep", "1000")
    flags = ["--rm", "--pid", f"container:{shared}", "--ipc", f"container:{shared}"]
    flags += ["--network", f"container:{shared}"]
    script = ["sh", "-c", "for name in pid ipc net; do readlink /proc/self/ns/$name; done"]
    assert docker(*docker.box(*flags, "--", *script)) == docker("exec", shared, *script)
    docker("rm", "-f", shared)


def test_host_network(docker: Docker) -> None:
    """`--network host` keeps the host's network namespace."""
    found = docker(*docker.box("--rm", "--network", "host", "--", "readlink", "/proc/self/ns/net"))
    assert found.strip() == os.readlink("/proc/self/ns/net")


def test_out_of_memory_is_told(docker: Docker) -> None:
    """A container in which the memory limit killed a process is marked so."""
    script = ["sh", "-c", "tail /dev/zero; echo $?; sleep 1"]
    container = docker.background("--memory", "16m", "--memory-swap", "16m", "--", *script)
    docker("wait", container)
    assert "137" in docker("logs", container)
    assert docker.state(container, "State", "OOMKilled") is True
    docker("rm", container)


def test_devices(docker: Docker) -> None:
    """`--device` gives a device with its access; others stay closed, even for those who make the node."""
    script = (
        "head -c 3 /dev/given | wc -c; mknod /tmp/kmsg c 1 11; head -c 1 /tmp/kmsg 2>/dev/null || echo closed"
    )
    flags = ["--rm", "--device", "/dev/zero:/dev/given:r"]
    assert docker(*docker.box(*flags, "--", "sh", "-c", script)).split() == ["3", "closed"]


def test_sysctl(docker: Docker) -> None:
    """`--sysctl` sets a namespaced kernel parameter."""
    flags = ["--rm", "--sysctl", "kernel.msgmax=4096"]
    assert docker(*docker.box(*flags, "--", "cat", "/proc/sys/kernel/msgmax")).strip() == "4096"


def test_attach(docker: Docker) -> None:
    """`docker attach` feeds input to and shows output of a running container."""
    container = docker.background("-i", "--", "cat")
    with docker.popen("attach", container) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        attached.stdin.write("hello\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == "hello\n"
        docker("rm", "-f", container)


def test_removal_leaves_nothing(docker: Docker) -> None:
    """After `docker rm -f` no cgroup of the container is left."""
    container = docker.background("sleep", "1000")
    assert cgroups_with(container)
    docker("rm", "-f", container)
    assert cgroups_with(container) == []


def test_pier_is_a_client_of_it(docker: Docker, tmp_path: Path) -> None:
    """``pier`` works with Docker's own engine, of an older API: containers, images, files, what is in use."""
    host = docker.words[docker.words.index("-H") + 1]
    pier = Client([*program("pier"), "--host", host], env={"XDG_DATA_HOME": str(tmp_path)})
    assert pier("run", "--rm", "--network", "none", IMAGE, "echo", "hi") == "hi\n"
    pier("run", "-d", "--name", "web", "--network", "none", "-v", "kept:/data", IMAGE, "sleep", "1000")
    assert pier("ps", "--format", "{{.Names}} {{.State}}") == "web running\n"
    assert pier("exec", "-e", "A=1", "web", "sh", "-c", "echo $A > /data/a; cat /data/a") == "1\n"
    assert pier.result("exec", "web", "sh", "-c", "exit 9").returncode == 9
    (tmp_path / "note").write_text("written")
    pier("cp", "--quiet", str(tmp_path / "note"), "web:/etc/note")
    assert pier("exec", "web", "cat", "/etc/note") == "written"
    assert "A /etc/note" in pier("diff", "web")
    assert json.loads(pier("stats", "--no-stream", "--format", "json", "web"))["Name"] == "web"
    assert pier("images", "--format", "{{.Repository}}:{{.Tag}}") == f"{IMAGE}\n"
    pier("save", "--output", str(tmp_path / "box.tar"), IMAGE)
    assert pier("load", "--quiet", "--input", str(tmp_path / "box.tar")) == f"Loaded image: {IMAGE}\n"
    assert pier("commit", "web", "localhost/made:1").startswith("sha256:")
    assert "CREATED BY" in pier("history", "localhost/made:1")
    assert pier("rmi", "localhost/made:1").startswith("Untagged: localhost/made:1\n")
    assert "is using its referenced image" in pier.result("rmi", IMAGE).stderr
    assert "did you mean web?" in pier.result("stop", "webb").stderr
    table = pier("system", "df", "--verbose")
    assert ("web" in table, "kept" in table) == (True, True)
    made = pier(
        "network", "create", "--internal", "--subnet", "10.213.7.0/24", "--label", "a=b", "lan"
    ).strip()
    try:
        assert pier("network", "inspect", "--format", "{{.Id}} {{.Labels.a}}", "lan") == f"{made} b\n"
    finally:
        assert pier("network", "rm", "lan") == "lan\n"
    assert pier("rm", "--force", "web") == "web\n"
    assert pier("volume", "rm", "kept") == "kept\n"
    assert "Server: at unix://" in pier("version")
