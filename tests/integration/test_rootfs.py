"""The root file system: what is found in it, how it becomes the root, and that nothing of it stays."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import IDMapping, User
from pierhead.runtime import Mount, ProcessSpec, Stdio, host_rootfs, run
from pierhead.runtime.config import DEFAULT_MOUNTS
from tests.support.bundles import make_rootfs
from tests.support.containers import Containers, Finished, namespaces, read_to_end
from tests.support.requires import requires

pytestmark = requires("root")


def mounts_of(text: str) -> dict[str, tuple[str, set[str]]]:
    """Type and options by mount point, of a text like /proc/mounts."""
    fields = [line.split(" ") for line in text.splitlines()]
    return {field[1]: (field[2], set(field[3].split(","))) for field in fields}


# What is there


def test_the_usual_mounts(containers: Containers) -> None:
    """proc, sysfs, tmpfs on /dev, devpts, shm, mqueue and cgroup, with Docker's options."""
    found = mounts_of(containers.run("cat /proc/mounts").output)
    assert {
        path: found[path][0] for path in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys")
    } == {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert {"nosuid", "nodev", "noexec"} <= found["/proc"][1]
    assert {"ro", "nosuid", "nodev", "noexec"} <= found["/sys"][1]
    assert {"nosuid", "mode=755", "size=65536k"} <= found["/dev"][1]
    assert {"mode=620", "ptmxmode=666", "gid=5"} <= found["/dev/pts"][1]
    assert "/sys/fs/cgroup" in found
    assert "ro" in found["/sys/fs/cgroup"][1]


@pytest.mark.parametrize(
    ("name", "kind", "number"),
    [
        ("null", "character special file", "1:3"),
        ("zero", "character special file", "1:5"),
        ("full", "character special file", "1:7"),
        ("random", "character special file", "1:8"),
        ("urandom", "character special file", "1:9"),
        ("tty", "character special file", "5:0"),
    ],
)
def test_default_nodes(containers: Containers, name: str, kind: str, number: str) -> None:
    """Every container has them, readable and writable by everybody."""
    said = containers.run(f"stat -c '%F %t:%T %a %u:%g' /dev/{name}").output
    major, minor = number.split(":")
    assert said == f"{kind} {int(major):x}:{int(minor):x} 666 0:0\n"


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ],
)
def test_default_links(containers: Containers, name: str, target: str) -> None:
    """The links in /dev."""
    assert containers.run(f"readlink /dev/{name}").output == f"{target}\n"


def test_no_console_without_a_terminal(containers: Containers) -> None:
    """/dev/console is only there with a terminal."""
    assert containers.run("test -e /dev/console || echo none").output == "none\n"


def test_null_streams_are_the_containers_own(containers: Containers) -> None:
    """A null device given as a stream is opened again inside: no descriptor of the host's /dev stays."""
    container = containers.running()
    inside = {os.stat(f"/proc/{container.init_pid}/fd/{fd}").st_dev for fd in range(3)}
    assert inside == {os.stat(f"/proc/{container.init_pid}/root/dev/null").st_dev}
    assert inside != {os.stat("/dev/null").st_dev}


def test_dev_of_the_callers_own(containers: Containers, tmp_path: Path) -> None:
    """Where /dev is bound from the host, nothing is put into it."""
    (tmp_path / "dev").mkdir()
    mounts = (DEFAULT_MOUNTS[0], Mount(destination="/dev", source=str(tmp_path / "dev"), options=("rbind",)))
    assert containers.run("ls -a /dev", mounts=mounts).words == [".", ".."]


# The change of root


@pytest.mark.parametrize("how", ["pivot", "pivot_dir", "no_pivot_root"])
def test_each_way_to_the_new_root(containers: Containers, how: str) -> None:
    """The container sees its own files alone, by whichever way its root became the root."""
    rootfs = containers.own_rootfs()
    (rootfs / "mark").write_text("mine")
    ways: dict[str, dict[str, Any]] = {
        "pivot": {},
        "pivot_dir": {"pivot_dir": ".old"},
        "no_pivot_root": {"no_pivot_root": True},
    }
    said = containers.run(
        "cat /mark; echo; ls -a / | sort | tr '\\n' ' '; echo; ls /.old 2>/dev/null; pwd",
        rootfs=str(rootfs),
        **ways[how],
    )
    assert said.lines[0] == "mine"
    assert "pytest" not in said.output
    assert said.lines[-1] == "/"
    assert not (rootfs / ".old").exists()


