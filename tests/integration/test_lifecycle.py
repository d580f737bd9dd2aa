"""A container's life: create, start, run, pause, resume, kill, wait, delete; and how others see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PierheadError,
    TimedOut,
    Unsupported,
)
from pierhead.linux import procstat
from pierhead.oci.runtime import DeviceRule, Memory, Resources
from pierhead.runtime import Config, Container, ProcessSpec, Stdio, create, list_ids, load, run
from tests.support.containers import SLEEP, Containers, cgroups_of_ours, namespaces, status_of, wait_until
from tests.support.requires import requires

pytestmark = requires("root")


def is_alive(pid: int) -> bool:
    """Whether a process of this number is there and no zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_another_process(containers: Containers, container: Container, statement: str) -> str:
    """What a new Python process prints that has loaded the container as ``container``."""
    script = (
        "import sys\n"
        "from pierhead.errors import PierheadError\n"
        "from pierhead.runtime import load\n"
        "container = load(sys.argv[1], sys.argv[2])\n"
        f"{statement}\n"
    )
    command = [sys.executable, "-c", script, containers.root, container.id]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


# Statuses


def test_a_container_goes_through_its_statuses(containers: Containers) -> None:
    """created, running, stopped are what the kernel shows at each step; delete leaves nothing."""
    container = containers.create("read line", options={"stdio": Stdio.null()})
    assert status_of(container) == "created"
    container.start()
    assert container.wait(60).code in (0, 1)
    assert status_of(container) == "stopped"
    container.delete()
    with pytest.raises(NotFound, match="container does not exist"):
        load(containers.root, container.id)
    assert not os.path.exists(f"{containers.root}/{container.id}")


def test_nothing_of_the_users_runs_before_start(containers: Containers, tmp_path: Path) -> None:
    """Between create and start the program has not begun."""
    reader, writer = os.pipe()
    container = containers.create(
        "echo began", options={"stdio": Stdio(input=None, output=writer, error=writer)}
    )
    os.close(writer)
    os.set_blocking(reader, False)
    assert not procstat.has_executed(container.init_pid)
    with pytest.raises(BlockingIOError):
        os.read(reader, 10)
    container.start()
    container.wait(60)
    assert os.read(reader, 10) == b"began\n"
    os.close(reader)


def test_run_needs_no_start(containers: Containers) -> None:
    """``run`` returns a container that runs its program."""
    container = containers.running()
    assert status_of(container) == "running"
    with pytest.raises(Conflict, match="already running"):
        container.start()


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", None, 9)]
)
@pytest.mark.parametrize("supervise", [False, True])
def test_wait_tells_how_it_ended(
    containers: Containers, script: str, code: int | None, number: int | None, *, supervise: bool
) -> None:
    """A code or a signal, with a monitor and without."""
    # signals of its own kind are ignored by a pid namespace's first process: a child does it
    inner = f"sh -c '{script}'; exit $?" if code is not None else "sleep 1000 & wait"
    container = containers.start(inner, options={"supervise": supervise})
    if number is not None:
        container.kill(number)
    status = container.wait(60)
    assert (status.code, status.signal, status.oom) == (code, number, False)
    assert status.shell_code == (code if code is not None else 128 + (number or 0))


def test_wait_has_a_limit_of_time(containers: Containers) -> None:
    """A process that runs on raises TimedOut, and can be waited for again."""
    container = containers.running()
    with pytest.raises(TimedOut):
        container.wait(0.05)
    container.kill(signal.SIGKILL)
    assert container.wait(60).signal == signal.SIGKILL
    assert container.wait(0).signal == signal.SIGKILL


def test_delete_needs_a_stopped_container_or_force(containers: Containers) -> None:
    """A running container is only deleted by force, and then its processes are dead."""
    container = containers.running()
    pid = container.init_pid
    with pytest.raises(Conflict, match="not stopped"):
        container.delete()
    assert is_alive(pid)
    container.delete(force=True)
    assert not is_alive(pid)
    assert list_ids(containers.root) == []


@pytest.mark.parametrize("pause", [False, True])
def test_delete_of_a_created_or_paused_container(containers: Containers, *, pause: bool) -> None:
    """Force ends what waits at its gate and what is frozen."""
    container = containers.running() if pause else containers.create("true")
    if pause:
        container.pause()
    directories = list(container.cgroup_paths.values())
    container.delete(force=True)
    assert not [path for path in directories if os.path.exists(path)]


