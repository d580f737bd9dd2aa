"""Mounts of a configuration as operations."""

from __future__ import annotations

import pytest

from pierhead.linux.cgroupfs import Hierarchies, Hierarchy
from pierhead.runtime.config import Config, Mount
from pierhead.runtime.plan.mounts import MountView, choose_root, plan_mounts, plan_root

LEGACY = Hierarchies(
    mode="v1", trees=(Hierarchy(version=1, mountpoint="/sys/fs/cgroup/cpu", controllers=("cpu",)),)
)
VIEW = MountView(hierarchies=LEGACY, cgroup_directories={}, new_namespaces=frozenset(("mount", "cgroup")))


@pytest.mark.parametrize(("own", "common", "label"), [("", "", ""), ("", "a", "a"), ("b", "a", "b")])
def test_labels_of_file_systems(own: str, common: str, label: str) -> None:
    """Every tmpfs of a container has its label, also the one that holds the hierarchies of cgroup v1."""
    mounts = (
        Mount(destination="/dev", type="tmpfs", source="tmpfs", label=own),
        Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup", label=own),
    )
    plan = plan_mounts(Config(rootfs="/r", mounts=mounts, mount_label=common), VIEW)
    options = [each.named_arguments() for each in plan.init if each.name == "mount"]
    labels = [bytes(dict(each)["options"]) for each in options if dict(each)["type"] == "tmpfs"]  # type: ignore[arg-type]
    assert [b"scontext\0" in each for each in labels] == [bool(label)] * 2
    assert not label or all(each.endswith(f"scontext\0{label}\0".encode()) for each in labels)


@pytest.mark.parametrize(("length", "bound"), [(255, False), (256, True)])
def test_a_long_lower_layer_is_bound_to_a_short_path(length: int, *, bound: bool) -> None:
    """One value of fsconfig(2) has at most 255 bytes."""
    rootfs = "/" + "x" * (length - 1)
    config = Config(rootfs=rootfs, copy_on_write=True)
    plan = plan_root(config, "/", choose_root(config, "/scratch", privileged=False))
    overlay = next(
        dict(each.named_arguments())
        for each in plan
        if each.name == "mount" and each.arguments[0] == "overlay"
    )
    lower = "/scratch/lower" if bound else rootfs
    assert f"slowerdir\0{lower}\0".encode() in overlay["options"]  # type: ignore[operator]
    assert [each.arguments[1:3] for each in plan if each.name == "bind"] == (
        [(rootfs, "/scratch/lower")] if bound else []
    )