@pytest.mark.parametrize("how", ["pivot", "pivot_dir"])
def test_the_hosts_tree_is_not_mounted(containers: Containers, how: str) -> None:
    """After the pivot the host's mounts are not hidden but gone."""
    rootfs = containers.own_rootfs()
    changes: dict[str, Any] = {"pivot_dir": ".old"} if how == "pivot_dir" else {}
    found = containers.run("cat /proc/self/mountinfo", rootfs=str(rootfs), **changes).lines
    points = [line.split(" ")[4] for line in found]
    assert min(points) == "/"
    assert points.count("/") == 1
    assert not [point for point in points if point.startswith(("/.old", "/tmp", "/home"))]


@pytest.mark.parametrize("name", ["../x", "/mnt/x", "a/b"])
def test_a_pivot_dir_is_one_directory(containers: Containers, name: str) -> None:
    """What would lead out, or leave the way to it behind, is refused."""
    with pytest.raises(InvalidInput, match="pivot_dir"):
        containers.create("true", pivot_dir=name)


def test_a_copy_on_write_view_of_a_root_with_a_long_path(containers: Containers) -> None:
    """A path that is longer than an option of a mount may be leads to a root as good as any."""
    rootfs = containers.directory() / ("d,i:r\\" * 20) / ("x" * 150) / "rootfs"
    shutil.copytree(containers.own_rootfs(), rootfs, symlinks=True)
    (rootfs / "mark").write_text("mine")
    said = containers.run(
        "cat /mark; echo changed > /mark; cat /mark", rootfs=str(rootfs), copy_on_write=True
    )
    assert said.output == "minechanged\n"
    assert (rootfs / "mark").read_text() == "mine"


def test_a_readonly_root(containers: Containers) -> None:
    """Nothing can be written to the root; mounts on it keep their mode."""
    said = containers.run("touch /x 2>&1; touch /dev/shm/y && echo fine; touch /root/z 2>&1", readonlyfs=True)
    assert said.lines == [
        "touch: /x: Read-only file system",
        "fine",
        "touch: /root/z: Read-only file system",
    ]


def test_the_root_is_writable_otherwise(containers: Containers) -> None:
    """What is written is in the directory on the host."""
    rootfs = containers.own_rootfs()
    assert containers.run("echo hello > /made", rootfs=str(rootfs)).status.code == 0
    assert (rootfs / "made").read_text() == "hello\n"


def test_a_rootfs_by_a_symbolic_link(containers: Containers, tmp_path: Path) -> None:
    """The path may be a link, may end with a slash, may have blanks and colons."""
    odd = tmp_path / "a b:c,d\\e"
    odd.symlink_to(containers.rootfs)
    assert containers.run("echo in", rootfs=f"{odd}/").output == "in\n"


@pytest.mark.parametrize("name", ["plain", "a b:c,d\\e"])
def test_copy_on_write(containers: Containers, tmp_path: Path, name: str) -> None:
    """Changes are seen inside, and not in the directory; odd names are no obstacle."""
    rootfs = containers.own_rootfs()
    odd = rootfs.with_name(name)
    rootfs.rename(odd)
    before = sorted(path.name for path in odd.rglob("*"))
    script = "echo new > /etc/passwd; rm /etc/group; mkdir /added; touch /added/x; cat /etc/passwd; ls / /etc"
    said = containers.run(script, rootfs=str(odd), copy_on_write=True)
    assert said.lines[0] == "new"
    assert "added" in said.words
    assert "group" not in said.words
    assert sorted(path.name for path in odd.rglob("*")) == before
    assert "app" in (odd / "etc/passwd").read_text()


