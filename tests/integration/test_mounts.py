"""Mounts of the configuration: file systems, binds, attributes, propagation, owners that are mapped."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Capabilities, IDMapping
from pierhead.runtime import Mount
from pierhead.runtime.config import DEFAULT_MOUNTS
from tests.support.containers import Containers, namespaces, wait_until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root")

USUAL = ("mount", "uts", "ipc", "pid", "network", "cgroup")
MAPS: dict[str, Any] = {
    "uid_mappings": (IDMapping(container_id=0, host_id=100000, size=65536),),
    "gid_mappings": (IDMapping(container_id=0, host_id=100000, size=65536),),
}


@pytest.fixture
def source(containers: Containers) -> Path:
    """A directory of the host with a file and a directory in it."""
    made = containers.own_rootfs().parent / "source"
    made.mkdir()
    (made / "file").write_text("text")
    (made / "inner").mkdir()
    return made


@contextmanager
def mounted(kind: str, target: Path, *options: str) -> Iterator[Path]:
    """A mount of the host's for the block; whatever was mounted on it too is gone afterwards."""
    subprocess.run(["mount", "-t", kind, *options, kind, str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", str(target)], check=True)


def mount(destination: str, *options: str, **rest: Any) -> Mount:
    """A mount with these options."""
    return Mount(destination=destination, options=options, **rest)


def run_with(containers: Containers, script: str, *mounts: Mount, **rest: Any) -> list[str]:
    """The lines that a script says in a container with these mounts beside the usual ones."""
    options = {"copy_on_write": "rootfs" not in rest, **rest}
    return containers.run(script, mounts=(*DEFAULT_MOUNTS, *mounts), **options).lines


def options_of(line: str) -> set[str]:
    """The mount's own options and its file system's, of a line of mountinfo; and its optional fields."""
    front, _, back = line.partition(" - ")
    return {*front.split(" ")[5].split(","), *front.split(" ")[6:], *back.split(" ")[2].split(",")}


def info(path: str) -> str:
    """A script that prints the line of mountinfo for a mount point: of the topmost mount."""
    return f"awk '$5 == \"{path}\"' /proc/self/mountinfo | tail -n1"


# File systems


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("tmpfs", ("size=64k", "mode=1770", "uid=5", "gid=6"), {"size=64k", "mode=1770", "uid=5", "gid=6"}),
        ("tmpfs", ("ro", "nosuid", "nodev", "noexec"), {"ro", "nosuid", "nodev", "noexec"}),
        ("tmpfs", ("noatime", "nodiratime"), {"noatime", "nodiratime"}),
        ("tmpfs", ("relatime",), {"relatime"}),
        ("tmpfs", ("ro", "rw", "noexec", "exec"), {"rw"}),
        ("tmpfs", ("nosymfollow",), {"nosymfollow"}),
        ("tmpfs", ("nr_inodes=7",), {"nr_inodes=7"}),
        ("tmpfs", ("sync", "dirsync"), {"sync", "dirsync"}),
        ("tmpfs", ("lazytime",), {"lazytime"}),
        ("proc", ("hidepid=2",), {"hidepid=invisible"}),
        ("ramfs", ("mode=700",), {"mode=700"}),
    ],
)
def test_options_of_a_file_system(
    containers: Containers, kind: str, options: tuple[str, ...], expected: set[str]
) -> None:
    """Attributes and the file system's own options hold; of two that exclude each other, the last."""
    (line,) = run_with(containers, info("/at"), mount("/at", *options, type=kind, source=kind))
    assert expected <= options_of(line)


def test_strictatime(containers: Containers) -> None:
    """Access times are written always: shown by neither relatime nor noatime."""
    (line,) = run_with(containers, info("/at"), mount("/at", "strictatime", type="tmpfs", source="x"))
    assert not {"relatime", "noatime"} & options_of(line)


def test_a_tmpfs_keeps_the_mode_of_what_it_covers(containers: Containers) -> None:
    """Without a mode of its own it has the directory's."""
    tmp = mount("/tmp", type="tmpfs", source="tmpfs")
    root = mount("/root", type="tmpfs", source="tmpfs")
    rootfs = containers.own_rootfs()
    (rootfs / "root").chmod(0o750)
    assert run_with(containers, "stat -c %a /tmp /root", tmp, root, rootfs=str(rootfs)) == ["1777", "750"]


