"""Ways from a container to the host's files and cgroups: the old root, open descriptors, the working
directory, paths with "..", the state directory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, PierheadError
from pierhead.linux.cgroupfs import discover, inherit_cpuset, procs
from pierhead.runtime import ProcessSpec, Stdio, create
from pierhead.runtime.config import DEFAULT_MOUNTS, Mount
from tests.support.attacks import exchanging
from tests.support.containers import Containers, wait_until
from tests.support.probe import PROBE, look, read_sight
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root")

AS_NOBODY = ("setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups")
OWN_MOUNTS = ("/", "/proc", "/dev", "/sys")


def foreign_mounts(sight: dict[str, dict[str, list[str]]]) -> list[str]:
    """Mounts in the container that the standard configuration does not make."""
    points = [line.split(" ")[4] for line in sight["mounts"]["lines"]]
    return [
        point
        for point in points
        if point not in OWN_MOUNTS and not point.startswith(("/proc/", "/dev/", "/sys/"))
    ]


WAYS: dict[str, dict[str, Any]] = {
    "pivot": {},
    "pivot with a directory": {"pivot_dir": "old"},
    "without pivot": {"no_pivot_root": True},
}


@pytest.mark.parametrize("how", WAYS)
def test_the_old_root_is_out_of_reach(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, how: str
) -> None:
    """Root with CAP_SYS_CHROOT climbs up from every open directory and out of a chroot, and finds nothing
    of the host.
    """
    mark = tmp_path / "mark"
    mark.write_text("host")
    options: dict[str, Any] = WAYS[how]
    word = f"leave={mark}"
    sight = look(containers, "mounts", word, rootfs=probe_rootfs, **options)
    assert sight[word] == {"chroot": 0, "back": 0, "out": False}
    if how != "without pivot":
        assert foreign_mounts(sight) == []
    assert not (probe_rootfs / "old").exists()


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("kind", ["proc", "sysfs"])
def test_no_other_procfs_without_the_masks(containers: Containers, how: str, kind: str) -> None:
    """A process that makes a user namespace of its own, where it may mount, is refused a new procfs or
    sysfs, in which nothing would be masked: the kernel finds no whole one in its sight.
    """
    words = f"mount -t tmpfs none /tmp && echo may && mount -t {kind} none /tmp"
    options: dict[str, Any] = WAYS[how]
    finished = containers.run(
        f"unshare -U -r -m -n -p -f -- sh -c '{words}'",
        rootfs=str(containers.own_rootfs()),
        seccomp="unconfined",
        **options,
    )
    assert finished.lines == ["may", "mount: permission denied (are you root?)"]


@pytest.mark.parametrize("target", ["/etc", "etc", "../..", "/", ".", "proc", "{outside}"])
def test_the_old_root_is_taken_off_where_it_stands(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, target: str
) -> None:
    """Where the image has a link in the place of the directory for the old root, the host's tree does not
    stay mounted somewhere else, nor is something else taken off.
    """
    (probe_rootfs / "old").symlink_to(target.format(outside=tmp_path))
    try:
        sight = look(containers, "mounts", rootfs=probe_rootfs, pivot_dir="old")
    except PierheadError as error:
        assert "pivot_root" in str(error)  # noqa: PT017 - to refuse is one of two good answers
    else:
        assert foreign_mounts(sight) == []
        assert "/proc" in [line.split(" ")[4] for line in sight["mounts"]["lines"]]


def test_the_old_root_while_its_directory_is_exchanged(
    containers: Containers, probe_rootfs: Path, probe_program: Path
) -> None:
    """With the directory for the old root exchanged all the time (by another container of the same root,
    say), the host's tree never stays mounted.
    """
    (probe_rootfs / "old").mkdir()
    (probe_rootfs / "other").mkdir()
    launched = 0
    for _ in range(40):
        with (
            contextlib.suppress(PierheadError),
            exchanging(probe_program, probe_rootfs / "old", probe_rootfs / "other"),
        ):
            assert foreign_mounts(look(containers, "mounts", rootfs=probe_rootfs, pivot_dir="old")) == []
            launched += 1
        for name in ("old", "other"):  # a launch removes the directory that it used
            (probe_rootfs / name).mkdir(exist_ok=True)
    assert launched


SHARED = """
import json, sys
from pathlib import Path
from pierhead.errors import PierheadError
from pierhead.runtime.config import DEFAULT_MOUNTS, Mount
from tests.support.containers import Containers
from tests.support.probe import look

