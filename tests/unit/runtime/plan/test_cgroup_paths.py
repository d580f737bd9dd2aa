"""Where a container's cgroup lies, by path and as a systemd unit."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput, Unsupported
from pierhead.linux.cgroupfs import Hierarchies, Hierarchy
from pierhead.runtime.plan.cgroup_paths import (
    expand_slice,
    resolve_cgroup_path,
    resolve_cgroup_paths,
    resolve_systemd_unit,
)

TREE = Hierarchy(version=1, mountpoint="/m", controllers=("memory",), own_path="/user/session")
TOP = Hierarchy(version=1, mountpoint="/c", controllers=("cpu",), own_path="/")
HIDDEN = Hierarchy(version=1, mountpoint="/h", controllers=("pids",), own_path="")


@pytest.mark.parametrize(
    ("cgroups_path", "tree", "mode", "rootless", "expected"),
    [
        ("", TREE, "hybrid", False, "/box"),
        ("", TREE, "hybrid", True, "/user/session/box"),
        ("", TREE, "v2", True, "/user/box"),
        ("", TOP, "v1", True, "/box"),
        ("", TOP, "v2", True, "/box"),
        ("/a/b", TREE, "v1", False, "/a/b"),
        ("/a//b/./c/", TREE, "v1", True, "/a/b/c"),
        ("a/b", TREE, "hybrid", False, "/user/session/a/b"),
        ("a/b", TREE, "v2", False, "/user/a/b"),
        ("a/b", TOP, "v1", False, "/a/b"),
        ("system.slice:runc:x", TOP, "v1", False, "/system.slice:runc:x"),
        ("/a", HIDDEN, "v1", False, "/a"),
    ],
)
def test_paths(cgroups_path: str, tree: Hierarchy, mode: str, rootless: bool, expected: str) -> None:  # noqa: FBT001
    """Absolute from the tree's top, relative from our own cgroup, the id where nothing is said."""
    assert resolve_cgroup_path(cgroups_path, "box", tree, mode=mode, rootless=rootless) == expected


@pytest.mark.parametrize("path", ["/", ".", "/./", "..", "../x", "/a/../../x", "a/..", "/a\nb"])
def test_paths_that_leave_or_take_the_top_are_refused(path: str) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidInput) as caught:
        resolve_cgroup_path(path, "box", TREE, mode="v1")
    assert caught.value.path == "$.linux.cgroupsPath"


def test_a_relative_path_needs_a_place_to_begin() -> None:
    """A mount that does not show our own cgroup has none; the hint says what helps."""
    with pytest.raises(Unsupported, match="does not show our own cgroup") as caught:
        resolve_cgroup_path("a", "box", HIDDEN, mode="v1")
    assert "slash" in caught.value.hint


def test_every_tree_gets_its_path() -> None:
    """By mountpoint, since our own cgroup differs from tree to tree."""
    found = resolve_cgroup_paths("x", "box", Hierarchies(mode="v1", trees=(TREE, TOP)))
    assert found == {"/m": "/user/session/x", "/c": "/x"}


@pytest.mark.parametrize(
    ("cgroups_path", "rootless", "name", "path"),
    [
        ("", False, "pierhead-box.scope", "/system.slice/pierhead-box.scope"),
        ("", True, "pierhead-box.scope", "/user.slice/pierhead-box.scope"),
        ("machine.slice:libpod:abc", False, "libpod-abc.scope", "/machine.slice/libpod-abc.scope"),
        (":docker:abc", False, "docker-abc.scope", "/system.slice/docker-abc.scope"),
        ("a-b.slice::abc", False, "abc.scope", "/a.slice/a-b.slice/abc.scope"),
        ("-.slice:x:abc", False, "x-abc.scope", "/x-abc.scope"),
        (
            "kubepods-pod1.slice:x:kubepods-pod1-c.slice",
            False,
            "kubepods-pod1-c.slice",
            "/kubepods.slice/kubepods-pod1.slice/kubepods-pod1-c.slice",
        ),
    ],
)
def test_units(cgroups_path: str, rootless: bool, name: str, path: str) -> None:  # noqa: FBT001
    """slice:prefix:name, each with its default; a name that ends in .slice is a slice itself."""
    unit = resolve_systemd_unit(cgroups_path, "box", rootless=rootless)
    assert (unit.name, unit.path) == (name, path)
    assert unit.is_slice() == name.endswith(".slice")


@pytest.mark.parametrize(
    "path",
    [
        "/a/b",
        "a:b",
        "a:b:c:d",
        "noslice:x:y",
        "a--b.slice:x:y",
        "a.slice:x:../y",
        "../a.slice:x:y",
        "a.slice:x:y+z",
    ],
)
def test_units_that_systemd_would_refuse_are_refused_here(path: str) -> None:
    """With the form that is wanted."""
    with pytest.raises(InvalidInput):
        resolve_systemd_unit(path, "box")


@pytest.mark.parametrize(
    ("slice_name", "path"),
    [
        ("-.slice", "/"),
        ("a.slice", "/a.slice"),
        ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice"),
    ],
)
def test_slices_say_their_place(slice_name: str, path: str) -> None:
    """Each dash is a step down."""
    assert expand_slice(slice_name) == path
