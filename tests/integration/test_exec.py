"""Further processes in a container: where they are, what they have, what keeps them from running."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from pierhead.errors import Conflict, InvalidInput, PierheadError, TimedOut
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Memory, Resources, User
from pierhead.runtime import ProcessSpec, Stdio, handshake, joining, load
from tests.support.containers import ENV, SLEEP, Containers, namespaces, status_of, wait_until
from tests.support.requires import requires

pytestmark = requires("root")


def test_it_is_in_the_containers_cgroup(containers: Containers) -> None:
    """Every cgroup of the first process is its own too: no limit is escaped."""
    container = containers.running(resources=Resources(memory=Memory(limit=64 << 20)))
    process = container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null())
    assert (
        Path(f"/proc/{process.pid}/cgroup").read_text()
        == Path(f"/proc/{container.init_pid}/cgroup").read_text()
    )
    assert process.pid in container.processes()
    process.terminate()
    assert process.wait(60).signal == signal.SIGKILL


def test_it_sees_the_containers_files_and_processes(containers: Containers) -> None:
    """Root, mounts and processes are the container's."""
    container = containers.start("touch /made; exec sleep 1000", copy_on_write=True)
    program = Path(f"/proc/{container.init_pid}/comm")
    wait_until("the program after the file", lambda: program.read_text() == "sleep\n")
    assert containers.exec(container, "ls /made").status.code == 0
    said = containers.exec(container, "ls /proc | grep -c '^[0-9]'; cat /proc/1/comm")
    assert int(said.words[0]) <= 5
    assert said.words[1] == "sleep"


@pytest.mark.parametrize(
    ("fields", "script", "output"),
    [
        ({"env": ("PATH=/bin", "A=b")}, "echo $A", "b\n"),
        ({"cwd": "/tmp"}, "pwd", "/tmp\n"),
        ({"user": "app"}, "id -un", "app\n"),
        ({"user": User(uid=5, gid=6)}, "id -u; id -g", "5\n6\n"),
        ({}, "hostname", "box\n"),
        ({}, "exit 3", ""),
    ],
)
def test_what_it_is_given(containers: Containers, fields: dict[str, Any], script: str, output: str) -> None:
    """Environment, directory and user are its own; the rest is the container's."""
    container = containers.running(hostname="box")
    said = containers.exec(container, script, **fields)
    assert said.output == output
    assert said.status.code == (3 if "exit" in script else 0)


def test_standard_input(containers: Containers) -> None:
    """It reads what it is given."""
    assert containers.exec(containers.running(), "cat", input="some text\n").output == "some text\n"


@pytest.mark.parametrize(("code", "number"), [(0, None), (255, None), (None, 15)])
def test_its_exit(containers: Containers, code: int | None, number: int | None) -> None:
    """A code or a signal; the container goes on."""
    container = containers.running()
    spec = ProcessSpec(args=SLEEP if number else ("/bin/sh", "-c", f"exit {code}"), env=ENV)
    process = container.exec(spec, stdio=Stdio.null())
    if number:
        process.signal(number)
    status = process.wait(60)
    assert (status.code, status.signal) == (code, number)
    assert status_of(container) == "running"


def test_a_limit_of_time(containers: Containers) -> None:
    """Waiting can be given up."""
    process = containers.running().exec(ProcessSpec(args=SLEEP), stdio=Stdio.null())
    with pytest.raises(TimedOut):
        process.wait(0.05)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nothing-such",), r'exec: "nothing-such": executable file not found in \$PATH'),
        (("/bin/nothing",), r'exec: "/bin/nothing": stat /bin/nothing: no such file or directory'),
        (("/etc/passwd",), r'exec: "/etc/passwd": permission denied'),
        (("/etc",), r'exec: "/etc": is a directory'),
        (("./relative",), r"no such file or directory"),
        (("",), r"."),
    ],
)
def test_what_cannot_be_run(containers: Containers, args: tuple[str, ...], said: str) -> None:
    """The error has the words that callers of runtimes know; the container goes on."""
    container = containers.running()
    with pytest.raises(PierheadError, match=said):
        container.exec(ProcessSpec(args=args, env=ENV), stdio=Stdio.null())
    assert status_of(container) == "running"
    assert container.processes() == [container.init_pid]


def test_a_script_and_its_interpreter(containers: Containers) -> None:
    """A script runs by its first line; one whose interpreter is missing is an error that names it."""
    rootfs = containers.own_rootfs()
    for name, line in (("good", "#!/bin/sh\necho ran"), ("bad", "#!/no/such\n")):
        (rootfs / "bin" / name).write_text(line + "\n")
        (rootfs / "bin" / name).chmod(0o755)
    container = containers.running(rootfs=str(rootfs))
    assert containers.exec(container, args=("good",)).output == "ran\n"
    with pytest.raises(PierheadError, match=r'exec: "bad".*no such file'):
        containers.exec(container, args=("bad",))


def test_a_text_without_interpreter(containers: Containers) -> None:
    """The kernel's ENOEXEC is told as such."""
    rootfs = containers.own_rootfs()
    (rootfs / "bin/text").write_text("just text\n")
    (rootfs / "bin/text").chmod(0o755)
    container = containers.running(rootfs=str(rootfs))
    with pytest.raises(PierheadError, match=r'exec: "text".*exec format error'):
        containers.exec(container, args=("text",))


# When it cannot be


def test_in_a_paused_container(containers: Containers) -> None:
    """It is refused; with ``ignore_paused`` it begins when the container is resumed."""
    container = containers.running()
    container.pause()
    with pytest.raises(Conflict, match="cannot exec in a paused container"):
        container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.null())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(containers.exec, container, "echo on", options={"ignore_paused": True})
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        container.resume()
        assert waiting.result(60).output == "on\n"


