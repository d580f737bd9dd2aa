"""What a container's process is given by way of rights: no more than the configuration says, in create and
in exec.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Capabilities, IDMapping, User
from pierhead.runtime import ProcessSpec, Stdio
from pierhead.runtime.config import DEFAULT_MOUNTS, SECCOMP_UNCONFINED
from tests.support.containers import namespaces, read_to_end, wait_until
from tests.support.probe import PROBE, look, make_probe_rootfs, read_sight
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.containers import Containers

pytestmark = requires("root")

DOCKER_MASK = 0xA80425FB
OWN_USER: dict[str, Any] = {
    "namespaces": namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user"),
    "uid_mappings": (IDMapping(container_id=0, host_id=100000, size=65536),),
    "gid_mappings": (IDMapping(container_id=0, host_id=100000, size=65536),),
}

# What the default filter refuses although the process is root, by what it answers.
REFUSED = {
    errno.EPERM: [
        "mount",
        "umount",
        "remount",
        "pivot_root",
        "unshare_user",
        "unshare_mount",
        "unshare_cgroup",
        "setns",
        "clone_user",
        "keyctl",
        "add_key",
        "request_key",
        "bpf",
        "perf",
        "userfaultfd",
        "io_uring",
        "open_by_handle",
        "kexec",
        "init_module",
        "delete_module",
        "reboot",
        "settime",
        "syslog",
        "acct",
        "swapon",
        "quotactl",
        "vsock",
        "alg",
        "fsopen",
        "open_tree",
        "move_mount",
        "mount_setattr",
        "sethostname",
    ],
    errno.ENOSYS: ["clone3", "no_such_call"],
}
ALLOWED = ("chroot", "setgroups", "mknod", "ptrace")


@pytest.mark.parametrize(
    ("number", "call"), [(number, call) for number in REFUSED for call in REFUSED[number]]
)
def test_the_default_filter_refuses(
    containers: Containers, probe_rootfs: Path, number: int, call: str
) -> None:
    """The call fails under the default filter, root or not."""
    assert look(containers, f"try={call}", rootfs=probe_rootfs)[f"try={call}"] == {"errno": number}


def test_the_default_filter_allows(containers: Containers, probe_rootfs: Path) -> None:
    """What programs in containers need works: chroot, setgroups, mknod, tracing one's own children."""
    sight = look(containers, *(f"try={call}" for call in ALLOWED), rootfs=probe_rootfs)
    assert {call: sight[f"try={call}"].get("errno") for call in ALLOWED} == dict.fromkeys(ALLOWED)


UNALLOWED = [
    "mount",
    "umount",
    "pivot_root",
    "unshare_mount",
    "setns",
    "reboot",
    "acct",
    "swapon",
    "sethostname",
    "delete_module",
]


def test_without_a_filter_the_kernel_refuses(containers: Containers, probe_rootfs: Path) -> None:
    """Docker's capabilities alone do not allow to mount, join, trace others or change the machine."""
    words = [f"try={call}" for call in UNALLOWED]
    sight = look(containers, *words, rootfs=probe_rootfs, seccomp=SECCOMP_UNCONFINED)
    missing = {errno.EPERM, errno.ENOSYS}  # this kernel may have no modules
    assert [call for call in UNALLOWED if sight[f"try={call}"].get("errno") not in missing] == []


def test_capabilities_are_those_of_the_configuration(containers: Containers, probe_rootfs: Path) -> None:
    """Root has Docker's fourteen and can get no other; nothing is inheritable or ambient (CVE-2022-24769)."""
    want = {
        "effective": DOCKER_MASK,
        "permitted": DOCKER_MASK,
        "bounding": DOCKER_MASK,
        "inheritable": 0,
        "ambient": 0,
    }
    assert look(containers, "caps", rootfs=probe_rootfs)["caps"] == want
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    assert read_sight(containers.exec(container, args=(PROBE, "caps")).output)["caps"] == want


