"""Finding the cgroup hierarchies in the kernel's texts, and working in directories that look like cgroups."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.linux.cgroup_tree import walk
from pierhead.linux.cgroupfs import (
    Hierarchy,
    discover,
    inherit_cpuset,
    join,
    make_directories,
    normalise_path,
    parse_own_cgroups,
    procs,
    read_text,
    remove,
    remove_made,
    write_lines,
)

if TYPE_CHECKING:
    from pathlib import Path

HYBRID = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:21 / /sys rw,nosuid - sysfs sysfs rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
41 31 0:38 / /sys/fs/cgroup/tree2 rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID_OWN = """\
9:name=systemd:/user.slice/session-1.scope
5:memory:/jobs/a:b
4:cpuset:/
3:cpu,cpuacct:/jobs
0::/user.slice
"""
UNIFIED = """\
24 30 0:22 / /sys rw,nosuid - sysfs sysfs rw
30 1 254:0 / / rw,relatime - ext4 /dev/root rw
33 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
"""
UNIFIED_OWN = "0::/user.slice/user-1000.slice/session-3.scope\n"


def shape(mountinfo: str, own: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Controllers and own path by mountpoint."""
    return {tree.mountpoint: (tree.controllers, tree.own_path) for tree in discover(mountinfo, own).trees}


def test_a_hybrid_machine_has_v1_trees_and_a_unified_one() -> None:
    """Each v1 tree has its controllers, co-mounted ones together, and our own path in each is known."""
    found = discover(HYBRID, HYBRID_OWN)
    assert found.mode == "hybrid"
    assert shape(HYBRID, HYBRID_OWN) == {
        "/sys/fs/cgroup/cpu,cpuacct": (("cpu", "cpuacct"), "/jobs"),
        "/sys/fs/cgroup/cpuset": (("cpuset",), "/"),
        "/sys/fs/cgroup/memory": (("memory",), "/jobs/a:b"),
        "/sys/fs/cgroup/systemd": (("name=systemd",), "/user.slice/session-1.scope"),
        "/sys/fs/cgroup/tree2": ((), "/user.slice"),
    }


def test_find_gives_the_tree_of_a_controller_or_none() -> None:
    """Co-mounted controllers are found by either name; what is not mounted is not."""
    found = discover(HYBRID, HYBRID_OWN)
    tree = found.find("cpuacct")
    assert tree is not None
    assert tree.mountpoint == "/sys/fs/cgroup/cpu,cpuacct"
    assert found.find("net_cls") is None
    unified = found.unified()
    assert unified is not None
    assert unified.version == 2


def test_v1_is_hybrid_without_the_unified_tree() -> None:
    """Only the cgroup2 line makes the difference between v1 and hybrid."""
    text = "".join(line for line in HYBRID.splitlines(keepends=True) if "cgroup2" not in line)
    assert discover(text, HYBRID_OWN).mode == "v1"


def test_v2_is_one_tree_whose_controllers_are_in_its_file(tmp_path: Path) -> None:
    """The controllers of a cgroup2 tree are not mount options: cgroup.controllers lists them."""
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    text = UNIFIED.replace("/sys/fs/cgroup", str(tmp_path))
    found = discover(text, UNIFIED_OWN)
    assert found.mode == "v2"
    assert found.trees == (
        Hierarchy(
            version=2,
            mountpoint=str(tmp_path),
            controllers=("cpuset", "cpu", "io", "memory", "pids"),
            own_path="/user.slice/user-1000.slice/session-3.scope",
        ),
    )


def test_a_named_v1_tree_beside_cgroup2_does_not_make_a_hybrid() -> None:
    """Elogind mounts name=elogind next to cgroup2: all controllers are still cgroup2's."""
    text = UNIFIED + "50 33 0:40 / /run/elogind rw - cgroup cgroup rw,name=elogind\n"
    found = discover(text, "1:name=elogind:/\n" + UNIFIED_OWN)
    assert found.mode == "v2"
    assert [tree.version for tree in found.trees] == [2]


