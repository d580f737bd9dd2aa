"""How a root comes to be that is an overlay of directories: whole plans, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.cli.explain_words import describe
from pierhead.errors import Unsupported
from pierhead.linux.cgroupfs import Hierarchies
from pierhead.oci.runtime import IDMapping, Namespace
from pierhead.runtime.config import Config, ProcessSpec, RootOverlay
from pierhead.runtime.plan.launch import LaunchView, plan_container
from pierhead.runtime.plan.rootoverlay import plan_root_overlay
from pierhead.runtime.wire import INIT, JOINER, STAGE

NEW = (6, 18)
TWO = RootOverlay(lower=("/l/2", "/l/1"), upper="/box/fs", work="/box/work")
MOUNT = Namespace(type="mount")
MAPS = (IDMapping(container_id=0, host_id=100_000, size=65_536),)
USER: dict[str, Any] = {
    "namespaces": (MOUNT, Namespace(type="user")),
    "uid_mappings": MAPS,
    "gid_mappings": (IDMapping(container_id=5, host_id=7, size=1), MAPS[0].replace(host_id=200_000)),
}
MOUNTER = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID SETGID SETUID SYS_ADMIN MKNOD SETFCAP"
MOVED = "lowerdir+=0,lowerdir+=1,upperdir=changes/fs,workdir=changes/work"
FEATURES = "redirect_dir=nofollow,metacopy=off,index=off"


def plan(
    overlay: RootOverlay, *, kernel: tuple[int, int] = NEW, rootless: bool = False, **changes: Any
) -> list[tuple[int, str]]:
    """Place and words of every operation up to the root."""
    config = Config(
        **{
            "rootfs": "/empty",
            "root_overlay": overlay,
            "process": ProcessSpec(args=("sh",)),
            "namespaces": (MOUNT,),
            "networks": (),
            "mounts": (),
            **changes,
        }
    )
    view = LaunchView(
        hierarchies=Hierarchies(mode="none", trees=()),
        cgroup_directories={},
        filter=lambda _: (b"", 0, False),
        kernel=kernel,
        rootless=rootless,
    )
    assert config.process
    operations = plan_container(config, config.process, view).operations
    found = [(each.place, describe(each)) for each in operations]
    names = [each.name for each in operations]
    end = names.index("root") + (2 if names[names.index("root") + 1] == "remount" else 1)
    return [each for each in found[:end] if each[1].split()[0] not in ("setsid", "umask", "new")]


def test_a_plain_overlay() -> None:
    """The init process mounts it, in its own mount namespace, under the layers' own names."""
    options = f"{FEATURES},lowerdir+=/l/2,lowerdir+=/l/1,upperdir=/box/fs,workdir=/box/work"
    assert plan(TWO) == [
        (INIT, "propagation of / MS_REC|SLAVE"),
        (INIT, "root is / as it is here"),
        (INIT, f"mount overlay on /empty\nMS_PRIVATE\n-o {options}"),
        (INIT, "root is /empty"),
    ]


def test_an_overlay_that_needs_no_disk() -> None:
    """The kernel is told so, and nothing else changes."""
    options = f"{FEATURES},lowerdir+=/l/2,lowerdir+=/l/1,upperdir=/box/fs,workdir=/box/work,volatile"
    words = f"mount overlay on /empty\nMS_PRIVATE\n-o {options}"
    assert (INIT, words) in plan(TWO.replace(volatile=True))


def test_an_overlay_that_is_only_read() -> None:
    """The mount itself is read-only, before anything is made in it."""
    overlay = RootOverlay(lower=("/l/2", "/l/1"))
    options = f"{FEATURES},lowerdir+=/l/2,lowerdir+=/l/1"
    words = f"mount overlay on /empty\nMOUNT_ATTR_RDONLY MS_PRIVATE\n-o {options}"
    assert (INIT, words) in plan(overlay)


def test_in_a_user_namespace() -> None:
    """The joiner mounts it with the host's rights, its parts with mapped owners, and hands it on."""
    mapped = "ids mapped as root mapping"
    assert plan(TWO, **USER)[:17] == [
        (JOINER, "unshare CLONE_NEWNS"),
        (JOINER, "propagation of / MS_REC|SLAVE"),
        (JOINER, "root is / as it is here"),
        (JOINER, f"open_tree /l/2 as layer 0\n{mapped}"),
        (JOINER, f"open_tree /l/1 as layer 1\n{mapped}"),
        (JOINER, f"open_tree /box as layer changes\n{mapped}"),
        (JOINER, "mount tmpfs on /empty\nMOUNT_ATTR_NODEV MS_PRIVATE\n-o mode=0755"),
        (JOINER, "bind layer 0 to /empty/0\nMS_PRIVATE"),
        (JOINER, "bind layer 1 to /empty/1\nMS_PRIVATE"),
        (JOINER, "bind layer changes to /empty/changes\nMS_PRIVATE"),
        (JOINER, "chdir /empty"),
        (JOINER, "identity uid 100000 gid 200000\nkeeping capabilities"),
        (
            JOINER,
            f"capabilities\neffective and permitted: {MOUNTER}\ninheritable: none",
        ),
        (
            JOINER,
            f"mount overlay on /empty/root\nMS_PRIVATE\n-o {FEATURES},{MOVED}",
        ),
        (JOINER, "identity uid 0 gid 0\nkeeping capabilities"),
        (JOINER, "open_tree /empty/root as root tree"),
        (JOINER, "unshare CLONE_NEWUSER"),
    ]
    assert plan(TWO, **USER)[-1] == (INIT, "root is /empty/root")