def test_a_tmpfs_where_nothing_was(containers: Containers) -> None:
    """It is everybody's, as the kernel makes one; directories on the way to it are not."""
    at = mount("/new/tmp", type="tmpfs", source="tmpfs")
    rootfs = containers.own_rootfs()
    assert run_with(containers, "stat -c %a /new /new/tmp", at, rootfs=str(rootfs)) == ["755", "1777"]


def test_an_overlay(containers: Containers, tmp_path: Path) -> None:
    """Lower and upper layers, as an image's layers are mounted."""
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "lower/low").write_text("low\n")
    options = [f"{name}dir={tmp_path}/{name}" for name in ("lower", "upper", "work")]
    script = "cat /over/low; echo new > /over/high"
    assert run_with(containers, script, mount("/over", *options, type="overlay", source="overlay")) == ["low"]
    assert (tmp_path / "upper/high").read_text() == "new\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (mount("/at", type="nothing"), "cannot mount nothing on /at"),
        (mount("/at", "nothing=1", type="tmpfs"), "cannot mount tmpfs on /at.*nothing"),
        (mount("/at", "size=x", type="tmpfs"), "cannot mount tmpfs on /at"),
        (mount("/at", "rbind", source="/nowhere/at/all"), "cannot bind /nowhere/at/all to /at.*no such file"),
        (mount("/etc/passwd/x", type="tmpfs"), "cannot mount tmpfs on /etc/passwd/x.*not a directory"),
        (mount("/at"), "neither a type nor"),
        (mount("/at", "remount", "ro"), "/at.*no such file"),
    ],
)
def test_what_cannot_be_mounted(containers: Containers, wrong: Mount, said: str) -> None:
    """One sentence names the mount and the reason, and nothing is left."""
    with pytest.raises(PierheadError, match=said):
        containers.create("true", mounts=(*DEFAULT_MOUNTS, wrong), copy_on_write=True)
    assert not os.path.exists(containers.root) or os.listdir(containers.root) == []


def test_a_mount_in_the_order_of_the_list(containers: Containers) -> None:
    """A later mount stands on an earlier one, and hides it."""
    first = mount("/a", type="tmpfs", source="first")
    below = mount("/a/b/c", type="tmpfs", source="below")
    said = run_with(containers, "cut -d' ' -f1,2 /proc/mounts | grep ' /a'", first, below)
    assert said == ["first /a", "below /a/b/c"]
    said = run_with(containers, "cut -d' ' -f1,2 /proc/mounts | grep ' /a'; ls /a", below, first)
    assert said == ["below /a/b/c", "first /a"]


# Binds


def test_a_directory_and_a_file(containers: Containers, source: Path) -> None:
    """Each is seen at its destination, which is made where it is missing."""
    said = run_with(
        containers,
        "ls /deep/down; cat /etc/one; echo; echo more >> /etc/one",
        mount("/deep/down", "bind", source=str(source)),
        mount("/etc/one", "bind", source=str(source / "file")),
    )
    assert said == ["file", "inner", "text"]
    assert (source / "file").read_text() == "textmore\n"


def test_a_socket_and_a_device(containers: Containers, source: Path) -> None:
    """Anything can be bound: a fifo and a device too."""
    os.mkfifo(source / "fifo")
    said = run_with(
        containers,
        "stat -c %F /run/fifo /dev/other",
        mount("/run/fifo", "bind", source=str(source / "fifo")),
        mount("/dev/other", "bind", source="/dev/null"),
    )
    assert said == ["fifo", "character special file"]


@pytest.mark.parametrize("word", ["bind", "rbind"])
def test_mounts_below_the_source(containers: Containers, source: Path, word: str) -> None:
    """``rbind`` brings them, ``bind`` does not."""
    with mounted("tmpfs", source / "inner"):
        (source / "inner/below").write_text("")
        said = run_with(containers, "ls /at/inner", mount("/at", word, source=str(source)))
    assert said == (["below"] if word == "rbind" else [])