def test_in_a_stopped_container(containers: Containers) -> None:
    """It says so in the words that callers look for."""
    container = containers.start("true")
    container.wait(60)
    with pytest.raises(Conflict, match="container not running"):
        container.exec(ProcessSpec(args=("/bin/true",)))


def test_in_a_container_that_ends_meanwhile(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who joins a container that is deleted at that moment is told so, and not what failed of it."""
    container = containers.running()
    with load(containers.root, container.id) as other:

        class Late(handshake.Handshake):
            def send(self, *arguments: Any) -> None:
                other.delete(force=True)
                super().send(*arguments)

        monkeypatch.setattr(joining, "Handshake", Late)
        with pytest.raises(Conflict, match="container not running"):
            container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.null())


def test_in_a_container_that_ends_a_moment_later(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What joins it is killed with it, and before it: its first process ends last of all."""
    container = containers.running()

    class Killed(handshake.Handshake):
        def run(self, _: object) -> Any:
            Timer(0.2, container.init.terminate).start()
            raise handshake.LaunchFailed("it was killed")

    monkeypatch.setattr(joining, "Handshake", Killed)
    with pytest.raises(Conflict, match="container not running"):
        container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.null())


def test_in_a_created_container(containers: Containers) -> None:
    """Before its start a container can be prepared by exec, as with runc."""
    container = containers.create("sleep 1000")
    assert containers.exec(container, "echo early").output == "early\n"
    assert status_of(container) == "created"


def test_a_container_without_a_pid_namespace(containers: Containers) -> None:
    """A further process of it has a number of the host."""
    container = containers.running(namespaces=namespaces("mount"), networks=())
    said = containers.exec(container, "echo $$")
    assert int(said.output) > 1


# Cgroups below


def test_a_cgroup_below_the_containers(containers: Containers) -> None:
    """The process is put into a cgroup that the container has made for itself."""
    container = containers.running()
    for path in container.cgroup_paths.values():
        os.makedirs(f"{path}/inner", exist_ok=True)
        if discover().mode != "v2":
            for name in ("cpuset.cpus", "cpuset.mems"):
                if os.path.exists(f"{path}/inner/{name}"):
                    Path(path, "inner", name).write_text(Path(path, name).read_text())
    process = container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null(), cgroup="inner")
    lines = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()
    assert all(line.endswith(f"/{container.id}/inner") for line in lines if container.id in line)
    assert any(container.id in line for line in lines)
    container.delete(force=True)


@pytest.mark.parametrize("path", ["..", "../..", "a/../..", "/../x", "a\nb"])
def test_a_cgroup_may_not_lead_out(containers: Containers, path: str) -> None:
    """``..`` is refused (as crun 1.29 learnt)."""
    container = containers.running()
    with pytest.raises(InvalidInput):
        container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null(), cgroup=path)


def test_a_cgroup_that_is_not_there(containers: Containers) -> None:
    """The error names it."""
    container = containers.running()
    with pytest.raises(PierheadError, match="nothing-there"):
        container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null(), cgroup="nothing-there")


# With a monitor


def test_a_monitor_of_its_own(containers: Containers) -> None:
    """Its output is logged, its exit recorded under its id, and the container's own record is another."""
    container = containers.running(options={"supervise": True})
    log = containers.directory() / "log"
    spec = ProcessSpec(args=("/bin/sh", "-c", "echo said; exit 5"), env=ENV)
    process = container.exec(spec, stdio=Stdio.kept(str(log)), exec_id="job-1")
    assert process.wait(60).code == 5
    assert "said" in log.read_text()
    assert Path(containers.root, container.id, "exec-job-1.json").exists()
    assert not Path(containers.root, container.id, "exit.json").exists()


def test_an_exec_id_twice(containers: Containers) -> None:
    """While the first runs the id is taken; afterwards it is free again."""
    container = containers.running()
    first = container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.kept(), exec_id="job")
    with pytest.raises(Conflict, match="job"):
        container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.kept(), exec_id="job")
    first.terminate()
    assert first.wait(60).signal == 9
    second = container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.kept(), exec_id="job")
    assert second.wait(60).code == 0


def test_an_exec_id_after_a_failure(containers: Containers) -> None:
    """A launch that failed leaves nothing that keeps the id."""
    container = containers.running()
    with pytest.raises(PierheadError):
        container.exec(ProcessSpec(args=("/no/such",)), stdio=Stdio.kept(), exec_id="job")
    names = os.listdir(f"{containers.root}/{container.id}")
    assert not [name for name in names if "job" in name]
    process = container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.kept(), exec_id="job")
    assert process.wait(60).code == 0


@pytest.mark.parametrize("exec_id", ["a/b", "..", "a b", "x" * 1025])
def test_exec_ids_that_are_bad(containers: Containers, exec_id: str) -> None:
    """They name files: refused."""
    container = containers.running()
    with pytest.raises(InvalidInput):
        container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.kept(), exec_id=exec_id)


def test_the_end_of_the_container_ends_it(containers: Containers) -> None:
    """With the pid namespace its processes end."""
    container = containers.running()
    process = container.exec(ProcessSpec(args=SLEEP), stdio=Stdio.null())
    container.delete(force=True)
    assert process.wait(60).signal == signal.SIGKILL


def test_many_at_once(containers: Containers) -> None:
    """Twenty processes, each with its own output."""
    container = containers.running()
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(lambda number: containers.exec(container, f"echo {number}").output, range(20)))
    assert said == [f"{number}\n" for number in range(20)]