def test_owners_that_are_not_mapped() -> None:
    """The joiner mounts the layers as they are, as the host's root."""
    words = [
        words.split("\n")[0] for place, words in plan(TWO.replace(mapped=False), **USER) if place == JOINER
    ]
    assert words[2:6] == [
        "root is / as it is here",
        "mount overlay on /empty",
        "open_tree /empty as root tree",
        "unshare CLONE_NEWUSER",
    ]


def test_one_layer_alone() -> None:
    """It is no overlay, and read-only before anything is mounted on it."""
    lone = RootOverlay(lower=("/l/1",))
    assert plan(lone) == [
        (INIT, "propagation of / MS_REC|SLAVE"),
        (INIT, "root is /l/1"),
        (INIT, "change mount /\nMOUNT_ATTR_RDONLY"),
    ]
    mapped = plan(lone, **USER)
    assert mapped[0] == (STAGE, "open_tree /l/1 as root tree\nids mapped as root mapping")
    assert mapped[-2:] == [(INIT, "root is /l/1"), (INIT, "change mount /\nMOUNT_ATTR_RDONLY")]
    assert not [place for place, _ in mapped if place == JOINER]


def test_one_directory_to_write_to() -> None:
    """It is the root as it is, with mapped owners where there is a user namespace."""
    lone = RootOverlay(lower=(), upper="/l/1")
    assert plan(lone)[-1] == (INIT, "root is /l/1")
    mapped = plan(lone, **USER)
    assert mapped[0] == (STAGE, "open_tree /l/1 as root tree\nids mapped as root mapping")
    assert mapped[-1] == (INIT, "root is /l/1")
    unprivileged = plan(lone, rootless=True, **USER)
    assert not [words for _, words in unprivileged if words.startswith("open_tree")]
    assert unprivileged[-1] == (INIT, "root is /l/1")


@pytest.mark.parametrize("odd", ["/l/a\\b", "/l/" + "x" * 253])
def test_odd_names(odd: str) -> None:
    """What the kernel would not take as it is gets a short name."""
    words = plan(RootOverlay(lower=("/l/2", odd)))[-2][1]
    assert words.startswith("mount overlay on /empty/root\n")
    assert words.endswith("lowerdir+=0,lowerdir+=1")


def test_before_linux_6_5() -> None:
    """Layers share one value of 255 bytes, which 106 of them fit into."""
    layers = tuple(f"/l/{number}" for number in range(106))
    words = plan(RootOverlay(lower=layers), kernel=(6, 4))[-2][1]
    value = words.rpartition("lowerdir=")[2]
    names = value.split(":")
    assert len(value) <= 255
    assert len(set(names)) == len(names) == 106
    with pytest.raises(Unsupported, match=r"an overlay of 107 layers needs Linux 6\.5"):
        plan(RootOverlay(lower=(*layers, "/l/one-more")), kernel=(6, 4))
    assert len(plan(RootOverlay(lower=tuple(f"/l/{number}" for number in range(500))))) == 4


JOINED: dict[str, Any] = {"namespaces": (MOUNT, Namespace(type="user", path="/proc/1/ns/user"))}


@pytest.mark.parametrize(
    ("kernel", "changes", "message"),
    [
        ((5, 18), USER, r"layers whose owners are mapped need Linux 5\.19"),
        (NEW, JOINED, "owners cannot be mapped for writing in a user namespace that is joined"),
        (NEW, {**USER, "rootless": True}, "an overlay of layers needs root"),
    ],
)
def test_what_cannot_be(kernel: tuple[int, int], changes: dict[str, Any], message: str) -> None:
    """It is refused with what would be needed."""
    with pytest.raises(Unsupported, match=message):
        plan(TWO, kernel=kernel, **changes)


def test_a_user_namespace_that_is_joined() -> None:
    """Its own maps map the layers, for reading."""
    config = Config(rootfs="/empty", **JOINED)
    read = TWO.replace(upper="", work="")
    planned = plan_root_overlay(config, read, rootless=False, kernel=NEW)
    opened = [describe(each) for each in planned.joiner if each.name == "open_tree"]
    assert opened[0] == "open_tree /l/2 as layer 0\nids mapped as user namespace"