@pytest.mark.parametrize("option", ["ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"])
@pytest.mark.parametrize("recursive", [False, True])
def test_attributes_of_a_bind(containers: Containers, source: Path, option: str, *, recursive: bool) -> None:
    """An attribute holds for the mount; with an ``r`` before it, for those below it too."""
    word = f"r{option}" if recursive else option
    with mounted("tmpfs", source / "inner"):
        top, below = run_with(
            containers, f"{info('/at')}; {info('/at/inner')}", mount("/at", "rbind", word, source=str(source))
        )
    assert option in options_of(top)
    assert (option in options_of(below)) == recursive


def test_attributes_are_taken_back(containers: Containers, source: Path) -> None:
    """``rw``, ``suid``, ``exec`` … clear what the source's mount has; ``rrw`` below too."""
    with mounted("tmpfs", source / "inner", "-o", "ro,nosuid,noexec,nodev,noatime"):
        said = run_with(
            containers,
            f"{info('/one')}; {info('/all/inner')}",
            mount("/one", "bind", "suid", "exec", "dev", "relatime", source=str(source / "inner")),
            mount("/all", "rbind", "rsuid", "rexec", "rrelatime", source=str(source)),
        )
    one, inner = (options_of(line) for line in said)
    assert not {"nosuid", "noexec", "nodev", "noatime"} & one
    assert not {"nosuid", "noexec", "noatime"} & inner
    assert "nodev" in inner


def test_recursive_and_single_attributes_together(containers: Containers, source: Path) -> None:
    """``rnosuid`` holds everywhere while ``ro`` is of the topmost mount alone."""
    with mounted("tmpfs", source / "inner"):
        top, below = run_with(
            containers,
            f"{info('/at')}; {info('/at/inner')}",
            mount("/at", "rbind", "rnosuid", "ro", source=str(source)),
        )
    assert {"ro", "nosuid"} <= options_of(top)
    assert {"rw", "nosuid"} <= options_of(below)


def test_readonly_binds_cannot_be_written(containers: Containers, source: Path) -> None:
    """Neither the directory nor, with ``rro``, anything below it; the host's mounts keep their mode."""
    with mounted("tmpfs", source / "inner"):
        said = run_with(
            containers,
            "touch /at/x /at/inner/x 2>/dev/null; ls /at/x /at/inner/x 2>/dev/null | wc -l",
            mount("/at", "rbind", "rro", source=str(source)),
        )
        (source / "inner/mine").write_text("")
    assert said == ["0"]


def test_a_mount_is_changed_by_remount(containers: Containers) -> None:
    """``remount`` changes the attributes of what is there."""
    first = mount("/at", "nosuid", type="tmpfs", source="x")
    (line,) = run_with(containers, info("/at"), first, mount("/at", "remount", "ro", "noexec"))
    assert {"ro", "noexec", "nosuid"} <= options_of(line)


def test_a_bind_of_the_containers_own_link(containers: Containers, source: Path) -> None:
    """A link in the rootfs is followed inside the root: it never leads to the host."""
    rootfs = containers.own_rootfs()
    (rootfs / "link").symlink_to("/etc")
    said = run_with(
        containers,
        "cat /etc/target/file",
        mount("/link/target", "bind", source=str(source)),
        rootfs=str(rootfs),
    )
    assert said == ["text"]
    assert not Path("/etc/target").exists()


# Propagation


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("private", set()),
        ("rprivate", set()),
        ("slave", {"master"}),
        ("rslave", {"master"}),
        ("shared", {"shared", "master"}),
        ("rshared", {"shared", "master"}),
        ("unbindable", {"unbindable"}),
        ("runbindable", {"unbindable"}),
    ],
)
def test_propagation_of_a_mount(containers: Containers, source: Path, word: str, fields: set[str]) -> None:
    """Each kind is what the kernel shows of the mount, recursively with an ``r``."""
    with mounted("tmpfs", source), mounted_inner(source):
        subprocess.run(["mount", "--make-rshared", str(source)], check=True)
        top, below = run_with(
            containers, f"{info('/at')}; {info('/at/in')}", mount("/at", "rbind", word, source=str(source))
        )

    def kinds(line: str) -> set[str]:
        optional = line.partition(" - ")[0].split(" ")[6:]
        return {field.partition(":")[0] for field in optional}

    assert kinds(top) == fields
    if word.startswith("r"):
        assert kinds(below) == fields
    else:
        assert kinds(below) == {"master"}


@contextmanager
def mounted_inner(source: Path) -> Iterator[None]:
    """A tmpfs on ``in`` below the source."""
    (source / "in").mkdir()
    with mounted("tmpfs", source / "in"):
        yield