def test_a_machine_without_cgroups_has_the_mode_none() -> None:
    """No cgroup mount is no error by itself."""
    found = discover("30 1 254:0 / / rw,relatime - ext4 /dev/root rw\n", "0::/\n")
    assert (found.mode, found.trees) == ("none", ())


def test_inside_a_container_our_path_is_seen_from_the_mounts_root() -> None:
    """Without a cgroup namespace the mount shows only our subtree, and /proc/self/cgroup the whole path."""
    text = "90 80 0:32 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
    assert shape(text, "5:memory:/docker/abc\n") == {"/sys/fs/cgroup/memory": (("memory",), "/")}
    assert shape(text, "5:memory:/docker/abc/inner\n") == {"/sys/fs/cgroup/memory": (("memory",), "/inner")}


@pytest.mark.parametrize(
    ("root", "own"),
    [("/docker/abc", "/docker/abcdef"), ("/docker/abc", "/"), ("/../..", "/"), ("/", "/../session.scope")],
)
def test_our_path_is_unknown_where_the_mount_does_not_show_it(root: str, own: str) -> None:
    """A mount of another subtree, or one from outside our cgroup namespace, has no place for us."""
    text = f"90 80 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    assert shape(text, f"5:memory:{own}\n") == {"/sys/fs/cgroup/memory": (("memory",), "")}


def test_of_several_mounts_of_a_tree_the_useful_one_is_taken() -> None:
    """A bind mount in some container's rootfs, or a read-only one, loses against the machine's own."""
    bind = "95 22 0:32 /jobs/x /srv/rootfs/sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    read_only = "96 22 0:32 / /mnt/memory ro,relatime - cgroup cgroup rw,memory\n"
    for text in (bind + read_only + HYBRID, HYBRID + read_only + bind):
        tree = discover(text, HYBRID_OWN).find("memory")
        assert tree is not None
        assert tree.mountpoint == "/sys/fs/cgroup/memory"


def test_mounts_below_a_later_mount_are_hidden() -> None:
    """A tmpfs over /sys/fs/cgroup hides all the trees there; a cgroup2 mounted on it is what counts."""
    text = HYBRID + "60 31 0:50 / /sys/fs/cgroup rw - tmpfs none rw\n"
    assert discover(text, HYBRID_OWN).mode == "none"
    text += "61 60 0:38 / /sys/fs/cgroup/tree2 rw - cgroup2 none rw\n"
    assert discover(text, HYBRID_OWN).mode == "v2"


def test_a_mount_right_on_top_of_another_hides_it() -> None:
    """cgroup2 mounted over a v1 tree's mountpoint."""
    text = HYBRID + "62 35 0:38 / /sys/fs/cgroup/memory rw - cgroup2 none rw\n"
    assert "memory" not in [name for tree in discover(text, HYBRID_OWN).trees for name in tree.controllers]


def test_a_parent_that_is_listed_later_hides_nothing() -> None:
    """After an initramfs, / comes after /sys in the list, and carries it all the same."""
    assert discover(UNIFIED, UNIFIED_OWN).mode == "v2"


def test_escapes_in_mountpoints_are_undone() -> None:
    """Mountinfo writes space, tab, newline and backslash as octal."""
    text = "90 80 0:32 / /mnt/my\\040cgroups\\134x rw - cgroup cgroup rw,memory\n"
    assert list(shape(text, "5:memory:/\n")) == ["/mnt/my cgroups\\x"]


def test_own_cgroups_are_read_by_controller() -> None:
    """Paths may hold colons, and end in a remark when the group is gone."""
    found = parse_own_cgroups("3:cpu,cpuacct:/a:b\n1:name=systemd:/x (deleted)\n0::/\n")
    assert found == {"cpu": "/a:b", "cpuacct": "/a:b", "name=systemd": "/x", "": "/"}