def test_every_method_says_that_the_container_is_gone(containers: Containers) -> None:
    """After a deletion, also by another object, each method raises NotFound."""
    container = containers.running()
    load(containers.root, container.id).delete(force=True)
    methods = (
        lambda: container.status,
        container.start,
        container.pause,
        container.resume,
        container.kill,
        container.processes,
        container.stats,
        container.notify_oom,
        container.delete,
        container.oci_state,
        lambda: container.kill(all=True),
        lambda: container.exec(ProcessSpec(args=("/bin/true",))),
        lambda: container.update(Resources()),
    )
    for method in methods:
        with pytest.raises(NotFound, match="container does not exist"):
            method()


# Ids


@pytest.mark.parametrize("container_id", ["a", "A_9", "x+y-z.1", "n" * 200])
def test_ids_that_are_good(containers: Containers, container_id: str) -> None:
    """Letters, digits and ``_+-.`` make an id."""
    made = create(containers.root, container_id, containers.config("true"), stdio=Stdio.null())
    assert list_ids(containers.root) == [container_id]
    made.delete(force=True)


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", "a b", "ä", "a\n", "x" * 1025, "../x", "a\0"])
def test_ids_that_are_bad(containers: Containers, container_id: str) -> None:
    """Anything else is refused, and nothing is made."""
    with pytest.raises(InvalidInput):
        create(containers.root, container_id, containers.config("true"))
    assert not os.path.exists(containers.root) or os.listdir(containers.root) == []
    with pytest.raises(InvalidInput):
        load(containers.root, container_id)


def test_an_id_may_be_longer_than_a_file_name(containers: Containers) -> None:
    """1024 letters make an id: the directory's name has its beginning, everything else the whole."""
    ids = ["x" * 1024, "x" * 1023 + "y"]
    for container_id in ids:
        config = containers.config(args=SLEEP)
        assert create(containers.root, container_id, config, stdio=Stdio.null()).status == "created"
    assert list_ids(containers.root) == ids
    with pytest.raises(Conflict, match="already exists"):
        create(containers.root, ids[0], containers.config("true"))
    for container_id in ids:
        container = load(containers.root, container_id)
        container.start()
        assert container.id == container_id
        assert container.oci_state()["status"] == "running"
        container.delete(force=True)
    assert list_ids(containers.root) == []


def test_an_id_is_taken_once(containers: Containers) -> None:
    """A second container of the same id is a conflict, and the first is not disturbed."""
    container = containers.running()
    with pytest.raises(Conflict, match="container with given ID already exists"):
        create(containers.root, container.id, containers.config("true"))
    assert status_of(container) == "running"


def test_an_id_is_free_again_after_delete(containers: Containers) -> None:
    """The same id can be used again and again."""
    for _ in range(3):
        container = run(containers.root, "again", containers.config("exit 3"), stdio=Stdio.null())
        assert container.wait(60).code == 3
        container.delete()


def test_list_ids_is_sorted_and_only_of_containers(containers: Containers, tmp_path: Path) -> None:
    """Files and empty directories beside the containers are none."""
    assert list_ids(tmp_path / "nowhere") == []
    names = ["b", "a", "c"]
    made = [create(containers.root, name, containers.config("true"), stdio=Stdio.null()) for name in names]
    Path(containers.root, "file").write_text("")
    assert list_ids(containers.root) == ["a", "b", "c"]
    for container in made:
        container.delete(force=True)


# What is told


def test_oci_state_tells_what_the_specification_says(containers: Containers) -> None:
    """ociVersion, id, status, pid, bundle, annotations."""
    container = containers.create(
        "true", annotations={"org.example": "x"}, bundle="/srv/bundle", oci_version="1.1.0"
    )
    state = container.oci_state()
    assert state == {
        "ociVersion": "1.1.0",
        "id": container.id,
        "status": "created",
        "pid": container.init_pid,
        "bundle": "/srv/bundle",
        "annotations": {"org.example": "x"},
    }
    container.kill(signal.SIGKILL)
    container.wait(60)
    assert container.oci_state()["status"] == "stopped"
    assert container.oci_state()["pid"] == 0
    assert container.init_pid == 0