def test_the_hosts_later_mounts_come_in_by_rslave(containers: Containers, source: Path) -> None:
    """A mount made on the host under a shared directory appears in the container; none goes out."""
    with mounted("tmpfs", source):
        subprocess.run(["mount", "--make-shared", str(source)], check=True)
        (source / "late").mkdir()
        bind = mount("/at", "rbind", "rslave", source=str(source))
        container = containers.running(mounts=(*DEFAULT_MOUNTS, bind), copy_on_write=True)
        with mounted("tmpfs", source / "late"):
            (source / "late/seen").write_text("")
            assert containers.exec(container, "ls /at/late").output == "seen\n"
        assert containers.exec(container, "ls /at/late").output == ""
        container.delete(force=True)


def test_mounts_go_out_by_rshared(containers: Containers, source: Path) -> None:
    """What the container mounts under a shared bind is seen on the host."""
    names = ("CAP_SYS_ADMIN",)
    with mounted("tmpfs", source):
        subprocess.run(["mount", "--make-shared", str(source)], check=True)
        container = containers.start(
            "mkdir /at/in && mount -t tmpfs x /at/in && touch /at/in/out; sleep 1000",
            mounts=(*DEFAULT_MOUNTS, mount("/at", "rbind", "rshared", source=str(source))),
            rootfs_propagation="rshared",
            capabilities=Capabilities(bounding=names, effective=names, permitted=names),
            seccomp="unconfined",
            rootfs=str(source.parent / "rootfs"),
        )
        wait_until("the file", (source / "in/out").exists)
        container.delete(force=True)
        subprocess.run(["umount", str(source / "in")], check=True)


@pytest.mark.parametrize(
    ("word", "field"),
    [
        ("", ""),
        ("private", ""),
        ("rprivate", ""),
        ("slave", ""),
        ("rslave", ""),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
        ("runbindable", "unbindable"),
    ],
)
def test_propagation_of_the_root(containers: Containers, word: str, field: str) -> None:
    """The root's propagation is what the kernel shows of the root's mount."""
    rootfs = containers.own_rootfs()
    (line,) = run_with(containers, info("/"), rootfs_propagation=word, rootfs=str(rootfs))
    optional = {each.partition(":")[0] for each in line.partition(" - ")[0].split(" ")[6:]}
    master = {"master"} if "slave" in word or word in ("", "shared", "rshared") else set()
    assert optional - master == ({field} if field else set())


def test_a_propagation_that_there_is_not(containers: Containers) -> None:
    """Such a word is refused with its path."""
    with pytest.raises(InvalidInput, match="rootfs_propagation"):
        containers.create("true", rootfs_propagation="sideways")


# Owners that are mapped


def test_a_mount_with_maps_of_its_own(containers: Containers, source: Path) -> None:
    """Maps of a mount change owners there, without a user namespace."""
    os.chown(source / "file", 5, 6)
    maps = {
        "uid_mappings": (IDMapping(container_id=5, host_id=1005, size=1),),
        "gid_mappings": (IDMapping(container_id=6, host_id=2006, size=1),),
    }
    said = run_with(
        containers,
        "stat -c %u:%g /at/file /plain/file",
        mount("/at", "bind", source=str(source), **maps),
        mount("/plain", "bind", source=str(source)),
    )
    assert said == ["1005:2006", "5:6"]


def test_files_made_through_the_map(containers: Containers, source: Path) -> None:
    """What the mapped owner makes belongs to the original one on the host."""
    maps = (IDMapping(container_id=0, host_id=1000, size=10),)
    at = mount("/at", "bind", source=str(source), uid_mappings=maps, gid_mappings=maps)
    source.chmod(0o777)
    run_with(containers, "echo x > /at/made", at, process={"user": "1003:1004"})
    made = (source / "made").stat()
    assert (made.st_uid, made.st_gid) == (3, 4)