def test_two_copies_on_write_know_nothing_of_each_other(containers: Containers) -> None:
    """Each has its own upper layer."""
    first = containers.running(copy_on_write=True)
    second = containers.running(copy_on_write=True)
    containers.exec(first, "touch /only-first")
    assert containers.exec(second, "ls /only-first 2>&1").status.code == 1
    assert containers.exec(first, "ls /only-first").status.code == 0


@pytest.mark.parametrize("readonlyfs", [False, True])
def test_copy_on_write_with_readonly(containers: Containers, *, readonlyfs: bool) -> None:
    """A read-only view of a copy-on-write root stays read-only."""
    said = containers.run("touch /x 2>/dev/null; echo $?", copy_on_write=True, readonlyfs=readonlyfs)
    assert said.output == ("1\n" if readonlyfs else "0\n")


def test_nothing_of_a_container_stays_mounted(containers: Containers) -> None:
    """Neither while it runs nor afterwards does the host's mount table change."""
    before = Path("/proc/self/mountinfo").read_text()
    container = containers.running(copy_on_write=True)
    assert Path("/proc/self/mountinfo").read_text() == before
    container.delete(force=True)
    assert Path("/proc/self/mountinfo").read_text() == before


# Masks


def test_masked_paths_read_as_empty(containers: Containers) -> None:
    """A file reads as empty, a directory is empty; a path that is not there is passed over."""
    rootfs = containers.own_rootfs()
    (rootfs / "secret").mkdir()
    (rootfs / "secret/file").write_text("x")
    (rootfs / "key").write_text("x")
    masked = ("/secret", "/key", "/not-there", "/not-there/either", "/key/below")
    said = containers.run(
        "ls /secret | wc -l; wc -c < /key; touch /secret/a 2>&1; ls -l /key",
        rootfs=str(rootfs),
        mask_paths=masked,
    )
    assert said.lines[:2] == ["0", "0"]
    assert "Read-only file system" in said.lines[2]
    assert (rootfs / "key").read_text() == "x"
    assert (rootfs / "secret/file").read_text() == "x"


def test_masks_of_proc(containers: Containers) -> None:
    """Docker's list: the machine's memory, keys and timers are not to be read."""
    there = [path for path in ("/proc/kcore", "/proc/keys", "/proc/timer_list") if os.path.exists(path)]
    assert there
    said = containers.run(f"for f in {' '.join(there)}; do wc -c < $f; done; ls /sys/firmware")
    assert said.words == ["0"] * len(there)


def test_readonly_paths_cannot_be_written(containers: Containers) -> None:
    """Also below; the rest of the root can."""
    rootfs = containers.own_rootfs()
    (rootfs / "held/inner").mkdir(parents=True)
    paths = ("/held", "/etc/passwd", "/not-there")
    script = "for f in /held/a /held/inner/b /etc/passwd /free; do (echo x > $f) 2>/dev/null && echo $f; done"
    assert containers.run(script, rootfs=str(rootfs), readonly_paths=paths).words == ["/free"]


def test_readonly_paths_hold_for_the_mounts_below(containers: Containers) -> None:
    """A mount under a read-only path is read-only too."""
    mounts = (*DEFAULT_MOUNTS, Mount(destination="/tmp/in", type="tmpfs", source="tmpfs"))
    rootfs = containers.own_rootfs()
    said = containers.run(
        "touch /tmp/in/x 2>&1; echo $?", rootfs=str(rootfs), mounts=mounts, readonly_paths=("/tmp",)
    )
    assert said.lines[-1] == "1"


def test_proc_sys_is_readonly(containers: Containers) -> None:
    """Docker's list again: root in the container changes nothing of the kernel."""
    said = containers.run("echo 1 > /proc/sys/kernel/core_uses_pid; echo b > /proc/sysrq-trigger")
    assert said.output.count("Read-only file system") == (2 if os.path.exists("/proc/sysrq-trigger") else 1)


# The host as an image