def test_a_user_has_no_capabilities(containers: Containers, probe_rootfs: Path) -> None:
    """Somebody else than root starts with none, in create and in exec, and inherits none (CVE-2022-27650,
    CVE-2022-29162).
    """
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    for sight in (
        look(containers, "caps", rootfs=probe_rootfs, process={"user": "app"}),
        read_sight(containers.exec(container, args=(PROBE, "caps"), user="app").output),
    ):
        assert sight["caps"] == {
            "effective": 0,
            "permitted": 0,
            "inheritable": 0,
            "ambient": 0,
            "bounding": DOCKER_MASK,
        }


def test_exec_is_given_no_more_than_it_asks_for(containers: Containers, probe_rootfs: Path) -> None:
    """Capabilities of an exec are its own; inheritable is empty unless asked for (CVE-2022-29162)."""
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    few = Capabilities(bounding=("CAP_KILL",), effective=("CAP_KILL",), permitted=("CAP_KILL",))
    caps = read_sight(containers.exec(container, args=(PROBE, "caps"), capabilities=few).output)["caps"]
    assert caps == {"effective": 32, "permitted": 32, "inheritable": 0, "ambient": 0, "bounding": 32}
    asked = few.replace(inheritable=("CAP_KILL",))
    caps = read_sight(containers.exec(container, args=(PROBE, "caps"), capabilities=asked).output)["caps"]
    assert caps["inheritable"] == 32


def test_nothing_of_the_launcher_is_inherited(containers: Containers, probe_rootfs: Path) -> None:
    """Groups, environment, session, signals, keyring and death signal are new, whatever the launcher has."""
    import signal

    os.environ["PIERHEAD_TEST_SECRET"] = "x"
    groups = os.getgroups()
    old = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    os.setgroups([4, 29, 4711])
    try:
        words = ("ids", "env", "signals", "security", "umask", "tty")
        container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
        first = look(containers, *words, rootfs=probe_rootfs)
        joined = read_sight(containers.exec(container, args=(PROBE, *words)).output)
    finally:
        os.setgroups(groups)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGUSR1, old)
        del os.environ["PIERHEAD_TEST_SECRET"]
    for sight in (first, joined):
        assert sight["ids"]["groups"] == []
        assert sight["ids"]["session"] == sight["ids"]["pid"]
        assert sorted(entry.partition("=")[0] for entry in sight["env"]["variables"]) == ["HOME", "PATH"]
        assert sight["signals"] == {"blocked": [], "ignored": []}
        assert sight["umask"] == {"umask": 0o022}
        assert sight["tty"]["controlling"] is False
        assert {**sight["security"], "dumpable": 1} == {
            "no_new_privs": 1,
            "seccomp": 2,
            "filters": 1,
            "dumpable": 1,
            "keep_caps": 0,
            "secure_bits": 0,
            "death_signal": 0,
        }


def test_the_callers_terminal_takes_no_input_from_inside(containers: Containers, probe_rootfs: Path) -> None:
    """A process whose streams are the caller's own terminal cannot type into it, nor make it its own."""
    import pty

    master, slave = pty.openpty()
    owner = ["setsid", "--ctty", "sleep", "1000"]
    with subprocess.Popen(owner, stdin=slave, stdout=slave) as shell:
        wait_until("the terminal is somebody's", lambda: tty_of(shell.pid) != 0)
        words = ("try=push_input", "try=take_terminal", "tty")
        reader, writer = os.pipe()
        process: dict[str, Any] = {
            "args": (PROBE, *words),
            "rootfs": str(probe_rootfs),
            "seccomp": SECCOMP_UNCONFINED,
        }
        stdio = Stdio(input=slave, output=writer, error=writer)
        container = containers.start(**process, options={"stdio": stdio})
        os.close(writer)
        sight = read_sight(read_to_end(reader))
        container.wait(60)
        shell.kill()
    os.close(master)
    os.close(slave)
    assert sight["try=push_input"]["errno"] in (errno.EPERM, errno.EIO)
    assert sight["try=take_terminal"]["errno"] == errno.EPERM
    assert sight["tty"]["controlling"] is False