@pytest.mark.parametrize(
    ("given_path", "normal"),
    [("/", "/"), ("", "/"), ("a", "/a"), ("/a//b/./c/", "/a/b/c"), ("/...", "/..."), ("/a..b", "/a..b")],
)
def test_paths_are_normalised(given_path: str, normal: str) -> None:
    """One leading slash, no empty and no dot components."""
    assert normalise_path(given_path) == normal


@pytest.mark.parametrize("path", ["..", "/..", "/a/../b", "a/..", "/a/b/..", "/a\nb", "/a\0b"])
def test_paths_that_could_lead_elsewhere_are_refused(path: str) -> None:
    """A ``..`` would leave the container's cgroup (crun 1.29's fault); no cgroup's name has a newline."""
    with pytest.raises(InvalidInput):
        normalise_path(path)


@given(st.text(alphabet="ab./\n\0", max_size=20))
def test_a_normal_path_is_stable_and_has_no_dots(path: str) -> None:
    """Whatever is accepted stays below the top, and normalising again changes nothing."""
    try:
        normal = normalise_path(path)
    except InvalidInput:
        return
    assert normalise_path(normal) == normal
    assert normal.startswith("/")
    assert not {"..", "."} & set(normal.split("/"))


# Directories, on trees of plain files -----------------------------------------------------------------------


def plain_tree(root: Path, *, version: int = 1, controllers: tuple[str, ...] = ("memory",)) -> Hierarchy:
    """A directory that stands for a mounted hierarchy."""
    return Hierarchy(version=version, mountpoint=str(root), controllers=controllers)


def test_only_what_was_made_is_reported_and_removed(tmp_path: Path) -> None:
    """A rollback leaves a parent that was there before, and one that has got another child since."""
    (tmp_path / "a").mkdir()
    tree = plain_tree(tmp_path)
    made = make_directories(tree, "/a/b/c")
    assert made == [f"{tmp_path}/a/b", f"{tmp_path}/a/b/c"]
    assert make_directories(tree, "/a/b/c") == []
    (tmp_path / "a/b/other").mkdir()
    remove_made(made)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "other"]


def test_a_failed_creation_leaves_nothing(tmp_path: Path) -> None:
    """What cannot be made has a file for its parent, or too long a name: what was made on the way is gone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_text("")
    with pytest.raises(OperationFailed, match="not a directory"):
        make_directories(plain_tree(tmp_path), "/a/file/x")
    with pytest.raises(OperationFailed, match="name too long"):
        make_directories(plain_tree(tmp_path), "/a/b/c/" + "x" * 256)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "file"]


def test_a_cgroup_path_with_dots_makes_nothing(tmp_path: Path) -> None:
    """The refusal comes before the first mkdir."""
    top = tmp_path / "top"
    top.mkdir()
    with pytest.raises(InvalidInput):
        make_directories(plain_tree(top), "/x/../../escaped")
    assert [path.name for path in tmp_path.rglob("*")] == ["top"]


def test_a_new_cpuset_inherits_its_parents_sets(tmp_path: Path) -> None:
    """An empty v1 cpuset holds no process; one that has its own sets keeps them."""
    child = tmp_path / "child"
    child.mkdir()
    (tmp_path / "cpuset.cpus").write_text("0-3\n")
    (tmp_path / "cpuset.mems").write_text("0\n")
    (child / "cpuset.cpus").write_text("\n")
    (child / "cpuset.mems").write_text("1\n")
    inherit_cpuset(str(child))
    assert (child / "cpuset.cpus").read_text() == "0-3"
    assert (child / "cpuset.mems").read_text() == "1\n"


def test_controllers_are_switched_on_from_the_top_down(tmp_path: Path) -> None:
    """Every group above the container's gets the needed controllers, and those of general use, that exist."""
    (tmp_path / "a").mkdir()
    for directory in (tmp_path, tmp_path / "a"):
        (directory / "cgroup.subtree_control").write_text("")
    tree = plain_tree(tmp_path, version=2, controllers=("cpu", "cpuset", "memory", "hugetlb"))
    made = make_directories(tree, "/a/b", needed=("cpuset",))
    assert made == [f"{tmp_path}/a/b"]
    for directory in (tmp_path, tmp_path / "a"):
        assert (directory / "cgroup.subtree_control").read_text() == "+cpu +cpuset +memory"