def test_the_state_file_tells_all_that_another_process_needs(containers: Containers) -> None:
    """id, config, init pid and start time, cgroup paths, namespace paths: each as the kernel has it."""
    container = containers.running(hostname="noted")
    document = json.loads(Path(containers.root, container.id, "state.json").read_text())
    pid = document["init_pid"]
    assert document["id"] == container.id
    assert document["config"]["hostname"] == "noted"
    assert pid == container.init_pid == container.init.pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert document["init_start_time"] == int(fields[19]) == container.init.start_time
    for kind, path in document["namespace_paths"].items():
        assert os.path.exists(path), kind
    assert set(document["namespace_paths"]) >= {"mount", "pid", "network", "ipc", "uts", "cgroup"}
    for path in container.cgroup_paths.values():
        assert os.path.isdir(path)
    assert container.created.endswith("Z")


def test_processes_are_the_cgroups(containers: Containers) -> None:
    """All processes, in the caller's numbers, the first one among them."""
    container = containers.start("sleep 1000 & sleep 1000 & wait")
    wait_until("three processes", lambda: len(container.processes()) == 3)
    assert container.init_pid in container.processes()


# Signals


def test_kill_sends_a_signal_to_the_first_process(containers: Containers) -> None:
    """A handler of the process sees it."""
    reader, writer = os.pipe()
    script = "trap 'echo got; exit 5' USR1; echo ready; while :; do sleep 0.05; done"
    container = containers.start(script, options={"stdio": Stdio(input=None, output=writer, error=writer)})
    os.close(writer)
    assert os.read(reader, 100) == b"ready\n"
    container.kill(signal.SIGUSR1)
    assert container.wait(60).code == 5
    assert os.read(reader, 100) == b"got\n"
    os.close(reader)


def test_kill_all_reaches_every_process(containers: Containers) -> None:
    """With ``all`` every process of the cgroup gets it."""
    container = containers.start("sleep 1000 & sleep 1000 & sleep 1000 & wait")
    wait_until("four processes", lambda: len(container.processes()) == 4)
    pids = container.processes()
    container.kill(signal.SIGKILL, all=True)
    wait_until("all dead", lambda: not any(is_alive(pid) for pid in pids))


def test_kill_all_reaches_what_outlives_the_first_process(containers: Containers) -> None:
    """Without a pid namespace others live on when the first process ends; they can still be killed."""
    kinds = namespaces("mount", "uts", "ipc", "network", "cgroup")
    container = containers.start("sleep 1000 & echo", namespaces=kinds)
    container.wait(60)
    assert status_of(container) == "stopped"
    left = container.processes()
    assert len(left) == 1
    with pytest.raises(Conflict, match="container not running"):
        container.kill(signal.SIGKILL)
    container.kill(signal.SIGKILL, all=True)
    wait_until("the rest is dead", lambda: not is_alive(left[0]))


def test_delete_ends_what_outlives_the_first_process(containers: Containers) -> None:
    """Nothing survives a deletion, pid namespace or not."""
    kinds = namespaces("mount", "uts", "ipc", "network", "cgroup")
    container = containers.start("sleep 1000 & echo", namespaces=kinds)
    container.wait(60)
    (left,) = container.processes()
    container.delete()
    wait_until("it is a zombie, having left its cgroup", lambda: not is_alive(left))


def test_signals_to_a_stopped_container_say_so(containers: Containers) -> None:
    """The words that callers of runtimes look for."""
    container = containers.start("true")
    container.wait(60)
    with pytest.raises(Conflict, match="container not running"):
        container.kill(signal.SIGTERM)
    with pytest.raises(Conflict, match="process already finished"):
        container.init.signal(signal.SIGTERM)
    container.init.terminate()


@pytest.mark.parametrize("number", [0, 65, -1])
def test_a_number_that_is_no_signal(containers: Containers, number: int) -> None:
    """Such a number is refused plainly, and the container lives on."""
    container = containers.running()
    if number:
        with pytest.raises(InvalidInput, match="signal"):
            container.kill(number)
    else:
        container.kill(number)
    assert status_of(container) == "running"


# Pause


def test_pause_stops_and_resume_goes_on(containers: Containers) -> None:
    """A paused container does not count on; a resumed one does."""
    reader, writer = os.pipe()
    script = "while :; do echo x; sleep 0.02; done"
    container = containers.start(script, options={"stdio": Stdio(input=None, output=writer, error=writer)})
    os.close(writer)
    assert os.read(reader, 2) == b"x\n"
    container.pause()
    assert status_of(container) == "paused"
    os.set_blocking(reader, False)
    try:
        while os.read(reader, 65536):
            pass
    except BlockingIOError:
        time.sleep(0.15)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
    container.resume()
    assert status_of(container) == "running"
    os.set_blocking(reader, True)
    assert os.read(reader, 2) == b"x\n"
    os.close(reader)