def tty_of(pid: int) -> int:
    """The device number of the process's controlling terminal; 0 for none.  Source: proc_pid_stat(5), 7."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[4])


def test_the_callers_keys_stay_with_the_caller(containers: Containers, probe_rootfs: Path) -> None:
    """The session keyring is the container's own."""
    sight = look(containers, "keyring", rootfs=probe_rootfs, seccomp=SECCOMP_UNCONFINED)
    if sight["keyring"].get("errno") == errno.ENOSYS:
        pytest.skip("needs a kernel with keyrings")
    assert "_ses.pierhead-test" in sight["keyring"]["description"]


JUNK = (
    *("1000junk", "0x0", "+0", "-1", " 0", "0 ", "0\n", "root\0", "1e3", "4294967295", "9" * 5000),
    *("1000:", ":0", ":", "1000:0:0", "1000:junk junk", "1000:4294967295", "../root", "root,app", ""),
    *("\u0660", "\u00b2"),
)


@pytest.mark.parametrize("user", JUNK)
def test_exec_takes_no_junk_for_a_user(containers: Containers, probe_rootfs: Path, user: str) -> None:
    """What is not a name or a number is refused, and not read as the number that it begins with
    (CVE-2026-30892).
    """
    (probe_rootfs / "etc/passwd").write_text("0:x:0:0::/:\n:x:0:0::/:\n1000junk :x:0:0::/:\n")
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    with pytest.raises(InvalidInput):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), process={"user": user})
    with pytest.raises(InvalidInput):
        container.exec(ProcessSpec(args=(PROBE,), user=user), stdio=Stdio.null())


def test_root_of_a_user_namespace_is_nobody_outside(containers: Containers, probe_rootfs: Path) -> None:
    """Root inside is the mapped user outside: it may neither change the host's device nodes that are bound
    for it, nor any file of root's.
    """
    (probe_rootfs / "secret").write_text("root's")
    (probe_rootfs / "secret").chmod(0o600)
    sight = look(
        containers,
        "ids", "caps", "chmod=/dev/null=666", "chown=/dev/zero=0", "read=/secret", "chmod=/proc/keys=666",
        rootfs=probe_rootfs, **OWN_USER,
    )  # fmt: skip
    assert sight["ids"]["uids"] == [0, 0, 0]
    assert sight["ids"]["uid_map"].split() == ["0", "100000", "65536"]
    assert sight["read=/secret"]["errno"] == errno.EACCES
    assert {sight[word]["errno"] for word in ("chmod=/dev/null=666", "chown=/dev/zero=0")} <= {
        errno.EPERM,
        errno.EROFS,
    }
    assert sight["chmod=/proc/keys=666"]["errno"] in (errno.EPERM, errno.EROFS, errno.ENOENT)


def test_device_nodes_of_the_host_cannot_be_changed_by_a_root_that_is_root(
    containers: Containers, probe_rootfs: Path
) -> None:
    """A user namespace that maps root to root has the host's nodes bound; they are for reading and writing
    only.
    """
    what: dict[str, Any] = {
        **OWN_USER,
        "uid_mappings": (IDMapping(container_id=0, host_id=0, size=65536),),
        "gid_mappings": (IDMapping(container_id=0, host_id=0, size=65536),),
    }
    words = (
        "chmod=/dev/null=666",
        "chown=/dev/null=0",
        "write=/dev/null=x",
        "read=/dev/zero",
        "make=/dev/null=x",
    )
    sight = look(containers, *words, rootfs=probe_rootfs, **what)
    assert sight["chmod=/dev/null=666"] == {"errno": errno.EROFS}
    assert sight["chown=/dev/null=0"] == {"errno": errno.EROFS}
    assert sight["write=/dev/null=x"] == sight["make=/dev/null=x"] == {"result": 1}
    assert sight["read=/dev/zero"]["result"] > 0