def mounts():
    return sorted(line.split(" ")[4] for line in open("/proc/self/mountinfo"))

rootfs, root, propagation, pivot_dir, volume = sys.argv[1:]
containers = Containers(root, rootfs)
before = mounts()
mount = Mount(destination="/volume", type="bind", source=volume, options=("rbind", "rshared"))
sight = look(containers, "mounts", rootfs=rootfs, rootfs_propagation=propagation, pivot_dir=pivot_dir,
             mounts=(*DEFAULT_MOUNTS, mount))
containers.close()
(line,) = (line for line in sight["mounts"]["lines"] if line.split(" ")[4] == "/volume")
lost = [point for point in before if point not in mounts()]
print(json.dumps({"same": mounts() == before, "lost": lost, "volume": line}))
"""


@pytest.mark.parametrize("propagation", ["", "rshared", "shared", "rslave", "rprivate"])
@pytest.mark.parametrize("pivot_dir", ["", "old"])
def test_taking_the_old_root_off_does_not_reach_a_shared_host(
    probe_rootfs: Path, tmp_path: Path, propagation: str, pivot_dir: str
) -> None:
    """On a host whose mounts are shared, as systemd makes them, a launch with any propagation of the root
    leaves every mount of the host where it is, and a volume that is to be shared stays shared.
    """
    import json

    volume = tmp_path / "volume"
    volume.mkdir()
    script = (
        f'mount --make-rprivate / && mount --bind {volume} {volume} && mount --make-rshared / && exec "$@"'
    )
    words = [probe_rootfs, tmp_path / "state", propagation, pivot_dir, volume]
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, "-c", SHARED, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["lost"] == []
    assert found["same"]
    if propagation in ("", "shared", "rshared"):  # else the configuration says so of all mounts
        assert " shared:" in found["volume"]


@pytest.fixture
def leaked(tmp_path: Path) -> Iterator[int]:
    """A directory of the host, open in this process and inherited by every program that it starts."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(fd, True)
    yield fd
    os.close(fd)


def test_leaked_descriptors_do_not_reach_the_container(
    containers: Containers, probe_rootfs: Path, leaked: int
) -> None:
    """Whatever the launcher has open and inheritable, the program has its three streams and no more
    (CVE-2024-21626).
    """
    sight = look(containers, "fds", rootfs=probe_rootfs)
    assert sight["fds"]["numbers"] == [0, 1, 2]
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    assert read_sight(containers.exec(container, args=(PROBE, "fds")).output)["fds"]["numbers"] == [0, 1, 2]


def test_kept_descriptors_are_the_only_others(
    containers: Containers, probe_rootfs: Path, leaked: int
) -> None:
    """Descriptors that the caller names become 3, 4, … and the rest stays out."""
    reader, writer = os.pipe()
    sight = look(containers, "fds", rootfs=probe_rootfs, options={"preserve_fds": (reader, writer)})
    os.close(reader)
    os.close(writer)
    assert sight["fds"]["numbers"] == [0, 1, 2, 3, 4]


@contextlib.contextmanager
def refusing_directories() -> Iterator[None]:
    """What is launched may be refused for its working directory, and for nothing else."""
    try:
        yield
    except PierheadError as error:
        assert "working directory" in str(error)  # noqa: PT017 - to refuse is one of two good answers


