"""What a process may do and how the kernel treats it: capabilities, privileges, scheduling, keys, labels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError
from pierhead.oci.numbers import CAPABILITIES
from pierhead.oci.runtime import (
    Capabilities,
    ExecCPUAffinity,
    IDMapping,
    IOPriority,
    MemoryPolicy,
    Personality,
    Scheduler,
    User,
)
from pierhead.runtime import Container, Stdio, load
from pierhead.runtime.config import DEFAULT_CAPABILITIES, DEFAULT_MOUNTS
from tests.support.containers import ENV, SLEEP, Containers, namespaces, status_of, wait_until
from tests.support.probe import PROBE, look, read_sight
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = requires("root")

SETS = {
    "effective": "CapEff",
    "permitted": "CapPrm",
    "inheritable": "CapInh",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
CHOWN, KILL, NET_RAW = "CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"
ALL_CPUS = sorted(os.sched_getaffinity(0))


def status_lines(container: Container, pid: int = 0) -> dict[str, str]:
    """The fields of /proc/PID/status."""
    text = Path(f"/proc/{pid or container.init_pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def names(mask: str) -> set[str]:
    """Capabilities of a hexadecimal mask."""
    return {name for number, name in enumerate(CAPABILITIES) if int(mask, 16) >> number & 1}


def stat_field(pid: int, number: int) -> int:
    """A field of /proc/PID/stat, numbered as in proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[number - 3])


def held(process: Any, **fields: Any) -> Container:
    """A container at its gate has the last of its settings only once it runs: it sleeps."""
    container: Container = process.running(**fields)
    return container


# Capabilities


def test_the_default_set(containers: Containers) -> None:
    """Docker's fourteen, none inheritable, none ambient."""
    found = status_lines(containers.running())
    assert names(found["CapEff"]) == set(DEFAULT_CAPABILITIES.effective)
    assert names(found["CapPrm"]) == set(DEFAULT_CAPABILITIES.permitted)
    assert names(found["CapBnd"]) == set(DEFAULT_CAPABILITIES.bounding)
    assert names(found["CapInh"]) == names(found["CapAmb"]) == set()


@pytest.mark.parametrize("user", [0, 1000])
def test_none_at_all(containers: Containers, user: int) -> None:
    """What is not listed is dropped, from root too."""
    found = status_lines(containers.running(capabilities=Capabilities(), process={"user": User(uid=user)}))
    assert {name: names(found[field]) for name, field in SETS.items()} == {name: set() for name in SETS}


def test_the_five_sets_are_each_their_own(containers: Containers) -> None:
    """Effective, permitted, inheritable, bounding, ambient: as listed, for a user who is not root."""
    chosen = Capabilities(
        bounding=(CHOWN, KILL, NET_RAW, "CAP_SETUID"),
        permitted=(CHOWN, KILL, NET_RAW),
        inheritable=(CHOWN, KILL),
        ambient=(CHOWN,),
        effective=(CHOWN,),
    )
    found = status_lines(containers.running(capabilities=chosen, process={"user": User(uid=1000)}))
    # after execve of an ordinary program, the ambient set is what is left to a user who is not root
    assert names(found["CapBnd"]) == {CHOWN, KILL, NET_RAW, "CAP_SETUID"}
    assert names(found["CapInh"]) == {CHOWN, KILL}
    assert names(found["CapAmb"]) == names(found["CapPrm"]) == names(found["CapEff"]) == {CHOWN}


def test_capabilities_of_a_user_without_ambient(containers: Containers) -> None:
    """A user who is not root has none after execve, as the kernel's rules are."""
    found = status_lines(containers.running(process={"user": User(uid=1000)}))
    assert names(found["CapEff"]) == set()
    assert names(found["CapBnd"]) == set(DEFAULT_CAPABILITIES.bounding)


def test_what_a_capability_is_good_for(containers: Containers) -> None:
    """Files change owners with CAP_CHOWN and not without."""
    with_it = Capabilities(bounding=(CHOWN,), effective=(CHOWN,), permitted=(CHOWN,))
    script = "touch /tmp/x; chown 5 /tmp/x; stat -c %u /tmp/x"
    assert containers.run(script, capabilities=with_it, copy_on_write=True).words[-1] == "5"
    assert containers.run(script, capabilities=Capabilities(), copy_on_write=True).words[-1] == "0"


@pytest.mark.skipif(
    "CAP_SYS_RESOURCE" in names(Path("/proc/self/status").read_text().split("CapBnd:\t")[1][:16]),
    reason="needs a machine that withholds a capability",
)
def test_a_capability_that_we_lack(containers: Containers) -> None:
    """It cannot be given: an error of create, as with runc, and nothing is left."""
    lacking = Capabilities(
        bounding=("CAP_SYS_RESOURCE",), effective=("CAP_SYS_RESOURCE",), permitted=("CAP_SYS_RESOURCE",)
    )
    with pytest.raises(OperationFailed, match="unable to apply caps: operation not permitted"):
        containers.create("true", capabilities=lacking)


