"""``pier-runtime`` list, ps, events, update, pause, kill, --explain and --trace."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.linux.cgroupfs import discover
from pierhead.runtime import load
from tests.support.bundles import standard_spec
from tests.support.commands import Command, Runtime
from tests.support.containers import wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")
TRAP = 'trap "exit 3" USR1; echo ready; while :; do sleep 0.05; done'


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        yield runtime


def test_list(runtime: Runtime) -> None:
    """Containers are listed in a table, as JSON, or by their ids."""
    name = runtime.running()
    heading, row = runtime("list").splitlines()
    assert heading.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert row.split()[:3] == [name, str(runtime.state(name)["pid"]), "running"]
    assert json.loads(runtime("list", "--format=json")) == [runtime.state(name)]
    assert runtime("list", "-q") == f"{name}\n"


def _commands(table: str) -> set[str]:
    return {line.split(maxsplit=1)[1] for line in table.splitlines()}


def test_ps(runtime: Runtime) -> None:
    """The container's processes and no others, as numbers or as ps prints them."""
    name = runtime.running("sh", "-c", "sleep 1000 & sleep 2000 & wait")
    wait_until(
        "its shell has started both",
        lambda: {"sleep 1000", "sleep 2000"} <= _commands(runtime("ps", name, "-o", "pid,args")),
    )
    pids = json.loads(runtime("ps", "--format", "json", name))
    assert len(pids) == 3
    assert runtime.state(name)["pid"] in pids
    table = runtime("ps", name).splitlines()
    assert "PID" in table[0].split()
    assert {line.split()[1] for line in table[1:]} == {str(pid) for pid in pids}
    chosen = runtime("ps", name, "-o", "pid,args").splitlines()
    assert any("sleep 2000" in line for line in chosen)
    result = runtime.result("ps", name, "-o", "args")
    assert (result.returncode, "no column PID" in result.stderr) == (1, True)


def test_stats(runtime: Runtime) -> None:
    """With --stats, events prints one object as go-runc reads it."""
    name = runtime.running()
    (line,) = runtime("events", "--stats", name).splitlines()
    event = json.loads(line)
    assert (event["type"], event["id"]) == ("stats", name)
    assert event["data"]["pids"]["current"] == 1
    assert event["data"]["memory"]["usage"]["usage"] > 0


def test_events_of_a_container_that_runs_out_of_memory(runtime: Runtime) -> None:
    """Until the container's end: statistics at intervals, and a line for each lack of memory."""
    linux = {"resources": {"memory": {"limit": 8 << 20}}}
    script = f"{_until('/dev/shm/go')}; tail /dev/zero; {_until('/dev/shm/end')}; exit 0"
    name = runtime.running("sh", "-c", script, linux=linux)
    types: list[str] = []
    with runtime.start("events", "--interval=100ms", name) as process:
        assert process.stdout is not None
        while types.count("stats") < 2:
            types.append(json.loads(process.stdout.readline())["type"])
        runtime("exec", name, "touch", "/dev/shm/go")
        while "oom" not in types:
            types.append(json.loads(process.stdout.readline())["type"])
        while types.count("stats") < 3:
            types.append(json.loads(process.stdout.readline())["type"])
        runtime("exec", name, "touch", "/dev/shm/end")
        types += [json.loads(line)["type"] for line in process.stdout]
        assert process.wait(60) == 0
    assert types[0] == "stats"
    assert set(types) == {"stats", "oom"}


def _until(path: str) -> str:
    return f"until test -e {path}; do sleep 0.05; done"


def test_events_of_a_stopped_container(runtime: Runtime) -> None:
    """There is nothing to tell of a container that has stopped."""
    name = runtime.running("true")
    runtime.wait_for(name, "stopped")
    result = runtime.result("events", name)
    assert (result.returncode, "not running" in result.stderr) == (1, True)


def test_pause_and_resume(runtime: Runtime) -> None:
    """A paused container says so, and pausing or resuming twice is an error."""
    name = runtime.running()
    runtime("pause", name)
    assert runtime.state(name)["status"] == "paused"
    assert runtime.result("pause", name).returncode == 1
    runtime("resume", name)
    assert runtime.state(name)["status"] == "running"
    assert runtime.result("resume", name).returncode == 1


def test_kill(runtime: Runtime) -> None:
    """Signals by name and number; an unknown one is refused; "all" of a stopped container is no error."""
    name = runtime.id()
    with runtime.start("run", "-b", runtime.bundle("sh", "-c", TRAP), "--keep", name) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert runtime.result("kill", name, "NOPE").returncode == 1
        runtime("kill", name, "SIGUSR1")
        assert process.wait(60) == 3
    result = runtime.result("kill", name, "9")
    assert result.returncode == 1
    assert "container not running" in result.stderr
    runtime("kill", "--all", name, "KILL")
    other = runtime.running()
    runtime("kill", "-a", other, "9")
    runtime.wait_for(other, "stopped")


def _limit(runtime: Runtime, name: str, file: str, unified: str) -> str:
    with load(str(runtime.root), name) as container:
        paths = container.cgroup_paths
    path = Path(paths.get("memory", "")) / file if "memory" in paths else Path(paths[""]) / unified
    return path.read_text().strip()


def test_update(runtime: Runtime) -> None:
    """Limits change by flags and by a document on standard input, in both forms of the flag."""
    name = runtime.running()
    runtime("update", "--memory", "64m", name)
    assert _limit(runtime, name, "memory.limit_in_bytes", "memory.max") == str(64 << 20)
    for flag in (["--resources", "-"], ["--resources=-"], ["-r", "-"]):
        limit = (32 << 20) + (len(flag) << 20)
        runtime("update", *flag, name, input=json.dumps({"memory": {"limit": limit}}))
        assert _limit(runtime, name, "memory.limit_in_bytes", "memory.max") == str(limit)
    result = runtime.result("update", "-r", "-", name, input='{"memory": {"limit": "much"}}')
    assert (result.returncode, "$.memory.limit" in result.stderr) == (1, True)