@pytest.mark.parametrize("by", ["name", "link"])
@pytest.mark.parametrize("supervise", [False, True])
def test_no_working_directory_by_an_open_descriptor(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, leaked: int, by: str, *, supervise: bool
) -> None:
    """cwd=/proc/self/fd/N, also behind a link of the image, is refused or inside the root for every N
    (CVE-2024-21626).
    """
    mark = tmp_path / "mark"
    mark.write_text("host")
    link = probe_rootfs / "link"
    running = containers.start(
        args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs), options={"supervise": supervise}
    )
    for number in range(3, 30):
        cwd = f"/proc/self/fd/{number}"
        if by == "link":
            link.unlink(missing_ok=True)
            link.symlink_to(cwd)
            cwd = "/link"
        word = f"leave={mark}"
        with refusing_directories():
            sight = look(containers, "cwd", word, rootfs=probe_rootfs, process={"cwd": cwd})
            assert sight["cwd"]["path"].startswith("/")
            assert not sight[word]["out"]
        with refusing_directories():
            sight = read_sight(containers.exec(running, args=(PROBE, "cwd", word), cwd=cwd).output)
            assert sight["cwd"]["path"].startswith("/")
            assert not sight[word]["out"]


@pytest.mark.parametrize(
    "cwd", ["/proc/1/cwd", "/proc/self/cwd", "/proc/self/root", "/proc/1/root/../..", "/../../.."]
)
def test_no_working_directory_outside(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, cwd: str
) -> None:
    """A working directory by way of another process's, or of "..", is inside the root or refused."""
    mark = tmp_path / "mark"
    mark.write_text("host")
    with refusing_directories():
        sight = look(containers, "cwd", f"leave={mark}", rootfs=probe_rootfs, process={"cwd": cwd})
        assert sight["cwd"]["path"] == "/"
        assert not sight[f"leave={mark}"]["out"]


@pytest.mark.parametrize("path", ["/../x", "..", "a/../../b", "/a/..", "../../../../etc", "a/../a"])
@pytest.mark.parametrize("field", ["cgroup_path", "cgroup_parent"])
def test_no_cgroup_by_way_of_dots(containers: Containers, probe_rootfs: Path, field: str, path: str) -> None:
    """A cgroup path with ".." is refused before anything is made."""
    what: dict[str, Any] = {field: path}
    with pytest.raises(InvalidInput, match=r"'\.\.'"):
        containers.start(args=(PROBE,), rootfs=str(probe_rootfs), **what)


@pytest.mark.parametrize("cgroup", ["..", "../..", "/..", "a/../../..", "./../x", "a/..", "a\nb"])
def test_exec_cannot_leave_the_containers_cgroup(
    containers: Containers, probe_rootfs: Path, cgroup: str
) -> None:
    """Exec into a cgroup by ".." is refused (crun 1.29's escape), and what has no ".." is below the
    container's own.
    """
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    with pytest.raises(InvalidInput):
        container.exec(ProcessSpec(args=(PROBE,)), stdio=Stdio.null(), cgroup=cgroup)


def test_exec_into_an_absolute_cgroup_is_below_the_containers(
    containers: Containers, probe_rootfs: Path
) -> None:
    """A slash at the beginning does not mean the hierarchy's top."""
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    made = [f"{directory}/below" for directory in set(container.cgroup_paths.values())]
    for directory in made:
        os.mkdir(directory)
        if "cpuset" in directory:
            inherit_cpuset(directory)
    if discover().mode == "v2":
        pytest.skip("on cgroup2 a group with processes has none below it that can have some too")
    process = container.exec(ProcessSpec(args=(PROBE, "sleep=0")), stdio=Stdio.null(), cgroup="/below")
    with open(f"/proc/{process.pid}/cgroup") as lines:
        assert all(line.rstrip().endswith("/below") for line in lines)
    process.terminate()
    process.wait(60)