@pytest.mark.parametrize("word", ["idmap", "ridmap"])
def test_the_containers_own_maps(containers: Containers, source: Path, word: str) -> None:
    """``idmap`` shows the host's root as the container's; ``ridmap`` on mounts below too."""
    rootfs = source.parent / "rootfs"
    for name in ("at", "plain"):
        (rootfs / name).mkdir()
    with mounted("tmpfs", source / "inner"):
        said = run_with(
            containers,
            "stat -c %u /at/file /at/inner /plain/file",
            mount("/at", "rbind", word, source=str(source)),
            mount("/plain", "bind", source=str(source)),
            namespaces=namespaces(*USUAL, "user"),
            rootfs=str(rootfs),
            **MAPS,
        )
    assert said == ["0", "0" if word == "ridmap" else "65534", "65534"]


def test_maps_of_a_mount_in_a_user_namespace(containers: Containers, source: Path) -> None:
    """A mount's maps are in the host's ids: as Kubernetes gives a volume to a pod with users of its own."""
    maps = (IDMapping(container_id=0, host_id=100000, size=65536),)
    at = mount("/at", "bind", source=str(source), uid_mappings=maps, gid_mappings=maps)
    (source.parent / "rootfs/at").mkdir()
    said = run_with(
        containers,
        "stat -c %u /at/file; echo y > /at/written",
        at,
        namespaces=namespaces(*USUAL, "user"),
        rootfs=str(source.parent / "rootfs"),
        **MAPS,
    )
    assert said == ["0"]
    assert (source / "written").stat().st_uid == 0


def test_idmap_without_maps_is_refused(containers: Containers, source: Path) -> None:
    """Neither the mount nor the container says how: the error names the option."""
    with pytest.raises(InvalidInput, match=r"options: idmap without mappings"):
        containers.create("true", mounts=(*DEFAULT_MOUNTS, mount("/at", "bind", "idmap", source=str(source))))


def test_a_file_system_that_cannot_be_mapped(containers: Containers) -> None:
    """The kernel's refusal comes back with the mount's name."""
    maps = (IDMapping(container_id=0, host_id=1000, size=10),)
    at = mount("/at", "bind", source="/proc/sys", uid_mappings=maps, gid_mappings=maps)
    with pytest.raises(OperationFailed, match=r"idmap.*/proc/sys|/proc/sys.*idmap"):
        containers.create("true", mounts=(*DEFAULT_MOUNTS, at), copy_on_write=True)


# cgroup


def test_cgroup_shows_the_containers_own(containers: Containers) -> None:
    """With a cgroup namespace, the mount's root is the container's cgroup; read-only by default."""
    machine = discover()
    container = containers.running()
    if machine.mode == "v2":
        path = "/sys/fs/cgroup"
    else:
        path = f"/sys/fs/cgroup/{Path(machine.trees[0].mountpoint).name}"
    said = containers.exec(container, f"cat {path}/cgroup.procs; mkdir {path}/x 2>&1")
    assert said.words[0] == "1"
    assert "Read-only file system" in said.output


def test_cgroup_without_a_namespace_is_the_own_part_and_readonly(containers: Containers) -> None:
    """CVE-2023-25809: without a cgroup namespace the host's hierarchy is not writable, nor seen."""
    mounts = (*DEFAULT_MOUNTS[:-1], mount("/sys/fs/cgroup", "nosuid", type="cgroup", source="cgroup"))
    said = containers.run(
        "cd /sys/fs/cgroup; find $PWD -name cgroup.procs; for d in $(find . -type d); do mkdir $d/x; done",
        mounts=mounts,
        namespaces=namespaces("mount", "pid", "network", "ipc", "uts"),
    )
    assert "Read-only file system" in said.output
    assert {line.rpartition(": ")[2] for line in said.lines if "mkdir" in line} <= {"Read-only file system"}
    depth = 4 if discover().mode == "v2" else 5
    found = [line.count("/") for line in said.lines if line.endswith("cgroup.procs")]
    assert found == [depth] * len(discover().trees)


def test_a_writable_cgroup(containers: Containers) -> None:
    """Without ``ro`` the container may divide its own cgroup."""
    machine = discover()
    name = "" if machine.mode == "v2" else f"/{Path(machine.trees[0].mountpoint).name}"
    mounts = (*DEFAULT_MOUNTS[:-1], mount("/sys/fs/cgroup", type="cgroup", source="cgroup"))
    container = containers.running(mounts=mounts)
    script = f"mkdir /sys/fs/cgroup{name}/inner && ls -d /sys/fs/cgroup{name}/inner"
    assert containers.exec(container, script).output == f"/sys/fs/cgroup{name}/inner\n"
    container.delete(force=True)