def run_on_host_root(containers: Containers, script: str, **changes: object) -> Finished:
    """What a shell says whose root is a view of the host."""
    reader, writer = os.pipe()
    config = host_rootfs().replace(process=ProcessSpec(args=("/bin/sh", "-c", script)), **changes)
    container = run(
        containers.root, containers.id(), config, stdio=Stdio(input=None, output=writer, error=writer)
    )
    os.close(writer)
    output = read_to_end(reader)
    status = container.wait(60)
    container.delete()
    return Finished(output, status)


def test_the_hosts_programs_run_in_a_sandbox(containers: Containers) -> None:
    """Programs are the host's; name, processes and /tmp are its own."""
    said = run_on_host_root(containers, "cat /proc/sys/kernel/hostname; echo $$; ls -A /tmp /run | grep -v :")
    assert said.lines[:2] == ["sandbox", "1"]
    assert said.words[2:] == []


def test_the_hosts_secrets_are_hidden(containers: Containers) -> None:
    """Shadow files read as empty; homes are empty."""
    script = (
        "wc -c < /etc/shadow; ls -A /root /home /var/log | grep -v :; cat /etc/ssh/*key 2>/dev/null | wc -c"
    )
    said = run_on_host_root(containers, script)
    assert said.words == ["0", "0"]


def test_nothing_written_reaches_the_host(containers: Containers) -> None:
    """Files of the host can be changed and deleted inside, and are the same outside."""
    before = Path("/etc/passwd").read_bytes()
    script = "echo x >> /etc/passwd && rm /etc/group; touch /usr/pierhead-test && tail -n1 /etc/passwd"
    assert run_on_host_root(containers, script).output.splitlines()[-1] == "x"
    assert Path("/etc/passwd").read_bytes() == before
    assert Path("/etc/group").exists()
    assert not Path("/usr/pierhead-test").exists()


def test_devices_of_the_host_are_not_there(containers: Containers) -> None:
    """The sandbox has a /dev of its own: no disk."""
    said = run_on_host_root(containers, "ls /dev")
    assert set(said.words) == {
        *("core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
        *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
    } - ({"core"} if "core" not in said.words else set())


def test_further_paths_can_be_hidden(containers: Containers) -> None:
    """What the caller names is hidden too."""
    config = host_rootfs(hidden=("/usr/share",))
    assert "/usr/share" in config.mask_paths
    assert run_on_host_root(containers, "ls /usr/share", mask_paths=config.mask_paths).output == ""


def test_the_host_root_for_an_ordinary_user(containers: Containers) -> None:
    """An unprivileged user inside writes where everybody may."""
    reader, writer = os.pipe()
    spec = ProcessSpec(
        args=("/bin/sh", "-c", "id -u; touch /tmp/x && echo fine; touch /etc/x"), user=User(uid=1234)
    )
    config = host_rootfs().replace(process=spec)
    container = run(
        containers.root, containers.id(), config, stdio=Stdio(input=None, output=writer, error=writer)
    )
    os.close(writer)
    said = read_to_end(reader).splitlines()
    container.wait(60)
    assert said[:2] == ["1234", "fine"]
    assert "denied" in said[2]


def test_a_root_in_a_user_namespace_may_be_out_of_its_reach(containers: Containers, tmp_path: Path) -> None:
    """The launcher opens the rootfs: the directories above it need not let the mapped root in."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    rootfs = make_rootfs(closed / "rootfs")
    kinds = namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user")
    box = containers.run(
        "echo in", rootfs=str(rootfs), namespaces=kinds, uid_mappings=maps, gid_mappings=maps
    )
    assert box.output == "in\n"


@pytest.mark.parametrize("readonly", [False, True])
def test_a_missing_working_directory_is_made(containers: Containers, *, readonly: bool) -> None:
    """It is made while the root can be written to, with its parents; then the root becomes read-only."""
    rootfs = containers.own_rootfs()
    said = containers.run(
        "pwd; touch /x 2>/dev/null; echo $?",
        process={"cwd": "/not/there"},
        rootfs=str(rootfs),
        readonlyfs=readonly,
    )
    assert said.words == ["/not/there", str(int(readonly))]
    assert (rootfs / "not/there").stat().st_mode & 0o7777 == 0o755