@pytest.mark.parametrize("name", ["system.slice", "init.scope"])
def test_a_cgroup_that_others_use_is_not_taken(containers: Containers, probe_rootfs: Path, name: str) -> None:
    """A container whose cgroup is one that already holds processes is refused: its end would be theirs."""
    tree = next(tree for tree in discover().trees if tree.own_path)
    directory = f"{tree.mountpoint}/pierhead-test-{os.getpid()}-{name}"
    os.mkdir(directory)
    try:
        with subprocess.Popen(["sleep", "1000"]) as other:
            if "cpuset" in tree.controllers:
                inherit_cpuset(directory)
            with open(f"{directory}/cgroup.procs", "w") as file:
                file.write(str(other.pid))
            with pytest.raises(PierheadError, match="is in use: it holds 1 processes"):
                containers.start(
                    args=(PROBE,),
                    rootfs=str(probe_rootfs),
                    cgroup_path=directory.removeprefix(tree.mountpoint),
                )
            assert other.poll() is None
            other.kill()
        wait_until("the cgroup is empty", lambda: not procs(directory))
    finally:
        os.rmdir(directory)


def test_cgroups_too_deep_for_a_path(containers: Containers, probe_rootfs: Path) -> None:
    """A container that may divide its cgroup nests some so deep that no path leads there; it can still be
    paused, killed and removed.
    """
    kinds = {"cgroup": ("nosuid", "nodev", "noexec")}
    mounts = tuple(mount.replace(options=kinds.get(mount.type, mount.options)) for mount in DEFAULT_MOUNTS)
    top = "/sys/fs/cgroup" if discover().mode == "v2" else "/sys/fs/cgroup/freezer"
    reader, writer = os.pipe()
    container = containers.start(
        args=(PROBE, f"nest={top}=60", "sleep=0"),
        rootfs=str(probe_rootfs),
        mounts=mounts,
        options={"stdio": Stdio(input=None, output=writer, error=writer)},
    )
    os.close(writer)
    assert read_sight(os.read(reader, 1000).decode())[f"nest={top}=60"] == {"made": 60}
    os.close(reader)
    assert container.processes() == [container.init_pid]
    container.pause()
    assert container.status == "paused"
    container.resume()
    container.kill(9, all=True)
    container.wait(60)
    container.delete()


def test_other_users_cannot_reach_a_containers_state(
    containers: Containers, probe_rootfs: Path, tmp_path: Path
) -> None:
    """The state file is readable by its owner alone, and only the owner may open the gate or attach."""
    container = create(
        containers.root,
        containers.id(),
        containers.config(args=(PROBE,), rootfs=str(probe_rootfs)),
        stdio=Stdio.kept(str(tmp_path / "log")),
        supervise=True,
    )
    directory = f"{containers.root}/{container.id}"
    for name in os.listdir(directory):
        assert stat.S_IMODE(os.lstat(f"{directory}/{name}").st_mode) & 0o077 == 0, name
    assert stat.S_IMODE(os.stat(directory).st_mode) & 0o066 == 0
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); s.connect(sys.argv[1])"
    )
    for name in ("gate", "attach"):
        command = [*AS_NOBODY, sys.executable, "-c", script, f"{directory}/{name}"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "PermissionError" in result.stderr
    assert container.status == "created"
    container.close()


def test_a_containers_directories_are_not_the_hosts(containers: Containers, probe_rootfs: Path) -> None:
    """The state directory and the helper are not to be found from inside."""
    sight = look(containers, f"list={containers.root}", "processes", "mounts", rootfs=probe_rootfs)
    assert "errno" in sight[f"list={containers.root}"]
    assert [process["comm"] for process in sight["processes"]["processes"]] == ["probe"]
    assert foreign_mounts(sight) == []


def test_volumes_are_the_only_further_mounts(
    containers: Containers, probe_rootfs: Path, tmp_path: Path
) -> None:
    """Nothing but what the configuration says is mounted."""
    (tmp_path / "volume").mkdir()
    mount = Mount(
        destination="/volume", type="bind", source=str(tmp_path / "volume"), options=("rbind", "ro")
    )
    sight = look(containers, "mounts", rootfs=probe_rootfs, mounts=(*DEFAULT_MOUNTS, mount))
    assert foreign_mounts(sight) == ["/volume"]