def test_a_capability_that_there_is_not(containers: Containers) -> None:
    """Unknown names are passed over with a warning, as the specification asks."""
    odd = Capabilities(bounding=("CAP_NOTHING", CHOWN), effective=(CHOWN,), permitted=(CHOWN,))
    assert names(status_lines(containers.running(capabilities=odd))["CapBnd"]) == {CHOWN}


def test_capabilities_of_exec(containers: Containers) -> None:
    """A further process may have fewer or other ones; without its own, it has the container's."""
    container = containers.running()
    few = Capabilities(bounding=(KILL,), effective=(KILL,), permitted=(KILL,))
    script = "grep CapEff /proc/self/status"
    assert names(containers.exec(container, script, capabilities=few).words[1]) == {KILL}
    assert names(containers.exec(container, script).words[1]) == set(DEFAULT_CAPABILITIES.effective)


# Privileges


@pytest.mark.parametrize("on", [True, False])
def test_no_new_privileges(containers: Containers, *, on: bool) -> None:
    """The kernel's flag is as asked for, in exec too."""
    container = containers.running(no_new_privileges=on)
    assert status_lines(container)["NoNewPrivs"] == str(int(on))
    assert containers.exec(container, "grep NoNewPrivs /proc/self/status").words[1] == str(int(on))
    other = containers.exec(container, "grep NoNewPrivs /proc/self/status", no_new_privileges=not on)
    assert other.words[1] == str(int(not on))


@pytest.mark.parametrize("on", [True, False])
def test_a_set_user_id_program(containers: Containers, probe_rootfs: Path, *, on: bool) -> None:
    """It gains root's rights only where that is allowed."""
    (probe_rootfs / PROBE.lstrip("/")).chmod(0o4755)
    wanted = {"ids": {"uids": [1000, 1000 if on else 0, 1000 if on else 0]}}
    what: dict[str, Any] = {"process": {"user": "app"}, "no_new_privileges": on}
    first = look(containers, "ids", rootfs=probe_rootfs, **what)
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs), **what)
    further = read_sight(containers.exec(container, args=(PROBE, "ids"), user="app").output)
    for sight in (first, further):
        assert {"ids": {"uids": sight["ids"]["uids"]}} == wanted


@pytest.mark.parametrize("dumpable", ["environ", "exe"])
def test_nobody_inside_looks_into_the_launch(containers: Containers, dumpable: str) -> None:
    """While it waits at its gate, the first process is not to be looked into, not even by its own user; its
    program is.
    """
    container = containers.create(args=SLEEP, process={"user": "app"})
    as_its_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]

    def can_look() -> bool:
        words = [*as_its_user, "cat", f"/proc/{container.init_pid}/{dumpable}"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    assert not can_look()
    container.start()
    wait_until("the program is there to be looked at", can_look)


# Scheduling


@pytest.mark.parametrize("score", [0, 500, 1000])
def test_oom_score_adj(containers: Containers, score: int) -> None:
    """The score is in force for the first process and for exec."""
    container = containers.running(oom_score_adj=score)
    assert Path(f"/proc/{container.init_pid}/oom_score_adj").read_text() == f"{score}\n"
    assert containers.exec(container, "cat /proc/self/oom_score_adj").output == f"{score}\n"
    assert containers.exec(container, "cat /proc/self/oom_score_adj", oom_score_adj=777).output == "777\n"


@pytest.mark.parametrize("other", ["time", "network"])
def test_oom_score_adj_beside_id_maps(containers: Containers, other: str) -> None:
    """The score and the maps are both written where a process in between makes the user namespace."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    kinds = namespaces("mount", "uts", "ipc", "pid", "cgroup", "user")
    if other == "time":
        kinds += namespaces("network", "time")
    else:
        kinds += namespaces(network=f"/proc/{containers.running().init_pid}/ns/net")
    mounts = tuple(each for each in DEFAULT_MOUNTS if each.destination.startswith(("/proc", "/dev")))
    container = containers.running(
        oom_score_adj=100, namespaces=kinds, uid_mappings=maps, gid_mappings=maps, mounts=mounts, networks=()
    )
    assert Path(f"/proc/{container.init_pid}/oom_score_adj").read_text() == "100\n"
    assert Path(f"/proc/{container.init_pid}/uid_map").read_text().split() == ["0", "100000", "65536"]


def test_oom_score_adj_of_the_caller(containers: Containers) -> None:
    """Without one it stays the caller's."""
    own = Path("/proc/self/oom_score_adj").read_text()
    assert containers.run("cat /proc/self/oom_score_adj").output == own


@pytest.mark.parametrize("score", [-1001, 1001])
def test_oom_score_adj_out_of_range(containers: Containers, score: int) -> None:
    """It is refused with its path."""
    with pytest.raises(InvalidInput, match="oom_score_adj"):
        containers.create("true", oom_score_adj=score)


@pytest.mark.parametrize(
    ("class_", "priority", "said"),
    [
        ("IOPRIO_CLASS_BE", 3, "best-effort: prio 3"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
    ],
)
def test_io_priority(containers: Containers, class_: str, priority: int, said: str) -> None:
    """Class and level are the kernel's."""
    container = containers.running(io_priority=IOPriority(class_=class_, priority=priority))
    shown = subprocess.run(
        ["ionice", "-p", str(container.init_pid)], capture_output=True, text=True, check=True
    )
    assert said in shown.stdout
    assert said in containers.exec(container, "ionice -p $$").output


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        (Scheduler(policy="SCHED_OTHER", nice=5), 0, 5),
        (Scheduler(policy="SCHED_OTHER", nice=-5), 0, -5),
        (Scheduler(policy="SCHED_BATCH", nice=3), 3, 3),
        (Scheduler(policy="SCHED_IDLE"), 5, None),
    ],
)
def test_scheduler(containers: Containers, scheduler: Scheduler, policy: int, nice: int | None) -> None:
    """Policy and nice value are the kernel's."""
    container = containers.running(scheduler=scheduler)
    assert stat_field(container.init_pid, 41) == policy
    if nice is not None:
        assert stat_field(container.init_pid, 19) == nice