ROOTLESS = """
import json, os, sys
from pierhead.oci.runtime import IDMapping
from pierhead.runtime.config import DEFAULT_MOUNTS, Mount
from tests.support.containers import Containers, namespaces
from tests.support.probe import look

rootfs, root, kinds, words = sys.argv[1], sys.argv[2], sys.argv[3].split(), sys.argv[4:]
containers = Containers(root, rootfs)
mounts = tuple(mount.replace(options=tuple(o for o in mount.options if not o.startswith("gid=")))
               for mount in DEFAULT_MOUNTS)
what = dict(
    namespaces=namespaces(*kinds), mounts=mounts,
    uid_mappings=(IDMapping(container_id=0, host_id=os.getuid(), size=1),),
    gid_mappings=(IDMapping(container_id=0, host_id=os.getgid(), size=1),),
)
print(json.dumps(look(containers, *words, rootfs=rootfs, **what)))
containers.close()
"""


def as_user(probe_program: Path, kinds: str, *words: str) -> Any:
    """What the probe sees in a container that an ordinary user makes."""
    with tempfile.TemporaryDirectory(prefix="pierhead-test-") as place:
        rootfs = make_probe_rootfs(f"{place}/rootfs", probe_program)
        for path in (Path(place), *rootfs.rglob("*")):
            os.chown(path, 1000, 1000, follow_symlinks=False)
        return json.loads(run_as_user(str(rootfs), f"{place}/state", kinds, *words))


def run_as_user(*words: str) -> str:
    """What the program above prints as user 1000."""
    command = ["setpriv", "--reuid", "1000", "--regid", "1000", "--groups", "4,29", "--"]
    command += [sys.executable, "-c", ROOTLESS, *words]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_an_unprivileged_user_cannot_drop_groups(probe_program: Path) -> None:
    """A container that an ordinary user makes may not call setgroups: to drop a group could give rights that
    the group was denied (CVE-2014-8989).
    """
    sight = as_user(probe_program, "mount uts ipc pid network user cgroup", "ids", "try=setgroups")
    assert sight["ids"]["setgroups"] == "deny\n"
    assert sight["try=setgroups"] == {"errno": errno.EPERM}
    assert sight["ids"]["uids"] == [0, 0, 0]


@pytest.mark.parametrize("kinds", ["mount uts ipc pid network user", "mount uts ipc pid network user cgroup"])
def test_an_unprivileged_container_cannot_write_the_hosts_cgroups(probe_program: Path, kinds: str) -> None:
    """With or without a cgroup namespace, what it sees of cgroups is read-only (CVE-2023-25809)."""
    sight = as_user(probe_program, kinds, "mounts", "list=/sys/fs/cgroup")
    cgroups = [line.split(" ") for line in sight["mounts"]["lines"] if " - cgroup" in line]
    if "cgroup" not in kinds:
        assert cgroups
    assert all("ro" in fields[5].split(",") for fields in cgroups)


def test_cgroups_are_read_only_without_a_namespace_for_them(
    containers: Containers, probe_rootfs: Path
) -> None:
    """Where the container has the host's cgroup namespace, even a configuration that wants /sys/fs/cgroup
    writable gets it read-only, and sees its own part alone (CVE-2023-25809).
    """
    mounts = tuple(
        mount.replace(options=tuple(option for option in mount.options if option != "ro"))
        if mount.type == "cgroup"
        else mount
        for mount in DEFAULT_MOUNTS
    )
    kinds = namespaces("mount", "uts", "ipc", "pid", "network")
    sight = look(containers, "mounts", "try=remount", rootfs=probe_rootfs, mounts=mounts, namespaces=kinds)
    cgroups = [line.split(" ") for line in sight["mounts"]["lines"] if " - cgroup" in line]
    assert cgroups
    for fields in cgroups:
        assert "ro" in fields[5].split(",")
        assert "pierhead-test" in fields[3]


def test_ids_that_are_not_mapped_are_refused(containers: Containers, probe_rootfs: Path) -> None:
    """A user or group that the namespace does not have is an error before anything is made."""
    with pytest.raises(InvalidInput, match="not mapped"):
        containers.start(
            args=(PROBE,), rootfs=str(probe_rootfs), process={"user": User(uid=70000)}, **OWN_USER
        )