def test_pause_and_resume_fit_the_status(containers: Containers) -> None:
    """Pausing twice, resuming what runs, and both of what has stopped are conflicts."""
    container = containers.running()
    with pytest.raises(Conflict, match="not paused"):
        container.resume()
    container.pause()
    with pytest.raises(Conflict):
        container.pause()
    container.resume()
    container.kill(signal.SIGKILL)
    container.wait(60)
    with pytest.raises(Conflict, match="not running"):
        container.pause()
    with pytest.raises(Conflict):
        container.resume()


def test_a_paused_container_dies_of_sigkill(containers: Containers) -> None:
    """SIGKILL of a frozen container ends it without a resume."""
    container = containers.running()
    container.pause()
    container.kill(signal.SIGKILL, all=True)
    assert container.wait(60).signal == signal.SIGKILL


@pytest.mark.parametrize("state", ["frozen", "thawed"])
def test_freezer_state_of_the_configuration(containers: Containers, state: str) -> None:
    """``frozen`` makes a container that is paused from its first instruction; ``thawed`` one that runs."""
    reader, writer = os.pipe()
    stdio = Stdio(input=None, output=writer, error=writer)
    container = containers.create("echo went", freezer_state=state, options={"stdio": stdio})
    os.close(writer)
    if state == "frozen":
        assert status_of(container) == "paused"
        os.set_blocking(reader, False)
        with pytest.raises(Conflict):
            container.start()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
        container.resume()
        assert status_of(container) == "created"
    container.start()
    assert container.wait(60).code == 0
    os.set_blocking(reader, True)
    assert os.read(reader, 10) == b"went\n"
    os.close(reader)


def test_run_frozen(containers: Containers) -> None:
    """``run`` of a frozen configuration gives a paused container whose program goes on with resume."""
    container = containers.start("exit 6", freezer_state="frozen")
    assert status_of(container) == "paused"
    container.resume()
    assert container.wait(60).code == 6


# Other processes


def test_another_process_loads_and_uses_it(containers: Containers) -> None:
    """Status, exec, kill, wait and delete work from a process that did not make the container."""
    container = containers.running(options={"supervise": True})
    assert in_another_process(containers, container, "print(container.status, container.init_pid)") == (
        f"running {container.init_pid}"
    )
    said = in_another_process(
        containers,
        container,
        "from pierhead.runtime import ProcessSpec, Stdio\n"
        "spec = ProcessSpec(args=('/bin/sh', '-c', 'exit 4'))\n"
        "print(container.exec(spec, stdio=Stdio.null()).wait(60).code)",
    )
    assert said == "4"
    in_another_process(containers, container, "container.kill(9)")
    assert in_another_process(containers, container, "print(container.wait(60).signal)") == "9"
    assert container.wait(60).signal == 9
    in_another_process(containers, container, "container.delete()")
    with pytest.raises(NotFound):
        _ = container.status


def test_wait_elsewhere_needs_a_monitor(containers: Containers) -> None:
    """How an unsupervised container ended is known to its parent only, and the error says what to do."""
    container = containers.running()
    waiting = (
        "try:\n    container.wait(60)\nexcept PierheadError as error:\n    print(error.code, '/', error.hint)"
    )
    threading.Timer(0.3, lambda: container.kill(9)).start()
    assert "supervise=True" in in_another_process(containers, container, waiting)
    assert container.wait(60).signal == 9


def test_it_outlives_its_maker(containers: Containers) -> None:
    """A supervised container goes on when its maker has ended, and its exit is recorded."""
    script = (
        "import sys; from pierhead.runtime import *\n"
        "config = Config(rootfs=sys.argv[2], process=ProcessSpec(args=('/bin/sleep', '1000')))\n"
        "run(sys.argv[1], 'orphan', config, stdio=Stdio.null(), supervise=True)"
    )
    command = [sys.executable, "-c", script, containers.root, containers.rootfs]
    subprocess.run(command, check=True, timeout=60)
    container = load(containers.root, "orphan")
    assert status_of(container) == "running"
    container.kill(signal.SIGKILL)
    assert container.wait(60).signal == signal.SIGKILL
    assert status_of(container) == "stopped"
    container.delete()


def test_a_closed_object_leaves_the_container(containers: Containers) -> None:
    """``close`` gives back descriptors; the container is loaded again."""
    with containers.running() as container:
        container_id = container.id
    before = len(os.listdir("/proc/self/fd"))
    with load(containers.root, container_id) as again:
        assert status_of(again) == "running"
        again.delete(force=True)
    assert len(os.listdir("/proc/self/fd")) <= before