def test_controllers_that_are_on_are_not_written_again(tmp_path: Path) -> None:
    """A write would need a right that a delegated subtree does not give."""
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("cpu memory pids\n")
    make_directories(plain_tree(tmp_path, version=2, controllers=("cpu", "memory")), "/b")
    assert control.read_text() == "cpu memory pids\n"


def test_errors_name_file_value_and_reason(tmp_path: Path) -> None:
    """What was to be written where, and the kernel's errno, in words and as a number."""
    with pytest.raises(OperationFailed) as caught:
        write_lines(str(tmp_path), "memory.max", ["1"])
    assert caught.value.message == f"cannot set memory.max of cgroup {tmp_path}: no such file or directory"
    assert caught.value.errno == errno.ENOENT
    os.symlink("/dev/full", tmp_path / "full")
    with pytest.raises(OperationFailed, match="too many levels of symbolic links"):
        write_lines(str(tmp_path), "full", ["1"])


def test_a_file_that_is_not_there_reads_as_none(tmp_path: Path) -> None:
    """Many cgroup files depend on the kernel's age and configuration."""
    assert read_text(str(tmp_path), "memory.peak") is None
    (tmp_path / "memory.peak").write_text("5\n")
    assert read_text(str(tmp_path), "memory.peak") == "5\n"


def test_processes_are_gathered_from_all_groups_below(tmp_path: Path) -> None:
    """Ascending, each once, and without the 0 that stands for a process of another pid namespace."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "cgroup.procs").write_text("30\n0\n")
    (tmp_path / "inner/cgroup.procs").write_text("4\n30\n")
    assert procs(str(tmp_path)) == [4, 30]
    assert procs(str(tmp_path / "nothing")) == []


def test_joining_writes_the_pid(tmp_path: Path) -> None:
    """And where there is no such cgroup, the error says so."""
    (tmp_path / "cgroup.procs").write_text("")
    join(str(tmp_path), 77)
    assert (tmp_path / "cgroup.procs").read_text() == "77"
    with pytest.raises(OperationFailed, match=r"process 77 into cgroup .*: there is no such cgroup"):
        join(str(tmp_path / "nothing"), 77)


def test_removal_goes_from_the_innermost_outwards(tmp_path: Path) -> None:
    """Groups that the container made inside its own are removed with it; a missing group is no error."""
    (tmp_path / "c/x/y").mkdir(parents=True)
    (tmp_path / "c/z").mkdir()
    order = [name for _, name in walk(str(tmp_path / "c"))]
    assert sorted(order) == ["x", "y", "z"]
    assert order.index("y") < order.index("x")
    assert list(walk(str(tmp_path / "none"))) == []
    remove(str(tmp_path / "c"))
    remove(str(tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


def test_no_depth_is_too_deep(tmp_path: Path) -> None:
    """Groups nested deeper than a path is long, or than calls can be, are found and removed."""
    fd = os.open(tmp_path, os.O_RDONLY)
    for name in ["c", *("d" * 200,) * 1500]:
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with open("cgroup.procs", "w", opener=lambda path, flags: os.open(path, flags, dir_fd=fd)) as file:
        file.write("4711\n")
    assert procs(str(tmp_path / "c")) == [4711]
    os.unlink("cgroup.procs", dir_fd=fd)
    os.close(fd)
    remove(str(tmp_path / "c"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_mounts_with_strange_names_confuse_nobody(end: str) -> None:
    """A mount whose name holds what Python takes for the end of a line is one line like the others."""
    strange = f"99 22 0:99 / /home/user/a{end}b rw - fuse x{end}y rw\n"
    assert shape(UNIFIED + strange, UNIFIED_OWN + f"7:x:/a{end}b\n") == shape(UNIFIED, UNIFIED_OWN)