@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_real_time_scheduling(containers: Containers, policy: str) -> None:
    """Where the machine allows it, the priority holds; else the error names the scheduler."""
    scheduler = Scheduler(policy=policy, priority=10)
    try:
        container = containers.running(scheduler=scheduler)
    except OperationFailed as error:
        assert "scheduler" in error.message  # noqa: PT017 - both outcomes are right
        return
    assert stat_field(container.init_pid, 40) == 10


def test_personality(containers: Containers) -> None:
    """LINUX32 makes uname tell of a 32-bit machine."""
    machine = os.uname().machine
    assert containers.run("uname -m", personality=Personality(domain="LINUX")).output == f"{machine}\n"
    said = containers.run("uname -m", personality=Personality(domain="LINUX32")).output
    assert said in ("i686\n", "armv8l\n")


def test_personality_of_exec(containers: Containers) -> None:
    """A further process has the container's."""
    container = containers.running(personality=Personality(domain="LINUX32"))
    assert containers.exec(container, "uname -m").output != f"{os.uname().machine}\n"


@pytest.mark.parametrize("which", [0, -1])
def test_cpu_affinity_of_exec(containers: Containers, which: int) -> None:
    """execCPUAffinity.final is where a further process runs."""
    container = containers.running()
    wanted = str(ALL_CPUS[which])
    affinity = ExecCPUAffinity(initial=wanted, final=wanted)
    said = containers.exec(container, "grep Cpus_allowed_list /proc/self/status", exec_cpu_affinity=affinity)
    assert said.words[1] == wanted
    assert status_lines(container)["Cpus_allowed_list"] != wanted or len(ALL_CPUS) == 1


def test_cpu_affinity_of_the_configuration(containers: Containers) -> None:
    """It is meant for exec, not for the first process."""
    wanted = str(ALL_CPUS[0])
    container = containers.running(exec_cpu_affinity=ExecCPUAffinity(initial=wanted, final=wanted))
    assert containers.exec(container, "grep Cpus_allowed_list /proc/self/status").words[1] == wanted
    assert status_lines(container)["Cpus_allowed_list"] != wanted or len(ALL_CPUS) == 1


@pytest.mark.parametrize("text", ["x", "1-", "3-1", "99999", "-1"])
def test_cpu_lists_that_are_none(containers: Containers, text: str) -> None:
    """They are refused with their path."""
    container = containers.running()
    with pytest.raises(PierheadError, match=r"exec_?[cC][pP][uU]_?[aA]ffinity"):
        containers.exec(container, "true", exec_cpu_affinity=ExecCPUAffinity(initial=text))