def test_without_a_cgroup(runtime: Runtime) -> None:
    """As Podman asks for it: --cgroup-manager disabled makes none."""
    own = Command(runtime.words[0], *runtime.words[1:]) if len(runtime.words) > 3 else runtime
    words = [*own.words, "--cgroup-manager", "disabled"]
    bundle = runtime.bundle("cat", "/proc/self/cgroup", linux=_without_cgroups())
    result = subprocess.run(
        [*words, "run", "-b", bundle, runtime.id()], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == Path("/proc/self/cgroup").read_text()


def _without_cgroups() -> dict[str, object]:
    namespaces = standard_spec()["linux"]["namespaces"]
    return {"namespaces": [each for each in namespaces if each["type"] != "cgroup"], "resources": None}


def test_explain_does_nothing(runtime: Runtime) -> None:
    """--explain prints every step and leaves no trace of a container."""
    bundle = runtime.bundle()
    for verb in ("create", "run"):
        text = runtime(verb, "--explain", "--bundle", bundle, runtime.id())
        assert "clone3" in text
        assert "CLONE_NEWNS" in text
        assert "mount proc on /proc" in text
        assert "execve true" in text
        assert max(map(len, text.splitlines()[1:])) <= 110
    assert not runtime.root.exists() or runtime("list", "-q") == ""
    name = runtime.running()
    assert "setns" in runtime("exec", "--explain", name, "id")
    assert len(json.loads(runtime("ps", "-f", "json", name))) == 1


def test_explain_shows_the_launchers_half(runtime: Runtime) -> None:
    """Limits with their files and values, the cgroup, hooks and the score; and it is so."""
    hooks = {"createRuntime": [{"path": "/bin/true"}], "poststart": [{"path": "/bin/true"}]}
    limits = {"memory": {"limit": 67108864}, "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 77}}
    changes: dict[str, Any] = {"hooks": hooks, "linux": {"resources": limits}, "process": {"oomScoreAdj": 7}}
    name = runtime.running(**changes)
    text = runtime("run", "--explain", "--bundle", runtime.bundle(**changes), name)
    assert f"make cgroup /{name}" in text
    assert "createRuntime: " in text
    assert "poststart: " in text
    assert "write 7 to oom_score_adj" in text
    assert "write 67108864 to" in text
    assert "write 77 to pids.max" in text
    pids = next(tree for tree in discover().trees if "pids" in tree.controllers)
    assert Path(f"{pids.mountpoint}/{name}/pids.max").read_text() == "77\n"


@pytest.mark.parametrize("identity", ["", "a/b", "."])
def test_explain_checks_the_id(runtime: Runtime, identity: str) -> None:
    """An id that no container can have is told of as when it is done."""
    bundle = runtime.bundle()
    results = [
        runtime.result("run", *flags, "--bundle", bundle, identity).stderr for flags in (("--explain",), ())
    ]
    assert "id" in results[0]
    assert results[0] == results[1]


def test_trace_says_what_took_how_long(runtime: Runtime) -> None:
    """--trace runs the container and times its steps on standard error."""
    result = runtime.result("run", "--trace", "--bundle", runtime.bundle("echo", "hi"), runtime.id())
    assert (result.returncode, result.stdout) == (0, "hi\n")
    assert "operations together" in result.stderr
    assert "µs" in result.stderr
    name = runtime.running()
    result = runtime.result("exec", "--trace", name, "echo", "hi")
    assert result.stdout == "hi\n"
    assert "operations together" in result.stderr


def test_the_host_as_a_root(runtime: Runtime, tmp_path: Path) -> None:
    """A sandbox without any image: it sees the host's programs, not its secrets, and changes nothing."""
    runtime("spec", "--host", "--bundle", tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text())
    script = "cat /etc/shadow; ls /root; echo x > /etc/pierhead-test && cat /etc/pierhead-test"
    script += "; grep Seccomp: /proc/self/status; cd /sys/fs/cgroup; cat pids/pids.max pids.max; hostname"
    document["process"].update(args=["sh", "-c", script], terminal=False)
    document["root"].pop("readonly", None)
    path.write_text(json.dumps(document))
    result = runtime.result("run", "--bundle", tmp_path, runtime.id())
    assert result.stdout.splitlines()[-3:] == ["Seccomp:\t2", "1024", document["hostname"]]
    assert "root:" not in result.stdout
    assert not os.path.exists("/etc/pierhead-test")


@pytest.mark.parametrize("form", ["link", "relative", "path"])
def test_the_script_finds_its_python(form: str, tmp_path: Path) -> None:
    """The program starts through a link, by a relative path and from PATH."""
    (program, *rest) = Command("pier-runtime").words
    if rest:
        pytest.skip("needs the installed program")
    directory, name = os.path.split(program)
    words, cwd, path = [f"./{name}"], Path(directory), os.environ["PATH"]
    if form == "link":
        (tmp_path / "a b").mkdir()
        link = tmp_path / "a b" / "runtime"
        link.symlink_to(program)
        words, cwd = [str(link)], tmp_path
    elif form == "path":
        words, cwd, path = [name], tmp_path, f"{directory}:{path}"
    env = {**os.environ, "PATH": path}
    result = subprocess.run(
        [*words, "--version"], capture_output=True, text=True, check=True, cwd=cwd, env=env
    )
    assert result.stdout.startswith("pier-runtime version ")