# Errors of create


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rootfs": "/nowhere/at/all"}, r"rootfs /nowhere/at/all: no such file or directory"),
        ({"args": ("nothing-such",)}, r'exec: "nothing-such": executable file not found in \$PATH'),
        ({"args": ("/bin/nothing",)}, r'exec: "/bin/nothing": stat /bin/nothing: no such file or directory'),
        ({"args": ("/etc/passwd",)}, r'exec: "/etc/passwd": permission denied'),
        ({"args": ("/etc",)}, r'exec: "/etc": is a directory'),
        ({"process": {"user": "nobody-such"}}, r"unable to find user nobody-such"),
        ({"process": {"user": "root:nogroup-such"}}, r"unable to find group nogroup-such"),
        ({"namespaces": namespaces("pid")}, r"needs a mount namespace"),
    ],
)
def test_what_cannot_be_is_an_error_of_create(
    containers: Containers, changes: dict[str, Any], said: str
) -> None:
    """One sentence names what is wrong, at create and not at start, and nothing is left behind."""
    with pytest.raises(PierheadError, match=said):
        containers.create("true", **changes)
    assert list_ids(containers.root) == []
    assert not os.path.exists(containers.root) or os.listdir(containers.root) == []
    assert cgroups_of_ours() == []


def test_the_library_without_a_process_says_so(containers: Containers) -> None:
    """A configuration without a process cannot be launched."""
    with pytest.raises(InvalidInput, match="process"):
        create(containers.root, "none", Config(rootfs=containers.rootfs))


def test_cgroups_disabled(containers: Containers) -> None:
    """Without a cgroup the container runs where its maker does; what needs a cgroup says so."""
    container = containers.running(cgroup_manager="disabled")
    assert container.cgroup_paths == {}
    assert container.processes() == [container.init_pid]
    for verb in (
        container.pause,
        container.stats,
        lambda: container.update(Resources(memory=Memory(limit=1 << 26))),
    ):
        with pytest.raises(Unsupported, match="no cgroup"):
            verb()
    container.kill(signal.SIGKILL, all=True)
    assert container.wait(60).signal == signal.SIGKILL
    container.delete()


@pytest.mark.parametrize("path", ["relative", "absolute", "parent"])
def test_the_cgroup_is_where_it_is_asked_for(containers: Containers, path: str) -> None:
    """An absolute path is below the hierarchy's root, a relative one below the caller's own cgroup."""
    name = containers.id()
    ways: dict[str, dict[str, Any]] = {
        "relative": {"cgroup_path": f"{name}/inner"},
        "absolute": {"cgroup_path": f"/{name}/inner"},
        "parent": {"cgroup_parent": f"/{name}"},
    }
    container = containers.running(**ways[path])
    ends = f"/{name}/inner" if path != "parent" else f"/{name}/{container.id}"
    assert all(directory.endswith(ends) for directory in container.cgroup_paths.values())
    own = Path(f"/proc/{container.init_pid}/cgroup").read_text()
    assert all(line.endswith(ends) for line in own.splitlines() if ":name=" not in line or name in line)
    directories = list(container.cgroup_paths.values())
    container.delete(force=True)
    assert not [
        each
        for each in directories
        if os.path.exists(os.path.dirname(each)) and name in os.path.dirname(each)
    ]


def test_trace_tells_what_each_operation_took(containers: Containers) -> None:
    """Every operation of the first process up to its gate has its nanoseconds."""
    container = containers.create("true", options={"trace": True})
    plan = container.plan_again()
    timed = {plan.operations[index].name for index in container.trace}
    assert {"mount", "pivot_root", "mask"} <= timed
    assert "umask" in timed
    container.start()
    assert "capabilities" in {plan.operations[index].name for index in container.trace}
    assert all(nanoseconds >= 0 for nanoseconds in container.trace.values())


def test_devices_rule_of_everything(containers: Containers) -> None:
    """Resources that name devices alone do not disturb the rest."""
    container = containers.running(resources=Resources(devices=(DeviceRule(allow=True, access="rwm"),)))
    assert containers.exec(container, "cat /dev/null && echo fine").output == "fine\n"


def test_sleep_is_what_runs(containers: Containers) -> None:
    """The kernel's own word for the program is what was asked for."""
    container = containers.running()
    words = Path(f"/proc/{container.init_pid}/cmdline").read_bytes().split(b"\0")
    assert tuple(word.decode() for word in words[:2]) == SLEEP