def test_cpus_that_the_machine_has_not(containers: Containers) -> None:
    """The kernel refuses them, and the error says what could not be set."""
    container = containers.running()
    with pytest.raises(OperationFailed, match="affinity"):
        containers.exec(container, "true", exec_cpu_affinity=ExecCPUAffinity(final="4000"))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (MemoryPolicy(mode="MPOL_BIND", nodes="0"), "bind:0"),
        (MemoryPolicy(mode="MPOL_PREFERRED", nodes="0"), "prefer:0"),
        (MemoryPolicy(mode="MPOL_INTERLEAVE", nodes="0"), "interleave:0"),
        (MemoryPolicy(mode="MPOL_LOCAL"), "local"),
        (MemoryPolicy(mode="MPOL_BIND", nodes="0", flags=("MPOL_F_STATIC_NODES",)), "bind=static:0"),
    ],
)
def test_memory_policy(containers: Containers, policy: MemoryPolicy, said: str) -> None:
    """The kernel tells the policy of the process's memory; one without NUMA says that it has none."""
    try:
        container = containers.running(memory_policy=policy)
    except OperationFailed as error:
        assert not os.path.exists("/proc/self/numa_maps")
        assert "memory" in error.message.lower()  # noqa: PT017 - both outcomes are right
        return
    assert said in Path(f"/proc/{container.init_pid}/numa_maps").read_text()


# Keys


@pytest.mark.skipif(not os.path.exists("/proc/keys"), reason="needs a kernel with keyrings")
@pytest.mark.parametrize("keep", [False, True])
def test_session_keyring(containers: Containers, *, keep: bool) -> None:
    """A new session keyring named after the container, unless the caller's is asked for."""
    container = containers.running(no_new_keyring=keep, mask_paths=())
    said = containers.exec(container, "cat /proc/keys").output
    assert (f"_ses.{container.id}" in said) == (not keep)


# The parent's death


def test_parent_death_signal(containers: Containers) -> None:
    """The first process gets the signal when the process that launched it ends."""
    script = (
        "import sys\n"
        "from pierhead.runtime import *\n"
        "spec = ProcessSpec(args=('/bin/sleep', '60'))\n"
        "config = Config(rootfs=sys.argv[2], parent_death_signal=9, process=spec)\n"
        "run(sys.argv[1], 'dies', config, stdio=Stdio.null())\n"
        "run(sys.argv[1], 'lives', config.replace(parent_death_signal=0), stdio=Stdio.null())\n"
    )
    command = [sys.executable, "-c", script, containers.root, containers.rootfs]
    subprocess.run(command, check=True, timeout=60)
    dies, lives = load(containers.root, "dies"), load(containers.root, "lives")
    wait_until("the container ends", lambda: status_of(dies) == "stopped")
    assert status_of(lives) == "running"


# Labels that this kernel may not have


@pytest.mark.skipif(os.path.exists("/sys/kernel/security/apparmor"), reason="needs a kernel without AppArmor")
@pytest.mark.parametrize("where", ["create", "exec"])
def test_an_apparmor_profile_without_apparmor(containers: Containers, where: str) -> None:
    """The error names the field."""
    ways: dict[str, Callable[[], object]] = {
        "create": lambda: containers.create("true", apparmor_profile="some-profile"),
        "exec": lambda: containers.exec(containers.running(), "true", apparmor_profile="some-profile"),
    }
    with pytest.raises(PierheadError, match="apparmorProfile some-profile"):
        ways[where]()


@pytest.mark.skipif(os.path.exists("/sys/fs/selinux"), reason="needs a kernel without SELinux")
@pytest.mark.parametrize("where", ["create", "exec", "mount"])
def test_an_selinux_label_without_selinux(containers: Containers, where: str) -> None:
    """The error names the field."""
    label = "system_u:system_r:container_t:s0"
    ways: dict[str, Callable[[], object]] = {
        "create": lambda: containers.create("true", process_label=label),
        "exec": lambda: containers.exec(containers.running(), "true", process_label=label),
        "mount": lambda: containers.create("true", mount_label=label),
    }
    with pytest.raises(PierheadError, match=r"(?i)selinux|context"):
        ways[where]()


def test_the_program_is_what_the_kernel_runs(containers: Containers) -> None:
    """Neither the helper nor anything of Python is left of the launch in the process."""
    container = containers.running()
    assert os.readlink(f"/proc/{container.init_pid}/exe").endswith("/bin/busybox")
    assert Path(f"/proc/{container.init_pid}/cmdline").read_bytes().split(b"\0")[:2] == [
        word.encode() for word in SLEEP
    ]
    environment = Path(f"/proc/{container.init_pid}/environ").read_bytes()
    assert environment.split(b"\0")[:-1] == [ENV[0].encode(), b"HOME=/root"]


def test_signals_are_as_new(containers: Containers) -> None:
    """Nothing that the caller blocks or ignores is blocked or ignored inside."""
    import signal

    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        found = status_lines(containers.start(args=SLEEP, options={"stdio": Stdio.null()}))
    finally:
        signal.signal(signal.SIGPIPE, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert int(found["SigBlk"], 16) == int(found["SigIgn"], 16) == int(found["SigCgt"], 16) == 0
