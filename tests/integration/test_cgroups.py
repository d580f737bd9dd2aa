"""Real cgroups: made, limited, frozen, emptied and removed, on whatever hierarchies the machine has.

Runs on v1, hybrid and cgroup2 machines alike; each test says which controllers it needs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead import jsontext
from pierhead.errors import InvalidInput, OperationFailed, Unsupported
from pierhead.linux.cgroupfs import Hierarchies, discover
from pierhead.oci.document import decode, encode
from pierhead.oci.runtime import Cpu, DeviceRule, Memory, Network, Pids, Resources
from pierhead.runtime.cgroups import (
    CgroupfsDriver,
    CgroupState,
    load_cgroups,
    new_cgroups,
    paths_by_controller,
)
from pierhead.runtime.oom import oom_events, oom_kills
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Make = Callable[..., CgroupfsDriver]

pytestmark = requires("root")

MIB = 2**20
NAMES = (f"pierhead-test-{os.getpid()}-{number}" for number in count())


def unified_alone() -> Hierarchies | None:
    """The cgroup2 tree as if it were all there is."""
    tree = discover().unified()
    return None if tree is None else Hierarchies(mode="v2", trees=(tree,))


@pytest.fixture(params=["machine", "unified"])
def hierarchies(request: pytest.FixtureRequest) -> Hierarchies:
    """All hierarchies of the machine; and where there are others, the cgroup2 one for itself."""
    found = discover()
    if request.param == "machine":
        return found
    alone = unified_alone()
    if alone is None or found.mode == "v2":
        pytest.skip("needs a cgroup2 tree beside v1 trees")
    return alone


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes cgroups that are killed and removed in the end."""
    made: list[CgroupfsDriver] = []

    def create(
        resources: Resources | None = None, *, path: str = "", hierarchies: Hierarchies | None = None
    ) -> CgroupfsDriver:
        manager = new_cgroups("cgroupfs", path, next(NAMES), hierarchies or discover())
        assert isinstance(manager, CgroupfsDriver)
        made.append(manager)
        manager.create(resources)
        manager.apply(resources)
        return manager

    yield create
    for manager in made:
        manager.kill()
        manager.remove()


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a line before it runs the command: time to put it into a cgroup."""
    program = ["sh", "-c", 'read _ && exec "$@"', "sh", *command]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stderr=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def go(child: subprocess.Popen[bytes]) -> None:
    """The process runs its command."""
    assert child.stdin is not None
    child.stdin.write(b"go\n")
    child.stdin.flush()


def read(manager: CgroupfsDriver, controller: str, *files: str) -> str:
    """The first of the files that the kernel has (v1's and cgroup2's names differ)."""
    paths = paths_by_controller(manager.state)
    directory = Path(paths.get(controller) or paths[""])
    existing = [directory / file for file in files if (directory / file).exists()]
    return existing[0].read_text().strip()


def eventually(condition: Callable[[], object], *, timeout_s: float = 60.0) -> None:
    """The condition holds before the time is over."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# Making and removing ----------------------------------------------------------------------------------------


def test_a_cgroup_holds_processes_and_goes_without_a_trace(hierarchies: Hierarchies) -> None:
    """In every tree there is a directory, the process is in each of them, and afterwards there is none."""
    name = next(NAMES)
    manager = new_cgroups("cgroupfs", "", name, hierarchies)
    manager.create()
    assert manager.state.made == tuple(f"{tree.mountpoint}/{name}" for tree in hierarchies.trees)
    with process("sleep", "60") as child:
        manager.join(child.pid)
        assert manager.procs() == [child.pid]
        lines = Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()
        assert sum(line.endswith(f"/{name}") for line in lines) == len(hierarchies.trees)
        manager.kill()
        assert child.wait(60) == -signal.SIGKILL
    manager.remove()
    manager.remove()


def test_root_of_a_user_namespace_has_the_usual_cgroup(hierarchies: Hierarchies) -> None:
    """Only rules about devices are none of its business: it may make cgroups, or be told that it may not."""
    usual = new_cgroups("cgroupfs", "", "x", hierarchies).state
    assert new_cgroups("cgroupfs", "", "x", hierarchies, confined=True).state == usual.replace(rootless=True)


def test_parents_that_were_made_go_too_and_others_stay(hierarchies: Hierarchies) -> None:
    """A path of several components; a parent that two containers share stays while one of them is there."""
    parent = next(NAMES)
    first = new_cgroups("cgroupfs", f"/{parent}/a/one", "x", hierarchies)
    second = new_cgroups("cgroupfs", f"/{parent}/a/two", "x", hierarchies)
    alone = new_cgroups("cgroupfs", f"/{parent}/b/three", "x", hierarchies)
    first.create()
    second.create()
    alone.create()
    alone.remove()
    assert not any(os.path.exists(f"{tree.mountpoint}/{parent}/b") for tree in hierarchies.trees)
    first.remove()
    assert all(os.path.isdir(f"{tree.mountpoint}/{parent}/a/two") for tree in hierarchies.trees)
    second.remove()
    for tree in hierarchies.trees:
        # It was the first one that had made them, and could not remove them while the second one was there.
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{tree.mountpoint}/{parent}/a")
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{tree.mountpoint}/{parent}")


def test_groups_inside_are_removed_with_it(make: Make, hierarchies: Hierarchies) -> None:
    """A container that divides its cgroup leaves nothing; its inner processes are found and killed."""
    manager = make(hierarchies=hierarchies)
    for directory in paths_by_controller(manager.state).values():
        Path(directory, "inner/most").mkdir(parents=True, exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            for place in ("inner", "inner/most"):
                if Path(directory, place, file).exists() and "cpuset" in directory:
                    Path(directory, place, file).write_text(Path(directory, file).read_text())
    with process("sleep", "60") as child:
        manager.join(child.pid, inner={"": "/inner/most"})
        assert manager.procs() == [child.pid]
        with pytest.raises(InvalidInput):
            manager.join(child.pid, inner={"": "../.."})
        manager.kill()
        child.wait(60)


def test_a_refused_limit_leaves_nothing(hierarchies: Hierarchies) -> None:
    """The machine has no net_cls here, or it is not mounted: nothing is made at all."""
    if hierarchies.find("net_cls"):
        pytest.skip("needs a machine without net_cls")
    manager = new_cgroups("cgroupfs", "", next(NAMES), hierarchies)
    with pytest.raises(
        Unsupported, match=r"^\$\.linux\.resources\.network\.classID: this machine has no net_cls"
    ):
        manager.create(Resources(network=Network(class_id=5)))


def test_dots_in_a_path_are_refused(hierarchies: Hierarchies) -> None:
    """Whatever they would come out as."""
    with pytest.raises(InvalidInput, match=r"\.\. component"):
        new_cgroups("cgroupfs", "/a/../../b", "x", hierarchies)


def test_many_at_once_below_a_parent_that_comes_and_goes(hierarchies: Hierarchies) -> None:
    """Threads make and remove siblings whose common parent each of them may have made or removed."""
    parent = next(NAMES)
    errors: list[BaseException] = []

    def churn(number: int) -> None:
        try:
            for _ in range(5):
                manager = new_cgroups("cgroupfs", f"/{parent}/{number}", "x", hierarchies)
                manager.create()
                manager.remove()
        except BaseException as error:  # noqa: BLE001 - told to the main thread
            errors.append(error)

    threads = [threading.Thread(target=churn, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tree in hierarchies.trees:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(f"{tree.mountpoint}/{parent}")
    assert errors == []


def test_removal_with_processes_inside_says_so(make: Make) -> None:
    """After a moment's patience the error names how many there are."""
    manager = make()
    with process("sleep", "60") as child:
        manager.join(child.pid)
        with pytest.raises(OperationFailed, match="processes are in it") as caught:
            manager.remove()
        assert caught.value.errno == errno.EBUSY


def test_another_process_manages_it_from_the_state(make: Make) -> None:
    """The state survives JSON, and is all that is needed."""
    manager = make()
    text = jsontext.format_compact(encode(manager.state))
    assert decode(CgroupState, jsontext.parse(text)) == manager.state
    program = (
        "import sys; from pierhead import jsontext; from pierhead.oci.document import decode\n"
        "from pierhead.runtime.cgroups import CgroupState, load_cgroups\n"
        "load_cgroups(decode(CgroupState, jsontext.parse(sys.argv[1]))).kill()\n"
    )
    with process("sleep", "60") as child:
        manager.join(child.pid)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", program, text], check=True, env=environment)
        assert child.wait(60) == -signal.SIGKILL


def test_a_cgroup2_directory_can_be_handed_to_clone() -> None:
    """A pure cgroup2 machine gives a descriptor of the container's group; others cannot."""
    alone = unified_alone()
    if alone is None:
        pytest.skip("needs a cgroup2 tree")
    manager = new_cgroups("cgroupfs", "", next(NAMES), alone)
    assert isinstance(manager, CgroupfsDriver)
    manager.create()
    fd = manager.open_directory()
    try:
        assert os.path.samestat(os.fstat(fd), os.stat(paths_by_controller(manager.state)[""]))
    finally:
        os.close(fd)
        manager.remove()


def test_the_owner_gets_the_cgroup2_directory() -> None:
    """And the files that delegation needs, not those of the limits."""
    alone = unified_alone()
    if alone is None:
        pytest.skip("needs a cgroup2 tree")
    manager = new_cgroups("cgroupfs", "", next(NAMES), alone, owner_uid=12345)
    manager.create()
    directory = Path(paths_by_controller(manager.state)[""])
    try:
        assert directory.stat().st_uid == 12345
        assert (directory / "cgroup.procs").stat().st_uid == 12345
        assert (directory / "cgroup.freeze").stat().st_uid == 0
    finally:
        manager.remove()


# Limits -----------------------------------------------------------------------------------------------------


@requires("memory-controller", "pids-controller", "cpu-controller")
def test_limits_are_what_the_kernel_says_afterwards(make: Make) -> None:
    """Written in v1's or cgroup2's way, they read back."""
    manager = make(
        Resources(
            memory=Memory(limit=64 * MIB, reservation=32 * MIB),
            cpu=Cpu(shares=512, quota=20000, period=50000),
            pids=Pids(limit=64),
        )
    )
    assert read(manager, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert read(manager, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    assert read(manager, "cpu", "cpu.shares", "cpu.weight") in ("512", "59")
    assert read(manager, "cpu", "cpu.cfs_quota_us", "cpu.max") in ("20000", "20000 50000")
    assert read(manager, "pids", "pids.max") == "64"
    stats = manager.stats()
    assert stats.memory.usage.limit == 64 * MIB
    assert stats.pids.limit == 64


@requires("memory-controller", "cpu-controller")
def test_updates_pass_through_valid_states(make: Make) -> None:
    """Up and down again, memory with swap, and quota with period: the kernel never refuses a step."""
    manager = make(
        Resources(memory=Memory(limit=32 * MIB, swap=32 * MIB), cpu=Cpu(quota=10000, period=20000))
    )
    with process("sleep", "60") as child:
        manager.join(child.pid)
        for limit, quota, period in (
            (64, 90000, 100000),
            (128, 1000, 5000),
            (24, 50000, 100000),
            (-1, -1, 100000),
        ):
            size = limit * MIB if limit > 0 else -1
            memory, cpu = Memory(limit=size, swap=size), Cpu(quota=quota, period=period)
            assert manager.apply(Resources(memory=memory, cpu=cpu), update=True) == []
            assert read(manager, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] in (str(quota), "max")
            if size > 0:
                assert read(manager, "memory", "memory.limit_in_bytes", "memory.max") == str(size)


@requires("cpuset-controller")
def test_cpus_are_those_that_were_asked_for(make: Make) -> None:
    """The first processor that this machine has; the process may run nowhere else."""
    first = min(os.sched_getaffinity(0))
    manager = make(Resources(cpu=Cpu(cpus=str(first), mems="0")))
    with process("sleep", "60") as child:
        manager.join(child.pid)
        assert os.sched_getaffinity(child.pid) == {first}


@requires("cpuset-controller")
def test_a_controller_can_be_needed_later(make: Make) -> None:
    """On cgroup2 an update switches it on first."""
    manager = make()
    first = min(os.sched_getaffinity(0))
    with process("sleep", "60") as child:
        manager.join(child.pid)
        manager.apply(Resources(cpu=Cpu(cpus=str(first))), update=True)
        eventually(lambda: os.sched_getaffinity(child.pid) == {first})


@requires("pids-controller")
def test_no_more_processes_than_allowed(make: Make) -> None:
    """The next fork fails."""
    manager = make(Resources(pids=Pids(limit=3)))
    with process("sh", "-c", "sleep 5 & sleep 5 & sleep 5 & sleep 5 & wait") as child:
        manager.join(child.pid)
        go(child)
        assert child.stderr is not None
        assert b"fork" in child.stderr.readline()
        manager.kill()


@requires("cgroup-v1", "devices-controller")
def test_v1_device_rules_hold(make: Make) -> None:
    """All is denied, /dev/null allowed again."""
    manager = make(
        Resources(
            devices=(
                DeviceRule(allow=False),
                DeviceRule(allow=True, type="c", major=1, minor=3, access="rwm"),
            )
        )
    )
    with process("sh", "-c", "cat /dev/null && head -c1 /dev/zero") as child:
        manager.join(child.pid)
        go(child)
        _, complaint = child.communicate(timeout=60)
        assert b"/dev/zero" in complaint
        assert b"not permitted" in complaint
        assert b"/dev/null" not in complaint


def test_errors_name_file_and_value(make: Make) -> None:
    """A memory node that does not exist: the kernel's reason, the file and what was to be in it."""
    if not discover().find("cpuset"):
        pytest.skip("needs the cpuset controller")
    with pytest.raises(OperationFailed, match=r"cannot set cpuset\.cpus of cgroup /.* to 99999: ") as caught:
        make(Resources(cpu=Cpu(cpus="99999")))
    assert caught.value.errno in (errno.EINVAL, errno.ERANGE, errno.EACCES)


ALLOCATE = "import sys, time; held = bytearray(int(sys.argv[1])); print('held', flush=True); time.sleep(60)"


@requires("cgroup-v1", "memory-controller")
def test_v1_cannot_take_memory_that_is_in_use(make: Make) -> None:
    """The error says how much is in use."""
    manager = make(Resources(memory=Memory(limit=128 * MIB)))
    with process(sys.executable, "-c", ALLOCATE, str(48 * MIB)) as child:
        manager.join(child.pid)
        go(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(OperationFailed, match=r"device or resource busy \(its processes use \d+ bytes\)"):
            manager.apply(Resources(memory=Memory(limit=4 * MIB)), update=True)


# Freezing and killing ---------------------------------------------------------------------------------------


def state_of(pid: int) -> str:
    """The letter that proc_pid_stat(5) gives."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_frozen_processes_do_not_run(make: Make, hierarchies: Hierarchies) -> None:
    """A process that counts stops counting, goes on after the thaw, and dies of SIGKILL while frozen."""
    manager = make(hierarchies=hierarchies)
    counting = (
        "import itertools, time\nfor n in itertools.count():\n  print(n, flush=True); time.sleep(0.001)"
    )
    with process(sys.executable, "-c", counting) as child:
        manager.join(child.pid)
        go(child)
        assert child.stdout is not None
        counted = child.stdout.fileno()
        assert os.read(counted, 65536)
        manager.freeze()
        assert manager.freeze_state() == "frozen"
        os.set_blocking(counted, False)
        with contextlib.suppress(BlockingIOError):
            while os.read(counted, 65536):  # what it said before
                pass
        time.sleep(0.05)
        with pytest.raises(BlockingIOError):
            os.read(counted, 65536)
        manager.thaw()
        assert manager.freeze_state() == "thawed"
        os.set_blocking(counted, True)
        assert os.read(counted, 65536)
        manager.freeze()
        manager.kill()
        assert child.wait(60) == -signal.SIGKILL


FORKING = """
import os, random, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who has ended takes no place
while True:
    try:
        os.fork()
    except BlockingIOError:  # there is no place: some make room for others
        time.sleep(0.002)
        if random.random() < 0.2:
            os._exit(0)
"""


@requires("pids-controller")
def test_no_fork_escapes_the_killing(make: Make) -> None:
    """Processes that fork without end: all are gone, and the cgroup with them."""
    manager = make(Resources(pids=Pids(limit=60)))
    with process(sys.executable, "-IS", "-c", FORKING) as child:
        manager.join(child.pid)
        go(child)
        eventually(lambda: len(manager.procs()) > 20)
        manager.kill()
        assert manager.procs() == []


def test_other_signals_reach_every_process(make: Make, hierarchies: Hierarchies) -> None:
    """As kill --all wants it."""
    manager = make(hierarchies=hierarchies)
    with process("sleep", "60") as one, process("sleep", "61") as two:
        manager.join(one.pid)
        manager.join(two.pid)
        manager.kill(signal.SIGTERM)
        assert (one.wait(60), two.wait(60)) == (-signal.SIGTERM, -signal.SIGTERM)


# Memory -----------------------------------------------------------------------------------------------------


@requires("memory-controller")
def test_a_lack_of_memory_is_told_and_counted(make: Make) -> None:
    """The kernel kills the process that asks for too much; the subscription says so, and then ends."""
    manager = make(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    assert oom_kills(manager.state) == 0
    with (
        oom_events(manager.state) as events,
        process(sys.executable, "-c", ALLOCATE, str(200 * MIB)) as child,
    ):
        manager.join(child.pid)
        go(child)
        assert events.wait(60) is not None
        assert child.wait(60) == -signal.SIGKILL
        eventually(lambda: oom_kills(manager.state) == 1)
        assert manager.stats().memory.events["oom_kill"] == 1
        manager.remove()
        while events.wait(60) is not None:
            pass
        assert events.ended


@requires("cgroup-v1", "memory-controller")
def test_a_lack_of_memory_is_told_when_the_cgroup_is_gone(make: Make) -> None:
    """Who looks so late that the cgroup has been removed meanwhile learns of it all the same."""
    manager = make(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    with oom_events(manager.state) as events:
        with process(sys.executable, "-c", ALLOCATE, str(200 * MIB)) as child:
            manager.join(child.pid)
            go(child)
            assert child.wait(60) == -signal.SIGKILL
        manager.remove()
        eventually(lambda: notices_waiting() > 1)  # the kernel tells of a removal some time after it
        assert events.wait(60) is not None
        assert events.wait(60) is None
        assert events.ended


def notices_waiting() -> int:
    """The most that an eventfd of ours has counted and nobody has taken.  Source: proc_pid_fdinfo(5)."""
    counts = [0]
    for name in os.listdir("/proc/self/fdinfo"):
        with contextlib.suppress(FileNotFoundError):
            lines = Path("/proc/self/fdinfo", name).read_text().splitlines()
            counts += [int(line.split()[1], 16) for line in lines if line.startswith("eventfd-count:")]
    return max(counts)


@requires("cgroup-v1", "memory-controller")
def test_the_end_of_a_cgroup_is_no_lack_of_memory(make: Make) -> None:
    """A subscription ends without an event where there was none."""
    manager = make()
    with oom_events(manager.state) as events:
        manager.remove()
        assert events.wait(60) is None
        assert events.ended


@requires("memory-controller")
def test_a_subscription_can_be_closed_while_somebody_waits(make: Make) -> None:
    """The iteration ends; nothing is left open."""
    before = set(os.listdir("/proc/self/fd"))
    manager = make()
    for moment in range(100):  # some before the other one waits, and some when it does
        events = oom_events(manager.state)
        waiter = threading.Thread(target=list, args=(events,))
        waiter.start()
        if moment % 2:
            eventually(lambda: events._waiting)  # noqa: B023 - it is called here and now
        events.close()
        waiter.join(60)
        assert not waiter.is_alive()
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


def test_a_cgroup_without_a_memory_controller_tells_nothing() -> None:
    """Said before anyone waits for nothing."""
    with pytest.raises(Unsupported, match="no memory controller"):
        oom_events(CgroupState(driver="disabled"))


# The other drivers ------------------------------------------------------------------------------------------


def test_disabled_means_that_nothing_is_touched() -> None:
    """No directories, no processes, a warning for limits; device rules are not worth one."""
    manager = new_cgroups("disabled", "/anything", "x", discover())
    manager.create(Resources(pids=Pids(limit=3)))
    assert manager.apply(Resources(devices=(DeviceRule(allow=False),))) == []
    assert len(manager.apply(Resources(pids=Pids(limit=3)))) == 1
    manager.kill()
    manager.remove()
    assert load_cgroups(manager.state).procs() == []


def test_an_unknown_driver_is_refused() -> None:
    """With the names of those there are."""
    with pytest.raises(InvalidInput, match="none of cgroupfs, systemd, disabled"):
        new_cgroups("magic", "", "x", discover())
